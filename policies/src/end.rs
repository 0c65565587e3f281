//! Why a session stopped. Every session has exactly one end.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The one reason for which a session ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "end", content = "why", rename_all = "kebab-case")]
pub enum End {
    /// The client left.
    Closed,
    /// The grant's time was over.
    Expired,
    /// The holder said that they are done.
    Done,
    /// Somebody revoked the grant.
    Revoked(String),
    /// A lock matched.
    Locked(String),
    /// The rules, or what they ask about, changed.
    Policy(String),
    /// The link to control was lost for longer than the target allows.
    Partitioned,
    /// This gateway shuts down.
    Drained,
    /// The recorder could not write; nothing may pass unrecorded.
    RecorderFailed,
    /// There is no more room for recordings, or for this person's: the reason says which.
    RecordingFull(String),
    /// The target closed or broke the connection.
    UpstreamLost,
    /// One of the sides broke the protocol.
    Protocol(String),
}

impl End {
    /// A short name of fixed wording, fit for a metric's label and a recording.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Expired => "expired",
            Self::Done => "done",
            Self::Revoked(_) => "revoked",
            Self::Locked(_) => "locked",
            Self::Policy(_) => "policy",
            Self::Partitioned => "partitioned",
            Self::Drained => "drained",
            Self::RecorderFailed => "recorder-failed",
            Self::RecordingFull(_) => "recording-full",
            Self::UpstreamLost => "upstream-lost",
            Self::Protocol(_) => "protocol",
        }
    }

    /// The details that somebody gave, where the end has any.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        match self {
            Self::Revoked(why)
            | Self::Locked(why)
            | Self::Policy(why)
            | Self::RecordingFull(why)
            | Self::Protocol(why) => Some(why),
            Self::Closed
            | Self::Expired
            | Self::Done
            | Self::Partitioned
            | Self::Drained
            | Self::RecorderFailed
            | Self::UpstreamLost => None,
        }
    }

    /// The end with this code and detail.
    #[must_use]
    pub fn from_parts(code: &str, detail: &str) -> Option<Self> {
        let detail = detail.to_owned();
        Some(match code {
            "closed" => Self::Closed,
            "expired" => Self::Expired,
            "done" => Self::Done,
            "revoked" => Self::Revoked(detail),
            "locked" => Self::Locked(detail),
            "policy" => Self::Policy(detail),
            "partitioned" => Self::Partitioned,
            "drained" => Self::Drained,
            "recorder-failed" => Self::RecorderFailed,
            "recording-full" => Self::RecordingFull(detail),
            "upstream-lost" => Self::UpstreamLost,
            "protocol" => Self::Protocol(detail),
            _ => return None,
        })
    }
}

impl fmt::Display for End {
    /// What the client reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sentence = match self {
            Self::Closed => "the client closed the connection",
            Self::Expired => "the grant has expired",
            Self::Done => "the grant was given back",
            Self::Revoked(_) => "the grant was revoked",
            Self::Locked(_) => "access is locked",
            Self::Policy(_) => "the rules no longer give this access",
            Self::Partitioned => "the gateway lost its control plane",
            Self::Drained => "the gateway is shutting down",
            Self::RecorderFailed => "the session can't be recorded",
            Self::RecordingFull(_) => "there is no more room to record the session",
            Self::UpstreamLost => "the target closed the connection",
            Self::Protocol(_) => "the protocol was broken",
        };
        match self.detail().filter(|detail| !detail.is_empty()) {
            Some(detail) => write!(f, "{sentence}: {detail}"),
            None => f.write_str(sentence),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_survives_its_parts() {
        let why = || "by bob: incident closed".to_owned();
        for end in [
            End::Closed,
            End::Expired,
            End::Done,
            End::Revoked(why()),
            End::Locked(why()),
            End::Policy(why()),
            End::Partitioned,
            End::Drained,
            End::RecorderFailed,
            End::RecordingFull(why()),
            End::UpstreamLost,
            End::Protocol(why()),
        ] {
            let again = End::from_parts(end.code(), end.detail().unwrap_or_default());
            assert_eq!(again, Some(end));
        }
        assert_eq!(End::from_parts("other", ""), None);
    }
}
