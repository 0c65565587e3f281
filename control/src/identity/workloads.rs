//! Workloads: programs that prove who they are by a token of an issuer, such as that of a CI system or
//! a cluster, and get a client certificate of minutes for it (RFC 8693).
//!
//! A workload is a principal like any other: the same rules, locks and approvals hold. What it can't
//! do is act for itself: it has no login session, so it neither approves nor makes tokens, and where
//! the rules want a touch it is denied. A token works for the key that it was first shown with only:
//! whoever copies it can't have it exchanged for a key of their own, and its workload may try again.

use std::net::IpAddr;

use certs::{Csr, Issued, PersonCert};
use policies::{DeviceId, Principal, PrincipalId, Timestamp, Ttl, WORKLOAD_DEVICE};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::identity::issuers::{Claims, Expect, JwtError, Typ};
use crate::identity::{Identity, credentials};
use crate::kernel::refusals::Refused;
use crate::kernel::state::Transaction;
use crate::model::actor::Asker;
use crate::model::audit_kind::AuditKind;
use crate::model::carrier::Carrier;
use crate::model::error::{ControlError, Refusal, Rejection, StoreError, TooMany};
use crate::model::event::{By, Event};
use crate::model::workload::{Pattern, Workload};
use crate::platform::ids::Hash;
use crate::platform::sanitize::clip;
use crate::policy::risk;
use crate::store;
use crate::store::exchanges::Shown;

/// A token may be good for so long: it is kept in mind until then.
const LIFE: Ttl = Ttl::from_secs(24 * 3_600);
/// How often one token may be shown with the same key.
const TIMES: u32 = 32;
/// What a workload shows, and what for.
#[derive(Debug)]
pub(crate) struct TokenExchangeInput {
    /// The workload that it is.
    pub(crate) workload: String,
    /// The token of its issuer.
    pub(crate) token: SecretString,
    /// The request for a certificate.
    pub(crate) csr: Csr,
    pub(crate) source: Option<IpAddr>,
}

/// What a workload gets.
#[derive(Debug)]
pub(crate) struct Exchanged {
    pub(crate) issued: Issued,
    pub(crate) principal: Principal,
    pub(crate) asker: Asker,
    pub(crate) lasts: Ttl,
}

