//! What all channels of a session share: its recording, its lease, its count, and its connections to
//! the target.
//!
//! Every channel has a connection to the target of its own: one whose output is not read then can't
//! stop another. A connection whose channel has ended is used for the next one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audit::ssh::Ssh as Happening;
use audit::{Event, Kind};
use policies::{Channel, End, Record};
use russh::ChannelWriteHalf;
use russh::server::Msg;
use thiserror::Error;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

use crate::core::admission::Admitted;
use crate::core::credential::{Rights, TargetCredential};
use crate::core::handshakes::Turn;
use crate::core::plane::Plane;
use crate::core::recorder::Recorder;
use crate::core::session::{Session, Tally};
use crate::ssh::auth::Destination;
use crate::ssh::channel::channel_open::{not_allowed, not_permitted};
use crate::ssh::channel::content::ContentRules;
use crate::ssh::refuse::Refusal;
use crate::ssh::sftp::{Limit, are_swapped};
use crate::ssh::upstream::{Call, DialError, Ties, Upstream, dial};

/// Connections to the target that are kept for the next channel.
const MOST_IDLE: usize = 4;
/// Connections of one session that sign in at the same time: other sessions have turns at the target, too.
const MOST_DIALS: usize = 4;

/// Why a channel can't go on.
#[derive(Debug, Error)]
pub(super) enum Broken {
    /// Nothing passes unrecorded.
    #[error("the recording failed")]
    Recorder(#[from] std::io::Error),
    #[error("the lease is over")]
    LeaseOver,
    #[error("the connection to the target was lost")]
    Lost,
    /// The target does what no target should.
    #[error("the target breaks the protocol: {0}")]
    Target(&'static str),
    /// One side speaks the file transfer protocol wrongly.
    #[error("file transfer: {0}")]
    Files(String),
    /// The client has gone.
    #[error("the client has gone")]
    Client,
}

/// What writes to a channel whose client reads it, and never beyond what it takes.
pub(super) type Reader = ChannelWriteHalf<Msg>;

/// One session.
pub(super) struct SessionState {
    pub(super) plane: Arc<Plane>,
    pub(super) session: Session,
    /// What the rules let it do, decided when it began.
    pub(super) rights: Rights,
    /// What opens the target, for as long as it lasts.
    credential: Mutex<TargetCredential>,
    destination: Destination,
    /// The line with which the client began.
    client: Vec<u8>,
    recorder: Mutex<Recorder>,
    idle: Mutex<Vec<Upstream>>,
    /// One of them may have become idle.
    returned: Notify,
    /// By which it takes turns with other sessions.
    dials: Semaphore,
    ties: Ties,
    next: AtomicU32,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    commands: AtomicU64,
    /// The channels that a client reads, so that the end can be printed there.
    read: Mutex<BTreeMap<u32, Arc<Reader>>>,
}

/// A channel that a client reads.
pub(super) struct ReadChannel<'a> {
    ch: u32,
    read: &'a Mutex<BTreeMap<u32, Arc<Reader>>>,
}

impl Drop for ReadChannel<'_> {
    fn drop(&mut self) {
        lock(self.read).remove(&self.ch);
    }
}

/// What a session needs before its first channel.
pub(super) struct SessionParts {
    pub(super) recorder: Recorder,
    /// Its first connection to the target.
    pub(super) first: Upstream,
    pub(super) ties: Ties,
}

/// What a session has that may dial now.
struct ReadyToDial<'a> {
    credential: TargetCredential,
    turn: Turn,
    _own: Option<SemaphorePermit<'a>>,
}

impl SessionState {
    pub(super) fn new(
        plane: Arc<Plane>,
        admitted: Admitted,
        destination: Destination,
        client: Vec<u8>,
        prepared: SessionParts,
    ) -> Self {
        let Admitted { session, begun } = admitted;
        Self {
            plane,
            session,
            rights: begun.rights,
            credential: Mutex::new(begun.credential),
            destination,
            client,
            recorder: Mutex::new(prepared.recorder),
            idle: Mutex::new(vec![prepared.first]),
            returned: Notify::new(),
            dials: Semaphore::new(MOST_DIALS),
            ties: prepared.ties,
            next: AtomicU32::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            read: Mutex::default(),
        }
    }

