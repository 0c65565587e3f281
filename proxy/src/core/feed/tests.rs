use std::sync::atomic::Ordering;

use policies::{AdmissionQuery, Denial, Partition, Term};
use tokio::sync::mpsc::Sender;
use tonic::Status;
use v1::feed_event::Event;

use super::*;
use crate::core::testing::{Rig, at, key, lease, lock, target};

/// Follows the scripted feed in the background.
fn follow(rig: &Rig) -> tokio::task::JoinHandle<()> {
    let follower = Follower {
        proxy: "proxy-1".into(),
        link: rig.plane.link.clone(),
        leases: Arc::clone(&rig.plane.leases),
        metrics: Arc::clone(&rig.plane.metrics),
    };
    tokio::spawn(follower.run())
}

type Feed = Sender<Result<v1::FeedEvent, Status>>;

async fn publish(feed: &Feed, revision: u64, event: Event) {
    publish_in(feed, 1, revision, event).await;
}

async fn publish_in(feed: &Feed, epoch: u64, revision: u64, event: Event) {
    let event =
        v1::FeedEvent { revision, fresh_ms: 10_000, event: Some(event), epoch, silence_ms: 0 };
    feed.send(Ok(event)).await.unwrap();
}

fn wire(leases: &[&str]) -> Event {
    let leases = leases.iter().map(|grant| lease(grant, Term::Until(at(600))).into());
    Event::Snapshot(v1::Snapshot {
        leases: leases.collect(),
        targets: vec![target(Partition::Cut).into()],
        public_url: "https://gate.example.com".into(),
        ..v1::Snapshot::default()
    })
}

async fn reached(rig: &Rig, revision: u64) {
    let deadline = rig.plane.clock.instant() + Duration::from_secs(60);
    assert!(rig.plane.leases.reached(revision, deadline).await, "revision {revision}");
}

