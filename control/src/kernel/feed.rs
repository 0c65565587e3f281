//! What proxies receive: a mirror of the leases, locks and targets, and the events that change it.
//!
//! The mirror is changed and the event sent under one lock, and a snapshot is taken together with
//! its subscription under the same lock: there is neither a gap nor an overlap between them.
//!
//! How long proxies may go on without more news is counted from the last time that the store was
//! written for sure. While it can't be written, events still go out, and renew nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ::link::v1;
use policies::{End, GrantId, Lease, Lock, LockId, Target, Timestamp, Ttl};
use tokio::sync::{broadcast, watch};

use crate::platform::clock;

/// How many events a proxy may lag behind before it gets a new snapshot.
const BACKLOG: usize = 1_024;
/// For how long a snapshot tells why a lease is gone.
pub(crate) const REMEMBERED: Ttl = Ttl::from_secs(600);
/// How many such it tells at most.
pub(crate) const REMEMBERED_AT_MOST: usize = 10_000;

/// The feed.
pub(crate) struct Feed {
    mirror: Mutex<Mirror>,
    events: broadcast::Sender<Arc<v1::FeedEvent>>,
    public_url: String,
    fresh: Ttl,
    /// How often the store went back in time by the operator's word, and one.
    epoch: u64,
    /// When a write to the store began that succeeded.
    renewed: watch::Sender<Instant>,
}

/// What proxies hold, if they heard everything.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    pub(crate) revision: u64,
    pub(crate) leases: BTreeMap<GrantId, Lease>,
    pub(crate) locks: BTreeMap<LockId, Lock>,
    pub(crate) targets: Vec<Target>,
    pub(crate) gone: VecDeque<(Timestamp, GrantId, End)>,
    /// Cuts that the store doesn't have yet, sealed.
    pub(crate) unsettled: Vec<Vec<u8>>,
}

/// What one change has to tell.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) leases: Vec<Lease>,
    pub(crate) gone: Vec<(GrantId, End)>,
    pub(crate) locks: Vec<Lock>,
    pub(crate) unlocked: Vec<LockId>,
    /// All targets, where they changed; this goes out as a snapshot.
    pub(crate) targets: Option<Vec<Target>>,
    /// Cuts that the store doesn't have yet, sealed.
    pub(crate) unsettled: Vec<Vec<u8>>,
    /// The store has all cuts that it didn't have.
    pub(crate) settled: bool,
}

impl News {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { leases, gone, locks, unlocked, targets, unsettled, settled } = self;
        leases.is_empty()
            && gone.is_empty()
            && locks.is_empty()
            && unlocked.is_empty()
            && targets.is_none()
            && unsettled.is_empty()
            && !settled
    }

    fn delta(self) -> v1::Delta {
        v1::Delta {
            leases: self.leases.into_iter().map(Into::into).collect(),
            gone: gone(&self.gone),
            locks: self.locks.into_iter().map(Into::into).collect(),
            unlocked: self.unlocked.into_iter().map(Into::into).collect(),
            unsettled: self.unsettled,
            settled: self.settled,
        }
    }
}

fn gone<'a>(all: impl IntoIterator<Item = &'a (GrantId, End)>) -> Vec<v1::Gone> {
    let all = all.into_iter();
    all.map(|(grant, end)| v1::Gone::new(grant, end)).collect()
}

impl Mirror {
    fn take(&mut self, news: &News, at: Timestamp) {
        for lease in &news.leases {
            self.leases.insert(lease.grant.clone(), lease.clone());
        }
        for (grant, end) in &news.gone {
            self.leases.remove(grant);
            self.gone.push_back((at, grant.clone(), end.clone()));
        }
        for lock in &news.locks {
            self.locks.insert(lock.id.clone(), lock.clone());
        }
        for id in &news.unlocked {
            self.locks.remove(id);
        }
        if let Some(targets) = &news.targets {
            self.targets.clone_from(targets);
        }
        if news.settled {
            self.unsettled.clear();
        }
        self.unsettled.extend_from_slice(&news.unsettled);
        let excess = self.gone.len().saturating_sub(REMEMBERED_AT_MOST);
        self.gone.drain(..excess);
    }

