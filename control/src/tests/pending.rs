//! What becomes of requests that wait, without anybody's act.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::link::v1::ask_event::Event;
use policies::{Calendar, GroupName, RuleBook, Source, Subject, Ttl};

use super::wait::{ask, next, waiting};
use super::workflow::{state, used};
use super::{World, access_to, actor, inventory};
use crate::access::input::AccessRequestInput;
use crate::access::ticket_state;
use crate::model::inventory::Inventory;
use crate::model::on_call::{Place, RosterSource};
use crate::sources::on_call::Followed;

/// A lead approves what nobody has to approve in working hours, on duty or with an approved ticket.
const RULES: &str = r#"
    permit (principal in Group::"engineering", action == Action::"connect", resource is Database);

    @id("a lead") @approvals("1 of leads")
    forbid (principal, action == Action::"connect", resource)
    unless {
        context.working_hours || principal in Group::"duty"
        || (context has ticket_state && context.ticket_state == "approved")
    };

    @id("no closed tickets")
    forbid (principal, action == Action::"connect", resource)
    when { context has ticket_state && context.ticket_state == "closed" };
"#;

fn ruled(rules: &str, context: crate::model::context::Context) -> Inventory {
    let source = Source { name: "rules.cedar".into(), text: rules.into() };
    let rules = RuleBook::load(&[source]).unwrap().into();
    Inventory { rules, context, ..inventory(super::RULES) }
}

/// The clock stands at 08:00 of a Friday; work begins at 08:20 and ends at 08:50.
fn hours() -> crate::model::context::Context {
    let windows = vec!["Fri 08:20-08:50".parse().unwrap()];
    let calendar = Arc::new(Calendar::new(jiff::tz::TimeZone::UTC, windows, []));
    crate::model::context::Context { calendar, ..crate::model::context::Context::default() }
}

async fn world(outside: crate::model::context::Context) -> World {
    let world = World::new().await;
    world.control.sources.reload(ruled(RULES, outside)).await.unwrap();
    world
}

