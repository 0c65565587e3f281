//! Hostile targets: each ends its own session, and no other.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::bed::{LOGIN, Setup, SshBed, kept};
use crate::running::Running;
use crate::support::{private_folder, run, until};

const REPLY: u8 = 31;
const INIT: u8 = 30;
const PING: u8 = 192;

fn string(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// A packet of a connection that has no keys yet.
fn packet(payload: &[u8]) -> Vec<u8> {
    let padding = 16 - (payload.len() + 5) % 8;
    let mut packet = u32::try_from(payload.len() + padding + 1).unwrap().to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    packet
}

/// What a server offers, and whether it sends a guess right behind it.
fn offer(methods: &str, guesses: bool) -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for list in [methods, "ssh-ed25519"].iter().chain(&["aes128-gcm@openssh.com"; 2]) {
        payload.extend(string(list.as_bytes()));
    }
    payload
        .extend(["hmac-sha2-256-etm@openssh.com"; 2].iter().flat_map(|it| string(it.as_bytes())));
    payload.extend(["none"; 2].iter().flat_map(|it| string(it.as_bytes())));
    payload.extend([0; 8]);
    payload.push(u8::from(guesses));
    payload.extend([0; 4]);
    packet(&payload)
}

/// The answer that ends a key exchange: a host key, a public value, and no signature of anything.
fn reply(host_key: &[u8], value: &[u8]) -> Vec<u8> {
    let signature = [string(b"ssh-ed25519"), string(&[9; 64])].concat();
    packet(&[&[REPLY][..], &string(host_key), &string(value), &string(&signature)].concat())
}

fn ed25519() -> Vec<u8> {
    [string(b"ssh-ed25519"), string(&[1; 32])].concat()
}

/// A certificate within a certificate, so many times.
fn nested(depth: usize) -> Vec<u8> {
    let mut inner = [string(b"a@b"), string(b"")].concat();
    for _ in 0..depth {
        let (serial, kind) = (&[0; 8][..], &[0, 0, 0, 1][..]);
        let empty = || string(b"");
        let head = [string(b"a-cert-v01@x"), empty(), empty(), serial.into(), kind.into()].concat();
        let body =
            [empty(), empty(), vec![0; 8], vec![0xff; 8], empty(), empty(), empty()].concat();
        let signature = string(&[string(b"a@b"), string(b"x")].concat());
        inner = [head, body, string(&inner), signature].concat();
    }
    inner
}

/// What each of these targets says, by what is wrong with it.
fn scripts() -> Vec<(String, Vec<u8>)> {
    let x25519 = |value: &[u8]| [offer("curve25519-sha256", false), reply(&ed25519(), value)];
    let hybrid = |value: &[u8]| [offer("mlkem768x25519-sha256", false), reply(&ed25519(), value)];
    let host_key = |key: &[u8]| [offer("curve25519-sha256", false), reply(key, &[9; 32])];
    let mut all = Vec::new();
    for length in [0, 1, 31, 33, 64, 100_000] {
        all.push((format!("an X25519 value of {length} bytes"), x25519(&vec![9; length]).concat()));
    }
    all.push(("an X25519 value of low order".to_owned(), x25519(&[0; 32]).concat()));
    for length in [0, 32, 1088, 1119, 1121, 100_000] {
        all.push((format!("an ML-KEM value of {length} bytes"), hybrid(&vec![9; length]).concat()));
    }
    all.push(("an ML-KEM value of low order".to_owned(), hybrid(&[0; 1120]).concat()));
    let rsa = |e: &[u8], n: &[u8]| [string(b"ssh-rsa"), string(e), string(n)].concat();
    let giant = vec![0x7f; 100_000];
    for (name, key) in [
        ("a giant RSA modulus", rsa(&[1, 0, 1], &giant)),
        ("a giant RSA exponent", rsa(&giant, &[0x7f; 256])),
        ("a giant RSA key", rsa(&giant, &giant)),
        ("an RSA key of nothing", rsa(&[], &[])),
        ("a host key of nothing", Vec::new()),
        ("certificates within certificates", nested(1_500)),
    ] {
        all.push((name.to_owned(), host_key(&key).concat()));
    }
    let wrong = offer("diffie-hellman-group14-sha256,curve25519-sha256", true);
    let guess = packet(&[&[INIT][..], &string(&[9; 32])].concat());
    let pings = packet(&[&[PING][..], &string(b"unasked")].concat()).repeat(1_000);
    let offered = offer("curve25519-sha256", false);
    all.extend([
        ("wrong guesses again and again".to_owned(), [wrong.clone(), guess.repeat(1_000)].concat()),
        ("offers again and again".to_owned(), wrong.repeat(100)),
        ("pings before an offer".to_owned(), [pings.clone(), offered.clone()].concat()),
        ("pings before an answer".to_owned(), [offered.clone(), pings].concat()),
        ("a packet of 200 KiB".to_owned(), [offered, packet(&[REPLY; 200_000])].concat()),
    ]);
    all
}

