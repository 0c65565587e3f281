//! What a client wants opened, on its way from the door to the session.

use std::sync::Arc;

use policies::Channel as Kind;
use russh::server::{ChannelOpenHandle, Msg};
use russh::{Channel, ChannelWriteHalf};

use super::calls::Listen;
use super::inbox::Inbox;

/// What OpenSSH exits with where it is not the command that failed.
pub(super) const NOT_RUN: u32 = 255;

/// Something that the session has to see to. It is boxed on its way: a queue keeps room for more than come.
pub(super) enum Opened {
    /// A channel to the target.
    Channel(ToTarget),
    /// A connection to a target by its name.
    Onward { channel: Channel<Msg>, host: String, reply: ChannelOpenHandle },
    /// The target is to listen for the client.
    Listen(Listen),
    /// Something was refused.
    Refused { what: &'static str, reason: String },
}

/// A channel that a client wants opened.
pub(super) struct ToTarget {
    pub(super) lead: Lead,
    pub(super) inbox: Arc<Inbox>,
    pub(super) out: ChannelWriteHalf<Msg>,
    pub(super) reply: ChannelOpenHandle,
}

/// Where a channel leads.
#[derive(Debug, Clone)]
pub(super) enum Lead {
    Session,
    Tcp { host: String, port: u32, from: String, from_port: u32 },
    Socket { path: String },
}

impl Lead {
    /// The permission that it takes by itself; a session's are those of what is asked for on it.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Session => None,
            Self::Tcp { .. } => Some(Kind::DirectTcpip),
            Self::Socket { .. } => Some(Kind::DirectStreamlocal),
        }
    }
}

/// What the user reads where the target doesn't allow it.
pub(super) fn not_allowed(what: &str) -> String {
    format!("postern: {what} is not allowed on this target")
}

/// What the user reads where the target would allow it, but the rules don't.
pub(super) fn not_permitted(kind: Kind) -> String {
    format!("postern: the rules do not let this grant open {kind}: ask who writes them")
}
