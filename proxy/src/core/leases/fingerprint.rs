//! Fingerprints of keys, so that a look-up among a million leases waits for few places of memory.
//!
//! A fingerprint is SHA-256 under a secret of this process, cut to 128 bits. It stands for its key:
//! nothing else is compared. To be taken for another client, an attacker had to find two keys of one
//! fingerprint, without the secret and without ever seeing a fingerprint; by chance, a million leases
//! and a million keys collide once in 10^26 tables.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};

use policies::{Database, LeaseKey};
use sha2::digest::consts::U16;
use sha2::{Digest, Sha256};

/// Ends a name: no UTF-8 text has this byte, so that no two keys are written alike.
const END: [u8; 1] = [0xff];

/// What stands for a key, in this process.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(u128);

/// Takes fingerprints.
pub(super) struct Fingerprints {
    /// Has read the secret, which is one whole block.
    secret: Sha256,
}

impl Fingerprints {
    /// With a secret of their own.
    pub(super) fn new() -> Self {
        let mut secret = [0; 64];
        rand::fill(&mut secret[..]);
        Self { secret: Sha256::new_with_prefix(secret) }
    }

    pub(super) fn of(&self, key: &LeaseKey) -> Fingerprint {
        let resource = &key.resource;
        let database = resource.database.as_ref().map(Database::as_str);
        let mut hash = self.secret.clone();
        for name in [key.principal.as_str(), resource.target.as_str(), resource.login.as_str()]
            .into_iter()
            .chain(database)
        {
            hash.update(name);
            hash.update(END);
        }
        let (half, _) = hash.finalize().split::<U16>();
        Fingerprint(u128::from_le_bytes(half.into()))
    }
}

// Neither the secret nor what it makes may be printed.
impl fmt::Debug for Fingerprints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fingerprints").finish_non_exhaustive()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

/// Places a fingerprint in a map by its own bits, which are random already.
pub(super) type Placed = BuildHasherDefault<Place>;

/// The bits of one fingerprint.
#[derive(Debug, Default)]
pub(super) struct Place(u64);

impl Hasher for Place {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, bits: u128) {
        self.0 = bits as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::key;

    #[test]
    fn keys_that_differ_have_fingerprints_that_differ() {
        let names = ["a", "b", "ab", "aa", "alice", "bob"];
        let prints = Fingerprints::new();
        let mut seen = Vec::new();
        for who in names {
            for what in ["a@a", "a@b", "b@a", "a@a/a", "a@ab", "ab@a/a", "aa@a", "a@aa", "a@a/aa"] {
                seen.push(prints.of(&key(who, what)));
            }
        }
        for (at, print) in seen.iter().enumerate() {
            assert!(seen.iter().skip(at + 1).all(|other| other != print));
        }
    }

    #[test]
    fn a_key_keeps_its_fingerprint_within_a_table_and_in_no_other() {
        let (prints, others) = (Fingerprints::new(), Fingerprints::new());
        let alice = || key("alice", "app@orders/shop");
        assert_eq!(prints.of(&alice()), prints.of(&alice()));
        assert_ne!(prints.of(&alice()), others.of(&alice()));
    }
}
