use std::time::Duration;

use policies::{Partition, Term, Ttl};
use rstest::rstest;

use super::*;
use crate::core::leases::Delta;
use crate::core::testing::{LONG, Rig, at, lease, lock};

fn rig(partition: Partition) -> Rig {
    let rig = Rig::new();
    rig.grant(vec![lease("gr-1", Term::Until(at(600)))], partition);
    rig
}

fn delta(rig: &Rig, delta: Delta) {
    let revision = rig.plane.leases.revision().unwrap() + 1;
    rig.plane.leases.apply_delta(revision, LONG, delta).unwrap();
}

/// How a session ends, and when, in seconds.
async fn end(rig: &Rig, session: &Session) -> (End, i64) {
    let end = session.ended().await;
    assert_eq!(session.is_live(), session.pass().held.is_live(rig.plane.clock.now()));
    (end, (rig.plane.clock.now().millis() - at(0).millis()) / 1_000)
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_its_grant_expires() {
    let rig = rig(Partition::UntilLeaseEnd);
    let session = rig.open();
    assert!(session.is_live());
    assert_eq!(end(&rig, &session).await, (End::Expired, 600));
    assert!(!session.is_live());
}

#[tokio::test(start_paused = true)]
async fn an_extension_is_followed_and_so_is_a_shortening() {
    let rig = rig(Partition::UntilLeaseEnd);
    let session = rig.open();
    let ended = tokio::spawn(session.ended());
    for (after, until) in [(100, 2_000), (900, 1_500)] {
        tokio::time::sleep(Duration::from_secs(after)).await;
        let leases = vec![lease("gr-1", Term::Until(at(until)))];
        delta(&rig, Delta { leases, ..Delta::default() });
    }
    assert_eq!(ended.await.unwrap(), End::Expired);
    assert_eq!(rig.plane.clock.now(), at(1_500));
}

#[rstest]
#[case(End::Revoked("by bob: incident 7".into()))]
#[case(End::Done)]
#[case(End::Policy("alice left engineering".into()))]
#[case(End::Locked("incident 7".into()))]
#[case(End::Expired)]
#[tokio::test(start_paused = true)]
async fn whatever_ends_the_grant_ends_the_session_with_its_reason(#[case] why: End) {
    let rig = rig(Partition::Cut);
    let session = rig.open();
    let ended = tokio::spawn(session.ended());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!ended.is_finished());
    delta(&rig, Delta { gone: vec![("gr-1".parse().unwrap(), why.clone())], ..Delta::default() });
    assert_eq!(ended.await.unwrap(), why);
    assert_eq!(rig.plane.clock.now(), at(5));
    assert_eq!(end(&rig, &session).await.0, why, "and it stays so");
}

