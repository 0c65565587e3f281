//! Refusals of callers who haven't proved who they are: the one way into the audit log for them.
//!
//! Anybody on the network can be refused as often as they like, and each event is a durable write. So the
//! first refusals of one kind and network are written one by one. More of them are counted, and each
//! window ends with one event that tells how many; while a flood goes on, its windows grow longer. A
//! network that was quiet for a whole window begins again. Bounds are those of a network, never of all:
//! a flood from one hides nothing of another.
//!
//! Only [`Refusals::admit`] makes a [`Noted`], and only a [`Noted`] becomes such an event. Whoever serves
//! callers like these (`Front`) has no other way to write one.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use accept::neighbourhood;
use ipnet::IpNet;
use policies::{PrincipalId, Timestamp, Ttl};

use crate::model::audit_kind::AuditKind;

/// How many of one kind and origin are written one by one.
const AT_FIRST: u32 = 20;
/// How long more of them are counted before a summary, at first and at most.
const WINDOW: (Ttl, Ttl) = (Ttl::from_secs(3_600), Ttl::from_secs(8 * 3_600));
/// How many kinds and origins are counted apart.
const MOST: usize = 4_096;

/// What was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refused {
    /// A one-time link.
    Link,
    /// A sign-in by a passkey or an issuer.
    Login,
    /// An issuer's word that somebody has signed out.
    Logout,
    /// A workload's token.
    Workload,
    /// A connection of nobody in particular, at a proxy.
    Connection,
    /// A token in a password field.
    Token,
}

impl Refused {
    #[cfg(test)]
    const ALL: [Self; 6] =
        [Self::Link, Self::Login, Self::Logout, Self::Workload, Self::Connection, Self::Token];

    /// The kind of the event.
    pub(crate) fn kind(self) -> AuditKind {
        match self {
            Self::Link => AuditKind::LinkRefused,
            Self::Login => AuditKind::LoginRefused,
            Self::Logout => AuditKind::LogoutRefused,
            Self::Workload => AuditKind::WorkloadRefused,
            Self::Connection => AuditKind::ConnectionDenied,
            Self::Token => AuditKind::TokenRefused,
        }
    }
}

/// By whom refusals are counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum CountedBy {
    /// A network of callers.
    Network(IpNet),
    /// Callers whose address isn't known.
    Nowhere,
    /// Whoever holds something of this person's.
    Holder(PrincipalId),
    /// Origins beyond the number that is counted apart.
    Elsewhere,
}

impl CountedBy {
    /// The network of this address.
    pub(crate) fn address(address: Option<IpAddr>) -> Self {
        address.map_or(Self::Nowhere, |address| Self::Network(neighbourhood(address)))
    }
}

impl fmt::Display for CountedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => write!(f, "{network}"),
            Self::Nowhere => f.write_str("an unknown address"),
            Self::Holder(id) => write!(f, "holders of what is {id}'s"),
            Self::Elsewhere => f.write_str("other networks"),
        }
    }
}

/// The permission to write one refusal down.
#[derive(Debug)]
pub(crate) struct Noted(pub(super) Refused);

/// How many refusals were written and counted.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<HashMap<(Refused, CountedBy), Counted>>);

#[derive(Debug)]
struct Counted {
    written: u32,
    left_out: u64,
    since: Timestamp,
    window: Ttl,
}

/// How many refusals of one kind and origin were left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) what: Refused,
    pub(super) from: CountedBy,
    pub(super) count: u64,
    pub(super) since: Timestamp,
}

impl Refusals {
    /// The permission to write this one down; none where it is only counted.
    pub(super) fn admit(&self, what: Refused, from: CountedBy, now: Timestamp) -> Option<Noted> {
        let mut table = self.table();
        let is_full = table.len() >= MOST;
        let key = (what, from);
        let key =
            if is_full && !table.contains_key(&key) { (what, CountedBy::Elsewhere) } else { key };
        let fresh = Counted { written: 0, left_out: 0, since: now, window: WINDOW.0 };
        let counted = table.entry(key).or_insert(fresh);
        if counted.written < AT_FIRST {
            counted.written += 1;
            return Some(Noted(what));
        }
        counted.left_out += 1;
        None
    }

    /// What is to be summarised: where a window is over by now, or of every one.
    pub(super) fn due(&self, now: Timestamp, all: bool) -> Vec<LeftOut> {
        let mut due = Vec::new();
        self.table().retain(|(what, from), counted| {
            if !all && now < counted.since.after(counted.window) {
                return true;
            }
            let count = std::mem::take(&mut counted.left_out);
            let since = std::mem::replace(&mut counted.since, now);
            if count == 0 {
                return false;
            }
            due.push(LeftOut { what: *what, from: from.clone(), count, since });
            counted.window = Ttl::from_millis(counted.window.millis().unsigned_abs() * 2);
            counted.window = counted.window.min(WINDOW.1);
            true
        });
        due
    }

    fn table(&self) -> MutexGuard<'_, HashMap<(Refused, CountedBy), Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1_000)
    }

    fn network(n: u32) -> CountedBy {
        CountedBy::address(Some(IpAddr::from((0x0a00_0000 + (n << 8)).to_be_bytes())))
    }

    fn written(refusals: &Refusals, from: &CountedBy, count: usize, now: i64) -> usize {
        let admit = |_| refusals.admit(Refused::Link, from.clone(), at(now));
        (0..count).filter_map(admit).count()
    }

    #[test]
    fn few_of_one_network_are_told_and_none_of_those_left_out_is_forgotten() {
        let refusals = Refusals::default();
        assert_eq!(written(&refusals, &network(1), 1_000, 0), 20);
        // Neighbours of one network are one; another kind and another network are not.
        let neighbour = CountedBy::address(Some("10.0.1.77".parse().unwrap()));
        assert_eq!(written(&refusals, &neighbour, 10, 0), 0);
        assert_eq!(written(&refusals, &network(2), 10, 0), 10);
        assert!(refusals.admit(Refused::Login, network(1), at(0)).is_some());
        assert_eq!(refusals.due(at(3_599), false), []);
        let left_out = LeftOut { what: Refused::Link, from: network(1), count: 990, since: at(0) };
        assert_eq!(refusals.due(at(3_600), false), [left_out]);
    }

    #[test]
    fn a_flood_that_goes_on_has_longer_windows_and_a_quiet_network_begins_anew() {
        let refusals = Refusals::default();
        let mut summaries = 0;
        for hour in 0..24 {
            written(&refusals, &network(1), 1_000, hour * 3_600);
            summaries += refusals.due(at((hour + 1) * 3_600), false).len();
        }
        assert_eq!(summaries, 5, "after 1, 3, 7, 15 and 23 hours");
        assert_eq!(written(&refusals, &network(1), 5, 24 * 3_600), 0);
        assert_eq!(refusals.due(at(48 * 3_600), false).len(), 1);
        assert_eq!(refusals.due(at(72 * 3_600), false), []);
        assert_eq!(written(&refusals, &network(1), 5, 72 * 3_600), 5);
    }

    #[test]
    fn memory_is_bounded_and_every_refusal_is_written_or_counted() {
        let refusals = Refusals::default();
        let total: usize = (0..50_000).map(|n| written(&refusals, &network(n), 2, 0)).sum();
        assert!(refusals.table().len() <= MOST + Refused::ALL.len());
        let counted: u64 = refusals.due(at(1), true).iter().map(|left| left.count).sum();
        assert_eq!(total as u64 + counted, 100_000);
    }

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Refused::ALL.map(Refused::kind).into();
        assert_eq!(names.len(), Refused::ALL.len());
    }
}
