//! Who somebody is, and how they prove it: sign-ins, devices, passkeys, tokens, identity providers.

pub(crate) mod bearer;
pub(crate) mod challenge;
pub(crate) mod credentials;
pub(crate) mod devices;
pub(crate) mod failed_attempts;
pub(crate) mod issuers;
pub(crate) mod login;
pub(crate) mod logins;
pub(crate) mod oidc;
pub(crate) mod passkeys;
pub(crate) mod recovery;
pub(crate) mod ssh_certificates;
pub(crate) mod ssh_keys;
pub(crate) mod ssh_proof;
pub(crate) mod tokens;
pub(crate) mod totp;
pub(crate) mod workloads;
