//! Access that was taken away while the store could not be written: what a journal or a proxy kept of it
//! is in force again after a restart, and nothing else that they say is.

use ::link::v1;
use ::link::v1::feed_event::Event;
use ::link::v1::link_server::Link;
use policies::{End, Grant, Lock, LoginId, Subject};
use tokio_stream::StreamExt;
use tonic::Request;

use super::link::{begin, happening};
use super::wait::service;
use super::{World, actor};
use crate::kernel::cuts::{Cut, Deed, What};
use crate::model::error::{ControlError, Refusal};
use crate::model::event::By;
use crate::model::login::Origin;
use crate::model::view::Paging;
use crate::store::journal::Journal;

const PAUSE: std::time::Duration = std::time::Duration::from_millis(20);

fn by_eve() -> By {
    By::from(&actor("eve"))
}

fn revoked(grant: &Grant) -> Deed {
    let end = End::Revoked("by Eve: incident 7".to_owned());
    Deed::new(by_eve(), What::Grant { grant: grant.id.clone(), end })
}

fn locked(world: &World, id: &str, whom: &str) -> Deed {
    let lock = Lock {
        id: id.parse().unwrap(),
        subject: Subject::Principal(whom.parse().unwrap()),
        reason: "incident 8".to_owned(),
        by: actor("eve").principal.id,
        at: world.control.kernel.now(),
        until: None,
        members: Default::default(),
    };
    Deed::new(by_eve(), What::Lock { lock })
}

fn ended(login: &LoginId) -> Deed {
    Deed::new(by_eve(), What::Login { login: login.clone(), why: "ended".to_owned() })
}

/// What another run of this control would have sealed.
fn sealed(world: &World, deeds: Vec<Deed>) -> Vec<u8> {
    Cut::new(world.control.kernel.now(), deeds).seal(world.control.kernel.vault()).unwrap()
}

/// Follows the feed as a proxy that kept this: what its first snapshot says.
async fn given_back(world: &World, unsettled: Vec<Vec<u8>>) -> v1::Snapshot {
    let request = v1::FeedRequest { proxy: "gate-1".into(), unsettled };
    let mut feed = service(world).feed(Request::new(request)).await.unwrap().into_inner();
    let Some(Event::Snapshot(snapshot)) = feed.next().await.unwrap().unwrap().event else {
        panic!("no snapshot");
    };
    snapshot
}

#[tokio::test]
async fn what_a_proxy_knows_of_a_cut_that_the_store_lost_is_in_force_again() {
    let world = World::new().await;
    let grant = world.read_grant().await;
    let login = world.control.identity.invite(None, &"alice".parse().unwrap()).await.unwrap();
    let login = world.control.identity.sign_in(&login.code, Origin::default()).await.unwrap();
    let decided = world.control.kernel.now();
    let deeds = vec![revoked(&grant), locked(&world, "lk-lost", "bob"), ended(&login.actor.login)];
    let blob = sealed(&world, deeds);
    world.pass(60);
    let before = world.kinds().await.len();

    let snapshot = given_back(&world, vec![blob.clone()]).await;
    assert!(snapshot.leases.is_empty(), "it is cut before the proxy hears anything");
    assert_eq!(snapshot.gone[0].detail, "by Eve: incident 7");
    assert_eq!(snapshot.locks[0].id, "lk-lost");
    assert_eq!(snapshot.unsettled, std::slice::from_ref(&blob));
    assert!(world.control.identity.authenticate(&login.token, login.kind).await.is_err());
    let refused = service(&world).begin(begin(&grant, "")).await;
    assert!(refused.is_err(), "nothing is decided without it");

    world.control.kernel.check_store().await;
    assert_eq!(world.control.kernel.store_health().pending_cuts, 0);
    let log = world.control.kernel.audit(&actor("eve"), Paging::default()).await.unwrap();
    let late: Vec<_> = log.items.iter().rev().skip(before).collect();
    let kinds: Vec<&str> = late.iter().map(|event| event.kind.name()).collect();
    assert_eq!(kinds, ["grant.ended", "lock.set", "login.ended"]);
    for event in late {
        assert_eq!((event.at, event.actor.as_str()), (decided, "principal:eve"));
    }
    let snapshot = given_back(&world, vec![blob]).await;
    assert!(snapshot.unsettled.is_empty(), "the store has it, and proxies forget it");
    assert_eq!(world.kinds().await.len(), before + 3, "it is written once");
}

