//! Connections within one that stays: how long it speaks for them, and what becomes of those that are left.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::bed::{LOGIN, OPEN, SshBed};
use crate::running::Running;
use crate::support::{run, until};
use crate::wire::keygen;

/// Engineers say why they want a host, which stock `ssh` can't.
const WORDS: &str = r#"
permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
@id("hosts take a reason") @reason("12")
forbid (principal, action == Action::"connect", resource);
"#;

/// How long the certificate lasts with which the connection begins.
const LIFE: Duration = Duration::from_secs(12);

/// A connection to the gateway that stays, by this key; and those within it, which have none.
struct Jumps {
    file: PathBuf,
    _outer: Running,
}

impl Jumps {
    async fn begin(bed: &SshBed, key: PathBuf) -> Self {
        let (file, socket) = (bed.file("jumps"), bed.file("mux"));
        let text = format!(
            "Host gate\n    HostName 127.0.0.1\n    Port {}\n    HostKeyAlias gate.example.com\n    \
             User alice\n    IdentityFile {}\n    IdentitiesOnly yes\n    ControlPath {}\n\
             Host web-1\n    User {LOGIN}\n    ProxyJump gate\n    PubkeyAuthentication no\n\
             Host *\n    UserKnownHostsFile {}\n    GlobalKnownHostsFile /dev/null\n    \
             StrictHostKeyChecking yes\n",
            bed.port(),
            key.display(),
            socket.display(),
            bed.file("known_hosts").display(),
        );
        std::fs::write(&file, text).unwrap();
        let mut outer = Command::new("ssh");
        outer.env_remove("SSH_AUTH_SOCK").arg("-F").arg(&file).args(["-M", "-N", "gate"]);
        let outer = Running::start(outer);
        until("the connection stands", || socket.exists()).await;
        Self { file, _outer: outer }
    }

    fn inner(&self) -> Command {
        let mut command = Command::new("ssh");
        command.env_remove("SSH_AUTH_SOCK").arg("-F").arg(&self.file).args(["web-1", "echo in"]);
        command
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_leads_on_speaks_for_nobody_once_its_certificate_has_ended() {
    let bed = SshBed::with("hold = \"never\"", OPEN).await;
    bed.grant("1h").await;
    let key = bed.stray_key("short");
    let authority = bed.file("state/authority/ssh_people_ca");
    let (lasts, public) = (format!("-1m:+{}s", LIFE.as_secs()), key.with_extension("pub"));
    let ends = SystemTime::now() + LIFE + Duration::from_secs(1);
    keygen(&[
        "-s",
        authority.to_str().unwrap(),
        "-I",
        "short",
        "-n",
        "alice",
        "-O",
        "extension:device@postern=laptop",
        "-V",
        &lasts,
        public.to_str().unwrap(),
    ])
    .await;
    let jumps = Jumps::begin(&bed, key).await;
    let (_, out, errors) = run(jumps.inner()).await;
    assert_eq!(out, "in\n", "{errors}");
    until("the certificate has ended", || SystemTime::now() > ends).await;
    let (ok, out, errors) = run(jumps.inner()).await;
    assert!(!ok && out.is_empty() && errors.contains("Permission denied"), "{out}{errors}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_within_a_connection_that_stays_takes_the_code_along() {
    let bed = SshBed::with("", WORDS).await;
    let jumps = Jumps::begin(&bed, bed.identity("alice").await).await;
    let mut inner = Running::start(jumps.inner());
    let warning = inner.warning("confirm code ").await;
    let id = warning.split_once("/c/").unwrap().1.split_whitespace().next().unwrap();
    let control = bed.gateway.control();
    assert!(control.gateway.hold_waits(id));
    drop(inner);
    until("its code is dead", || !control.gateway.hold_waits(id)).await;
}