/// Why a workload gets nothing.
#[derive(Debug, Error)]
pub(crate) enum ExchangeError {
    /// The token, or who shows it, isn't accepted: reported, and audited within bounds.
    #[error(transparent)]
    Refused(#[from] Unfit),
    /// Something failed.
    #[error(transparent)]
    Failed(#[from] ControlError),
}

/// Why a token isn't exchanged.
#[derive(Debug, Error)]
pub(crate) enum Unfit {
    /// Nobody of that name, or a token that isn't signed by their issuer: to the one who tries, both
    /// are the same.
    #[error("the token is not one of this workload's issuer, or there is no such workload")]
    Unproven(&'static str),
    #[error("{0}")]
    Token(JwtError),
    #[error("the claim `{0}` of the token is not that of this workload")]
    Claim(String),
    #[error("the token is good for too long: at most {LIFE} are taken")]
    Long,
    #[error("the token was shown before, with another key")]
    Replayed,
    #[error("the token was shown too often: get a fresh one")]
    Worn,
    #[error("{0}")]
    Rejected(#[from] Rejection),
}

impl Workload {
    /// Whether the claims are those of this workload.
    fn is_meant(&self, claims: &Claims) -> Result<(), Unfit> {
        let fits = |name: &String, wanted: &Pattern| {
            claims.all.get(name).is_some_and(|claim| wanted.fits(claim))
        };
        match self.claims.iter().find(|(name, wanted)| !fits(name, wanted)) {
            Some((name, _)) => Err(Unfit::Claim(name.clone())),
            None => Ok(()),
        }
    }
}

impl Unfit {
    /// A short name of fixed wording, for the audit log.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Unproven(code) => code,
            Self::Token(error) => error.code(),
            Self::Claim(_) => "wrong-claim",
            Self::Long => "long-lived-token",
            Self::Replayed => "replayed",
            Self::Worn => "shown-too-often",
            Self::Rejected(why) => why.code().name(),
        }
    }
}

impl From<StoreError> for ExchangeError {
    fn from(error: StoreError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<JwtError> for ExchangeError {
    fn from(error: JwtError) -> Self {
        if let JwtError::Issuers(error) = error {
            return Self::Failed(error.into());
        }
        let unproven = Unfit::Unproven(error.code());
        Self::Refused(if error.is_of_issuer() { Unfit::Token(error) } else { unproven })
    }
}

impl Identity {
    /// Exchanges the token of a workload for a client certificate.
    #[tracing::instrument(skip_all, fields(workload = %clip(&requested.workload, 64)))]
    pub(crate) async fn exchange(
        &self,
        requested: TokenExchangeInput,
    ) -> Result<Exchanged, ExchangeError> {
        let from = requested.source.map(accept::neighbourhood);
        self.own.exchanges.0.check_key(&from).map_err(|_| ControlError::from(TooMany::Tries))?;
        match self.exchanged(&requested).await {
            Err(ExchangeError::Refused(why)) => {
                self.note_unfit(&requested, &why).await?;
                Err(why.into())
            }
            outcome => outcome,
        }
    }

    async fn exchanged(&self, requested: &TokenExchangeInput) -> Result<Exchanged, ExchangeError> {
        let (id, workload) = self.workload(&requested.workload)?;
        let expect = Expect { audience: &workload.audience, typ: Typ::Plain, max_age: None };
        let token = requested.token.expose_secret();
        let claims = self.own.issuers.verify(&workload.issuer, token, &expect).await?;
        workload.is_meant(&claims)?;
        if claims.issued_at.until(claims.expires_at) > LIFE {
            return Err(Unfit::Long.into());
        }
        let proof = Proof { token: digest(token), id, claims, csr: requested.csr.clone() };
        let (identity, source) = (self.clone(), requested.source);
        let done = self.kernel.to_the_end(async move {
            let mut tx = identity.kernel.begin().await?;
            let exchanged = match exchange(&mut tx, &proof, source).await {
                Err(ExchangeError::Failed(error)) => return Err(error),
                Err(ExchangeError::Refused(why)) => return Ok(Err(why)),
                Ok(exchanged) => exchanged,
            };
            tx.commit().await?;
            Ok(Ok(exchanged))
        });
        Ok(done.await??)
    }

    /// The workload of this name, unless it is shut out.
    fn workload(&self, name: &str) -> Result<(PrincipalId, Workload), Unfit> {
        let inventory = self.kernel.inventory();
        let unknown = Unfit::Unproven("unknown-workload");
        let Ok(id) = PrincipalId::new(name) else { return Err(unknown) };
        match inventory.workloads.get(&id) {
            Some(workload) => Ok((id, workload.clone())),
            None => Err(unknown),
        }
    }

    /// Writes a refusal down, or counts it. Where no workload is configured, nothing is written.
    async fn note_unfit(
        &self,
        requested: &TokenExchangeInput,
        why: &Unfit,
    ) -> Result<(), ControlError> {
        if self.kernel.inventory().workloads.is_empty() {
            return Ok(());
        }
        let detail =
            json!({ "why": why.code(), "told": why.to_string(), "source": requested.source });
        let subject = clip(&requested.workload, 64);
        self.kernel.note_refusal(Refused::Workload, requested.source, subject, detail).await
    }
}

/// A token that is believed, and for which key.
struct Proof {
    token: Hash,
    id: PrincipalId,
    claims: Claims,
    csr: Csr,
}

/// The digest of what was signed. The signature isn't part of it: some can be written in several ways.
fn digest(token: &str) -> Hash {
    let signed = token.rsplit_once('.').map_or(token, |(signed, _)| signed);
    Sha256::digest(signed.as_bytes()).into()
}

async fn exchange(
    tx: &mut Transaction,
    proof: &Proof,
    source: Option<IpAddr>,
) -> Result<Exchanged, ExchangeError> {
    let Proof { token, id, claims, csr } = proof;
    let inventory = std::sync::Arc::clone(&tx.inventory);
    let workload = inventory.workloads.get(id).ok_or(Unfit::Unproven("unknown-workload"))?;
    let person = inventory.person(id).map_err(Unfit::from)?;
    let device = DeviceId::new(&format!("{WORKLOAD_DEVICE}{id}")).map_err(invalid)?;
    let principal = person.principal.clone();
    let (principal_id, own) = (id.clone(), Some(device.clone()));
    let asker = Asker {
        principal: principal_id,
        device: own,
        carrier: Carrier::Session,
        credential: None,
        place: None,
        touch: None,
    };
    tx.kernel().not_shut_out(&asker, tx.now).map_err(Unfit::from)?;
    let key = Sha256::digest(csr.public_key_der()).into();
    first_shown(tx, &Shown { token, key: &key, workload: id, expires_at: claims.expires_at })
        .await?;
    let settings = tx.kernel().settings();
    let wanted = PersonCert {
        principal_id: id.as_str(),
        name: &principal.name,
        device: device.as_str(),
        not_after: tx.now.after(workload.certificate_ttl).millis(),
        max_life: workload.certificate_ttl.duration(),
    };
    let issued = settings.authority.issue_person(&wanted, csr, tx.now.millis());
    let issued = issued.map_err(ControlError::from)?;
    let detail = json!({
        "serial": issued.serial, "fingerprint": issued.fingerprint, "device": device,
        "not_after": Timestamp::from_millis(issued.not_after).to_string(),
        "issuer": workload.issuer.as_str(), "subject": claims.subject, "token": claims.id,
        "source": source,
    });
    tx.record(Event::new(By::Principal(id.clone()), AuditKind::WorkloadExchanged, id, detail))
        .await?;
    credentials::note_issued(tx, &issued.serial, id, Timestamp::from_millis(issued.not_after))?;
    // A token that its issuer signed is a proof, and names the one who shows it.
    risk::learn_place(tx, id, source, Some(&device)).await?;
    let lasts = tx.now.until(Timestamp::from_millis(issued.not_after));
    Ok(Exchanged { issued, principal, asker, lasts })
}

async fn first_shown(tx: &mut Transaction, shown: &Shown<'_>) -> Result<(), ExchangeError> {
    match store::exchanges::show(tx.db(), shown).await? {
        None => Err(Unfit::Replayed.into()),
        Some(times) if times > TIMES => Err(Unfit::Worn.into()),
        Some(_) => Ok(()),
    }
}

fn invalid(error: impl ToString) -> ControlError {
    Refusal::Invalid(error.to_string()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_is_the_same_token_however_its_signature_is_written() {
        assert_eq!(digest("a.b.c"), digest("a.b.d"));
        assert_ne!(digest("a.b.c"), digest("a.c.c"));
    }
}
