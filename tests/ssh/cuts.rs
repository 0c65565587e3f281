//! Whatever ends a grant ends all that runs under it, and the user reads why.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use policies::Grant;
use rstest::rstest;

use crate::bed::{Setup, SshBed, kept, recorded};
use crate::running::Running;
use crate::support::until;

/// All that may be cut in the middle.
const CHANNELS: &str = r#"channels = ["shell", "exec", "sftp", "direct-tcpip"]"#;

/// What ends the grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Revoke,
    Expiry,
    Lock,
    Drain,
}

impl By {
    fn words(self) -> &'static str {
        match self {
            Self::Revoke => "the grant was revoked",
            Self::Expiry => "the grant has expired",
            Self::Lock => "access is locked: incident 7",
            Self::Drain => "the gateway is shutting down",
        }
    }

    /// What is left of the gateway is given back.
    async fn happen(self, bed: SshBed, grant: &Grant) -> Option<SshBed> {
        match self {
            Self::Revoke => bed.revoke(grant, "incident 7").await,
            Self::Lock => {
                let bob = bed.actor("bob").await;
                let subject = "login:deploy@web-1".parse().unwrap();
                let control = bed.gateway.control();
                control.access.lock(&bob, subject, "incident 7".to_owned(), None).await.unwrap();
            }
            Self::Expiry => {}
            Self::Drain => {
                bed.gateway.shutdown(Duration::from_secs(20)).await;
                return None;
            }
        }
        Some(bed)
    }
}

/// A forward whose other end echoes.
async fn forward(bed: &SshBed) -> (Running, std::thread::JoinHandle<()>) {
    let echo = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = echo.local_addr().unwrap().to_string();
    let echoing = std::thread::spawn(move || {
        let (stream, _) = echo.accept().unwrap();
        let _ = std::io::copy(&mut &stream, &mut &stream);
    });
    let mut command = bed.ssh("alice", &[]).await;
    command.args(["-W", &place]).arg(bed.place());
    let mut forward = Running::start(command);
    forward.types("through\n").await;
    forward.says("through\n").await;
    (forward, echoing)
}

/// A shell on a terminal.
async fn shell(bed: &SshBed) -> Running {
    let mut command = bed.ssh("alice", &[]).await;
    command.arg("-tt").arg(bed.place());
    let mut shell = Running::start(command);
    shell.types("echo in a shel''l\n").await;
    shell.says("in a shell").await;
    shell
}

/// A command that waits.
async fn command(bed: &SshBed) -> Running {
    let mut command = Running::start(bed.ssh("alice", &["echo in; cat"]).await);
    command.says("in\n").await;
    command
}

/// An upload without an end, at so many kilobits a second.
async fn upload(bed: &SshBed, name: &str, rate: &str) -> Running {
    let from = bed.file(name);
    std::fs::File::create(&from).unwrap().set_len(1 << 40).unwrap();
    let there = bed.at_home(name);
    let slowly = ["-l", rate];
    let running = Running::start(bed.scp("alice", &slowly, &from, &bed.remote(&there)).await);
    until("the upload is under way", || there.metadata().is_ok_and(|data| data.len() > 0)).await;
    running
}

#[rstest]
#[case(By::Revoke)]
#[case(By::Expiry)]
#[case(By::Lock)]
#[case(By::Drain)]
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_a_grant_cuts_shell_command_upload_and_forward_in_the_middle(#[case] by: By) {
    let bed = SshBed::made(Setup { target: CHANNELS, ..Setup::default() }).await;
    let grant = bed.grant(if by == By::Expiry { "20s" } else { "1h" }).await;
    let (shell, command) = (shell(&bed).await, command(&bed).await);
    let (forward, echoing) = forward(&bed).await;
    let upload = upload(&bed, "endless", "8000").await;
    let folder = Arc::clone(&bed.folder);
    let _bed = by.happen(bed, &grant).await;
    let all = [("shell", shell), ("command", command), ("upload", upload), ("forward", forward)];
    for (what, running) in all {
        let (status, _, errors) = running.end().await;
        assert_ne!(status, Some(0), "{what}");
        assert!(errors.contains(by.words()), "{what}: {errors}");
        let warned = errors.contains("This session ends in 10s");
        let reads = what == "shell" || what == "command";
        assert_eq!(warned, by == By::Expiry && (reads || what == "upload"), "{what}: {errors}");
    }
    echoing.join().unwrap();
    until("all four have their end in the recording", || {
        recorded(folder.path()).iter().filter(|line| line.contains("\"e\":\"end\"")).count() == 4
    })
    .await;
    assert!(
        kept(&recorded(folder.path()), "\"file_closed\""),
        "the upload that was cut has its end"
    );
}

/// One of the four kinds, in the middle of what it does.
async fn one_of_four(bed: &SshBed, n: usize) -> Running {
    match n % 4 {
        0 => shell(bed).await,
        1 => command(bed).await,
        // So slowly that all of them together are little.
        2 => upload(bed, &format!("endless-{n}"), "80").await,
        _ => forward(bed).await.0,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_a_revoke_cuts_five_hundred_live_sessions_and_each_is_told_why() {
    const SESSIONS: usize = 500;
    let more = "[limits]\nper_address = 1000\n";
    let bed = SshBed::made(Setup { target: CHANNELS, more, ..Setup::default() }).await;
    let grant = bed.grant("1h").await;
    bed.identity("alice").await;
    let sessions = futures_util::stream::iter(0..SESSIONS).map(|n| one_of_four(&bed, n));
    let sessions: Vec<Running> = sessions.buffer_unordered(8).collect().await;
    assert!(!kept(&bed.events(), "\"e\":\"end\""), "all of them are live");
    bed.revoke(&grant, "incident 7").await;
    let ended = futures_util::future::join_all(sessions.into_iter().map(Running::end)).await;
    for (status, _, errors) in &ended {
        assert_ne!(*status, Some(0));
        assert!(errors.contains("the grant was revoked"), "{errors}");
        assert!(errors.contains("incident 7"), "{errors}");
    }
    until("all have their end in the recording", || {
        bed.events().iter().filter(|line| line.contains("\"e\":\"end\"")).count() == SESSIONS
    })
    .await;
}
