//! Kill -9 of the whole gateway: what the target got is in the recording, and nothing stays behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    reason = "a journey reads best in one piece, and one that can't go on has failed"
)]

mod support;

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use audit::{Kind, Reader};
use postern::throwaway::{Cluster, free_port};
use postern::up::Gateway;
use support::raw::{query, read_until, send};
use support::{Bed, Files, psql, until};

/// A gateway in a process of its own, on the state of one that has given a grant.
struct Apart {
    cluster: Cluster,
    folder: tempfile::TempDir,
    config: PathBuf,
    conninfo: String,
    port: u16,
    files: Files,
    ca_pem: String,
}

impl Apart {
    async fn new() -> Self {
        let bed = Bed::start().await;
        bed.grant("app_rw@orders", "30m").await;
        let files = bed.files("alice").await;
        let ca_pem = bed.ca_pem();
        let port = free_port().unwrap();
        let old = bed.port().to_string();
        let conninfo = bed.conninfo(&files, "app_rw", "orders").replace(&old, &port.to_string());
        let Bed { gateway, cluster, folder, config } = bed;
        gateway.shutdown(Duration::from_secs(10)).await;
        let text = std::fs::read_to_string(&config).unwrap();
        let listen = "[postgres]\nlisten = [\"127.0.0.1:";
        std::fs::write(
            &config,
            text.replace(&format!("{listen}0\""), &format!("{listen}{port}\"")),
        )
        .unwrap();
        Self { cluster, folder, config, conninfo, port, files, ca_pem }
    }