#[tokio::test]
async fn what_a_proxy_says_takes_nothing_away_that_control_did_not() {
    let world = World::new().await;
    let grant = world.read_grant().await;
    let other = World::new().await;
    let foreign = sealed(&other, vec![revoked(&grant)]);
    let lifted = sealed(&world, vec![locked(&world, "lk-lifted", "alice")]);
    given_back(&world, vec![lifted.clone()]).await;
    world.control.kernel.check_store().await;
    world.control.access.unlock(&actor("eve"), &"lk-lifted".parse().unwrap()).await.unwrap();

    let plain = br#"{"id":"cut-1","at":0,"deeds":[]}"#.to_vec();
    let snapshot = given_back(&world, vec![foreign, plain, Vec::new(), lifted]).await;
    assert_eq!(snapshot.leases.len(), 1);
    assert!(snapshot.locks.is_empty(), "a lock that was lifted doesn't come back");
    assert!(snapshot.unsettled.is_empty());
}

#[tokio::test]
async fn what_the_journal_kept_over_a_kill_is_in_force_from_the_start() {
    let world = World::new().await;
    let grant = world.write_grant().await;
    let path = world.folder.path().join("postern.cuts");
    let (mut journal, none) = Journal::open(&path).unwrap();
    assert!(none.is_empty());
    journal.append(&sealed(&world, vec![revoked(&grant)])).unwrap();
    let world = world.reopened().await;
    assert_eq!(world.control.kernel.feed().live(), 0);
    let view = world.control.access.grant(&actor("eve"), &grant.id).await.unwrap();
    assert_eq!(view.grant.state.word(), "ended");
    assert!(Journal::open(&path).unwrap().1.is_empty(), "the store has it now");
    let world = world.reopened().await;
    let ends = world.kinds().await.into_iter().filter(|kind| kind == "grant.ended").count();
    assert_eq!(ends, 1);
}

/// An operator's shell that holds the store's lock: control's write waits for five seconds and fails.
#[tokio::test]
async fn a_store_that_another_process_has_locked_keeps_no_revoke_from_cutting() {
    let world = World::new().await;
    let (grant, eve) = (world.read_grant().await, actor("eve"));
    let mut shell = world.raw().await;
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut shell).await.unwrap();
    world.control.kernel.check_store().await;
    let outsider = world.control.access.revoke(&actor("mallory"), &grant.id, String::new()).await;
    assert!(matches!(outsider, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{outsider:?}");
    let ended = world.control.access.revoke(&eve, &grant.id, "closed".into()).await.unwrap();
    assert_eq!((ended.durable, ended.value.state.word()), (false, "ended"));
    let subject = Subject::Principal("bob".parse().unwrap());
    let lock = world.control.access.lock(&eve, subject, "incident".into(), None).await.unwrap();
    assert!(!lock.durable && world.control.kernel.feed().locks().contains(&lock.value));
    assert_eq!(world.control.kernel.feed().live(), 0);
    assert!(world.control.kernel.store_health().unwritable_since.is_some());
    sqlx::raw_sql("ROLLBACK").execute(&mut shell).await.unwrap();
    world.control.kernel.check_store().await;
    let health = world.control.kernel.store_health();
    assert_eq!((health.unwritable_since, health.pending_cuts), (None, 0));
    assert!(world.control.access.revoke(&eve, &grant.id, String::new()).await.is_err());
    world.read_grant().await;
    assert!(world.kinds().await.contains(&"store.writable".to_owned()));
}

/// Whoever drops a change in the middle leaves no transaction behind, and the next one doesn't wait for
/// another connection.
#[tokio::test]
async fn a_change_that_is_dropped_is_rolled_back_at_once() {
    let world = World::new().await;
    let mut tx = world.control.kernel.begin().await.unwrap();
    sqlx::query("DELETE FROM probe").execute(tx.db()).await.unwrap();
    drop(tx);
    let mut shell = world.raw().await;
    for _ in 0..250 {
        if sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut shell).await.is_ok() {
            sqlx::raw_sql("ROLLBACK").execute(&mut shell).await.unwrap();
            world.read_grant().await;
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the transaction is open for ever");
}

/// SQLite rolls a transaction back by itself after some errors: the connection is not used again.
#[tokio::test]
async fn a_transaction_that_ended_by_itself_leaves_no_connection_behind_that_is_stuck() {
    let world = World::new().await;
    for _ in 0..3 {
        let mut tx = world.control.kernel.begin().await.unwrap();
        sqlx::raw_sql("ROLLBACK").execute(tx.db()).await.unwrap();
        assert!(tx.commit().await.is_err());
        world.ask("alice", "app_rw@orders").await.ok();
        world.read_grant().await;
    }
    let denied = v1::ConnectionDenied { reason: "no-grant".into(), ..Default::default() };
    let denied = happening("h-1", v1::happening::Happening::Denied(denied));
    let report = v1::ReportRequest { proxy: "gate-1".into(), happenings: vec![denied] };
    service(&world).report(Request::new(report)).await.unwrap();
}
