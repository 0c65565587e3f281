//! Where a request stands, and who said yes to it so far.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Digest, Request};
use crate::{GroupName, PrincipalId, Quorum, StepUpId, Timestamp};

/// Where a request stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum RequestState {
    /// The one who asks has to prove themselves before anybody is asked.
    NeedsStepUp,
    /// It waits for people.
    NeedsApproval {
        /// Who said yes so far, in order.
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
    /// The one who asked took it back, or it was of no use any more.
    Withdrawn {
        /// When.
        at: Timestamp,
        /// Why, where it wasn't the one who asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        why: Option<String>,
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
    /// The groups that they stood in for, since those took too long.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub stood_in: BTreeSet<GroupName>,
    /// What they saw.
    pub digest: Digest,
    /// With what they proved themselves, where they did.
    #[serde(default)]
    pub step_up: Option<StepUpId>,
    /// When.
    pub at: Timestamp,
}

impl Approval {
    /// The groups whose places they can fill.
    #[must_use]
    pub fn fills(&self) -> BTreeSet<GroupName> {
        self.groups.union(&self.stood_in).cloned().collect()
    }
}

impl RequestState {
    /// One word for it.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NeedsStepUp | Self::NeedsApproval { .. } => "pending",
            Self::Granted { .. } => "granted",
            Self::Denied { .. } => "denied",
            Self::Withdrawn { .. } => "withdrawn",
            Self::Lapsed { .. } => "lapsed",
        }
    }

    /// Who said yes to what is asked for or was given.
    #[must_use]
    pub fn approvals(&self) -> &[Approval] {
        match self {
            Self::NeedsApproval { approvals } | Self::Granted { approvals, .. } => approvals,
            Self::NeedsStepUp
            | Self::Denied { .. }
            | Self::Withdrawn { .. }
            | Self::Lapsed { .. } => &[],
        }
    }
}

impl Request {
    /// Whose turn it is to say yes; nobody's where it doesn't wait for people.
    #[must_use]
    pub fn turn(&self) -> &[Quorum] {
        match &self.state {
            RequestState::NeedsApproval { approvals } => {
                let filled: Vec<_> = approvals.iter().map(|yes| (&yes.by, yes.fills())).collect();
                let people = filled.iter().map(|(by, fills)| (*by, fills));
                self.terms.approvals.progress(people).turn
            }
            RequestState::NeedsStepUp
            | RequestState::Granted { .. }
            | RequestState::Denied { .. }
            | RequestState::Withdrawn { .. }
            | RequestState::Lapsed { .. } => &[],
        }
    }

    /// How many more people have to say yes after these.
    #[must_use]
    pub fn missing(&self, approvals: &[Approval]) -> usize {
        let filled: Vec<_> = approvals.iter().map(|yes| (&yes.by, yes.fills())).collect();
        self.terms.approvals.missing(filled.iter().map(|(by, fills)| (*by, fills)))
    }
}
