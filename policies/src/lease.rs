//! A lease: the grant as a proxy holds it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{GrantId, PrincipalId, Record, Resource, Timestamp, Ttl};

/// What a lease is looked up by: who, and exactly what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LeaseKey {
    /// Whose it is.
    pub principal: PrincipalId,
    /// What it opens.
    pub resource: Resource,
}

/// A grant as a proxy needs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The grant behind it.
    pub grant: GrantId,
    /// Who and what.
    pub key: LeaseKey,
    /// How people call the holder.
    pub name: String,
    /// Its end.
    pub term: Term,
    /// What its recordings have to keep beyond what every recording has.
    #[serde(default)]
    pub record: BTreeSet<Record>,
}

/// When a lease ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Term {
    /// Nobody has used it; the clock starts when somebody does.
    Claim {
        /// By when.
        by: Timestamp,
        /// How long it lasts then.
        ttl: Ttl,
    },
    /// In use until then.
    Until(Timestamp),
}

impl Term {
    /// By when it is over unless something happens.
    #[must_use]
    pub fn deadline(self) -> Timestamp {
        match self {
            Self::Claim { by, .. } => by,
            Self::Until(ends) => ends,
        }
    }
}
