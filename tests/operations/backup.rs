//! Backups, their restore, and a store that went back in time.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use control::{ControlError, GrantFilter, HIGH_WATER_FILE, Paging, Rollback, Scope, StoreError};
use policies::Subject;
use postern::config::Config;
use postern::up::{Gateway, UpError};
use serde_json::{Value, json};

use super::small::{Small, actor};
use crate::support::gateway_process::GatewayProcess;
use crate::support::{Bed, Setup, psql, run, until};

async fn cli(args: &[&str]) -> (bool, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(args).stdin(std::process::Stdio::null());
    run(command).await
}

async fn live_grants(gateway: &Gateway) -> BTreeSet<String> {
    let bob = actor(gateway, "bob").await;
    let filter = GrantFilter { live: Some(true), scope: Scope::All };
    let page = gateway.control().access.grants(&bob, filter, Paging::default()).await.unwrap();
    page.items.into_iter().map(|view| view.grant.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_under_load_restores_to_the_same_grants_and_an_audit_log_that_goes_on() {
    let process = GatewayProcess::new(Setup::default(), &["app_rw@orders", "app_ro@orders"]).await;
    let gateway = process.start().await;
    let load: Vec<_> = (0..4)
        .map(|_| {
            let conninfo = process.conninfo.clone();
            tokio::spawn(async move {
                loop {
                    let mut command = psql(&conninfo);
                    command.args(["-Atc", "select generate_series(1, 100)"]);
                    run(command).await;
                }
            })
        })
        .collect();
    let config = process.config.to_str().unwrap();
    for number in 0..3 {
        let to = process.folder.path().join(format!("backup-{number}"));
        let to = to.to_str().unwrap();
        let (ok, out, errors) =
            cli(&["backup", "--config", config, "--recordings", "--json", to]).await;
        assert!(ok, "{out}{errors}");
        let answer: Value = serde_json::from_str(&out).unwrap();
        assert!(answer["store"]["event"].as_i64().unwrap() > 0, "{answer}");
        let (ok, out, errors) = cli(&["restore", "--check", to]).await;
        assert!(ok, "{out}{errors}");
    }
    load.iter().for_each(tokio::task::JoinHandle::abort);
    drop(gateway);

    // Another machine: nothing but the configuration and its secrets is there.
    let text = std::fs::read_to_string(config).unwrap();
    let state = process.folder.path().join("state").display().to_string();
    let fresh = process.folder.path().join("fresh.toml");
    std::fs::write(&fresh, text.replace(&state, &format!("{state}-fresh"))).unwrap();
    let fresh = fresh.to_str().unwrap();
    let backup = process.folder.path().join("backup-2");
    let backup = backup.to_str().unwrap();
    let (ok, out, errors) = cli(&["restore", "--config", fresh, "--up-to-date", backup]).await;
    assert!(ok, "{out}{errors}");
    let again = Gateway::start(&Config::load(Path::new(fresh)).unwrap()).await.unwrap();
    let mut command = psql(&process.conninfo);
    command.args(["-Atc", "select 'through'"]);
    let (ok, out, errors) = run(command).await;
    assert!(ok && out.trim() == "through", "{errors}");
    assert_eq!(live_grants(&again).await.len(), 2);
    let bob = actor(&again, "bob").await;
    let paging = Paging { cursor: None, limit: Some(200) };
    let page = again.control().kernel.audit(&bob, paging).await.unwrap();
    let ids: Vec<i64> = page.items.iter().map(|event| event.id).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1] + 1), "no event is missing: {ids:?}");
    // What was recorded by then is whole, or torn where a session still ran.
    let recordings = std::fs::read_dir(format!("{state}-fresh/recordings")).unwrap();
    let mut count = 0;
    for entry in recordings {
        let path = entry.unwrap().path();
        let (_, out, errors) = cli(&["replay", "--file", path.to_str().unwrap()]).await;
        assert!(!format!("{out}{errors}").contains("changed"), "{out}{errors}");
        count += 1;
    }
    assert!(count > 0);
    again.shutdown(Duration::from_secs(10)).await;
}