    /// Starts it, and waits until it serves.
    async fn start(&self) -> Killed {
        let child = Command::new(env!("CARGO_BIN_EXE_postern"))
            .args(["up", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let child = Killed(child);
        support::until_some("the gateway serves", async || {
            let mut command = psql(&self.conninfo);
            command.args(["-c", "select 1"]);
            support::run(command).await.0.then_some(())
        })
        .await;
        child
    }

    async fn session(&self) -> support::raw::Tls {
        support::raw::session_at(self.port, &self.ca_pem, &self.files, "app_rw", "orders").await
    }

    fn newest_recording(&self) -> PathBuf {
        let folder = self.folder.path().join("state/recordings");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files.max_by_key(|path| path.metadata().unwrap().created().unwrap()).unwrap()
    }

    fn upstream_sessions(&self) -> String {
        let seen = "select count(*) from pg_stat_activity where application_name like 'postern:%'";
        self.cluster.psql(seen).unwrap().trim().to_owned()
    }
}

/// A process that ends with its test.
struct Killed(Child);

impl Killed {
    fn kill_9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn recorded(path: &Path) -> BTreeSet<String> {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap()));
    let mut texts = BTreeSet::new();
    while let Some(event) = reader.next_event().unwrap() {
        if let Kind::Query { text, .. } = event.kind {
            texts.insert(String::from_utf8(text.as_bytes().to_vec()).unwrap());
        }
    }
    texts
}

async fn replay(path: &Path) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(["replay", "--file"]).arg(path).stdin(Stdio::null());
    support::run(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_that_the_target_got_before_a_kill_is_in_the_recording() {
    let apart = Apart::new().await;
    let mut gateway = apart.start().await;
    let mut stream = apart.session().await;
    send(&mut stream, &query("create table t (n int)")).await;
    read_until(&mut stream, b'Z').await;
    let writer = tokio::spawn(async move {
        for n in 0..1_000 {
            // One after the other, as fast as they are answered, until the gateway is gone.
            if tokio::io::AsyncWriteExt::write_all(
                &mut stream,
                &query(&format!("insert into t values ({n})")),
            )
            .await
            .is_err()
            {
                return;
            }
            while let Some(message) = support::raw::read(&mut stream).await {
                if message.kind == b'Z' {
                    break;
                }
            }
        }
        // All were sent before the kill came: the last is still being answered for.
        let _ =
            tokio::io::AsyncWriteExt::write_all(&mut stream, &query("select pg_sleep(600)")).await;
        let _ = support::raw::read(&mut stream).await;
    });
    until("half of them are in", || {
        apart
            .cluster
            .psql_in("shop", "select count(*) from t")
            .unwrap()
            .trim()
            .parse::<u32>()
            .unwrap()
            > 400
    })
    .await;
    gateway.kill_9();
    writer.await.unwrap();
    until("the target has no session left", || apart.upstream_sessions() == "0").await;
    let got = apart.cluster.psql_in("shop", "select n from t").unwrap();
    let path = apart.newest_recording();
    let recorded = recorded(&path);
    for n in got.lines() {
        assert!(
            recorded.contains(&format!("insert into t values ({n})")),
            "{n} is not in the recording"
        );
    }
    let (ok, out, errors) = replay(&path).await;
    assert!(ok, "{errors}");
    assert!(out.contains("insert into t values (400)"), "{out}");

    // A write that the kill tore: the replay shows the rest, and says where it ends.
    let length = path.metadata().unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 7).unwrap();
    let (_, out, errors) = replay(&path).await;
    let told = format!("{out}{errors}");
    assert!(told.contains("torn") && told.contains("byte"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_grant_is_still_good_and_no_session_stays_live() {
    let apart = Apart::new().await;
    let mut gateway = apart.start().await;
    let mut stream = apart.session().await;
    send(&mut stream, &query("select pg_sleep(600)")).await;
    until("it runs", || apart.upstream_sessions() == "1").await;
    // The register hears of the session within a moment; then the gateway is gone.
    gateway.kill_9();
    drop(stream);
    until("the target noticed that nobody listens", || apart.upstream_sessions() == "0").await;
    let config = postern::config::Config::load(&apart.config).unwrap();
    let again = Gateway::start(&config).await.unwrap();
    let bob = {
        let control = again.control();
        let invite =
            control.invite(None, &policies::PrincipalId::new("bob").unwrap()).await.unwrap();
        control.sign_in(&invite.code, control::Origin::default()).await.unwrap().actor
    };
    let filter = control::SessionFilter {
        live: Some(true),
        scope: control::Scope::All,
        ..Default::default()
    };
    let live = again.control().sessions(&bob, filter, control::Paging::default()).await.unwrap();
    assert!(live.items.is_empty(), "{:?}", live.items);
    let mut command = psql(&apart.conninfo);
    command.args(["-Atc", "select 'through'"]);
    let (ok, out, errors) = support::run(command).await;
    assert!(ok && out.trim() == "through", "{errors}");
    until("the target has no session left", || apart.upstream_sessions() == "0").await;
    again.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_takes_good_rules_over_and_leaves_bad_ones() {
    let apart = Apart::new().await;
    let gateway = apart.start().await;
    let mut stream = apart.session().await;
    let rules = apart.folder.path().join("policies/access.cedar");
    let log = || std::fs::read_to_string(apart.folder.path().join("log")).unwrap();
    let hang_up = || {
        let pid = gateway.0.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    std::fs::write(&rules, "permit (principal, action").unwrap();
    hang_up();
    until("the fault is told", || log().contains("access.cedar:1:")).await;
    send(&mut stream, &query("select 'still here'")).await;
    read_until(&mut stream, b'Z').await;
    std::fs::write(&rules, "// nobody any more\n").unwrap();
    hang_up();
    let error = support::raw::read_error(&mut stream).await;
    assert!(error.field(b'M').contains("rules no longer give"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_neither_in_the_log_nor_in_the_arguments_or_environment() {
    let apart = Apart::new().await;
    let gateway = apart.start().await;
    let mut stream = apart.session().await;
    send(
        &mut stream,
        &query("select 'a' as canary_statement; alter role app_rw password 'canary-new'"),
    )
    .await;
    read_until(&mut stream, b'Z').await;
    let process = PathBuf::from(format!("/proc/{}", gateway.0.id()));
    for path in [process.join("cmdline"), process.join("environ"), apart.folder.path().join("log")]
    {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for secret in [support::SECRET_RW, support::SECRET_RO, "canary-new", "canary_statement"] {
            assert!(!text.contains(secret), "{} holds {secret}", path.display());
        }
    }
}
