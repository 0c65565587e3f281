//! A grant: the durable yes, always with an end.
//!
//! Its clock starts at the first use, within a claim window, so that an approver's delay doesn't
//! eat it. A second use neither restarts nor extends it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    End, GrantId, Lease, LeaseKey, PrincipalId, RequestId, Resource, Term, Timestamp, Ttl,
};

/// A grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Its name.
    pub id: GrantId,
    /// The request that it follows from.
    pub request: RequestId,
    /// Whose it is.
    pub principal: PrincipalId,
    /// How people call them.
    pub name: String,
    /// What it opens; the database is filled in.
    pub resource: Resource,
    /// How long it lasts from its first use.
    pub ttl: Ttl,
    /// When it was given.
    pub granted_at: Timestamp,
    /// Where it stands.
    pub state: GrantState,
}

/// Where a grant stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum GrantState {
    /// Not used yet.
    Granted {
        /// By when the first use has to come.
        claim_by: Timestamp,
    },
    /// In use.
    Active {
        /// Since the first use.
        since: Timestamp,
        /// Its end.
        ends: Timestamp,
    },
    /// Over.
    Ended {
        /// When.
        at: Timestamp,
        /// Why.
        #[serde(flatten)]
        end: End,
    },
}

/// What can happen to a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GrantEvent {
    /// A connection uses it.
    Use,
    /// Somebody or something ends it.
    End(End),
    /// Time has passed.
    Tick,
}

/// Why an event is refused. The grant stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GrantError {
    /// It has ended.
    #[error("the grant has ended: {0}")]
    Over(End),
}

impl Grant {
    /// Whether a connection may use it now.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.deadline().is_some_and(|deadline| now < deadline)
    }

    /// By when it is over unless something happens; none where it is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            GrantState::Granted { claim_by } => Some(claim_by),
            GrantState::Active { ends, .. } => Some(ends),
            GrantState::Ended { .. } => None,
        }
    }

    /// The one transition.
    ///
    /// # Errors
    /// Where the grant has ended, or has by now.
    pub fn apply(&self, event: GrantEvent, now: Timestamp) -> Result<Self, GrantError> {
        if let GrantState::Ended { end, .. } = &self.state {
            return Err(GrantError::Over(end.clone()));
        }
        let state = match (event, self.is_live(now)) {
            (GrantEvent::End(end), true) => GrantState::Ended { at: now, end },
            (GrantEvent::End(_) | GrantEvent::Tick, false) => {
                GrantState::Ended { at: now, end: End::Expired }
            }
            (GrantEvent::Use, false) => return Err(GrantError::Over(End::Expired)),
            (GrantEvent::Tick, true) => self.state.clone(),
            (GrantEvent::Use, true) => self.used(now),
        };
        Ok(Self { state, ..self.clone() })
    }

    fn used(&self, now: Timestamp) -> GrantState {
        match &self.state {
            GrantState::Granted { .. } => {
                GrantState::Active { since: now, ends: now.after(self.ttl) }
            }
            same @ (GrantState::Active { .. } | GrantState::Ended { .. }) => same.clone(),
        }
    }

    /// The grant as a proxy needs it; none where it is over.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        let term = match self.state {
            GrantState::Granted { claim_by } => Term::Claim { by: claim_by, ttl: self.ttl },
            GrantState::Active { ends, .. } => Term::Until(ends),
            GrantState::Ended { .. } => return None,
        };
        let (principal, resource) = (self.principal.clone(), self.resource.clone());
        let key = LeaseKey { principal, resource };
        Some(Lease { grant: self.id.clone(), key, name: self.name.clone(), term })
    }
}

impl GrantState {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Granted { .. } => "granted",
            Self::Active { .. } => "active",
            Self::Ended { .. } => "ended",
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

    fn granted() -> Grant {
        Grant {
            id: GrantId::new("gr-1").unwrap(),
            request: RequestId::new("rq-1").unwrap(),
            principal: PrincipalId::new("alice").unwrap(),
            name: "Alice".into(),
            resource: "app_rw@orders/shop".parse().unwrap(),
            ttl: Ttl::from_secs(100),
            granted_at: at(0),
            state: GrantState::Granted { claim_by: at(1_000) },
        }
    }

    #[test]
    fn an_approvers_delay_does_not_eat_the_grant() {
        let active = granted().apply(GrantEvent::Use, at(900)).unwrap();
        assert_eq!(active.deadline(), Some(at(1_000)));
        assert!(active.is_live(at(999)) && !active.is_live(at(1_000)));
    }

    #[test]
    fn a_second_connect_does_not_extend_it() {
        let active = granted().apply(GrantEvent::Use, at(10)).unwrap();
        assert_eq!(active.apply(GrantEvent::Use, at(100)).unwrap(), active);
        assert_eq!(active.apply(GrantEvent::Use, at(110)), Err(GrantError::Over(End::Expired)));
    }

    #[test]
    fn what_nobody_claims_lapses() {
        let lapsed = granted().apply(GrantEvent::Tick, at(1_000)).unwrap();
        assert_eq!(lapsed.state.word(), "ended");
        assert_eq!(lapsed.lease(), None);
    }

    #[test]
    fn an_end_comes_once() {
        let done = granted().apply(GrantEvent::End(End::Done), at(5)).unwrap();
        let again = done.apply(GrantEvent::End(End::Revoked("bob".into())), at(6));
        assert_eq!(again, Err(GrantError::Over(End::Done)));
    }

    #[test]
    fn a_state_survives_its_json() {
        let revoked = GrantEvent::End(End::Revoked("by bob".into()));
        let used = granted().apply(GrantEvent::Use, at(10)).unwrap();
        for grant in [granted(), used.clone(), used.apply(revoked, at(11)).unwrap()] {
            let json = serde_json::to_string(&grant).unwrap();
            assert_eq!(serde_json::from_str::<Grant>(&json).unwrap(), grant, "{json}");
        }
    }

    proptest! {
        #[test]
        fn no_order_of_events_carries_a_grant_beyond_its_end(
            events in prop::collection::vec((0..4_u8, 0..120_i64), 0..20)
        ) {
            let mut grant = granted();
            let (mut now, mut first_use) = (0, None);
            for (kind, step) in events {
                now += step;
                let event = match kind {
                    0 | 1 => GrantEvent::Use,
                    2 => GrantEvent::Tick,
                    _ => GrantEvent::End(End::Done),
                };
                let used = event == GrantEvent::Use;
                if let Ok(next) = grant.apply(event, at(now)) {
                    grant = next;
                    if used { first_use.get_or_insert(now); }
                }
                let last = first_use.map_or(1_000, |first| first + 100);
                prop_assert!(now < last || !grant.is_live(at(now)));
            }
        }
    }
}
