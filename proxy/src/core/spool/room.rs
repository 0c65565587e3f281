//! Whether there is room for recordings: quotas, and a reserve of free space.
//!
//! Free space is measured by `statvfs`, when a session begins and once a second, never for a write. A
//! write looks at counters in memory only ([`Room::full`]). Below the reserve no session begins; below
//! half of it, each live one ends with the next thing that it has to record. Where the space can't be
//! measured, no session begins.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use policies::{PrincipalId, Rounded, SessionId};
use rustix::fs::statvfs;

use super::count::count;
use super::full::Full;
use super::ledger::{Account, Ledger};
use crate::core::metrics::Metrics;
use crate::core::settings::{RecordingSettings, Settings};

/// How much room there is, shared by all threads.
#[derive(Debug)]
pub(super) struct Room {
    folder: PathBuf,
    /// The folder of control's state, where it is on this machine.
    state: Option<PathBuf>,
    settings: ArcSwap<RecordingSettings>,
    ledger: Arc<Ledger>,
    bounds: Bounds,
    /// The last thing that was logged about space.
    logged: Mutex<&'static str>,
    /// Whether a session could begin when it was looked at last.
    has_room: Arc<AtomicBool>,
    /// Whether a session was refused by a quota since the last count: files may have gone meanwhile.
    recount: AtomicBool,
    /// One count at a time.
    counting: Mutex<()>,
    metrics: Arc<Metrics>,
}

/// The settings in bytes, and the free space, as they were measured last.
#[derive(Debug)]
struct Bounds {
    session: AtomicU64,
    principal: AtomicU64,
    spool: AtomicU64,
    reserve: AtomicU64,
    free: AtomicU64,
}

impl Default for Bounds {
    /// Nothing is bounded before the first measurement, which also decides whether sessions begin.
    fn default() -> Self {
        let none = || AtomicU64::new(u64::MAX);
        Self {
            session: none(),
            principal: none(),
            spool: none(),
            reserve: AtomicU64::new(0),
            free: none(),
        }
    }
}

/// A file system: its size, and what is free for this process.
#[derive(Debug, Clone, Copy)]
struct Disk {
    whole: u64,
    free: u64,
}

impl Room {
    pub(super) fn new(settings: &Settings, metrics: Arc<Metrics>) -> Self {
        Self {
            folder: settings.recordings.clone(),
            state: settings.state.clone(),
            settings: ArcSwap::from_pointee(settings.recording),
            ledger: Arc::default(),
            bounds: Bounds::default(),
            logged: Mutex::new("ample"),
            has_room: Arc::new(AtomicBool::new(true)),
            recount: AtomicBool::new(false),
            counting: Mutex::default(),
            metrics,
        }
    }

    /// Takes other settings; they hold from the next measurement.
    pub(super) fn set(&self, settings: RecordingSettings) {
        self.settings.store(Arc::new(settings));
    }

    /// Whether a session of this principal may begin.
    pub(super) fn admit(&self, principal: &PrincipalId) -> Result<(), Full> {
        let admitted = self.measure().and_then(|()| self.has_room_for(principal));
        admitted.inspect_err(|full| {
            self.metrics.spool_refused(full.code());
            if matches!(full, Full::Principal { .. } | Full::Spool { .. }) {
                self.recount.store(true, Ordering::Relaxed);
            }
        })
    }

    fn has_room_for(&self, principal: &PrincipalId) -> Result<(), Full> {
        let used = self.ledger.used_by(principal);
        let quota = self.bounds.principal.load(Ordering::Relaxed);
        if used >= quota { Err(Full::Principal { used, quota }) } else { self.has_room() }
    }

    fn has_room(&self) -> Result<(), Full> {
        let (used, quota) = (self.ledger.total(), self.bounds.spool.load(Ordering::Relaxed));
        if used >= quota { Err(Full::Spool { used, quota }) } else { Ok(()) }
    }

