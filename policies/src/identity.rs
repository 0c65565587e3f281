//! Who is there, and how we know.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{DeviceId, GroupName, PrincipalId, Timestamp};

/// An authenticated person or workload, with what rules may ask about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    /// Who it is, for ever.
    pub id: PrincipalId,
    /// How people call them; for display only.
    pub name: String,
    /// The groups they are in now.
    pub groups: BTreeSet<GroupName>,
}

/// How a principal proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A client certificate of our authority.
    Certificate,
    /// A short-lived token in the password field.
    Token,
    /// A person confirmed the code of a waiting connection.
    Confirmed,
    /// A one-time sign-in link.
    Link,
    /// A passkey, with user verification.
    Passkey,
    /// The web login of an OpenID Connect issuer.
    Oidc,
    /// A bearer token of an issuer, over SASL OAUTHBEARER (RFC 7628).
    Bearer,
    /// A registered SSH key.
    Key,
    /// A workload's signed token, exchanged for a certificate (RFC 8693).
    Workload,
}

/// What the name of a workload's device begins with. No person's device is called so.
pub const WORKLOAD_DEVICE: &str = "workload:";

impl Method {
    /// How somebody with a client certificate for this device proved who they are.
    #[must_use]
    pub fn of_certificate(device: &DeviceId) -> Self {
        if device.as_str().starts_with(WORKLOAD_DEVICE) {
            Self::Workload
        } else {
            Self::Certificate
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "certificate",
            Self::Token => "token",
            Self::Confirmed => "confirmed",
            Self::Link => "link",
            Self::Passkey => "passkey",
            Self::Oidc => "oidc",
            Self::Bearer => "bearer",
            Self::Key => "key",
            Self::Workload => "workload",
        })
    }
}

/// One authentication: the method, its time, and what anyone can check about it later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authn {
    /// How.
    pub method: Method,
    /// When.
    pub at: Timestamp,
    /// The certificate's serial, the token's public part, the code's number: never a secret.
    pub evidence: String,
    /// The device that the proof belongs to, where it has one.
    pub device: Option<DeviceId>,
}
