//! Kill -9 of the whole gateway: what the target got is in the recording, and nothing stays behind.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::apart::Apart;
use crate::support::raw::{query, read_until, send};
use crate::support::{Setup, psql, until};
use audit::{Kind, Reader};
use postern::up::Gateway;

async fn apart() -> Apart {
    Apart::new(Setup::default(), &["app_rw@orders"]).await
}

fn newest_recording(apart: &Apart) -> PathBuf {
    let folder = apart.folder.path().join("state/recordings");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| path.metadata().unwrap().created().unwrap()).unwrap()
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
    crate::support::run(command).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_that_the_target_got_before_a_kill_is_in_the_recording() {
    let apart = apart().await;
    let mut gateway = apart.start().await;
    let mut stream = apart.session("app_rw").await;
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
            while let Some(message) = crate::support::raw::read(&mut stream).await {
                if message.kind == b'Z' {
                    break;
                }
            }
        }
        // All were sent before the kill came: the last is still being answered for.
        let _ =
            tokio::io::AsyncWriteExt::write_all(&mut stream, &query("select pg_sleep(600)")).await;
        let _ = crate::support::raw::read(&mut stream).await;
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
    let path = newest_recording(&apart);
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
    let apart = apart().await;
    let mut gateway = apart.start().await;
    let mut stream = apart.session("app_rw").await;
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
    let (ok, out, errors) = crate::support::run(command).await;
    assert!(ok && out.trim() == "through", "{errors}");
    until("the target has no session left", || apart.upstream_sessions() == "0").await;
    again.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_neither_in_the_log_nor_in_the_arguments_or_environment() {
    let apart = apart().await;
    let gateway = apart.start().await;
    let mut stream = apart.session("app_rw").await;
    send(
        &mut stream,
        &query("select 'a' as canary_statement; alter role app_rw password 'canary-new'"),
    )
    .await;
    read_until(&mut stream, b'Z').await;
    let process = PathBuf::from(format!("/proc/{}", gateway.id()));
    for path in [process.join("cmdline"), process.join("environ"), apart.folder.path().join("log")]
    {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for secret in
            [crate::support::SECRET_RW, crate::support::SECRET_RO, "canary-new", "canary_statement"]
        {
            assert!(!text.contains(secret), "{} holds {secret}", path.display());
        }
    }
}