    fn snapshot(&self, public_url: &str) -> v1::Snapshot {
        let gone = self.gone.iter();
        v1::Snapshot {
            leases: self.leases.values().cloned().map(Into::into).collect(),
            locks: self.locks.values().cloned().map(Into::into).collect(),
            targets: self.targets.iter().cloned().map(Into::into).collect(),
            public_url: public_url.to_owned(),
            gone: gone.map(|(_, grant, end)| v1::Gone::new(grant, end)).collect(),
            unsettled: self.unsettled.clone(),
        }
    }
}

impl Feed {
    pub(crate) fn new(mirror: Mirror, public_url: &str, fresh: Ttl, epoch: u64) -> Self {
        let (events, _) = broadcast::channel(BACKLOG);
        let renewed = watch::Sender::new(clock::instant());
        let (mirror, public_url) = (Mutex::new(mirror), public_url.to_owned());
        Self { mirror, events, public_url, fresh, epoch, renewed }
    }

    /// Tells what was committed under this revision. The caller holds the turn to write.
    pub(crate) fn publish(&self, news: News, revision: u64, at: Timestamp) {
        let mut mirror = self.mirror();
        mirror.take(&news, at);
        mirror.revision = revision;
        let change = if news.targets.is_some() {
            v1::feed_event::Event::Snapshot(mirror.snapshot(&self.public_url))
        } else {
            v1::feed_event::Event::Delta(news.delta())
        };
        // An error only says that nobody listens.
        let _ = self.events.send(Arc::new(self.event(revision, change)));
    }

    /// All there is, and what comes after it.
    pub(crate) fn subscribe(&self) -> (v1::FeedEvent, broadcast::Receiver<Arc<v1::FeedEvent>>) {
        let mirror = self.mirror();
        let snapshot = v1::feed_event::Event::Snapshot(mirror.snapshot(&self.public_url));
        (self.event(mirror.revision, snapshot), self.events.subscribe())
    }

    /// A sign of life to one who has heard everything up to `revision`.
    pub(crate) fn heartbeat(&self, revision: u64) -> v1::FeedEvent {
        self.event(revision, v1::feed_event::Event::Heartbeat(v1::Heartbeat {}))
    }

    fn event(&self, revision: u64, event: v1::feed_event::Event) -> v1::FeedEvent {
        let passed = clock::instant().saturating_duration_since(*self.renewed.borrow());
        let left = self.fresh.duration().saturating_sub(passed);
        v1::FeedEvent {
            revision,
            fresh_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            silence_ms: self.fresh.millis().cast_unsigned(),
            event: Some(event),
            epoch: self.epoch,
        }
    }

    /// From here on proxies may go on: the store was written by a write that began then.
    pub(crate) fn renew(&self, began: Instant) {
        self.renewed.send_if_modified(|renewed| {
            *renewed = began.max(*renewed);
            // A beat tells it in time, unless it comes back after it was away.
            false
        });
    }

    /// Tells everybody who follows at once that the store can be written again.
    pub(crate) fn revive(&self, began: Instant) {
        self.renewed.send_replace(began);
    }

    /// Tells when the store can be written again.
    pub(crate) fn revived(&self) -> watch::Receiver<Instant> {
        self.renewed.subscribe()
    }

    /// How often the store has to be written, so that nobody loses what they hold.
    pub(crate) fn renewal(&self) -> Ttl {
        Ttl::from_millis((self.fresh.millis().cast_unsigned() / 6).max(1))
    }

    /// How often a proxy has to hear something.
    pub(crate) fn beat(&self) -> Ttl {
        Ttl::from_millis((self.fresh.millis().cast_unsigned() / 3).max(1))
    }

    pub(crate) fn revision(&self) -> u64 {
        self.mirror().revision
    }

    pub(crate) fn live(&self) -> usize {
        self.mirror().leases.len()
    }

    /// Why access is locked, where one of the locks that hold now matches.
    pub(crate) fn locked(&self, matches: impl Fn(&Lock) -> bool) -> Option<String> {
        let mirror = self.mirror();
        let found = mirror.locks.values().find(|lock| matches(lock));
        found.map(|lock| lock.reason.clone())
    }

    pub(crate) fn locks(&self) -> Vec<Lock> {
        self.mirror().locks.values().cloned().collect()
    }

    /// Forgets why leases ended that ended before this.
    pub(crate) fn forget(&self, before: Timestamp) {
        self.mirror().gone.retain(|(at, _, _)| *at >= before);
    }

    fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
