//! What somebody says who asks for access, or decides about it.

use std::net::IpAddr;

use policies::{Act, Digest, Facts, Grant, Request, Resource, StepUpId, Ticket, Timestamp, Ttl};

/// The longest reason, in bytes.
pub(crate) const REASON_MAX: usize = 2_000;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessRequestInput {
    /// The login, target and database; without a database, the target's default.
    pub resource: Resource,
    /// What else, to be decided on as one.
    pub also: Vec<Resource>,
    /// For how long; without, as long as the target's default.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: String,
    /// The ticket that it is for, where there is one.
    pub ticket: Option<Ticket>,
    /// Whether it is an emergency.
    pub act: Act,
    /// From when on; without, at once.
    pub starts_at: Option<Timestamp>,
    /// Where the connection comes from that waits for it, where there is one.
    pub source: Option<IpAddr>,
}

impl AccessRequestInput {
    /// A request for this, of which nothing more is said.
    #[must_use]
    pub fn new(resource: Resource) -> Self {
        Self {
            resource,
            also: Vec::new(),
            ttl: None,
            reason: String::new(),
            ticket: None,
            act: Act::Connect,
            starts_at: None,
            source: None,
        }
    }

    /// What the rules may ask about it, besides these.
    pub(crate) fn facts(&self, facts: Facts) -> Facts {
        Facts {
            act: self.act,
            ticket: self.ticket.clone(),
            reason: self.reason.clone(),
            ttl: self.ttl,
            ..facts
        }
    }

    /// The time that its rules are asked about: when it is to begin, or else now.
    pub(crate) fn evaluated_at(&self, now: Timestamp) -> Timestamp {
        self.starts_at.map_or(now, |starts| starts.max(now))
    }
}

/// An approver's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Yes {
    /// What they read.
    pub digest: Digest,
    /// For how long at most.
    pub shorten: Option<Ttl>,
    /// With what they proved themselves, where they did.
    pub step_up: Option<StepUpId>,
}

/// Whether somebody is there to wait for people's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    Yes,
    No,
}

/// What asking comes to: the request, and what it gave or what was there already.
pub(crate) type Answer = (Request, Vec<Grant>);