    /// Why the session of this account has to end, where it has to.
    pub(super) fn full(&self, account: &Account) -> Option<Full> {
        let of = |bound: &AtomicU64| bound.load(Ordering::Relaxed);
        let quota = of(&self.bounds.session);
        if account.written() >= quota {
            return Some(Full::Session { quota });
        }
        let (used, quota) = (account.used(), of(&self.bounds.principal));
        if used >= quota {
            return Some(Full::Principal { used, quota });
        }
        let (free, reserve) = (of(&self.bounds.free), of(&self.bounds.reserve));
        if free < reserve / 2 {
            return Some(Full::Reserve { free, reserve });
        }
        self.has_room().err()
    }

    /// The account of a session's recording.
    pub(super) fn account(&self, principal: &PrincipalId, session: &SessionId) -> Account {
        self.ledger.open(principal, session)
    }

    /// Measures the free space, and says why no session may begin, where none may.
    pub(super) fn measure(&self) -> Result<(), Full> {
        let settings = self.settings.load();
        let disk = measure(&self.folder)?;
        let (free, reserve) = (disk.free, settings.reserve_of(disk.whole));
        let bounds = &self.bounds;
        for (bound, value) in [
            (&bounds.session, settings.session_quota.of(disk.whole)),
            (&bounds.principal, settings.principal_quota.of(disk.whole)),
            (&bounds.spool, settings.spool_quota.of(disk.whole)),
            (&bounds.reserve, reserve),
            (&bounds.free, free),
        ] {
            bound.store(value, Ordering::Relaxed);
        }
        if free < reserve {
            return Err(Full::Reserve { free, reserve });
        }
        if let Some(state) = &self.state {
            let disk = measure(state)?;
            let (free, reserve) = (disk.free, settings.reserve_of(disk.whole));
            if free < reserve {
                return Err(Full::State { free, reserve });
            }
        }
        Ok(())
    }

    /// Measures, logs what has changed, and sets the metrics.
    pub(super) fn look(&self) {
        let state = self.measure().and_then(|()| self.has_room());
        let bound = |bound: &AtomicU64| bound.load(Ordering::Relaxed);
        let (free, total) = (bound(&self.bounds.free), self.ledger.total());
        self.metrics.spool(&crate::core::metrics::SpoolFigures {
            used: total,
            quota: bound(&self.bounds.spool),
            free,
            reserve: bound(&self.bounds.reserve),
            largest: self.ledger.largest(),
            principal_quota: bound(&self.bounds.principal),
        });
        self.has_room.store(state.is_ok(), Ordering::Relaxed);
        let now = state.map_or_else(|full| full.code(), |()| "ample");
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *logged, now);
        drop(logged);
        match state {
            Err(why) if before != now => {
                tracing::error!(%why, "no session can begin until there is room for its recording");
            }
            Ok(()) if before != now => {
                tracing::info!(free = %Rounded(free), "there is room for recordings again");
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Whether a session could begin when it was looked at last, for those that watch it.
    pub(super) fn watched(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.has_room)
    }

    /// Whether files should be counted again.
    pub(super) fn wants_count(&self) -> bool {
        self.recount.load(Ordering::Relaxed)
    }

    /// Counts what the folder has.
    pub(super) fn count(&self) {
        let _one = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        self.recount.store(false, Ordering::Relaxed);
        self.ledger.begin_count();
        match count(&self.folder, |session| self.ledger.is_accounted(session)) {
            Ok(found) => self.ledger.end_count(found),
            Err(error) => {
                self.ledger.drop_count();
                tracing::error!(%error, "the recordings can't be counted; quotas go by the last count");
            }
        }
    }
}

fn measure(folder: &Path) -> Result<Disk, Full> {
    let measured = statvfs(folder).map_err(Full::Unmeasured)?;
    let bytes = |blocks: u64| blocks.saturating_mul(measured.f_frsize);
    Ok(Disk { whole: bytes(measured.f_blocks), free: bytes(measured.f_bavail) })
}

#[cfg(test)]
mod tests;
