use std::sync::atomic::Ordering;

use policies::{Partition, Term};
use v1::ask_event::Event;

use super::*;
use crate::settings::LimitSettings;
use crate::testing::{LONG, Rig, alice, at, lease, snapshot};

fn wish() -> Wish {
    Wish {
        identity: None,
        resource: "app@orders/shop".parse().unwrap(),
        client: "192.0.2.7:5555".parse().unwrap(),
        application: "psql".into(),
        ttl: None,
        reason: "incident 7".into(),
        ticket: Some("OPS-7".parse().unwrap()),
        wait: true,
        patience: Ttl::from_secs(600),
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
async fn a_connection_hears_how_its_wish_goes() {
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
    let mut hold = Hold::ask(&rig.plane, wish()).await.unwrap();
    let patience = Ttl::from_secs(600);
    let expected = HoldEvent::Confirm { code, url: url.clone(), patience };
    assert_eq!(hold.next().await.unwrap(), expected);
    assert_eq!(hold.next().await.unwrap(), HoldEvent::Confirmed(alice()));
    let expected = HoldEvent::Asked { request: "rq-1".into(), needs, url, patience };
    assert_eq!(hold.next().await.unwrap(), expected);
    let expected = HoldEvent::Granted {
        grant: "gr-1".parse().unwrap(),
        ttl: Ttl::from_secs(60),
        approved_by: vec!["bob".into()],
    };
    assert_eq!(hold.next().await.unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_told_once_the_lease_is_there() {
    let rig = Rig::new();
    rig.grant(vec![], Partition::Cut);
    script(&rig, vec![granted(2)]);
    let mut hold = Hold::ask(&rig.plane, wish()).await.unwrap();
    let waiting = tokio::spawn(async move { hold.next().await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!waiting.is_finished());
    let leases = vec![lease("gr-1", Term::Until(at(600)))];
    rig.plane.leases.apply_snapshot(2, LONG, snapshot(leases, Partition::Cut));
    assert!(matches!(waiting.await.unwrap(), Ok(HoldEvent::Granted { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_never_arrives_is_an_error() {
    let rig = Rig::new();
    rig.grant(vec![], Partition::Cut);
    script(&rig, vec![granted(2)]);
    let mut hold = Hold::ask(&rig.plane, wish()).await.unwrap();
    assert!(matches!(hold.next().await, Err(HoldError::Unsettled)));
}

#[tokio::test(start_paused = true)]
async fn patience_ends_even_where_control_says_nothing() {
    let rig = Rig::new();
    script(&rig, vec![]);
    let mut hold = Hold::ask(&rig.plane, wish()).await.unwrap();
    assert!(matches!(hold.next().await, Err(HoldError::Lapsed)));
    assert_eq!(rig.plane.clock.now(), at(605));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_kept_waiting_by_a_gateway_that_shuts_down() {
    let rig = Rig::new();
    script(&rig, vec![]);
    let mut hold = Hold::ask(&rig.plane, wish()).await.unwrap();
    let waiting = tokio::spawn(async move { hold.next().await });
    tokio::time::sleep(Duration::from_secs(3)).await;
    rig.plane.sessions.drain();
    assert!(matches!(waiting.await.unwrap(), Err(HoldError::Draining)));
    assert_eq!(rig.plane.clock.now(), at(3));
}

#[tokio::test(start_paused = true)]
async fn dropping_a_hold_takes_the_wish_back_and_frees_its_place() {
    let rig = Rig::with(LimitSettings { holds: 1, ..LimitSettings::default() });
    script(&rig, vec![]);
    let mut hold = Hold::ask(&rig.plane, wish()).await.unwrap();
    let nothing = tokio::time::timeout(Duration::from_secs(1), hold.next()).await;
    assert!(nothing.is_err());
    let second = Hold::ask(&rig.plane, wish()).await;
    assert!(matches!(second, Err(HoldError::TooMany)));
    drop(hold);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(rig.control.withdrawn.load(Ordering::SeqCst), 1);
    assert!(Hold::ask(&rig.plane, wish()).await.is_ok());
    assert_eq!(rig.plane.metrics.hold.get_sample_count(), 2);
}

#[tokio::test(start_paused = true)]
async fn strangers_who_wait_don_t_keep_out_who_is_known() {
    let rig = Rig::with(LimitSettings { holds: 2, ..LimitSettings::default() });
    let stranger = Hold::ask(&rig.plane, wish()).await;
    assert!(stranger.is_ok());
    assert!(matches!(Hold::ask(&rig.plane, wish()).await, Err(HoldError::TooMany)));
    let known = Wish { identity: Some(alice()), ..wish() };
    assert!(Hold::ask(&rig.plane, known).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_passed_on() {
    let rig = Rig::new();
    let (code, message, hint) = ("not-permitted".to_owned(), "no".to_owned(), "ask".to_owned());
    let no = v1::Refused { code: code.clone(), message: message.clone(), hint: hint.clone() };
    script(&rig, vec![Event::Refused(no)]);
    let mut hold = Hold::ask(&rig.plane, wish()).await.unwrap();
    assert_eq!(hold.next().await.unwrap(), HoldEvent::Refused { code, message, hint });
}

#[tokio::test(start_paused = true)]
async fn a_token_names_a_person_or_nobody() {
    let rig = Rig::new();
    let wish = wish();
    let redeem = async |token: &str| {
        let token = SecretString::from(token);
        redeem(&rig.plane, &Proof::Token(token), &wish.resource, wish.client).await
    };
    assert_eq!(redeem("good").await.unwrap(), alice());
    let refused = redeem("bad").await.unwrap_err();
    assert_eq!(refused.to_string(), "no such token");
    let failed = redeem("broken").await.unwrap_err();
    assert_eq!(failed.to_string(), "control is out of reach");
}
