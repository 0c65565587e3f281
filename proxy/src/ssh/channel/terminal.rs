//! What is kept of a terminal: all that the target shows and, where the rules want it, what is typed.

use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};

use audit::Value;
use audit::ssh::{Echo, Ssh as Happening};
use bytes::Bytes;

use super::{Broken, Line};

impl Line<'_> {
    /// What was typed, as far as it is decided what may be kept of it.
    pub(super) fn input(
        &self,
        step: impl FnOnce(&mut Echo) -> Vec<Value<'static>>,
    ) -> Result<(), Broken> {
        let decided = self.typed().as_mut().map(step).unwrap_or_default();
        let ch = self.ch;
        self.hub.record_all(decided.into_iter().map(|data| Happening::Input { ch, data }))
    }

    pub(super) fn typed(&self) -> MutexGuard<'_, Option<Echo>> {
        self.typed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the target wrote: kept where it is a terminal's, and counted.
    pub(super) fn output(&self, data: &Bytes, stderr: bool) -> Result<(), Broken> {
        let (ch, count) = (self.ch, data.len() as u64);
        if self.terminal.load(Ordering::Relaxed) {
            self.input(|typed| typed.wrote(data))?;
            let shown = (&data[..]).into();
            self.hub.record(if stderr {
                Happening::Stderr { ch, data: shown }
            } else {
                Happening::Output { ch, data: shown }
            })?;
        }
        self.bytes.1.fetch_add(count, Ordering::Relaxed);
        self.hub.passed(0, count);
        Ok(())
    }
}
