use std::future::{pending, ready};

use link::v1;
use link::v1::ask_event::Event;
use link::v1::credential::Credential as Wire;
use policies::{Lease, Partition, Term, Ttl};

use super::*;
use crate::core::testing::{Rig, alice, at, lease};

fn input(identity: Option<Identity>, wait_for: WaitFor) -> AccessRequestInput {
    AccessRequestInput {
        identity,
        resource: "app@orders/shop".parse().unwrap(),
        client: "192.0.2.7:5555".parse().unwrap(),
        application: "psql".into(),
        ttl: None,
        reason: String::new(),
        ticket: None,
        wait_for,
        timeout: Ttl::from_secs(600),
    }
}

fn attempt(rig: &Rig, identity: Option<Identity>, wait_for: WaitFor) -> Attempt {
    let input = input(identity, wait_for);
    let slot = rig.plane.limits.enter(input.client).unwrap();
    Attempt::new(Arc::clone(&rig.plane), Kind::Postgres, input, Arc::new(slot))
}

fn rig(leases: Vec<Lease>) -> Rig {
    let rig = Rig::new();
    rig.grant(leases, Partition::UntilLeaseEnd);
    let credential = v1::Credential { credential: Some(Wire::Password("secret".into())) };
    begins(
        &rig,
        v1::BeginReply {
            ends_ms: at(600).millis(),
            credential: Some(credential),
            ..v1::BeginReply::default()
        },
    );
    rig
}

fn live() -> Vec<Lease> {
    vec![lease("gr-1", Term::Until(at(600)))]
}

fn begins(rig: &Rig, reply: v1::BeginReply) {
    *rig.control.begin_reply.lock().unwrap() = Some(Ok(reply));
}

/// The rules want a fresh touch for this very connection.
fn wants_touch(rig: &Rig) {
    let needed = v1::StepUpNeeded { message: "touch".into(), hint: "there".into() };
    begins(rig, v1::BeginReply { step_up_needed: Some(needed), ..v1::BeginReply::default() });
}

fn script(rig: &Rig, events: Vec<Event>) {
    let events = events.into_iter().map(|event| v1::AskEvent { event: Some(event) });
    rig.control.asks.lock().unwrap().push_back(events.collect());
}

fn confirm() -> Event {
    let (code, url) = ("KXQT-7M4P".into(), "https://gate.example.com/c/9".into());
    Event::Confirm(v1::Confirm { code, url, patience_ms: 600_000 })
}

fn granted() -> Event {
    let (grant, approved_by) = ("gr-1".into(), vec!["Bob\u{1b}[2J".into()]);
    Event::Granted(v1::Granted { grant, revision: 1, ttl_ms: 60_000, approved_by })
}

fn admitted(step: Progress) -> Session {
    let Progress::Admitted(admitted) = step else { panic!("{step:?}") };
    admitted.session
}

fn refused(step: Progress) -> AdmissionError {
    let Progress::Refused(error) = step else { panic!("{step:?}") };
    error
}

fn event(step: Progress) -> PendingEvent {
    let Progress::Event(event) = step else { panic!("{step:?}") };
    event
}

