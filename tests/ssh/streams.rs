//! What programs without a terminal read and write stands in the recording.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::process::{Command, Output, Stdio};

use audit::ssh::{Channel, Ssh, Stream};
use audit::{Digest, Kind, Reader, Tail, Value};
use control::AccessRequestInput;
use rstest::rstest;

use crate::bed::{OPEN, Setup, SshBed, kept};
use crate::support::{run, until};

/// What recordings have of streams, by channel.
#[derive(Debug, Default)]
struct Recorded {
    channels: BTreeMap<u32, &'static str>,
    kept: BTreeMap<(u32, Stream), Vec<u8>>,
    cut: BTreeMap<(u32, Stream), u64>,
    digests: BTreeMap<(u32, Stream), (u64, Digest)>,
}

impl Recorded {
    /// Of the one session that there was, once it is over.
    async fn of(bed: &SshBed) -> Self {
        until("the session is over", || kept(&bed.events(), "\"e\":\"end\"")).await;
        let mut folder = std::fs::read_dir(bed.file("state/recordings")).unwrap();
        let file = File::open(folder.next().unwrap().unwrap().path()).unwrap();
        assert!(folder.next().is_none(), "there was one session");
        let (mut reader, mut recorded) = (Reader::new(BufReader::new(file)), Self::default());
        while let Some(event) = reader.next_event().unwrap() {
            if let Kind::Ssh(ssh) = event.kind {
                recorded.take(ssh);
            }
        }
        assert_eq!(reader.tail(), Some(Tail::Sealed));
        recorded
    }

    fn take(&mut self, ssh: Ssh<'_>) {
        if let Ssh::Opened { ch, channel } = ssh {
            let kind = if channel == Channel::Session {
                "session"
            } else if channel == Channel::Agent {
                "agent"
            } else {
                "forward"
            };
            self.channels.insert(ch, kind);
        } else if let Ssh::Output { ch, data } = ssh {
            self.keep(ch, Stream::Output, data.as_bytes());
        } else if let Ssh::Stderr { ch, data } = ssh {
            self.keep(ch, Stream::Stderr, data.as_bytes());
        } else if let Ssh::Input { ch, data: Value::Text(data) } = ssh {
            self.keep(ch, Stream::Input, data.as_bytes());
        } else if let Ssh::Input { ch, data: Value::Bytes(data) } = ssh {
            self.keep(ch, Stream::Input, &data);
        } else if let Ssh::StreamCut { ch, stream, kept } = ssh {
            assert_eq!(self.of_stream(ch, stream).len() as u64, kept, "it is said at the place");
            self.cut.insert((ch, stream), kept);
        } else if let Ssh::StreamDigest { ch, stream, bytes, sha256, last: true } = ssh {
            self.digests.insert((ch, stream), (bytes, sha256));
        }
    }

    fn keep(&mut self, ch: u32, stream: Stream, bytes: &[u8]) {
        let of = (ch, stream);
        assert!(!self.cut.contains_key(&of), "nothing is kept behind the cut");
        self.kept.entry(of).or_default().extend_from_slice(bytes);
    }

    fn of_stream(&self, ch: u32, stream: Stream) -> &[u8] {
        self.kept.get(&(ch, stream)).map(Vec::as_slice).unwrap_or_default()
    }

    /// A stream of the first channel.
    fn first(&self, stream: Stream) -> &[u8] {
        self.of_stream(0, stream)
    }
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|at| at == what)
}