/// As `cp` of an old database over the newer one, which no restore knows of.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_database_is_refused_and_nothing_revoked_comes_back_with_it() {
    let bed = Bed::start().await;
    let grant = bed.grant("app_rw@orders", "30m").await;
    let files = bed.files("alice").await;
    let conninfo = bed.conninfo(&files, "app_rw", "orders");
    let reaches = async |conninfo: &str| {
        let mut command = psql(conninfo);
        command.args(["-Atc", "select 'through'"]);
        run(command).await
    };
    let (ok, _, errors) = reaches(&conninfo).await;
    assert!(ok, "{errors}");
    let (config, backup) = (bed.config.to_str().unwrap(), bed.folder.path().join("backup"));
    let (ok, out, errors) = cli(&["backup", "--config", config, backup.to_str().unwrap()]).await;
    assert!(ok, "{out}{errors}");
    let bob = bed.actor("bob").await;
    bed.gateway.control().access.revoke(&bob, &grant.id, "incident".into()).await.unwrap();
    let subject = Subject::Principal("alice".parse().unwrap());
    let lock = bed
        .gateway
        .control()
        .access
        .lock(&bob, subject, "stolen laptop".into(), None)
        .await
        .unwrap();

    let old = conninfo.clone();
    let port = bed.port().to_string();
    let Bed { gateway, cluster: _cluster, folder, config } = bed;
    gateway.shutdown(Duration::from_secs(10)).await;
    let state = folder.path().join("state");
    for name in ["postern.db", "postern.db-wal", "postern.db-shm"] {
        let _ = std::fs::remove_file(state.join(name));
    }
    std::fs::copy(backup.join("state/postern.db"), state.join("postern.db")).unwrap();

    let loaded = Config::load(&config).unwrap();
    let refused = Gateway::start(&loaded).await;
    let Err(UpError::Control(ControlError::Store(StoreError::RolledBack(why)))) = refused else {
        panic!()
    };
    assert!(matches!(why, Rollback::Older { .. }), "{why}");
    let (ok, _, errors) = cli(&["up", "--config", config.to_str().unwrap()]).await;
    assert!(!ok);
    for expected in ["went back in time", "older copy", "--accept-rollback", "come back"] {
        assert!(errors.contains(expected), "{expected}: {errors}");
    }

    let gateway = Gateway::start_as(&loaded, true).await.unwrap();
    assert!(live_grants(&gateway).await.is_empty());
    let new = gateway.postgres_addr().unwrap().port().to_string();
    let (ok, out, errors) = reaches(&old.replace(&port, &new)).await;
    assert!(!ok, "{out}");
    assert!(errors.contains("stolen laptop") || errors.contains("locked"), "{errors}");
    let bob = actor(&gateway, "bob").await;
    let locks = gateway.control().access.locks(&bob).await.unwrap();
    assert!(locks.iter().any(|view| view.lock.id == lock.value.id), "{locks:?}");
    gateway.shutdown(Duration::from_secs(10)).await;
    // The flag is wanted once.
    Gateway::start(&loaded).await.unwrap().shutdown(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_a_state_folder_is_refused_and_the_first_goes_on() {
    let small = Small::new();
    let first = small.run().await;
    let holder = format!("in use by process {}", first.id());
    let backup = small.path("backup");
    let backup = backup.to_str().unwrap();
    small.does(&["backup", backup]).await;
    for args in [&["up"][..], &["up", "--recover", "alice"], &["restore", "--replace", backup]] {
        let errors = small.fails(6, args).await;
        assert!(errors.contains(&holder) && errors.contains("stop that process"), "{errors}");
    }
    let lock = json!({ "subject": "target:orders", "reason": "the first still decides" });
    first.post("api/v1/locks", &lock).await.unwrap();
    first.stop().await;

    let gateway = small.start().await;
    let bob = actor(&gateway, "bob").await;
    let paging = Paging { cursor: None, limit: Some(200) };
    let events = gateway.control().kernel.audit(&bob, paging).await.unwrap().items;
    let starts = events.iter().filter(|event| event.kind == "control.opened").count();
    assert_eq!(starts, 2, "the others never wrote: {events:?}");
    assert!(events.iter().all(|event| event.kind != "recovery.done"));
    // In one process, too.
    let loaded = Config::load(&small.config).unwrap();
    assert!(matches!(Gateway::start(&loaded).await, Err(UpError::State(_))));
    gateway.shutdown(Duration::from_secs(10)).await;
}

/// Kills at moments that nothing chose: the next start never takes it for a rollback, and whatever was
/// acknowledged is in the store and in its mark.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_is_never_taken_for_a_rollback() {
    let small = Small::new();
    let mut acknowledged = BTreeSet::new();
    for round in 0..6_u64 {
        let mut running = small.run().await;
        let done = std::sync::Mutex::new(Vec::new());
        let working = async {
            for number in 0.. {
                let subject = format!("principal:somebody-{round}-{number}");
                let body = json!({ "subject": subject, "reason": "a test" });
                let Some(lock) = running.post("api/v1/locks", &body).await else { return };
                done.lock().unwrap().push(lock["id"].as_str().unwrap().to_owned());
            }
        };
        // The kill comes during an act, after some were answered: later each round, by what it takes.
        let killing = async {
            let some = || done.lock().unwrap().len() as u64 > 2 * round;
            until("some were answered", some).await;
        };
        tokio::select! {
            () = working => panic!("nobody killed it"),
            () = killing => {}
        }
        running.kill_9();
        acknowledged.extend(done.into_inner().unwrap());
    }
    let mark = std::fs::read_to_string(small.state().join(HIGH_WATER_FILE)).unwrap();
    for id in &acknowledged {
        assert!(mark.contains(id), "{id} is not in the mark");
    }
    let gateway = small.start().await;
    let bob = actor(&gateway, "bob").await;
    let locks = gateway.control().access.locks(&bob).await.unwrap();
    let there: BTreeSet<String> = locks.iter().map(|view| view.lock.id.to_string()).collect();
    assert!(acknowledged.is_subset(&there));
    gateway.shutdown(Duration::from_secs(10)).await;
}

