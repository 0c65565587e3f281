//! Issuers that can't be reached, so that an outage is reported once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use policies::IssuerName;

/// Issuers that couldn't be asked the last time, so that an outage is reported once.
#[derive(Default)]
pub(crate) struct Outages(Mutex<BTreeSet<IssuerName>>);

impl Outages {
    /// Whether this is news.
    pub(super) fn set(&self, issuer: &IssuerName, out: bool) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if out { known.insert(issuer.clone()) } else { known.remove(issuer) }
    }

    pub(super) fn is_out(&self, issuer: &IssuerName) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(issuer)
    }
}
