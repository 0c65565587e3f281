//! How many connections there may be, and how many of them may wait for a person.
//!
//! Places of connections come from the crate `accept`. Connections that wait for a person have limits of
//! their own here. Unauthenticated clients have tighter ones, so that they can't take all places from
//! authenticated clients.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::core::metrics::Metrics;
use crate::core::settings::LimitSettings;

pub(crate) use accept::{Slot, Unauthenticated, network};

/// The most unauthenticated clients of one address that wait for a person.
const UNAUTHENTICATED_PER_ADDRESS: usize = 8;

/// The counts of one proxy. A copy counts the same.
#[derive(Debug, Clone)]
pub(crate) struct Limits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: LimitSettings,
    connections: accept::Limits,
    waiting: Mutex<Waiting>,
}

/// All clients that wait for a person.
#[derive(Debug, Default)]
struct Waiting {
    authenticated: Counts,
    unauthenticated: Counts,
}

/// The clients of one kind that wait for a person.
#[derive(Debug, Default)]
struct Counts {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A client that waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitingClient {
    Authenticated,
    Unauthenticated,
}

/// A place among the connections that wait for a person; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct PendingPlace {
    limits: Limits,
    address: IpAddr,
    client: WaitingClient,
}

impl Limits {
    pub(crate) fn new(settings: LimitSettings, metrics: Arc<Metrics>) -> Self {
        let count = move |why: accept::Refused| metrics.refused(why.word());
        let connections = accept::Limits::new(settings.bounds(), count);
        Self(Arc::new(Inner { settings, connections, waiting: Mutex::default() }))
    }

    /// A place for a new connection; none where authenticated clients have taken all.
    pub(crate) fn enter(&self, peer: SocketAddr) -> Option<Slot> {
        self.0.connections.enter(peer)
    }

    /// A place to wait for a person; none where too many wait, in all or from this address.
    /// Unauthenticated clients have at most half of all places.
    pub(crate) fn wait(&self, address: SocketAddr, client: WaitingClient) -> Option<PendingPlace> {
        let settings = &self.0.settings;
        let address = network(address.ip());
        let mut waiting = self.waiting();
        let (known, unknown) = (waiting.authenticated.all, waiting.unauthenticated.all);
        let is_unknown = client == WaitingClient::Unauthenticated;
        let crowded = is_unknown && unknown >= settings.pending.div_ceil(2);
        if crowded || known + unknown >= settings.pending {
            return None;
        }
        if waiting.of(client).of(address) >= settings.pending_of_one_address(client) {
            return None;
        }
        waiting.of(client).enter(address);
        Some(PendingPlace { limits: self.clone(), address, client })
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn pending_of_one_address(&self, client: WaitingClient) -> usize {
        match client {
            WaitingClient::Authenticated => self.pending_per_address,
            WaitingClient::Unauthenticated => {
                self.pending_per_address.min(UNAUTHENTICATED_PER_ADDRESS)
            }
        }
    }
}

impl PendingPlace {
    /// The client is authenticated now: it leaves its place to another one, where there is room among
    /// the authenticated clients of its address.
    pub(crate) fn confirmed(&mut self) {
        let limits = self.limits.clone();
        let mut waiting = limits.waiting();
        let most = limits.0.settings.pending_of_one_address(WaitingClient::Authenticated);
        if self.client == WaitingClient::Unauthenticated
            && waiting.authenticated.of(self.address) < most
        {
            waiting.unauthenticated.leave(self.address);
            waiting.authenticated.enter(self.address);
            self.client = WaitingClient::Authenticated;
        }
    }
}

impl Drop for PendingPlace {
    fn drop(&mut self) {
        self.limits.waiting().of(self.client).leave(self.address);
    }
}

impl Counts {
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

impl Waiting {
    fn of(&mut self, client: WaitingClient) -> &mut Counts {
        match client {
            WaitingClient::Authenticated => &mut self.authenticated,
            WaitingClient::Unauthenticated => &mut self.unauthenticated,
        }
    }
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;
