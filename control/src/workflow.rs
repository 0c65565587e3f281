//! How requests go their way, as the configuration says: who may stand in for whom and when, which
//! identities are one person, and whose word about tickets is taken.

use std::collections::{BTreeMap, BTreeSet};

use policies::{Decider, GroupName, Principal, PrincipalId, Request, Timestamp, Ttl};

use crate::{Inventory, WebhookSecret};

/// The workflow, as a part of what can be reloaded.
#[derive(Debug, Clone, Default)]
pub struct Workflow {
    /// How long those who are asked have before others may stand in; without, as long as it takes.
    pub escalate_after: Option<Ttl>,
    /// For each group, the one whose members may stand in for its own.
    pub escalate_to: BTreeMap<GroupName, GroupName>,
    /// Second identities of people, each with the first.
    pub same_as: BTreeMap<PrincipalId, PrincipalId>,
    /// With what the system of tickets signs what it says; without, nothing of it is taken.
    pub ticket_secrets: Vec<WebhookSecret>,
}

impl Inventory {
    /// The one identity that stands for all of a person's.
    pub(crate) fn human<'a>(&'a self, id: &'a PrincipalId) -> &'a PrincipalId {
        self.workflow.same_as.get(id).unwrap_or(id)
    }

    /// Somebody who decides, with all their identities.
    pub(crate) fn decider(&self, principal: &Principal) -> Decider {
        let human = self.human(&principal.id);
        let same = self.workflow.same_as.iter();
        let same = same.filter(|(_, first)| *first == human).map(|(second, _)| second);
        let also: BTreeSet<PrincipalId> = same.chain([human]).cloned().collect();
        Decider { principal: principal.clone(), also }
    }

    /// When others may stand in for those whose turn it is, where somebody may.
    pub(crate) fn escalates_at(&self, request: &Request) -> Option<Timestamp> {
        let Workflow { escalate_after, escalate_to, .. } = &*self.workflow;
        escalate_after.and_then(|after| request.escalates_at(after, escalate_to))
    }

    /// What is wrong with the identities: a second one of a second one. The first may have left.
    pub(crate) fn unfit_identities(&self) -> impl Iterator<Item = String> {
        let same = self.workflow.same_as.iter();
        let bad = same.filter(|(second, first)| {
            second == first || self.workflow.same_as.contains_key(*first)
        });
        bad.map(|(second, first)| {
            format!("person `{second}` is the same as `{first}`, which is a second identity too")
        })
    }
}
