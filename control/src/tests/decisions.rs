//! Decisions read typed state: what the audit log holds, however much of it, changes none of them.

use std::path::{Path, PathBuf};

use policies::Method;

use super::step_up::{TOUCH, begin_by, begin_in, granted, needs_touch, touch_and_go, touchy};
use super::wait::{ask, waiting};
use super::{World, actor};
use crate::model::audit_kind::AuditKind;
use crate::model::event::{By, Event};
use crate::model::login::Origin;
use crate::model::view::Paging;

const HERE: &str = "10.1.2.3:50001";
const LOGIN: (Method, &str) = (Method::Link, "se-login");

/// More events than any reader of the log takes at once.
async fn flood(world: &World, kind: AuditKind, subject: &str, detail: serde_json::Value) {
    let mut tx = world.control.kernel.begin().await.unwrap();
    for _ in 0..700 {
        let event = Event::new(By::Proxy("proxy-1".into()), kind, subject, detail.clone());
        tx.record(event).await.unwrap();
    }
    tx.commit().await.unwrap();
}

/// A session that was touched for, and the grant that it uses.
async fn proved_session(world: &World) -> String {
    let mut events = ask(world, waiting(Some("alice"), "app_ro@orders")).await;
    touch_and_go(world, &mut events).await;
    let grant = granted(&mut events).await;
    assert!(!needs_touch(&begin_in(world, "se-proved", (&grant, HERE), LOGIN).await));
    world.pass(301);
    grant
}

#[tokio::test]
async fn hundreds_of_events_about_a_session_do_not_make_it_forget_its_touch() {
    let world = touchy().await;
    let grant = proved_session(&world).await;
    flood(&world, AuditKind::SessionOpened, "se-proved", serde_json::json!({ "grant": grant }))
        .await;
    assert!(!needs_touch(&begin_in(&world, "se-proved", (&grant, HERE), LOGIN).await));
    assert!(needs_touch(&begin_by(&world, &grant, HERE, LOGIN.0, LOGIN.1).await));
}

#[tokio::test]
async fn events_that_say_so_prove_nothing() {
    let world = touchy().await;
    let grant = proved_session(&world).await;
    let detail = serde_json::json!({ "grant": grant, "step_up": { "id": "su-forged" } });
    flood(&world, AuditKind::SessionProved, "se-forged", detail).await;
    assert!(needs_touch(&begin_in(&world, "se-forged", (&grant, HERE), LOGIN).await));
    flood(&world, AuditKind::LoginSignedIn, "ls-forged", serde_json::json!({})).await;
    assert!(!world.control.identity.anybody_signed_in().await.unwrap());
}

#[tokio::test]
async fn the_first_sign_in_is_remembered_when_its_session_is_long_forgotten() {
    let world = World::new().await;
    let invite = world.control.identity.invite(None, &"alice".parse().unwrap()).await.unwrap();
    assert!(!world.control.identity.anybody_signed_in().await.unwrap());
    world.control.identity.sign_in(&invite.code, Origin::default()).await.unwrap();
    sqlx::query("DELETE FROM logins").execute(&mut world.raw().await).await.unwrap();
    assert!(world.reopened().await.control.identity.anybody_signed_in().await.unwrap());
}

#[tokio::test]
async fn what_an_older_version_had_in_its_log_alone_is_taken_over() {
    let world = touchy().await;
    let grant = proved_session(&world).await;
    flood(&world, AuditKind::SessionOpened, "se-proved", serde_json::json!({ "grant": grant }))
        .await;
    flood(&world, AuditKind::LoginSignedIn, "ls-1", serde_json::json!({})).await;
    for before in [
        "DROP TABLE proved_sessions",
        "DROP TABLE first_sign_in",
        "DELETE FROM _sqlx_migrations WHERE version = 14",
    ] {
        sqlx::query(before).execute(&mut world.raw().await).await.unwrap();
    }
    let world = world.reopened_with(TOUCH).await;
    assert!(!needs_touch(&begin_in(&world, "se-proved", (&grant, HERE), LOGIN).await));
    assert!(needs_touch(&begin_in(&world, "se-other", (&grant, HERE), LOGIN).await));
    assert!(world.control.identity.anybody_signed_in().await.unwrap());
    assert!(
        !world
            .control
            .kernel
            .audit(&actor("eve"), Paging::default())
            .await
            .unwrap()
            .items
            .is_empty()
    );
}

/// All sources of control but its tests.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
}

/// The parts of control that show the log and decide nothing by it, and what compares how far the log goes
/// with the high-water mark, whatever its events say.
const SHOWS: [&str; 3] = ["access/rollback.rs", "evidence/timeline.rs", "kernel/audit.rs"];

#[test]
fn only_what_shows_the_audit_log_reads_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let (mut shows, mut writes) = (0, 0);
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            let lower = line.to_lowercase();
            let queries = lower.contains("from audit") || lower.contains("join audit");
            let how_far = name == "store/high_water.rs" && lower.contains("max(id)");
            let may_query = how_far || name == "store/audit.rs";
            assert!(!queries || may_query, "{name} queries the log: {line}");
            let imports = line.starts_with("use ") && line.contains("store::audit");
            let digests =
                name == "store/high_water.rs" && line.contains("super::audit::digest_of(");
            let within = name.starts_with("store/") && line.contains("super::audit") && !digests;
            assert!(!imports && !within, "{name} takes the log's functions as its own: {line}");
            let calls = line.matches("store::audit::").count();
            let inserts = line.matches("store::audit::insert(").count();
            writes += inserts;
            if calls > inserts {
                assert!(SHOWS.contains(&name.as_str()), "{name} reads the log: {line}");
                shows += 1;
            }
        }
    }
    assert!(shows >= 3 && writes >= 1, "the test has lost what it looks for");
}
