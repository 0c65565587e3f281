//! The relay: bytes between a client and a target, recorded before they go on.
//!
//! One future polls both directions over streams that it owns, so that neither waits for the other,
//! and dropping it loses nothing: what was read is still in its buffers, and whatever cuts it knows
//! whether the client stands between two messages and can be sent the reason. Each direction stops reading
//! while the other side doesn't take what it has: that is the back-pressure.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use audit::{Event, Kind};
use bytes::BytesMut;
use policies::End;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep, sleep, timeout};

use super::backend::Backend;
use super::buffer::Buffer;
use super::copies::{Copies, Keep};
use super::flight::Flight;
use super::frontend::Frontend;
use super::stream::{SINK, Stream};
use super::wire::{Fatal, WireError, put_notice};
use crate::core::recorder::Recorder;
use crate::core::session::{Session, Tally};
use crate::core::spool;

/// After so long, outcomes are written and idle memory is given back.
const QUIET: Duration = Duration::from_secs(1);
/// How long a client may take to read why it was cut.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// A session's bytes and what is known of them.
#[derive(Debug)]
pub(super) struct Relay {
    client: Stream,
    upstream: Stream,
    up: Buffer,
    down: Buffer,
    frontend: Frontend,
    backend: Backend,
    flight: Flight,
    recorder: Recorder,
    /// The target takes no more; what it still says is passed on.
    upstream_deaf: bool,
    /// Which sides stand in the middle of a message, by what was let through to them.
    inside: Inside,
    /// What is to be sent to the client between two messages.
    news: BytesMut,
    unflushed: Unflushed,
    quiet: Quiet,
}

/// Where something was written that may still stand in a TLS layer.
#[derive(Debug, Default)]
struct Unflushed {
    client: bool,
    upstream: bool,
}

/// Which sides stand in the middle of a message.
#[derive(Debug, Default)]
struct Inside {
    client: bool,
    upstream: bool,
}

/// A timer that runs only after traffic, and at most once a second.
#[derive(Debug)]
struct Quiet {
    timer: Pin<Box<Sleep>>,
    armed: bool,
    traffic: bool,
}

/// Why a relay stopped by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// The lease is over; the guard knows why.
    LeaseOver,
    /// A side left, or something broke.
    End(End),
}

/// What is left of a target's side after the relay.
#[derive(Debug)]
pub(super) struct Remains {
    pub(super) upstream: Stream,
    /// Whether it stands between two messages, and can be sent a last message.
    pub(super) clean: bool,
    /// Whether it has questions to answer.
    pub(super) busy: bool,
    pub(super) recorder: Recorder,
    pub(super) tally: Tally,
}

impl Relay {
    /// A relay that begins with what is still to be sent to the client.
    pub(super) fn new(
        client: Stream,
        hello: &[u8],
        upstream: Stream,
        recorder: Recorder,
        keep: Keep,
    ) -> Self {
        Self {
            client,
            upstream,
            up: Buffer::default(),
            down: Buffer::with(hello),
            frontend: Frontend::new(keep),
            backend: Backend::default(),
            flight: Flight::new(Copies::new(keep)),
            recorder,
            upstream_deaf: false,
            inside: Inside::default(),
            news: BytesMut::new(),
            unflushed: Unflushed::default(),
            quiet: Quiet { timer: Box::pin(sleep(QUIET)), armed: false, traffic: false },
        }
    }

    /// Runs until a side leaves or something breaks. Cancel-safe.
    pub(super) async fn run(&mut self, session: &Session) -> Stop {
        std::future::poll_fn(|cx| match self.pump(cx, session) {
            Ok(()) => Poll::Pending,
            Err(stop) => Poll::Ready(stop),
        })
        .await
    }

    /// Sends a notice to the client as soon as it stands between two messages.
    pub(super) fn notify(&mut self, text: &str) {
        put_notice(&mut self.news, text);
    }

