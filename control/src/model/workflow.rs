//! How requests go their way, as the configuration says: who may stand in for whom and when, which
//! identities are one person, and whose word about tickets is taken.

use std::collections::BTreeMap;

use policies::{GroupName, PrincipalId, Ttl};

use crate::platform::webhook_signature::WebhookSecret;

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

/// Who stands for this person at last. Nobody stands for themselves, so that it ends.
pub(super) fn root<'a>(
    stands: &'a BTreeMap<PrincipalId, PrincipalId>,
    id: &'a PrincipalId,
) -> &'a PrincipalId {
    std::iter::successors(Some(id), |id| stands.get(*id)).last().unwrap_or(id)
}
