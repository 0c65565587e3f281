use std::sync::atomic::Ordering;

use policies::{Partition, Term};
use v1::ask_event::Event;

use super::*;
use crate::core::settings::LimitSettings;
use crate::core::testing::{LONG, Rig, alice, at, lease, snapshot};

fn input() -> AccessRequestInput {
    AccessRequestInput {
        identity: None,
        resource: "app@orders/shop".parse().unwrap(),
        client: "192.0.2.7:5555".parse().unwrap(),
        application: "psql".into(),
        ttl: None,
        reason: "incident 7".into(),
        ticket: Some("OPS-7".parse().unwrap()),
        wait_for: WaitFor::People,
        timeout: Ttl::from_secs(600),
    }
}

fn script(rig: &Rig, events: Vec<Event>) {
    let events = events.into_iter().map(|event| v1::AskEvent { event: Some(event) });
    rig.control.asks.lock().unwrap().push_back(events.collect());
}

fn granted(revision: u64) -> Event {
    let approved_by = vec!["bob".into()];
    Event::Granted(v1::Granted { grant: "gr-1".into(), revision, ttl_ms: 60_000, approved_by })
}

#[tokio::test(start_paused = true)]
async fn a_connection_follows_what_happens_to_its_request() {
    let rig = Rig::new();
    rig.grant(vec![], Partition::Cut);
    let (code, url) = ("KXQT-7M4P".to_owned(), "https://gate.example.com/c/9".to_owned());
    let confirm = v1::Confirm { code: code.clone(), url: url.clone(), patience_ms: 600_000 };
    let needs = vec!["1 of dba".to_owned()];
    let asked = v1::Asked {
        request: "rq-1".into(),
        needs: needs.clone(),
        url: url.clone(),
        patience_ms: 600_000,
    };
    let confirmed = Event::Confirmed(alice().into());
    script(&rig, vec![Event::Confirm(confirm), confirmed, Event::Asked(asked), granted(1)]);
    let mut pending = PendingConnection::ask(&rig.plane, input()).await.unwrap();
    let timeout = Ttl::from_secs(600);
    let expected = PendingEvent::Confirm { code, url: url.clone(), timeout };
    assert_eq!(pending.next().await.unwrap(), expected);
    assert_eq!(pending.next().await.unwrap(), PendingEvent::Confirmed(alice()));
    let expected = PendingEvent::Asked { request: "rq-1".into(), needs, url, timeout };
    assert_eq!(pending.next().await.unwrap(), expected);
    let expected = PendingEvent::Granted {
        grant: "gr-1".parse().unwrap(),
        ttl: Ttl::from_secs(60),
        approved_by: vec!["bob".into()],
    };
    assert_eq!(pending.next().await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_reported_once_the_lease_is_there() {
    let rig = Rig::new();
    rig.grant(vec![], Partition::Cut);
    script(&rig, vec![granted(2)]);
    let mut pending = PendingConnection::ask(&rig.plane, input()).await.unwrap();
    let waiting = tokio::spawn(async move { pending.next().await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished());
    let leases = vec![lease("gr-1", Term::Until(at(600)))];
    rig.plane.leases.apply_snapshot(2, LONG, snapshot(leases, Partition::Cut));
    assert!(matches!(waiting.await.unwrap(), Ok(PendingEvent::Granted { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_never_arrives_is_an_error() {
    let rig = Rig::new();
    rig.grant(vec![], Partition::Cut);
    script(&rig, vec![granted(2)]);
    let mut pending = PendingConnection::ask(&rig.plane, input()).await.unwrap();
    assert!(matches!(pending.next().await, Err(PendingError::Unsettled)));
}

#[tokio::test(start_paused = true)]
async fn a_wait_times_out_even_where_control_says_nothing() {
    let rig = Rig::new();
    script(&rig, vec![]);
    let mut pending = PendingConnection::ask(&rig.plane, input()).await.unwrap();
    assert!(matches!(pending.next().await, Err(PendingError::Lapsed)));
    assert_eq!(rig.plane.clock.now(), at(605));
}

#[tokio::test(start_paused = true)]
async fn no_connection_waits_for_a_gateway_that_shuts_down() {
    let rig = Rig::new();
    script(&rig, vec![]);
    let mut pending = PendingConnection::ask(&rig.plane, input()).await.unwrap();
    let waiting = tokio::spawn(async move { pending.next().await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    rig.plane.sessions.drain();
    assert!(matches!(waiting.await.unwrap(), Err(PendingError::Draining)));
    assert_eq!(rig.plane.clock.now(), at(3));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_pending_connection_withdraws_its_request_and_frees_its_place() {
    let rig = Rig::with(LimitSettings { pending: 1, ..LimitSettings::default() });
    script(&rig, vec![]);
    let mut pending = PendingConnection::ask(&rig.plane, input()).await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_secs(1), pending.next()).await;
    assert!(nothing.is_err());
    let second = PendingConnection::ask(&rig.plane, input()).await;
    assert!(matches!(second, Err(PendingError::TooMany)));
    drop(pending);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.control.withdrawn.load(Ordering::SeqCst), 1);
    assert!(PendingConnection::ask(&rig.plane, input()).await.is_ok());
    assert_eq!(rig.plane.metrics.pending.get_sample_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn unauthenticated_clients_that_wait_do_not_keep_out_authenticated_ones() {
    let rig = Rig::with(LimitSettings { pending: 2, ..LimitSettings::default() });
    let unauthenticated = PendingConnection::ask(&rig.plane, input()).await;
    assert!(unauthenticated.is_ok());
    assert!(matches!(
        PendingConnection::ask(&rig.plane, input()).await,
        Err(PendingError::TooMany)
    ));
    let authenticated = AccessRequestInput { identity: Some(alice()), ..input() };
    assert!(PendingConnection::ask(&rig.plane, authenticated).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_passed_on() {
    let rig = Rig::new();
    let (code, message, hint) = ("not-permitted".to_owned(), "no".to_owned(), "ask".to_owned());
    let no = v1::Refused { code: code.clone(), message: message.clone(), hint: hint.clone() };
    script(&rig, vec![Event::Refused(no)]);
    let mut pending = PendingConnection::ask(&rig.plane, input()).await.unwrap();
    assert_eq!(pending.next().await.unwrap(), PendingEvent::Refused { code, message, hint });
}
