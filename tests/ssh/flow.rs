//! Both directions full, and ends that don't read: what flows, flows, and memory stays flat.

use std::process::{Command, Stdio};

use crate::bed::{Setup, SshBed};
use crate::running::Running;
use crate::support::{resident, run, until};

/// More than all windows and pipes on the way hold together.
const MUCH: usize = 24 * 1024 * 1024;

/// Bytes that a process has written so far.
fn written(pid: u32) -> u64 {
    let counts = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let count = counts.lines().find_map(|line| line.strip_prefix("wchar: "));
    count.map_or(0, |count| count.parse().unwrap())
}

/// Waits until a process writes no more.
async fn stands_still(pid: u32) -> u64 {
    let mut seen = std::collections::VecDeque::new();
    until("the client is stopped", || {
        seen.push_back(written(pid));
        if seen.len() > 20 {
            seen.pop_front();
        }
        seen.len() == 20 && seen[0] > 0 && seen.iter().all(|count| *count == seen[0])
    })
    .await;
    written(pid)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_does_not_read_stops_its_client_and_no_other_channel() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let socket = bed.file("mux");
    let mut master = bed.ssh("alice", &[]).await;
    master.args(["-M", "-S"]).arg(&socket).arg(bed.place()).arg("echo up; exec sleep 600");
    master.stdin(std::fs::File::open("/dev/zero").unwrap()).stdout(Stdio::piped());
    let before = resident();
    let mut master = master.spawn().unwrap();
    until("the master is up", || socket.exists()).await;
    let stopped = stands_still(master.id()).await;
    assert!(stopped < MUCH as u64, "{stopped} bytes went to a target that reads none");
    let mut other = Command::new("ssh");
    other.args(["-F", "none", "-S"]).arg(&socket).arg(bed.place()).arg("echo in");
    let (_, out, errors) = run(other).await;
    assert_eq!(out, "in\n", "{errors}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB");
    let _ = master.kill();
    let _ = master.wait();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_stops_its_target_and_no_other_channel() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let socket = bed.file("mux");
    let mut master = bed.ssh("alice", &[]).await;
    master.args(["-M", "-S"]).arg(&socket).arg(bed.place()).arg("sleep 600");
    let master = Running::start(master);
    until("the master is up", || socket.exists()).await;
    let on_it = |words: &str| {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-S"]).arg(&socket).arg(bed.place()).arg(words);
        command
    };
    let before = resident();
    // Its output goes into a pipe that nobody reads, while it is sent as much.
    let mut unread = on_it("cat");
    unread.stdin(std::fs::File::open("/dev/zero").unwrap()).stdout(Stdio::piped());
    let mut unread = unread.spawn().unwrap();
    let (_, out, errors) = run(on_it("echo in")).await;
    assert_eq!(out, "in\n", "{errors}");
    // Whatever there is in between, it is soon full.
    let output = unread.stdout.as_mut().unwrap();
    let mut some = vec![0; MUCH];
    std::io::Read::read_exact(output, &mut some).unwrap();
    let (_, out, errors) = run(on_it("echo still in")).await;
    assert_eq!(out, "still in\n", "{errors}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 96 * 1024, "{grown} KiB");
    let _ = unread.kill();
    let _ = unread.wait();
    drop(master);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_one_channel_is_told_of_the_end_and_keeps_the_others() {
    let bed = SshBed::start().await;
    bed.grant("20s").await;
    let socket = bed.file("mux");
    let mut master = bed.ssh("alice", &[]).await;
    master.args(["-M", "-S"]).arg(&socket).arg(bed.place()).arg("sleep 600");
    let mut master = Running::start(master);
    until("the master is up", || socket.exists()).await;
    let on_it = |words: &str| {
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-S"]).arg(&socket).arg(bed.place()).arg(words);
        command
    };
    let mut unread = on_it("echo up >&2; cat /dev/zero");
    let mut unread = unread.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    master.warns("ends in 10s").await;
    for _ in 0..3 {
        let (_, out, errors) = run(on_it("echo in")).await;
        assert_eq!(out, "in\n", "{errors}");
    }
    let _ = unread.kill();
    let _ = unread.wait();
    let (_, out, errors) = run(on_it("echo still in")).await;
    assert_eq!(out, "still in\n", "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_big_answer_comes_whole_while_much_is_sent() {
    let bed = SshBed::made(Setup::default()).await;
    bed.grant("1h").await;
    let command_line =
        format!("head -c {MUCH} /dev/zero; head -c {MUCH} > /dev/null; echo got it >&2");
    let mut command = bed.ssh("alice", &[&command_line]).await;
    command.stdin(std::fs::File::open("/dev/zero").unwrap()).stdout(Stdio::piped());
    let done = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert_eq!(done.stdout.len(), MUCH);
    assert!(String::from_utf8_lossy(&done.stderr).contains("got it"));
}
