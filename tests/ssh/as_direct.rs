//! Through the gateway as without it: each test says the same to both, and compares what comes back.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rstest::rstest;

use crate::bed::{LOGIN, OPEN, Setup, SshBed, kept};
use crate::forwards::{ALL, socket_service, tcp_service};
use crate::running::Running;
use crate::support::{run, until};

/// A script of Python in the folder of this test.
fn python(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join(".cache/venv/bin/python"));
    command.arg(root.join("tests/ssh").join(script));
    command
}

/// What these cases of `as_direct.py` print, through the gateway and without it.
async fn both(bed: &SshBed, cases: &[String]) -> (Vec<String>, Vec<String>) {
    let through = (bed.port(), format!("{LOGIN}@web-1"), bed.identity("alice").await);
    let direct = (bed.sshd.port(), LOGIN.to_owned(), bed.direct_key());
    let said = async |(port, user, key): (u16, String, std::path::PathBuf)| {
        let mut command = python("as_direct.py");
        command.arg(port.to_string()).arg(user).arg(key).args(cases);
        let (ok, out, errors) = run(command).await;
        assert!(ok, "{out}{errors}");
        out.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    (said(through).await, said(direct).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_program_ends_as_without_the_gateway_whoever_closes_first() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let mut cases = Vec::new();
    for program in ["status", "output", "signal", "silent", "shell", "terminal", "sftp"] {
        cases.extend(["target", "client"].map(|who| format!("ending/{program}/{who}")));
    }
    let (through, direct) = both(&bed, &cases).await;
    assert_eq!(through, direct);
    assert_eq!(direct.len(), 14);
    assert!(direct[0].contains("status 42") && direct[4].contains("signal TERM"), "{direct:?}");
    // Twice each, and so often do they stand in the recording.
    until("what each exits with is recorded", || {
        let events = bed.events();
        let count = |what: &str| events.iter().filter(|line| line.contains(what)).count();
        [42, 3, 5, 6, 4].iter().all(|status| count(&format!(r#""status":{status}}}"#)) == 2)
            && count(r#""ssh":"exit_signal""#) == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_answered_as_the_target_answers_it() {
    let target = format!("{ALL}\nenv = [\"LANG\", \"LC_ALL\", \"FOO\"]");
    let cases = [
        "no-subsystem",
        "another-program",
        "environment",
        "environment-unasked",
        "terminal-asked",
        "agent",
        "unknown",
        "all",
    ];
    let cases = cases.map(|case| format!("answers/{case}"));
    for sshd in ["", "PermitTTY no", "AllowAgentForwarding no"] {
        let bed = SshBed::made(Setup { target: &target, sshd, ..Setup::default() }).await;
        bed.grant("1h").await;
        let (through, direct) = both(&bed, &cases).await;
        assert_eq!(through, direct, "{sshd}");
        until("what the target refuses stands in the recording", || {
            let events = bed.events();
            let refused = |what: &str| kept(&events, &format!(r#""what":"{what}""#));
            refused("subsystem") && (refused("pty") || !sshd.contains("PermitTTY"))
        })
        .await;
    }
}

#[rstest]
#[case::subsystem("", &["-s"], "nosuch")]
#[case::terminal("PermitTTY no", &["-tt"], "tty; exit 3")]
#[case::command("ForceCommand exit 9", &[], "true")]
#[tokio::test(flavor = "multi_thread")]
async fn stock_ssh_says_of_what_is_refused_what_it_says_without_the_gateway(
    #[case] sshd: &str,
    #[case] options: &[&str],
    #[case] words: &str,
) {
    let target = r#"channels = ["shell", "exec", "sftp", "subsystem"]"#;
    let bed = SshBed::made(Setup { target, sshd, ..Setup::default() }).await;
    bed.grant("1h").await;
    let mut through = bed.ssh("alice", &[]).await;
    through.args(options).arg(bed.place()).arg(words);
    let mut direct = bed.direct();
    direct.args(options).arg(format!("{LOGIN}@127.0.0.1")).arg(words);
    let ends = async |command| Running::start(command).end().await;
    assert_eq!(ends(through).await, ends(direct).await);
}

/// A connection that others share, and a command for each of those.
struct Shared {
    master: std::process::Child,
    socket: std::path::PathBuf,
}

impl Shared {
    async fn start(bed: &SshBed) -> Self {
        let socket = bed.file("mux");
        let mut master = bed.ssh("alice", &[]).await;
        master.args(["-N", "-M", "-S"]).arg(&socket).arg(bed.place());
        let master = master.spawn().unwrap();
        until("the master is up", || socket.exists()).await;
        Self { master, socket }
    }

    fn ssh(&self, bed: &SshBed, words: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-S"]).arg(&self.socket).arg(bed.place()).arg(words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.master.kill();
        let _ = self.master.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_connection_has_every_exit_status() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let shared = Shared::start(&bed).await;
    for _ in 0..60 {
        assert_eq!(bed.status(shared.ssh(&bed, "exit 42")).await, Some(42));
    }
    let silent = shared.ssh(&bed, "exec >/dev/null 2>&1; sleep 0.3; exit 5");
    assert_eq!(bed.status(silent).await, Some(5));
    until("each stands in the recording", || {
        let events = bed.events();
        events.iter().filter(|line| line.contains(r#""status":42}"#)).count() == 60
            && kept(&events, r#""status":5}"#)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_its_output_early_gets_the_rest_of_its_input() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let script = "exec >&- 2>&-; cat > late; exit 7";
    let mut ssh = Running::start(bed.ssh("alice", &[script]).await);
    // It waits for the end of the output before it writes.
    ssh.output_ends().await;
    ssh.types("late\n").await;
    assert_eq!(ssh.end().await.0, Some(7));
    assert_eq!(std::fs::read_to_string(bed.at_home("late")).unwrap(), "late\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_carries_thousands_of_channels_in_its_life() {
    let bed = SshBed::with(ALL, OPEN).await;
    bed.grant("1h").await;
    let (tcp, socket) = (tcp_service(), bed.file("service"));
    std::fs::set_permissions(bed.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    socket_service(&socket);
    let mut command = python("many.py");
    command.arg(bed.port().to_string()).arg(bed.identity("alice").await);
    command.arg(bed.file("known_hosts")).arg(format!("{LOGIN}@web-1"));
    command.arg(tcp.to_string()).arg(socket);
    let (ok, out, errors) = run(command).await;
    assert!(ok && out == "all went\n", "{out}{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_symbolic_link_leads_where_its_client_says_whichever_order_it_sends() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    for library in ["asyncssh", "paramiko"] {
        let mut command = python("links.py");
        command.args([library, &bed.port().to_string()]).arg(bed.identity("alice").await);
        command.arg(bed.file("known_hosts")).arg(format!("{LOGIN}@web-1"));
        let (ok, out, errors) = run(command).await;
        assert!(ok, "{out}{errors}");
    }
    let mut sftp = bed.scp("alice", &[], Path::new(""), "").await;
    let args: Vec<_> = sftp.get_args().map(ToOwned::to_owned).collect();
    sftp = Command::new("sftp");
    sftp.args(&args[..args.len() - 2]).args(["-b", "-"]).arg(bed.place());
    let mut sftp = Running::start(sftp);
    sftp.types("ln -s there link-of-openssh\n").await;
    assert_eq!(sftp.end().await.0, Some(0));
    for client in ["asyncssh", "paramiko", "openssh"] {
        let link = bed.at_home(&format!("link-of-{client}"));
        assert_eq!(std::fs::read_link(&link).unwrap(), Path::new("there"), "{client}");
        until("it stands in the recording as it is", || {
            let events = bed.events();
            let mut made = events.iter().filter(|line| line.contains("symlink"));
            let name = format!("link-of-{client}\"");
            made.any(|line| line.contains(&name) && line.contains(r#""target":"there""#))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_give_at_once_needs_no_prompt() {
    let bed = SshBed::start().await;
    for words in ["echo in", "echo again"] {
        let mut command = bed.ssh("alice", &[]).await;
        command.args(["-o", "BatchMode=yes", "-o", "PreferredAuthentications=publickey"]);
        command.arg(bed.place()).arg(words);
        let (ok, out, errors) = run(command).await;
        assert!(ok && format!("echo {out}") == format!("{words}\n"), "{out}{errors}");
        assert_eq!(errors, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_takes_a_person_is_not_given_without_one() {
    let bed = SshBed::with("", crate::bed::FOUR_EYES).await;
    let mut command = bed.ssh("alice", &[]).await;
    command.args(["-o", "BatchMode=yes"]).arg(bed.place()).arg("echo in");
    let (ok, out, _) = run(command).await;
    assert!(!ok && out.is_empty(), "{out}");
    assert!(!bed.target_log().contains("Accepted"), "the target was not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_connections_at_once_pass_a_target_that_drops_some_when_many_sign_in() {
    let sshd = "MaxStartups 10:30:100";
    let bed = SshBed::made(Setup { target: ALL, sshd, ..Setup::default() }).await;
    bed.grant("1h").await;
    let (service, local) = (tcp_service(), postern::throwaway::free_port().unwrap());
    let mut command = bed.ssh("alice", &[]).await;
    command.args(["-L", &format!("127.0.0.1:{local}:127.0.0.1:{service}")]);
    command.arg(bed.place()).arg("echo up; cat");
    let mut ssh = Running::start(command);
    ssh.says("up").await;
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        asking.spawn_blocking(move || {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", local)).unwrap();
            stream.write_all(b"hello").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
    }
    let answers = asking.join_all().await;
    assert_eq!(answers.iter().filter(|answer| *answer == "HELLO").count(), 100, "{answers:?}");
    ssh.end().await;
}
