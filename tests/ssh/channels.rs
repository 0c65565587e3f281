//! Every kind of channel is a permission, which the target and the rules give.

use crate::bed::{Setup, SshBed, kept};
use crate::running::Running;
use crate::support::{run, until};

/// Files may go, commands take an approval that nobody was asked for, and the rest is open.
const BY_CHANNEL: &str = r#"
permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
forbid (principal, action, resource)
when { context has channel && context.channel == "shell" };
@id("commands") @approvals("1 of dba")
forbid (principal, action, resource)
when { context has channel && context.channel == "exec" };
forbid (principal, action, resource)
when { context has channel && context.channel == "direct-tcpip" };
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_decide_which_channels_a_grant_opens() {
    let target = r#"channels = ["shell", "exec", "sftp", "direct-tcpip"]"#;
    let bed = SshBed::made(Setup { target, rules: BY_CHANNEL, ..Setup::default() }).await;
    bed.grant("1h").await;
    let here = bed.file("here");
    std::fs::write(&here, "files go\n").unwrap();
    let up = bed.scp("alice", &[], &here, &bed.remote(&bed.at_home("there"))).await;
    let (ok, _, errors) = run(up).await;
    assert!(ok, "{errors}");
    let message = |kind: &str| format!("the rules do not let this grant open {kind}");
    let (ok, _, errors) = run(bed.ssh("alice", &["echo in"]).await).await;
    assert!(!ok && errors.contains(&message("exec")), "{errors}");
    let mut shell = bed.ssh("alice", &[]).await;
    shell.arg(bed.place());
    let (ok, _, errors) = run(shell).await;
    assert!(!ok && errors.contains(&message("shell")), "{errors}");
    let mut forward = bed.ssh("alice", &[]).await;
    forward.args(["-W", "127.0.0.1:1"]).arg(bed.place());
    let (ok, _, errors) = run(forward).await;
    assert!(!ok && errors.contains(&message("direct-tcpip")), "{errors}");
    until("the refusals stand in the recording", || {
        let events = bed.events();
        ["exec", "shell", "direct-tcpip"].iter().all(|kind| kept(&events, &message(kind)))
    })
    .await;
}

/// What is typed is to be kept, too.
const WATCHED: &str = r#"
permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
@id("watched") @record("input")
forbid (principal, action, resource);
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_typed_is_kept_where_the_rules_say_so_and_never_what_was_not_shown() {
    let bed = SshBed::with("", WATCHED).await;
    bed.grant("1h").await;
    let mut command = bed.ssh("alice", &[]).await;
    command.arg("-tt").arg(bed.place());
    command.arg("echo ready; read shown; stty -echo; echo hidden now; read hidden; echo done");
    let mut ssh = Running::start(command);
    ssh.says("ready\r\n").await;
    ssh.types("typed-and-shown\n").await;
    ssh.says("hidden now\r\n").await;
    ssh.types("canary-never-shown\n").await;
    ssh.says("done").await;
    ssh.end().await;
    until("the session is over", || kept(&bed.events(), "\"e\":\"end\"")).await;
    let events = bed.events();
    let typed = events.iter().filter(|line| line.contains("\"ssh\":\"input\""));
    let typed: Vec<_> = typed.collect();
    assert!(typed.iter().any(|line| line.contains("typed-and-shown")), "{events:?}");
    assert_eq!(typed.len(), 2, "the other is counted: {typed:?}");
    assert!(!kept(&events, "canary-never-shown"), "{events:?}");
}
