//! What changes about a person, their grant or the rules reaches a live session.

use postern::config::Config;
use rstest::rstest;

use crate::bed::{OPEN, SshBed, kept};
use crate::running::Running;
use crate::support::{run, until};

/// What the configuration says from now on.
async fn reload(bed: &SshBed, from: &str, to: &str) {
    let path = bed.file("postern.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(&path, text.replace(from, to)).unwrap();
    bed.gateway.reload(&Config::load(&path).unwrap()).await.unwrap();
}

#[rstest]
#[case::out_of_the_group("groups = [\"engineering\"]", "groups = []")]
#[case::disabled("name = \"Alice\"", "name = \"Alice\"\ndisabled = true")]
#[case::relabelled("environment = \"prod\"", "environment = \"vault\"")]
#[tokio::test(flavor = "multi_thread")]
async fn who_would_no_longer_be_given_it_is_cut_and_reads_why(
    #[case] from: &str,
    #[case] to: &str,
) {
    let rules = format!("{OPEN}\nforbid (principal, action, resource in Env::\"vault\");\n");
    let bed = SshBed::with("hold = \"never\"", &rules).await;
    bed.grant("1h").await;
    let mut ssh = Running::start(bed.ssh("alice", &["echo in; cat"]).await);
    ssh.says("in\n").await;
    reload(&bed, from, to).await;
    ssh.warns("postern: ").await;
    let (status, _, errors) = ssh.end().await;
    assert!(status != Some(0) && errors.contains("Session se-"), "{errors}");
    let (ok, out, _) = run(bed.ssh("alice", &["echo in"]).await).await;
    assert!(!ok && out.is_empty());
    until("the recording says why", || kept(&bed.events(), "\"e\":\"end\"")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_connection_near_the_end_prolongs_nothing() {
    let bed = SshBed::start().await;
    let grant = bed.grant("12s").await;
    let mut first = Running::start(bed.ssh("alice", &["echo in; cat"]).await);
    first.says("in\n").await;
    // The user reads a warning when ten seconds are left.
    first.warns("ends in 10s").await;
    let mut second = Running::start(bed.ssh("alice", &["echo in; cat"]).await);
    second.says("in\n").await;
    for ssh in [&mut first, &mut second] {
        ssh.warns("the grant has expired").await;
    }
    first.end().await;
    second.end().await;
    let bob = bed.actor("bob").await;
    let all = control::SessionFilter { scope: control::Scope::All, ..Default::default() };
    let control = bed.gateway.control();
    let sessions = control.evidence.sessions(&bob, all, control::Paging::default()).await.unwrap();
    assert_eq!(sessions.items.len(), 2);
    for session in sessions.items {
        assert_eq!(session.grant, grant.id, "both were under the one grant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_of_a_login_that_was_ended_opens_nothing_and_cuts_what_it_opened() {
    let bed = SshBed::with("hold = \"never\"", OPEN).await;
    bed.grant("1h").await;
    let mut ssh = Running::start(bed.ssh("alice", &["echo in; cat"]).await);
    ssh.says("in\n").await;
    let bob = bed.actor("bob").await;
    let alice = "alice".parse().unwrap();
    bed.gateway.control().identity.end_all_logins(&bob, &alice).await.unwrap();
    ssh.warns("postern: ").await;
    assert_ne!(ssh.end().await.0, Some(0));
    let (ok, out, errors) = run(bed.ssh("alice", &["echo in"]).await).await;
    assert!(!ok && out.is_empty() && errors.contains("locked"), "{errors}");
    // Another login brings another certificate, which is good.
    let key = bed.identity_on("alice", "desk").await;
    let mut command = bed.ssh_keys(&[key]);
    command.arg(bed.place()).arg("echo in");
    let (_, out, errors) = run(command).await;
    assert_eq!(out, "in\n", "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn variables_that_would_change_what_runs_do_not_pass() {
    let bed = SshBed::start().await;
    bed.grant("1h").await;
    let mut command = bed.ssh("alice", &[]).await;
    for (name, value) in [
        ("LANG", "C.canary"),
        ("LC_CANARY", "passes"),
        ("BASH_ENV", "/canary"),
        ("LD_LIBRARY_PATH", "/canary"),
        ("SECRET_CANARY", "canary"),
    ] {
        command.env(name, value).args(["-o", &format!("SendEnv={name}")]);
    }
    command.arg(bed.place());
    command.arg("echo [$LANG][$LC_CANARY][$BASH_ENV][$LD_LIBRARY_PATH][$SECRET_CANARY]");
    let (_, out, errors) = run(command).await;
    assert_eq!(out, "[C.canary][passes][][][]\n", "{errors}");
    until("what was refused stands in the recording", || {
        let events = bed.events();
        ["BASH_ENV", "LD_LIBRARY_PATH", "SECRET_CANARY"].iter().all(|name| {
            kept(&events, &format!("the environment variable `{name}` is not passed on"))
        })
    })
    .await;
}
