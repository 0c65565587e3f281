//! What the high-water mark knows, and the facts that it is made of.

use std::collections::BTreeMap;

use policies::{CredentialId, Lock, LockId, PrincipalId, Timestamp, Ttl};
use serde::{Deserialize, Serialize};

use super::StorePoint;

/// How long it is remembered that a key was removed. An older backup brings it back.
const REMOVED_KEPT: Ttl = Ttl::from_secs(3 * 366 * 24 * 3_600);
/// How many removed keys are remembered at most, the newest of them.
const REMOVED_AT_MOST: usize = 10_000;

/// Something by which a person proves who they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Factor {
    /// A passkey, by its id.
    Passkey(String),
    /// A registered SSH key, by its id.
    SshKey(String),
    /// The authenticator app of a person.
    App(PrincipalId),
}

/// A certificate that is in somebody's hands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuedCredential {
    /// By this name proxies know it.
    pub(crate) id: CredentialId,
    /// Whose it is.
    pub(crate) whose: PrincipalId,
    /// When it ends by itself.
    pub(crate) expires_at: Timestamp,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fact {
    /// The store had come so far.
    Point(Position),
    /// A lock was set, or blocks others by now.
    Locked(Lock),
    /// A lock was lifted.
    Lifted(LockId),
    /// A certificate was issued.
    Issued(IssuedCredential),
    /// A key was removed.
    Removed(Removal),
    /// The store was restored from a backup of then, and it is not known what happened later.
    Restored(Timestamp),
}

/// How far a store had come, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    at: Timestamp,
    point: StorePoint,
}

/// What was removed, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Removal {
    factor: Factor,
    at: Timestamp,
}

impl Fact {
    pub(crate) fn removed(factor: Factor, at: Timestamp) -> Self {
        Self::Removed(Removal { factor, at })
    }
}

/// Everything that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) point: StorePoint,
    /// When the store had come so far.
    pub(crate) at: Timestamp,
    pub(crate) locks: BTreeMap<LockId, Lock>,
    pub(crate) issued: BTreeMap<CredentialId, IssuedCredential>,
    pub(crate) removed: BTreeMap<Factor, Timestamp>,
    pub(crate) restored: Option<Timestamp>,
}

impl Known {
    pub(crate) fn new(point: StorePoint, at: Timestamp) -> Self {
        Self {
            point,
            at,
            locks: BTreeMap::new(),
            issued: BTreeMap::new(),
            removed: BTreeMap::new(),
            restored: None,
        }
    }

    /// Puts facts together; none where they don't say how far the store had come.
    pub(crate) fn of(facts: Vec<Fact>) -> Option<Self> {
        let first = facts.iter().find_map(|fact| match fact {
            Fact::Point(position) => Some(position.clone()),
            Fact::Locked(_)
            | Fact::Lifted(_)
            | Fact::Issued(_)
            | Fact::Removed(_)
            | Fact::Restored(_) => None,
        })?;
        let mut known = Self::new(first.point, first.at);
        for fact in facts {
            known.apply(fact);
        }
        Some(known)
    }

    pub(crate) fn apply(&mut self, fact: Fact) {
        match fact {
            Fact::Point(Position { at, point }) => (self.at, self.point) = (at, point),
            Fact::Locked(lock) => drop(self.locks.insert(lock.id.clone(), lock)),
            Fact::Lifted(id) => drop(self.locks.remove(&id)),
            Fact::Issued(issued) => drop(self.issued.insert(issued.id.clone(), issued)),
            Fact::Removed(Removal { factor, at }) => drop(self.removed.insert(factor, at)),
            Fact::Restored(made_at) => self.restored = Some(made_at),
        }
    }

    /// How far the store has come, as a fact.
    pub(crate) fn position(&self) -> Fact {
        Fact::Point(Position { at: self.at, point: self.point.clone() })
    }

    /// All of it, as facts.
    pub(crate) fn facts(&self) -> Vec<Fact> {
        let locks = self.locks.values().cloned().map(Fact::Locked);
        let issued = self.issued.values().cloned().map(Fact::Issued);
        let removed = self.removed.iter().map(|(factor, at)| Fact::removed(factor.clone(), *at));
        let restored = self.restored.map(Fact::Restored);
        [self.position()]
            .into_iter()
            .chain(locks)
            .chain(issued)
            .chain(removed)
            .chain(restored)
            .collect()
    }

    /// Forgets what ended by itself, and what was removed long ago.
    pub(crate) fn forget(&mut self, now: Timestamp) {
        self.locks.retain(|_, lock| lock.until.is_none_or(|until| now < until));
        self.issued.retain(|_, issued| now < issued.expires_at);
        self.removed.retain(|_, at| now < at.after(REMOVED_KEPT));
        while self.removed.len() > REMOVED_AT_MOST {
            let oldest = self.removed.iter().min_by_key(|(_, at)| **at);
            let Some(oldest) = oldest.map(|(factor, _)| factor.clone()) else { return };
            self.removed.remove(&oldest);
        }
    }
}
