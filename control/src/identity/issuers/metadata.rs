//! What an issuer says about itself (OpenID Connect Discovery 1.0, RFC 8414), as far as we use it.

use serde::Deserialize;
use url::Url;

use crate::model::issuer_url::{IssuerError, IssuerUrl};
use crate::platform::http_client::Http;

/// An issuer's own description. Issuers that sign tokens for machines only have no endpoints but
/// that of their keys.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Metadata {
    issuer: String,
    pub(crate) jwks_uri: Url,
    #[serde(default)]
    pub(crate) authorization_endpoint: Option<Url>,
    #[serde(default)]
    pub(crate) token_endpoint: Option<Url>,
    #[serde(default)]
    pub(crate) userinfo_endpoint: Option<Url>,
    #[serde(default)]
    pub(crate) end_session_endpoint: Option<Url>,
    /// Whether its answers say whom they are from (RFC 9207).
    #[serde(default)]
    pub(crate) authorization_response_iss_parameter_supported: bool,
    /// How a client may prove itself; where it says nothing, `client_secret_basic`.
    #[serde(default)]
    pub(crate) token_endpoint_auth_methods_supported: Option<Vec<String>>,
    /// How PKCE may be done; where it says nothing, it is not known.
    #[serde(default)]
    pub(crate) code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) backchannel_logout_supported: bool,
}

/// Reads an issuer's description, and believes it only where it is its own.
pub(super) async fn fetch(http: &Http, issuer: &IssuerUrl) -> Result<Metadata, IssuerError> {
    let url = format!("{}/.well-known/openid-configuration", issuer.as_str().trim_end_matches('/'));
    let refused = || IssuerError::Unsafe { issuer: issuer.clone(), url: url.clone() };
    let url = Url::parse(&url).map_err(|_| refused())?;
    let read = http.json(&url).await;
    let read = read.map_err(|source| IssuerError::Unreadable { issuer: issuer.clone(), source })?;
    believed(read, issuer)
}

pub(super) fn believed(read: Metadata, issuer: &IssuerUrl) -> Result<Metadata, IssuerError> {
    if read.issuer != issuer.as_str() {
        return Err(IssuerError::Misnamed { issuer: issuer.clone(), named: read.issuer });
    }
    // The browser is sent to two of them; the others get codes, secrets and tokens.
    let used = [
        Some(&read.jwks_uri),
        read.authorization_endpoint.as_ref(),
        read.token_endpoint.as_ref(),
        read.userinfo_endpoint.as_ref(),
        read.end_session_endpoint.as_ref(),
    ];
    let refused = used
        .into_iter()
        .flatten()
        .find(|url| url.scheme() != "urn" && !issuer.allows(url))
        .map(ToString::to_string);
    match refused {
        Some(url) => Err(IssuerError::Unsafe { issuer: issuer.clone(), url }),
        None => Ok(read),
    }
}
