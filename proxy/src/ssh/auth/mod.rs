//! Who a client is and what it wants, and letting it in: before any channel opens.
//!
//! [`authenticate`] answers the client's methods: it asks [`identify`] who it is, and [`route`] what its user name
//! asks for. Where a person has to act, [`dialogue`] waits for that.

pub(super) mod authenticate;
pub(super) mod dialogue;
pub(super) mod identify;
pub(super) mod route;

use std::sync::Arc;

use policies::{Resource, Target, Timestamp};

use crate::core::admission::Admitted;
use crate::core::identity::Identity;

/// A connection that was let in.
pub(super) enum Authenticated {
    /// To a target.
    Target { admitted: Box<Admitted>, destination: Destination },
    /// To lead on to targets; a client that isn't identified yet has to be there.
    Jump(Option<Opener>),
}

/// What a client wants.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) target: Arc<Target>,
    pub(super) resource: Resource,
}

/// Who opened a connection that leads on.
pub(super) struct Opener {
    pub(super) identity: Identity,
    /// Until when that counts for connections within it, too: no longer than the proof that it came with.
    pub(super) until: Timestamp,
}

impl Opener {
    pub(super) fn at(&self, now: Timestamp) -> Option<&Identity> {
        (now < self.until).then_some(&self.identity)
    }
}
