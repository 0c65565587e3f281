//! One lease as the connections that it let in see it.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use policies::{End, Lease, Term, Timestamp, Ttl};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

/// The value of `ends` once the lease has ended: before every now.
const ENDED: i64 = i64::MIN;

/// A lease, live until its term is over or it is ended.
#[derive(Debug)]
// In this order: all that an admission reads lies beside the counts of its `Arc`, since among a
// million leases each place of memory is waited for.
#[repr(C)]
pub struct Held {
    /// By when it is over, in milliseconds.
    ends: AtomicI64,
    /// Whether its clock has started.
    claimed: AtomicBool,
    lease: Lease,
    /// Writers take turns; readers don't.
    writing: Mutex<()>,
    over: OnceLock<Over>,
    changed: Notify,
}

/// How a lease ended, and when this proxy heard of it.
#[derive(Debug)]
pub(crate) struct Over {
    pub(crate) end: End,
    pub(crate) at: Instant,
}

impl Held {
    pub(super) fn new(lease: Lease) -> Self {
        Self {
            ends: AtomicI64::new(lease.term.deadline().millis()),
            claimed: AtomicBool::new(matches!(lease.term, Term::Until(_))),
            writing: Mutex::new(()),
            over: OnceLock::new(),
            changed: Notify::new(),
            lease,
        }
    }

    /// The lease, with the term that it had at first.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Whether it is live: one atomic load.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now.millis() < self.ends.load(Ordering::Acquire)
    }

    /// Its present term; a term in the distant past once it has ended.
    #[must_use]
    pub fn term(&self) -> Term {
        let ends = Timestamp::from_millis(self.ends.load(Ordering::Acquire));
        if self.is_claimed() {
            return Term::Until(ends);
        }
        match self.lease.term {
            Term::Claim { ttl, .. } => Term::Claim { by: ends, ttl },
            Term::Until(_) => Term::Until(ends),
        }
    }

    /// Whether its clock has started.
    #[must_use]
    pub fn is_claimed(&self) -> bool {
        self.claimed.load(Ordering::Acquire)
    }

    /// For how long it lasts from now, or would from its first use.
    #[must_use]
    pub fn ttl(&self, now: Timestamp) -> Ttl {
        match self.term() {
            Term::Claim { ttl, .. } => ttl,
            Term::Until(ends) => now.until(ends),
        }
    }

    /// How it ended, where it was ended.
    pub(crate) fn over(&self) -> Option<&Over> {
        self.over.get()
    }

    /// Resolves when the term changes or the lease is ended.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// Starts its clock, as control's answer to the first use says; a later word of the feed stays.
    pub(crate) fn begin(&self, ends: Timestamp) {
        let turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_claimed() {
            self.set(ends);
            self.claimed.store(true, Ordering::Release);
        }
        drop(turn);
        self.changed.notify_waiters();
    }

    /// Takes the feed's word for its term. A clock that has started doesn't stop again.
    pub(super) fn renew(&self, term: Term) {
        let turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        match term {
            Term::Claim { .. } if self.is_claimed() => {}
            Term::Claim { by, .. } => self.set(by),
            Term::Until(ends) => {
                self.set(ends);
                self.claimed.store(true, Ordering::Release);
            }
        }
        drop(turn);
        self.changed.notify_waiters();
    }

    /// Ends it, once and for all.
    pub(super) fn end(&self, end: End, at: Instant) {
        let turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self.over.set(Over { end, at });
        self.ends.store(ENDED, Ordering::Release);
        drop(turn);
        self.changed.notify_waiters();
    }

    /// Called with the turn taken. What has ended stays so.
    fn set(&self, ends: Timestamp) {
        if self.over.get().is_none() {
            self.ends.store(ends.millis(), Ordering::Release);
        }
    }
}
