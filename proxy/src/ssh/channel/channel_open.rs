//! What a client wants opened, on its way from the handler to the session.

use policies::Channel as Kind;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelWriteHalf};

use crate::ssh::channel::queues::OwnedQueue;
use crate::ssh::upstream::remote_forward::ListenRequest;

/// What OpenSSH exits with where it is not the command that failed.
pub(in crate::ssh) const NOT_RUN: u32 = 255;

/// Something that the session has to do for its client. It is boxed on its way: a queue keeps room for more than come.
pub(in crate::ssh) enum ClientRequest {
    /// A channel to the target.
    Channel(ChannelToOpen),
    /// A connection to a target by its name.
    Jump { channel: Channel<Msg>, host: String, reply: ChannelOpenHandle },
    /// The target is to listen for the client.
    Listen(ListenRequest),
    /// Something was refused.
    Refused { what: &'static str, reason: String },
}

/// A channel that a client wants opened.
pub(in crate::ssh) struct ChannelToOpen {
    pub(in crate::ssh) open: ChannelOpen,
    pub(in crate::ssh) queue: OwnedQueue,
    pub(in crate::ssh) out: ChannelWriteHalf<Msg>,
    pub(in crate::ssh) reply: ChannelOpenHandle,
}

/// Where a channel leads.
#[derive(Debug, Clone)]
pub(in crate::ssh) enum ChannelOpen {
    Session,
    Tcp { host: String, port: u32, from: String, from_port: u32 },
    Socket { path: String },
}

impl ChannelOpen {
    /// The permission that it takes by itself; a session's are those of what is asked for on it.
    pub(in crate::ssh) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Session => None,
            Self::Tcp { .. } => Some(Kind::DirectTcpip),
            Self::Socket { .. } => Some(Kind::DirectStreamlocal),
        }
    }
}

/// What the user reads where the target doesn't allow it.
pub(in crate::ssh) fn not_allowed(what: &str) -> String {
    format!("postern: {what} is not allowed on this target")
}

/// What the user reads where the target would allow it, but the rules don't.
pub(in crate::ssh) fn not_permitted(kind: Kind) -> String {
    format!("postern: the rules do not let this grant open {kind}: ask who writes them")
}
