//! Signing in with a passkey that the authenticator finds by itself: no name is typed.
//!
//! Anybody may open the sign-in page, so asking stores nothing: the challenge's nonce carries its
//! time and a tag of ours. Only an answer that is good leaves a trace, so that it counts once.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policies::{Method, Purpose};
use serde_json::{Value, json};
use webauthn_rs::prelude::PublicKeyCredential;

use crate::identity::passkeys::{check, evidence, party};
use crate::identity::proof::{Challenge, Failure, TIMEOUT};
use crate::identity::{Identity, logins};
use crate::kernel::refusals::{CountedBy, Refused};
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::login::{LoginSession, NewLogin, Origin, Rank};
use crate::model::statement::Statement;
use crate::model::unproven::Unproven;
use crate::platform::sanitize::clip;
use crate::store;

impl Identity {
    /// Asks whoever is at the browser to sign in.
    ///
    /// # Errors
    /// Where passkeys don't work at this address.
    pub fn sign_in_challenge(&self) -> Result<Challenge, ControlError> {
        let now = self.kernel.now();
        let nonce = self.own.nonces.make(now);
        let challenge = evidence::challenge(&self.signing_in(), &nonce);
        Ok(Challenge {
            id: URL_SAFE_NO_PAD.encode(&nonce),
            options: Some(self.party()?.open_options(&challenge)?),
            totp: false,
            expires_at: now.after(TIMEOUT),
        })
    }

    /// Opens a session for the owner of the passkey that answered.
    ///
    /// # Errors
    /// Where the answer isn't good; that is audited, within the bounds of a network.
    pub async fn sign_in_with_passkey(
        &self,
        challenge: &str,
        answer: &str,
        origin: Origin,
    ) -> Result<LoginSession, ControlError> {
        self.own.limits.sign_in(origin.address)?;
        let (identity, challenge) = (self.clone(), challenge.to_owned());
        let answer = answer.to_owned();
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let from = origin.address;
                match sign_in_with_passkey(&mut tx, &identity, &challenge, &answer, origin).await {
                    Ok(opened) => tx.commit().await.map(|_| opened),
                    Err(Failure::Broken(error)) => Err(error),
                    Err(Failure::Unproven(why)) => {
                        let counted = CountedBy::address(from);
                        if let Some(noted) = identity.kernel.admit_refusal(Refused::Login, counted)
                        {
                            let detail = tried(&mut tx, why.code().name(), &answer, from).await?;
                            let challenge = clip(&challenge, 64);
                            tx.note_refusal(noted, By::Control, challenge, detail).await?;
                        }
                        // The challenge is used up in any case.
                        tx.commit().await?;
                        Err(Refusal::Unproven(why).into())
                    }
                }
            })
            .await
    }

    fn signing_in(&self) -> Statement {
        let site = self.kernel.settings().base_url().to_owned();
        Statement {
            purpose: Purpose::SignIn,
            subject: site.clone(),
            lines: vec![("Sign in to".to_owned(), site)],
        }
    }
}

/// What the audit log tells of a sign-in that was refused: with which key, whose that is where
/// it is known, and from where.
async fn tried(
    tx: &mut Transaction,
    reason: &str,
    answer: &str,
    from: Option<IpAddr>,
) -> Result<Value, ControlError> {
    let answer = party::read::<PublicKeyCredential>(answer).ok();
    let credential = answer.as_ref().map(PublicKeyCredential::get_credential_id);
    let owner = match credential {
        Some(credential) => store::passkeys::by_credential(tx.db(), credential).await?,
        None => None,
    };
    let credential = credential.map(|bytes| clip(&URL_SAFE_NO_PAD.encode(bytes), 200));
    Ok(json!({
        "reason": reason, "purpose": Purpose::SignIn, "credential": credential,
        "owner": owner.map(|kept| kept.view.principal), "address": from,
    }))
}

async fn sign_in_with_passkey(
    tx: &mut Transaction,
    identity: &Identity,
    challenge: &str,
    answer: &str,
    origin: Origin,
) -> Result<LoginSession, Failure> {
    let nonce = URL_SAFE_NO_PAD.decode(challenge).map_err(|_| Unproven::Unknown)?;
    let made_at = identity.own.nonces.read(&nonce).ok_or(Unproven::Unknown)?;
    let expires_at = made_at.after(TIMEOUT);
    if tx.now >= expires_at || tx.now < made_at {
        return Err(Unproven::Expired.into());
    }
    if !store::challenges::spend_nonce(tx.db(), &nonce, expires_at).await? {
        return Err(Unproven::Replayed.into());
    }
    let statement = identity.signing_in();
    let answer: PublicKeyCredential = party::read(answer)?;
    // Nobody has said who they are: the authenticator has to.
    answer.get_user_unique_id().ok_or(Unproven::Malformed)?;
    let kept = check::owner(tx, &answer).await?;
    let principal = kept.view.principal.clone();
    let asked = evidence::challenge(&statement, &nonce);
    let (passkey, assertion) = check::check(tx, identity, kept, &asked, &answer).await?;
    let new = NewLogin {
        principal,
        method: Method::Passkey,
        rank: Rank::Full,
        issuer: None,
        by: None,
        origin,
    };
    let session = logins::open_login(tx, new).await?;
    let detail = json!({
        "passkey": passkey, "statement": statement, "digest": statement.digest(),
        "nonce": challenge, "assertion": assertion,
    });
    let login = session.actor.login.clone();
    tx.record(Event::new(&session.actor, AuditKind::LoginProven, login, detail)).await?;
    Ok(session)
}
