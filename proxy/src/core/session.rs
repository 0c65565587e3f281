//! An admitted connection, from its start to its one end.
//!
//! [`Session::ended`] is the guard: it resolves when the lease is over, revoked or given back, when a
//! lock matches, when the link to control is lost for longer than the target allows, and when this
//! gateway shuts down. A session that is dropped without [`Session::close`] is reported all the same.

mod countdown;
mod guard;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use audit::Head;
use link::v1;
use link::v1::happening::Happening as What;
use policies::{End, Kind, LeaseKey, Record, SessionId, Timestamp};
use prometheus::IntGauge;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::core::clock::Clock;
use crate::core::identity::Identity;
use crate::core::leases::{Leases, Pass};
use crate::core::metrics::Metrics;
use crate::core::report::{Reports, ReservedReport, clip};
use crate::core::spool::{Full, Spool};
pub(crate) use countdown::Countdown;
use guard::Guard;

/// How a session ended whose task is gone.
const BROKE_OFF: &str = "internal error";

/// Opens sessions and ends them all when the gateway shuts down.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(crate) clock: Clock,
    pub(crate) leases: Arc<Leases>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reports: Reports,
    pub(crate) spool: Spool,
    pub(crate) drained: CancellationToken,
}

/// What a session begins with.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) kind: Kind,
    pub(crate) pass: Pass,
    pub(crate) identity: Identity,
    pub(crate) client: SocketAddr,
    /// What the client calls itself.
    pub(crate) application: String,
}

/// Why a session can't begin.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    #[error("the gateway is shutting down")]
    Draining,
    #[error("too much waits to be reported to control")]
    Backlogged,
    #[error(transparent)]
    Full(#[from] Full),
}

/// What went through a session.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Bytes from the client.
    pub(crate) bytes_in: u64,
    /// Bytes to the client.
    pub(crate) bytes_out: u64,
    pub(crate) statements: u64,
    /// The head of the recording, once it is finished.
    pub(crate) head: Option<Head>,
}

/// An admitted connection.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    kind: Kind,
    identity: Identity,
    client: SocketAddr,
    application: String,
    started: Timestamp,
    guard: Arc<Guard>,
    metrics: Arc<Metrics>,
    live: IntGauge,
    /// What was counted of its bytes so far, in and out.
    passed: (AtomicU64, AtomicU64),
    /// How it ends where it is dropped.
    dropped: End,
    /// The place of its end in the report; taken when it ends.
    place: Option<ReservedReport>,
    /// Cancelled once control has written down that it begins.
    registered: CancellationToken,
}

impl Sessions {
    /// Begins a session that there is room to record, and reports that to control.
    pub(crate) fn open(&self, opening: Opening) -> Result<Session, OpenError> {
        if self.drained.is_cancelled() {
            return Err(OpenError::Draining);
        }
        self.spool.admit(&opening.identity.principal)?;
        let (first, last) =
            self.reports.reserve().zip(self.reports.reserve()).ok_or(OpenError::Backlogged)?;
        let started = self.clock.now();
        let mut session = self.make(opening, started, last);
        session.registered = first.report_and_watch(started, What::Opened(session.opened()));
        Ok(session)
    }

    /// Ends all sessions, and lets no new one begin.
    pub(crate) fn drain(&self) {
        self.drained.cancel();
    }

    fn make(&self, opening: Opening, started: Timestamp, place: ReservedReport) -> Session {
        let live = self.metrics.live(opening.kind.word());
        live.inc();
        let guard = Guard {
            clock: self.clock.clone(),
            leases: Arc::clone(&self.leases),
            authn: opening.identity.authn.clone(),
            pass: opening.pass,
            drained: self.drained.clone(),
            heard: OnceLock::new(),
            cut: OnceLock::new(),
        };
        Session {
            id: session_id(),
            kind: opening.kind,
            identity: opening.identity,
            client: opening.client,
            application: opening.application,
            started,
            guard: Arc::new(guard),
            metrics: Arc::clone(&self.metrics),
            live,
            passed: Default::default(),
            dropped: End::Protocol(BROKE_OFF.to_owned()),
            place: Some(place),
            registered: CancellationToken::new(),
        }
    }
}

/// `se-` and 80 random bits in base32.
fn session_id() -> SessionId {
    const ALPHABET: [char; 32] = [
        'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p', 'q', 'r',
        's', 't', 'u', 'v', 'w', 'x', 'y', 'z', '2', '3', '4', '5', '6', '7',
    ];
    loop {
        let bits: u128 = rand::random();
        let letters = (0..16).filter_map(|place| ALPHABET.get((bits >> (place * 5)) as usize & 31));
        let text: String = "se-".chars().chain(letters.copied()).collect();
        // INVARIANT: such a text is always an id, so that this turns once.
        if let Ok(id) = SessionId::new(&text) {
            return id;
        }
    }
}

