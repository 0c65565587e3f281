//! How many connections there may be, and which one is closed when there are too many.
//!
//! A connection that hasn't authenticated counts against its address, against its network, and against
//! all of them together. Where one of these is full, one of them makes room for the newest. First in turn is
//! a connection that waits for its client's next bytes and comes from an address where nobody has
//! authenticated lately, then one from another address, then one whose request is at work; among equals
//! the oldest. So a thousand silent connections keep out nobody, and a flood from elsewhere never
//! closes a connection from an address where people are known.
//!
//! A connection that has authenticated is closed for no other. Where the listener says who it is (HTTP
//! does), one person has a bounded number of such places, and their own oldest makes room.

mod pool;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use pool::{Pool, Scope};

/// How many connections of which kind there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// In all.
    pub connections: usize,
    /// That haven't authenticated.
    pub unauthenticated: usize,
    /// That haven't authenticated, of one address.
    pub per_address: usize,
    /// That haven't authenticated, of one network.
    pub per_network: usize,
    /// That have authenticated as one person, where the listener says who it is.
    pub per_person: usize,
}

/// Which bound it was that made a connection close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// One address has too many.
    Address,
    /// One network has too many.
    Network,
    /// Too many haven't authenticated.
    Unauthenticated,
    /// There are too many in all.
    Connections,
    /// One person has too many.
    Person,
}

impl Refused {
    /// As one word, for a metric's label.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Network => "network",
            Self::Unauthenticated => "unauthenticated",
            Self::Connections => "connections",
            Self::Person => "person",
        }
    }
}

/// The places of one listener. A copy gives out the same.
#[derive(Debug, Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    bounds: Bounds,
    count: Box<dyn Fn(Refused) + Send + Sync>,
    pool: Mutex<Pool>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

/// A place among the connections; dropped, it is free again.
#[derive(Debug)]
pub struct Slot {
    limits: Limits,
    number: u64,
    evicted: CancellationToken,
    known: Arc<AtomicBool>,
}

/// Watches whether a connection has authenticated, for code that doesn't have its slot.
#[derive(Debug)]
pub struct Unauthenticated {
    evicted: CancellationToken,
    known: Arc<AtomicBool>,
}

/// While this lives, a request of the connection is at work, and others make room first.
#[derive(Debug)]
pub struct AtWork(Arc<Slot>);

impl Limits {
    /// Places within these bounds. `count` hears of every connection that one of them closes.
    pub fn new(bounds: Bounds, count: impl Fn(Refused) + Send + Sync + 'static) -> Self {
        let (count, pool) = (Box::new(count), Mutex::new(Pool::new()));
        Self(Arc::new(Inner { bounds, count, pool }))
    }

    /// A place for a new connection; none where all are taken by those who have authenticated.
    #[must_use]
    pub fn enter(&self, peer: SocketAddr) -> Option<Slot> {
        let (bounds, count) = (&self.0.bounds, &self.0.count);
        let mut pool = self.pool();
        let from = pool.origin(peer.ip());
        for (scope, most, why) in [
            (Scope::Address(from.address), bounds.per_address, Refused::Address),
            (Scope::Network(from.network), bounds.per_network, Refused::Network),
            (Scope::All, bounds.unauthenticated, Refused::Unauthenticated),
        ] {
            if pool.count(scope) >= most {
                count(why);
                pool.evict_first(scope);
            }
        }
        if pool.connections() >= bounds.connections {
            count(Refused::Connections);
            if !pool.evict_first(Scope::All) {
                return None;
            }
        }
        let (number, evicted) = pool.enter(from);
        drop(pool);
        Some(Slot { limits: self.clone(), number, evicted, known: Arc::default() })
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// This connection has authenticated: it is closed for no other, and its address is known. To be
    /// called before it waits for a person, too: such waits have bounds of their own.
    pub fn authenticated(&self) {
        self.known.store(true, Ordering::Release);
        self.limits.pool().authenticated(self.number, None);
    }

    /// The same, as this person: of theirs there are only so many, and the oldest makes room.
    pub fn authenticated_as(&self, person: &str) {
        self.known.store(true, Ordering::Release);
        let mut pool = self.limits.pool();
        pool.authenticated(self.number, Some(person));
        if pool.evict_oldest_of(person, self.limits.0.bounds.per_person) {
            (self.limits.0.count)(Refused::Person);
        }
    }

    /// A request of this connection is at work until what this gives is dropped.
    #[must_use]
    pub fn at_work(self: &Arc<Self>) -> AtWork {
        self.limits.pool().set_at_work(self.number, true);
        AtWork(Arc::clone(self))
    }

    /// To watch it while it hasn't authenticated.
    #[must_use]
    pub fn unauthenticated(&self) -> Unauthenticated {
        let (evicted, known) = (self.evicted.clone(), Arc::clone(&self.known));
        Unauthenticated { evicted, known }
    }
}

impl Unauthenticated {
    /// Resolves when it has to make room.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }

    /// Resolves at once, and never where it has authenticated.
    pub async fn remains(&self) {
        if self.known.load(Ordering::Acquire) {
            std::future::pending().await
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.limits.pool().set_at_work(self.0.number, false);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut pool = self.limits.pool();
        // Who was evicted has been taken out of the count already.
        if !self.evicted.is_cancelled() {
            pool.leave(self.number);
        }
    }
}

#[cfg(test)]
mod tests;