/// `ssh` with these words, which reads this.
async fn fed(bed: &SshBed, words: &[&str], input: &[u8]) -> Output {
    let mut command = bed.ssh("alice", &[]).await;
    command.args(words);
    let file = bed.file("input");
    std::fs::write(&file, input).unwrap();
    command.stdin(File::open(&file).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

async fn open_bed() -> SshBed {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    bed
}

/// Bytes of every kind, of which no block is like another.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

#[rstest]
#[case::shell_without_a_terminal(&["-T"], &[])]
#[case::commands_piped_into_a_shell(&[], &[])]
#[case::a_script_for_a_program(&[], &["sh"])]
#[tokio::test(flavor = "multi_thread")]
async fn a_script_without_a_terminal_stands_in_the_recording_with_all_that_it_said(
    #[case] options: &[&str],
    #[case] program: &[&str],
) {
    let bed = open_bed().await;
    let script = "echo to the output\n# only in the input\necho to the errors >&2\nexit 3\n";
    let place = bed.place();
    let words = [options, &[&*place], program].concat();
    let output = fed(&bed, &words, script.as_bytes()).await;
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(contains(&output.stdout, b"to the output\n"), "{output:?}");
    let recorded = Recorded::of(&bed).await;
    assert_eq!(String::from_utf8_lossy(recorded.first(Stream::Input)), script);
    assert_eq!(recorded.first(Stream::Output), output.stdout);
    let errors = recorded.first(Stream::Stderr);
    assert!(contains(errors, b"to the errors\n"), "{recorded:?}");
    assert!(!contains(recorded.first(Stream::Output), b"to the errors"), "they are kept apart");
    assert!(recorded.cut.is_empty() && recorded.digests.is_empty(), "all of it is kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_passes_byte_for_byte_and_is_recorded_whole_up_to_its_bound() {
    const BOUND: u64 = 64 * 1024;
    let bed = SshBed::with("record_streams = \"64KiB\"", OPEN).await;
    bed.grant("1h").await;
    let sent = bytes(5_000_000);
    let output = fed(&bed, &[&bed.place(), "tee /dev/stderr"], &sent).await;
    assert!(output.stdout == sent, "{} bytes came back", output.stdout.len());
    assert!(output.stderr == sent, "{} bytes came back as errors", output.stderr.len());
    let recorded = Recorded::of(&bed).await;
    for stream in [Stream::Input, Stream::Output, Stream::Stderr] {
        let of = (0, stream);
        assert!(recorded.first(stream) == &sent[..BOUND as usize], "{stream:?}");
        assert_eq!(recorded.cut.get(&of), Some(&BOUND), "{stream:?}");
        let whole = (sent.len() as u64, Digest::of(&sent));
        assert_eq!(recorded.digests.get(&of), Some(&whole), "{stream:?}");
    }
    let mut replay = Command::new(env!("CARGO_BIN_EXE_postern"));
    let mut folder = std::fs::read_dir(bed.file("state/recordings")).unwrap();
    replay.args(["replay", "--file"]).arg(folder.next().unwrap().unwrap().path());
    let (_, output, errors) = run(replay).await;
    let sha256 = Digest::of(&sent);
    for wanted in [
        "stdin: beyond its first 65536 bytes only a digest is kept".to_owned(),
        format!("stdout: 5000000 bytes, sha256 {sha256}"),
        format!("stderr: 5000000 bytes, sha256 {sha256}"),
    ] {
        assert!(output.contains(&wanted), "{wanted}: {errors}");
    }
}

/// All input is to be kept.
const WATCHED: &str = r#"
permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
@id("watched") @record("input")
forbid (principal, action, resource);
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_that_wants_input_keeps_all_of_it_without_a_terminal_too() {
    let bed = SshBed::with("record_streams = \"0\"", WATCHED).await;
    bed.grant("1h").await;
    let sent = bytes(300_000);
    let output = fed(&bed, &[&bed.place(), "cat"], &sent).await;
    assert!(output.stdout == sent);
    let recorded = Recorded::of(&bed).await;
    assert!(recorded.first(Stream::Input) == sent);
    assert!(recorded.first(Stream::Output).is_empty());
    let whole = (sent.len() as u64, Digest::of(&sent));
    assert_eq!(recorded.digests.get(&(0, Stream::Output)), Some(&whole));
    assert_eq!(recorded.digests.get(&(0, Stream::Input)), None);
    let (alice, resource) =
        (bed.actor("alice").await, AccessRequestInput::new("deploy@web-1".parse().unwrap()));
    let explanation = bed.gateway.control().access.explain(&alice, None, resource).await.unwrap();
    let explanation = serde_json::to_string(&explanation).unwrap();
    assert!(
        explanation.contains("all of the standard input of programs without a terminal"),
        "{explanation}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_gives_no_terminal_gets_its_input_recorded_as_a_stream() {
    let bed = SshBed::made(Setup { sshd: "PermitTTY no", ..Setup::default() }).await;
    bed.grant("1h").await;
    crate::wire::hostile(&bed, "a_terminal_that_is_refused_leaves_streams").await;
    let recorded = Recorded::of(&bed).await;
    assert_eq!(recorded.first(Stream::Input), b"echo done # not echoed\n");
    assert!(!kept(&bed.events(), r#""ssh":"terminal""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_a_forward_and_a_lent_agent_is_recorded_as_streams() {
    let target = r#"channels = ["exec", "agent", "direct-tcpip"]"#;
    let bed = SshBed::with(target, OPEN).await;
    bed.grant("1h").await;
    let agent = crate::agent::Agent::start(bed.file("agent")).await;
    agent.takes(&bed.stray_key("lent")).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let answers = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        let mut word = [0; 5];
        stream.read_exact(&mut word).unwrap();
        stream.write_all(b"an answer").unwrap();
        word
    });
    let local = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = bed.ssh("alice", &[]).await;
    command.env("SSH_AUTH_SOCK", agent.socket()).arg("-A");
    command.args(["-o", "ExitOnForwardFailure=yes", "-L", &format!("{local}:127.0.0.1:{port}")]);
    command.arg(bed.place()).arg("ssh-add -l; echo up; read x");
    let mut ssh = crate::running::Running::start(command);
    ssh.says("up").await;
    let asked = tokio::task::spawn_blocking(move || {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", local)).unwrap();
        stream.write_all(b"a ask").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert_eq!(&answers.await.unwrap(), b"a ask");
    assert_eq!(asked.await.unwrap(), "an answer");
    ssh.end().await;
    let recorded = Recorded::of(&bed).await;
    let of_kind = |kind: &str| *recorded.channels.iter().find(|(_, it)| **it == kind).unwrap().0;
    let (forward, agent) = (of_kind("forward"), of_kind("agent"));
    assert_eq!(recorded.of_stream(forward, Stream::Input), b"a ask");
    assert_eq!(recorded.of_stream(forward, Stream::Output), b"an answer");
    // The target asks, which goes to the client, and the agent answers with its key.
    assert!(recorded.of_stream(agent, Stream::Output).ends_with(&[0, 0, 0, 1, 11]));
    assert!(contains(recorded.of_stream(agent, Stream::Input), b"ssh-ed25519"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rsync_and_git_send_and_get_is_in_the_recording() {
    let bed = open_bed().await;
    let socket = bed.file("mux");
    let mut master = bed.ssh("alice", &[]).await;
    master.args(["-N", "-M", "-S"]).arg(&socket).arg(bed.place());
    let mut master = master.spawn().unwrap();
    until("the master is up", || socket.exists()).await;
    let line = format!("ssh -F none -S {}", socket.display());
    let here = bed.file("tree");
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("file"), "a line that rsync sends\n").unwrap();
    let mut rsync = Command::new("rsync");
    rsync.args(["-a", "-e", &line]).arg(format!("{}/", here.display()));
    rsync.arg(format!("{}:tree", bed.place()));
    let git = |words: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(&here).args([
            "-c",
            "user.name=Alice",
            "-c",
            "user.email=alice@example.com",
        ]);
        git.args(words).env("GIT_SSH_COMMAND", &line).env("GIT_CONFIG_GLOBAL", "/dev/null");
        git
    };
    let mut bare = Command::new("ssh");
    bare.args(["-F", "none", "-S"])
        .arg(&socket)
        .arg(bed.place())
        .arg("git init -q --bare shop.git");
    let there = format!("{}:shop.git", bed.place());
    for command in [
        rsync,
        bare,
        git(&["init", "-q"]),
        git(&["add", "."]),
        git(&["commit", "-qm", "a shop"]),
        git(&["push", "-q", &there, "HEAD:main"]),
        git(&["fetch", "-q", &there, "main"]),
    ] {
        let (ok, out, errors) = run(command).await;
        assert!(ok, "{out}{errors}");
    }
    let mut fetch = Command::new("git");
    fetch.args(["clone", "-q", "-b", "main", &there]).arg(bed.file("cloned"));
    fetch.env("GIT_SSH_COMMAND", &line).env("GIT_CONFIG_GLOBAL", "/dev/null");
    let (ok, out, errors) = run(fetch).await;
    assert!(ok, "{out}{errors}");
    let _ = master.kill();
    let _ = master.wait();
    let recorded = Recorded::of(&bed).await;
    let has = |stream: Stream, what: &[u8]| {
        recorded.kept.iter().any(|((_, of), bytes)| *of == stream && contains(bytes, what))
    };
    assert!(has(Stream::Input, b"a line that rsync sends\n"), "the file that went up");
    assert!(has(Stream::Input, b"PACK"), "what was pushed");
    assert!(has(Stream::Output, b"PACK"), "what was cloned");
}
