//! The register of sessions is brought up to what the recordings prove.

use std::fs;
use std::path::PathBuf;

use ::audit::{End, Event, Kind, Start, Writer};
use ::link::v1;

use super::link::{opened, report};
use super::{World, actor};
use crate::model::view::{AuditView, Paging, SessionView};

const AT: &str = "2027-01-15T08:00:00.000Z";

fn path(world: &World, session: &str) -> PathBuf {
    let folder = world.folder.path().join("recordings");
    fs::create_dir_all(&folder).unwrap();
    folder.join(format!("{session}.rec"))
}

/// A recording of alice's with so many statements, one a second.
fn recording(session: &str, statements: u64, end: Option<&str>) -> Vec<u8> {
    let start = Start {
        session: session.into(),
        principal: "alice".into(),
        name: "Alice".into(),
        authn: "certificate".into(),
        authn_at: AT.into(),
        grant: "gr-none".into(),
        target: "orders".into(),
        kind: "postgres".into(),
        login: "app_ro".into(),
        database: "shop".into(),
        client: "10.1.2.3:50000".into(),
        application: "psql".into(),
        at: AT.into(),
        proxy: "gate-1".into(),
    };
    let mut writer = Writer::new(session);
    let mut push = |t, kind| {
        writer.push(&Event { t, kind }).unwrap();
        writer.seal();
    };
    push(0, Kind::Start(Box::new(start)));
    for n in 1..=statements {
        push(n * 1_000_000, Kind::Query { n, text: "select 1".into() });
    }
    if let Some(end) = end {
        let at = "2027-01-15T09:00:00.000Z".into();
        let (bytes_in, bytes_out) = (7, 9);
        let end = End { end: end.into(), reason: "by bob".into(), bytes_in, bytes_out, at };
        push(statements * 1_000_000, Kind::End(end));
    }
    writer.take()
}

/// Starts again, and waits until all recordings were compared.
async fn restarted(world: World) -> World {
    let world = world.reopened().await;
    world.control.kernel.work().close();
    world.control.kernel.work().wait().await;
    world.control.kernel.work().reopen();
    world
}

async fn session(world: &World, id: &str) -> Option<SessionView> {
    world.control.evidence.session(&actor("eve"), &id.parse().unwrap()).await.ok()
}

async fn events(world: &World, kind: &str) -> Vec<AuditView> {
    let paging = Paging { cursor: None, limit: Some(200) };
    let page = world.control.kernel.audit(&actor("eve"), paging).await.unwrap();
    page.items.into_iter().filter(|event| event.kind == kind).collect()
}

#[tokio::test]
async fn a_recording_without_a_session_gets_one_from_its_first_frame() {
    let world = World::new().await;
    fs::write(path(&world, "se-whole"), recording("se-whole", 2, Some("revoked"))).unwrap();
    fs::write(path(&world, "se-open"), recording("se-open", 3, None)).unwrap();
    let world = restarted(world).await;

    let whole = session(&world, "se-whole").await.unwrap();
    let who = (whole.principal.as_str(), whole.grant.as_str(), whole.resource.to_string());
    assert_eq!(who, ("alice", "gr-none", "app_ro@orders/shop".to_owned()));
    assert_eq!((&*whole.client, &*whole.proxy), ("10.1.2.3:50000", "gate-1"));
    assert_eq!(whole.opened_at.to_string(), AT);
    let end = whole.ended.unwrap();
    let recorded = (&*end.end, &*end.detail, end.bytes_in, end.bytes_out, end.statements);
    assert_eq!(recorded, ("revoked", "by bob", 7, 9, 2));
    assert_eq!((end.at.to_string(), end.head.len()), ("2027-01-15T09:00:00.000Z".into(), 64));

    let end = session(&world, "se-open").await.unwrap().ended.unwrap();
    assert_eq!((&*end.end, &*end.detail, end.statements), ("unknown", "the gateway stopped", 3));
    assert_eq!(end.at.to_string(), "2027-01-15T08:00:03.000Z", "when it was heard of last");

    let corrected = events(&world, "session.reconciled").await;
    assert_eq!(corrected.len(), 2);
    assert!(corrected.iter().all(|event| event.detail["was_missing"] == true));
    let world = restarted(world).await;
    assert_eq!(events(&world, "session.reconciled").await.len(), 2, "once each");
}

