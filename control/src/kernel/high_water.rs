//! The high-water mark: what is known, outside of the database, of how far the store has come.
//!
//! A database from a backup is whole and consistent, and brings back what was revoked since. So a file
//! beside it keeps which event of the audit log was the newest, and what must not come back: locks,
//! removed keys, and certificates that may still be in somebody's hands. A store that lacks what the file
//! knows has gone back in time.
//!
//! The file is written after the commit that it tells of, never before. So a kill at any moment leaves it
//! behind the store and never ahead of it. An act that takes access away is in the file before it is
//! answered; everything else follows with the next sweep. Each line is one fact, added at the end; now and
//! then the whole file is replaced by what still counts.

mod file;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use file::MarkFile;
use policies::Timestamp;

use crate::model::audit_kind::AuditKind;
use crate::model::high_water::{
    Fact, HIGH_WATER_FILE, HighWaterError, Known, Rollback, StorePoint,
};

pub(crate) use file::read;

/// Compares a store with what is known of it. `digest` is that of the store's event at the known point.
pub(crate) fn compare(
    store: &StorePoint,
    marked: bool,
    known: Option<&Known>,
    digest: Option<&str>,
) -> Result<(), Rollback> {
    let Some(known) = known else {
        return if marked { Err(Rollback::Missing) } else { Ok(()) };
    };
    let point = &known.point;
    if point.store != store.store {
        return Err(Rollback::Foreign);
    }
    if store.epoch < point.epoch {
        return Err(Rollback::Epoch { found: store.epoch, known: point.epoch });
    }
    // An older store was accepted, and the process was killed before the file had it.
    if store.epoch > point.epoch {
        return Ok(());
    }
    if let Some(made_at) = known.restored {
        return Err(Rollback::Restored { made_at });
    }
    if store.event < point.event {
        return Err(Rollback::Older { found: store.event, known: point.event, at: known.at });
    }
    if point.event > 0 && digest != Some(point.digest.as_str()) {
        return Err(Rollback::Diverged { event: point.event, at: known.at });
    }
    Ok(())
}

/// Writes the high-water mark of a store that was restored from a backup. The first start then wants to hear
/// that what happened after `made_at` is lost; without it, nothing happened since.
///
/// # Errors
/// Where the file can't be written.
pub fn begin_high_water(
    folder: &Path,
    point: StorePoint,
    made_at: Timestamp,
    is_complete: bool,
) -> Result<(), certs::store::StoreError> {
    let mut known = Known::new(point, made_at);
    known.restored = (!is_complete).then_some(made_at);
    MarkFile::default().replace(&folder.join(HIGH_WATER_FILE), &known)
}

/// The mark of a store that is open. Copies share it.
#[derive(Clone)]
pub(crate) struct HighWater(Arc<Shared>);

struct Shared {
    path: PathBuf,
    /// Held while the file is written. It is locked before `memory`.
    file: Mutex<MarkFile>,
    memory: Mutex<Memory>,
}

struct Memory {
    known: Known,
    /// What is not in the file yet.
    unsaved: Vec<Fact>,
    moved: bool,
    /// Whether the last try to write failed, which is logged once.
    failing: bool,
}

impl HighWater {
    /// Holds what is known. The file is replaced as a whole at the first [`HighWater::save`].
    pub(crate) fn new(path: PathBuf, known: Known) -> Self {
        let memory = Memory { known, unsaved: Vec::new(), moved: true, failing: false };
        let (file, memory) = (Mutex::new(MarkFile::default()), Mutex::new(memory));
        Self(Arc::new(Shared { path, file, memory }))
    }

    /// Takes in what was committed. It is in the file after the next [`HighWater::save`].
    pub(crate) fn note(&self, facts: Vec<Fact>, newest: Option<(i64, String)>, at: Timestamp) {
        let mut memory = lock(&self.0.memory);
        for fact in &facts {
            memory.known.apply(fact.clone());
        }
        memory.unsaved.extend(facts);
        if let Some((event, digest)) = newest {
            memory.known.point.event = event;
            memory.known.point.digest = digest;
            memory.known.at = at;
            memory.moved = true;
        }
    }

    /// Writes what is not in the file yet, durably. This blocks.
    ///
    /// # Errors
    /// Where it can't be written. The next time, the whole file is.
    pub(crate) fn save(&self) -> Result<(), HighWaterError> {
        let mut file = lock(&self.0.file);
        let mut memory = lock(&self.0.memory);
        if !memory.moved && memory.unsaved.is_empty() {
            return Ok(());
        }
        memory.moved = false;
        let mut facts = std::mem::take(&mut memory.unsaved);
        facts.push(memory.known.position());
        let whole = file.wants_replacing().then(|| memory.known.clone());
        drop(memory);
        let written = match whole {
            Some(known) => file.replace(&self.0.path, &known).map_err(HighWaterError::from),
            None => file.add(&facts).map_err(HighWaterError::Write),
        };
        if written.is_err() {
            lock(&self.0.memory).moved = true;
        }
        written
    }