    /// Moves what can be moved now, by turns: the time of one task is bounded, and neither direction may take all of it.
    fn pump(&mut self, cx: &mut Context<'_>, session: &Session) -> Result<(), Stop> {
        let (mut up, mut down) = (true, true);
        while up || down {
            let waited = self.flight.is_waited_for();
            up = up && self.step_up(cx, session)?;
            down = down && self.step_down(cx)?;
            // What the target has answered makes room for more.
            up |= waited && !self.flight.is_waited_for();
        }
        self.rest(cx, session)
    }

    /// One step from the client to the target. Whether there may be another one now.
    fn step_up(&mut self, cx: &mut Context<'_>, session: &Session) -> Result<bool, Stop> {
        if self.upstream_deaf {
            return Ok(false);
        }
        if self.up.has_cleared() {
            self.quiet.traffic = true;
            match self.up.poll_write(cx, &mut self.upstream) {
                Poll::Ready(Ok(())) => self.unflushed.upstream = true,
                // It may have sent the reason before it closed: the other direction finds out.
                Poll::Ready(Err(_)) => self.upstream_deaf = true,
                Poll::Pending => return Ok(false),
            }
            return Ok(true);
        }
        if self.scan_up(session)? {
            return Ok(true);
        }
        if self.flight.is_waited_for() {
            self.flush_upstream(cx);
            return Ok(false);
        }
        match self.up.poll_read(cx, &mut self.client) {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.quiet.traffic = true;
                Ok(true)
            }
            Poll::Ready(_) => Err(Stop::End(End::Closed)),
            Poll::Pending => {
                self.flush_upstream(cx);
                Ok(false)
            }
        }
    }

    /// Records what has come, and clears it while the lease is live. Whether anything was cleared.
    fn scan_up(&mut self, session: &Session) -> Result<bool, Stop> {
        if self.up.held().is_empty() {
            return Ok(false);
        }
        let (now, t) = (Instant::now(), self.recorder.elapsed());
        let Self { recorder, flight, frontend, up, .. } = self;
        let mut emit = |kind: Kind<'_>| recorder.push(&Event { t, kind }).map_err(WireError::Io);
        let scanned = frontend.scan(up.held(), flight, now, &mut emit).map_err(broken)?;
        if scanned.clear > 0 {
            self.recorder.flush().map_err(|error| broken(error.into()))?;
            if !session.is_live() {
                return Err(Stop::LeaseOver);
            }
        }
        self.up.release(scanned);
        self.inside.upstream = !self.frontend.at_boundary();
        Ok(scanned.clear > 0)
    }

    /// One step from the target to the client. Whether there may be another one now.
    fn step_down(&mut self, cx: &mut Context<'_>) -> Result<bool, Stop> {
        if !self.inside.client && !self.news.is_empty() {
            self.down.interject(&self.news.split());
        }
        if self.down.has_cleared() {
            self.quiet.traffic = true;
            match self.down.poll_write(cx, &mut self.client) {
                Poll::Ready(Ok(())) => self.unflushed.client = true,
                Poll::Ready(Err(_)) => return Err(Stop::End(End::Closed)),
                Poll::Pending => return Ok(false),
            }
        }
        match self.down.poll_read(cx, &mut self.upstream) {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.scan_down()?;
                Ok(true)
            }
            Poll::Ready(_) => Err(Stop::End(self.upstream_left())),
            Poll::Pending => {
                self.flush_client(cx);
                Ok(false)
            }
        }
    }

    /// Notes the outcomes in what has come. They are written with the next statement, or when it is
    /// quiet: they report, they don't permit.
    fn scan_down(&mut self) -> Result<(), Stop> {
        let (now, t) = (Instant::now(), self.recorder.elapsed());
        let Self { recorder, flight, backend, down, .. } = self;
        let mut emit = |kind: Kind<'_>| recorder.push(&Event { t, kind }).map_err(WireError::Io);
        let scanned = backend.scan(down.held(), flight, now, &mut emit).map_err(broken)?;
        self.down.release(scanned);
        self.inside.client = !self.backend.at_boundary();
        Ok(())
    }

    fn upstream_left(&self) -> End {
        if self.frontend.said_goodbye { End::Closed } else { End::UpstreamLost }
    }

    fn flush_upstream(&mut self, cx: &mut Context<'_>) {
        poll_flush(&mut self.unflushed.upstream, &mut self.upstream, cx);
    }

    fn flush_client(&mut self, cx: &mut Context<'_>) {
        poll_flush(&mut self.unflushed.client, &mut self.client, cx);
    }

    /// Some time after traffic: writes outcomes, counts bytes, and gives memory back.
    fn rest(&mut self, cx: &mut Context<'_>, session: &Session) -> Result<(), Stop> {
        if self.quiet.traffic && !self.quiet.armed {
            self.quiet.timer.as_mut().reset(Instant::now() + QUIET);
            (self.quiet.armed, self.quiet.traffic) = (true, false);
        }
        if self.quiet.armed && self.quiet.timer.as_mut().poll(cx).is_ready() {
            self.quiet.armed = false;
            self.recorder.flush().map_err(|error| broken(error.into()))?;
            let (up, down) = (self.up.newly_passed(), self.down.newly_passed());
            session.passed(up, down);
            self.up.rest();
            self.down.rest();
            self.flight.rest();
            if self.quiet.traffic || self.up.is_large() || self.down.is_large() {
                self.quiet.traffic = true;
                return self.rest(cx, session);
            }
        }
        Ok(())
    }

    /// Parts the two sides: nothing new passes from here on.
    pub(super) fn part(mut self) -> (Leave, Remains) {
        self.down.discard_held();
        let t = self.recorder.elapsed();
        let mut emit =
            |kind: Kind<'_>| self.recorder.push(&Event { t, kind }).map_err(WireError::Io);
        // A recorder that fails here fails again when the recording is finished.
        let _ = self.flight.finish(&mut emit);
        let clean = !self.up.has_cleared() && !self.inside.upstream && !self.upstream_deaf;
        let tally = Tally {
            bytes_in: self.up.passed,
            bytes_out: self.down.passed,
            statements: self.flight.sent(),
            head: None,
        };
        let busy = !self.flight.is_empty();
        let can_read = !self.inside.client && !self.backend.sent_fatal;
        let leave = Leave { client: self.client, down: self.down, can_read };
        (leave, Remains { upstream: self.upstream, clean, busy, recorder: self.recorder, tally })
    }
}

