//! Turning a connection away: what its user reads, and what the audit log has.

use policies::{End, Resource};

use crate::core::admission::{AdmissionError, end_hint};
use crate::core::credential::BeginError;
use crate::core::sanitize::sanitize;
use crate::ssh::upstream::DialError;

/// A refusal: its name for the audit log and metrics, and its message for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// A connection that isn't admitted, with what to do about it.
    pub(super) fn admission(error: &AdmissionError, resource: &Resource) -> Self {
        let (message, hint) = (sanitize(&error.to_string()), sanitize(&error.hint(resource)));
        let message = match error {
            AdmissionError::Ended(end) => return Self::cut(end),
            AdmissionError::Denied(_) => format!("{message} ({resource}). {hint}"),
            AdmissionError::Pending(_)
            | AdmissionError::Refused { .. }
            | AdmissionError::NotOpened(_)
            | AdmissionError::NoCredential(_) => format!("{message}. {hint}"),
        };
        Self::new(error.reason(), message.trim_end_matches([' ', '.']))
    }

    /// A session that gets nothing to open its target with.
    pub(super) fn no_credential(error: BeginError, resource: &Resource) -> Self {
        Self::admission(&AdmissionError::NoCredential(error), resource)
    }

    pub(super) fn dial(error: &DialError, resource: &Resource) -> Self {
        Self::new("upstream", format!("target `{}`: {error}", resource.target))
    }

    /// A cut before anything could pass.
    pub(super) fn cut(end: &End) -> Self {
        Self::new(end.code(), end_message(end))
    }
}

/// What the user of a session that is cut reads.
pub(super) fn end_message(end: &End) -> String {
    match end_hint(end) {
        "" => format!("{end}."),
        hint => format!("{end}. {hint}"),
    }
}
