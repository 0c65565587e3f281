//! Following the feed of control: one stream, applied in order, opened again whenever it breaks.
//!
//! A stream that is silent for longer than its news is fresh counts as broken: the other side may
//! be gone without a word. While there is no stream the leases' freshness lapses by itself.

use std::sync::Arc;
use std::time::Duration;

use link::{Malformed, v1};
use policies::{End, GrantId, Lease, Ttl};
use thiserror::Error;
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::core::leases::{Delta, LeaseError, Leases, Snapshot};
use crate::core::metrics::Metrics;

/// The client of the link.
pub(crate) type LinkClient = v1::link_client::LinkClient<Channel>;

/// A snapshot of a million leases fits.
const MAX_MESSAGE: usize = 512 * 1024 * 1024;
/// How long the first event may take.
const FIRST_EVENT: Duration = Duration::from_secs(10);
/// The shortest silence that counts as a broken stream.
const MIN_SILENCE: Duration = Duration::from_millis(200);

/// A client of the link over this channel.
pub(crate) fn client(channel: Channel) -> LinkClient {
    LinkClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

/// The most that is kept of what control can't write yet, in bytes.
const UNSETTLED_MAX: usize = 1 << 20;

/// Why a stream ended.
#[derive(Debug, Error)]
enum FeedError {
    #[error("control is out of reach")]
    Link(#[from] tonic::Status),
    #[error(transparent)]
    Order(#[from] LeaseError),
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("control fell silent")]
    Silent,
    #[error("control ended the stream")]
    Ended,
}

/// Applies the feed, for ever.
pub(crate) struct Follower {
    pub(crate) proxy: String,
    pub(crate) link: LinkClient,
    pub(crate) leases: Arc<Leases>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Follower {
    /// Follows. Never returns; to be dropped.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::default();
        let mut unsettled = Unsettled::default();
        loop {
            let error = match self.follow(&mut backoff, &mut unsettled).await {
                Ok(()) => FeedError::Ended,
                Err(error) => error,
            };
            match &error {
                FeedError::Order(LeaseError::WentBack { .. }) => tracing::error!(
                    error = %chain(&error), "control is refused, and nobody new is admitted"
                ),
                FeedError::Link(_)
                | FeedError::Order(LeaseError::Gap { .. } | LeaseError::NoSnapshot)
                | FeedError::Malformed(_)
                | FeedError::Silent
                | FeedError::Ended => {
                    tracing::warn!(error = %chain(&error), "the feed broke off");
                }
            }
            backoff.wait().await;
        }
    }

    async fn follow(
        &self,
        backoff: &mut Backoff,
        unsettled: &mut Unsettled,
    ) -> Result<(), FeedError> {
        let subscribing = timeout(FIRST_EVENT, self.subscribe(unsettled));
        let mut stream = subscribing.await.map_err(|_| FeedError::Silent)??;
        let mut silence = FIRST_EVENT;
        let mut applied = 0_u64;
        loop {
            let event =
                timeout(silence, stream.message()).await.map_err(|_| FeedError::Silent)??;
            let Some(event) = event else { return Ok(()) };
            let fresh = Ttl::from_millis(event.fresh_ms);
            let longest = if event.silence_ms == 0 { event.fresh_ms } else { event.silence_ms };
            silence = Duration::from_millis(longest).max(MIN_SILENCE);
            let is_snapshot = matches!(event.event, Some(v1::feed_event::Event::Snapshot(_)));
            self.leases.check_epoch(event.epoch, event.revision, is_snapshot)?;
            unsettled.hear(event.event.as_ref());
            self.apply(event.revision, fresh, event.event)?;
            self.leases.entered_epoch(event.epoch, event.revision, unsettled.0.is_empty());
            applied += 1;
            // A stream that breaks after its snapshot each time must not be opened in a hurry.
            if applied > 1 {
                backoff.reset();
            }
        }
    }

    async fn subscribe(
        &self,
        unsettled: &Unsettled,
    ) -> Result<Streaming<v1::FeedEvent>, tonic::Status> {
        let request = v1::FeedRequest { proxy: self.proxy.clone(), unsettled: unsettled.0.clone() };
        Ok(self.link.clone().feed(request).await?.into_inner())
    }

    fn apply(
        &self,
        revision: u64,
        fresh: Ttl,
        event: Option<v1::feed_event::Event>,
    ) -> Result<(), FeedError> {
        use v1::feed_event::Event;
        match event {
            Some(Event::Snapshot(wire)) => {
                self.leases.apply_snapshot(revision, fresh, snapshot(wire)?);
            }
            Some(Event::Delta(wire)) => self.leases.apply_delta(revision, fresh, delta(wire)?)?,
            Some(Event::Heartbeat(_)) => self.leases.apply_heartbeat(revision, fresh)?,
            // An event of a newer control: a snapshot may have it in a form that is known here.
            None => return Err(FeedError::Ended),
        }
        self.metrics.feed_revision.set(revision.cast_signed());
        Ok(())
    }
}

/// What control decided and could not write yet, sealed by it. This proxy gives it back to a control
/// that may have lost it.
#[derive(Debug, Default)]
struct Unsettled(Vec<Vec<u8>>);

impl Unsettled {
    fn hear(&mut self, event: Option<&v1::feed_event::Event>) {
        use v1::feed_event::Event;
        let more = match event {
            Some(Event::Snapshot(snapshot)) => {
                self.0.clear();
                &snapshot.unsettled
            }
            Some(Event::Delta(delta)) => {
                if delta.settled {
                    self.0.clear();
                }
                &delta.unsettled
            }
            Some(Event::Heartbeat(_)) | None => return,
        };
        for sealed in more {
            let held: usize = self.0.iter().map(Vec::len).sum();
            if held.saturating_add(sealed.len()) > UNSETTLED_MAX {
                tracing::error!("control can't write too much: the rest is kept by control alone");
                return;
            }
            self.0.push(sealed.clone());
        }
    }
}

/// An error with all its causes, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn snapshot(wire: v1::Snapshot) -> Result<Snapshot, Malformed> {
    Ok(Snapshot {
        leases: leases(wire.leases),
        locks: wire.locks.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        targets: readable(wire.targets, "target"),
        public_url: wire.public_url,
        gone: gone(&wire.gone)?,
    })
}

fn delta(wire: v1::Delta) -> Result<Delta, Malformed> {
    Ok(Delta {
        leases: leases(wire.leases),
        gone: gone(&wire.gone)?,
        locks: wire.locks.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        unlocked: wire.unlocked.iter().filter_map(|id| id.parse().ok()).collect(),
    })
}

fn leases(wire: Vec<v1::Lease>) -> Vec<Lease> {
    readable(wire, "lease")
}

/// Leaves out what can't be read: a lease or target that isn't there lets no client in. Locks and ends
/// have no such luck: one that can't be read breaks the feed.
fn readable<W, T: TryFrom<W, Error = Malformed>>(wire: Vec<W>, what: &'static str) -> Vec<T> {
    let read = wire.into_iter().map(T::try_from);
    read.filter_map(|item| {
        item.inspect_err(|error| tracing::error!(%error, what, "left out of the feed")).ok()
    })
    .collect()
}

fn gone(wire: &[v1::Gone]) -> Result<Vec<(GrantId, End)>, Malformed> {
    wire.iter().map(v1::Gone::parts).collect()
}

/// Waits that double from 50 ms to 2 s, each between half and all of it.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// It worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Waits before the next attempt.
    pub(crate) async fn wait(&mut self) {
        let span = self.next();
        tokio::time::sleep(span).await;
    }

    fn next(&mut self) -> Duration {
        let most = 2_000.min(50_u64 << self.failures.min(6));
        self.failures = self.failures.saturating_add(1);
        Duration::from_millis(rand::random_range(most / 2..=most))
    }
}

#[cfg(test)]
#[path = "feed/tests.rs"]
mod tests;
