//! Issuers whose access tokens are taken.

use crate::model::issuer_url::IssuerUrl;

/// An issuer whose access tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bearer {
    /// Who signs them.
    pub issuer: IssuerUrl,
    /// Whom they are for: this gateway.
    pub audience: String,
    /// What clients ask the issuer for, with spaces between the scopes.
    pub scope: String,
}
