//! What became of something, told from the audit log alone: for a session who it was, how they had
//! proved it, when and with which key or device, and whose approvals and step-ups let it in.
//!
//! The log names things by their ids. The story follows these from event to event, and tells each in
//! plain words, oldest first; the events themselves come with it.

mod admin_events;
mod values;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::evidence::Evidence;
use crate::evidence::timeline::values::{after, text};
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::view::AuditView;
use crate::store;

/// How many things a story follows, so that it stays one.
const THINGS: usize = 40;
/// How many events it tells at most.
const EVENTS: i64 = 500;

/// What became of something.
#[derive(Debug, Clone, PartialEq)]
pub struct Story {
    /// Of what.
    pub about: String,
    /// In plain words, oldest first.
    pub told: Vec<String>,
    /// The events that it is told from.
    pub events: Vec<AuditView>,
}

impl Evidence {
    /// What became of a session, a grant, a request, a login session, a certificate or a person:
    /// for admins and auditors.
    ///
    /// # Errors
    /// Where the actor is neither, or the log knows nothing of it.
    pub async fn story(&self, actor: &Actor, about: &str) -> Result<Story, ControlError> {
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
        let lines = events.iter().map(|event| format!("{}  {}", event.at, words(event))).collect();
        Ok(Story { about: about.to_owned(), told: lines, events })
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

/// One event as a sentence. Much of it was written by others.
#[expect(clippy::too_many_lines, reason = "one line for each kind of event")]
pub(crate) fn words(event: &AuditView) -> String {
    let said = |key: &str| text(event.detail.get(key));
    let who = event.actor.strip_prefix("principal:").unwrap_or(&event.actor);
    let it = &event.subject;
    let words = match event.kind.as_str() {
        "login.signed-in" => format!(
            "{who} signed in by {}, with a {} at {} ({}){}: {it}",
            said("method"),
            said("kind"),
            said("address"),
            said("agent"),
            after(", let in from ", event.detail.get("by")),
        ),
        "login.rotated" => {
            format!("{who} proved more than before in {it}, which got another token")
        }
        "login.ended" => format!("{it} ended: {}", said("why")),
        "step-up.wanted" => format!("{}, for {it} at {}", said("told"), said("resource")),
        "place.learned" => {
            format!(
                "{who} proved themselves with {} {} for the first time",
                said("kind"),
                said("what")
            )
        }
        "device.confirmed" => format!(
            "{who} said in {} that the terminal {} at {} is theirs: {it}",
            said("login"),
            said("device"),
            said("address"),
        ),
        "device.signed-in" => format!("the terminal {} got {it}", said("terminal")),
        "certificate.issued" => format!(
            "certificate {it} was issued to {who} for device {} in {}, until {}",
            said("device"),
            said("login"),
            said("not_after"),
        ),
        "token.minted" => {
            format!("{who} made token {it} for {} in {}", said("resource"), said("login"))
        }
        "hold.confirmed" => format!(
            "{who} confirmed the connection {it} to {} from {} ({}){}",
            said("resource"),
            said("client"),
            said("application"),
            proved(event),
        ),
        "step-up.given" => format!(
            "{who} proved themselves by {} {} to {} {}: {it}",
            said("kind"),
            said("credential"),
            said("purpose"),
            said("subject"),
        ),
        "request.proved" => format!("{who} stood by {it}{}", proved(event)),
        "recording.broken" => {
            format!("the recording of {it} proves nothing: {}", said("why"))
        }
        "recording.read" => format!("{who} read the recording of {it}"),
        "session.proved" => format!("session {it} of {who} went on{}", proved(event)),
        "request.asked" => format!(
            "{who} asked for {} for {}, {}, which takes {}: {it}",
            said("resource"),
            said("ttl"),
            because(event),
            said("needs"),
        ),
        "request.approved" => {
            format!("{who} approved {it}{}", proved(event))
        }
        "grant.given" => format!(
            "grant {it} was given to {} for {} for {}, {}",
            said("principal"),
            said("resource"),
            said("ttl"),
            decided(event).unwrap_or_else(|| format!("approved by {}", said("approved_by"))),
        ),
        "grant.used" => format!("grant {it} was first used, and ends at {}", said("ends")),
        "grant.ended" => format!("grant {it} ended: {} {}", said("end"), said("detail")),
        "session.opened" => opened(event),
        "session.ended" => {
            let why = format!("{} {}", said("end"), said("detail"));
            format!("session {it} ended: {} (statements: {})", why.trim_end(), said("statements"))
        }
        "session.reconciled" => format!(
            "the register of sessions was brought up to the recording of {it}: {} at {}, {} {} \
             (statements: {})",
            said("principal"),
            said("resource"),
            said("end"),
            said("detail"),
            said("statements")
        ),
        other => workflow(event, who)
            .or_else(|| admin_events::keys(event, who))
            .or_else(|| admin_events::offices(event, who))
            .unwrap_or_else(|| format!("{who}: {other} {it} {}", event.detail)),
    };
    words.trim_end().to_owned()
}

/// What happens to a request and its grant besides being asked, approved and used.
fn workflow(event: &AuditView, who: &str) -> Option<String> {
    let said = |key: &str| text(event.detail.get(key));
    let it = &event.subject;
    Some(match event.kind.as_str() {
        "request.edited" => format!(
            "{who} changed {it}: for {}, {}; whoever had approved it was asked again",
            said("ttl"),
            because(event),
        ),
        "request.escalated" => {
            format!("{it} waited too long: others may stand in, {}", said("to"))
        }
        "request.granted" => format!(
            "{it} was granted by itself, since the rules ask for less by now: what they take is {}",
            said("needs"),
        ),
        "request.throttled" => format!("{who} asked too often, and was refused"),
        "request.denied" => format!("{who} denied {it}: {}", said("reason")),
        "request.withdrawn" => {
            format!("{it} was withdrawn by {who}{}", after(": ", event.detail.get("why")))
        }
        "request.lapsed" => format!("{it} lapsed: nobody decided in time"),
        "grant.extended" => format!(
            "grant {it} was extended by {}, and ends at {}{}",
            said("request"),
            said("ends"),
            decided(event).map_or_else(String::new, |why| format!(": {why}")),
        ),
        "grant.opened" => format!("grant {it} began, to be used by {}", said("claim_by")),
        "break-glass.used" => format!(
            "{who} took grant {it} in an emergency, {}: to be reviewed as {}",
            because(event),
            said("review"),
        ),
        "review.signed" => format!("{who} signed the review {it}: \"{}\"", said("note")),
        "ticket.told" => format!("ticket {it} was said to be {}", said("state")),
        _ => return None,
    })
}

/// Why, in the words of who asked.
fn because(event: &AuditView) -> String {
    match event.detail.get("reason").and_then(Value::as_str) {
        None | Some("") => "without a reason".to_owned(),
        Some(reason) => format!("because of \"{reason}\""),
    }
}

/// With what somebody proved themselves for it, where they did.
fn proved(event: &AuditView) -> String {
    let given = event.detail.get("step_up").filter(|given| !given.is_null());
    let said = |key: &str| text(given.and_then(|given| given.get(key)));
    given.map_or_else(String::new, |_| {
        format!(", with {} {} ({})", said("kind"), said("credential"), said("id"))
    })
}

/// By which rules and facts something was given that nobody was asked about.
fn decided(event: &AuditView) -> Option<String> {
    let by = event.detail.get("decided_by").filter(|by| !by.is_null())?;
    let rules = |key: &str| {
        let named = by.get(key).and_then(Value::as_array).into_iter().flatten();
        let named =
            named.map(|rule| format!("`{}` ({})", text(rule.get("rule")), text(rule.get("at"))));
        named.collect::<Vec<_>>().join(", ")
    };
    let facts = by.get("facts").and_then(Value::as_object).into_iter().flatten();
    let facts = facts.map(|(name, value)| {
        if value.is_null() { format!("no {name}") } else { format!("{name} {}", text(Some(value))) }
    });
    let groups =
        by.get("groups").filter(|groups| groups.as_array().is_some_and(|all| !all.is_empty()));
    let facts: Vec<String> =
        facts.chain(groups.map(|all| format!("groups {}", text(Some(all))))).collect();
    let parts = [
        (", permitted by ", rules("permitted_by")),
        ("; met were ", rules("met")),
        ("; out of the way was ", rules("stood_aside")),
        ("; by ", facts.join(", ")),
    ];
    let grounds = parts.into_iter().filter(|(_, part)| !part.is_empty());
    let grounds: String = grounds.map(|(lead, part)| format!("{lead}{part}")).collect();
    Some(format!("without asking anybody{grounds}"))
}

fn opened(event: &AuditView) -> String {
    let said = |key: &str| text(event.detail.get(key));
    let authn = event.detail.get("authn");
    let proof = |key: &str| text(authn.and_then(|authn| authn.get(key)));
    format!(
        "session {} of {} on {} began on {} from {} ({}), identified by {} {}{}",
        event.subject,
        said("principal"),
        said("resource"),
        said("grant"),
        said("client"),
        said("application"),
        proof("method"),
        proof("evidence"),
        after(" of device ", authn.and_then(|authn| authn.get("device"))),
    )
}

#[cfg(test)]
mod tests {
    use policies::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_happened_is_told_in_words() {
        for (actor, kind, subject, detail, message) in [
            (
                "principal:carol",
                "lock.set",
                "lk-1",
                json!({ "subject": "group:dba", "reason": "incident 7", "until": null }),
                "carol locked group:dba, because of \"incident 7\": lk-1",
            ),
            (
                "proxy:local",
                "connection.denied",
                "orders",
                json!({
                    "principal": null, "login": "app_rw", "database": "", "client": "10.1.2.3:5",
                    "reason": "no-grant", "detail": "",
                }),
                "a connection from 10.1.2.3:5 to app_rw@orders was denied: no-grant",
            ),
            (
                "principal:alice",
                "request.asked",
                "rq-1",
                json!({ "resource": "app_ro@orders/shop", "ttl": "1h", "reason": "", "needs": [] }),
                "alice asked for app_ro@orders/shop for 1h, without a reason, which takes nobody: rq-1",
            ),
            ("operator", "invite.made", "bob", json!({ "expires_at": "then" }), {
                "operator made a sign-in link for bob, until then"
            }),
            ("control", "else.done", "it", json!({ "a": 1 }), "control: else.done it {\"a\":1}"),
        ] {
            let event = AuditView {
                id: 1,
                at: Timestamp::from_millis(0),
                actor: actor.to_owned(),
                kind: kind.to_owned(),
                subject: subject.to_owned(),
                detail,
            };
            assert_eq!(words(&event), message);
        }
    }
}
