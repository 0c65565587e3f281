//! What happened: sessions, and the timeline of anything.

pub(crate) mod reconcile;
pub(crate) mod sessions;
pub(crate) mod timeline;
