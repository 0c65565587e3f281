//! Stock OpenSSH through the gateway to a real sshd.

use std::process::Stdio;

use crate::bed::{Setup, SshBed, kept};
use crate::running::Running;
use crate::support::{run, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_a_grant_runs_a_command_and_gets_its_output_and_its_status() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let (_, out, errors) = run(bed.ssh("alice", &["echo out; echo err >&2; exit 7"]).await).await;
    assert_eq!(out, "out\n", "{errors}");
    assert!(errors.contains("err\n"), "{errors}");
    let command = bed.ssh("alice", &["exit 7"]).await;
    let status = bed.status(command).await;
    assert_eq!(status, Some(7));
    let log = bed.target_log();
    assert!(log.contains("postern alice gr-"), "the target's log names the person: {log}");
    until("the session is recorded to its end", || {
        bed.events().iter().any(|line| line.contains("\"e\":\"end\""))
    })
    .await;
    let events = bed.events();
    assert!(events.iter().any(|line| line.contains("exit 7")), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_grant_nobody_comes_in_and_is_told_what_to_do() {
    let bed = SshBed::with("hold = \"never\"", crate::bed::OPEN).await;
    let (ok, _, errors) = run(bed.ssh("alice", &["true"]).await).await;
    assert!(!ok);
    assert!(errors.contains("no live grant"), "{errors}");
    assert!(errors.contains("postern request"), "{errors}");
    assert!(!bed.target_log().contains("Accepted"), "the target was not touched");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_waits_goes_on_by_itself_when_the_person_has_confirmed() {
    let bed = SshBed::start().await;
    let mut ssh = Running::start(bed.ssh_as(None, &["echo in"]));
    let warning = ssh.warning("confirm code ").await;
    let (code, _) = warning.split_once(' ').unwrap();
    bed.confirm("alice", code).await;
    let (_, out, errors) = ssh.end().await;
    assert_eq!(out, "in\n", "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_person_waits_for_the_approver() {
    let bed = SshBed::with("", crate::bed::FOUR_EYES).await;
    let mut ssh = Running::start(bed.ssh("alice", &["echo in"]).await);
    ssh.warns("asked for").await;
    bed.approve("bob").await;
    let (_, out, errors) = ssh.end().await;
    assert_eq!(out, "in\n", "{errors}");
    assert!(errors.contains("approved by"), "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_reads_why_the_approver_said_no() {
    let bed = SshBed::with("", crate::bed::FOUR_EYES).await;
    let mut ssh = Running::start(bed.ssh("alice", &["echo in"]).await);
    ssh.warns("asked for").await;
    bed.deny("bob", "not on a Friday").await;
    ssh.warns("not on a Friday").await;
    let (status, out, _) = ssh.end().await;
    assert!(status != Some(0) && out.is_empty(), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn revoke_cuts_a_command_and_its_user_reads_why() {
    let bed = SshBed::start().await;
    let grant = bed.grant("1h").await;
    let mut ssh = Running::start(bed.ssh("alice", &["echo started; cat"]).await);
    ssh.says("started").await;
    bed.revoke(&grant, "incident 7").await;
    // Its input stays open: what ends it is the cut alone.
    ssh.warns("incident 7").await;
    ssh.end().await;
    until("the recording says so", || kept(&bed.events(), "\"revoked\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_recorded_as_it_was_shown_and_what_was_typed_is_not() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let mut command = bed.ssh("alice", &[]).await;
    command.arg("-tt").arg(bed.place()).args(["stty -echo; echo ready; read x; echo got it"]);
    let mut ssh = Running::start(command);
    ssh.says("ready\r\n").await;
    ssh.types("canary-typed-secret\n").await;
    let (_, out, _) = ssh.end().await;
    assert!(out.contains("got it"), "{out}");
    until("the session is over", || kept(&bed.events(), "\"e\":\"end\"")).await;
    let events = bed.events();
    assert!(kept(&events, "got it"), "{events:?}");
    assert!(kept(&events, "\"terminal\""), "{events:?}");
    assert!(!kept(&events, "canary-typed-secret"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_is_recorded_where_a_rule_wants_it_and_only_what_the_terminal_showed() {
    let rules = r#"
        permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
        @record("input") forbid (principal, action == Action::"connect", resource is Host);
    "#;
    let bed = SshBed::with("", rules).await;
    bed.grant("1h").await;
    let mut command = bed.ssh("alice", &[]).await;
    let script = "echo ready; read x; stty -echo; echo hidden; read y; echo got it";
    command.arg("-tt").arg(bed.place()).args([script]);
    let mut ssh = Running::start(command);
    ssh.says("ready\r\n").await;
    ssh.types("a line that is shown\n").await;
    ssh.says("hidden\r\n").await;
    ssh.types("canary-typed-secret\n").await;
    let (_, out, _) = ssh.end().await;
    assert!(out.contains("got it"), "{out}");
    until("the session is over", || kept(&bed.events(), "\"e\":\"end\"")).await;
    let events = bed.events();
    let typed: Vec<&String> =
        events.iter().filter(|line| line.contains("\"ssh\":\"input\"")).collect();
    assert_eq!(typed.len(), 2, "{events:?}");
    assert!(typed[0].contains("a line that is shown"), "{typed:?}");
    assert!(typed[1].contains("\"omitted\":20"), "{typed:?}");
    assert!(!kept(&events, "canary-typed-secret"), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_both_ways_byte_for_byte() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let (here, there) = (bed.file("here"), bed.at_home("there"));
    let bytes: Vec<u8> = (0..6_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(&here, &bytes).unwrap();
    for options in [&[][..], &["-O"]] {
        let back = bed.file("back");
        let up = bed.scp("alice", options, &here, &bed.remote(&there)).await;
        let (ok, _, errors) = run(up).await;
        assert!(ok, "{errors}");
        let remote = bed.remote(&there);
        let down = bed.scp("alice", options, std::path::Path::new(&remote), back.to_str().unwrap());
        let (ok, _, errors) = run(down.await).await;
        assert!(ok, "{errors}");
        assert!(std::fs::read(&back).unwrap() == bytes, "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_directions_may_be_full_at_once() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let big = bed.file("big");
    let bytes: Vec<u8> = (0..8_000_000u32).map(|n| (n % 241) as u8).collect();
    std::fs::write(&big, &bytes).unwrap();
    let mut command = bed.ssh("alice", &["cat"]).await;
    command.stdin(std::fs::File::open(&big).unwrap()).stdout(Stdio::piped());
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    assert!(output.stdout == bytes, "{} bytes came back", output.stdout.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leads_around_the_recording_is_refused_in_words() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let mut command = bed.ssh("alice", &[]).await;
    command.args(["-W", "127.0.0.1:1"]).arg(bed.place());
    let (ok, _, errors) = run(command).await;
    assert!(!ok && errors.contains("direct-tcpip is not allowed"), "{errors}");
    let mut command = bed.ssh("alice", &[]).await;
    command.args(["-o", "ExitOnForwardFailure=yes", "-N", "-R", "0:127.0.0.1:1"]).arg(bed.place());
    let (ok, _, errors) = run(command).await;
    assert!(!ok && errors.contains("forwarding failed"), "{errors}");
    let mut command = bed.ssh("alice", &[]).await;
    command.env("SECRET_CANARY", "x").args(["-o", "SendEnv=SECRET_CANARY"]);
    let (_, out, _) = run({
        command.arg(bed.place()).arg("echo [$SECRET_CANARY]");
        command
    })
    .await;
    assert_eq!(out, "[]\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_carry_twenty_channels_to_its_one_target() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let socket = bed.file("mux");
    let mut master = bed.ssh("alice", &[]).await;
    master.args(["-N", "-M", "-S"]).arg(&socket).arg(bed.place());
    let mut master = master.spawn().unwrap();
    until("the master is up", || socket.exists()).await;
    let mut channels = Vec::new();
    for n in 0..20 {
        let mut command = std::process::Command::new("ssh");
        command.args(["-F", "none", "-S"]).arg(&socket).arg(bed.place());
        command.arg(format!("echo in {n}; read word; echo $word {n}"));
        channels.push(Running::start(command));
    }
    for (n, ssh) in channels.iter_mut().enumerate() {
        ssh.says(&format!("in {n}\n")).await;
    }
    // All twenty are open now.
    for (n, mut ssh) in channels.into_iter().enumerate() {
        ssh.types("out\n").await;
        assert_eq!(ssh.end().await.1, format!("in {n}\nout {n}\n"));
    }
    let _ = master.kill();
    let _ = master.wait();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_through_the_gate_ends_at_the_target_with_its_own_host_certificate() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let (ok, out, errors) = run(bed.jump("alice", "web-1", "echo in").await).await;
    assert!(ok, "{errors}");
    assert_eq!(out, "in\n");
    let (ok, _, errors) = run(bed.jump("alice", "elsewhere.example.com", "true").await).await;
    assert!(!ok && errors.contains("no SSH target"), "{errors}");
    until("it is recorded", || kept(&bed.events(), "echo in")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_with_another_host_key_gets_no_credential() {
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    let bed = SshBed::made(Setup { host_key: Some(other), ..Setup::default() }).await;
    bed.grant("1h").await;
    let (ok, _, errors) = run(bed.ssh("alice", &["true"]).await).await;
    assert!(!ok && errors.contains("host key"), "{errors}");
    assert!(!bed.target_log().contains("Accepted"));
    assert!(!bed.target_log().contains("CERT"), "no certificate was shown: {}", bed.target_log());
}

#[tokio::test(flavor = "multi_thread")]
async fn six_wrong_keys_first_do_not_keep_the_right_one_out() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let wrong: Vec<_> = (0..6).map(|n| bed.stray_key(&format!("wrong-{n}"))).collect();
    let mut command = bed.ssh_keys(&wrong);
    bed.with_identity(&mut command, "alice").await;
    command.arg(bed.place()).arg("echo in");
    let (_, out, errors) = run(command).await;
    assert_eq!(out, "in\n", "{errors}");
}
