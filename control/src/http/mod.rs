//! All that speaks HTTP: the API and the pages.

pub(crate) mod api;
pub(crate) mod pages;
pub(crate) mod presented_token;
pub(crate) mod router;

use crate::access::Access;
use crate::evidence::Evidence;
use crate::gateway::Gateway;
use crate::identity::Identity;
use crate::kernel::Kernel;
use crate::notify::Notifier;
use crate::sources::Sources;

/// The control plane: the services of all layers. Copies are cheap and share everything.
#[derive(Clone)]
pub struct Control {
    /// The store, the clock, the feed and the inventory in force.
    pub kernel: Kernel,
    /// Who somebody is.
    pub identity: Identity,
    /// Who may have what.
    pub access: Access,
    /// What happened.
    pub evidence: Evidence,
    /// Tells people.
    pub notifier: Notifier,
    /// Asks other systems, and reads the configuration again.
    pub sources: Sources,
    /// Serves proxies.
    pub gateway: Gateway,
}
