//! What people can be notified of, and which of it a channel wants.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A kind of event that people can be notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Topic {
    /// A request begins to wait for approval.
    RequestAsked,
    /// It was changed: earlier approvals no longer count.
    RequestEdited,
    /// It has waited for long, and others are asked as well.
    RequestEscalated,
    /// An approver said yes.
    RequestApproved,
    /// An approver said no.
    RequestDenied,
    /// It was taken back.
    RequestWithdrawn,
    /// Nobody decided in time.
    RequestLapsed,
    /// Access was given.
    GrantGiven,
    /// It was prolonged.
    GrantExtended,
    /// It ends soon.
    GrantEnding,
    /// It is over.
    GrantEnded,
    /// Somebody went in by break-glass.
    BreakGlassUsed,
    /// A break-glass access wants a review.
    ReviewOpened,
    /// It still does.
    ReviewDue,
    /// Somebody signed it off.
    ReviewSigned,
    /// Somebody or something was locked.
    LockSet,
    /// The lock was lifted.
    LockLifted,
    /// A channel was switched off.
    ChannelOff,
}

const ALL: [(Topic, &str); 18] = [
    (Topic::RequestAsked, "request.asked"),
    (Topic::RequestEdited, "request.edited"),
    (Topic::RequestEscalated, "request.escalated"),
    (Topic::RequestApproved, "request.approved"),
    (Topic::RequestDenied, "request.denied"),
    (Topic::RequestWithdrawn, "request.withdrawn"),
    (Topic::RequestLapsed, "request.lapsed"),
    (Topic::GrantGiven, "grant.given"),
    (Topic::GrantExtended, "grant.extended"),
    (Topic::GrantEnding, "grant.ending"),
    (Topic::GrantEnded, "grant.ended"),
    (Topic::BreakGlassUsed, "break-glass.used"),
    (Topic::ReviewOpened, "review.opened"),
    (Topic::ReviewDue, "review.due"),
    (Topic::ReviewSigned, "review.signed"),
    (Topic::LockSet, "lock.set"),
    (Topic::LockLifted, "lock.lifted"),
    (Topic::ChannelOff, "channel.off"),
];

/// What a channel tells that doesn't say: what somebody has to act on, or waits for.
const USUAL: [Topic; 13] = [
    Topic::RequestAsked,
    Topic::RequestEdited,
    Topic::RequestEscalated,
    Topic::RequestDenied,
    Topic::RequestLapsed,
    Topic::GrantGiven,
    Topic::GrantEnding,
    Topic::GrantEnded,
    Topic::BreakGlassUsed,
    Topic::ReviewOpened,
    Topic::ReviewDue,
    Topic::LockSet,
    Topic::ChannelOff,
];

/// Why a text names no events.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` names no event: write one such as `request.asked`, all of a kind as `request.*`, or `*`"
)]
pub struct TopicError(String);

impl Topic {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.into_iter().map(|(topic, _)| topic)
    }

    /// What a channel tells that doesn't say.
    #[must_use]
    pub fn usual() -> BTreeSet<Self> {
        USUAL.into()
    }

    /// The events that `request.asked`, `request.*` or `*` stands for.
    ///
    /// # Errors
    /// Where it stands for none.
    pub fn matching(pattern: &str) -> Result<BTreeSet<Self>, TopicError> {
        let fits = |word: &str| match pattern.strip_suffix('*') {
            Some("") => true,
            Some(before) => before.ends_with('.') && word.starts_with(before),
            None => word == pattern,
        };
        let found = ALL.into_iter().filter(|(_, word)| fits(word));
        let found: BTreeSet<Self> = found.map(|(topic, _)| topic).collect();
        if found.is_empty() { Err(unknown(pattern)) } else { Ok(found) }
    }

    /// Its name, as `request.asked`.
    #[must_use]
    pub fn word(self) -> &'static str {
        ALL.into_iter().find(|(topic, _)| *topic == self).map_or("", |(_, word)| word)
    }
}

fn unknown(text: &str) -> TopicError {
    TopicError(text.chars().take(80).flat_map(char::escape_debug).collect())
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let found = ALL.into_iter().find(|(_, word)| *word == text);
        found.map(|(topic, _)| topic).ok_or_else(|| unknown(text))
    }
}

impl From<Topic> for &'static str {
    fn from(topic: Topic) -> Self {
        topic.word()
    }
}

impl TryFrom<String> for Topic {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_name_of_its_own() {
        let words: BTreeSet<&str> = Topic::all().map(Topic::word).collect();
        assert_eq!(words.len(), ALL.len());
        for topic in Topic::all() {
            assert_eq!(topic.word().parse(), Ok(topic));
        }
    }

    #[test]
    fn a_pattern_stands_for_one_a_kind_or_all() {
        let count = |pattern: &str| Topic::matching(pattern).map(|found| found.len()).ok();
        for (pattern, wanted) in [
            ("request.asked", Some(1)),
            ("request.*", Some(7)),
            ("grant.*", Some(4)),
            ("*", Some(ALL.len())),
            ("request", None),
            ("request*", None),
            ("req.*", None),
            ("", None),
            ("session.opened", None),
        ] {
            assert_eq!(count(pattern), wanted, "{pattern}");
        }
    }
}
