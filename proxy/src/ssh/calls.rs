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

/// How many of them may wait to be passed on.
pub(super) const MOST_CALLS: usize = 64;
/// The longest name of who connected.
const LONGEST_NAME: usize = 256;

/// What a client lets the target open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
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
pub(super) struct Listen {
    pub(super) at: Wanted,
    /// Cancelled when it is to listen no longer.
    pub(super) until: CancellationToken,
    /// The port that the target chose, or why it doesn't listen.
    pub(super) answer: oneshot::Sender<Result<u32, String>>,
}

/// One channel that a target opens, with who is behind it. It is boxed on its way: a queue keeps room for
/// more than come.
pub(super) struct Called {
    pub(super) by: Caller,
    pub(super) channel: Channel<Msg>,
    pub(super) reply: ChannelOpenHandle,
    /// Dropped when it has come to its end.
    pub(super) lasts: TaskTrackerToken,
}

/// What the target says of it, where that is known.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    pub(super) wanted: Wanted,
    pub(super) from: String,
    pub(super) from_port: u32,
}

/// What may be opened over one connection to a target, and who sees to it.
pub(super) struct Calls {
    to: mpsc::Sender<Box<Called>>,
    wanted: Mutex<Vec<Wanted>>,
    /// What was opened and has not ended.
    open: TaskTracker,
}

impl Wanted {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Agent => Kind::Agent,
            Self::X11 => Kind::X11,
            Self::Tcp { .. } => Kind::ForwardedTcpip,
            Self::Socket { .. } => Kind::ForwardedStreamlocal,
        }
    }

    /// With the port that the target chose, where it was to choose one.
    pub(super) fn chosen(self, chosen: u32) -> Self {
        match self {
            Self::Tcp { host, port: 0 } => Self::Tcp { host, port: chosen },
            Self::Agent | Self::X11 | Self::Tcp { .. } | Self::Socket { .. } => self,
        }
    }

    /// How long the name of the place is.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Agent | Self::X11 => 0,
            Self::Tcp { host, .. } => host.len(),
            Self::Socket { path } => path.len(),
        }
    }

    /// What stands in the recording where the target is to listen, or no longer.
    pub(super) fn told(&self, listens: bool) -> Option<Happening<'_>> {
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

impl Caller {
    /// What its channel carries.
    pub(super) fn carries(&self) -> Carries<'_> {
        let (from, from_port) = (self.from.as_str().into(), self.from_port);
        match &self.wanted {
            Wanted::Agent => Carries::Agent,
            Wanted::X11 => Carries::X11 { from, from_port },
            Wanted::Tcp { host, port } => {
                Carries::ForwardedTcpip { host: host.as_str().into(), port: *port, from, from_port }
            }
            Wanted::Socket { path } => Carries::ForwardedStreamlocal { path: path.as_str().into() },
        }
    }
}

impl Calls {
    pub(super) fn new(to: mpsc::Sender<Box<Called>>) -> Self {
        Self { to, wanted: Mutex::default(), open: TaskTracker::new() }
    }

    /// From now on the target may open this, however often it is asked for.
    pub(super) fn expect(&self, wanted: Wanted) {
        let mut all = self.wanted();
        if !all.contains(&wanted) {
            all.push(wanted);
        }
    }

    /// From now on the target may open nothing.
    pub(super) fn expect_no_more(&self) {
        self.wanted().clear();
    }

    /// Resolves when all has ended that was opened, once nothing may be opened any more.
    pub(super) async fn ended(&self) {
        self.open.close();
        self.open.wait().await;
    }

    /// Whether it may open anything: such a connection is nobody else's afterwards.
    pub(super) fn are_expected(&self) -> bool {
        !self.wanted().is_empty()
    }

    /// The target opens a channel of this kind. `at` is the port that it says it listens at. One that
    /// nobody asked for is dropped, which refuses it.
    pub(super) fn came(
        &self,
        kind: Kind,
        (at, from, from_port): (u32, &str, u32),
        (channel, reply): (Channel<Msg>, ChannelOpenHandle),
    ) {
        let wanted = self.wanted().iter().find(|wanted| wanted.kind() == kind).cloned();
        let Some(wanted) = wanted else {
            tracing::warn!(%kind, "the target opened a channel that nobody asked for");
            return;
        };
        let from = from.chars().take(LONGEST_NAME).collect();
        let by = Caller { wanted: wanted.chosen(at), from, from_port };
        let called = Called { by, channel, reply, lasts: self.open.token() };
        if self.to.try_send(Box::new(called)).is_err() {
            tracing::warn!(%kind, "the target opens more channels than can be passed on");
        }
    }

    fn wanted(&self) -> MutexGuard<'_, Vec<Wanted>> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
