//! What became of something, from the audit log alone: for a session who it was, how they had
//! proved it, when and with which key or device, and whose approvals and step-ups let it in.
//!
//! The log names things by their ids. The timeline follows these from event to event, and describes each in
//! plain words, oldest first; the events themselves come with it.

pub(crate) mod describe;
mod values;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::evidence::Evidence;
use crate::evidence::timeline::describe::describe;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::view::AuditView;
use crate::store;

/// How many things a timeline follows, so that it stays one.
const THINGS: usize = 40;
/// How many events it has at most.
const EVENTS: i64 = 500;

/// What became of something.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// Of what.
    pub about: String,
    /// In plain words, oldest first.
    pub lines: Vec<String>,
    /// The events that it is made from.
    pub events: Vec<AuditView>,
}

impl Evidence {
    /// What became of a session, a grant, a request, a login session, a certificate or a person:
    /// for admins and auditors.
    ///
    /// # Errors
    /// Where the actor is neither, or the log knows nothing of it.
    pub async fn timeline(&self, actor: &Actor, about: &str) -> Result<Timeline, ControlError> {
        actor.must_oversee()?;
        let db = &mut *self.kernel.store().read().await?;
        let mut events = BTreeMap::new();
        let (mut seen, mut next) = (BTreeSet::new(), VecDeque::from([about.to_owned()]));
        while let Some(id) = next.pop_front().filter(|_| seen.len() < THINGS) {
            if !seen.insert(id.clone()) {
                continue;
            }
            for event in store::audit::about(db, &id, EVENTS).await? {
                ids_in(&event.detail, &mut next);
                events.insert(event.id, event);
            }
        }
        let people = store::audit::by(db, &format!("principal:{about}"), EVENTS).await?;
        events.extend(people.into_iter().map(|event| (event.id, event)));
        if events.is_empty() {
            return Err(Refusal::NotFound("thing in the audit log").into());
        }
        let events: Vec<AuditView> = events.into_values().collect();
        let lines =
            events.iter().map(|event| format!("{}  {}", event.at, describe(event))).collect();
        Ok(Timeline { about: about.to_owned(), lines, events })
    }
}

/// The things that a detail speaks of: our ids, and the proof by which a connection was identified.
fn ids_in(detail: &Value, found: &mut VecDeque<String>) {
    match detail {
        Value::String(text) if is_id(text) => found.push_back(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| ids_in(item, found)),
        Value::Object(fields) => {
            let proof = fields.get("evidence").and_then(Value::as_str);
            found.extend(proof.map(str::to_owned));
            fields.values().for_each(|value| ids_in(value, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// As `gr-` and twelve letters and digits, or a few more.
fn is_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.split_once('-').is_some_and(|(prefix, rest)| {
        prefix.len() == 2 && (12..=24).contains(&rest.len()) && rest.bytes().all(fits)
    })
}
