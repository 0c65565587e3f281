//! Messages to people and the channels that carry them, in the words of the API, and the webhook's
//! payload for the document.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::channel::ChannelView;
use crate::model::view::MessageView;

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

impl From<&MessageView> for Notification {
    fn from(view: &MessageView) -> Self {
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

/// A channel by which people are notified.
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