#[tokio::test]
async fn a_session_that_was_killed_has_what_its_recording_proves() {
    let world = World::new().await;
    report(&world, vec![("h-1", opened("se-1"))]).await;
    let mut torn = recording("se-1", 5, None);
    torn.truncate(torn.len() - 7);
    fs::write(path(&world, "se-1"), &torn).unwrap();
    let world = restarted(world).await;
    let end = session(&world, "se-1").await.unwrap().ended.unwrap();
    assert_eq!((&*end.end, end.statements, end.head.len()), ("unknown", 4, 64));
    assert!(end.detail.starts_with("the gateway stopped; the last"), "{}", end.detail);
    assert!(end.detail.ends_with("are an incomplete frame"), "{}", end.detail);

    // A proxy that outlived control knows better.
    let reported = v1::SessionEnded {
        session: "se-1".into(),
        end: "expired".into(),
        statements: 5,
        ..Default::default()
    };
    report(&world, vec![("h-2", v1::happening::Happening::Ended(reported))]).await;
    let end = session(&world, "se-1").await.unwrap().ended.unwrap();
    assert_eq!((&*end.end, end.statements), ("expired", 5));
}

#[tokio::test]
async fn an_end_that_was_told_stays_and_gets_its_head() {
    let world = World::new().await;
    let reported = v1::SessionEnded {
        session: "se-1".into(),
        end: "recording-full".into(),
        detail: "the disk is full".into(),
        statements: 9,
        ..Default::default()
    };
    let ended = v1::happening::Happening::Ended(reported);
    report(&world, vec![("h-1", opened("se-1")), ("h-2", ended)]).await;
    fs::write(path(&world, "se-1"), recording("se-1", 3, None)).unwrap();
    let world = restarted(world).await;
    let end = session(&world, "se-1").await.unwrap().ended.unwrap();
    let recorded = (&*end.end, &*end.detail, end.statements, end.head.len());
    assert_eq!(recorded, ("recording-full", "the disk is full", 9, 64));
}

#[tokio::test]
async fn a_recording_whose_chain_is_broken_proves_nothing_and_that_is_told_once() {
    let world = World::new().await;
    report(&world, vec![("h-1", opened("se-known"))]).await;
    for session in ["se-known", "se-stray"] {
        let mut broken = recording(session, 3, Some("closed"));
        let middle = broken.len() / 2;
        broken[middle] ^= 1;
        fs::write(path(&world, session), broken).unwrap();
    }
    // Whole, but that of another session; and one that says nothing at all.
    fs::write(path(&world, "se-other"), recording("se-1", 3, None)).unwrap();
    fs::write(path(&world, "se-empty"), "").unwrap();
    let world = restarted(restarted(world).await).await;

    for session in ["se-stray", "se-other", "se-empty"] {
        assert!(self::session(&world, session).await.is_none(), "{session}");
    }
    let end = session(&world, "se-known").await.unwrap().ended.unwrap();
    assert_eq!((&*end.end, end.statements, &*end.head), ("unknown", 0, ""));
    assert!(
        end.detail.contains("its recording proves nothing: its chain is broken"),
        "{}",
        end.detail
    );
    let mut message: Vec<_> = events(&world, "recording.broken").await;
    message.sort_by(|one, other| one.subject.cmp(&other.subject));
    let subjects: Vec<_> = message.iter().map(|event| event.subject.as_str()).collect();
    assert_eq!(subjects, ["se-empty", "se-known", "se-other", "se-stray"]);
    assert_eq!(message[0].detail["why"], "it has no whole frame");
    assert!(events(&world, "session.reconciled").await.is_empty());
}

#[tokio::test]
async fn a_recording_that_names_another_person_than_the_register_counts_for_nothing() {
    let world = World::new().await;
    report(&world, vec![("h-1", opened("se-1"))]).await;
    let mut db = world.raw().await;
    sqlx::query("UPDATE sessions SET principal = 'bob'").execute(&mut db).await.unwrap();
    fs::write(path(&world, "se-1"), recording("se-1", 3, None)).unwrap();
    let world = restarted(world).await;
    let end = session(&world, "se-1").await.unwrap().ended.unwrap();
    assert_eq!((end.statements, &*end.head), (0, ""));
    let message = events(&world, "recording.broken").await;
    assert_eq!(message[0].detail["why"], "it names the principal `alice`");
}

#[tokio::test]
async fn what_was_compared_once_is_not_read_again() {
    let world = World::new().await;
    fs::write(path(&world, "se-1"), recording("se-1", 2, Some("closed"))).unwrap();
    let world = restarted(world).await;
    fs::write(path(&world, "se-2"), recording("se-2", 2, Some("closed"))).unwrap();
    let doubtful = format!("{:?}", world.control.evidence.doubtful_recordings().await.unwrap());
    assert!(doubtful.contains("se-2") && !doubtful.contains("se-1"), "{doubtful}");
    let until = sqlx::query("SELECT until FROM reconciled").fetch_all(&mut world.raw().await).await;
    assert_eq!(until.unwrap().len(), 1);
}
