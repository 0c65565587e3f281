//! By what a request is counted, and how many are at work at once.
//!
//! Whoever showed the token of a good login session lately is counted by who they are, everybody else by
//! the network that they come from. So a flood takes up the places and the rate of its own network, and
//! people who are signed in have places that it can't take, even in that network. Being recognised here
//! proves nothing: whoever serves the request still looks at the token.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use accept::Recent;
use axum::http::HeaderMap;
use policies::PrincipalId;
use secrecy::SecretString;

use crate::http::presented_token;
use crate::platform::ids;
use crate::platform::ids::Hash;

/// How many requests are at work at once.
const PLACES: usize = 512;
/// How many of these nobody who is recognised has sent.
const UNRECOGNISED: usize = 384;
/// How many of one network or person.
const EACH: usize = 128;
/// How many tokens are recognised.
const TOKENS: usize = 10_000;

/// By what a request is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Claimant {
    /// Somebody whose login session was good lately.
    Person(PrincipalId),
    /// Anybody else, by their network; those without an address are one.
    Network(Option<IpAddr>),
}

/// The tokens that were good when they were shown last, by their digests.
#[derive(Debug, Clone)]
pub(crate) struct Recognised(Arc<Mutex<Recent<Hash, PrincipalId>>>);

impl Recognised {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Recent::new(TOKENS))))
    }

    /// This token is good, and theirs.
    pub(crate) fn remember(&self, token: &SecretString, whose: &PrincipalId) {
        self.tokens().remember(ids::hash(token), whose.clone());
    }

    /// This token is good no more.
    pub(crate) fn forget(&self, token: &SecretString) {
        self.tokens().forget(&ids::hash(token));
    }

    /// Whose token a request carries, in a header of the API or in this cookie of the pages.
    pub(crate) fn whose(&self, headers: &HeaderMap, cookie: &str) -> Option<PrincipalId> {
        let token = presented_token::bearer(headers)
            .or_else(|| presented_token::cookie(headers, cookie))?;
        self.tokens().get(&ids::hash(&token)).cloned()
    }

    fn tokens(&self) -> MutexGuard<'_, Recent<Hash, PrincipalId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of requests at work. A copy gives out the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    unrecognised: usize,
    each: HashMap<Claimant, usize>,
}

/// A place of one request; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Place {
    places: Places,
    whose: Claimant,
}

impl Places {
    /// A place, where there is one for this claimant.
    pub(crate) fn take(&self, whose: Claimant) -> Option<Place> {
        let mut taken = self.taken();
        let is_person = matches!(whose, Claimant::Person(_));
        let theirs = taken.each.get(&whose).copied().unwrap_or(0);
        let is_full = taken.all >= PLACES || theirs >= EACH;
        if is_full || (!is_person && taken.unrecognised >= UNRECOGNISED) {
            return None;
        }
        taken.all += 1;
        taken.unrecognised += usize::from(!is_person);
        taken.each.insert(whose.clone(), theirs + 1);
        drop(taken);
        Some(Place { places: self.clone(), whose })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        let is_person = matches!(self.whose, Claimant::Person(_));
        taken.all = taken.all.saturating_sub(1);
        taken.unrecognised = taken.unrecognised.saturating_sub(usize::from(!is_person));
        match taken.each.get(&self.whose).copied().unwrap_or(0) {
            0 | 1 => taken.each.remove(&self.whose),
            theirs => taken.each.insert(self.whose.clone(), theirs - 1),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(n: u8) -> Claimant {
        Claimant::Network(Some(IpAddr::from([192, 0, 2, n])))
    }

    fn person(id: &str) -> Claimant {
        Claimant::Person(id.parse().unwrap())
    }

    #[test]
    fn those_who_are_recognised_have_places_that_a_flood_can_not_take() {
        let places = Places::default();
        let flood = (0..10_000_u32).filter_map(|n| places.take(network((n % 250) as u8)));
        let flood: Vec<Place> = flood.collect();
        assert_eq!(flood.len(), UNRECOGNISED);
        let alice: Vec<Place> = (0..200).filter_map(|_| places.take(person("alice"))).collect();
        assert_eq!(alice.len(), PLACES - UNRECOGNISED);
        drop((flood, alice));
        let taken = places.taken();
        assert_eq!((taken.all, taken.unrecognised, taken.each.len()), (0, 0, 0));
    }

    #[test]
    fn one_network_or_person_takes_no_more_than_their_share() {
        let places = Places::default();
        let take = |whose: &Claimant| {
            (0..1_000).filter_map(|_| places.take(whose.clone())).collect::<Vec<_>>()
        };
        let held = [take(&network(1)), take(&person("alice"))];
        assert_eq!(held.each_ref().map(Vec::len), [EACH, EACH]);
        assert!(places.take(network(2)).is_some() && places.take(person("bob")).is_some());
    }
}
