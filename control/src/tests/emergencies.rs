//! Break-glass: nobody is waited for, but it takes a touch and a reason, and somebody else's review.

use policies::{Act, Purpose, RequestId, StepUp, StepUpKind};

use super::workflow::{state, world};
use super::{World, access_to, actor};
use crate::access::input::AccessRequestInput;
use crate::identity::challenge;
use crate::model::error::{ControlError, Refusal};
use crate::model::statement;
use crate::model::view::{Asked, Paging};
use crate::platform::ids;

/// A step-up as it is kept, with which somebody stands by their request.
pub(super) async fn stand_by(world: &World, who: &str, id: &RequestId) {
    let request = world.control.access.request(&actor("eve"), id).await.unwrap().request;
    let shown = statement::of_request(&request, "Alice");
    let mut tx = world.control.kernel.begin().await.unwrap();
    let step_up = StepUp {
        id: ids::fresh("su").unwrap(),
        principal: who.parse().unwrap(),
        kind: StepUpKind::Passkey,
        purpose: Purpose::Ask,
        subject: shown.subject.clone(),
        at: tx.now,
        bound: None,
        credential: format!("key-of-{who}"),
        digest: shown.digest(),
    };
    challenge::keep_step_up(&mut tx, &step_up).await.unwrap();
    tx.commit().await.unwrap();
    world.control.access.stand_by(&actor(who), id, &step_up.id).await.unwrap();
}

pub(super) async fn emergency(world: &World, reason: &str) -> Result<Asked, ControlError> {
    let ask = AccessRequestInput {
        act: Act::BreakGlass,
        reason: reason.into(),
        ..access_to("app_rw@orders")
    };
    world.control.access.ask(&actor("alice"), ask).await
}

#[tokio::test]
async fn an_emergency_takes_a_touch_and_a_reason_and_nobody_else() {
    let world = world().await;
    assert_eq!(emergency(&world, "down").await.unwrap_err().code(), "reason-needed");
    let pending = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    let asked = emergency(&world, "the shop is down").await.unwrap();
    assert_eq!(
        state(&world, &pending).await,
        "withdrawn",
        "it doesn't wait behind another request"
    );
    assert!(asked.grant.is_none() && asked.request.is_pending(), "never without a touch");
    stand_by(&world, "alice", &asked.request.id).await;
    let view = world.control.access.request(&actor("alice"), &asked.request.id).await.unwrap();
    let grant = world.control.access.grant(&actor("alice"), &view.grants[0]).await.unwrap();
    assert!(grant.review.is_some());
    let events = world.kinds().await;
    let tail: Vec<&str> = events.iter().rev().take(3).map(String::as_str).collect();
    assert_eq!(tail, ["review.opened", "break-glass.used", "grant.given"]);
    let nobody = AccessRequestInput {
        act: Act::BreakGlass,
        reason: "the shop is down".into(),
        ..access_to("app_rw@orders")
    };
    let refused = world.control.access.ask(&actor("mallory"), nobody).await.unwrap_err();
    assert_eq!(refused.code(), "not-permitted");
}

#[tokio::test]
async fn a_review_stays_open_until_somebody_else_signs_it() {
    let world = world().await;
    let asked = emergency(&world, "the shop is down").await.unwrap();
    stand_by(&world, "alice", &asked.request.id).await;
    let open = |who: &'static str| {
        let control = world.control.clone();
        async move { control.access.reviews(&actor(who), false, Paging::default()).await.unwrap().items }
    };
    let review = open("bob").await.remove(0);
    assert_eq!((review.review.groups.len(), review.may_sign), (2, true));
    assert!(open("mallory").await.is_empty());
    let id = review.review.id;
    let sign = async |who: &str, note: &str| {
        world.control.access.sign_review(&actor(who), &id, note.into()).await.map(drop)
    };
    let early = sign("bob", "all well").await.unwrap_err();
    assert!(matches!(early, ControlError::Refused(Refusal::Conflict(_))), "{early:?}");
    world.control.access.done(&actor("alice"), &review.review.grant).await.unwrap();
    for own in ["alice", "alice-admin"] {
        let refused = sign(own, "all well").await.unwrap_err();
        assert!(
            matches!(refused, ControlError::Refused(Refusal::Forbidden(_))),
            "{own}: {refused:?}"
        );
    }
    assert!(matches!(sign("otto", "").await, Err(ControlError::Refused(Refusal::NotFound(_)))));
    assert!(matches!(sign("eve", " ").await, Err(ControlError::Refused(Refusal::Invalid(_)))));
    sign("eve", "read the session").await.unwrap();
    assert!(matches!(
        sign("bob", "me too").await,
        Err(ControlError::Refused(Refusal::Conflict(_)))
    ));
    assert!(open("bob").await.is_empty());
    assert!(world.kinds().await.contains(&"review.signed".to_owned()));
}

#[tokio::test]
async fn whoever_would_have_approved_ends_an_emergency() {
    let world = world().await;
    let asked = emergency(&world, "the shop is down").await.unwrap();
    stand_by(&world, "alice", &asked.request.id).await;
    let view = world.control.access.request(&actor("alice"), &asked.request.id).await.unwrap();
    let id = view.grants[0].clone();
    for (who, may) in [("otto", false), ("alice-admin", false), ("bob", true)] {
        let ended = world.control.access.revoke(&actor(who), &id, "not now".into()).await;
        assert_eq!(ended.is_ok(), may, "{who}: {ended:?}");
    }
}
