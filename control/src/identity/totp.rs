//! Codes of an authenticator app (RFC 6238): a second factor that is weaker than a passkey, and
//! off unless the configuration says otherwise. Rules can tell the two apart.
//!
//! A code can be talked out of somebody, which is why it is never taken to change what protects an
//! account that has a passkey. The secret is in the vault; a code counts once, and few may be tried.

use policies::{PrincipalId, Purpose, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use subtle::ConstantTimeEq;
use totp_rs::{Algorithm, TOTP};

use crate::identity::challenge::{Failure, Proof};
use crate::identity::{Identity, challenge};
use crate::kernel::transaction::Transaction;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Unreadable};
use crate::model::event::{By, Event};
use crate::model::high_water::Factor;
use crate::model::settings::Settings;
use crate::model::statement::Statement;
use crate::model::unproven::Unproven;
use crate::store;

/// Seconds for which a code is good, by the app's clock.
const STEP: i64 = 30;
/// How many steps the app's clock may be off.
const SKEW: i64 = 1;
/// The vault's name of the place where the secrets are.
const TABLE: &str = "totps";

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
                    return Err(ControlError::Conflict(message.to_owned()));
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
                challenge::settle(tx, by, "totp.refused", "totp", Purpose::Administer, done).await
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
                    return Err(ControlError::NotFound("authenticator app"));
                }
                tx.removed_factor(Factor::App(actor.principal.id.clone()));
                tx.record(Event::new(&actor, "totp.removed", "totp", json!({}))).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

fn takes_codes(settings: &Settings) -> Result<(), ControlError> {
    let message = "codes of authenticator apps are not accepted here: register a passkey";
    let taken = settings.totp.then_some(());
    taken.ok_or_else(|| ControlError::Forbidden(message.to_owned()))
}

fn statement(actor: &Actor, what: &str) -> Statement {
    let who = format!("{} ({})", actor.principal.name, actor.principal.id);
    Statement {
        purpose: Purpose::Administer,
        subject: "totp".to_owned(),
        lines: vec![("What".to_owned(), what.to_owned()), ("For".to_owned(), who)],
    }
}

/// What apps know: they take SHA-1, six digits and half a minute, and nothing else for sure.
fn apps(secret: &[u8], account: &str) -> Result<TOTP, ControlError> {
    // A colon parts the issuer from the account in the apps' URL.
    let account = account.replace(':', "/");
    let step = STEP.unsigned_abs();
    let made =
        TOTP::new(Algorithm::SHA1, 6, 1, step, secret.to_vec(), Some("Postern".into()), account);
    made.map_err(|error| Unreadable::new("authenticator secret", error).into())
}

/// The time step whose code this is, of those that may be.
fn step_of(codes: &TOTP, code: &str, now: Timestamp) -> Option<i64> {
    let present = now.millis().div_euclid(1_000 * STEP);
    ((present - SKEW).max(0)..=present + SKEW).find(|step| {
        let wanted = codes.generate((step * STEP).unsigned_abs());
        bool::from(wanted.as_bytes().ct_eq(code.as_bytes()))
    })
}

/// Takes a code of a confirmed app.
pub(crate) async fn take_code(
    tx: &mut Transaction,
    principal: &PrincipalId,
    code: &SecretString,
) -> Result<(), Failure> {
    use_code(tx, principal, code, true).await
}

async fn confirm_code(
    tx: &mut Transaction,
    actor: &Actor,
    code: &SecretString,
) -> Result<(), Failure> {
    use_code(tx, &actor.principal.id, code, false).await?;
    let event = Event::new(actor, "totp.added", "totp", json!({}));
    Ok(tx.record(event).await?)
}

async fn use_code(
    tx: &mut Transaction,
    principal: &PrincipalId,
    code: &SecretString,
    confirmed: bool,
) -> Result<(), Failure> {
    let kernel = tx.kernel().clone();
    takes_codes(kernel.settings())?;
    let found = store::totp::find(tx.db(), principal).await?;
    let kept = found.filter(|kept| kept.confirmed == confirmed).ok_or(Unproven::WrongCode)?;
    let secret = kernel.vault().reveal(TABLE, principal.as_str(), &kept.sealed);
    let secret = secret.map_err(ControlError::from)?;
    let codes = apps(secret.expose_secret(), principal.as_str())?;
    let typed: String = code.expose_secret().chars().filter(|c| !c.is_whitespace()).collect();
    let step = step_of(&codes, &typed, tx.now).filter(|step| *step > kept.step);
    let step = step.ok_or(Unproven::WrongCode)?;
    let now = tx.now;
    Ok(store::totp::used(tx.db(), principal, step, now).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_rfc_6238_and_of_now() {
        let codes = apps(b"12345678901234567890", "alice").unwrap();
        let at = |secs: i64| Timestamp::from_millis(secs * 1_000);
        // Appendix B, cut to six digits.
        for (secs, code) in [(59, "287082"), (1_111_111_109, "081804"), (2_000_000_000, "279037")] {
            for near in [-STEP, 0, STEP] {
                assert_eq!(step_of(&codes, code, at(secs + near)), Some(secs / STEP));
            }
            assert_eq!(step_of(&codes, code, at(secs + 2 * STEP)), None);
        }
        assert_eq!(step_of(&codes, "", at(59)), None);
    }
}
