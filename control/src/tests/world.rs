//! The world outside, as rules see it: working hours, rosters, tickets; and what ends with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use policies::{Calendar, GroupName, RuleBook, Source, Ttl};

use super::{World, access_to, actor, inventory};
use crate::Control;
use crate::access::input::AccessRequestInput;
use crate::access::ticket_state;
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::inventory::Inventory;
use crate::model::on_call::{Place, RosterSource};
use crate::model::tickets::TicketSource;
use crate::sources::on_call::Followed;

/// 15 January 2027, a Friday, 08:00 in UTC.
const RULES: &str = r#"
    permit (principal in Group::"engineering", action == Action::"connect", resource is Database);

    @id("approved out of hours") @approvals("1 of leads")
    forbid (principal, action == Action::"connect", resource)
    when { context.login == "app_ro" } unless { context.working_hours || principal in Group::"duty" };

    @id("writes name a ticket") @ticket("OPS-[0-9]+") @reason("12") @claim_within("2m") @record("binds")
    forbid (principal, action == Action::"connect", resource)
    when { context.login == "app_rw" };

    @id("closed tickets open nothing")
    forbid (principal, action == Action::"connect", resource)
    when { context.login == "app_cert" && !(context has ticket_state && context.ticket_state == "open") };
"#;

fn ruled(context: crate::model::context::Context) -> Inventory {
    let source = Source { name: "rules.cedar".into(), text: RULES.into() };
    let rules = RuleBook::load(&[source]).unwrap().into();
    Inventory { rules, context, ..inventory(super::RULES) }
}

fn hours(windows: &[&str]) -> crate::model::context::Context {
    let windows = windows.iter().map(|text| text.parse().unwrap()).collect();
    let calendar = Calendar::new(jiff::tz::TimeZone::UTC, windows, []);
    crate::model::context::Context {
        calendar: Arc::new(calendar),
        ..crate::model::context::Context::default()
    }
}

fn rostered(file: &Path) -> crate::model::context::Context {
    let duty = GroupName::new("duty").unwrap();
    let source = RosterSource {
        from: Place::File(file.to_owned()),
        people: BTreeMap::new(),
        refresh: Ttl::from_secs(60),
        keep: Ttl::from_secs(600),
    };
    crate::model::context::Context {
        rosters: BTreeMap::from([(duty, source)]).into(),
        ..crate::model::context::Context::default()
    }
}

/// What the audit log says of why this was given, and how its story tells it.
async fn given_by(world: &World, id: &policies::GrantId) -> (serde_json::Value, String) {
    let story = world.control.evidence.timeline(&actor("eve"), id.as_str()).await.unwrap();
    let given = story.events.iter().find(|event| event.kind == "grant.given").unwrap();
    let message = story.lines.iter().find(|line| line.contains(" was given to ")).unwrap();
    (given.detail["decided_by"].clone(), message.clone())
}

async fn end_of(control: &Control, id: &policies::GrantId) -> String {
    let state = control.access.grant(&actor("eve"), id).await.unwrap().grant.state;
    match state {
        policies::GrantState::Ended { end, .. } => end.to_string(),
        other @ (policies::GrantState::Scheduled { .. }
        | policies::GrantState::Granted { .. }
        | policies::GrantState::Active { .. }) => other.word().to_owned(),
    }
}

#[tokio::test]
async fn a_grant_that_working_hours_gave_ends_with_them() {
    let world = World::new().await;
    world.control.sources.reload(ruled(hours(&["Fri 06:00-08:10"]))).await.unwrap();
    let grant = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    let (by, message) = given_by(&world, &grant.id).await;
    assert_eq!(by["facts"]["working_hours"], true, "{by}");
    assert_eq!(by["stood_aside"][0]["rule"], "approved out of hours", "{by}");
    assert!(message.contains("without asking anybody, permitted by `rules.cedar:2`"), "{message}");
    assert!(
        message.contains("working_hours true") && message.contains("rules.cedar:4"),
        "{message}"
    );
    let now = world.control.kernel.now();
    let inventory = world.control.kernel.inventory();
    let next = inventory.next_change(now).unwrap();
    assert_eq!(now.until(next), Ttl::from_secs(600));
    world.pass(599);
    world.control.access.reconsider("the clock").await.unwrap();
    assert_eq!(end_of(&world.control, &grant.id).await, "granted");
    world.pass(1);
    world.control.access.reconsider("the clock").await.unwrap();
    assert!(end_of(&world.control, &grant.id).await.contains("1 of leads"));
}

