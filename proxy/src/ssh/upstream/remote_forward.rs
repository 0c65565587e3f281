//! What a target opens towards the client, because the client asked for it: connections to where it
//! listens, uses of the key agent and of the display.
//!
//! A target opens nothing by itself. Each connection to it knows what was asked for on it; whatever else
//! is opened is refused there, and the client never hears of it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use audit::ssh::{Channel as Carries, Ssh as Happening};
use policies::Channel as Kind;
use russh::Channel;
use russh::client::{ChannelOpenHandle, Msg};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How many channels of one session may wait to be passed on.
pub(in crate::ssh) const MOST_REMOTE_CHANNELS: usize = 64;
/// The longest name of the origin of a connection.
const LONGEST_NAME: usize = 256;

/// What a client lets the target open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ssh) enum RemoteForward {
    Agent,
    X11,
    /// Connections to this address, at which the target listens; port 0 stands for one of its choice.
    Tcp {
        host: String,
        port: u32,
    },
    /// Connections to this path, at which the target listens.
    Socket {
        path: String,
    },
}

/// A place at which a client wants the target to listen.
pub(in crate::ssh) struct ListenRequest {
    pub(in crate::ssh) at: RemoteForward,
    /// Cancelled when it is to listen no longer.
    pub(in crate::ssh) until: CancellationToken,
    /// The port that the target chose, or why it doesn't listen.
    pub(in crate::ssh) answer: oneshot::Sender<Result<u32, String>>,
}

/// One channel that a target opens, with its origin. It is boxed on its way: a queue keeps room for
/// more than come.
pub(in crate::ssh) struct RemoteChannel {
    pub(in crate::ssh) by: RemoteOrigin,
    pub(in crate::ssh) channel: Channel<Msg>,
    pub(in crate::ssh) reply: ChannelOpenHandle,
    /// Dropped when it has come to its end.
    pub(in crate::ssh) lasts: TaskTrackerToken,
}

/// What the target says of it, where that is known.
#[derive(Debug, Clone)]
pub(in crate::ssh) struct RemoteOrigin {
    pub(in crate::ssh) forward: RemoteForward,
    pub(in crate::ssh) from: String,
    pub(in crate::ssh) from_port: u32,
}

/// Where a target says that a connection comes from, and the port at which it says it listens.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::ssh) struct Origin<'a> {
    pub(in crate::ssh) port: u32,
    pub(in crate::ssh) from: &'a str,
    pub(in crate::ssh) from_port: u32,
}

/// What may be opened over one connection to a target, and who takes it.
pub(in crate::ssh) struct RemoteForwards {
    to: mpsc::Sender<Box<RemoteChannel>>,
    expected: Mutex<Vec<RemoteForward>>,
    /// What was opened and has not ended.
    open: TaskTracker,
}

impl RemoteForward {
    pub(in crate::ssh) fn kind(&self) -> Kind {
        match self {
            Self::Agent => Kind::Agent,
            Self::X11 => Kind::X11,
            Self::Tcp { .. } => Kind::ForwardedTcpip,
            Self::Socket { .. } => Kind::ForwardedStreamlocal,
        }
    }

    /// With the port that the target chose, where it was to choose one.
    pub(in crate::ssh) fn chosen(self, chosen: u32) -> Self {
        match self {
            Self::Tcp { host, port: 0 } => Self::Tcp { host, port: chosen },
            Self::Agent | Self::X11 | Self::Tcp { .. } | Self::Socket { .. } => self,
        }
    }

    /// How long the name of the place is.
    pub(in crate::ssh) fn length(&self) -> usize {
        match self {
            Self::Agent | Self::X11 => 0,
            Self::Tcp { host, .. } => host.len(),
            Self::Socket { path } => path.len(),
        }
    }

    /// What stands in the recording where the target is to listen, or no longer.
    pub(in crate::ssh) fn event(&self, listens: bool) -> Option<Happening<'_>> {
        let (address, port) = match self {
            Self::Agent | Self::X11 => return None,
            Self::Tcp { host, port } => (host.as_str().into(), Some(*port)),
            Self::Socket { path } => (path.as_str().into(), None),
        };
        Some(if listens {
            Happening::Listen { address, port }
        } else {
            Happening::Unlisten { address, port }
        })
    }
}

impl RemoteOrigin {
    /// What its channel carries.
    pub(in crate::ssh) fn carries(&self) -> Carries<'_> {
        let (from, from_port) = (self.from.as_str().into(), self.from_port);
        match &self.forward {
            RemoteForward::Agent => Carries::Agent,
            RemoteForward::X11 => Carries::X11 { from, from_port },
            RemoteForward::Tcp { host, port } => {
                Carries::ForwardedTcpip { host: host.as_str().into(), port: *port, from, from_port }
            }
            RemoteForward::Socket { path } => {
                Carries::ForwardedStreamlocal { path: path.as_str().into() }
            }
        }
    }
}

impl RemoteForwards {
    pub(in crate::ssh) fn new(to: mpsc::Sender<Box<RemoteChannel>>) -> Self {
        Self { to, expected: Mutex::default(), open: TaskTracker::new() }
    }

    /// From now on the target may open this, however often it is asked for. Says whether it might not before.
    pub(in crate::ssh) fn expect(&self, forward: RemoteForward) -> bool {
        let mut all = self.expected();
        let is_new = !all.contains(&forward);
        if is_new {
            all.push(forward);
        }
        is_new
    }

    /// From now on the target may not open this.
    pub(in crate::ssh) fn expect_not(&self, forward: &RemoteForward) {
        self.expected().retain(|expected| expected != forward);
    }

    /// From now on the target may open nothing.
    pub(in crate::ssh) fn expect_no_more(&self) {
        self.expected().clear();
    }

    /// Resolves when all has ended that was opened, once nothing may be opened any more.
    pub(in crate::ssh) async fn ended(&self) {
        self.open.close();
        self.open.wait().await;
    }

    /// Whether it may open anything: such a connection serves no other channel afterwards.
    pub(in crate::ssh) fn are_expected(&self) -> bool {
        !self.expected().is_empty()
    }

    /// The target opens a channel of this kind. One that no client asked for is dropped, which refuses it.
    pub(in crate::ssh) fn opened(
        &self,
        kind: Kind,
        origin: Origin<'_>,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) {
        let expected = self.expected().iter().find(|forward| forward.kind() == kind).cloned();
        let Some(forward) = expected else {
            tracing::warn!(%kind, "the target opened a channel that no client asked for");
            return;
        };
        let from = origin.from.chars().take(LONGEST_NAME).collect();
        let forward = forward.chosen(origin.port);
        let by = RemoteOrigin { forward, from, from_port: origin.from_port };
        let opened = RemoteChannel { by, channel, reply, lasts: self.open.token() };
        if self.to.try_send(Box::new(opened)).is_err() {
            tracing::warn!(%kind, "the target opens more channels than can be passed on");
        }
    }

    fn expected(&self) -> MutexGuard<'_, Vec<RemoteForward>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
