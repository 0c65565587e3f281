//! Turning a connection away: what its user reads, and what the audit log is told.

use policies::{Denial, End, Resource};

use super::upstream::DialError;
use crate::credential::BeginError;
use crate::hold::HoldError;
use crate::session::OpenError;

/// A refusal: its name for the audit log and metrics, and its words for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// With what to do about it.
    fn hint(mut self, hint: &str) -> Self {
        self.message.push_str(". ");
        self.message.push_str(hint);
        self
    }

    pub(super) fn denial(denial: &Denial, resource: &Resource) -> Self {
        let refusal = Self::new(denial.code(), format!("{denial} ({resource})"));
        match denial {
            Denial::NoGrant | Denial::Expired => refusal.hint(&how_to_ask(resource)),
            Denial::Locked(_) => refusal.hint("Ask who runs the gateway; a lock beats every grant"),
            Denial::Stale => refusal.hint("Try again in a moment"),
        }
    }

    pub(super) fn hold(error: &HoldError, resource: &Resource) -> Self {
        let reason = match error {
            HoldError::Draining => "draining",
            HoldError::TooMany => "too-many-holds",
            HoldError::Lapsed => "lapsed",
            HoldError::Unreachable(_)
            | HoldError::Ended
            | HoldError::Malformed(_)
            | HoldError::Unsettled => "control-unreachable",
        };
        Self::new(reason, error.to_string()).hint(&how_to_ask(resource))
    }

    pub(super) fn open(error: &OpenError) -> Self {
        let reason = match error {
            OpenError::Draining => "draining",
            OpenError::Backlogged => "backlogged",
            OpenError::Full(full) => return Self::cut(&End::RecordingFull(full.to_string())),
        };
        Self::new(reason, error.to_string()).hint("Try again in a moment")
    }

    pub(super) fn begin(error: &BeginError, resource: &Resource) -> Self {
        match error {
            BeginError::Refused(_) | BeginError::Over => {
                Self::new("no-grant", error.to_string()).hint(&how_to_ask(resource))
            }
            BeginError::Unreachable(_) | BeginError::Late | BeginError::Unregistered => {
                Self::new("control-unreachable", error.to_string()).hint("Try again in a moment")
            }
            BeginError::StepUp { message, hint } => {
                Self::new("step-up-needed", plain(message)).hint(&plain(hint))
            }
            BeginError::Empty | BeginError::Unusable(_) => {
                Self::new("no-credential", error.to_string())
                    .hint("Ask who runs the gateway to check the login's credential")
            }
        }
    }

    pub(super) fn dial(error: &DialError, resource: &Resource) -> Self {
        Self::new("upstream", format!("target `{}`: {error}", resource.target))
    }

    /// A cut before anything could pass.
    pub(super) fn cut(end: &End) -> Self {
        Self::new(end.code(), told(end))
    }
}

/// What the user of a session that is cut reads.
pub(super) fn told(end: &End) -> String {
    let hint = match end {
        End::UpstreamLost => " Connect again; the gateway's log has the cause.",
        End::RecorderFailed => " Nothing passes unrecorded. Ask who runs the gateway.",
        End::RecordingFull(_) => " Nothing passes unrecorded.",
        End::Expired | End::Done => " Connect again to ask for a new grant.",
        End::Closed
        | End::Protocol(_)
        | End::Revoked(_)
        | End::Locked(_)
        | End::Policy(_)
        | End::Partitioned
        | End::Drained => "",
    };
    format!("{end}.{hint}")
}

fn how_to_ask(resource: &Resource) -> String {
    format!("Ask for it: postern request {resource} --reason \"...\"")
}

/// A text of others as it may be shown on a terminal: nothing in it moves the cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(1_000).collect()
}
