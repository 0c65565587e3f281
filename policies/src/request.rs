//! An access request: somebody asks, and it ends granted, denied, withdrawn or lapsed. Once.
//!
//! An approval carries the digest of what the approver saw. A request that reads otherwise by then
//! is another request, and the approval is refused.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    GroupName, Principal, PrincipalId, RequestId, Resource, Terms, Timestamp, Ttl, outstanding,
};

/// SHA-256 over what was asked, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Digest {
    /// Any text can be compared with a digest; only the right one is equal.
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// An access request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Its name.
    pub id: RequestId,
    /// Who asks.
    pub principal: PrincipalId,
    /// For what; the database is filled in.
    pub resource: Resource,
    /// For how long, already within the limit of the terms.
    pub ttl: Ttl,
    /// Why, in the words of the one who asks.
    pub reason: String,
    /// What it takes.
    pub terms: Terms,
    /// When it was asked.
    pub asked_at: Timestamp,
    /// When it lapses if nobody decides.
    pub lapses_at: Timestamp,
    /// Where it stands.
    pub state: RequestState,
}

/// Where a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RequestState {
    /// It waits for people.
    NeedsApproval {
        /// Who said yes so far.
        approvals: Vec<Approval>,
    },
    /// Its terms are met.
    Granted {
        /// When.
        at: Timestamp,
        /// Who said yes; empty where nobody had to be asked.
        approvals: Vec<Approval>,
    },
    /// An approver said no.
    Denied {
        /// Who.
        by: PrincipalId,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// The one who asked took it back.
    Withdrawn {
        /// When.
        at: Timestamp,
    },
    /// Nobody decided in time.
    Lapsed {
        /// When.
        at: Timestamp,
    },
}

/// One person's yes to one digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub by: PrincipalId,
    /// The groups they were in then.
    pub groups: BTreeSet<GroupName>,
    /// What they saw.
    pub digest: Digest,
    /// When.
    pub at: Timestamp,
}

/// What can happen to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestEvent {
    /// Somebody says yes to what they saw, perhaps for a shorter time.
    Approve {
        /// Who.
        by: Principal,
        /// What they saw.
        digest: Digest,
        /// For how long at most.
        shorten: Option<Ttl>,
    },
    /// Somebody says no.
    Deny {
        /// Who.
        by: Principal,
        /// Why.
        reason: String,
    },
    /// The one who asked takes it back.
    Withdraw {
        /// Who.
        by: PrincipalId,
    },
    /// Time has passed.
    Tick,
}

/// Why an event is refused. The request stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RequestError {
    /// It was decided before.
    #[error("the request is already {0}")]
    Over(&'static str),
    /// It would have lapsed by now.
    #[error("the request has lapsed")]
    Lapsed,
    /// Nobody approves or denies their own.
    #[error("nobody decides on their own request")]
    Own,
    /// The request isn't theirs to take back.
    #[error("only the one who asked can withdraw a request")]
    NotTheirs,
    /// None of the groups that are asked has this person.
    #[error("approving this takes a member of {0}")]
    NotAsked(String),
    /// They said yes before.
    #[error("you have already approved this request")]
    Twice,
    /// The request isn't what they saw.
    #[error("the request has changed since you looked at it: look again")]
    Changed,
}

impl Request {
    /// The request as it is asked: granted at once where nobody has to be asked.
    #[must_use]
    pub fn ask(
        id: RequestId,
        principal: PrincipalId,
        resource: Resource,
        (ttl, reason): (Ttl, String),
        terms: Terms,
        (now, patience): (Timestamp, Ttl),
    ) -> Self {
        let ttl = terms.limit.map_or(ttl, |limit| ttl.min(limit));
        let state = if terms.approvals.is_empty() {
            RequestState::Granted { at: now, approvals: Vec::new() }
        } else {
            RequestState::NeedsApproval { approvals: Vec::new() }
        };
        let lapses_at = now.after(patience);
        Self { id, principal, resource, ttl, reason, terms, asked_at: now, lapses_at, state }
    }

    /// The digest of what is asked. It doesn't move when people approve.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hash = Sha256::new();
        let terms: Vec<String> = self.terms.approvals.iter().map(ToString::to_string).collect();
        for part in [
            "postern request v1",
            self.id.as_str(),
            self.principal.as_str(),
            &self.resource.to_string(),
            &self.ttl.to_string(),
            &self.reason,
            &terms.join(","),
            &self.asked_at.millis().to_string(),
        ] {
            // Lengths keep two different requests from running together into one text.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Digest(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether somebody still has to decide.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self.state, RequestState::NeedsApproval { .. })
    }

