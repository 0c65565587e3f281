//! What this proxy knows of grants, locks and targets, and the hot path that admits from it.
//!
//! The feed is the only writer. A snapshot replaces everything (absence is revocation), a delta
//! follows on the revision before it, and after a gap a new snapshot is wanted. Readers take no lock
//! but that of one shard of the map, and allocate nothing. What a connection keeps of a lease is
//! [`Held`], which says with one atomic load whether it is still live.
//!
//! How fresh all this is, is measured in monotonic time from the receipt of the last news: a wall
//! clock that is set neither cuts a session off nor stretches what is fresh. Time for which the machine
//! was suspended doesn't count: the feed has what happened meanwhile.

mod fingerprint;
mod held;
mod leased;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::{DashMap, Entry};
use policies::{
    Admission, AdmissionQuery, Denial, End, GrantId, Lease, Lock, LockId, Resource, Target,
    TargetName, Timestamp, Ttl,
};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::core::clock::Clock;

use fingerprint::{Fingerprint, Fingerprints, Placed};
pub use held::Held;
use leased::Leased;

/// Many shards, so that none is large: one that grows is rehashed while its readers wait.
const SHARDS: usize = 256;
/// The most that one piece of news is fresh; also keeps instants from overflowing.
const LONGEST_FRESH: Duration = Duration::from_secs(24 * 3600);
/// Later than every now.
const FAR: Timestamp = Timestamp::from_millis(i64::MAX);

/// Everything that control knows for this proxy.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// All live leases.
    pub leases: Vec<Lease>,
    /// All locks.
    pub locks: Vec<Lock>,
    /// All targets.
    pub targets: Vec<Target>,
    /// Where people reach control.
    pub public_url: String,
    /// Why recent leases are no longer there.
    pub gone: Vec<(GrantId, End)>,
}

/// What changed since the revision before.
#[derive(Debug, Clone, Default)]
pub struct Delta {
    /// New or changed leases.
    pub leases: Vec<Lease>,
    /// Leases that ended, and how.
    pub gone: Vec<(GrantId, End)>,
    /// New locks.
    pub locks: Vec<Lock>,
    /// Locks that were lifted.
    pub unlocked: Vec<LockId>,
}

/// Why news can't be applied.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LeaseError {
    /// Something in between was missed.
    #[error("the feed went from revision {from} to {to}")]
    Gap {
        /// What was applied last.
        from: u64,
        /// What came.
        to: u64,
    },
    /// Nothing can change before there is anything.
    #[error("the feed did not begin with a snapshot")]
    NoSnapshot,
    /// Control knows less than it did before.
    #[error(
        "control went back in time: it is at revision {revision} of epoch {epoch}, and was at \
         revision {known_revision} of epoch {known_epoch}. An older copy of its store runs: put the newer one \
         back, or start control once with `--accept-rollback`"
    )]
    WentBack {
        /// The epoch that control says.
        epoch: u64,
        /// The revision of its snapshot, or of other news.
        revision: u64,
        /// The newest epoch that was heard of.
        known_epoch: u64,
        /// The newest revision of it.
        known_revision: u64,
    },
}

/// The lease by which a connection is let in, with the proof of it.
#[derive(Debug, Clone)]
pub struct Pass {
    /// The proof.
    pub admission: Admission,
    /// The lease, to be watched.
    pub held: Arc<Held>,
}

/// The leases of one proxy.
#[derive(Debug)]
pub struct Leases {
    clock: Clock,
    by_key: DashMap<Fingerprint, Leased, Placed>,
    fingerprints: Fingerprints,
    locks: ArcSwap<Locks>,
    directory: ArcSwap<Directory>,
    began: Instant,
    /// In nanoseconds since it began; 0 before there is any news.
    fresh_until: AtomicU64,
    revision: watch::Sender<Option<u64>>,
    /// The epoch of control's store; 0 before there is any news.
    epoch: AtomicU64,
    /// The newest revision of that epoch that control's store had for sure.
    durable: AtomicU64,
    /// Something changed that any session may have to look at: locks, or the time.
    alarm: watch::Sender<()>,
    book: Mutex<Book>,
}

/// The same leases by grant; the holder of the lock is the writer.
#[derive(Debug, Default)]
struct Book {
    held: HashMap<GrantId, Arc<Held>>,
    /// The resources that leases are for. Leases share their names: there are few of them, and many
    /// leases.
    resources: HashSet<Resource>,
}

#[derive(Debug)]
struct Locks {
    list: Vec<Lock>,
    /// When the list became so.
    since: Instant,
}

#[derive(Debug)]
struct Directory {
    targets: HashMap<TargetName, Arc<Target>>,
    public_url: Arc<str>,
}

impl Book {
    fn share_names(&mut self, lease: &mut Lease) {
        match self.resources.get(&lease.key.resource) {
            Some(known) => lease.key.resource = known.clone(),
            None => drop(self.resources.insert(lease.key.resource.clone())),
        }
    }
}

impl Pass {
    /// The grant that lets it in.
    #[must_use]
    pub fn grant(&self) -> &GrantId {
        &self.held.lease().grant
    }
}