/// What is left of a client's side after the relay.
#[derive(Debug)]
pub(super) struct Leave {
    client: Stream,
    down: Buffer,
    can_read: bool,
}

impl Leave {
    /// Sends the client the reason, where it stands between two messages. A client that doesn't read it
    /// is cut all the same.
    pub(super) async fn take(mut self, fatal: Option<Fatal>) {
        let fatal = fatal.filter(|_| self.can_read);
        let _ = timeout(READ_TIMEOUT, self.send(fatal)).await;
    }

    async fn send(&mut self, fatal: Option<Fatal>) -> std::io::Result<()> {
        let Self { down, client, .. } = self;
        std::future::poll_fn(|cx| down.poll_write(cx, client)).await?;
        let mut out = BytesMut::new();
        if let Some(fatal) = fatal {
            fatal.put(&mut out);
        }
        client.write_all(&out).await?;
        client.shutdown().await?;
        // A reset would overtake the message: what the client is still sending is read and dropped.
        let mut sink = vec![0; SINK];
        while client.read(&mut sink).await? > 0 {}
        Ok(())
    }
}

/// What a scanner's error means for the session.
fn broken(error: WireError) -> Stop {
    match error {
        WireError::Io(error) => {
            tracing::error!(%error, "the recording failed");
            Stop::End(spool::end_of(&error))
        }
        wire @ (WireError::Length { .. } | WireError::Kind(_) | WireError::Body(_)) => {
            Stop::End(End::Protocol(wire.to_string()))
        }
    }
}

/// Flushes where something was written; an error shows at the next read or write.
fn poll_flush(unflushed: &mut bool, stream: &mut Stream, cx: &mut Context<'_>) {
    if *unflushed {
        *unflushed = Pin::new(stream).poll_flush(cx).is_pending();
    }
}
