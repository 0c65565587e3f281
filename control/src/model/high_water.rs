//! What is known of the store outside of it, and in what ways a store can have gone back in time.

use std::collections::BTreeMap;
use std::io;

use certs::store::StoreError;
use policies::{
    CredentialId, GrantId, Lock, LockId, LoginId, PrincipalId, RequestId, Timestamp, Ttl,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The name of the file, beside the database.
pub const HIGH_WATER_FILE: &str = "high-water.jsonl";

/// How far a store has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorePoint {
    /// Which store: a random name that it got when it was made.
    pub store: String,
    /// How often an older store was accepted, and one.
    pub epoch: u64,
    /// The newest event of its audit log; 0 where there is none.
    pub event: i64,
    /// SHA-256 of that event, in hexadecimal digits.
    pub digest: String,
}

/// Why a store is not the one that was here last.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rollback {
    /// It lacks events that were there.
    #[error(
        "its audit log ends with event {found}, and had come to event {known} by {at}: an older copy \
         of the database was put in its place"
    )]
    Older {
        /// The store's newest event.
        found: i64,
        /// The newest event that is known.
        known: i64,
        /// When that was.
        at: Timestamp,
    },
    /// It is from before an older store was accepted here.
    #[error(
        "it is of epoch {found}, and this folder is in epoch {known}: the database was replaced"
    )]
    Epoch {
        /// The store's.
        found: u64,
        /// The one that is known.
        known: u64,
    },
    /// It has as many events, but others.
    #[error(
        "event {event} of its audit log is not the one that was there at {at}: another copy went on"
    )]
    Diverged {
        /// Which event differs.
        event: i64,
        /// When it was known.
        at: Timestamp,
    },
    /// It is another gateway's database, or a new one.
    #[error("it is not the database that was here before, but another one, or a new and empty one")]
    Foreign,
    /// The file that would tell is gone.
    #[error("`{HIGH_WATER_FILE}`, which was beside it, is missing")]
    Missing,
    /// The file that would tell can't be read.
    #[error("`{HIGH_WATER_FILE}` beside it is damaged: {0}")]
    Damaged(String),
    /// It was restored from a backup, and nobody said that nothing happened since.
    #[error("it was restored from a backup of {made_at}, and what happened later is not in it")]
    Restored {
        /// When the backup was made.
        made_at: Timestamp,
    },
}

/// Why the file can't be read or written.
#[derive(Debug, Error)]
pub enum HighWaterError {
    /// It can't be read.
    #[error("the high-water mark can't be read")]
    Read(#[source] io::Error),
    /// It can't be replaced.
    #[error("the high-water mark can't be replaced")]
    Replace(#[from] StoreError),
    /// It can't be added to.
    #[error("the high-water mark can't be added to")]
    Write(#[source] io::Error),
}

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

/// What accepting an older store did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedRollback {
    /// Why the store was refused.
    pub why: Rollback,
    /// The epoch that begins.
    pub epoch: u64,
    /// Until when the store knows what happened.
    pub known_until: Option<Timestamp>,
    /// Grants that ended.
    pub grants: Vec<GrantId>,
    /// Requests that were withdrawn.
    pub requests: Vec<RequestId>,
    /// Sign-ins that ended.
    pub logins: Vec<LoginId>,
    /// Locks that the store had forgotten, and that hold again.
    pub locks: Vec<LockId>,
    /// How many keys were removed again.
    pub keys: usize,
}