#[tokio::test]
async fn whoever_is_on_call_is_in_the_group_of_the_roster_until_their_turn_ends() {
    let world = World::new().await;
    let file = world.folder.path().join("duty.json");
    let turn = |until: &str| {
        format!(
            r#"{{"shifts": [{{"who": "alice", "from": "2027-01-01T00:00:00Z", "until": "{until}"}}]}}"#
        )
    };
    world.control.sources.reload(ruled(rostered(&file))).await.unwrap();
    let asked = world.ask("alice", "app_ro@orders").await.unwrap();
    assert!(asked.grant.is_none(), "nobody is on call by a file that isn't there");
    world.control.access.withdraw(&actor("alice"), &asked.request.id).await.unwrap();

    std::fs::write(&file, turn("2027-01-15T08:30:00Z")).unwrap();
    let mut followed = Followed::default();
    world.control.sources.follow_rosters(&mut followed).await;
    let grant = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    assert!(world.ask("bob", "app_ro@orders").await.unwrap().grant.is_none());
    let (by, message) = given_by(&world, &grant.id).await;
    assert_eq!(by["groups"], serde_json::json!(["duty", "engineering"]), "{by}");
    assert!(message.contains("groups duty, engineering"), "{message}");

    // Another configuration forgets nothing that was learned.
    let reloaded = world.control.sources.reload(ruled(rostered(&file))).await.unwrap();
    assert!(reloaded.revoked.is_empty(), "{reloaded:?}");
    std::fs::write(&file, turn("2027-01-15T00:00:00Z")).unwrap();
    world.pass(61);
    world.control.sources.follow_rosters(&mut followed).await;
    assert!(end_of(&world.control, &grant.id).await.contains("1 of leads"));
}