/// Says the next thing to everybody who connects, and listens until they hang up.
async fn serve(listener: TcpListener, script: Arc<Mutex<Vec<u8>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let bytes = script.lock().unwrap().clone();
        tokio::spawn(async move {
            let _ = stream.write_all(&[b"SSH-2.0-Hostile\r\n", &bytes[..]].concat()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        });
    }
}

fn section(name: &str, port: u16, key: &str) -> String {
    format!(
        "[targets.{name}]\nkind = \"ssh\"\naddress = \"127.0.0.1:{port}\"\nhost_keys = [\"{key}\"]\n\
         hold = \"never\"\n[targets.{name}.logins.{LOGIN}]\ncertificate = true\n"
    )
}

/// `ssh` to another target than the bed's own.
async fn ssh_to(bed: &SshBed, target: &str, options: &[&str]) -> Command {
    let mut command = bed.ssh("alice", &[]).await;
    command.args(options).arg(format!("{LOGIN}@{target}@127.0.0.1")).arg("echo in");
    command
}

async fn grant(bed: &SshBed, target: &str) {
    let input = control::AccessRequestInput::new(format!("{LOGIN}@{target}").parse().unwrap());
    let alice = bed.actor("alice").await;
    let asked = bed.gateway.control().access.ask(&alice, input).await.unwrap();
    assert!(asked.grant.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_target_ends_its_own_session_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = Arc::new(Mutex::new(Vec::new()));
    tokio::spawn(serve(listener, Arc::clone(&script)));
    let (_, key) = certs::new_ssh_key().unwrap();
    let more = section("web-2", port, key.trim());
    let bed = SshBed::made(Setup { more: &more, ..Setup::default() }).await;
    bed.grant("1h").await;
    grant(&bed, "web-2").await;
    let mut other = Running::start(bed.ssh("alice", &["echo up; cat"]).await);
    other.says("up").await;
    for (name, bytes) in scripts() {
        *script.lock().unwrap() = bytes;
        let (ok, out, errors) = run(ssh_to(&bed, "web-2", &[]).await).await;
        assert!(!ok && out.is_empty(), "{name}: {out}");
        assert!(errors.contains("postern: "), "{name}: the user reads why: {errors}");
        other.types(&format!("{name}\n")).await;
        other.says(&name).await;
    }
    let (_, out, errors) = run(bed.ssh("alice", &["echo in"]).await).await;
    assert_eq!(out, "in\n", "new sessions begin: {errors}");
}

/// A running `hostile_target.py`, which ends with this value.
struct Hostile(Child);

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn hostile_target(folder: &Path) -> (Hostile, u16, String) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join(".cache/venv/bin/python"));
    command.arg(root.join("tests/ssh/hostile_target.py")).arg(folder).stdin(Stdio::null());
    let child = Hostile(command.spawn().unwrap());
    until("the target listens", || folder.join("port").exists()).await;
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let key = read("key").split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    (child, read("port").parse().unwrap(), key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_speaks_out_of_turn_ends_its_own_session_alone() {
    let folder = private_folder();
    let (_target, port, key) = hostile_target(folder.path()).await;
    let more = section("web-2", port, &key);
    let bed = SshBed::made(Setup { more: &more, ..Setup::default() }).await;
    bed.grant("1h").await;
    grant(&bed, "web-2").await;
    let mut other = Running::start(bed.ssh("alice", &["echo up; cat"]).await);
    other.says("up").await;
    // Pings that nobody offered to answer are passed over, and so are answers to none.
    let (_, out, errors) = run(ssh_to(&bed, "web-2", &[]).await).await;
    assert_eq!(out, "still here\n", "{errors}");
    let (ok, out, _) = run(ssh_to(&bed, "web-2", &["-tt"]).await).await;
    assert!(!ok && out.is_empty(), "bytes before a program go nowhere: {out}");
    until("the recording says why it ended", || kept(&bed.events(), "before any program")).await;
    other.types("still up\n").await;
    other.says("still up").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_is_asked_for_nothing_before_its_host_key_is_verified() {
    let folder = private_folder();
    let (_target, port, _) = hostile_target(folder.path()).await;
    let (_, other) = certs::new_ssh_key().unwrap();
    let more = section("web-2", port, other.trim());
    let bed = SshBed::made(Setup { more: &more, ..Setup::default() }).await;
    grant(&bed, "web-2").await;
    let (ok, out, errors) = run(ssh_to(&bed, "web-2", &[]).await).await;
    assert!(!ok && out.is_empty() && errors.contains("host key"), "{errors}");
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok(), "it still listens");
    assert!(!folder.path().join("asked").exists(), "it was asked to authenticate somebody");
}
