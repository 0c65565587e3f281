//! What people complain of most in approval systems elsewhere, each as a test that is named after it.
//!
//! Two more stand elsewhere: `a_revoked_grant_cuts` in `tests/workflow/journey.rs`, with a live psql, and
//! `a_person_in_two_groups_counts_once` beside the quorums that it is about.

use std::sync::Arc;

use policies::{Calendar, GrantState, RuleBook, Source, Ttl};

use super::workflow::{digest, rules, state, used, world};
use super::{START, World, actor, inventory};
use crate::access::input::Yes;
use crate::model::context::Context;
use crate::model::error::{ControlError, Refusal};
use crate::model::inventory::Inventory;
use crate::model::person::Person;
use crate::model::view::{Paging, RequestFilter, Scope};

#[tokio::test]
async fn an_approvers_delay_does_not_eat_the_grant() {
    let world = world().await;
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    world.pass(1_700);
    world.approve("bob", &id).await.unwrap();
    world.pass(200);
    let grant = used(&world, "app_ro@orders/reporting").await;
    let ends = world.control.kernel.now().after(grant.ttl);
    assert_eq!(grant.deadline(), Some(ends), "the whole hour begins with the first use");
}

#[tokio::test]
async fn a_second_connect_does_not_extend_it() {
    let world = world().await;
    let first = used(&world, "app_ro@orders").await;
    world.pass(3_000);
    let second = used(&world, "app_ro@orders").await;
    assert_eq!((second.id, second.state), (first.id, first.state));
}

#[tokio::test]
async fn admins_cant_approve_themselves() {
    let world = World::new().await;
    let mut admins = rules();
    let bob = admins.people.get_mut(&"bob".parse().unwrap()).unwrap();
    *bob = Person { admin: true, ..bob.clone() };
    world.control.sources.reload(admins).await.unwrap();
    let id = world.ask("bob", "app_ro@orders/reporting").await.unwrap().request.id;
    let own = crate::model::actor::Actor { admin: true, ..actor("bob") };
    let yes = Yes { digest: digest(&world, &id).await, shorten: None, step_up: None };
    let refused = world.control.access.approve(&own, &id, yes).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
    let outside = world.approve("eve", &id).await;
    assert!(
        matches!(outside, Err(ControlError::Refused(Refusal::Forbidden(_)))),
        "an office is no group"
    );
}

#[tokio::test]
async fn approving_twice_does_not_reset_the_end() {
    let world = world().await;
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    world.approve("bob", &id).await.unwrap();
    let grant = used(&world, "app_ro@orders/reporting").await;
    world.pass(600);
    assert!(matches!(
        world.approve("carol", &id).await,
        Err(ControlError::Refused(Refusal::Conflict(_)))
    ));
    assert!(matches!(
        world.approve("bob", &id).await,
        Err(ControlError::Refused(Refusal::Conflict(_)))
    ));
    let view = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
    assert_eq!(view.grant.deadline(), grant.deadline());
}

#[tokio::test]
async fn an_approved_request_is_reused() {
    let world = world().await;
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    let grant = world.approve("bob", &id).await.unwrap().unwrap();
    let again = world.ask("alice", "app_ro@orders/reporting").await.unwrap();
    assert_eq!((again.request.id, again.grant.unwrap().id), (id, grant.id));
}

#[tokio::test]
async fn pending_requests_lapse() {
    let world = world().await;
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    world.approve("lena", &id).await.unwrap();
    world.pass(1_799);
    world.control.access.sweep().await.unwrap();
    assert_eq!(state(&world, &id).await, "pending");
    world.pass(1);
    let late = world.approve("bob", &id).await;
    assert!(matches!(late, Err(ControlError::Refused(Refusal::Conflict(_)))), "{late:?}");
    world.control.access.sweep().await.unwrap();
    assert_eq!(state(&world, &id).await, "lapsed");
    let inbox = RequestFilter { scope: Scope::Inbox, state: None };
    let page =
        world.control.access.requests(&actor("bob"), inbox, Paging::default()).await.unwrap();
    assert!(page.items.is_empty(), "what has lapsed bothers nobody");
    let again = world.ask("alice", "app_rw@orders").await.unwrap();
    assert_ne!(again.request.id, id);
}

/// A night shift from 22:00 to 06:00; the clock stands at 08:00 of a Friday.
fn by_night() -> Inventory {
    let text = r#"
        permit (principal, action == Action::"connect", resource is Database)
        when { context.working_hours };
    "#;
    let source = Source { name: "night.cedar".into(), text: text.into() };
    let windows = vec!["Mon-Fri 22:00-06:00".parse().unwrap()];
    let calendar = Arc::new(Calendar::new(jiff::tz::TimeZone::UTC, windows, []));
    let context = Context { calendar, ..Context::default() };
    let rules = RuleBook::load(&[source]).unwrap().into();
    Inventory { rules, context, ..inventory(super::RULES) }
}

#[tokio::test]
async fn windows_across_midnight_work() {
    const HOUR: u64 = 3_600;
    let world = World::new().await;
    world.control.sources.reload(by_night()).await.unwrap();
    assert_eq!(world.ask("alice", "app_ro@orders").await.unwrap_err().code(), "not-permitted");
    world.pass(14 * HOUR);
    let evening = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    let long = used(&world, "app_ro@orders").await;
    assert_eq!(evening.id, long.id);
    world.control.access.done(&actor("alice"), &long.id).await.unwrap();
    world.pass(2 * HOUR + 1_800);
    // Half past midnight on Saturday: the shift of Friday still runs.
    let night = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    let inventory = world.control.kernel.inventory();
    let ends = inventory.next_change(world.control.kernel.now()).unwrap();
    assert_eq!(ends.millis() - START, Ttl::from_secs(22 * HOUR).millis());
    world.pass(5 * HOUR + 1_800);
    world.control.access.reconsider("the clock").await.unwrap();
    let view = world.control.access.grant(&actor("alice"), &night.id).await.unwrap();
    assert!(matches!(view.grant.state, GrantState::Ended { .. }), "{view:?}");
    // On Saturday evening no shift begins.
    world.pass(17 * HOUR);
    assert!(world.ask("alice", "app_ro@orders").await.is_err());
}
