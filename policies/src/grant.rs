//! A grant: the durable yes, always with an end.
//!
//! Its clock starts at the first use, within a claim window, so that an approver's delay doesn't
//! eat it. A second use neither restarts nor extends it; only an extension does, which is asked and
//! decided like the grant itself, and comes before the end or not at all.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    Act, End, GrantId, Lease, LeaseKey, PrincipalId, Record, RequestId, Resource, Term, Timestamp,
    Ttl,
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
    /// How long it lasts from its first use, where nothing extends it.
    pub ttl: Ttl,
    /// Whether it was given in an emergency, without anybody's approval.
    #[serde(default)]
    pub act: Act,
    /// The requests that made it last longer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<RequestId>,
    /// What its recordings have to keep beyond what every recording has.
    #[serde(default)]
    pub record: BTreeSet<Record>,
    /// When it was given.
    pub granted_at: Timestamp,
    /// Where it stands.
    pub state: GrantState,
}

/// Where a grant stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum GrantState {
    /// Given for later.
    Scheduled {
        /// From when on it can be used.
        opens: Timestamp,
        /// How long it then waits for its first use.
        claim_within: Ttl,
    },
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
    /// It is to last longer.
    Extend {
        /// The request that says so.
        request: RequestId,
        /// By how much.
        by: Ttl,
        /// How long it may last from now at most.
        limit: Option<Ttl>,
    },
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
    /// It begins later.
    #[error("the grant begins at {0}: it can be used, and then extended, from that time on")]
    NotYet(Timestamp),
    /// Its clock hasn't started, so that there is nothing to extend.
    #[error(
        "the grant has not been used yet: all of its time begins with its first use, so connect first, \
         and extend it once it runs"
    )]
    Unused,
    /// It lasts as long as the rules let it already.
    #[error("the rules let this last {0} from now at most, and it does: ask again later")]
    Longest(Ttl),
}

impl Grant {
    /// Whether a connection may use it now.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        match self.state {
            GrantState::Granted { claim_by } => now < claim_by,
            GrantState::Active { ends, .. } => now < ends,
            GrantState::Scheduled { .. } | GrantState::Ended { .. } => false,
        }
    }

    /// When time changes it next: it is over then, or, where it begins later, it begins. None where it
    /// is over.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            GrantState::Scheduled { opens, .. } => Some(opens),
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
        match (event, &self.state) {
            (_, GrantState::Ended { end, .. }) => Err(GrantError::Over(end.clone())),
            (GrantEvent::Tick, _) => Ok(self.later(now)),
            // What is due by time comes first: nothing is done with a grant that is over.
            (event, _) => self.later(now).moved(event, now),
        }
    }

    /// As time has made it by now.
    fn later(&self, now: Timestamp) -> Self {
        match self.state {
            GrantState::Scheduled { opens, claim_within } if opens <= now => {
                let claim_by = opens.after(claim_within);
                self.with(GrantState::Granted { claim_by }).later(now)
            }
            GrantState::Granted { claim_by: end } | GrantState::Active { ends: end, .. }
                if end <= now =>
            {
                self.with(GrantState::Ended { at: now, end: End::Expired })
            }
            GrantState::Scheduled { .. }
            | GrantState::Granted { .. }
            | GrantState::Active { .. }
            | GrantState::Ended { .. } => self.clone(),
        }
    }

    /// What an event other than time makes of it.
    fn moved(self, event: GrantEvent, now: Timestamp) -> Result<Self, GrantError> {
        match (event, &self.state) {
            // That time ended it first is how it ended, whoever meant to end it now.
            (GrantEvent::End(_) | GrantEvent::Tick, GrantState::Ended { .. })
            | (GrantEvent::Tick | GrantEvent::Use, GrantState::Active { .. })
            | (GrantEvent::Tick, GrantState::Scheduled { .. } | GrantState::Granted { .. }) => {
                Ok(self)
            }
            (_, GrantState::Ended { end, .. }) => Err(GrantError::Over(end.clone())),
            (GrantEvent::End(end), _) => Ok(self.with(GrantState::Ended { at: now, end })),
            (_, GrantState::Scheduled { opens, .. }) => Err(GrantError::NotYet(*opens)),
            (GrantEvent::Use, GrantState::Granted { .. }) => {
                Ok(self.with(GrantState::Active { since: now, ends: now.after(self.ttl) }))
            }
            (GrantEvent::Extend { .. }, GrantState::Granted { .. }) => Err(GrantError::Unused),
            (GrantEvent::Extend { request, by, limit }, GrantState::Active { since, ends }) => {
                self.extended(request, *since, *ends, by, limit, now)
            }
        }
    }

    /// A later end, and never an earlier one.
    fn extended(
        &self,
        request: RequestId,
        since: Timestamp,
        ends: Timestamp,
        by: Ttl,
        limit: Option<Ttl>,
        now: Timestamp,
    ) -> Result<Self, GrantError> {
        let end = ends.after(by);
        let later = limit.map_or(end, |limit| end.min(now.after(limit)));
        if later <= ends {
            return Err(GrantError::Longest(limit.unwrap_or(by)));
        }
        let mut extended = self.with(GrantState::Active { since, ends: later });
        extended.extensions.push(request);
        Ok(extended)
    }

    fn with(&self, state: GrantState) -> Self {
        Self { state, ..self.clone() }
    }

    /// The grant as a proxy needs it; none where it is over.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        let term = match self.state {
            GrantState::Granted { claim_by } => Term::Claim { by: claim_by, ttl: self.ttl },
            GrantState::Active { ends, .. } => Term::Until(ends),
            GrantState::Scheduled { .. } | GrantState::Ended { .. } => return None,
        };
        let (principal, resource) = (self.principal.clone(), self.resource.clone());
        let key = LeaseKey { principal, resource };
        let (name, record) = (self.name.clone(), self.record.clone());
        Some(Lease { grant: self.id.clone(), key, name, term, record })
    }
}

impl GrantState {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Scheduled { .. } => "scheduled",
            Self::Granted { .. } => "granted",
            Self::Active { .. } => "active",
            Self::Ended { .. } => "ended",
        }
    }
}

#[cfg(test)]
mod tests;