    /// The same, on a thread that may block. A failure is logged: the act that it is about is done.
    pub(crate) async fn save_in_background(&self) {
        let own = self.clone();
        let saved = tokio::task::spawn_blocking(move || own.save()).await;
        let failed = match saved {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => return,
        };
        let before = std::mem::replace(&mut lock(&self.0.memory).failing, failed.is_some());
        match failed {
            Some(error) if !before => tracing::error!(
                error = &error as &dyn std::error::Error,
                "the high-water mark can't be written: until it can, an older store is noticed less surely"
            ),
            Some(_) => {}
            None if before => tracing::info!("the high-water mark is written again"),
            None => {}
        }
    }

    /// Forgets what can't matter any more.
    pub(crate) fn forget(&self, now: Timestamp) {
        lock(&self.0.memory).known.forget(now);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an event only reports or gives. Losing one of these in a rollback brings nothing back, so the
/// high-water mark follows with the next sweep; every other kind is in it before the act is answered.
#[expect(clippy::too_many_lines, reason = "one line for each kind of event")]
pub(crate) fn may_wait(kind: AuditKind) -> bool {
    match kind {
        AuditKind::BearerRedeemed
        | AuditKind::ClockJumped
        | AuditKind::CodeRefused
        | AuditKind::ConnectionDenied
        | AuditKind::GrantEnding
        | AuditKind::GrantExtended
        | AuditKind::GrantGiven
        | AuditKind::GrantOpened
        | AuditKind::GrantUsed
        | AuditKind::LinkRefused
        | AuditKind::LoginRefused
        | AuditKind::LoginSignedIn
        | AuditKind::NotificationDead
        | AuditKind::PasskeyAdded
        | AuditKind::PasskeyRefused
        | AuditKind::PlaceLearned
        | AuditKind::RecordingRead
        | AuditKind::RequestApproved
        | AuditKind::RequestAsked
        | AuditKind::RequestEdited
        | AuditKind::RequestEscalated
        | AuditKind::RequestGranted
        | AuditKind::RequestProved
        | AuditKind::RequestThrottled
        | AuditKind::RequestTurn
        | AuditKind::SessionEnded
        | AuditKind::SessionOpened
        | AuditKind::SessionProved
        | AuditKind::StepUpAsked
        | AuditKind::StepUpGiven
        | AuditKind::StepUpRefused
        | AuditKind::StepUpWanted
        | AuditKind::TokenMinted
        | AuditKind::TokenRedeemed
        | AuditKind::TokenRefused
        | AuditKind::WorkloadRefused => true,
        AuditKind::BreakGlassUsed
        | AuditKind::CertificateIssued
        | AuditKind::ChannelOff
        | AuditKind::ChannelOn
        | AuditKind::ControlOpened
        | AuditKind::DeviceConfirmed
        | AuditKind::DeviceDenied
        | AuditKind::DeviceSignedIn
        | AuditKind::GrantEnded
        | AuditKind::HoldConfirmed
        | AuditKind::InventoryTaken
        | AuditKind::InviteMade
        | AuditKind::IssuerAvailable
        | AuditKind::IssuerUnavailable
        | AuditKind::LockLifted
        | AuditKind::LockSet
        | AuditKind::LoginEnded
        | AuditKind::LoginProven
        | AuditKind::LoginRotated
        | AuditKind::LogoutByIssuer
        | AuditKind::LogoutRefused
        | AuditKind::NotificationAgain
        | AuditKind::PasskeyRemoved
        | AuditKind::PasskeyRenamed
        | AuditKind::PersonChanged
        | AuditKind::PersonLapsed
        | AuditKind::PersonLearned
        | AuditKind::PersonRefused
        | AuditKind::RecordingBroken
        | AuditKind::RecoveryAsked
        | AuditKind::RecoveryDone
        | AuditKind::RefusalsLeftOut
        | AuditKind::RequestDenied
        | AuditKind::RequestLapsed
        | AuditKind::RequestWithdrawn
        | AuditKind::ReviewDue
        | AuditKind::ReviewOpened
        | AuditKind::ReviewSigned
        | AuditKind::RosterLearned
        | AuditKind::RosterSilent
        | AuditKind::RulesReconsidered
        | AuditKind::SessionReconciled
        | AuditKind::SshKeyAdded
        | AuditKind::SshKeyConfirmed
        | AuditKind::SshKeyRefused
        | AuditKind::SshKeyRemoved
        | AuditKind::StoreRolledBack
        | AuditKind::StoreWritable
        | AuditKind::TicketLearned
        | AuditKind::TicketReported
        | AuditKind::TicketsSilent
        | AuditKind::TokenRevoked
        | AuditKind::TotpAdded
        | AuditKind::TotpRefused
        | AuditKind::TotpRemoved
        | AuditKind::WorkloadExchanged => false,
    }
}

#[cfg(test)]
mod tests;
