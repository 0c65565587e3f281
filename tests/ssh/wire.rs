//! Hostile clients, on the wire.

use std::path::Path;
use std::process::Command;

use rstest::rstest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::bed::{Setup, SshBed};
use crate::support::run;

async fn connect(bed: &SshBed) -> TcpStream {
    TcpStream::connect(("127.0.0.1", bed.port())).await.unwrap()
}

/// All that the gateway says to this, up to the end of the connection.
async fn answer(bed: &SshBed, bytes: &[u8]) -> String {
    let mut stream = connect(bed).await;
    // Who is turned away in the middle of it may not get it all out.
    let _ = stream.write_all(bytes).await;
    let mut received = Vec::new();
    let _ = stream.read_to_end(&mut received).await;
    String::from_utf8_lossy(&received).into_owned()
}

/// A first packet that offers these methods of key exchange.
fn offer(methods: &str) -> Vec<u8> {
    let mut payload = vec![20];
    payload.extend([7; 16]);
    for list in [methods, "ssh-ed25519"].iter().chain(&["aes128-gcm@openssh.com"; 2]) {
        payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
        payload.extend(list.as_bytes());
    }
    payload.extend([0; 4 * 6 + 5]);
    let padding = 16 - (payload.len() + 5) % 8;
    let mut packet = u32::try_from(payload.len() + padding + 1).unwrap().to_be_bytes().to_vec();
    packet.push(u8::try_from(padding).unwrap());
    packet.extend(payload);
    packet.resize(packet.len() + padding, 0);
    [b"SSH-2.0-Old\r\n".to_vec(), packet].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_keep_the_first_packets_from_being_cut_is_turned_away_and_told_why() {
    let bed = SshBed::start().await;
    let received = answer(&bed, &offer("curve25519-sha256,ext-info-c")).await;
    assert!(received.starts_with("SSH-2.0-Postern\r\n"), "{received:?}");
    assert!(received.contains("Terrapin"), "{received:?}");
    assert!(!received.contains("OpenSSH_"), "no version is shown: {received:?}");
}

#[rstest]
#[case::junk(b"GET / HTTP/1.1\r\nHost: gate\r\n\r\n".to_vec())]
#[case::another_version(b"SSH-1.5-x\r\n".to_vec())]
#[case::endless_name([b"SSH-2.0-".to_vec(), vec![b'x'; 1_000_000]].concat())]
#[case::endless_lines(b"hello\r\n".repeat(100_000))]
#[case::huge_packet([&b"SSH-2.0-x\r\n"[..], &[0x80, 0, 0, 0, 4, 20], &[0; 100_000]].concat())]
#[case::something_before_the_offer([&b"SSH-2.0-x\r\n"[..], &[0, 0, 0, 12, 4, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]].concat())]
#[case::no_common_method(offer("diffie-hellman-group1-sha1,kex-strict-c-v00@openssh.com"))]
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_speak_as_the_protocol_says_is_let_go(#[case] bytes: Vec<u8>) {
    let bed = SshBed::start().await;
    let received = answer(&bed, &bytes).await;
    assert!(received.len() < 8_192, "{} bytes of answer", received.len());
    bed.grant("1h").await;
    let (_, out, errors) = run(bed.ssh("alice", &["echo in"]).await).await;
    assert_eq!(out, "in\n", "others are served: {errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_half_sentences_end_at_the_deadline_while_others_are_served() {
    let more = "[limits]\nhandshake = \"5s\"";
    let bed = SshBed::made(Setup { more, ..Setup::default() }).await;
    bed.grant("1h").await;
    let mut silent = Vec::new();
    for bytes in [&b""[..], b"SSH-2.0-x", b"SSH-2.0-x\r\n\0\0\0\xff\x04\x14"] {
        let mut stream = connect(&bed).await;
        stream.write_all(bytes).await.unwrap();
        silent.push(stream);
    }
    let (_, out, errors) = run(bed.ssh("alice", &["echo in"]).await).await;
    assert_eq!(out, "in\n", "{errors}");
    for mut stream in silent {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banner_is_shown_before_anybody_is_known() {
    let ssh = "banner = \"Example Inc. Everything is recorded.\"";
    let bed = SshBed::made(Setup { ssh, target: "hold = \"never\"", ..Setup::default() }).await;
    let (ok, _, errors) = run(bed.ssh_as(None, &["true"])).await;
    assert!(!ok && errors.contains("Everything is recorded."), "{errors}");
}

/// Runs one case of `hostile.py`.
pub async fn hostile(bed: &SshBed, case: &str) {
    hostile_with(bed, case, &[]).await;
}

/// The same with what the case has to know.
pub async fn hostile_with(bed: &SshBed, case: &str, facts: &[&Path]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join(".cache/venv/bin/python"));
    command.arg(root.join("tests/ssh/hostile.py")).arg(bed.port().to_string());
    command.arg(bed.identity("alice").await).arg(case).args(facts);
    let (ok, out, errors) = run(command).await;
    assert!(ok, "{case}: {out}{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_get_nowhere_whatever_they_say() {
    let bed = SshBed::with("hold = \"never\"", crate::bed::OPEN).await;
    for case in [
        "messages_of_later_stages_lead_nowhere",
        "a_key_that_is_only_offered_is_no_proof",
        "a_name_that_changes_after_the_offer_is_a_new_attempt",
        "a_certificate_within_a_certificate_is_none",
        "strangers_hear_the_same_whoever_they_say_they_are",
        "a_guesser_has_only_so_many_attempts",
        "attempts_of_all_methods_count_together",
        "weak_algorithms_and_points_of_nothing_are_turned_away",
        "huge_packets_are_not_waited_for",
        "a_million_answers_and_extensions_are_bounded",
        "keys_that_are_too_large_are_not_computed_with",
        "endless_keys_are_not_asked_for_their_proof",
    ] {
        hostile(&bed, case).await;
    }
    assert!(!bed.target_log().contains("Accepted"), "the target was not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_no_longer_waits_is_let_go() {
    let more = "[limits]\nconnections = 16\nhandshake = \"10s\"";
    let bed = SshBed::made(Setup { more, ..Setup::default() }).await;
    hostile(&bed, "who_no_longer_waits_is_let_go").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_opens_while_people_decide() {
    let bed = SshBed::start().await;
    hostile(&bed, "nothing_opens_while_people_decide").await;
    assert!(!bed.target_log().contains("Accepted"), "the target was not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_let_in_can_neither_flood_nor_leave_what_is_recorded() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    for case in [
        "what_leads_around_the_recording_is_refused",
        "thousands_of_refused_channels_leave_nothing_behind",
        "channels_are_counted",
        "endless_requests_that_are_refused_end_the_connection",
        "data_beyond_the_window_ends_the_connection_and_no_other",
        "windows_do_not_overflow",
        "packets_of_nothing_are_not_sent_for_ever",
        "terminals_of_many_modes_are_bounded",
        "channels_that_are_not_there_take_nothing",
    ] {
        hostile(&bed, case).await;
    }
}

/// `ssh-keygen` with these arguments.
pub async fn keygen(arguments: &[&str]) {
    let mut command = Command::new("ssh-keygen");
    command.arg("-q").args(arguments);
    let (ok, _, errors) = run(command).await;
    assert!(ok, "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_persons_own_certificate_of_now_and_here_lets_in() {
    let bed = SshBed::with("hold = \"never\"", crate::bed::OPEN).await;
    bed.grant("1h").await;
    let other = bed.stray_key("other-authority");
    let authority = |name: &str| bed.file(&format!("state/authority/{name}"));
    let device = "extension:device@postern=laptop";
    let cases: [(&str, &Path, &[&str]); 11] = [
        ("good", &authority("ssh_people_ca"), &["-n", "alice", "-O", device]),
        ("another authority", &other, &["-n", "alice", "-O", device]),
        ("of logins", &authority("ssh_login_ca"), &["-n", "alice", "-O", device]),
        ("a host's", &authority("ssh_people_ca"), &["-h", "-n", "alice"]),
        ("expired", &authority("ssh_people_ca"), &["-n", "alice", "-O", device, "-V", "-2h:-1h"]),
        ("not yet", &authority("ssh_people_ca"), &["-n", "alice", "-O", device, "-V", "+1h:+2h"]),
        ("of bob", &authority("ssh_people_ca"), &["-n", "bob", "-O", device]),
        ("of two", &authority("ssh_people_ca"), &["-n", "alice,bob", "-O", device]),
        ("of nobody", &authority("ssh_people_ca"), &["-O", device]),
        (
            "of elsewhere",
            &authority("ssh_people_ca"),
            &["-n", "alice", "-O", device, "-O", "source-address=192.0.2.0/24"],
        ),
        (
            "with an option that nobody knows",
            &authority("ssh_people_ca"),
            &["-n", "alice", "-O", device, "-O", "critical:evil@example.com=x"],
        ),
    ];
    for (n, (name, authority, options)) in cases.into_iter().enumerate() {
        let key = bed.stray_key(&format!("key-{n}"));
        let public = key.with_extension("pub");
        let lifetime: &[&str] = if options.contains(&"-V") { &[] } else { &["-V", "-1m:+1h"] };
        let start = ["-s", authority.to_str().unwrap(), "-I", name];
        let end = [public.to_str().unwrap()];
        keygen(&[&start[..], lifetime, options, &end[..]].concat()).await;
        let mut command = bed.ssh_keys(&[key]);
        command.arg(bed.place()).arg("echo in");
        let (ok, out, errors) = run(command).await;
        assert_eq!(ok, name == "good", "{name}: {errors}");
        assert_eq!(out == "in\n", name == "good", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_name_of_file_transfer_leads_around_its_limits_and_its_recording() {
    let target = "read_only = true\nchannels = [\"sftp\", \"subsystem\"]";
    let bed = SshBed::with(target, crate::bed::OPEN).await;
    bed.grant("1h").await;
    hostile(&bed, "file_transfer_has_one_name").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_sent_while_connecting_are_delivered_as_they_are() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let mut command = bed.ssh("alice", &["od -An -tx1"]).await;
    let bytes = bed.file("bytes");
    std::fs::write(&bytes, [3, 4, 0x1a, b'~', b'.', b'\r', b'\n', 0, 255]).unwrap();
    command.stdin(std::fs::File::open(&bytes).unwrap());
    let (_, out, errors) = run(command).await;
    assert_eq!(out.trim(), "03 04 1a 7e 2e 0d 0a 00 ff", "{errors}");
}
