//! How much room recordings take: of each session, of each principal, and in all.
//!
//! A recording counts from its first byte: its [`Account`] adds each write to two counters that all
//! threads share. What was there before is counted by reading the folder ([`Ledger::begin_count`] to
//! [`Ledger::end_count`]), at the start and whenever files may have been moved away. Sessions go on
//! meanwhile: a recording that was written during a count is left out of it, since its account knows
//! its size.
//!
//! In memory is one entry for each principal that has recordings, and one for each that is written.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policies::{PrincipalId, SessionId};

/// What the recordings take, and whose they are.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    total: AtomicU64,
    books: Mutex<Books>,
}

#[derive(Debug, Default)]
struct Books {
    entries: HashMap<PrincipalId, Entry>,
    /// Bytes of files that say nothing of whose they are.
    unowned: u64,
    live: HashSet<SessionId>,
    count: Option<Count>,
}

/// What one principal's recordings take.
#[derive(Debug, Default)]
struct Entry {
    /// Finished recordings and live ones.
    used: Arc<AtomicU64>,
    /// The finished ones among them.
    settled: u64,
    live: usize,
}

/// What happened since a count began.
#[derive(Debug)]
struct Count {
    /// Recordings that were written at any time since.
    written: HashSet<SessionId>,
    /// What those of them take that are finished.
    settled: HashMap<PrincipalId, u64>,
}

/// What the files in a folder of recordings take.
#[derive(Debug, Default)]
pub struct SpoolUse {
    /// In bytes, by principal.
    pub by_principal: HashMap<PrincipalId, u64>,
    /// Bytes of files that say nothing of whose they are.
    pub unowned: u64,
}

impl SpoolUse {
    /// All bytes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_principal.values().sum::<u64>() + self.unowned
    }
}

impl Ledger {
    /// What all recordings take.
    pub(super) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// What the recordings of this principal take.
    pub(super) fn used_by(&self, principal: &PrincipalId) -> u64 {
        let books = self.books();
        books.entries.get(principal).map_or(0, |entry| entry.used.load(Ordering::Relaxed))
    }

    /// What the recordings of the principal take who has the most.
    pub(super) fn largest(&self) -> u64 {
        let books = self.books();
        let all = books.entries.values().map(|entry| entry.used.load(Ordering::Relaxed));
        all.max().unwrap_or(0)
    }

    /// The account of a recording, to be opened before its file is made.
    pub(super) fn open(self: &Arc<Self>, principal: &PrincipalId, session: &SessionId) -> Account {
        let mut books = self.books();
        books.live.insert(session.clone());
        if let Some(count) = &mut books.count {
            count.written.insert(session.clone());
        }
        let entry = books.entries.entry(principal.clone()).or_default();
        entry.live += 1;
        let used = Arc::clone(&entry.used);
        drop(books);
        Account {
            ledger: Arc::clone(self),
            principal: principal.clone(),
            session: session.clone(),
            used,
            written: 0,
        }
    }

    /// Begins to count what the folder has.
    pub(super) fn begin_count(&self) {
        let mut books = self.books();
        let written = books.live.clone();
        books.count = Some(Count { written, settled: HashMap::new() });
    }

    /// Whether a count has to leave this recording out: its account knows its size.
    pub(super) fn is_accounted(&self, session: &SessionId) -> bool {
        let books = self.books();
        books.count.as_ref().is_none_or(|count| count.written.contains(session))
    }

    /// Forgets a count that failed.
    pub(super) fn drop_count(&self) {
        self.books().count = None;
    }

    /// Takes over what a count has found.
    pub(super) fn end_count(&self, mut found: SpoolUse) {
        let mut books = self.books();
        let Some(count) = books.count.take() else {
            return;
        };
        for (principal, bytes) in count.settled {
            *found.by_principal.entry(principal).or_default() += bytes;
        }
        for principal in found.by_principal.keys() {
            books.entries.entry(principal.clone()).or_default();
        }
        for (principal, entry) in &mut books.entries {
            let settled = found.by_principal.get(principal).copied().unwrap_or(0);
            self.correct(&entry.used, entry.settled, settled);
            entry.settled = settled;
        }
        books.entries.retain(|_, entry| entry.live > 0 || entry.settled > 0);
        replace(&self.total, books.unowned, found.unowned);
        books.unowned = found.unowned;
    }

    fn correct(&self, used: &AtomicU64, before: u64, after: u64) {
        replace(used, before, after);
        replace(&self.total, before, after);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Replaces one summand of a sum that other threads add to.
fn replace(sum: &AtomicU64, before: u64, after: u64) {
    sum.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
}

/// What one recording takes. Dropped, the recording is finished.
#[derive(Debug)]
pub(in crate::core) struct Account {
    ledger: Arc<Ledger>,
    principal: PrincipalId,
    session: SessionId,
    used: Arc<AtomicU64>,
    written: u64,
}

impl Account {
    /// Counts what was written.
    pub(in crate::core) fn add(&mut self, bytes: u64) {
        self.set(self.written.saturating_add(bytes));
    }

    /// Says how large the file is.
    pub(in crate::core) fn set(&mut self, bytes: u64) {
        self.ledger.correct(&self.used, self.written, bytes);
        self.written = bytes;
    }

    /// What this recording takes.
    pub(in crate::core) fn written(&self) -> u64 {
        self.written
    }

    /// What all recordings of its principal take.
    pub(in crate::core) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut books = self.ledger.books();
        books.live.remove(&self.session);
        if let Some(count) = &mut books.count {
            *count.settled.entry(self.principal.clone()).or_default() += self.written;
        }
        if let Some(entry) = books.entries.get_mut(&self.principal) {
            entry.settled = entry.settled.saturating_add(self.written);
            entry.live = entry.live.saturating_sub(1);
            if entry.live == 0 && entry.settled == 0 {
                books.entries.remove(&self.principal);
            }
        }
    }
}
