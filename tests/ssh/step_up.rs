//! Connections for which the rules want a fresh step-up: they wait for it, and go on.

use crate::bed::{OPEN, SshBed};
use crate::running::Running;
use crate::support::browser::Browser;
use crate::support::{run, until};

/// Engineers may have every host, after a step-up for this very connection.
const STEP_UP: &str = r#"
permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
@id("a step-up") @step_up("5m")
forbid (principal, action == Action::"connect", resource);
"#;

/// Alice's browser. Who has a passkey signs in by it alone: her certificates come before.
async fn with_passkey(bed: &SshBed) -> Browser {
    bed.identity_on("alice", "laptop").await;
    bed.identity_on("alice", "desk").await;
    let mut alice = Browser::open().await;
    alice.register_at(&bed.gateway, "alice").await;
    alice
}

/// Confirms the connection that waits, on the page that it names.
async fn steps_up(person: &mut Browser, warning: &str) {
    let (code, rest) = warning.split_once(" at ").unwrap();
    let url = rest.split_whitespace().next().unwrap();
    person.go(url).await;
    person.fill("The code that your terminal shows", code).await;
    person.press("Show the connection").await;
    let seen = person.press("Yes, this is my connection").await;
    assert!(seen.title.starts_with("Confirmed"), "{seen:?}");
}

async fn from(bed: &SshBed, device: &str, command_line: &str) -> Running {
    let key = bed.identity_on("alice", device).await;
    let mut command = bed.ssh_keys(&[key]);
    command.arg(bed.place()).arg(command_line);
    Running::start(command)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ssh_for_which_the_rules_want_a_touch_waits_for_it_and_goes_on() {
    let bed = SshBed::with("", STEP_UP).await;
    let mut alice = with_passkey(&bed).await;

    let mut first = from(&bed, "laptop", "echo in; read word; echo $word").await;
    let warning = first.warning("confirm code ").await;
    steps_up(&mut alice, &warning).await;
    first.says("in\n").await;
    // The same certificate again, while the step-up is fresh.
    let (_, out, errors) = from(&bed, "laptop", "echo again").await.end().await;
    assert_eq!(out, "again\n", "{errors}");

    // The grant is there, but nobody stepped up for that one.
    let mut other = from(&bed, "desk", "echo there").await;
    other.warns("deploy on web-1 takes a fresh step-up").await;
    let warning = other.warning("confirm code ").await;
    assert!(!bed.target_log().contains("there"));
    steps_up(&mut alice, &warning).await;
    let (_, out, errors) = other.end().await;
    assert_eq!(out, "there\n", "{errors}");
    first.types("still here\n").await;
    assert_eq!(first.end().await.1, "in\nstill here\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_grant_ends_an_ssh_that_waits_for_a_touch() {
    let bed = SshBed::with("", STEP_UP).await;
    let mut alice = with_passkey(&bed).await;
    let mut first = from(&bed, "laptop", "echo in; cat").await;
    let warning = first.warning("confirm code ").await;
    steps_up(&mut alice, &warning).await;
    first.says("in\n").await;
    let mut other = from(&bed, "desk", "echo there").await;
    other.warns("takes a fresh step-up").await;
    let bob = bed.actor("bob").await;
    let control = bed.gateway.control();
    let all = control::SessionFilter { scope: control::Scope::All, ..Default::default() };
    let live = control.evidence.sessions(&bob, all, control::Paging::default()).await.unwrap();
    let grant = live.items[0].grant.clone();
    control.access.revoke(&bob, &grant, "incident 9".to_owned()).await.unwrap();
    other.warns("incident 9").await;
    first.warns("incident 9").await;
    let (status, out, _) = other.end().await;
    assert!(status != Some(0) && out.is_empty(), "{out}");
    first.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_may_wait_the_way_to_a_touch_is_told() {
    let bed = SshBed::with("hold = \"never\"", STEP_UP).await;
    let (ok, _, errors) = run(bed.ssh("alice", &["true"]).await).await;
    assert!(!ok && errors.contains("no live grant"), "{errors}");
    assert!(!bed.target_log().contains("Accepted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_without_any_key_waits_at_the_target_that_it_leads_to() {
    let bed = SshBed::with("", OPEN).await;
    let nobody = "PubkeyAuthentication no";
    let mut ssh = Running::start(bed.jump_with(nobody, "web-1", "echo in"));
    let warning = ssh.warning("confirm code ").await;
    let (code, _) = warning.split_once(' ').unwrap();
    bed.confirm("alice", code).await;
    let (_, out, errors) = ssh.end().await;
    assert_eq!(out, "in\n", "{errors}");
    let (ok, _, errors) = run(bed.jump_with(nobody, "elsewhere.example.com", "true")).await;
    assert!(!ok && errors.contains("no SSH target"), "{errors}");
    until("who it was stands in the target's log", || {
        bed.target_log().contains("postern alice gr-")
    })
    .await;
}