impl Session {
    /// Its name.
    pub(crate) fn id(&self) -> &SessionId {
        &self.id
    }

    /// What it speaks.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The lease by which it was let in.
    pub(crate) fn pass(&self) -> &Pass {
        &self.guard.pass
    }

    /// Whether the rules want this recorded beyond what every recording has.
    pub(crate) fn records(&self, what: Record) -> bool {
        self.pass().held.lease().record.contains(&what)
    }

    /// Who and what.
    pub(crate) fn key(&self) -> &LeaseKey {
        self.guard.pass.admission.key()
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn client(&self) -> SocketAddr {
        self.client
    }

    pub(crate) fn application(&self) -> &str {
        &self.application
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// The span of all log lines about it.
    pub(crate) fn span(&self) -> Span {
        tracing::info_span!(
            "session",
            id = %self.id,
            principal = %self.key().principal,
            resource = %self.key().resource,
            client = %self.client,
        )
    }

    /// Waits until control has written down that it begins, for at most so long.
    pub(crate) async fn registered(&self, timeout: Duration) -> bool {
        tokio::time::timeout(timeout, self.registered.cancelled()).await.is_ok()
    }

    /// Whether its lease is live: the check at message boundaries.
    pub(crate) fn is_live(&self) -> bool {
        self.guard.pass.held.is_live(self.guard.clock.now())
    }

    /// Why it has to end now, where it has to.
    pub(crate) fn must_end(&self) -> Option<End> {
        self.guard.must_end()
    }

    /// Resolves when this session has to be cut. Cancel-safe; borrows nothing.
    pub(crate) fn ended(&self) -> impl Future<Output = End> + Send + use<> {
        let guard = Arc::clone(&self.guard);
        async move { guard.watch().await }
    }

    /// Announces in time how much time is left.
    pub(crate) fn countdown(&self) -> Countdown {
        Countdown::new(Arc::clone(&self.guard))
    }

    /// Notes that nothing passes any more, which stops the clock of revoke-to-cut.
    pub(crate) fn cut_done(&self) {
        if let Some(heard) = self.guard.heard.get()
            && self.guard.cut.set(()).is_ok()
        {
            let took = self.guard.clock.instant().saturating_duration_since(*heard);
            self.metrics.revoke_to_cut.observe(took.as_secs_f64());
        }
    }

    /// Counts bytes that passed since the last call, while it lives: at intervals, not per message.
    pub(crate) fn passed(&self, bytes_in: u64, bytes_out: u64) {
        self.passed.0.fetch_add(bytes_in, Ordering::Relaxed);
        self.passed.1.fetch_add(bytes_out, Ordering::Relaxed);
        self.metrics.bytes(bytes_in, bytes_out);
    }

    /// While nothing is served yet, a client may leave: then it has ended as if it was closed.
    pub(crate) fn may_be_left(&mut self) {
        self.dropped = End::Closed;
    }

    /// From here on its end is reported by its protocol; where it isn't, something broke.
    pub(crate) fn is_served(&mut self) {
        self.dropped = End::Protocol(BROKE_OFF.to_owned());
    }

    /// Ends it.
    pub(crate) fn close(mut self, end: &End, tally: &Tally) {
        self.finish(end, tally);
    }

    fn finish(&mut self, end: &End, tally: &Tally) {
        let Some(place) = self.place.take() else {
            return;
        };
        self.cut_done();
        self.live.dec();
        let (bytes_in, bytes_out) = self.count_rest(tally);
        let ended = v1::SessionEnded {
            session: self.id.to_string(),
            end: end.code().to_owned(),
            detail: end.detail().unwrap_or_default().to_owned(),
            bytes_in,
            bytes_out,
            statements: tally.statements,
            head: tally.head.map(|head| head.to_string()).unwrap_or_default(),
        };
        place.report(self.guard.clock.now(), What::Ended(ended));
    }

    /// Counts what wasn't yet, and returns what passed in all: a session that is dropped has no tally.
    fn count_rest(&self, tally: &Tally) -> (u64, u64) {
        let counted =
            (self.passed.0.load(Ordering::Relaxed), self.passed.1.load(Ordering::Relaxed));
        let all = (tally.bytes_in.max(counted.0), tally.bytes_out.max(counted.1));
        self.metrics.bytes(all.0 - counted.0, all.1 - counted.1);
        all
    }

    fn opened(&self) -> v1::SessionOpened {
        v1::SessionOpened {
            session: self.id.to_string(),
            grant: self.pass().grant().to_string(),
            identity: Some(self.identity.clone().into()),
            resource: Some(self.key().resource.clone().into()),
            client: self.client.to_string(),
            application: clip(&self.application),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let end = self.dropped.clone();
        self.finish(&end, &Tally::default());
    }
}

#[cfg(test)]
#[path = "session/tests.rs"]
mod tests;
