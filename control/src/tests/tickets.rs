//! What the system of tickets says: believed where it is signed, and once.

use policies::{GrantState, Timestamp, Ttl};
use secrecy::ExposeSecret;

use super::workflow::{rules, state, world};
use super::{World, access_to, actor};
use crate::access::input::AccessRequestInput;
use crate::model::error::{ControlError, Refusal};
use crate::platform::webhook_signature::{
    WebhookHeaders, WebhookSecret, sign_webhook, webhook_timestamp,
};

pub(super) struct Tickets {
    pub(super) world: World,
    secret: WebhookSecret,
}

impl Tickets {
    pub(super) async fn new() -> Self {
        let world = World::new().await;
        let secret: WebhookSecret = WebhookSecret::fresh().expose_secret().parse().unwrap();
        let mut hooked = rules();
        hooked.workflow.ticket_secrets = vec![secret.clone()];
        world.control.sources.reload(hooked).await.unwrap();
        Self { world, secret }
    }

    pub(super) async fn say(
        &self,
        id: &str,
        at: Timestamp,
        body: &str,
    ) -> Result<usize, ControlError> {
        let signature = sign_webhook(std::slice::from_ref(&self.secret), id, at, body.as_bytes());
        let timestamp = webhook_timestamp(at);
        let headers = WebhookHeaders { id, timestamp: &timestamp, signature: &signature };
        let closed = self.world.control.access.ticket_says(headers, body.as_bytes()).await?;
        Ok(closed.ended.len() + closed.withdrawn.len())
    }
}

pub(super) const CLOSED: &str = r#"{"ticket":"OPS-12","state":"Closed"}"#;

#[tokio::test]
async fn a_ticket_that_is_closed_ends_what_was_given_for_it() {
    let tickets = Tickets::new().await;
    let world = &tickets.world;
    let about = |ticket: &str, what: &str| AccessRequestInput {
        ticket: Some(ticket.parse().unwrap()),
        ..access_to(what)
    };
    let alice = actor("alice");
    let grant = world.control.access.ask(&alice, about("OPS-12", "app_ro@orders")).await.unwrap();
    let grant = grant.grant.unwrap();
    let waits = world.control.access.ask(&alice, about("OPS-12", "app_rw@orders")).await.unwrap();
    let other =
        world.control.access.ask(&actor("bob"), about("OPS-120", "app_ro@orders")).await.unwrap();
    let now = world.control.kernel.now();
    let open = tickets.say("msg-0", now, r#"{"ticket":"OPS-12","state":"in review"}"#).await;
    assert_eq!(open.unwrap(), 0);
    assert_eq!(tickets.say("msg-1", now, CLOSED).await.unwrap(), 2);
    let view = world.control.access.grant(&alice, &grant.id).await.unwrap();
    let GrantState::Ended { end, .. } = view.grant.state else { panic!("{view:?}") };
    assert_eq!(end.code(), "done");
    assert_eq!(state(world, &waits.request.id).await, "withdrawn");
    let other = world.control.access.grant(&actor("bob"), &other.grant.unwrap().id).await.unwrap();
    assert_eq!(other.grant.state.word(), "granted");
}

#[tokio::test]
async fn a_message_that_is_forged_stale_or_replayed_changes_nothing() {
    let tickets = Tickets::new().await;
    let world = &tickets.world;
    let ask = AccessRequestInput {
        ticket: Some("OPS-12".parse().unwrap()),
        ..access_to("app_ro@orders")
    };
    world.control.access.ask(&actor("alice"), ask).await.unwrap();
    let now = world.control.kernel.now();
    let ago = Timestamp::from_millis(now.millis() - 301_000);
    for stale in [ago, now.after(Ttl::from_secs(301))] {
        let refused = tickets.say("msg-1", stale, CLOSED).await.unwrap_err();
        assert_eq!(refused.code(), "disbelieved");
    }
    let other =
        Tickets { secret: WebhookSecret::fresh().expose_secret().parse().unwrap(), ..tickets };
    let refused = other.say("msg-1", now, CLOSED).await.unwrap_err();
    assert_eq!(refused.code(), "disbelieved");
    assert_eq!(other.world.control.kernel.feed().live(), 1);
}

#[tokio::test]
async fn a_message_counts_once() {
    let tickets = Tickets::new().await;
    let now = tickets.world.control.kernel.now();
    assert_eq!(tickets.say("msg-1", now, CLOSED).await.unwrap(), 0);
    let again = tickets.say("msg-1", now, CLOSED).await.unwrap_err();
    assert!(matches!(again, ControlError::Refused(Refusal::Conflict(_))), "{again:?}");
    let broken = tickets.say("msg-2", now, "{}").await.unwrap_err();
    assert!(matches!(broken, ControlError::Refused(Refusal::Invalid(_))), "{broken:?}");
}

#[tokio::test]
async fn without_a_secret_no_message_is_taken() {
    let world = world().await;
    let headers = WebhookHeaders { id: "msg-1", timestamp: "0", signature: "v1,AA==" };
    let refused = world.control.access.ticket_says(headers, b"{}").await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::NotFound(_)))), "{refused:?}");
}