    /// The one transition.
    ///
    /// # Errors
    /// Where the event has no place in the present state, or comes from the wrong person.
    pub fn apply(&self, event: RequestEvent, now: Timestamp) -> Result<Self, RequestError> {
        let RequestState::NeedsApproval { approvals } = &self.state else {
            return Err(RequestError::Over(self.state.word()));
        };
        let late = now >= self.lapses_at;
        let (state, ttl) = match event {
            RequestEvent::Tick if late => (RequestState::Lapsed { at: now }, self.ttl),
            RequestEvent::Tick => (self.state.clone(), self.ttl),
            _ if late => return Err(RequestError::Lapsed),
            RequestEvent::Withdraw { by } if by == self.principal => {
                (RequestState::Withdrawn { at: now }, self.ttl)
            }
            RequestEvent::Withdraw { .. } => return Err(RequestError::NotTheirs),
            RequestEvent::Deny { by, reason } => {
                self.may_decide(&by)?;
                (RequestState::Denied { by: by.id, reason, at: now }, self.ttl)
            }
            RequestEvent::Approve { by, digest, shorten } => {
                let approval = self.approval(by, digest, approvals, now)?;
                let all = approvals.iter().cloned().chain([approval]).collect();
                (self.after(all, now), shorten.map_or(self.ttl, |wish| wish.min(self.ttl)))
            }
        };
        Ok(Self { state, ttl, ..self.clone() })
    }

    fn approval(
        &self,
        by: Principal,
        digest: Digest,
        before: &[Approval],
        now: Timestamp,
    ) -> Result<Approval, RequestError> {
        self.may_decide(&by)?;
        if before.iter().any(|approval| approval.by == by.id) {
            return Err(RequestError::Twice);
        }
        if digest != self.digest() {
            return Err(RequestError::Changed);
        }
        Ok(Approval { by: by.id, groups: by.groups, digest, at: now })
    }

    fn after(&self, approvals: Vec<Approval>, now: Timestamp) -> RequestState {
        if self.missing(&approvals) == 0 {
            RequestState::Granted { at: now, approvals }
        } else {
            RequestState::NeedsApproval { approvals }
        }
    }

    /// How many more people have to say yes.
    #[must_use]
    pub fn missing(&self, approvals: &[Approval]) -> usize {
        outstanding(&self.terms.approvals, approvals.iter().map(|yes| (&yes.by, &yes.groups)))
    }

    /// Whether this person may say yes or no.
    ///
    /// # Errors
    /// Where it is their own request, or none of their groups is asked.
    pub fn may_decide(&self, by: &Principal) -> Result<(), RequestError> {
        if by.id == self.principal {
            return Err(RequestError::Own);
        }
        let asked = &self.terms.approvals;
        if asked.iter().any(|quorum| by.groups.contains(&quorum.group)) {
            return Ok(());
        }
        let groups: Vec<&str> = asked.iter().map(|quorum| quorum.group.as_str()).collect();
        Err(RequestError::NotAsked(groups.join(" or ")))
    }
}

impl RequestState {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NeedsApproval { .. } => "pending",
            Self::Granted { .. } => "granted",
            Self::Denied { .. } => "denied",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Lapsed { .. } => "lapsed",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn person(id: &str, groups: &[&str]) -> Principal {
        Principal {
            id: PrincipalId::new(id).unwrap(),
            name: id.into(),
            groups: groups.iter().map(|name| GroupName::new(name).unwrap()).collect(),
        }
    }

    fn asked(quorum: &[&str]) -> Request {
        let terms = Terms {
            approvals: quorum.iter().map(|text| text.parse().unwrap()).collect(),
            limit: Some(Ttl::from_secs(3_600)),
            rules: vec![],
        };
        Request::ask(
            RequestId::new("rq-1").unwrap(),
            PrincipalId::new("alice").unwrap(),
            "app_rw@orders/shop".parse().unwrap(),
            (Ttl::from_secs(7_200), "fix order 7".into()),
            terms,
            (at(0), Ttl::from_secs(600)),
        )
    }

    fn approve(request: &Request, by: Principal) -> Result<Request, RequestError> {
        let digest = request.digest();
        request.apply(RequestEvent::Approve { by, digest, shorten: None }, at(1))
    }

    #[test]
    fn the_limit_of_the_rules_shortens_the_wish() {
        assert_eq!(asked(&[]).ttl, Ttl::from_secs(3_600));
    }

    #[test]
    fn nobody_asked_means_granted_at_once() {
        assert_eq!(asked(&[]).state.word(), "granted");
    }

