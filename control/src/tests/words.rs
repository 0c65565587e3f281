//! What a stock client has no way to say is said on the page of its connection.

use ::link::v1::ask_event::Event;
use policies::Digest;

use super::wait::{Events, ask, confirm, next, waiting};
use super::{World, actor, inventory};
use crate::gateway::pending_connections::Said;
use crate::model::error::{ControlError, Refusal};
use crate::model::waiting_connection::HoldView;

const RULES: &str = r#"
    permit (principal in Group::"engineering", action == Action::"connect", resource is Database);

    @id("writes name a ticket") @ticket("OPS-[0-9]+") @reason("12")
    forbid (principal, action == Action::"connect", resource)
    when { context.login == "app_rw" };
"#;

async fn world() -> World {
    let world = World::new().await;
    world.control.sources.reload(inventory(RULES)).await.unwrap();
    world
}

async fn code(events: &mut Events) -> String {
    let Event::Confirm(confirm) = next(events).await else { panic!("it isn't held") };
    confirm.code
}

async fn say(
    world: &World,
    (who, code, digest): (&str, &str, &Digest),
    (ticket, reason): (&str, &str),
) -> Result<HoldView, ControlError> {
    let said = Said { ticket: ticket.parse().ok(), reason: reason.into() };
    world.control.gateway.say(&actor(who), code, digest, said).await
}

#[tokio::test]
async fn a_connection_that_could_not_say_what_it_is_for_is_held_and_goes_on_with_what_is_said() {
    for identified in [Some("alice"), None] {
        let world = world().await;
        let mut events = ask(&world, waiting(identified, "app_rw@orders")).await;
        let code = code(&mut events).await;
        let silent = confirm(&world, "alice", &code).await.unwrap_err();
        assert_eq!(silent.code(), "ticket-needed");
        let first = world.control.gateway.hold_by_code(&actor("alice"), &code).await.unwrap();
        let short = say(&world, ("alice", &code, &first.digest), ("OPS-7", "fix")).await.unwrap();
        let short = confirm(&world, "alice", &code).await.map(|()| short).unwrap_err();
        assert_eq!(short.code(), "reason-needed", "what is said is looked at again");
        let stale = say(&world, ("alice", &code, &first.digest), ("OPS-7", "fix the order")).await;
        assert!(matches!(stale, Err(ControlError::Refused(Refusal::Conflict(_)))), "{stale:?}");
        let view = world.control.gateway.hold_by_code(&actor("alice"), &code).await.unwrap();
        say(&world, ("alice", &code, &view.digest), ("OPS-7", "fix the order")).await.unwrap();
        let stale = world.control.gateway.confirm(&actor("alice"), &code, view.digest, None).await;
        assert!(matches!(stale, Err(ControlError::Refused(Refusal::Conflict(_)))), "{stale:?}");
        confirm(&world, "alice", &code).await.unwrap();
        let Event::Confirmed(_) = next(&mut events).await else { panic!() };
        let Event::Granted(granted) = next(&mut events).await else { panic!() };
        let grant =
            world.control.access.grant(&actor("alice"), &granted.grant.parse().unwrap()).await;
        let request = grant.unwrap().grant.request;
        let request =
            world.control.access.request(&actor("alice"), &request).await.unwrap().request;
        assert_eq!(request.ticket.unwrap().as_str(), "OPS-7");
        assert_eq!(request.reason, "fix the order");
    }
}

#[tokio::test]
async fn only_the_one_whose_connection_it_is_says_what_it_is_for() {
    let world = world().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
    let code = code(&mut events).await;
    let view = world.control.gateway.hold_by_code(&actor("alice"), &code).await.unwrap();
    let theirs = say(&world, ("bob", &code, &view.digest), ("OPS-7", "fix the order")).await;
    assert!(matches!(theirs, Err(ControlError::Refused(Refusal::NotFound(_)))), "{theirs:?}");
    let long = "x".repeat(2_001);
    for reason in [long.as_str(), "a\u{1b}[31m reason that colours"] {
        let refused = say(&world, ("alice", &code, &view.digest), ("OPS-7", reason)).await;
        assert!(matches!(refused, Err(ControlError::Refused(Refusal::Invalid(_)))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_connection_that_says_enough_or_has_a_grant_is_not_held() {
    let world = world().await;
    let said = ::link::v1::AskRequest {
        reason: "fix the order".into(),
        ticket: Some("OPS-7".into()),
        ..waiting(Some("alice"), "app_rw@orders")
    };
    let mut events = ask(&world, said).await;
    let Event::Granted(first) = next(&mut events).await else { panic!() };
    let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
    let Event::Granted(second) = next(&mut events).await else { panic!() };
    assert_eq!(first.grant, second.grant);
    // Whose client can't wait reads how to say it.
    let at_once = ::link::v1::AskRequest { wait: false, ..waiting(Some("bob"), "app_rw@orders") };
    let mut events = ask(&world, at_once).await;
    let Event::Refused(refused) = next(&mut events).await else { panic!() };
    assert_eq!(refused.code, "ticket-needed");
    assert!(refused.message.contains("postern.ticket"), "{refused:?}");
}
