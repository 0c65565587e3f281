//! Room for recordings: a session that uses it up ends with the reason, on a full disk nothing passes
//! unrecorded, and with space all works again without a restart.

use std::path::PathBuf;

use crate::bed::{Setup, SshBed, kept};
use crate::gateway_process::GatewayProcess;
use crate::running::Running;
use crate::support::{run, until, until_some};

#[tokio::test(flavor = "multi_thread")]
async fn an_ssh_session_that_fills_its_quota_ends_with_the_reason() {
    let more = "[recording]\nsession_quota = \"64KiB\"\nreserve = \"1MiB\"";
    let bed = SshBed::made(Setup { more, ..Setup::default() }).await;
    bed.grant("1h").await;
    let mut command = bed.ssh("alice", &[]).await;
    command.arg("-tt").arg(bed.place()).arg("yes filling");
    let (ok, _, errors) = run(command).await;
    let why = "the recording of this session reached its quota of 64KiB; connect again to go on";
    assert!(!ok && errors.contains(why), "{errors}");
    until("the recording has its end", || kept(&bed.events(), "\"end\":\"recording-full\"")).await;
    let (ok, out, errors) = run(bed.ssh("alice", &["echo again"]).await).await;
    assert!(ok && out == "again\n", "{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_no_ssh_session_goes_on_unrecorded_and_space_brings_all_back() {
    let quotas =
        "[recording]\nreserve = \"1B\"\nprincipal_quota = \"100%\"\nspool_quota = \"100%\"";
    let process =
        GatewayProcess::of(SshBed::made(Setup { more: quotas, ..Setup::default() }).await).await;
    let folder = process.folder.path().join("state/recordings");
    let user = if rustix::process::geteuid().is_root() { "" } else { "--map-root-user" };
    let before = format!(
        "exec unshare --mount {user} sh -c 'mount -t tmpfs -o size=2m,mode=700 tmpfs {} && exec \"$@\"' sh \"$@\"; ",
        folder.display()
    );
    let gateway = process.start(&before).await;
    let root = PathBuf::from(format!("/proc/{}/root", gateway.0.id()));
    let recordings = root.join(folder.strip_prefix("/").unwrap());

    let mut quiet = process.ssh(&[]);
    quiet.arg("-tt").arg("echo ready; read go; yes unrecorded");
    let mut quiet = Running::start(quiet);
    quiet.says("ready").await;
    let mut filling = process.ssh(&[]);
    filling.arg("-tt").arg("yes unrecorded");
    let (ok, _, errors) = run(filling).await;
    assert!(!ok && errors.contains("there is no more room to record the session"), "{errors}");
    // The quiet one may use up what its last page has; then it ends, too.
    quiet.types("go\n").await;
    let (_, _, errors) = quiet.end().await;
    assert!(errors.contains("there is no more room to record the session"), "{errors}");
    let canary = process.sshd.home().join("canary");
    let (ok, _, errors) = run(process.ssh(&[&format!("touch {}", canary.display())])).await;
    assert!(!ok && errors.contains("free space"), "{errors}");
    assert!(!canary.exists());

    for entry in std::fs::read_dir(&recordings).unwrap() {
        let path = entry.unwrap().path();
        if path.metadata().unwrap().len() > 100_000 {
            std::fs::remove_file(path).unwrap();
        }
    }
    until_some("all works again", async || run(process.ssh(&["true"])).await.0.then_some(())).await;
}
