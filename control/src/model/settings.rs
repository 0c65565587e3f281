//! What the operator decides once, at start.

use std::path::PathBuf;
use std::sync::Arc;

use policies::Ttl;
use url::Url;

use crate::model::attestation::AttestationRoots;

/// How control is set up. What can change while it runs is in [`crate::model::inventory::Inventory`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The SQLite file.
    pub database: PathBuf,
    /// Whether a store that is older than its high-water mark is taken, with all that this ends.
    pub accept_rollback: bool,
    /// Where people reach control.
    pub public_url: Url,
    /// Where people's clients reach the gateway, where it is known.
    pub gateway: Option<Gateway>,
    /// The folder of recordings.
    pub recordings: PathBuf,
    /// The times of requests and grants.
    pub grants: Grants,
    /// How long a waiting connection's code is good.
    pub hold_patience: Ttl,
    /// How people sign in, and for how long.
    pub sign_in: SignIn,
    /// Whose authenticators may be registered; without, everybody's.
    pub attestation: Option<AttestationRoots>,
    /// Whether codes of authenticator apps are taken.
    pub totp: bool,
    /// For how long a proxy may admit without hearing from control.
    pub feed_fresh: Ttl,
    /// Who signs certificates.
    pub authority: Arc<certs::Authority>,
    /// The SSH side, where the gateway has one.
    pub ssh: Option<Ssh>,
}

/// What control needs to know of the SSH side.
#[derive(Debug, Clone)]
pub struct Ssh {
    /// Who signs SSH certificates.
    pub authority: Arc<certs::SshAuthority>,
    /// Where SSH clients reach the gateway, where it is known.
    pub gateway: Option<Gateway>,
}

/// How people sign in, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignIn {
    /// What a one-time link opens.
    pub links: Links,
    /// How long a browser may be left alone.
    pub idle: Ttl,
    /// How long a terminal may be left alone.
    pub terminal_idle: Ttl,
    /// How long a login session lasts at most.
    pub absolute: Ttl,
    /// How long a person's certificate lasts.
    pub certificate: Ttl,
    /// How long a token lasts where nobody says.
    pub token: Ttl,
    /// How long a token lasts at most.
    pub token_max: Ttl,
}

/// The times of requests and grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grants {
    /// How long a grant waits for its first use.
    pub claim_within: Ttl,
    /// How long a request waits for people.
    pub request_patience: Ttl,
    /// How long a grant lasts where neither the target nor the person says.
    pub default: Ttl,
}

/// What a one-time link opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Links {
    /// A session that may register a passkey and do nothing else until that is done.
    #[default]
    Enrol,
    /// A full session, for a demo or a lab.
    SignIn,
}

/// Where people's clients reach the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gateway {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Settings {
    /// Where the recording of this session is.
    pub(crate) fn recording(&self, session: &policies::SessionId) -> std::path::PathBuf {
        self.recordings.join(format!("{session}.rec"))
    }

    /// The key of the secrets that the store keeps: beside it, and not in it.
    pub(crate) fn vault_key(&self) -> PathBuf {
        self.database.with_file_name("vault.key")
    }

    /// What is known of the store outside of it.
    pub(crate) fn high_water(&self) -> PathBuf {
        self.database.with_file_name(crate::model::high_water::HIGH_WATER_FILE)
    }

    /// The public address without a slash at its end.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.public_url.as_str().trim_end_matches('/')
    }
}
