//! Why a sign-in with an issuer, or a message of it, is refused: what is shown, recorded, and advised.

use policies::IssuerName;
use thiserror::Error;

use crate::identity::issuers::JwtError;
use crate::model::error::{ControlError, StoreError};
use crate::model::issuer_url::IssuerError;
use crate::platform::http_client::HttpError;

/// Why an issuer's answer is not taken.
#[derive(Debug, Error)]
pub(crate) enum OidcRefusal {
    #[error("no issuer `{0}` is configured here")]
    NoIssuer(IssuerName),
    #[error("this browser has not begun to sign in, or did so too long ago")]
    NoFlow,
    #[error(
        "this answer belongs to no sign-in that is going on: it was used before, or is too old"
    )]
    WrongState,
    #[error("another browser has begun this sign-in")]
    AnotherBrowser,
    #[error("the answer comes from another issuer than the one that was asked")]
    MixedUp,
    #[error("signing in was declined at the issuer")]
    Denied,
    #[error("the issuer answered with the error `{0}`")]
    Declined(String),
    #[error("the issuer's answer holds no code")]
    NoCode,
    #[error("the issuer does not take the code that it gave")]
    CodeRefused,
    #[error("the issuer no longer vouches for this person")]
    NoLongerVouched,
    #[error("the issuer does not take our own name or secret: {0}")]
    Client(String),
    #[error("the issuer's answer makes no sense: {0}")]
    Strange(&'static str),
    #[error("the issuer can't be asked just now")]
    Unavailable(#[from] IssuerError),
    #[error("the issuer can't be asked just now")]
    Unreachable(#[source] HttpError),
    #[error("{0}")]
    Token(#[source] JwtError),
    #[error("the token was made for another sign-in")]
    WrongNonce,
    #[error("the issuer speaks of two different people")]
    WrongSubject,
    #[error("the issuer's name of this person can't be used as a key")]
    UnusableSubject,
    #[error("what the issuer says of groups is no list of names")]
    BadGroups,
    #[error("too many sign-ins are going on")]
    Busy,
    #[error("this person is shut out here")]
    Disabled,
    #[error("the token was used before")]
    Replayed,
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl From<StoreError> for OidcRefusal {
    fn from(error: StoreError) -> Self {
        Self::Control(error.into())
    }
}

impl From<JwtError> for OidcRefusal {
    fn from(error: JwtError) -> Self {
        match error {
            JwtError::Issuers(unavailable) => Self::Unavailable(unavailable),
            other @ (JwtError::Malformed(_)
            | JwtError::Algorithm(_)
            | JwtError::Typ(_)
            | JwtError::UnknownKey
            | JwtError::Signature
            | JwtError::Issuer
            | JwtError::Audience
            | JwtError::Expired
            | JwtError::NotYet
            | JwtError::TooOld) => Self::Token(other),
        }
    }
}

impl OidcRefusal {
    /// A short name of fixed wording, for the audit log.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NoIssuer(_) => "unknown-issuer",
            Self::NoFlow => "no-flow",
            Self::WrongState => "wrong-state",
            Self::AnotherBrowser => "another-browser",
            Self::MixedUp => "mixed-up-issuer",
            Self::Denied => "denied",
            Self::Declined(_) => "issuer-error",
            Self::NoCode => "no-code",
            Self::CodeRefused => "code-refused",
            Self::NoLongerVouched => "not-vouched",
            Self::Client(_) => "client-refused",
            Self::Strange(_) => "strange-answer",
            Self::Unavailable(_) | Self::Unreachable(_) => "issuer-unavailable",
            Self::Token(error) => error.code(),
            Self::WrongNonce => "wrong-nonce",
            Self::WrongSubject => "wrong-subject",
            Self::UnusableSubject => "unusable-subject",
            Self::BadGroups => "bad-groups",
            Self::Busy => "busy",
            Self::Disabled => "disabled",
            Self::Replayed => "replayed",
            Self::Control(error) => error.code().name(),
        }
    }

    /// What whoever wanted to sign in can do about it.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::NoFlow | Self::WrongState | Self::AnotherBrowser | Self::NoCode => {
                "Begin again, and finish within ten minutes in the same browser. \
                 If a link brought you here, somebody else may have made it: don't follow it again."
            }
            Self::Denied | Self::Declined(_) => {
                "Begin again if you want to sign in, and agree to what the issuer asks."
            }
            Self::Unavailable(_) | Self::Unreachable(_) | Self::Busy => {
                "Wait a minute and begin again. If it stays so, tell an admin."
            }
            Self::Disabled | Self::NoLongerVouched => {
                "Ask an admin why, if you should have access."
            }
            Self::CodeRefused | Self::WrongNonce | Self::Replayed => "Begin again.",
            Self::NoIssuer(_)
            | Self::MixedUp
            | Self::Client(_)
            | Self::Strange(_)
            | Self::Token(_)
            | Self::WrongSubject
            | Self::UnusableSubject
            | Self::BadGroups
            | Self::Control(_) => {
                "Begin again. If it happens again, tell an admin: the audit log has the details."
            }
        }
    }

    /// Whether nobody was refused: the issuer, or the gateway, can't do its part just now.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Unreachable(_) | Self::Busy | Self::Control(_))
    }
}