#[rstest]
#[case("principal:alice", true)]
#[case("device:laptop", true)]
#[case("target:orders", true)]
#[case("login:app@orders", true)]
#[case("principal:bob", false)]
#[case("device:phone", false)]
#[tokio::test(start_paused = true)]
async fn a_lock_ends_what_it_matches_and_nothing_else(#[case] subject: &str, #[case] cuts: bool) {
    let rig = rig(Partition::Cut);
    let session = rig.open();
    let ended = tokio::spawn(session.ended());
    tokio::time::sleep(Duration::from_secs(5)).await;
    delta(&rig, Delta { locks: vec![lock(subject)], ..Delta::default() });
    let expected = if cuts { End::Locked("incident 7".into()) } else { End::Expired };
    assert_eq!(ended.await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn what_a_snapshot_leaves_out_is_cut() {
    let rig = rig(Partition::UntilLeaseEnd);
    let session = rig.open();
    rig.grant(vec![], Partition::UntilLeaseEnd);
    let why = End::Revoked("no longer granted".into());
    assert_eq!(end(&rig, &session).await, (why, 0));
}

#[rstest]
#[case(Partition::Cut, End::Partitioned, 40)]
#[case(Partition::UntilLeaseEnd, End::Expired, 600)]
#[tokio::test(start_paused = true)]
async fn without_control_a_session_lasts_as_long_as_its_target_says(
    #[case] partition: Partition,
    #[case] expected: End,
    #[case] after: i64,
) {
    let rig = rig(partition);
    let session = rig.open();
    let ended = tokio::spawn(session.ended());
    for _ in 0..3 {
        rig.plane.leases.apply_heartbeat(1, Ttl::from_secs(20)).unwrap();
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(ended.await.unwrap(), expected);
    assert_eq!(rig.plane.clock.now(), at(after));
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_every_session_and_lets_none_begin() {
    let rig = rig(Partition::Cut);
    let session = rig.open();
    let ended = tokio::spawn(session.ended());
    tokio::task::yield_now().await;
    rig.plane.sessions.drain();
    assert_eq!(ended.await.unwrap(), End::Drained);
    let opening = Opening {
        kind: policies::Kind::Postgres,
        pass: session.pass().clone(),
        identity: session.identity().clone(),
        client: session.client(),
        application: String::new(),
    };
    assert!(matches!(rig.plane.sessions.open(opening), Err(OpenError::Draining)));
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_ends_sessions_and_one_set_back_prolongs_none() {
    let rig = rig(Partition::UntilLeaseEnd);
    let session = rig.open();
    rig.plane.clock.step(-300_000);
    tokio::time::advance(Duration::from_secs(10)).await;
    let ended = tokio::spawn(session.ended());
    tokio::task::yield_now().await;
    assert!(!ended.is_finished());
    rig.plane.clock.step(900_000);
    rig.plane.leases.wake_all();
    assert_eq!(ended.await.unwrap(), End::Expired);

    let rig = self::rig(Partition::UntilLeaseEnd);
    let session = rig.open();
    rig.plane.clock.step(-300_000);
    assert_eq!(end(&rig, &session).await, (End::Expired, 600));
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_forward_is_no_loss_of_control() {
    let rig = rig(Partition::Cut);
    rig.plane.leases.apply_heartbeat(1, Ttl::from_secs(20)).unwrap();
    let session = rig.open();
    rig.plane.clock.step(60_000);
    rig.plane.leases.wake_all();
    let ended = tokio::spawn(session.ended());
    tokio::time::sleep(Duration::from_secs(19)).await;
    assert!(!ended.is_finished());
    assert_eq!(ended.await.unwrap(), End::Partitioned);
    assert_eq!(rig.plane.clock.now(), at(60 + 20));
}

#[tokio::test(start_paused = true)]
async fn bytes_are_counted_while_a_session_lives_and_each_once() {
    let rig = rig(Partition::Cut);
    let session = rig.open();
    session.passed(10, 200);
    session.passed(5, 0);
    assert_eq!(rig.plane.metrics.bytes_counted(), (15, 200));
    let tally = Tally { bytes_in: 17, bytes_out: 210, ..Tally::default() };
    session.close(&End::Closed, &tally);
    assert_eq!(rig.plane.metrics.bytes_counted(), (17, 210));
    let dropped = rig.open();
    dropped.passed(1, 2);
    drop(dropped);
    assert_eq!(rig.plane.metrics.bytes_counted(), (18, 212));
    rig.plane.reports.flush().await;
    let reported = rig.control.reported.lock().unwrap();
    let bytes = reported.iter().filter_map(|reported| match reported.happening.as_ref()? {
        What::Ended(ended) => Some((ended.bytes_in, ended.bytes_out)),
        What::Opened(_) | What::Denied(_) | What::Clock(_) => None,
    });
    assert_eq!(bytes.collect::<Vec<_>>(), [(17, 210), (1, 2)]);
}

#[tokio::test(start_paused = true)]
async fn every_session_is_counted_and_reported_once() {
    let rig = rig(Partition::Cut);
    let live = rig.plane.metrics.live("postgres");
    let session = rig.open();
    assert_eq!(live.get(), 1);
    let id = session.id().to_string();
    assert!(id.len() == 19 && id.starts_with("se-"), "{id}");
    let tally = Tally { bytes_in: 1, bytes_out: 2, statements: 3, head: None };
    session.close(&End::Closed, &tally);
    assert_eq!(live.get(), 0);
    drop(rig.open());
    assert_eq!(live.get(), 0);
    rig.plane.reports.flush().await;
    let expected = ["opened", "closed", "opened", "protocol internal error"];
    assert_eq!(rig.control.reports(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_time_from_a_revoke_to_the_cut_is_measured_once() {
    let rig = rig(Partition::Cut);
    let session = rig.open();
    session.cut_done();
    assert_eq!(rig.plane.metrics.revoke_to_cut.get_sample_count(), 0);
    delta(&rig, Delta { gone: vec![("gr-1".parse().unwrap(), End::Done)], ..Delta::default() });
    let why = session.ended().await;
    tokio::time::advance(Duration::from_secs(2)).await;
    session.cut_done();
    session.close(&why, &Tally::default());
    let histogram = &rig.plane.metrics.revoke_to_cut;
    assert_eq!((histogram.get_sample_count(), histogram.get_sample_sum()), (1, 2.0));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_announced_at_every_mark_and_anew_after_an_extension() {
    let rig = rig(Partition::UntilLeaseEnd);
    let session = rig.open();
    let mut countdown = session.countdown();
    for (left, at_second) in [(300, 300), (60, 540)] {
        assert_eq!(countdown.next().await, Ttl::from_secs(left));
        assert_eq!(rig.plane.clock.now(), at(at_second));
    }
    let leases = vec![lease("gr-1", Term::Until(at(1_000)))];
    delta(&rig, Delta { leases, ..Delta::default() });
    for (left, at_second) in [(300, 700), (60, 940), (10, 990)] {
        assert_eq!(countdown.next().await, Ttl::from_secs(left));
        assert_eq!(rig.plane.clock.now(), at(at_second));
    }
    let never = tokio::time::timeout(Duration::from_secs(3_600), countdown.next()).await;
    assert!(never.is_err(), "nothing is left to announce");
}
