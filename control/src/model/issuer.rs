//! An identity provider that people sign in with.

use std::collections::{BTreeMap, BTreeSet};

use policies::{GroupName, IssuerName, Ttl};
use secrecy::SecretString;

use crate::model::issuer_url::IssuerUrl;

/// An identity provider that people sign in with.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// Its name here.
    pub name: IssuerName,
    /// Its address, exactly as it calls itself.
    pub url: IssuerUrl,
    /// Our name there.
    pub client_id: String,
    /// Our secret there; none for a public client.
    pub client_secret: Option<SecretString>,
    /// The certificates of its own authority in PEM, which alone is trusted; none for this machine's.
    pub ca: Option<String>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
    /// The claim that names groups.
    pub groups_claim: String,
    /// Its groups and what they are called here; without it, they are called the same.
    pub groups: Option<BTreeMap<String, GroupName>>,
    /// Whoever is in one of these may lock, revoke and invite.
    pub admins: BTreeSet<GroupName>,
    /// Whoever is in one of these may see everybody's sessions and the audit log.
    pub auditors: BTreeSet<GroupName>,
    /// Whether groups are asked at the userinfo endpoint.
    pub userinfo: bool,
    /// How often the issuer is asked about people again.
    pub refresh: Ttl,
    /// How much longer what it said holds while it can't be asked.
    pub refresh_grace: Ttl,
}
