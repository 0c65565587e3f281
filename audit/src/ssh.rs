//! What happens in an SSH session, as it stands in a recording.
//!
//! One recording is one connection. Its channels differ by `ch`, the number that the gateway gave
//! each, from 0. What a client asks for is recorded before it goes on, what the target answers before the
//! client reads it. The bytes of a terminal are kept as the target showed them, those of other channels as
//! streams, whole up to a bound ([`stream`]). File operations are in [`mod@file`], the terminal as asciicast in
//! [`cast`], what may be kept of what was typed in [`echo`].

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::chain::Digest;
use crate::event::{Text, Value};

pub mod cast;
pub mod echo;
pub mod file;
pub mod stream;

pub use cast::Cast;
pub use echo::Echo;
pub use file::{Attributes, FileOp, OpenMode, Transfer, Transferred};
pub use stream::{Stream, StreamKeeper};

/// What happened in an SSH session: the `ssh` of an event whose `e` is `ssh`, and its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ssh", rename_all = "snake_case")]
pub enum Ssh<'a> {
    /// A channel was opened.
    Opened {
        /// The channel.
        ch: u32,
        /// What it carries.
        #[serde(flatten)]
        channel: Channel<'a>,
    },
    /// Something was refused by the gateway and never reached the target.
    Refused {
        /// The channel it was asked on, where there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ch: Option<u32>,
        /// What was asked for.
        what: Text<'a>,
        /// Why it was refused.
        reason: Cow<'a, str>,
    },
    /// An environment variable was passed on.
    Env {
        /// The channel.
        ch: u32,
        /// Its name.
        name: Text<'a>,
        /// Its value.
        value: Text<'a>,
    },
    /// The target gave a terminal.
    Terminal {
        /// The channel.
        ch: u32,
        /// Its type, such as `xterm-256color`.
        term: Text<'a>,
        /// Columns of characters.
        columns: u32,
        /// Rows of characters.
        rows: u32,
    },
    /// The terminal has another size.
    Resize {
        /// The channel.
        ch: u32,
        /// Columns of characters.
        columns: u32,
        /// Rows of characters.
        rows: u32,
    },
    /// A login shell was asked for.
    Shell {
        /// The channel.
        ch: u32,
    },
    /// A command was asked for.
    Exec {
        /// The channel.
        ch: u32,
        /// The command line, as the target's shell gets it.
        command: Text<'a>,
    },
    /// A subsystem was asked for.
    Subsystem {
        /// The channel.
        ch: u32,
        /// Its name, such as `sftp`.
        name: Text<'a>,
    },
    /// Bytes that the target wrote, to a terminal or to a stream; a chunk may end within a character.
    Output {
        /// The channel.
        ch: u32,
        /// The bytes.
        data: Text<'a>,
    },
    /// The same on standard error.
    Stderr {
        /// The channel.
        ch: u32,
        /// The bytes.
        data: Text<'a>,
    },
    /// Bytes from the client: of a stream as they came; of a terminal where that is kept, and without what
    /// the target didn't show.
    Input {
        /// The channel.
        ch: u32,
        /// The bytes, or how many were left out.
        data: Value<'a>,
    },
    /// A stream has passed the bound up to which it is kept whole: from here on its digest is.
    StreamCut {
        /// The channel.
        ch: u32,
        /// Which of its streams.
        stream: Stream,
        /// How many bytes are kept.
        kept: u64,
    },
    /// The digest of a stream that is not kept whole, from its first byte up to here.
    StreamDigest {
        /// The channel.
        ch: u32,
        /// Which of its streams.
        stream: Stream,
        /// How many bytes have passed.
        bytes: u64,
        /// Their SHA-256.
        sha256: Digest,
        /// Whether the stream is at its end.
        last: bool,
    },
    /// A signal was sent to what runs.
    Signal {
        /// The channel.
        ch: u32,
        /// Its name without `SIG`.
        name: Text<'a>,
    },
    /// A break was sent (RFC 4335).
    Break {
        /// The channel.
        ch: u32,
        /// Its length in milliseconds, as it was asked for.
        millis: u32,
    },
    /// What ran has ended.
    Exit {
        /// The channel.
        ch: u32,
        /// Its exit status.
        status: u32,
    },
    /// What ran was ended by a signal.
    ExitSignal {
        /// The channel.
        ch: u32,
        /// The signal's name without `SIG`.
        name: Text<'a>,
        /// Whether it left a core dump.
        core: bool,
        /// What the target said.
        message: Text<'a>,
    },
    /// A file operation was asked for.
    File {
        /// The channel.
        ch: u32,
        /// Its number on this channel, from 1.
        n: u64,
        /// What it was.
        #[serde(flatten)]
        op: FileOp<'a>,
    },
    /// A file operation was answered.
    FileDone {
        /// The channel.
        ch: u32,
        /// The number of the operation.
        n: u64,
        /// The SFTP status; 0 is success.
        status: u32,
        /// The path that the target answered with (`realpath`, `readlink`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<Text<'a>>,
    },
    /// An open file was closed, or its channel was: what has passed.
    FileClosed {
        /// The channel.
        ch: u32,
        /// The number of the operation that opened it.
        n: u64,
        /// What was read and written.
        #[serde(flatten)]
        transfer: Transfer,
    },
    /// The client asked the target to listen for it.
    Listen {
        /// The address or socket path.
        address: Text<'a>,
        /// The port; `None` for a socket path.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u32>,
    },
    /// The client asked the target to listen no longer.
    Unlisten {
        /// The address or socket path.
        address: Text<'a>,
        /// The port; `None` for a socket path.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<u32>,
    },
    /// A channel was closed.
    Closed {
        /// The channel.
        ch: u32,
        /// Bytes from the client.
        bytes_in: u64,
        /// Bytes to the client.
        bytes_out: u64,
    },
}

