//! A challenge to somebody, what comes back on it, and why that is not taken.

use policies::{Timestamp, Ttl};
use secrecy::SecretString;
use serde_json::Value;

use crate::model::error::{ControlError, InternalError, Refusal, StoreError};
use crate::model::unproven::Unproven;
use crate::platform::ids::IdError;
use crate::platform::vault::VaultError;

/// How long somebody has to answer.
pub(crate) const TIMEOUT: Ttl = Ttl::from_secs(300);

/// What a browser needs to prove a touch.
#[derive(Debug, Clone, PartialEq)]
pub struct Challenge {
    /// Its name, which comes back with the proof.
    pub id: String,
    /// For `navigator.credentials.get`, with bytes as base64url; none where the person has no passkey.
    pub options: Option<Value>,
    /// Whether a code of an authenticator app will do as well.
    pub totp: bool,
    /// Until when it may be answered.
    pub expires_at: Timestamp,
}

/// What came back.
#[derive(Debug)]
pub enum Proof {
    /// What the authenticator answered, as JSON.
    Passkey(String),
    /// A code of an authenticator app.
    Totp(SecretString),
}

/// What a person has to prove themselves with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Factors {
    /// How many passkeys.
    pub passkeys: u32,
    /// Whether they have an authenticator app, where those are accepted.
    pub totp: bool,
}

impl Factors {
    /// Whether there is anything at all.
    #[must_use]
    pub fn any(self) -> bool {
        self.passkeys > 0 || self.totp
    }
}

/// Why a proof was not taken, or could not be looked at.
pub(crate) enum Failure {
    /// It proves nothing: audited.
    Unproven(Unproven),
    /// Something broke.
    Broken(ControlError),
}

impl From<Unproven> for Failure {
    fn from(why: Unproven) -> Self {
        Self::Unproven(why)
    }
}

/// What else ends a proof says nothing about it.
macro_rules! broken {
    ($($cause:ty),+ $(,)?) => {
        $(impl From<$cause> for Failure {
            fn from(cause: $cause) -> Self {
                Self::Broken(cause.into())
            }
        })+
    };
}

broken!(ControlError, Refusal, StoreError, InternalError, IdError, VaultError);
