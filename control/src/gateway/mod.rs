//! What serves proxies: the link, and connections that wait for a person.

pub(crate) mod access_wait;
pub(crate) mod confirm;
pub(crate) mod link;
pub(crate) mod pending_connections;

use std::sync::Arc;

use crate::access::Access;
use crate::evidence::Evidence;
use crate::gateway::pending_connections::PendingConnections;
use crate::identity::Identity;
use crate::kernel::Kernel;

/// Serves proxies. Copies are cheap and share everything.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) kernel: Kernel,
    pub(crate) identity: Identity,
    pub(crate) access: Access,
    pub(crate) evidence: Evidence,
    pub(crate) own: Arc<State>,
}

/// What this layer alone uses.
pub(crate) struct State {
    pub(crate) pending: PendingConnections,
}