async fn reached_exactly(rig: &Rig, revision: u64) {
    while rig.plane.leases.revision() != Some(revision) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn admit(rig: &Rig) -> Result<(), Denial> {
    let key = key("alice", "app@orders/shop");
    rig.plane
        .leases
        .admit(&AdmissionQuery { key: &key, device: None, credential: None })
        .map(|_| ())
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_and_its_deltas_are_applied() {
    let rig = Rig::new();
    let feed = rig.control.next_feed();
    let _following = follow(&rig);
    publish(&feed, 5, wire(&["gr-1"])).await;
    reached(&rig, 5).await;
    assert_eq!(admit(&rig), Ok(()));
    let delta = v1::Delta { locks: vec![lock("target:orders").into()], ..v1::Delta::default() };
    publish(&feed, 6, Event::Delta(delta)).await;
    reached(&rig, 6).await;
    assert_eq!(admit(&rig), Err(Denial::Locked("incident 7".into())));
    assert_eq!(rig.plane.metrics.feed_revision.get(), 6);
}

#[tokio::test(start_paused = true)]
async fn after_a_gap_the_feed_is_asked_for_anew() {
    let rig = Rig::new();
    let (first, second) = (rig.control.next_feed(), rig.control.next_feed());
    let _following = follow(&rig);
    publish(&first, 5, wire(&["gr-1"])).await;
    publish(&first, 7, Event::Delta(v1::Delta::default())).await;
    publish(&second, 9, wire(&[])).await;
    reached(&rig, 9).await;
    assert_eq!(admit(&rig), Err(Denial::NoGrant));
    assert_eq!(rig.control.subscribed.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_breaks_or_falls_silent_is_asked_for_anew() {
    let rig = Rig::new();
    let feeds = [(); 4].map(|()| rig.control.next_feed());
    let _following = follow(&rig);
    publish(&feeds[0], 1, wire(&["gr-1"])).await;
    feeds[0].send(Err(Status::internal("a fault"))).await.unwrap();
    publish(&feeds[1], 2, wire(&["gr-1"])).await;
    reached(&rig, 2).await;
    // Silence beyond its freshness.
    publish(&feeds[2], 3, wire(&["gr-1"])).await;
    reached(&rig, 3).await;
    let [.., third, fourth] = feeds;
    drop(third);
    publish(&fourth, 4, wire(&["gr-1"])).await;
    reached(&rig, 4).await;
    assert_eq!(admit(&rig), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn while_control_is_away_nobody_new_comes_in_and_when_it_is_back_they_do() {
    let rig = Rig::new();
    let first = rig.control.next_feed();
    let _following = follow(&rig);
    publish(&first, 1, wire(&["gr-1"])).await;
    reached(&rig, 1).await;
    drop(first);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert_eq!(admit(&rig), Ok(()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(admit(&rig), Err(Denial::Stale));
    let second = rig.control.next_feed();
    publish(&second, 2, wire(&["gr-1"])).await;
    reached(&rig, 2).await;
    assert_eq!(admit(&rig), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_keeps_it_fresh_and_tells_of_what_was_missed() {
    let rig = Rig::new();
    let (first, second) = (rig.control.next_feed(), rig.control.next_feed());
    let _following = follow(&rig);
    publish(&first, 1, wire(&["gr-1"])).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(8)).await;
        publish(&first, 1, Event::Heartbeat(v1::Heartbeat {})).await;
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(admit(&rig), Ok(()));
    publish(&first, 2, Event::Heartbeat(v1::Heartbeat {})).await;
    publish(&second, 2, wire(&[])).await;
    reached(&rig, 2).await;
    assert_eq!(admit(&rig), Err(Denial::NoGrant));
}

/// An older store of control's brings revoked grants back: no lease of it is taken.
#[tokio::test(start_paused = true)]
async fn a_control_that_knows_less_than_it_did_is_refused_until_its_epoch_is_newer() {
    let rig = Rig::new();
    let feeds = [(); 4].map(|()| rig.control.next_feed());
    let _following = follow(&rig);
    publish_in(&feeds[0], 2, 9, wire(&[])).await;
    reached(&rig, 9).await;
    let [first, older, old_epoch, delta] = feeds;
    drop(first);
    publish_in(&older, 2, 8, wire(&["gr-1"])).await;
    older.closed().await;
    publish_in(&old_epoch, 1, 50, wire(&["gr-1"])).await;
    old_epoch.closed().await;
    // Another epoch begins with a snapshot, and with nothing else.
    publish_in(&delta, 3, 10, Event::Delta(v1::Delta::default())).await;
    delta.closed().await;
    assert_eq!(rig.plane.leases.revision(), Some(9));
    assert_eq!(admit(&rig), Err(Denial::NoGrant));
    // No new client comes in while only an older one is there.
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(admit(&rig), Err(Denial::Stale));
    let newer = rig.control.next_feed();
    publish_in(&newer, 3, 4, wire(&["gr-1"])).await;
    reached_exactly(&rig, 4).await;
    assert_eq!(admit(&rig), Ok(()));
}

/// What control's store could not write is no part of what it had: losing it in a restart is no rollback.
#[tokio::test(start_paused = true)]
async fn a_control_that_lost_what_it_could_not_write_is_followed() {
    let rig = Rig::new();
    let [first, second] = [(); 2].map(|()| rig.control.next_feed());
    let _following = follow(&rig);
    publish_in(&first, 1, 5, wire(&["gr-1"])).await;
    let delta = v1::Delta { unsettled: vec![b"sealed".to_vec()], ..v1::Delta::default() };
    publish_in(&first, 1, 6, Event::Delta(delta.clone())).await;
    publish_in(&first, 1, 7, Event::Delta(delta)).await;
    reached(&rig, 7).await;
    drop(first);
    publish_in(&second, 1, 6, wire(&["gr-1"])).await;
    reached_exactly(&rig, 6).await;
    assert_eq!(admit(&rig), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cant_be_read_is_left_out_and_a_lock_breaks_the_feed() {
    let bad_lease = v1::Lease::default();
    let good = v1::Lease::from(lease("gr-1", Term::Until(at(600))));
    let wire = v1::Snapshot { leases: vec![bad_lease, good], ..v1::Snapshot::default() };
    assert_eq!(snapshot(wire).unwrap().leases.len(), 1);
    let wire = v1::Snapshot { locks: vec![v1::Lock::default()], ..v1::Snapshot::default() };
    assert!(snapshot(wire).is_err());
    let gone = v1::Gone { grant: "gr-1".into(), end: "maybe".into(), detail: String::new() };
    assert!(delta(v1::Delta { gone: vec![gone], ..v1::Delta::default() }).is_err());
}

#[test]
fn waits_grow_to_two_seconds_and_begin_anew_after_a_success() {
    let mut backoff = Backoff::default();
    let waits: Vec<u128> = (0..40).map(|_| backoff.next().as_millis()).collect();
    assert!((25..=50).contains(&waits[0]), "{waits:?}");
    assert!(waits[7..].iter().all(|wait| (1_000..=2_000).contains(wait)), "{waits:?}");
    backoff.reset();
    assert!(backoff.next() <= Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn what_control_could_not_write_is_given_back_to_it_until_it_is_settled() {
    let rig = Rig::new();
    let _following = follow(&rig);
    let given_back = async |feeds: usize| {
        while rig.control.given_back.lock().unwrap().len() < feeds {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rig.control.given_back.lock().unwrap().last().unwrap().clone()
    };
    let (one, two, three) = (b"one".to_vec(), b"two".to_vec(), b"three".to_vec());
    let unsettled =
        |sealed: &[u8]| v1::Delta { unsettled: vec![sealed.to_vec()], ..v1::Delta::default() };

    let feed = rig.control.next_feed();
    publish(&feed, 5, wire(&["gr-1"])).await;
    publish(&feed, 6, Event::Delta(unsettled(&one))).await;
    publish(&feed, 7, Event::Delta(unsettled(&two))).await;
    reached(&rig, 7).await;
    let tried = rig.control.given_back.lock().unwrap().len();
    let next = rig.control.next_feed();
    drop(feed);
    assert_eq!(given_back(tried + 1).await, [one, two]);

    // A control that knows no more of it than this.
    let snapshot = v1::Snapshot { unsettled: vec![three.clone()], ..v1::Snapshot::default() };
    publish(&next, 8, Event::Snapshot(snapshot)).await;
    reached(&rig, 8).await;
    let after = rig.control.next_feed();
    drop(next);
    assert_eq!(given_back(tried + 2).await, [three]);
    publish(&after, 9, Event::Snapshot(v1::Snapshot::default())).await;
    publish(&after, 10, Event::Delta(v1::Delta { settled: true, ..unsettled(b"four") })).await;
    publish(&after, 11, Event::Delta(v1::Delta { settled: true, ..v1::Delta::default() })).await;
    reached(&rig, 11).await;
    drop(after);
    assert_eq!(given_back(tried + 3).await, Vec::<Vec<u8>>::new());
}

#[test]
fn what_is_kept_for_control_is_bounded() {
    let mut unsettled = Unsettled::default();
    for _ in 0..3 {
        let delta = v1::Delta { unsettled: vec![vec![0; 400_000]; 2], ..v1::Delta::default() };
        unsettled.hear(Some(&Event::Delta(delta)));
    }
    assert_eq!(unsettled.0.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_feed_that_renews_nothing_is_followed_and_lets_nobody_in() {
    let rig = Rig::new();
    let feed = rig.control.next_feed();
    let _following = follow(&rig);
    publish(&feed, 5, wire(&["gr-1"])).await;
    reached(&rig, 5).await;
    let subscribed = rig.control.subscribed.load(Ordering::SeqCst);
    let beat = |fresh_ms| {
        let event = Some(Event::Heartbeat(v1::Heartbeat {}));
        Ok(v1::FeedEvent { revision: 5, fresh_ms, silence_ms: 30_000, epoch: 1, event })
    };
    for _ in 0..6 {
        feed.send(beat(0)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    assert_eq!(admit(&rig), Err(Denial::Stale));
    let tried = rig.control.subscribed.load(Ordering::SeqCst);
    assert_eq!(tried, subscribed, "the stream is not taken for a broken one");
    feed.send(beat(10_000)).await.unwrap();
    while !rig.plane.leases.is_fresh() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(admit(&rig), Ok(()));
}
