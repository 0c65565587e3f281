//! Codes of an authenticator app (RFC 6238): a second factor that is weaker than a passkey, and
//! off unless the configuration says otherwise. Rules can tell the two apart.
//!
//! A code can be talked out of somebody, which is why it is never taken to change what protects an
//! account that has a passkey. The secret is in the vault; a code counts once, and few may be tried.

pub(crate) mod codes;

use policies::Purpose;
use secrecy::SecretString;
use serde_json::json;

use crate::identity::proof::{Failure, Proof};
use crate::identity::totp::codes::{TABLE, apps, takes_codes, use_code};
use crate::identity::{Identity, challenge};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::high_water::Factor;
use crate::model::statement::Statement;
use crate::store;

/// A fresh secret for an authenticator app. It is shown this once.
#[derive(Debug)]
pub struct TotpSecret {
    /// To be typed into the app, in base32.
    pub secret: SecretString,
    /// To be opened with the app.
    pub url: SecretString,
}

impl Identity {
    /// What somebody agrees to who adds an authenticator app to what they have.
    #[must_use]
    pub fn totp_addition(&self, actor: &Actor) -> Statement {
        statement(actor, "Add an authenticator app")
    }

    /// What somebody agrees to who removes their authenticator app.
    #[must_use]
    pub fn totp_removal(&self, actor: &Actor) -> Statement {
        statement(actor, "Remove the authenticator app")
    }

    /// Makes a secret for the actor's app. It counts once a first code has confirmed it.
    ///
    /// # Errors
    /// Where codes are off, the actor has an app already, or has a passkey and didn't prove it.
    pub async fn begin_totp(
        &self,
        actor: &Actor,
        proven: Option<(&str, Proof)>,
    ) -> Result<TotpSecret, ControlError> {
        takes_codes(self.kernel.settings())?;
        self.administer(actor, &self.totp_addition(actor), proven).await?;
        let secret: [u8; 20] = rand::random();
        let codes = apps(&secret, actor.principal.id.as_str())?;
        let sealed = self.kernel.vault().wrap(TABLE, actor.principal.id.as_str(), &secret)?;
        let (identity, principal) = (self.clone(), actor.principal.id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let now = tx.now;
                if !store::totp::insert(tx.db(), &principal, &sealed, now).await? {
                    let message = "you have an authenticator app already: remove it first";
                    return Err(Refusal::Conflict(message.to_owned()).into());
                }
                tx.commit().await.map(drop)
            })
            .await?;
        Ok(TotpSecret { secret: codes.get_secret_base32().into(), url: codes.get_url().into() })
    }

    /// Confirms the app by its first code.
    ///
    /// # Errors
    /// Where codes are off, or the code isn't right.
    pub async fn confirm_totp(
        &self,
        actor: &Actor,
        code: SecretString,
    ) -> Result<(), ControlError> {
        takes_codes(self.kernel.settings())?;
        self.own.limits.typed(&actor.principal.id)?;
        let (identity, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let done = confirm_code(&mut tx, &actor, &code).await;
                let by = By::from(&actor);
                challenge::settle(tx, by, AuditKind::TotpRefused, "totp", Purpose::Administer, done)
                    .await
            })
            .await
    }

    /// Removes the actor's app.
    ///
    /// # Errors
    /// Where they have none, or the proof isn't good.
    pub async fn remove_totp(
        &self,
        actor: &Actor,
        proven: Option<(&str, Proof)>,
    ) -> Result<(), ControlError> {
        self.administer(actor, &self.totp_removal(actor), proven).await?;
        let (identity, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                if !store::totp::remove(tx.db(), &actor.principal.id).await? {
                    return Err(Refusal::NotFound("authenticator app").into());
                }
                tx.removed_factor(Factor::App(actor.principal.id.clone()));
                tx.record(Event::new(&actor, AuditKind::TotpRemoved, "totp", json!({}))).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

fn statement(actor: &Actor, what: &str) -> Statement {
    let who = format!("{} ({})", actor.principal.name, actor.principal.id);
    Statement {
        purpose: Purpose::Administer,
        subject: "totp".to_owned(),
        lines: vec![("What".to_owned(), what.to_owned()), ("For".to_owned(), who)],
    }
}

async fn confirm_code(
    tx: &mut Transaction,
    actor: &Actor,
    code: &SecretString,
) -> Result<(), Failure> {
    use_code(tx, &actor.principal.id, code, false).await?;
    let event = Event::new(actor, AuditKind::TotpAdded, "totp", json!({}));
    Ok(tx.record(event).await?)
}