/// What stands in a folder, with each file's content and mode.
fn content(folder: &Path) -> BTreeSet<(String, Vec<u8>, u32)> {
    use std::os::unix::fs::MetadataExt;
    let mut all = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().mode() & 0o777;
        let name = path.display().to_string();
        if path.is_dir() {
            all.extend(content(&path));
            all.insert((name, Vec::new(), mode));
        } else if !name.ends_with("postern.lock") {
            all.insert((name, std::fs::read(&path).unwrap(), mode));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_is_not_whole_is_refused_before_anything_is_touched() {
    let small = Small::new();
    small.start().await.shutdown(Duration::from_secs(10)).await;
    let (whole, damaged) = (small.path("whole"), small.path("damaged"));
    small.does(&["backup", whole.to_str().unwrap()]).await;
    for (name, _, mode) in content(&whole) {
        let private = if Path::new(&name).is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode, private, "{name}");
    }
    let before = content(&small.state());
    let files = [
        "manifest.json",
        "state/postern.db",
        "state/vault.key",
        "state/authority/ca.pem",
        "config/postern.toml",
        "config/policies/access.cedar",
    ];
    let copied = || {
        let _ = std::fs::remove_dir_all(&damaged);
        let status = std::process::Command::new("cp").arg("-r").args([&whole, &damaged]).status();
        assert!(status.unwrap().success());
    };
    let refused = async |what: &str| {
        let damaged = damaged.to_str().unwrap();
        let errors = small.fails(1, &["restore", "--replace", damaged]).await;
        assert!(errors.contains("can't be used"), "{what}: {errors}");
        small.fails(1, &["restore", "--check", damaged]).await;
        assert_eq!(content(&small.state()), before, "{what}");
    };
    for file in files {
        copied();
        let path = damaged.join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        refused(&format!("{file} changed")).await;
        std::fs::write(&path, &bytes[..middle]).unwrap();
        refused(&format!("{file} cut off")).await;
        std::fs::remove_file(&path).unwrap();
        refused(&format!("{file} missing")).await;
        std::os::unix::fs::symlink(whole.join(file), &path).unwrap();
        refused(&format!("{file} is a link")).await;
    }
    copied();
    std::fs::write(damaged.join("state/high-water.jsonl"), "").unwrap();
    refused("a file that is not listed").await;
    copied();
    let manifest = std::fs::read_to_string(damaged.join("manifest.json")).unwrap();
    let outside = manifest.replace("state/vault.key", "state/../../vault.key");
    std::fs::write(damaged.join("manifest.json"), outside).unwrap();
    refused("a path that leads outside").await;
    let other = manifest.replace("\"event\": ", "\"event\": 9");
    std::fs::write(damaged.join("manifest.json"), other).unwrap();
    refused("a manifest of another database").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_takes_a_folder_whole_and_keeps_what_was_there() {
    let small = Small::new();
    let gateway = small.start().await;
    let bob = actor(&gateway, "bob").await;
    gateway.shutdown(Duration::from_secs(10)).await;
    let backup = small.path("backup");
    let backup = backup.to_str().unwrap();
    small.does(&["backup", backup]).await;
    let errors = small.fails(6, &["backup", backup]).await;
    assert!(errors.contains("is there already"), "{errors}");

    // Something happens after the backup.
    let gateway = small.start().await;
    let subject = Subject::Target("orders".parse().unwrap());
    let lock = gateway.control().access.lock(&bob, subject, "incident".into(), None).await;
    let lock = lock.unwrap().value;
    gateway.shutdown(Duration::from_secs(10)).await;
    let errors = small.fails(6, &["restore", backup]).await;
    assert!(errors.contains("not empty") && errors.contains("--replace"), "{errors}");

    let newer = std::fs::read(small.state().join("postern.db")).unwrap();
    let out = small.does(&["restore", "--replace", backup]).await;
    assert!(out.contains("--accept-rollback"), "{out}");
    let replaced = std::fs::read_dir(small.state()).unwrap().map(|entry| entry.unwrap().path());
    let replaced: Vec<_> =
        replaced.filter(|path| path.display().to_string().contains("replaced-")).collect();
    assert_eq!(replaced.len(), 1);
    assert_eq!(std::fs::read(replaced[0].join("postern.db")).unwrap(), newer);
    // The mark of the folder stayed: it knows of the lock.
    let errors = small.fails(6, &["up"]).await;
    assert!(errors.contains("went back in time"), "{errors}");
    let loaded = Config::load(&small.config).unwrap();
    let gateway = Gateway::start_as(&loaded, true).await.unwrap();
    let bob = actor(&gateway, "bob").await;
    let locks = gateway.control().access.locks(&bob).await.unwrap();
    assert!(locks.iter().any(|view| view.lock.id == lock.id), "{locks:?}");
    gateway.shutdown(Duration::from_secs(10)).await;

    // Where nothing is known of a later time, the start wants a confirmation that it is lost.
    let fresh = small.with_state("fresh");
    let fresh = fresh.to_str().unwrap();
    let out = small.does(&["restore", "--config", fresh, backup]).await;
    assert!(out.contains("--accept-rollback"), "{out}");
    let errors = small.fails(6, &["up", "--config", fresh]).await;
    assert!(errors.contains("restored from a backup"), "{errors}");
}