async fn hear(world: &World, ticket: &str, state: &str) {
    let mut tx = world.control.kernel.begin().await.unwrap();
    let (ticket, state) = (ticket.parse().unwrap(), Some(state.to_owned()));
    ticket_state::hear_of_ticket(&mut tx, &ticket, state, "a test").await.unwrap();
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_waits_when_working_hours_begin_is_given_by_itself_and_the_connection_goes_on() {
    let world = world(hours()).await;
    let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
    let Event::Asked(asked) = next(&mut events).await else { panic!() };
    let id = asked.request.parse().unwrap();
    let due = world.control.kernel.inventory().next_change(world.control.kernel.now()).unwrap();
    assert_eq!(
        world.control.kernel.now().until(due),
        Ttl::from_secs(1_200),
        "the clock wakes us then"
    );
    world.pass(1_199);
    world.control.access.reconsider("the clock").await.unwrap();
    assert_eq!(state(&world, &id).await, "pending");
    world.pass(1);
    world.control.access.reconsider("the clock").await.unwrap();
    let Event::Granted(granted) = next(&mut events).await else { panic!() };
    assert!(granted.approved_by.is_empty(), "{granted:?}");
    let kinds = world.kinds().await;
    assert!(kinds.ends_with(&["request.granted".into(), "grant.given".into()]), "{kinds:?}");
    let view = world.control.access.request(&actor("alice"), &id).await.unwrap();
    assert_eq!(view.grants.len(), 1);
    assert_eq!(view.request.terms.approvals.to_string(), "1 of leads", "as it was asked");
    // What the hours gave ends with them.
    world.pass(1_800);
    world.control.access.reconsider("the clock").await.unwrap();
    assert_eq!(world.control.kernel.feed().live(), 0);
}

#[tokio::test]
async fn a_ticket_that_is_approved_gives_what_waits_for_it_and_one_that_closes_takes_it_back() {
    let world = world(crate::model::context::Context::default()).await;
    let about = |ticket: &str, what: &str| AccessRequestInput {
        ticket: Some(ticket.parse().unwrap()),
        ..access_to(what)
    };
    let alice = actor("alice");
    let good =
        world.control.access.ask(&alice, about("OPS-1", "app_rw@orders")).await.unwrap().request;
    let bad =
        world.control.access.ask(&alice, about("OPS-2", "app_ro@orders")).await.unwrap().request;
    let mut events = ask(&world, waiting(Some("bob"), "app_ro@orders")).await;
    let Event::Asked(other) = next(&mut events).await else { panic!() };
    hear(&world, "OPS-1", "approved").await;
    assert_eq!(state(&world, &good.id).await, "granted");
    assert_eq!(state(&world, &bad.id).await, "pending", "it is about another ticket");
    assert_eq!(state(&world, &other.request.parse().unwrap()).await, "pending");
    hear(&world, "OPS-2", "closed").await;
    let view = world.control.access.request(&alice, &bad.id).await.unwrap();
    let policies::RequestState::Withdrawn { why: Some(why), .. } = view.request.state else {
        panic!("{view:?}")
    };
    assert_eq!(why, "forbidden by no closed tickets");
    hear(&world, "OPS-1", "closed").await;
    assert_eq!(world.control.kernel.feed().live(), 0);
}

#[tokio::test]
async fn a_connection_whose_request_the_rules_no_longer_give_is_told_why() {
    let world = world(crate::model::context::Context::default()).await;
    let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
    let Event::Asked(_) = next(&mut events).await else { panic!() };
    let stricter = format!("{RULES}\n@id(\"the freeze\") forbid (principal, action, resource);");
    let reloaded = world
        .control
        .sources
        .reload(ruled(&stricter, crate::model::context::Context::default()))
        .await
        .unwrap();
    assert_eq!(reloaded.withdrawn.len(), 1);
    let Event::Refused(refused) = next(&mut events).await else { panic!() };
    assert_eq!(refused.code, "withdrawn");
    assert!(refused.message.contains("forbidden by the freeze"), "{refused:?}");
}

#[tokio::test]
async fn whoever_comes_on_call_gets_what_they_wait_for() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("duty.json");
    let source = RosterSource {
        from: Place::File(file.clone()),
        people: BTreeMap::new(),
        refresh: Ttl::from_secs(60),
        keep: Ttl::from_secs(600),
    };
    let rosters = BTreeMap::from([(GroupName::new("duty").unwrap(), source)]).into();
    let world = world(crate::model::context::Context {
        rosters,
        ..crate::model::context::Context::default()
    })
    .await;
    let mine = world.ask("alice", "app_ro@orders").await.unwrap().request.id;
    let theirs = world.ask("bob", "app_ro@orders").await.unwrap().request.id;
    std::fs::write(&file, r#"{"on_call": ["alice"]}"#).unwrap();
    world.control.sources.follow_rosters(&mut Followed::default()).await;
    assert_eq!(state(&world, &mine).await, "granted");
    assert_eq!(state(&world, &theirs).await, "pending");
}

#[tokio::test]
async fn what_is_locked_or_waits_for_a_touch_is_not_given_by_itself() {
    const TOUCH: &str = r#"
        permit (principal, action == Action::"connect", resource is Database);
        @id("a touch, then a lead") @approvals("1 of leads") @step_up("5m")
        forbid (principal, action == Action::"connect", resource);
    "#;
    let world = World::new().await;
    let of = |rules: &str| ruled(rules, crate::model::context::Context::default());
    world.control.sources.reload(of(TOUCH)).await.unwrap();
    let id = world.ask("alice", "app_ro@orders").await.unwrap().request.id;
    let touch = TOUCH.replace("@approvals(\"1 of leads\")", "");
    world.control.sources.reload(of(&touch)).await.unwrap();
    assert_eq!(state(&world, &id).await, "pending", "the touch still lacks");
    let subject = Subject::Principal("alice".parse().unwrap());
    let lock = world.control.access.lock(&actor("eve"), subject, "lost".into(), None).await;
    let lock = lock.unwrap().value;
    let free = touch.replace("@step_up(\"5m\")", "@limit(\"2h\")");
    world.control.sources.reload(of(&free)).await.unwrap();
    assert_eq!(state(&world, &id).await, "pending", "they are locked");
    world.control.access.unlock(&actor("eve"), &lock.id).await.unwrap();
    world.control.sources.reload(of(&free)).await.unwrap();
    assert_eq!(state(&world, &id).await, "granted");
}

#[tokio::test]
async fn an_extension_that_needs_nobody_any_more_makes_its_grant_last_longer() {
    let world = world(hours()).await;
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    world.approve("lena", &id).await.unwrap();
    let grant = used(&world, "app_rw@orders").await;
    let half = Some(Ttl::from_secs(1_800));
    let longer = world.control.access.extend(&actor("alice"), &grant.id, half, None).await.unwrap();
    assert!(longer.request.is_pending());
    world.pass(1_200);
    world.control.access.reconsider("the clock").await.unwrap();
    let view = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
    let ends = grant.deadline().unwrap().after(Ttl::from_secs(1_800));
    assert_eq!(view.grant.deadline(), Some(ends));
}