/// What a channel carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "channel", rename_all = "snake_case")]
pub enum Channel<'a> {
    /// A shell, a command or a subsystem.
    Session,
    /// The client connects through the target to an address (`-L`, `-D`, `-J`).
    DirectTcpip {
        /// The host to connect to.
        host: Text<'a>,
        /// Its port.
        port: u32,
        /// Where the client says it comes from.
        from: Text<'a>,
        /// The port there.
        from_port: u32,
    },
    /// Somebody connected to where the target listens for the client (`-R`).
    ForwardedTcpip {
        /// The address that listens.
        host: Text<'a>,
        /// Its port.
        port: u32,
        /// Who connected.
        from: Text<'a>,
        /// The port there.
        from_port: u32,
    },
    /// The client connects through the target to a socket path.
    DirectStreamlocal {
        /// The path.
        path: Text<'a>,
    },
    /// Somebody connected to the socket path where the target listens for the client.
    ForwardedStreamlocal {
        /// The path.
        path: Text<'a>,
    },
    /// The target uses the client's key agent.
    Agent,
    /// The target uses the client's display.
    X11 {
        /// Who connected.
        from: Text<'a>,
        /// The port there.
        from_port: u32,
    },
}

impl Ssh<'_> {
    /// The channel that this belongs to, where it belongs to one.
    pub fn channel(&self) -> Option<u32> {
        match self {
            Ssh::Opened { ch, .. }
            | Ssh::Env { ch, .. }
            | Ssh::Terminal { ch, .. }
            | Ssh::Resize { ch, .. }
            | Ssh::Shell { ch }
            | Ssh::Exec { ch, .. }
            | Ssh::Subsystem { ch, .. }
            | Ssh::Output { ch, .. }
            | Ssh::Stderr { ch, .. }
            | Ssh::Input { ch, .. }
            | Ssh::StreamCut { ch, .. }
            | Ssh::StreamDigest { ch, .. }
            | Ssh::Signal { ch, .. }
            | Ssh::Break { ch, .. }
            | Ssh::Exit { ch, .. }
            | Ssh::ExitSignal { ch, .. }
            | Ssh::File { ch, .. }
            | Ssh::FileDone { ch, .. }
            | Ssh::FileClosed { ch, .. }
            | Ssh::Closed { ch, .. } => Some(*ch),
            Ssh::Refused { ch, .. } => *ch,
            Ssh::Listen { .. } | Ssh::Unlisten { .. } => None,
        }
    }
}

#[cfg(test)]
#[path = "ssh_tests.rs"]
mod tests;
