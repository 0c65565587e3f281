//! The recording of one session, written on the session's own thread.
//!
//! A write into the page cache takes a few microseconds, less than handing the bytes over to another
//! thread and waiting for its answer; and a byte may go upstream only after it was written. What is
//! written survives a kill of the process. It is made durable once, when the session ends, and that
//! by a thread of its own, since a disk takes milliseconds. After one failed write everything fails:
//! nothing passes unrecorded.
//!
//! Where a quota is reached or space runs out (`spool/room.rs`), what was to be written still is, as far as it
//! can be, and the flush fails all the same: what it describes doesn't pass. The end of the session then
//! stands in the recording.
//!
//! On a disk that hangs, writes go on into the page cache until the kernel holds as much as it allows,
//! and then they block: the sessions of that worker stand still, and nothing of theirs passes, recorded
//! or not, until the disk answers. What finishes meanwhile waits for that one thread; beyond its queue
//! it is left to the kernel, and counted.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};

use audit::{Event, Head, Kind, Start, Writer};
use policies::End;
use tokio::time::Instant;

use crate::core::session::{Session, Tally};
use crate::core::spool::{Account, Full, Spool, end_of};

/// What is written without being asked for, so that a long message can't fill the memory.
const MOST_PENDING: usize = 256 * 1024;

/// A recording that is being written.
#[derive(Debug)]
pub(crate) struct Recorder {
    spool: Spool,
    file: Option<File>,
    account: Account,
    writer: Writer,
    started: Instant,
    state: State,
}

/// What can still be recorded.
#[derive(Debug, Clone, Copy)]
enum State {
    Good,
    /// The end alone.
    Full(Full),
    Failed,
}

impl Recorder {
    /// Begins the recording of a session, with its first event written.
    pub(in crate::core) fn create(spool: &Spool, session: &Session) -> io::Result<Self> {
        let account = spool.account(&session.identity().principal, session.id());
        let file = spool.create(session.id())?;
        let mut recorder = Self {
            spool: spool.clone(),
            file: Some(file),
            account,
            writer: Writer::new(session.id().as_str()),
            started: spool.clock().instant(),
            state: State::Good,
        };
        let first = Event { t: 0, kind: Kind::Start(Box::new(start(spool, session))) };
        let begun = recorder.append(&first).and_then(|()| recorder.write());
        begun.inspect_err(|_| spool.remove(session.id()))?;
        Ok(recorder)
    }

    /// The same for a session that is about to be served; otherwise it ends like this.
    pub(crate) fn begin(spool: &Spool, session: &Session) -> Result<Self, End> {
        Self::create(spool, session).map_err(|error| {
            tracing::error!(%error, "the recording can't begin");
            end_of(&error)
        })
    }

    /// Microseconds since the session started: the `t` of an event.
    pub(crate) fn elapsed(&self) -> u64 {
        let elapsed = self.spool.clock().instant().saturating_duration_since(self.started);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
    }

    /// Adds an event. It stands in the recording only after [`Recorder::flush`].
    pub(crate) fn push(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.check()?;
        self.append(event)?;
        if self.writer.pending() > MOST_PENDING { self.flush() } else { Ok(()) }
    }

    /// Writes what was added. Where there is no more room, it fails after that.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        if self.writer.is_empty() {
            return Ok(());
        }
        self.write()?;
        match self.spool.full(&self.account) {
            Some(full) => {
                self.spool.metrics().spool_ended(full.code());
                self.state = State::Full(full);
                Err(full.into())
            }
            None => Ok(()),
        }
    }

    fn append(&mut self, event: &Event<'_>) -> io::Result<()> {
        let added = self.writer.push(event);
        added.map_err(|error| self.fail(io::Error::new(io::ErrorKind::InvalidData, error)))
    }

    fn write(&mut self) -> io::Result<()> {
        if self.writer.is_empty() {
            return Ok(());
        }
        let bytes = self.writer.seal();
        let lag = &self.spool.metrics().recorder_lag;
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        lag.add(size);
        let written = self.file.as_mut().map_or_else(gone, |file| file.write_all(bytes));
        lag.sub(size);
        if let Err(error) = written {
            return Err(self.fail(error));
        }
        self.account.add(u64::try_from(size).unwrap_or(0));
        self.writer.clear();
        Ok(())
    }

    /// Writes the end, leaves the file to be made durable, and returns what stands for all of it.
    pub(in crate::core) fn finish(mut self, end: &End, tally: &Tally) -> io::Result<Head> {
        let event = audit::End {
            end: end.code().into(),
            reason: end.detail().unwrap_or_default().into(),
            bytes_in: tally.bytes_in,
            bytes_out: tally.bytes_out,
            at: self.spool.clock().now().to_string().into(),
        };
        if matches!(self.state, State::Failed) {
            self.check()?;
        }
        self.append(&Event { t: self.elapsed(), kind: Kind::End(event) })?;
        self.write()?;
        let file = self.file.take().map_or_else(gone, Ok)?;
        self.spool.settle(file);
        Ok(self.writer.head())
    }

    /// Writes the end, and ends the session with what stands for the whole recording.
    pub(crate) fn close(self, session: Session, end: &End, mut tally: Tally) {
        let head = self.finish(end, &tally);
        tally.head =
            head.inspect_err(|error| tracing::error!(%error, "the recording has no end")).ok();
        session.close(end, &tally);
    }

    fn check(&self) -> io::Result<()> {
        match self.state {
            State::Good => Ok(()),
            State::Full(full) => Err(full.into()),
            State::Failed => Err(io::Error::other("the recording failed before")),
        }
    }

    /// Takes back what was written in part. Where only space was missing, the end may still fit.
    fn fail(&mut self, error: io::Error) -> io::Error {
        self.spool.metrics().recorder_failures.inc();
        let whole = self.account.written();
        let file = self.file.as_ref();
        let cut = file.is_some_and(|file| file.set_len(whole).is_ok());
        if let Some(metadata) = file.and_then(|file| file.metadata().ok()) {
            self.account.set(metadata.len());
        }
        self.state = match Full::of(&error) {
            Some(full) if cut => {
                if matches!(self.state, State::Good) {
                    self.spool.metrics().spool_ended(full.code());
                }
                self.writer.rewind();
                State::Full(full)
            }
            Some(_) | None => State::Failed,
        };
        error
    }
}

impl Drop for Recorder {
    /// A session that was torn down still leaves all that it added.
    fn drop(&mut self) {
        if self.file.is_some() && matches!(self.state, State::Good) {
            // No caller is left for the error, and the failure is counted.
            let _ = self.write();
        }
    }
}

fn gone<T>() -> io::Result<T> {
    Err(io::Error::other("the recording is finished"))
}

fn start<'a>(spool: &'a Spool, session: &'a Session) -> Start<'a> {
    let (identity, key) = (session.identity(), session.key());
    let database = key.resource.database.as_ref().map_or("", |name| name.as_str());
    Start {
        session: session.id().as_str().into(),
        principal: identity.principal.as_str().into(),
        name: Cow::Borrowed(&identity.name),
        authn: identity.authn.method.to_string().into(),
        authn_at: identity.authn.at.to_string().into(),
        grant: session.pass().grant().as_str().into(),
        target: key.resource.target.as_str().into(),
        kind: session.kind().word().into(),
        login: key.resource.login.as_str().into(),
        database: database.into(),
        client: session.client().to_string().into(),
        application: session.application().into(),
        at: session.started().to_string().into(),
        proxy: spool.proxy().into(),
    }
}

#[cfg(test)]
#[path = "recorder/tests.rs"]
mod tests;