    /// The number of the next channel.
    pub(super) fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Records; only after this may what is recorded go on.
    pub(super) fn record(&self, happening: Happening<'_>) -> Result<(), Broken> {
        self.record_all([happening])
    }

    /// Records several things at once.
    pub(super) fn record_all<'h>(
        &self,
        happenings: impl IntoIterator<Item = Happening<'h>>,
    ) -> Result<(), Broken> {
        let mut happenings = happenings.into_iter().peekable();
        if happenings.peek().is_none() {
            return Ok(());
        }
        let mut recorder = lock(&self.recorder);
        let t = recorder.elapsed();
        for happening in happenings {
            recorder.push(&Event { t, kind: Kind::Ssh(happening) })?;
        }
        Ok(recorder.flush()?)
    }

    /// The reason why this may not be opened: because of the target, or of the rules.
    pub(super) fn why_not(&self, kind: Channel) -> Option<String> {
        if self.rights.channels.contains(&kind) {
            return None;
        }
        let allowed = self.destination.target.ssh.as_ref().is_some_and(|ssh| ssh.allows(kind));
        Some(if allowed { not_permitted(kind) } else { not_allowed(kind.word()) })
    }

    /// Whether the rules want this recorded: of every session under the grant, or of a channel that
    /// this one may open.
    fn keeps(&self, what: Record) -> bool {
        self.session.records(what) || self.rights.record.contains(&what)
    }

    /// The check before anything passes.
    pub(super) fn check(&self) -> Result<(), Broken> {
        if self.session.is_live() { Ok(()) } else { Err(Broken::LeaseOver) }
    }

    /// Counts what passed.
    pub(super) fn passed(&self, bytes_in: u64, bytes_out: u64) {
        self.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
        self.session.passed(bytes_in, bytes_out);
    }

    /// Counts what was run.
    pub(super) fn ran(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// A client reads this channel until what is returned is dropped.
    pub(super) fn reads(&self, ch: u32, reader: Arc<Reader>) -> ReadChannel<'_> {
        lock(&self.read).insert(ch, reader);
        ReadChannel { ch, read: &self.read }
    }

    /// The channels that a client reads.
    pub(super) fn readers(&self) -> Vec<Arc<Reader>> {
        lock(&self.read).values().cloned().collect()
    }

    /// What a channel may carry, and what of it is kept.
    pub(super) fn content_rules(&self) -> ContentRules {
        let ssh = self.destination.target.ssh.as_ref();
        let streams = ssh.map(|ssh| ssh.record_streams).unwrap_or_default().bytes();
        let (files, input) = (self.file_limit(), self.keeps(Record::Input));
        ContentRules { files, streams, input, swaps_links: false }
    }

    /// Whether the client sends the paths of a symbolic link the other way round than this target takes them.
    pub(super) fn swaps_links(&self, target: &[u8]) -> bool {
        are_swapped(&self.client, target)
    }

    /// What file operations are limited to, where that can be read.
    fn file_limit(&self) -> Option<Limit> {
        let ssh = self.destination.target.ssh.as_ref();
        let writes = self.rights.channels.contains(&Channel::SftpWrite);
        let read_only = !writes || ssh.is_some_and(|ssh| ssh.read_only);
        let under: Vec<&str> = ssh.iter().flat_map(|ssh| &ssh.under).map(String::as_str).collect();
        Limit::new(read_only, &under)
    }

    /// A connection to the target for one more channel: one whose channel has ended, or a new one.
    pub(super) async fn upstream(&self) -> Result<Upstream, Refusal> {
        let mut turn = std::pin::pin!(self.turn());
        loop {
            if let Some(idle) = self.idle() {
                return Ok(idle);
            }
            tokio::select! {
                biased;
                () = self.returned.notified() => {}
                ready = &mut turn => return self.dial_in(ready?).await,
            }
        }
    }

    fn idle(&self) -> Option<Upstream> {
        let mut idle = lock(&self.idle);
        std::iter::from_fn(|| idle.pop()).find(Upstream::is_open)
    }

    /// A connection to the target that has no channel yet.
    pub(super) async fn dial(&self) -> Result<Upstream, Refusal> {
        self.dial_in(self.turn().await?).await
    }

    /// What it takes to dial. A session waits for control and for itself before it waits for a turn at the target, so
    /// that it holds up no other.
    async fn turn(&self) -> Result<ReadyToDial<'_>, Refusal> {
        let credential = self.credential().await?;
        let own = self.dials.acquire().await.ok();
        let turn = turn(&self.plane, &self.destination).await?;
        Ok(ReadyToDial { credential, turn, _own: own })
    }

    async fn dial_in(&self, ready: ReadyToDial<'_>) -> Result<Upstream, Refusal> {
        let ReadyToDial { credential, turn, _own } = ready;
        connect(&self.plane, &self.destination, &credential, &self.ties, turn).await
    }

    /// What opens the target. It was given for this session: the rules aren't asked again before it ends.
    async fn credential(&self) -> Result<TargetCredential, Refusal> {
        let kept = lock(&self.credential).clone();
        if kept.lasts(self.plane.clock.now()) {
            return Ok(kept);
        }
        let begun = self.plane.credentials.begin(&self.session).await;
        let begun =
            begun.map_err(|error| Refusal::no_credential(error, &self.destination.resource))?;
        lock(&self.credential).clone_from(&begun.credential);
        Ok(begun.credential)
    }

    /// Gives back a connection whose channel has ended.
    pub(super) fn give_back(&self, upstream: Upstream) {
        let mut idle = lock(&self.idle);
        if idle.len() < MOST_IDLE && upstream.is_open() {
            idle.push(upstream);
            self.returned.notify_one();
        }
    }

    /// From here on nothing goes to the target, not even what waits to be sent. It wakes no task.
    pub(super) fn mute(&self) {
        self.ties.mute.store(true, Ordering::Relaxed);
    }

    /// The end of it all: nothing passes any more.
    pub(super) async fn finish(self, end: &End) {
        let tally = Tally {
            bytes_in: self.bytes_in.into_inner(),
            bytes_out: self.bytes_out.into_inner(),
            statements: self.commands.into_inner(),
            head: None,
        };
        let recorder = self.recorder.into_inner().unwrap_or_else(PoisonError::into_inner);
        tracing::info!(end = end.code(), commands = tally.statements, "session ended");
        recorder.close(self.session, end, tally);
        let idle = self.idle.into_inner().unwrap_or_else(PoisonError::into_inner);
        for upstream in idle {
            upstream.leave().await;
        }
    }
}

/// Waits until another connection may sign in at the target.
pub(super) async fn turn(plane: &Plane, destination: &Destination) -> Result<Turn, Refusal> {
    let turn = plane.handshakes.turn(&destination.target.name).await;
    turn.ok_or_else(|| Refusal::dial(&DialError::Busy, &destination.resource))
}

/// Connects to the target.
pub(super) async fn connect(
    plane: &Plane,
    destination: &Destination,
    credential: &TargetCredential,
    ties: &Ties,
    _turn: Turn,
) -> Result<Upstream, Refusal> {
    let login = destination.resource.login.as_str();
    let (target, clock) = (&*destination.target, &plane.clock);
    let call = Call { target, login, credential, clock, ties };
    let dialled = plane.dial(&destination.target.name, dial(&call)).await;
    dialled.map_err(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        tracing::warn!(target = %destination.target.name, %error, cause, "no connection to the target");
        Refusal::dial(&error, &destination.resource)
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
