//! The folder of recordings, and the thread that makes finished ones durable.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use policies::SessionId;

use crate::clock::Clock;
use crate::metrics::Metrics;

/// How many finished recordings may wait; one more is made durable where it ends.
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
        let thread = thread.spawn(move || {
            for file in finished {
                if let Err(error) = file.sync_all().and_then(|()| names.sync_all()) {
                    tracing::error!(%error, "a recording could not be made durable");
                    counted.recorder_failures.inc();
                }
            }
        })?;
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

    /// Has a finished file made durable.
    pub(super) fn settle(&self, file: File) -> io::Result<()> {
        let settling = self.0.settling.lock().unwrap_or_else(PoisonError::into_inner);
        let handed_over = match settling.as_ref() {
            Some((waiting, _)) => waiting.try_send(file),
            None => Err(TrySendError::Disconnected(file)),
        };
        drop(settling);
        match handed_over {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(file) | TrySendError::Disconnected(file)) => file.sync_all(),
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
