//! How many connections there may be, and who has to go when there are too many.
//!
//! A connection that hasn't authenticated is a stranger's. Strangers share a pool, per address and in
//! all, in which the oldest makes room for the newest: a thousand that say nothing can't keep out one
//! that does. Who has authenticated is never put out for another.
//!
//! Those who wait for a person have bounds of their own, and strangers among them tighter ones, so that
//! they can't take all the places from those who are known.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::settings::LimitSettings;

/// The most strangers of one address that wait for a person.
const STRANGERS_HOLDING: usize = 8;

/// The counts of one proxy. A copy counts the same.
#[derive(Debug, Clone)]
pub(crate) struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: LimitSettings,
    metrics: Arc<Metrics>,
    pool: Mutex<Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    /// Strangers and others.
    connections: usize,
    next: u64,
    /// By the order in which they came.
    strangers: BTreeMap<u64, Listed>,
    by_address: HashMap<IpAddr, BTreeSet<u64>>,
    known_holds: Holds,
    strange_holds: Holds,
}

/// Those who wait for a person.
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

#[derive(Debug)]
struct Listed {
    address: IpAddr,
    evicted: CancellationToken,
}

/// Whether a connection is still a stranger's, for whoever doesn't have its slot.
#[derive(Debug)]
pub(crate) struct Stranger {
    evicted: CancellationToken,
    known: Arc<AtomicBool>,
}

/// A place among the connections; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Slot {
    limits: Limits,
    number: u64,
    evicted: CancellationToken,
    known: Arc<AtomicBool>,
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
        let pool = Mutex::default();
        Self(Arc::new(Inner { settings, metrics, pool }))
    }

    /// A place for a new connection; none where all are taken by those who have authenticated.
    pub(crate) fn enter(&self, peer: SocketAddr) -> Option<Slot> {
        let (settings, metrics) = (&self.0.settings, &self.0.metrics);
        let address = network(peer.ip());
        let mut pool = self.pool();
        if pool.strangers_of(address) >= settings.per_address {
            pool.evict_oldest_of(address);
            metrics.refused("address");
        }
        if pool.strangers.len() >= settings.unauthenticated {
            pool.evict_oldest();
            metrics.refused("unauthenticated");
        }
        if pool.connections >= settings.connections {
            metrics.refused("connections");
            if !pool.evict_oldest() {
                return None;
            }
        }
        let (number, evicted) = pool.enter(address);
        drop(pool);
        Some(Slot { limits: self.clone(), number, evicted, known: Arc::default() })
    }

    /// A place to wait for a person; none where too many wait, in all or from this address. Of all
    /// places strangers have at most half.
    pub(crate) fn hold(&self, client: SocketAddr, who: Waits) -> Option<HoldPlace> {
        let settings = &self.0.settings;
        let address = network(client.ip());
        let mut pool = self.pool();
        let (known, strange) = (pool.known_holds.all, pool.strange_holds.all);
        let crowded = strange >= settings.holds.div_ceil(2) && who == Waits::Stranger;
        if crowded || known + strange >= settings.holds {
            return None;
        }
        if pool.holds(who).of(address) >= settings.holds_of_one_address(who) {
            return None;
        }
        pool.holds(who).enter(address);
        Some(HoldPlace { limits: self.clone(), address, who })
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one address: of IPv6, the network, which one host has whole.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

impl Slot {
    /// This connection is no longer a stranger's. To be called before it waits for a person, too:
    /// a hold has bounds of its own.
    pub(crate) fn authenticated(&self) {
        self.known.store(true, Ordering::Release);
        self.limits.pool().leave_strangers(self.number);
    }

    /// To watch it while it is a stranger's.
    pub(crate) fn stranger(&self) -> Stranger {
        let (evicted, known) = (self.evicted.clone(), Arc::clone(&self.known));
        Stranger { evicted, known }
    }
}

impl Stranger {
    /// Resolves when it has to make room.
    pub(crate) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Resolves at once, and where it is none any more never.
    pub(crate) async fn remains(&self) {
        if self.known.load(Ordering::Acquire) {
            std::future::pending().await
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut pool = self.limits.pool();
        // Who was evicted has been taken out of the count already.
        if !self.evicted.is_cancelled() {
            pool.leave_strangers(self.number);
            pool.connections = pool.connections.saturating_sub(1);
        }
    }
}

impl LimitSettings {
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
        let mut pool = limits.pool();
        let most = limits.0.settings.holds_of_one_address(Waits::Known);
        if self.who == Waits::Stranger && pool.known_holds.of(self.address) < most {
            pool.strange_holds.leave(self.address);
            pool.known_holds.enter(self.address);
            self.who = Waits::Known;
        }
    }
}

impl Drop for HoldPlace {
    fn drop(&mut self) {
        self.limits.pool().holds(self.who).leave(self.address);
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

impl Pool {
    fn holds(&mut self, who: Waits) -> &mut Holds {
        match who {
            Waits::Known => &mut self.known_holds,
            Waits::Stranger => &mut self.strange_holds,
        }
    }

    fn enter(&mut self, address: IpAddr) -> (u64, CancellationToken) {
        let (number, evicted) = (self.next, CancellationToken::new());
        self.next += 1;
        self.connections += 1;
        self.by_address.entry(address).or_default().insert(number);
        self.strangers.insert(number, Listed { address, evicted: evicted.clone() });
        (number, evicted)
    }

    fn strangers_of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).map_or(0, BTreeSet::len)
    }

    fn evict_oldest_of(&mut self, address: IpAddr) {
        let oldest = self.by_address.get(&address).and_then(BTreeSet::first).copied();
        if let Some(number) = oldest {
            self.evict(number);
        }
    }

    fn evict_oldest(&mut self) -> bool {
        let oldest = self.strangers.first_key_value().map(|(number, _)| *number);
        oldest.is_some_and(|number| self.evict(number))
    }

    fn evict(&mut self, number: u64) -> bool {
        let Some(stranger) = self.leave_strangers(number) else {
            return false;
        };
        self.connections = self.connections.saturating_sub(1);
        stranger.evicted.cancel();
        true
    }

    fn leave_strangers(&mut self, number: u64) -> Option<Listed> {
        let stranger = self.strangers.remove(&number)?;
        if let Some(here) = self.by_address.get_mut(&stranger.address) {
            here.remove(&number);
            if here.is_empty() {
                self.by_address.remove(&stranger.address);
            }
        }
        Some(stranger)
    }
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;
