//! Messages to people and the channels that carry them, in the words of the API, and the webhook's
//! payload for the document.

use serde::Serialize;
use utoipa::ToSchema;

use crate::notify::Notice;
use crate::{ChannelView, LetterView};

/// A message, without what it says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Notification {
    /// The same in every try; receivers of webhooks find it as `webhook-id`.
    id: String,
    channel: String,
    /// Left out where the channel reaches all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
    #[serde(rename = "type")]
    #[schema(example = "request.asked")]
    topic: &'static str,
    /// The id of what it is about.
    about: String,
    written_at: String,
    /// `waiting`, `sent` or `dead`.
    state: &'static str,
    /// How often it was tried.
    tries: u32,
    /// When it is tried next; left out where it isn't.
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<String>,
    /// Why the last try failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
}

impl From<&LetterView> for Notification {
    fn from(view: &LetterView) -> Self {
        let waits = view.settled_at.is_none();
        Self {
            id: view.id.clone(),
            channel: view.channel.to_string(),
            recipient: view.recipient.as_ref().map(ToString::to_string),
            topic: view.topic.word(),
            about: view.about.clone(),
            written_at: view.written_at.to_string(),
            state: view.state.word(),
            tries: view.tries,
            due_at: waits.then(|| view.due_at.to_string()),
            settled_at: view.settled_at.map(|at| at.to_string()),
            fault: view.fault.clone(),
        }
    }
}

/// A channel by which people are told.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Channel {
    name: String,
    /// `webhook`, `slack` or `email`.
    kind: &'static str,
    /// Its host; the rest of its address may be a secret.
    place: String,
    events: Vec<&'static str>,
    /// Since when it is off, since its receiver said that it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    off_since: Option<String>,
}

impl From<&ChannelView> for Channel {
    fn from(view: &ChannelView) -> Self {
        Self {
            name: view.name.to_string(),
            kind: view.kind,
            place: view.place.clone(),
            events: view.topics.iter().map(|topic| topic.word()).collect(),
            off_since: view.off_since.map(|at| at.to_string()),
        }
    }
}

/// What a webhook receives as its body, signed by the Standard Webhooks scheme: `webhook-id` is the
/// message's id, `webhook-timestamp` the time of this try, and `webhook-signature` holds one signature
/// for each secret in force.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookMessage {
    #[serde(rename = "type")]
    #[schema(example = "request.asked")]
    topic: &'static str,
    /// When it happened.
    timestamp: String,
    data: WebhookData,
}

/// What happened. It holds no secret, no code and no link that signs anybody in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WebhookData {
    /// The id of the request, grant, lock or channel that it is about.
    id: String,
    /// One sentence for people.
    title: String,
    /// The page, which asks whoever opens it to sign in.
    url: String,
    /// The people it is for.
    to: Vec<String>,
    /// Whose request or grant it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    person: Option<String>,
    /// How people call them.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "app_rw@orders/shop")]
    resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "1h")]
    ttl: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<String>,
    /// In the words of the one who asks: nothing of it was checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "OPS-12")]
    ticket: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "2 of dba")]
    needs: Option<String>,
    /// Why it was denied, ended or locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl From<&Notice> for WebhookMessage {
    fn from(notice: &Notice) -> Self {
        let said = &notice.said;
        let data = WebhookData {
            id: notice.about.clone(),
            title: notice.title(),
            url: notice.url.clone(),
            to: notice.to.iter().map(ToString::to_string).collect(),
            person: said.person.as_ref().map(ToString::to_string),
            name: said.name.clone(),
            by: said.by.clone(),
            resource: said.resource.clone(),
            ttl: said.ttl.map(|ttl| ttl.to_string()),
            ends: said.ends.map(|at| at.to_string()),
            reason: said.reason.clone(),
            ticket: said.ticket.clone(),
            needs: said.needs.clone(),
            why: said.why.clone(),
        };
        Self { topic: notice.topic.word(), timestamp: notice.at.to_string(), data }
    }
}
