//! One SSH connection, and what its parts share.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use policies::{Resource, TargetName};
use russh::server::Handle;
use tokio_util::sync::CancellationToken;

use crate::core::credential::Rights;
use crate::core::identity::Identity;
use crate::core::limits::Slot;
use crate::core::plane::Plane;
use crate::core::report::Denied;
use crate::ssh::channel::queues::ChannelQueues;
use crate::ssh::inner_connections::InnerConnections;
use crate::ssh::refuse::Refusal;
use crate::ssh::wire::Socket;

/// SSH clients name themselves only after authentication.
pub(super) const APPLICATION: &str = "ssh";
/// The most channels of one connection at once. Each may have a window's bytes in wait.
pub(super) const MOST_CHANNELS: usize = 128;
/// The most channels that a client, or a target, opens on one connection, one after the other. The library keeps 4 KiB
/// of each one that the gateway closes first, until the connection ends.
pub(super) const MOST_OPENED: usize = 16 * 1024;

/// One connection and what it works with.
pub(super) struct Connection {
    pub(super) plane: Arc<Plane>,
    pub(super) peer: SocketAddr,
    pub(super) slot: Arc<Slot>,
    pub(super) leaving: Leaving,
    /// Cancelled once it can't lead anywhere any more.
    pub(super) over: CancellationToken,
    /// The target, where the connection lies within another one that leads there.
    pub(super) jump: Option<JumpTarget>,
}

/// Where a connection within another one leads.
pub(super) struct JumpTarget {
    pub(super) target: TargetName,
    /// The name by which the client asked for it.
    pub(super) host: String,
    /// Who opened the outer connection, where that is known.
    pub(super) identity: Option<Identity>,
}

/// How it shows that a waiting client has left.
pub(super) enum Leaving {
    Socket(Socket),
    Outer(CancellationToken),
}

/// What the protocol's handler and the session of one client share.
#[derive(Default)]
pub(super) struct Shared {
    /// Whether the client is authenticated.
    pub(super) authenticated: Arc<AtomicBool>,
    /// The line with which the client began, once it is authenticated.
    pub(super) version: OnceLock<Vec<u8>>,
    /// By which the library disconnects.
    pub(super) handle: OnceLock<Handle>,
    /// What the rules let the session do, once it has begun: nothing before.
    pub(super) rights: OnceLock<Rights>,
    /// What the client sent and the target hasn't taken yet.
    pub(super) queues: ChannelQueues,
    /// The connections within this one.
    pub(super) inner: InnerConnections,
}

impl Connection {
    /// Counts a refusal and reports it to control.
    pub(super) fn denied(
        &self,
        identity: Option<&Identity>,
        resource: Option<&Resource>,
        refusal: &Refusal,
    ) {
        let detail = refusal.message.clone();
        let denied = Denied::new(self.peer, identity, resource, refusal.reason, detail);
        self.plane.denied(denied);
    }
}

impl Leaving {
    /// Resolves when a client that waits has left.
    pub(super) async fn left(&self) {
        match self {
            Self::Socket(socket) => socket.stirred().await,
            Self::Outer(ended) => ended.cancelled().await,
        }
    }
}
