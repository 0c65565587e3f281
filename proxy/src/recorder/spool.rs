//! The folder of recordings, and the thread that makes finished ones durable.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use policies::SessionId;

use crate::clock::Clock;
use crate::metrics::Metrics;

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
    settling: Mutex<Option<(SyncSender<File>, JoinHandle<()>)>>,
}

impl Spool {
    /// Opens the folder, which is made where it isn't there, for nobody else to read.
    pub(crate) fn open(
        folder: &Path,
        proxy: &str,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let (waiting, finished) = sync_channel::<File>(WAITING);
        let counted = Arc::clone(&metrics);
        let names = File::open(folder)?;
        let thread = std::thread::Builder::new().name("postern-settle".to_owned());
        let thread = thread.spawn(move || make_durable(&finished, &names, &counted))?;
        Ok(Self(Arc::new(Inner {
            folder: folder.to_owned(),
            proxy: proxy.to_owned(),
            clock,
            metrics,
            settling: Mutex::new(Some((waiting, thread))),
        })))
    }

    /// A new file for this session.
    pub(super) fn create(&self, session: &SessionId) -> io::Result<File> {
        let path = self.0.folder.join(format!("{session}.rec"));
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path);
        file.inspect_err(|_| self.0.metrics.recorder_failures.inc())
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
    use tempfile::TempDir;

    use super::*;

    /// A spool whose disk hangs: nobody takes from its queue.
    fn hung(folder: &Path) -> (Spool, Receiver<File>) {
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let (waiting, stuck) = sync_channel(2);
        let settling = Mutex::new(Some((waiting, std::thread::spawn(|| ()))));
        let (folder, proxy, clock) = (folder.to_owned(), String::new(), Clock::system());
        (Spool(Arc::new(Inner { folder, proxy, clock, metrics, settling })), stuck)
    }

    #[test]
    fn a_disk_that_hangs_holds_up_nobody_who_finishes() {
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
