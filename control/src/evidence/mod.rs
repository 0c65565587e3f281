//! What happened: sessions, and the timeline of anything.

pub(crate) mod reconcile;
pub(crate) mod sessions;
pub(crate) mod timeline;

use crate::kernel::Kernel;

/// What happened.
#[derive(Clone)]
pub struct Evidence {
    pub(crate) kernel: Kernel,
}
