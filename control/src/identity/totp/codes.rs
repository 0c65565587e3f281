//! The codes themselves: what an app shows now, and taking one.

use policies::{PrincipalId, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use totp_rs::{Algorithm, TOTP};

use crate::identity::proof::Failure;
use crate::kernel::state::Transaction;
use crate::model::error::{ControlError, Refusal, Unreadable};
use crate::model::settings::Settings;
use crate::model::unproven::Unproven;
use crate::store;

/// Seconds for which a code is good, by the app's clock.
const STEP: i64 = 30;

/// How many steps the app's clock may be off.
const SKEW: i64 = 1;

/// The vault's name of the place where the secrets are.
pub(crate) const TABLE: &str = "totps";

pub(crate) fn takes_codes(settings: &Settings) -> Result<(), Refusal> {
    let message = "codes of authenticator apps are not accepted here: register a passkey";
    let taken = settings.totp.then_some(());
    taken.ok_or_else(|| Refusal::Forbidden(message.to_owned()))
}

/// What apps know: they take SHA-1, six digits and half a minute, and nothing else for sure.
pub(crate) fn apps(secret: &[u8], account: &str) -> Result<TOTP, ControlError> {
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

pub(crate) async fn use_code(
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