#[tokio::test(start_paused = true)]
async fn a_live_lease_admits_at_once_with_what_opens_the_target() {
    let rig = rig(live());
    let session = admitted(attempt(&rig, Some(alice()), WaitFor::People).begin().await);
    assert_eq!(session.pass().grant().as_str(), "gr-1");
    assert_eq!(rig.control.begins.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_a_client_waits_only_where_it_may() {
    let rig = rig(vec![]);
    for (wait_for, waits) in
        [(WaitFor::People, true), (WaitFor::Rules, true), (WaitFor::Nothing, false)]
    {
        let step = attempt(&rig, Some(alice()), wait_for).begin().await;
        assert_eq!(matches!(step, Progress::MustWait), waits, "{wait_for:?}: {step:?}");
        if !waits {
            let error = refused(step);
            assert_eq!((error.reason(), error.to_string().as_str()), ("no-grant", "no live grant"));
            let hint = error.hint(&"app@orders/shop".parse().unwrap());
            assert_eq!(hint, "Ask for it: postern request app@orders/shop --reason \"...\"");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_unidentified_client_is_identified_while_it_waits_and_then_admitted() {
    let rig = rig(live());
    script(&rig, vec![confirm(), Event::Confirmed(alice().into()), granted()]);
    let mut attempt = attempt(&rig, None, WaitFor::People);
    assert!(matches!(attempt.begin().await, Progress::MustWait));
    let first = event(attempt.wait(pending()).await);
    assert_eq!(attempt.headline(&first), "no live grant for app on orders");
    assert!(attempt.describe(&first)[0].starts_with("confirm code KXQT-7M4P at https://"));
    let confirmed = event(attempt.wait(pending()).await);
    assert_eq!(attempt.describe(&confirmed), ["confirmed by Alice"]);
    assert_eq!(attempt.identity(), Some(&alice()));
    let granted = event(attempt.wait(pending()).await);
    assert_eq!(attempt.describe(&granted), ["approved by Bob [2J, for 1m"]);
    assert_eq!(admitted(attempt.wait(pending()).await).identity(), &alice());
}

#[tokio::test(start_paused = true)]
async fn where_a_touch_is_wanted_the_session_waits_for_it_once() {
    let rig = rig(live());
    wants_touch(&rig);
    script(&rig, vec![confirm(), granted()]);
    let mut attempt = attempt(&rig, Some(alice()), WaitFor::People);
    assert!(matches!(attempt.begin().await, Progress::MustWait));
    let first = event(attempt.wait(pending()).await);
    assert_eq!(attempt.headline(&first), "app on orders takes a fresh step-up");
    event(attempt.wait(pending()).await);
    let error = refused(attempt.wait(pending()).await);
    assert_eq!((error.reason(), error.to_string().as_str()), ("step-up-needed", "touch"));
    rig.plane.reports.flush().await;
    assert_eq!(rig.control.reports(), ["opened", "policy touch"]);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_waits_a_missing_touch_refuses() {
    let rig = rig(live());
    wants_touch(&rig);
    for wait_for in [WaitFor::Rules, WaitFor::Nothing] {
        let error = refused(attempt(&rig, Some(alice()), wait_for).begin().await);
        assert_eq!(error.reason(), "step-up-needed");
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_grant_ends_the_wait_for_a_touch() {
    let rig = rig(live());
    wants_touch(&rig);
    script(&rig, vec![confirm()]);
    let mut attempt = attempt(&rig, Some(alice()), WaitFor::People);
    assert!(matches!(attempt.begin().await, Progress::MustWait));
    event(attempt.wait(pending()).await);
    assert!(matches!(refused(attempt.wait(pending()).await), AdmissionError::Ended(End::Expired)));
    rig.plane.reports.flush().await;
    assert_eq!(rig.control.reports(), ["opened", "expired"]);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_has_ended_by_then_asks_control_for_nothing() {
    let rig = rig(live());
    wants_touch(&rig);
    script(&rig, vec![confirm()]);
    let mut attempt = attempt(&rig, Some(alice()), WaitFor::People);
    assert!(matches!(attempt.begin().await, Progress::MustWait));
    tokio::time::advance(std::time::Duration::from_secs(600)).await;
    let error = attempt.ask().await.unwrap_err();
    assert!(matches!(error, AdmissionError::Ended(End::Expired)), "{error}");
    assert_eq!(rig.control.asks.lock().unwrap().len(), 1, "control was not asked");
    rig.plane.reports.flush().await;
    assert_eq!(rig.control.reports(), ["opened", "expired"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_withdraws_its_request_and_closes_its_session() {
    let rig = rig(live());
    wants_touch(&rig);
    script(&rig, vec![confirm()]);
    let mut attempt = attempt(&rig, Some(alice()), WaitFor::People);
    assert!(matches!(attempt.begin().await, Progress::MustWait));
    event(attempt.wait(pending()).await);
    assert!(matches!(attempt.wait(ready(())).await, Progress::Left));
    rig.plane.reports.flush().await;
    assert_eq!(rig.control.reports(), ["opened", "closed"]);
    assert_eq!(rig.control.withdrawn.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_control_is_passed_on() {
    let rig = rig(vec![]);
    let no = |code: &str| {
        let (message, hint) = ("no".to_owned(), "ask".to_owned());
        Event::Refused(v1::Refused { code: code.to_owned(), message, hint })
    };
    for (code, reason) in [("not-permitted", "no-grant"), ("step-up-needed", "step-up-needed")] {
        script(&rig, vec![no(code)]);
        let mut attempt = attempt(&rig, Some(alice()), WaitFor::Rules);
        assert!(matches!(attempt.begin().await, Progress::MustWait));
        let error = refused(attempt.wait(pending()).await);
        assert_eq!((error.reason(), error.to_string().as_str()), (reason, "no"));
        assert_eq!(error.hint(attempt.resource()), "ask");
    }
}
