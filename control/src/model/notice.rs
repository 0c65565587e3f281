//! What people read of one event.
//!
//! A notice is made of the request, grant or lock itself and never of what an event's detail happens to
//! hold: no confirm code, link that signs in, token, address or proof can slip in. What somebody else
//! wrote (a reason, a name) stays apart from our own words, so that each channel can escape it.

use policies::{Grant, GrantState, PrincipalId, Request, RequestState, Timestamp, Ttl};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::topic::Topic;
use crate::platform::sanitize::clip;

/// How much of a text that somebody wrote is shown.
const LONGEST_TEXT: usize = 500;

/// What people read of one event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notice {
    #[serde(rename = "type")]
    pub(crate) topic: Topic,
    pub(crate) at: Timestamp,
    /// The id of what it is about.
    pub(crate) about: String,
    pub(crate) said: Said,
    /// Where to go.
    pub(crate) url: String,
    /// Whom it is for.
    pub(crate) to: Vec<PrincipalId>,
}

/// What there is to say; what an event doesn't have is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// Whose request or grant it is, by their key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) person: Option<PrincipalId>,
    /// How people call them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Who did it, as people call them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) by: Option<String>,
    /// As `app_rw@orders/shop`, or what was locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) resource: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ttl: Option<Ttl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ends: Option<Timestamp>,
    /// Why somebody asks, in their words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ticket: Option<String>,
    /// As `2 of dba`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) needs: Option<String>,
    /// Why it was denied, ended or locked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) why: Option<String>,
}

impl Said {
    /// What a request says of itself.
    pub(crate) fn of_request(request: &Request, name: String, needs: String) -> Self {
        let (why, by) = match &request.state {
            RequestState::Denied { by, reason, .. } => (text(reason), Some(by.to_string())),
            RequestState::NeedsStepUp
            | RequestState::NeedsApproval { .. }
            | RequestState::Granted { .. }
            | RequestState::Withdrawn { .. }
            | RequestState::Lapsed { .. } => (None, None),
        };
        let ends = request.is_pending().then_some(request.lapses_at);
        Self {
            person: Some(request.principal.clone()),
            name: text(&name),
            by,
            resource: Some(request.subject()),
            ttl: Some(request.ttl),
            ends,
            reason: text(&request.reason),
            ticket: request.ticket.as_ref().map(ToString::to_string),
            needs: text(&needs),
            why,
        }
    }

    /// What a grant says of itself.
    pub(crate) fn of_grant(grant: &Grant) -> Self {
        let why = match &grant.state {
            GrantState::Ended { end, .. } => text(&end.to_string()),
            GrantState::Scheduled { .. }
            | GrantState::Granted { .. }
            | GrantState::Active { .. } => None,
        };
        Self {
            person: Some(grant.principal.clone()),
            name: text(&grant.name),
            resource: Some(grant.resource.to_string()),
            ttl: Some(grant.ttl),
            ends: grant.deadline(),
            why,
            ..Self::default()
        }
    }
}

/// The beginning of a text that somebody wrote; nothing where there is none.
pub(crate) fn text(written: &str) -> Option<String> {
    let message = clip(written.trim(), LONGEST_TEXT);
    (!message.is_empty()).then_some(message)
}

impl Notice {
    /// One sentence.
    pub(crate) fn title(&self) -> String {
        let said = &self.said;
        let name = said.name.as_deref().unwrap_or("somebody");
        let by = said.by.as_deref().unwrap_or("somebody");
        let what = said.resource.as_deref().unwrap_or("a target");
        let ttl = said.ttl.map(|ttl| format!(" for {ttl}")).unwrap_or_default();
        match self.topic {
            Topic::RequestAsked => format!("{name} asks for {what}{ttl}"),
            Topic::RequestEdited => {
                format!(
                    "{name} changed their request for {what}: earlier approvals no longer count"
                )
            }
            Topic::RequestEscalated => format!("{name} still waits for {what}: you can decide now"),
            Topic::RequestApproved => format!("{by} approved {name}'s request for {what}"),
            Topic::RequestDenied => format!("{by} denied {name}'s request for {what}"),
            Topic::RequestWithdrawn => format!("{name}'s request for {what} was withdrawn"),
            Topic::RequestLapsed => {
                format!("{name}'s request for {what} lapsed: nobody decided in time")
            }
            Topic::GrantGiven => format!("{name} has access to {what}{ttl}"),
            Topic::GrantExtended => format!("{name}'s access to {what} was extended"),
            Topic::GrantEnding => format!("{name}'s access to {what} ends soon"),
            Topic::GrantEnded => format!("{name}'s access to {what} is over"),
            Topic::BreakGlassUsed => format!("{name} broke the glass for {what}"),
            Topic::ReviewOpened => format!("break-glass access of {name} to {what} wants a review"),
            Topic::ReviewDue => {
                format!("break-glass access of {name} to {what} is still to be reviewed")
            }
            Topic::ReviewSigned => format!("{by} signed off {name}'s break-glass access to {what}"),
            Topic::LockSet => format!("{by} locked {what}"),
            Topic::LockLifted => format!("the lock {} was lifted", self.about),
            Topic::ChannelOff => {
                format!("notifications by {} are off: its receiver is gone", self.about)
            }
        }
    }

