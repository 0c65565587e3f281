//! Where it is learned who is on call.

use std::collections::BTreeMap;
use std::path::PathBuf;

use policies::{PrincipalId, Ttl};
use secrecy::SecretString;
use url::Url;

/// Where it is learned who is on call.
#[derive(Debug, Clone)]
pub struct RosterSource {
    /// Where from.
    pub from: Place,
    /// Who is meant by a name of the source, such as an e-mail address; other names are keys.
    pub people: BTreeMap<String, PrincipalId>,
    /// How often it is asked.
    pub refresh: Ttl,
    /// For how long its last word holds.
    pub keep: Ttl,
}

/// A file, or a URL.
#[derive(Debug, Clone)]
pub enum Place {
    /// A file.
    File(PathBuf),
    /// An address, and what is shown there.
    Web {
        /// The address.
        url: Url,
        /// A bearer token.
        bearer: Option<SecretString>,
    },
}
