//! The address of an issuer of tokens.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;
use url::Url;

use crate::platform::http_client::{HttpError, is_loopback};

/// An issuer's address, exactly as it names itself: over TLS, or on loopback.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerUrl(Arc<str>);

/// Why a text is no address of an issuer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is no issuer's address: {rule}")]
pub struct IssuerUrlError {
    text: String,
    rule: &'static str,
}

impl IssuerUrl {
    /// The address as the issuer writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this may be asked on behalf of the issuer: over TLS, or on loopback as it is itself.
    pub(crate) fn allows(&self, endpoint: &Url) -> bool {
        is_safe(endpoint) && (endpoint.scheme() == "https" || self.0.starts_with("http:"))
    }
}

impl FromStr for IssuerUrl {
    type Err = IssuerUrlError;

    fn from_str(text: &str) -> Result<Self, IssuerUrlError> {
        let refused = |rule| Err(IssuerUrlError { text: text.to_owned(), rule });
        let Ok(url) = Url::parse(text) else {
            return refused("it is written as `https://login.example.com`");
        };
        if !is_safe(&url) {
            return refused("it has to be `https`, or `http` on loopback");
        }
        let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        if bare { Ok(Self(text.into())) } else { refused("it has no query, fragment or user") }
    }
}

impl fmt::Display for IssuerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_safe(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.host().is_some(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Why nothing is known of an issuer.
#[derive(Debug, Error)]
pub enum IssuerError {
    /// It didn't answer, or not as it should.
    #[error("cannot read what `{issuer}` publishes")]
    Unreadable {
        /// The issuer.
        issuer: IssuerUrl,
        /// What happened.
        source: HttpError,
    },
    /// It names itself otherwise.
    #[error("`{issuer}` calls itself `{named}`: write its address as it does")]
    Misnamed {
        /// The issuer as it was configured.
        issuer: IssuerUrl,
        /// What it says.
        named: String,
    },
    /// It names an address that must not be asked.
    #[error("`{issuer}` publishes an address that is neither https nor its own loopback: `{url}`")]
    Unsafe {
        /// The issuer.
        issuer: IssuerUrl,
        /// The address.
        url: String,
    },
    /// It failed a moment ago.
    #[error("`{0}` failed a moment ago: try again in some seconds")]
    Resting(IssuerUrl),
}
