//! How many connections there may be, and how many of them may wait for a person.
//!
//! Places of connections are given out by the crate `accept`. Those who wait for a person have bounds of
//! their own here, and strangers among them tighter ones, so that they can't take all the places from
//! those who are known.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Metrics;
use crate::settings::LimitSettings;

pub(crate) use accept::{Slot, Stranger, network};

/// The most strangers of one address that wait for a person.
const STRANGERS_HOLDING: usize = 8;

/// The counts of one proxy. A copy counts the same.
#[derive(Debug, Clone)]
pub(crate) struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: LimitSettings,
    connections: accept::Limits,
    holding: Mutex<Holding>,
}

/// All who wait for a person.
#[derive(Debug, Default)]
struct Holding {
    known: Holds,
    strange: Holds,
}

/// Those of one kind who wait for a person.
#[derive(Debug, Default)]
struct Holds {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Who waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Somebody who has said who they are, and proved it.
    Known,
    /// Anybody.
    Stranger,
}

/// A place among those who wait for a person; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct HoldPlace {
    limits: Limits,
    address: IpAddr,
    who: Waits,
}

impl Limits {
    pub(crate) fn new(settings: LimitSettings, metrics: Arc<Metrics>) -> Self {
        let count = move |why: accept::Refused| metrics.refused(why.word());
        let connections = accept::Limits::new(settings.bounds(), count);
        Self(Arc::new(Inner { settings, connections, holding: Mutex::default() }))
    }

    /// A place for a new connection; none where all are taken by those who have authenticated.
    pub(crate) fn enter(&self, peer: SocketAddr) -> Option<Slot> {
        self.0.connections.enter(peer)
    }

    /// A place to wait for a person; none where too many wait, in all or from this address. Of all
    /// places strangers have at most half.
    pub(crate) fn hold(&self, client: SocketAddr, who: Waits) -> Option<HoldPlace> {
        let settings = &self.0.settings;
        let address = network(client.ip());
        let mut holding = self.holding();
        let (known, strange) = (holding.known.all, holding.strange.all);
        let crowded = strange >= settings.holds.div_ceil(2) && who == Waits::Stranger;
        if crowded || known + strange >= settings.holds {
            return None;
        }
        if holding.of(who).of(address) >= settings.holds_of_one_address(who) {
            return None;
        }
        holding.of(who).enter(address);
        Some(HoldPlace { limits: self.clone(), address, who })
    }

    fn holding(&self) -> MutexGuard<'_, Holding> {
        self.0.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LimitSettings {
    fn bounds(&self) -> accept::Bounds {
        accept::Bounds {
            connections: self.connections,
            unauthenticated: self.unauthenticated,
            per_address: self.per_address,
            per_network: self.per_network,
            // What one person opens here is bounded by their grants.
            per_person: usize::MAX,
        }
    }

    fn holds_of_one_address(&self, who: Waits) -> usize {
        match who {
            Waits::Known => self.holds_per_address,
            Waits::Stranger => self.holds_per_address.min(STRANGERS_HOLDING),
        }
    }
}

impl HoldPlace {
    /// The stranger has become known: leaves its place to another one, where there is room among the
    /// known ones of its address.
    pub(crate) fn confirmed(&mut self) {
        let limits = self.limits.clone();
        let mut holding = limits.holding();
        let most = limits.0.settings.holds_of_one_address(Waits::Known);
        if self.who == Waits::Stranger && holding.known.of(self.address) < most {
            holding.strange.leave(self.address);
            holding.known.enter(self.address);
            self.who = Waits::Known;
        }
    }
}

impl Drop for HoldPlace {
    fn drop(&mut self) {
        self.limits.holding().of(self.who).leave(self.address);
    }
}

impl Holds {
    fn of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).copied().unwrap_or(0)
    }

    fn enter(&mut self, address: IpAddr) {
        self.all += 1;
        *self.by_address.entry(address).or_default() += 1;
    }

    fn leave(&mut self, address: IpAddr) {
        self.all = self.all.saturating_sub(1);
        match self.of(address) {
            0 | 1 => self.by_address.remove(&address),
            here => self.by_address.insert(address, here - 1),
        };
    }
}

impl Holding {
    fn of(&mut self, who: Waits) -> &mut Holds {
        match who {
            Waits::Known => &mut self.known,
            Waits::Stranger => &mut self.strange,
        }
    }
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;
