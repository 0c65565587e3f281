//! What a session begins with: what opens its target, and what it may do.

use std::collections::BTreeSet;
use std::sync::Arc;

use policies::{Channel, Record, Timestamp, Ttl};
use secrecy::SecretString;
use ssh_key::{Certificate as SshCertificate, PrivateKey};

/// How long before its end a certificate is not used any more.
pub(super) const MARGIN: Ttl = Ttl::from_secs(60);

/// What the gateway signs in to a target with.
#[derive(Debug, Clone)]
pub(crate) enum TargetCredential {
    Password(SecretString),
    Certificate {
        chain_pem: String,
        key_pem: SecretString,
    },
    /// A key for SSH, with the certificate of it where the target wants one.
    SshKey {
        key: Arc<PrivateKey>,
        certificate: Option<Box<SshCertificate>>,
    },
}

impl TargetCredential {
    /// Whether it can be used for another connection of the session that it was given for.
    pub(crate) fn lasts(&self, now: Timestamp) -> bool {
        match self {
            Self::Password(_) | Self::SshKey { certificate: None, .. } => true,
            Self::SshKey { certificate: Some(certificate), .. } => {
                let ends = certificate.valid_before().saturating_mul(1_000);
                now.after(MARGIN) < Timestamp::from_millis(i64::try_from(ends).unwrap_or(i64::MAX))
            }
            Self::Certificate { .. } => false,
        }
    }
}

/// Control's answer to a connection that begins to use a grant.
#[derive(Debug, Clone)]
pub(crate) struct Begun {
    pub(crate) credential: TargetCredential,
    pub(crate) rights: Rights,
}

/// What a session may do, decided once when it begins. What isn't known here is not allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// The channels that the rules let a session on a host open.
    pub(crate) channels: BTreeSet<Channel>,
    /// What its recording has to keep beyond what every recording has.
    pub(crate) record: BTreeSet<Record>,
}
