//! What a target opens towards a client, and a client through a target: each a permission of its own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use crate::agent::Agent;
use crate::bed::{Setup, SshBed, kept};
use crate::running::Running;
use crate::support::{run, until};
use crate::wire::hostile;

/// Everything that the target may open.
pub const ALL: &str = r#"channels = ["shell", "exec", "sftp", "subsystem", "direct-tcpip", "direct-streamlocal",
    "forwarded-tcpip", "forwarded-streamlocal", "agent", "x11"]"#;

/// Rules under which nothing goes around the recording, whatever the target would allow.
const SHUT: &str = r#"
permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
forbid (principal, action, resource)
when { context has channel && !["shell", "exec", "sftp"].contains(context.channel) };
"#;

/// Answers each connection with what it sent, in capitals.
fn shouts(mut stream: impl Read + Write) {
    let mut word = [0; 5];
    stream.read_exact(&mut word).unwrap();
    stream.write_all(&word.to_ascii_uppercase()).unwrap();
}

fn serve<S: Stream + Send + 'static>(accept: impl Fn() -> std::io::Result<S> + Send + 'static) {
    std::thread::spawn(move || {
        while let Ok(stream) = accept() {
            std::thread::spawn(|| shouts(stream));
        }
    });
}

pub fn tcp_service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    serve(move || listener.accept().map(|(stream, _)| stream));
    port
}

pub fn socket_service(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    serve(move || listener.accept().map(|(stream, _)| stream));
}