    #[test]
    fn nobody_approves_or_denies_their_own() {
        let request = asked(&["1 of dba"]);
        let alice = || person("alice", &["dba"]);
        assert_eq!(approve(&request, alice()), Err(RequestError::Own));
        let deny = RequestEvent::Deny { by: alice(), reason: String::new() };
        assert_eq!(request.apply(deny, at(1)), Err(RequestError::Own));
    }

    #[test]
    fn approving_twice_counts_once() {
        let request = approve(&asked(&["2 of dba"]), person("bob", &["dba"])).unwrap();
        assert_eq!(approve(&request, person("bob", &["dba"])), Err(RequestError::Twice));
        let request = approve(&request, person("carol", &["dba"])).unwrap();
        assert_eq!(request.state.word(), "granted");
    }

    #[test]
    fn a_person_in_two_groups_counts_once() {
        let request =
            approve(&asked(&["1 of dba", "1 of leads"]), person("bob", &["dba", "leads"])).unwrap();
        assert!(request.is_pending());
        assert!(!approve(&request, person("carol", &["dba"])).unwrap().is_pending());
    }

    #[test]
    fn an_approval_of_something_else_is_refused() {
        let request = asked(&["1 of dba"]);
        let edited = Request { reason: "other".into(), ..request.clone() };
        let event = RequestEvent::Approve {
            by: person("bob", &["dba"]),
            digest: request.digest(),
            shorten: None,
        };
        assert_eq!(edited.apply(event, at(1)), Err(RequestError::Changed));
    }

    #[test]
    fn an_approver_can_shorten_but_not_lengthen() {
        let request = asked(&["1 of dba"]);
        for (wish, got) in [(60, 60), (99_999, 3_600)] {
            let event = RequestEvent::Approve {
                by: person("bob", &["dba"]),
                digest: request.digest(),
                shorten: Some(Ttl::from_secs(wish)),
            };
            assert_eq!(request.apply(event, at(1)).unwrap().ttl, Ttl::from_secs(got));
        }
    }

    #[test]
    fn pending_requests_lapse_and_stay_lapsed() {
        let request = asked(&["1 of dba"]);
        assert_eq!(request.apply(RequestEvent::Tick, at(599)).unwrap(), request);
        let late = RequestEvent::Withdraw { by: request.principal.clone() };
        assert_eq!(request.apply(late, at(600)), Err(RequestError::Lapsed));
        let lapsed = request.apply(RequestEvent::Tick, at(600)).unwrap();
        assert_eq!(approve(&lapsed, person("bob", &["dba"])), Err(RequestError::Over("lapsed")));
    }

    #[test]
    fn only_the_one_who_asked_withdraws() {
        let request = asked(&["1 of dba"]);
        let by = |id: &str| RequestEvent::Withdraw { by: PrincipalId::new(id).unwrap() };
        assert_eq!(request.apply(by("bob"), at(1)), Err(RequestError::NotTheirs));
        assert_eq!(request.apply(by("alice"), at(1)).unwrap().state.word(), "withdrawn");
    }

    fn any_event(request: Request) -> impl Strategy<Value = RequestEvent> {
        let people = prop::sample::select(vec!["alice", "bob", "carol", "dave"]);
        let groups = prop::sample::subsequence(vec!["dba", "leads"], 0..=2);
        (people, groups, 0..5_u8).prop_map(move |(id, groups, kind)| {
            let by = person(id, &groups);
            match kind {
                0 | 1 => RequestEvent::Approve { by, digest: request.digest(), shorten: None },
                2 => RequestEvent::Deny { by, reason: "no".into() },
                3 => RequestEvent::Withdraw { by: by.id },
                _ => RequestEvent::Tick,
            }
        })
    }

    proptest! {
        #[test]
        fn no_order_of_events_grants_without_its_approvals(
            events in prop::collection::vec((any_event(asked(&["1 of dba", "1 of leads"])), 0..700_i64), 0..12)
        ) {
            let mut request = asked(&["1 of dba", "1 of leads"]);
            let mut now = 0;
            for (event, step) in events {
                now += step / 10;
                let before = request.clone();
                if let Ok(next) = request.apply(event, at(now)) {
                    prop_assert!(before.is_pending(), "nothing follows an end");
                    request = next;
                }
                prop_assert_eq!(request.digest(), before.digest());
            }
            if let RequestState::Granted { approvals, at } = &request.state {
                prop_assert_eq!(request.missing(approvals), 0);
                prop_assert!(approvals.iter().all(|yes| yes.by != request.principal));
                prop_assert!(*at < request.lapses_at);
            }
        }
    }
}
