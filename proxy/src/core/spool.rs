//! The folder of recordings: its files, the thread that makes finished ones durable, and its [`Room`].

mod count;
mod full;
mod keeper;
mod ledger;
mod room;

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use policies::{PrincipalId, SessionId};

use crate::core::clock::Clock;
use crate::core::metrics::Metrics;
use crate::core::settings::{RecordingSettings, Settings};

use keeper::Keeper;
use room::Room;

pub use count::spool_use;
pub(crate) use full::{Full, end_of};
pub(super) use ledger::Account;
pub use ledger::SpoolUse;

/// How many finished recordings may wait; one more is left to the kernel to make durable.
const WAITING: usize = 1_024;

/// Where recordings are written. A copy is the same place.
#[derive(Debug, Clone)]
pub(crate) struct Spool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    proxy: String,
    clock: Clock,
    metrics: Arc<Metrics>,
    room: Arc<Room>,
    keeper: Keeper,
    settling: Mutex<Option<(SyncSender<File>, JoinHandle<()>)>>,
}

impl Spool {
    /// Opens the folder, which is made where it isn't there, for no other user to read. What is in it is
    /// counted in the background: [`Spool::counted`] waits for that.
    pub(crate) fn open(
        settings: &Settings,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let folder = &settings.recordings;
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let (waiting, finished) = sync_channel::<File>(WAITING);
        let counted = Arc::clone(&metrics);
        let names = File::open(folder)?;
        let thread = std::thread::Builder::new().name("postern-settle".to_owned());
        let thread = thread.spawn(move || make_durable(&finished, &names, &counted))?;
        let room = Arc::new(Room::new(settings, Arc::clone(&metrics)));
        let keeper = Keeper::start(Arc::clone(&room), clock.clone())?;
        Ok(Self(Arc::new(Inner {
            folder: folder.clone(),
            proxy: settings.name.clone(),
            clock,
            metrics,
            room,
            keeper,
            settling: Mutex::new(Some((waiting, thread))),
        })))
    }

    /// Waits until what was there at the start is counted.
    pub(crate) async fn counted(&self) {
        self.0.keeper.counted().await;
    }

    /// Takes other settings, and has the files counted again.
    pub(crate) fn set(&self, settings: RecordingSettings) {
        self.0.room.set(settings);
        self.0.keeper.count();
    }

    /// Whether a session of this principal may begin, as far as there is room to record it.
    pub(crate) fn admit(&self, principal: &PrincipalId) -> Result<(), Full> {
        self.0.room.admit(principal)
    }

    /// Whether a session could begin when it was looked at last, for those that watch it.
    pub(crate) fn has_room(&self) -> Arc<AtomicBool> {
        self.0.room.watched()
    }

    /// The account of a session's recording.
    pub(super) fn account(&self, principal: &PrincipalId, session: &SessionId) -> Account {
        self.0.room.account(principal, session)
    }

    /// Why the session of this account has to end, where it has to.
    pub(super) fn full(&self, account: &Account) -> Option<Full> {
        self.0.room.full(account)
    }

    /// A new file for this session.
    pub(super) fn create(&self, session: &SessionId) -> io::Result<File> {
        let path = self.path(session);
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
        file.inspect_err(|_| self.0.metrics.recorder_failures.inc())
    }

    /// Removes the file of a session that never began.
    pub(super) fn remove(&self, session: &SessionId) {
        if let Err(error) = std::fs::remove_file(self.path(session)) {
            tracing::warn!(%session, %error, "an empty recording can't be removed");
        }
    }

    fn path(&self, session: &SessionId) -> PathBuf {
        self.0.folder.join(format!("{session}.rec"))
    }

    /// Has a finished file made durable, by the thread for that and never here: a disk that hangs
    /// must not hold up the other sessions of this thread. Where too many wait, or the spool is
    /// closed, the kernel writes the file out in its own time.
    pub(super) fn settle(&self, file: File) {
        let settling = self.0.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let handed_over =
            settling.as_ref().is_some_and(|(waiting, _)| waiting.try_send(file).is_ok());
        drop(settling);
        if !handed_over {
            tracing::warn!("a finished recording is left to the kernel to make durable");
            self.0.metrics.recorder_unsettled.inc();
        }
    }

    /// Waits until all finished recordings are durable. What is finished after that is not waited for.
    pub(crate) fn close(&self) {
        let settling = self.0.settling.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((waiting, thread)) = settling {
            drop(waiting);
            // It can't panic, and there would be nothing left to do.
            let _ = thread.join();
        }
    }

    #[cfg(test)]
    fn room(&self) -> &Room {
        &self.0.room
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(super) fn proxy(&self) -> &str {
        &self.0.proxy
    }
}

/// Makes finished recordings durable, until there will be no more.
fn make_durable(finished: &Receiver<File>, names: &File, metrics: &Metrics) {
    for file in finished {
        if let Err(error) = file.sync_all().and_then(|()| names.sync_all()) {
            tracing::error!(%error, "a recording could not be made durable");
            metrics.recorder_failures.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::core::settings::LimitSettings;
    use crate::core::testing::settings;

    /// A spool whose disk hangs: nothing is taken from its queue.
    fn hung(folder: &Path) -> (Spool, Receiver<File>) {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let (waiting, stuck) = sync_channel(2);
        let settling = Mutex::new(Some((waiting, std::thread::spawn(|| ()))));
        let settings = settings(folder.to_owned(), LimitSettings::default());
        let room = Arc::new(Room::new(&settings, Arc::clone(&metrics)));
        let clock = Clock::system();
        let keeper = Keeper::start(Arc::clone(&room), clock.clone()).unwrap();
        let (folder, proxy) = (folder.to_owned(), String::new());
        let inner = Inner { folder, proxy, clock, metrics, room, keeper, settling };
        (Spool(Arc::new(inner)), stuck)
    }

    #[test]
    fn a_disk_that_hangs_holds_up_no_session_that_finishes() {
        let folder = TempDir::new().unwrap();
        let (spool, stuck) = hung(folder.path());
        for number in 0..5 {
            let session = format!("se-{number}").parse().unwrap();
            spool.settle(spool.create(&session).unwrap());
        }
        assert_eq!(spool.metrics().recorder_unsettled.get(), 3);
        assert_eq!(stuck.try_iter().count(), 2);
    }
}
