//! What is asked of others: on-call rosters, tickets, and the configuration when it is read again.

pub(crate) mod icalendar;
pub(crate) mod on_call;
pub(crate) mod reload;
pub(crate) mod tickets;

use crate::access::Access;
use crate::identity::Identity;
use crate::kernel::Kernel;

/// Asks other systems, and reads the configuration again.
#[derive(Clone)]
pub struct Sources {
    pub(crate) kernel: Kernel,
    pub(crate) identity: Identity,
    pub(crate) access: Access,
}
