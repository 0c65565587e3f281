//! What is particular to an SSH target: how it proves itself, and what may be opened on it.
//!
//! Every kind of channel is a permission of its own. Those whose content a recording can't decode, such as
//! forwards, are refused unless they are written down.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Size;

/// How an SSH target is verified, and what it lets people do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ssh {
    /// Public host keys, one of which the target has to prove, each as OpenSSH writes one.
    pub host_keys: Vec<String>,
    /// Public keys of authorities whose host certificates for the target's host are trusted.
    pub host_authorities: Vec<String>,
    /// What may be opened.
    pub channels: BTreeSet<Channel>,
    /// Names of environment variables that are passed on; a `*` at the end stands for any rest.
    pub env: Vec<String>,
    /// Whether file transfers may only read.
    pub read_only: bool,
    /// The folders that file transfers are limited to, where there are any.
    pub under: Vec<String>,
    /// How much of each stream a recording keeps whole.
    #[serde(default)]
    pub record_streams: StreamBound,
}

/// How many bytes of a stream a recording keeps whole. Beyond them it has their number and their SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct StreamBound(u64);

/// A text or a number that is no bound of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is neither 0 nor a size up to 1GiB, such as `64KiB` or `1MiB`", .0.escape_debug())]
pub struct StreamBoundError(String);

/// A kind of channel, or of what is asked for on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Channel {
    /// A login shell.
    Shell,
    /// A command, which is what `scp -O`, `rsync` and `git` use, too.
    Exec,
    /// The file transfer subsystem, decoded file by file.
    Sftp,
    /// Changes by file transfers; without it, they may only read.
    SftpWrite,
    /// Any other subsystem; its bytes are recorded as streams, not decoded.
    Subsystem,
    /// Connections through the target to an address (`-L`, `-D`).
    DirectTcpip,
    /// Connections through the target to a socket path.
    DirectStreamlocal,
    /// Connections to an address where the target listens for the client (`-R`).
    ForwardedTcpip,
    /// Connections to a socket path where the target listens for the client.
    ForwardedStreamlocal,
    /// The client's key agent, which the target may use (`-A`).
    Agent,
    /// The client's display, which the target may use (`-X`).
    X11,
}

/// A word that names no kind of channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is no kind of channel")]
pub struct UnknownChannel(String);

impl StreamBound {
    /// The largest: one stream of each session should not fill a disk.
    const MAX: u64 = 1024 * 1024 * 1024;

    /// The number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Default for StreamBound {
    fn default() -> Self {
        Self(1024 * 1024)
    }
}

impl From<StreamBound> for u64 {
    fn from(bound: StreamBound) -> Self {
        bound.0
    }
}

impl TryFrom<u64> for StreamBound {
    type Error = StreamBoundError;

    fn try_from(bytes: u64) -> Result<Self, StreamBoundError> {
        if bytes > Self::MAX { Err(StreamBoundError(bytes.to_string())) } else { Ok(Self(bytes)) }
    }
}

impl FromStr for StreamBound {
    type Err = StreamBoundError;

    fn from_str(text: &str) -> Result<Self, StreamBoundError> {
        // A size is never zero, and a stream may well be digested from its first byte on.
        if text == "0" {
            return Ok(Self(0));
        }
        let wrong = || StreamBoundError(text.chars().take(40).collect());
        let size: Size = text.parse().map_err(|_| wrong())?;
        Self::try_from(size.bytes()).map_err(|_| wrong())
    }
}

impl Channel {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Shell,
        Self::Exec,
        Self::Sftp,
        Self::SftpWrite,
        Self::Subsystem,
        Self::DirectTcpip,
        Self::DirectStreamlocal,
        Self::ForwardedTcpip,
        Self::ForwardedStreamlocal,
        Self::Agent,
        Self::X11,
    ];

    /// What is allowed by default.
    #[must_use]
    pub fn default_channels() -> BTreeSet<Self> {
        BTreeSet::from([Self::Shell, Self::Exec, Self::Sftp, Self::SftpWrite])
    }

    /// Its name in configurations.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Exec => "exec",
            Self::Sftp => "sftp",
            Self::SftpWrite => "sftp-write",
            Self::Subsystem => "subsystem",
            Self::DirectTcpip => "direct-tcpip",
            Self::DirectStreamlocal => "direct-streamlocal",
            Self::ForwardedTcpip => "forwarded-tcpip",
            Self::ForwardedStreamlocal => "forwarded-streamlocal",
            Self::Agent => "agent",
            Self::X11 => "x11",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Channel {
    type Err = UnknownChannel;

    fn from_str(text: &str) -> Result<Self, UnknownChannel> {
        let found = Self::ALL.into_iter().find(|channel| channel.word() == text);
        found.ok_or_else(|| UnknownChannel(text.chars().take(64).collect()))
    }
}

impl Ssh {
    /// Whether this kind may be opened.
    #[must_use]
    pub fn allows(&self, channel: Channel) -> bool {
        self.channels.contains(&channel)
    }

    /// Whether this environment variable is passed on.
    #[must_use]
    pub fn passes(&self, variable: &str) -> bool {
        self.env.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => variable.starts_with(start),
            None => variable == pattern,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(env: &[&str]) -> Ssh {
        Ssh {
            host_keys: Vec::new(),
            host_authorities: Vec::new(),
            channels: Channel::default_channels(),
            env: env.iter().map(ToString::to_string).collect(),
            read_only: false,
            under: Vec::new(),
            record_streams: StreamBound::default(),
        }
    }

    #[test]
    fn a_bound_of_streams_is_a_number_of_bytes_with_a_unit() {
        for (text, bytes) in [
            ("1MiB", 1 << 20),
            ("64KiB", 64 << 10),
            ("1GiB", 1 << 30),
            ("7B", 7),
            ("512B", 512),
            ("0", 0),
        ] {
            assert_eq!(text.parse::<StreamBound>().map(StreamBound::bytes), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "MiB",
            "1MB",
            "-1",
            "+1B",
            "1 MiB",
            "2GiB",
            "1025MiB",
            "1.5MiB",
            "512",
            "0B",
            "99999999999999GiB",
        ] {
            assert!(text.parse::<StreamBound>().is_err(), "{text}");
        }
        assert_eq!(StreamBound::default().bytes(), 1 << 20);
        assert!(StreamBound::try_from(u64::MAX).is_err());
    }

    #[test]
    fn every_kind_has_its_word_and_those_around_the_recording_are_not_allowed_by_themselves() {
        for channel in Channel::ALL {
            assert_eq!(channel.word().parse(), Ok(channel));
            let recorded = Channel::default_channels().contains(&channel);
            assert_eq!(ssh(&[]).allows(channel), recorded, "{channel}");
        }
        assert!("tunnel".parse::<Channel>().is_err());
    }

    #[test]
    fn only_variables_that_are_named_pass() {
        let ssh = ssh(&["LANG", "LC_*"]);
        for (name, passes) in [
            ("LANG", true),
            ("LANGUAGE", false),
            ("LC_ALL", true),
            ("LD_PRELOAD", false),
            ("BASH_ENV", false),
            ("lc_all", false),
        ] {
            assert_eq!(ssh.passes(name), passes, "{name}");
        }
    }
}
