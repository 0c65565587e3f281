//! Access tokens of issuers (RFC 9068), as clients show them by `OAUTHBEARER`.
//!
//! A token has to be signed by an issuer of the configuration and made for this gateway, by a name that
//! no client of the issuer has: so an id token, or a token for another service, is none of ours. Its
//! issuer and subject are whom the same person is who signs in with a browser; nobody is made of it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policies::{Authn, IssuerName, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::identity::Identity;
use crate::identity::issuers::{Claims, Expect, JwtError, Typ};
use crate::identity::tokens::Redeemed;
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::bearer::Bearer;
use crate::model::error::{ControlError, Rejection, StoreError};
use crate::model::event::Event;
use crate::platform::ids;
use crate::platform::sanitize::clip;

/// Where clients get access tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Discovery {
    pub(crate) openid_configuration: String,
    pub(crate) scope: String,
}

/// Why an access token names nobody.
#[derive(Debug, Error)]
pub(crate) enum BearerError {
    #[error("no issuer's access tokens are taken here")]
    NoIssuer,
    /// Not proven to be one of a configured issuer: which of the reasons is nobody's business.
    #[error("the access token is not one of an issuer that is trusted here")]
    Unproven,
    #[error("the access token isn't good: {0}")]
    Token(JwtError),
    #[error("the access token names nobody")]
    Nobody,
    #[error("whom the access token names isn't known here: sign in once with the browser")]
    Unknown,
    #[error("{0}")]
    Rejected(Rejection),
    #[error(transparent)]
    Failed(#[from] ControlError),
}

impl From<StoreError> for BearerError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<JwtError> for BearerError {
    fn from(error: JwtError) -> Self {
        if let JwtError::Issuers(error) = error {
            return Self::Failed(error.into());
        }
        if error.is_of_issuer() { Self::Token(error) } else { Self::Unproven }
    }
}

/// A token that is believed.
struct Proven {
    issuer: IssuerName,
    claims: Claims,
    /// Its own number, or else the beginning of its digest.
    evidence: String,
}

impl Identity {
    /// Where clients get access tokens: the first issuer, where there are several.
    pub(crate) fn discovery(&self) -> Result<Discovery, BearerError> {
        let inventory = self.kernel.inventory();
        let first = inventory.bearers.values().next().ok_or(BearerError::NoIssuer)?;
        let base = first.issuer.as_str().trim_end_matches('/');
        Ok(Discovery {
            openid_configuration: format!("{base}/.well-known/openid-configuration"),
            scope: first.scope.clone(),
        })
    }

    /// Exchanges an access token for whom it names.
    #[tracing::instrument(skip_all)]
    pub(crate) async fn redeem_bearer(
        &self,
        token: &SecretString,
    ) -> Result<Redeemed, BearerError> {
        let proven = self.believe(token.expose_secret()).await?;
        let identity = self.clone();
        let done = self.kernel.to_the_end(async move {
            let mut tx = identity.kernel.begin().await?;
            let redeemed = match redeem_bearer(&mut tx, &proven).await {
                Err(BearerError::Failed(error)) => return Err(error),
                Err(refused) => return Ok(Err(refused)),
                Ok(redeemed) => redeemed,
            };
            tx.commit().await?;
            Ok(Ok(redeemed))
        });
        done.await?
    }

    async fn believe(&self, token: &str) -> Result<Proven, BearerError> {
        let (issuer, bearer) = self.bearer(token)?;
        let expect = Expect { audience: &bearer.audience, typ: Typ::Access, max_age: None };
        let claims = self.own.issuers.verify(&bearer.issuer, token, &expect).await?;
        let evidence = match &claims.id {
            Some(id) => clip(id, 64),
            None => ids::hex(&Sha256::digest(token.as_bytes())).chars().take(16).collect(),
        };
        Ok(Proven { issuer, claims, evidence })
    }

    /// The issuer that the token says it is of, which is still to be proven.
    fn bearer(&self, token: &str) -> Result<(IssuerName, Bearer), BearerError> {
        let inventory = self.kernel.inventory();
        let bearers: &BTreeMap<IssuerName, Bearer> = &inventory.bearers;
        if bearers.is_empty() {
            return Err(BearerError::NoIssuer);
        }
        let said = said_issuer(token).ok_or(BearerError::Unproven)?;
        let found = bearers.iter().find(|(_, bearer)| bearer.issuer.as_str() == said);
        let (name, bearer) = found.ok_or(BearerError::Unproven)?;
        Ok((name.clone(), bearer.clone()))
    }
}

/// The `iss` of a signed token, which nobody has verified.
fn said_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        iss: String,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&claims).ok().map(|Said { iss }| iss)
}

async fn redeem_bearer(tx: &mut Transaction, proven: &Proven) -> Result<Redeemed, BearerError> {
    let Proven { issuer, claims, evidence } = proven;
    let subject = claims.subject.as_deref().ok_or(BearerError::Nobody)?;
    let id = tx.inventory.principal_of(issuer, subject);
    let id = id.map_err(|_| BearerError::Unknown)?;
    let person = match tx.inventory.person(&id) {
        Ok(person) => person,
        Err(Rejection::Unknown) => return Err(BearerError::Unknown),
        Err(other) => return Err(BearerError::Rejected(other)),
    };
    let principal = person.principal.clone();
    let by = crate::model::event::By::Principal(id);
    let detail = json!({ "issuer": issuer, "subject": clip(subject, 255) });
    tx.record(Event::new(by, AuditKind::BearerRedeemed, evidence, detail)).await?;
    let (method, at, device) = (Method::Bearer, tx.now, None);
    let authn = Authn { method, at, evidence: evidence.clone(), device };
    Ok(Redeemed { principal, authn })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_token_says_of_its_issuer_is_read_or_nothing() {
        let token = |claims: &str| format!("e30.{}.AA", URL_SAFE_NO_PAD.encode(claims));
        assert_eq!(said_issuer(&token(r#"{"iss":"a"}"#)).as_deref(), Some("a"));
        for text in ["", "a", "a.b.c", &token("{}"), &token(r#"{"iss":1}"#), &token("[]")] {
            assert_eq!(said_issuer(text), None, "{text}");
        }
    }
}