/// What comes back for a word.
async fn asks(
    connect: impl FnOnce() -> std::io::Result<Box<dyn Stream>> + Send + 'static,
) -> String {
    let asked = tokio::task::spawn_blocking(move || {
        let mut stream = connect()?;
        stream.write_all(b"hello")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    });
    asked.await.unwrap().unwrap()
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

async fn asks_port(port: u16) -> String {
    asks(move || Ok(Box::new(TcpStream::connect(("127.0.0.1", port))?))).await
}

async fn asks_path(path: &Path) -> String {
    let path = path.to_owned();
    asks(move || Ok(Box::new(UnixStream::connect(path)?))).await
}

async fn open_bed() -> SshBed {
    let bed = SshBed::made(Setup { target: ALL, ..Setup::default() }).await;
    bed.grant("1h").await;
    bed
}

/// `ssh` with these options and a command that stays.
async fn staying(bed: &SshBed, options: &[&str]) -> Running {
    let mut command = bed.ssh("alice", &[]).await;
    command.args(["-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindMask=0111"]);
    command.args(options).arg(bed.place()).arg("echo up; cat");
    Running::start(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_may_listen_for_the_client_and_what_connects_is_recorded() {
    let bed = open_bed().await;
    let service = tcp_service();
    let mut ssh = staying(&bed, &["-R", &format!("0:127.0.0.1:{service}")]).await;
    let warning = ssh.warning("Allocated port ").await;
    let port: u16 = warning.split_once(' ').unwrap().0.parse().unwrap();
    ssh.says("up").await;
    for _ in 0..3 {
        assert_eq!(asks_port(port).await, "HELLO");
    }
    until("the connections stand in the recording", || {
        let events = bed.events();
        let opened = format!(r#""channel":"forwarded_tcpip","host":"localhost","port":{port}"#);
        let closed = events.iter().filter(|line| line.contains(r#""bytes_in":5,"bytes_out":5"#));
        kept(&events, &opened) && kept(&events, r#""from":"127.0.0.1""#) && closed.count() == 3
    })
    .await;
    assert!(kept(&bed.events(), r#""ssh":"listen""#));
    ssh.end().await;
    until("the target listens no longer", || TcpStream::connect(("127.0.0.1", port)).is_err())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_opens_so_many_channels_at_once_and_no_more() {
    let bed = open_bed().await;
    let service = tcp_service();
    let mut ssh = staying(&bed, &["-R", &format!("0:127.0.0.1:{service}")]).await;
    let warning = ssh.warning("Allocated port ").await;
    let port: u16 = warning.split_once(' ').unwrap().0.parse().unwrap();
    ssh.says("up").await;
    let opened = || count(&bed, r#""channel":"forwarded_tcpip""#);
    let mut held = Vec::new();
    for _ in 0..300 {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nonblocking(true).unwrap();
        held.push(stream);
        until("the last one was passed on or refused", || {
            opened() + held.iter().filter(|stream| is_closed(stream)).count() >= held.len()
        })
        .await;
    }
    assert!((128..=256).contains(&opened()), "{} were opened", opened());
    drop(held);
    until("all are closed", || count(&bed, r#""ssh":"closed""#) >= opened()).await;
    assert_eq!(asks_port(port).await, "HELLO");
    ssh.end().await;
}

fn count(bed: &SshBed, what: &str) -> usize {
    bed.events().iter().filter(|line| line.contains(what)).count()
}

fn is_closed(stream: &TcpStream) -> bool {
    !matches!(stream.peek(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forward_that_is_cancelled_ends_and_what_is_connected_stays() {
    let bed = open_bed().await;
    let socket = bed.file("mux");
    let mut master = bed.ssh("alice", &[]).await;
    master.args(["-M", "-S"]).arg(&socket).arg(bed.place()).arg("echo up; cat");
    let mut master = Running::start(master);
    master.says("up").await;
    let service = tcp_service();
    let control = |words: &[&str]| {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-S"]).arg(&socket).args(words).arg(bed.place());
        command
    };
    let forward = format!("0:127.0.0.1:{service}");
    let (ok, port, errors) = run(control(&["-O", "forward", "-R", &forward])).await;
    assert!(ok, "{errors}");
    let port: u16 = port.trim().parse().unwrap();
    let mut early = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(asks_port(port).await, "HELLO");
    let (ok, _, errors) = run(control(&["-O", "cancel", "-R", &forward])).await;
    assert!(ok, "{errors}");
    until("the target listens no longer", || TcpStream::connect(("127.0.0.1", port)).is_err())
        .await;
    early.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    early.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HELLO");
    assert!(kept(&bed.events(), r#""ssh":"unlisten""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lets_a_target_in_too_late_keeps_no_channel_for_it() {
    let bed = open_bed().await;
    hostile(&bed, "a_yes_that_comes_too_late_is_followed_by_an_end").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_were_given_back_leave_no_connections_behind() {
    let bed = open_bed().await;
    let socket = bed.file("mux");
    let mut master = bed.ssh("alice", &[]).await;
    master.args(["-M", "-S"]).arg(&socket).arg(bed.place()).arg("echo up; cat");
    let mut master = Running::start(master);
    master.says("up").await;
    let before = bed.connections();
    for _ in 0..6 {
        for act in ["forward", "cancel"] {
            let mut command = Command::new("ssh");
            command.args(["-F", "none", "-S"]).arg(&socket).args([
                "-O",
                act,
                "-R",
                "0:127.0.0.1:1",
            ]);
            let (ok, _, errors) = run({
                command.arg(bed.place());
                command
            })
            .await;
            assert!(ok, "{act}: {errors}");
        }
    }
    until("each connection has ended with its place", || bed.connections() <= before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_reached_both_ways() {
    let bed = open_bed().await;
    // The paths of sockets are short.
    let (there, here) = (bed.at_home("listens"), bed.file("s1"));
    socket_service(&here);
    let remote = format!("{}:{}", there.display(), here.display());
    let (service, local) = (bed.file("s2"), bed.file("s3"));
    std::fs::set_permissions(bed.folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    socket_service(&service);
    let direct = format!("{}:{}", local.display(), service.display());
    let mut ssh = staying(&bed, &["-R", &remote, "-L", &direct]).await;
    ssh.says("up").await;
    assert_eq!(asks_path(&there).await, "HELLO");
    assert_eq!(asks_path(&local).await, "HELLO");
    ssh.end().await;
    until("both stand in the recording", || {
        let events = bed.events();
        kept(&events, r#""channel":"forwarded_streamlocal""#)
            && kept(&events, r#""channel":"direct_streamlocal""#)
            && kept(&events, "\"e\":\"end\"")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reaches_addresses_through_the_target_and_each_stands_in_the_recording() {
    let bed = open_bed().await;
    let service = tcp_service();
    let mut command = bed.ssh("alice", &[]).await;
    command.args(["-W", &format!("127.0.0.1:{service}")]).arg(bed.place());
    let mut ssh = Running::start(command);
    ssh.types("hello").await;
    ssh.says("HELLO").await;
    ssh.end().await;
    let opened = format!(r#""channel":"direct_tcpip","host":"127.0.0.1","port":{service}"#);
    until("it stands in the recording", || {
        let events = bed.events();
        kept(&events, &opened) && kept(&events, r#""bytes_in":5,"bytes_out":5"#)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_uses_the_key_agent_where_it_may_and_only_where_it_was_lent() {
    let bed = open_bed().await;
    let agent = Agent::start(bed.file("agent")).await;
    agent.takes(&bed.stray_key("lent")).await;
    let lists = "ssh-add -l; echo [$SSH_AUTH_SOCK]";
    for (lends, option) in [(true, "-A"), (false, "-a")] {
        let mut command = bed.ssh("alice", &[]).await;
        command.env("SSH_AUTH_SOCK", agent.socket());
        command.arg(option).arg(bed.place()).arg(lists);
        let (_, out, errors) = run(command).await;
        assert_eq!(out.contains("ED25519"), lends, "{out} {errors}");
        assert_eq!(out.contains("[]"), !lends, "{out} {errors}");
    }
    until("it stands in the recording", || kept(&bed.events(), r#""channel":"agent""#)).await;
}

/// The first words of a program that wants to use a display, with this cookie.
fn hello(cookie: &str) -> Vec<u8> {
    let name = b"MIT-MAGIC-COOKIE-1";
    let cookie: Vec<u8> = (0..cookie.len() / 2)
        .map(|n| u8::from_str_radix(&cookie[2 * n..2 * n + 2], 16).unwrap())
        .collect();
    let mut words = vec![b'l', 0, 11, 0, 0, 0, u8::try_from(name.len()).unwrap(), 0];
    words.extend([u8::try_from(cookie.len()).unwrap(), 0, 0, 0]);
    words.extend(name);
    words.extend([0, 0]);
    words.extend(cookie);
    words
}

#[tokio::test(flavor = "multi_thread")]
async fn a_display_is_lent_where_it_may_be() {
    let bed = open_bed().await;
    let display = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = display.local_addr().unwrap().port() - 6_000;
    let mut command = bed.ssh("alice", &[]).await;
    command.env("DISPLAY", format!("127.0.0.1:{number}")).arg("-Y").arg(bed.place());
    command.arg("echo at $DISPLAY; xauth -q list $DISPLAY; echo up; cat");
    let mut ssh = Running::start(command);
    let output = ssh.says("up").await;
    let at = output.lines().next().unwrap().rsplit_once(':').unwrap().1;
    let port = 6_000 + at.split('.').next().unwrap().parse::<u16>().unwrap();
    let cookie = output.lines().find_map(|line| line.split("MIT-MAGIC-COOKIE-1").nth(1)).unwrap();
    let words = hello(cookie.trim());
    let length = words.len();
    let mut program = TcpStream::connect(("127.0.0.1", port)).unwrap();
    program.write_all(&words).unwrap();
    let shown = tokio::task::spawn_blocking(move || {
        let (mut client, _) = display.accept().unwrap();
        let mut words = vec![0; length];
        client.read_exact(&mut words).unwrap();
        client.write_all(b"a display answers").unwrap();
        words
    });
    let mut answer = [0; 17];
    tokio::task::spawn_blocking(move || {
        program.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"a display answers");
    })
    .await
    .unwrap();
    let shown = shown.await.unwrap();
    assert_ne!(shown, words, "the target never had the display's own cookie");
    until("it stands in the recording", || kept(&bed.events(), r#""channel":"x11""#)).await;
    ssh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_may_not_open_is_refused_in_words_and_stands_in_the_recording() {
    let by_target = Setup::default();
    let by_rules = Setup { target: ALL, rules: SHUT, ..Setup::default() };
    for (setup, why) in [
        (by_target, "is not allowed on this target"),
        (by_rules, "the rules do not let this grant open"),
    ] {
        let bed = SshBed::made(setup).await;
        bed.grant("1h").await;
        let agent = Agent::start(bed.file("agent")).await;
        agent.takes(&bed.stray_key("lent")).await;
        let socket = bed.file("r").display().to_string();
        let cases: [(&str, &[&str]); 6] = [
            ("forwarded-tcpip", &["-R", "0:127.0.0.1:1"]),
            ("forwarded-tcpip", &["-R", "1080"]),
            ("forwarded-streamlocal", &["-R", &format!("{socket}:{socket}")]),
            ("agent", &["-A"]),
            ("x11", &["-Y"]),
            ("direct-tcpip", &["-W", "127.0.0.1:1"]),
        ];
        for (kind, options) in cases {
            let mut command = bed.ssh("alice", &[]).await;
            command.env("SSH_AUTH_SOCK", bed.file("agent")).env("DISPLAY", "127.0.0.1:99");
            command.arg("-v").args(options).arg(bed.place());
            if kind != "direct-tcpip" {
                command.arg("echo [$SSH_AUTH_SOCK$DISPLAY]");
            }
            let (_, out, errors) = run(command).await;
            let refused = errors.lines().any(|line| line.contains(kind) && line.contains(why));
            assert!(refused, "{kind}: {errors}");
            assert!(out.is_empty() || out == "[]\n", "{kind}: {out}");
            until("the refusal stands in the recording", || {
                bed.events().iter().any(|line| {
                    line.contains(r#""ssh":"refused""#) && line.contains(kind) && line.contains(why)
                })
            })
            .await;
        }
    }
}