impl Leases {
    /// An empty table, which admits no client before its first snapshot.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let locks = Locks { list: Vec::new(), since: clock.instant() };
        let directory = Directory { targets: HashMap::new(), public_url: "".into() };
        Self {
            began: clock.instant(),
            clock,
            by_key: DashMap::with_hasher_and_shard_amount(Placed::new(), SHARDS),
            fingerprints: Fingerprints::new(),
            locks: ArcSwap::from_pointee(locks),
            directory: ArcSwap::from_pointee(directory),
            fresh_until: AtomicU64::new(0),
            revision: watch::Sender::new(None),
            epoch: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            alarm: watch::Sender::new(()),
            book: Mutex::new(Book::default()),
        }
    }

    /// Decides on one connection.
    ///
    /// # Errors
    /// Whatever keeps it out.
    pub fn admit(&self, query: &AdmissionQuery<'_>) -> Result<Pass, Denial> {
        let (now, instant) = self.clock.reading();
        let found = self.by_key.get(&self.fingerprints.of(query.key));
        let held = found.map(|leased| leased.best(now));
        let locks = self.locks.load();
        let term = held.as_ref().map(|held| held.term());
        let fresh_until = if instant < self.fresh_until() { FAR } else { now };
        let admission = policies::admit(query, term, &locks.list, fresh_until, now)?;
        let held = held.ok_or(Denial::NoGrant)?;
        Ok(Pass { admission, held })
    }

    /// The target of this name.
    #[must_use]
    pub fn target(&self, name: &TargetName) -> Option<Arc<Target>> {
        self.directory.load().targets.get(name).cloned()
    }

    /// Where people reach control, without a slash at the end.
    #[must_use]
    pub fn public_url(&self) -> Arc<str> {
        Arc::clone(&self.directory.load().public_url)
    }

    /// Until when connections are admitted without further news.
    #[must_use]
    pub fn fresh_until(&self) -> Instant {
        self.began + Duration::from_nanos(self.fresh_until.load(Ordering::Acquire))
    }

    /// Whether connections are admitted as things stand.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.clock.instant() < self.fresh_until()
    }

    /// The revision that was applied last; none before the first snapshot.
    #[must_use]
    pub fn revision(&self) -> Option<u64> {
        *self.revision.borrow()
    }

    /// Waits until this revision was applied; false where the deadline comes first.
    pub async fn reached(&self, revision: u64, deadline: Instant) -> bool {
        let mut applied = self.revision.subscribe();
        let reached = applied.wait_for(|at| at.is_some_and(|at| at >= revision));
        matches!(timeout_at(deadline, reached).await, Ok(Ok(_)))
    }

    /// Waits for the first snapshot.
    pub async fn synced(&self) {
        let mut applied = self.revision.subscribe();
        // INVARIANT: the sender is ours, so that waiting can't fail.
        let _ = applied.wait_for(Option::is_some).await;
    }

    /// The lock that blocks this connection, and since when.
    pub(crate) fn lock_on(
        &self,
        query: &AdmissionQuery<'_>,
        now: Timestamp,
    ) -> Option<(End, Instant)> {
        let locks = self.locks.load();
        let lock = locks.list.iter().find(|lock| lock.blocks(query, now))?;
        Some((End::Locked(lock.reason.clone()), locks.since))
    }

    /// Announces what any session may have to look at.
    pub(crate) fn alarm(&self) -> watch::Receiver<()> {
        self.alarm.subscribe()
    }

    /// Makes every session look again, after the time jumped.
    pub(crate) fn wake_all(&self) {
        self.alarm.send_replace(());
    }

    /// Looks at which epoch news is of, before it is applied. Within an epoch, no snapshot is older than what
    /// control's store had before. What the store didn't have yet doesn't count: control may lose it in a
    /// restart. Only a snapshot begins another epoch.
    ///
    /// # Errors
    /// Where control knows less than it did before: then its news must not be applied.
    pub(crate) fn check_epoch(
        &self,
        epoch: u64,
        revision: u64,
        is_snapshot: bool,
    ) -> Result<(), LeaseError> {
        let known_epoch = self.epoch.load(Ordering::Acquire);
        let known_revision = self.durable.load(Ordering::Acquire);
        let older = epoch == known_epoch && is_snapshot && revision < known_revision;
        if epoch < known_epoch || older {
            return Err(LeaseError::WentBack { epoch, revision, known_epoch, known_revision });
        }
        if epoch > known_epoch && !is_snapshot {
            return Err(LeaseError::NoSnapshot);
        }
        Ok(())
    }

    /// News of this epoch was applied; `is_durable` where control's store has all of it.
    pub(crate) fn entered_epoch(&self, epoch: u64, revision: u64, is_durable: bool) {
        let is_new = self.epoch.swap(epoch, Ordering::AcqRel) != epoch;
        if is_durable {
            self.durable.store(revision, Ordering::Release);
        } else if is_new {
            self.durable.store(0, Ordering::Release);
        }
    }

    /// Replaces everything. What the snapshot leaves out has ended.
    pub fn apply_snapshot(&self, revision: u64, fresh: Ttl, snapshot: Snapshot) {
        let received = self.clock.instant();
        self.set_directory(snapshot.targets, snapshot.public_url);
        self.set_locks(snapshot.locks);
        let mut book = self.write();
        let before = std::mem::take(&mut *book).held;
        for lease in snapshot.leases {
            // What stays keeps its identity, so that live sessions stay bound to it.
            if let Some(held) = before.get(&lease.grant) {
                book.held.insert(lease.grant.clone(), Arc::clone(held));
            }
            self.put(&mut book, lease);
        }
        let mut why: HashMap<GrantId, End> = snapshot.gone.into_iter().collect();
        for (grant, held) in before {
            if !book.held.contains_key(&grant) {
                let end = why.remove(&grant).unwrap_or_else(|| self.unexplained(&held));
                self.end(&held, end);
            }
        }
        drop(book);
        self.applied(revision, received, fresh);
    }

    /// Applies what changed. What was applied before is ignored.
    ///
    /// # Errors
    /// Where something in between was missed: a snapshot is wanted.
    pub fn apply_delta(&self, revision: u64, fresh: Ttl, delta: Delta) -> Result<(), LeaseError> {
        let from = self.revision().ok_or(LeaseError::NoSnapshot)?;
        if revision <= from {
            return Ok(());
        }
        if revision != from.saturating_add(1) {
            return Err(LeaseError::Gap { from, to: revision });
        }
        let received = self.clock.instant();
        self.change_locks(delta.locks, &delta.unlocked);
        let mut book = self.write();
        for lease in delta.leases {
            self.put(&mut book, lease);
        }
        // One change may make a lease last longer and end it: what has ended doesn't come back.
        for (grant, end) in delta.gone {
            if let Some(held) = book.held.remove(&grant) {
                self.end(&held, end);
            }
        }
        drop(book);
        self.applied(revision, received, fresh);
        Ok(())
    }

    /// Hears that nothing changed.
    ///
    /// # Errors
    /// Where something was missed: a snapshot is wanted.
    pub fn apply_heartbeat(&self, revision: u64, fresh: Ttl) -> Result<(), LeaseError> {
        let from = self.revision().ok_or(LeaseError::NoSnapshot)?;
        if revision != from {
            return Err(LeaseError::Gap { from, to: revision });
        }
        self.applied(revision, self.clock.instant(), fresh);
        Ok(())
    }

    fn write(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a lease, or its new term.
    fn put(&self, book: &mut Book, mut lease: Lease) {
        if let Some(held) = book.held.get(&lease.grant) {
            if held.lease().key == lease.key {
                held.renew(lease.term);
                return;
            }
            self.end(held, End::Revoked("the grant was replaced".to_owned()));
        }
        book.share_names(&mut lease);
        let (grant, key) = (lease.grant.clone(), self.fingerprints.of(&lease.key));
        let held = Arc::new(Held::new(lease));
        book.held.insert(grant, Arc::clone(&held));
        match self.by_key.entry(key) {
            Entry::Occupied(mut entry) => entry.get_mut().add(held),
            Entry::Vacant(entry) => {
                entry.insert(Leased::new(held));
            }
        }
    }

    /// Ends a lease and takes it out of the map.
    fn end(&self, held: &Arc<Held>, end: End) {
        held.end(end, self.clock.instant());
        if let Entry::Occupied(mut entry) =
            self.by_key.entry(self.fingerprints.of(&held.lease().key))
            && entry.get_mut().leave(held)
        {
            entry.remove();
        }
    }

    fn unexplained(&self, held: &Held) -> End {
        if held.is_live(self.clock.now()) {
            End::Revoked("no longer granted".to_owned())
        } else {
            End::Expired
        }
    }

    fn applied(&self, revision: u64, received: Instant, fresh: Ttl) {
        let fresh = fresh.duration().min(LONGEST_FRESH);
        let until = received.saturating_duration_since(self.began).saturating_add(fresh);
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.fresh_until.store(until, Ordering::Release);
        self.revision.send_replace(Some(revision));
    }

    fn set_directory(&self, targets: Vec<Target>, public_url: String) {
        let targets = targets.into_iter().map(|target| (target.name.clone(), Arc::new(target)));
        let directory = Directory { targets: targets.collect(), public_url: public_url.into() };
        self.directory.store(Arc::new(directory));
    }

    fn change_locks(&self, new: Vec<Lock>, lifted: &[LockId]) {
        if new.is_empty() && lifted.is_empty() {
            return;
        }
        let mut list = self.locks.load().list.clone();
        list.retain(|lock| !lifted.contains(&lock.id) && new.iter().all(|new| new.id != lock.id));
        list.extend(new);
        self.set_locks(list);
    }

    fn set_locks(&self, list: Vec<Lock>) {
        if self.locks.load().list != list {
            self.locks.store(Arc::new(Locks { list, since: self.clock.instant() }));
            self.wake_all();
        }
    }
}

#[cfg(test)]
#[path = "leases/tests.rs"]
mod tests;