#[tokio::test]
async fn a_roster_that_falls_silent_holds_for_a_while_and_then_puts_nobody_on_call() {
    let world = World::new().await;
    let file = world.folder.path().join("duty.json");
    std::fs::write(&file, r#"{"on_call": ["alice"]}"#).unwrap();
    world.control.sources.reload(ruled(rostered(&file))).await.unwrap();
    let mut followed = Followed::default();
    world.control.sources.follow_rosters(&mut followed).await;
    let grant = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    std::fs::write(&file, "<html>").unwrap();
    for _ in 0..3 {
        world.pass(61);
        world.control.sources.follow_rosters(&mut followed).await;
    }
    world.control.access.reconsider("the clock").await.unwrap();
    assert_ne!(end_of(&world.control, &grant.id).await, "ended");
    let mut raw = world.raw().await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM audit WHERE kind = 'roster.silent'")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(count, 1, "an outage is written once");
    world.pass(600);
    world.control.access.reconsider("the clock").await.unwrap();
    assert!(end_of(&world.control, &grant.id).await.contains("1 of leads"));
}

#[tokio::test]
async fn a_refusal_says_which_ticket_or_reason_is_wanted_and_how_to_give_it() {
    let world = World::new().await;
    world.control.sources.reload(ruled(crate::model::context::Context::default())).await.unwrap();
    let ask = |ticket: Option<&str>, reason: &str| AccessRequestInput {
        ticket: ticket.map(|ticket| ticket.parse().unwrap()),
        reason: reason.into(),
        ..access_to("app_rw@orders")
    };
    for (ticket, reason, message) in [
        (None, "fix the order", "`OPS-[0-9]+`"),
        (Some("INC-7"), "fix the order", "postern request --ticket"),
        (Some("OPS-7"), "fix it", "at least 12 characters"),
    ] {
        let refused =
            world.control.access.ask(&actor("alice"), ask(ticket, reason)).await.unwrap_err();
        assert!(
            matches!(refused, ControlError::Refused(Refusal::Rejected(Rejection::MissingInput(_)))),
            "{refused:?}"
        );
        assert!(refused.to_string().contains(message), "{refused}");
    }
    let asked =
        world.control.access.ask(&actor("alice"), ask(Some("OPS-7"), "fix the order")).await;
    let grant = asked.unwrap().grant.unwrap();
    let left = world.control.kernel.now().until(grant.deadline().unwrap());
    assert_eq!(left, Ttl::from_secs(120), "the rules say how soon it has to be used");
    let lease = grant.lease().unwrap();
    assert!(lease.record.contains(&policies::Record::Binds));
}

#[tokio::test]
async fn a_grant_ends_when_its_ticket_closes() {
    let world = World::new().await;
    world.control.sources.reload(ruled(crate::model::context::Context::default())).await.unwrap();
    let ticket: policies::Ticket = "OPS-7".parse().unwrap();
    let ask = AccessRequestInput { ticket: Some(ticket.clone()), ..access_to("app_cert@orders") };
    let refused = world.control.access.ask(&actor("alice"), ask.clone()).await.unwrap_err();
    let forbidden = |refused: &ControlError| {
        matches!(
            refused,
            ControlError::Refused(Refusal::Rejected(Rejection::Rules(
                policies::Refusal::Forbidden(_)
            )))
        )
    };
    assert!(forbidden(&refused), "{refused:?}");
    let hear = async |state: &str| {
        let mut tx = world.control.kernel.begin().await.unwrap();
        ticket_state::hear_of_ticket(&mut tx, &ticket, Some(state.to_owned()), "a test")
            .await
            .unwrap();
        tx.commit().await.unwrap();
    };
    hear("open").await;
    let grant = world.control.access.ask(&actor("alice"), ask).await.unwrap().grant.unwrap();
    let (by, message) = given_by(&world, &grant.id).await;
    assert_eq!(by["facts"]["ticket_state"], "open", "{by}");
    assert_eq!(by["stood_aside"][0]["rule"], "closed tickets open nothing", "{by}");
    assert!(by["facts"].get("reason").is_none(), "only what rules looked at is recorded: {by}");
    assert!(message.contains("ticket_state open"), "{message}");
    hear("open").await;
    assert_ne!(end_of(&world.control, &grant.id).await, "ended");
    hear("closed").await;
    assert!(end_of(&world.control, &grant.id).await.contains("closed tickets open nothing"));
}

#[tokio::test]
async fn a_tracker_that_is_down_means_that_nobody_knows() {
    let world = World::new().await;
    // Nothing listens there: the port was given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tickets = TicketSource {
        url: format!("http://127.0.0.1:{port}/issues/{{ticket}}").parse().unwrap(),
        bearer: None,
        state: "/state".into(),
        refresh: Ttl::from_secs(60),
        keep: Ttl::from_secs(600),
    };
    let tickets = Some(Arc::new(tickets));
    world
        .control
        .sources
        .reload(ruled(crate::model::context::Context { tickets, ..Default::default() }))
        .await
        .unwrap();
    let ask = AccessRequestInput {
        ticket: Some("OPS-7".parse().unwrap()),
        ..access_to("app_cert@orders")
    };
    for _ in 0..2 {
        let refused = world.control.access.ask(&actor("alice"), ask.clone()).await.unwrap_err();
        assert!(refused.to_string().contains("closed tickets open nothing"), "{refused}");
    }
    let mut raw = world.raw().await;
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM audit WHERE kind = 'tickets.silent'")
        .fetch_one(&mut raw)
        .await
        .unwrap();
    assert_eq!(count, 1);
}
