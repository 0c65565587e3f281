//! Kill -9 of the whole gateway: what the target got is in the recording, and nothing stays behind.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::gateway_process::GatewayProcess;
use crate::support::raw::{query, read_until, send};
use crate::support::{Setup, psql, until};
use audit::{Kind, Reader, Summary, Tail};
use postern::up::Gateway;

async fn process() -> GatewayProcess {
    GatewayProcess::new(Setup::default(), &["app_rw@orders"]).await
}

fn newest_recording(process: &GatewayProcess) -> PathBuf {
    let folder = process.folder.path().join("state/recordings");
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
    let process = process().await;
    let mut gateway = process.start().await;
    let mut stream = process.session("app_rw").await;
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
        process
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
    until("the target has no session left", || process.upstream_sessions() == "0").await;
    let got = process.cluster.psql_in("shop", "select n from t").unwrap();
    let path = newest_recording(&process);
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
    let output = format!("{out}{errors}");
    assert!(output.contains("torn") && output.contains("byte"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_grant_is_still_good_and_no_session_stays_live() {
    let process = process().await;
    let mut gateway = process.start().await;
    let mut stream = process.session("app_rw").await;
    send(&mut stream, &query("select pg_sleep(600)")).await;
    until("it runs", || process.upstream_sessions() == "1").await;
    // The register hears of the session within a moment; then the gateway is gone.
    gateway.kill_9();
    drop(stream);
    until("the target noticed that nobody listens", || process.upstream_sessions() == "0").await;
    let config = postern::config::Config::load(&process.config).unwrap();
    let again = Gateway::start(&config).await.unwrap();
    let bob = {
        let control = again.control();
        let invite = control
            .identity
            .invite(None, &policies::PrincipalId::new("bob").unwrap())
            .await
            .unwrap();
        control.identity.sign_in(&invite.code, control::Origin::default()).await.unwrap().actor
    };
    let filter = control::SessionFilter {
        live: Some(true),
        scope: control::Scope::All,
        ..Default::default()
    };
    let live =
        again.control().evidence.sessions(&bob, filter, control::Paging::default()).await.unwrap();
    assert!(live.items.is_empty(), "{:?}", live.items);
    let mut command = psql(&process.conninfo);
    command.args(["-Atc", "select 'through'"]);
    let (ok, out, errors) = crate::support::run(command).await;
    assert!(ok && out.trim() == "through", "{errors}");
    until("the target has no session left", || process.upstream_sessions() == "0").await;
    again.shutdown(Duration::from_secs(10)).await;
}

/// The recordings of a folder, by session, with what each proves.
fn summaries(folder: &Path) -> BTreeMap<String, Summary> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let summaries = files.filter(|path| path.extension().is_some_and(|ending| ending == "rec"));
    summaries
        .map(|path| {
            let session = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let file = BufReader::new(File::open(path).unwrap());
            let summary = Summary::read(file, &session).unwrap();
            (session, summary)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_register_is_what_the_recordings_prove() {
    let process = process().await;
    let mut gateway = process.start().await;
    let mut streams = Vec::new();
    for session in 1..=3 {
        let mut stream = process.session("app_rw").await;
        for _ in 0..session {
            send(&mut stream, &query("select 1")).await;
            read_until(&mut stream, b'Z').await;
        }
        streams.push(stream);
    }
    gateway.kill_9();
    drop(streams);
    let folder = process.folder.path().join("state/recordings");
    // The kill tore the last frame of one, and somebody tampered with another.
    let open: Vec<_> = summaries(&folder).into_iter().filter(|(_, it)| it.end.is_none()).collect();
    assert_eq!(open.len(), 3);
    let file = |nth: usize| folder.join(format!("{}.rec", open[nth].0));
    let length = file(0).metadata().unwrap().len();
    OpenOptions::new().write(true).open(file(0)).unwrap().set_len(length - 7).unwrap();
    let mut bytes = std::fs::read(file(1)).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(file(1), bytes).unwrap();

    let config = postern::config::Config::load(&process.config).unwrap();
    let again = Gateway::start(&config).await.unwrap();
    let control = again.control();
    let bob = policies::PrincipalId::new("bob").unwrap();
    let bob = control.identity.invite(None, &bob).await.unwrap();
    let bob = control.identity.sign_in(&bob.code, control::Origin::default()).await.unwrap().actor;
    let proved = summaries(&folder);
    let page =
        crate::support::until_some("the register is what the recordings prove", async || {
            let all = control::SessionFilter { scope: control::Scope::All, ..Default::default() };
            let page =
                control.evidence.sessions(&bob, all, control::Paging::default()).await.unwrap();
            let is_proved = |session: &control::SessionView| {
                let end = session.ended.as_ref().unwrap();
                let proof = &proved[session.id.as_str()];
                match proof.tail {
                    Tail::Broken { .. } => end.head.is_empty() && end.detail.contains("is broken"),
                    _ => {
                        proof.head.map(|head| head.to_string()).as_ref() == Some(&end.head)
                            && end.statements == proof.statements
                    }
                }
            };
            (page.items.len() == proved.len() && page.items.iter().all(is_proved)).then_some(page)
        })
        .await;
    let of = |nth: usize| page.items.iter().find(|it| it.id.as_str() == open[nth].0).unwrap();
    for (nth, detail) in [(0, "incomplete frame"), (1, "is broken"), (2, "the gateway stopped")] {
        let end = of(nth).ended.as_ref().unwrap();
        assert_eq!(end.end, "unknown");
        assert!(end.detail.contains(detail), "{end:?}");
    }
    again.shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_neither_in_the_log_nor_in_the_arguments_or_environment() {
    let process = process().await;
    let gateway = process.start().await;
    let mut stream = process.session("app_rw").await;
    send(
        &mut stream,
        &query("select 'a' as canary_statement; alter role app_rw password 'canary-new'"),
    )
    .await;
    read_until(&mut stream, b'Z').await;
    let proc_dir = PathBuf::from(format!("/proc/{}", gateway.id()));
    for path in
        [proc_dir.join("cmdline"), proc_dir.join("environ"), process.folder.path().join("log")]
    {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        for secret in
            [crate::support::SECRET_RW, crate::support::SECRET_RO, "canary-new", "canary_statement"]
        {
            assert!(!text.contains(secret), "{} holds {secret}", path.display());
        }
    }
}