    /// The rest, as labelled lines.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let said = &self.said;
        let fact = |label, value: Option<String>| value.map(|value| Fact { label, value });
        let ends = match self.topic {
            Topic::RequestAsked | Topic::RequestEdited | Topic::RequestEscalated => "lapses",
            Topic::GrantGiven => "first use by",
            Topic::RequestApproved
            | Topic::RequestDenied
            | Topic::RequestWithdrawn
            | Topic::RequestLapsed
            | Topic::GrantExtended
            | Topic::GrantEnding
            | Topic::GrantEnded
            | Topic::BreakGlassUsed
            | Topic::ReviewOpened
            | Topic::ReviewDue
            | Topic::ReviewSigned
            | Topic::LockSet
            | Topic::LockLifted
            | Topic::ChannelOff => "ends",
        };
        let facts = [
            fact("who", said.person.as_ref().map(ToString::to_string)),
            fact("what", said.resource.clone()),
            fact("for", said.ttl.map(|ttl| ttl.to_string())),
            fact("reason", said.reason.clone()),
            fact("ticket", said.ticket.clone()),
            fact("needs", said.needs.clone()),
            fact(ends, said.ends.map(|at| at.to_string())),
            fact("because", said.why.clone()),
            fact("by", said.by.clone()),
            fact("id", Some(self.about.clone())),
        ];
        facts.into_iter().flatten().collect()
    }

    /// What the one button or link says.
    pub(crate) fn action(&self) -> &'static str {
        match self.topic {
            Topic::RequestAsked | Topic::RequestEdited | Topic::RequestEscalated => {
                "Read and decide"
            }
            Topic::ReviewOpened | Topic::ReviewDue => "Review",
            Topic::RequestApproved
            | Topic::RequestDenied
            | Topic::RequestWithdrawn
            | Topic::RequestLapsed
            | Topic::GrantGiven
            | Topic::GrantExtended
            | Topic::GrantEnding
            | Topic::GrantEnded
            | Topic::BreakGlassUsed
            | Topic::ReviewSigned
            | Topic::LockSet
            | Topic::LockLifted
            | Topic::ChannelOff => "Open",
        }
    }

    /// A made-up one of this kind, with everything that there can be, to try templates on.
    pub(crate) fn sample(topic: Topic) -> Self {
        Self {
            topic,
            at: Timestamp::from_millis(1_800_000_000_000),
            about: "rq-abcdefabcdef".to_owned(),
            said: Said {
                person: PrincipalId::new("alice").ok(),
                name: Some("Alice".to_owned()),
                by: Some("Bob".to_owned()),
                resource: Some("app_rw@orders/shop".to_owned()),
                ttl: Some(Ttl::from_secs(3_600)),
                ends: Some(Timestamp::from_millis(1_800_003_600_000)),
                reason: Some("a stuck order".to_owned()),
                ticket: Some("OPS-12".to_owned()),
                needs: Some("2 of dba".to_owned()),
                why: Some("the ticket is closed".to_owned()),
            },
            url: "https://gate.example.com/r/rq-abcdefabcdef".to_owned(),
            to: PrincipalId::new("bob").into_iter().collect(),
        }
    }
}

/// A labelled line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) label: &'static str,
    pub(crate) value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_told_in_one_short_line() {
        for topic in Topic::all() {
            let title = Notice::sample(topic).title();
            assert!(title.len() < 120 && !title.contains('\n'), "{title}");
            let bare = Notice { said: Said::default(), ..Notice::sample(topic) };
            assert!(!bare.title().is_empty());
        }
    }

    #[test]
    fn a_notice_reads_back_as_it_was_kept() {
        for topic in Topic::all() {
            let notice = Notice::sample(topic);
            let kept = serde_json::to_string(&notice).unwrap();
            assert_eq!(serde_json::from_str::<Notice>(&kept).unwrap(), notice);
        }
    }

    #[test]
    fn what_somebody_wrote_is_cut_and_kept_on_one_line() {
        assert_eq!(text("  \n "), None);
        assert_eq!(text("a\r\nBcc: b").as_deref(), Some("a  Bcc: b"));
        assert_eq!(text(&"é".repeat(9_000)).map(|text| text.chars().count()), Some(500));
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
