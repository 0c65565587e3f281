//! Who has a place, and whose turn it is to make room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use ipnet::IpNet;
use tokio_util::sync::CancellationToken;

use crate::network::{neighbourhood, network};
use crate::recent::Recent;

/// From how many addresses it is remembered that somebody has authenticated there.
const KNOWN: usize = 4_096;

/// Among which connections one is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scope {
    Address(IpAddr),
    Network(IpNet),
    All,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) address: IpAddr,
    pub(super) network: IpNet,
    /// Whether somebody has authenticated there.
    is_known: bool,
}

/// What decides whose turn it is: the smallest one's. Their order is that of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    is_at_work: bool,
    is_known: bool,
    number: u64,
}

/// Those that haven't authenticated, by whose turn it is.
type Queue = BTreeSet<Turn>;

#[derive(Debug)]
struct Listed {
    from: Origin,
    turn: Turn,
    evicted: CancellationToken,
}

#[derive(Debug)]
pub(super) struct Pool {
    /// Authenticated or not.
    connections: usize,
    next: u64,
    unauthenticated: HashMap<u64, Listed>,
    all: Queue,
    by_address: HashMap<IpAddr, Queue>,
    by_network: HashMap<IpNet, Queue>,
    people: People,
    known: Recent<IpAddr, ()>,
}

/// The authenticated connections of people, where the listener says whose they are.
#[derive(Debug, Default)]
struct People {
    whose: HashMap<u64, Box<str>>,
    places: HashMap<Box<str>, BTreeMap<u64, CancellationToken>>,
}

impl Pool {
    pub(super) fn new() -> Self {
        Self {
            connections: 0,
            next: 0,
            unauthenticated: HashMap::new(),
            all: Queue::new(),
            by_address: HashMap::new(),
            by_network: HashMap::new(),
            people: People::default(),
            known: Recent::new(KNOWN),
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    pub(super) fn origin(&self, address: IpAddr) -> Origin {
        let (address, network) = (network(address), neighbourhood(address));
        Origin { address, network, is_known: self.known.get(&address).is_some() }
    }

    /// How many of these haven't authenticated.
    pub(super) fn count(&self, scope: Scope) -> usize {
        self.queue(scope).map_or(0, BTreeSet::len)
    }

    fn queue(&self, scope: Scope) -> Option<&Queue> {
        match scope {
            Scope::Address(address) => self.by_address.get(&address),
            Scope::Network(network) => self.by_network.get(&network),
            Scope::All => Some(&self.all),
        }
    }

    pub(super) fn enter(&mut self, from: Origin) -> (u64, CancellationToken) {
        let (number, evicted) = (self.next, CancellationToken::new());
        let turn = Turn { is_at_work: false, is_known: from.is_known, number };
        self.next += 1;
        self.connections += 1;
        self.line_up(from, turn);
        self.unauthenticated.insert(number, Listed { from, turn, evicted: evicted.clone() });
        (number, evicted)
    }

    /// Takes the one whose turn it is out of these, and tells it to close.
    pub(super) fn evict_first(&mut self, scope: Scope) -> bool {
        let first = self.queue(scope).and_then(BTreeSet::first).map(|turn| turn.number);
        let Some(listed) = first.and_then(|number| self.take_unauthenticated(number)) else {
            return false;
        };
        self.connections = self.connections.saturating_sub(1);
        listed.evicted.cancel();
        true
    }

    /// Whether a request of this connection is at work; of no matter where it has authenticated.
    pub(super) fn set_at_work(&mut self, number: u64, is_at_work: bool) {
        let Some(listed) = self.unauthenticated.get_mut(&number) else { return };
        let (from, before) = (listed.from, listed.turn);
        let turn = Turn { is_at_work, ..before };
        listed.turn = turn;
        self.drop_out(from, before);
        self.line_up(from, turn);
    }

    pub(super) fn authenticated(&mut self, number: u64, person: Option<&str>) {
        let Some(listed) = self.take_unauthenticated(number) else { return };
        self.known.remember(listed.from.address, ());
        if let Some(person) = person {
            self.people.enter(person, number, listed.evicted);
        }
    }

    /// Tells the oldest connection of this person to close, where they have too many.
    pub(super) fn evict_oldest_of(&mut self, person: &str, most: usize) -> bool {
        let places = self.people.places.get(person);
        let oldest =
            places.filter(|places| places.len() > most).and_then(BTreeMap::first_key_value);
        let Some((number, evicted)) = oldest.map(|(number, evicted)| (*number, evicted.clone()))
        else {
            return false;
        };
        self.leave(number);
        evicted.cancel();
        true
    }

    /// Takes one out that closes by itself.
    pub(super) fn leave(&mut self, number: u64) {
        self.take_unauthenticated(number);
        self.people.leave(number);
        self.connections = self.connections.saturating_sub(1);
    }

    fn take_unauthenticated(&mut self, number: u64) -> Option<Listed> {
        let listed = self.unauthenticated.remove(&number)?;
        self.drop_out(listed.from, listed.turn);
        Some(listed)
    }

    fn line_up(&mut self, from: Origin, turn: Turn) {
        self.all.insert(turn);
        self.by_address.entry(from.address).or_default().insert(turn);
        self.by_network.entry(from.network).or_default().insert(turn);
    }

    fn drop_out(&mut self, from: Origin, turn: Turn) {
        self.all.remove(&turn);
        take_out(&mut self.by_address, &from.address, turn);
        take_out(&mut self.by_network, &from.network, turn);
    }

    /// Whether nothing is left of anybody, but for the addresses that are known.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let queues = self.all.is_empty() && self.by_address.is_empty();
        let people = self.people.whose.is_empty() && self.people.places.is_empty();
        let unauthenticated = self.unauthenticated.is_empty() && self.by_network.is_empty();
        self.connections == 0 && queues && people && unauthenticated
    }
}

fn take_out<K: Eq + std::hash::Hash>(queues: &mut HashMap<K, Queue>, key: &K, turn: Turn) {
    if let Some(queue) = queues.get_mut(key) {
        queue.remove(&turn);
        if queue.is_empty() {
            queues.remove(key);
        }
    }
}

impl People {
    fn enter(&mut self, person: &str, number: u64, evicted: CancellationToken) {
        self.whose.insert(number, person.into());
        self.places.entry(person.into()).or_default().insert(number, evicted);
    }

    fn leave(&mut self, number: u64) {
        let Some(person) = self.whose.remove(&number) else { return };
        if let Some(places) = self.places.get_mut(&person) {
            places.remove(&number);
            if places.is_empty() {
                self.places.remove(&person);
            }
        }
    }
}
