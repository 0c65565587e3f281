//! A connection that waits for a person, as they see it.

use std::net::IpAddr;

use policies::{Bound, PrincipalId, Resource, Ticket, Timestamp, Ttl};

use crate::model::carrier::Carrier;

/// A connection that waits for a person to confirm it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldView {
    /// Its name, public.
    pub id: String,
    /// Whose it is, where it is known: nobody else can let it go on.
    pub principal: Option<PrincipalId>,
    /// What it wants.
    pub resource: Resource,
    /// Where a touch for it is good.
    pub place: Option<Bound>,
    /// Address and port that it comes from.
    pub client: String,
    /// The address alone, where it is one.
    pub source: Option<IpAddr>,
    /// The name that the client gave itself; not checked.
    pub application: String,
    /// On what it comes; where nobody knows whose it is, on the session in which that is said.
    pub(crate) carrier: Carrier,
    /// For how long it wants it.
    pub ttl: Option<Ttl>,
    /// Why, in the client's words.
    pub reason: String,
    /// The ticket that it names.
    pub ticket: Option<Ticket>,
    /// Since when it waits.
    pub asked_at: Timestamp,
    /// Until when its code is good.
    pub expires_at: Timestamp,
    /// Digest of all this: what a confirmation confirms.
    pub digest: policies::Digest,
}

impl HoldView {
    /// Whether it comes from elsewhere than the one who looks at it, or it isn't known.
    pub(crate) fn comes_from_elsewhere(&self, reader: Option<IpAddr>) -> bool {
        let waiting = self.source.map(|address| address.to_canonical());
        waiting.is_none() || waiting != reader
    }
}
