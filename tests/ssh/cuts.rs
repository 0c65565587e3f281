//! Whatever ends a grant ends all that runs under it, and the user reads why.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

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
                control.lock(&bob, subject, "incident 7".to_owned(), None).await.unwrap();
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

/// An upload without an end.
async fn upload(bed: &SshBed) -> Running {
    let endless = std::fs::File::create(bed.file("endless")).unwrap();
    endless.set_len(1 << 40).unwrap();
    let from = bed.file("endless");
    let there = bed.at_home("endless");
    let slowly = ["-l", "8000"];
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
    let mut shell = bed.ssh("alice", &[]).await;
    shell.arg("-tt").arg(bed.place());
    let mut shell = Running::start(shell);
    shell.types("echo in a shel''l\n").await;
    shell.says("in a shell").await;
    let mut command = Running::start(bed.ssh("alice", &["echo in; cat"]).await);
    command.says("in\n").await;
    let (forward, echoing) = forward(&bed).await;
    let upload = upload(&bed).await;
    let folder = Arc::clone(&bed.folder);
    let _bed = by.happen(bed, &grant).await;
    let all = [("shell", shell), ("command", command), ("upload", upload), ("forward", forward)];
    for (what, running) in all {
        let (status, _, errors) = running.end().await;
        assert_ne!(status, Some(0), "{what}");
        assert!(errors.contains(by.words()), "{what}: {errors}");
        let told = errors.contains("This session ends in 10s");
        let reads = what == "shell" || what == "command";
        assert_eq!(told, by == By::Expiry && (reads || what == "upload"), "{what}: {errors}");
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
