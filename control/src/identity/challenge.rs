//! The one way to prove a touch.
//!
//! What somebody is to agree to is a [`Statement`]. Asking for it makes a challenge that only this
//! statement and a fresh nonce give, and writes both to the audit log before anybody can have
//! answered. The answer counts once, within five minutes, for the person and the login session that
//! were asked, for that purpose and that statement; it is kept in the audit log, whole, so that
//! anybody can check it later ([`crate::identity::passkeys::evidence::verify`]). What isn't taken is audited with why.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policies::{Bound, Digest, PrincipalId, Purpose, StepUp, StepUpKind};
use serde_json::{Value, json};

use crate::identity::Identity;
use crate::identity::passkeys::{check, evidence};
use crate::identity::proof::{Challenge, Factors, Failure, Proof, TIMEOUT};
use crate::identity::totp::codes;
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::statement::Statement;
use crate::model::unproven::Unproven;
use crate::platform::ids;
use crate::policy::risk;
use crate::store;
use crate::store::challenges::Asked;

/// How many unanswered challenges are kept of one person; the oldest make room.
const MOST: i64 = 32;

impl Identity {
    /// What this person has to prove themselves with.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub async fn factors(&self, principal: &PrincipalId) -> Result<Factors, ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        let passkeys = store::passkeys::count(db, principal).await?;
        let totp = self.kernel.settings().totp && store::totp::confirmed(db, principal).await?;
        Ok(Factors { passkeys, totp })
    }

    /// Asks somebody to agree to a statement. The audit log has it before they can answer.
    ///
    /// # Errors
    /// Where they have nothing to prove themselves with, or are asked too often.
    pub async fn challenge(
        &self,
        actor: &Actor,
        statement: &Statement,
    ) -> Result<Challenge, ControlError> {
        self.own.limits.challenge(&actor.principal.id)?;
        let (identity, actor, statement) = (self.clone(), actor.clone(), statement.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let challenge = challenge(&mut tx, &identity, &actor, statement).await?;
                tx.commit().await?;
                Ok(challenge)
            })
            .await
    }

    /// Takes what came back on a challenge: the proof that this very person, in this very login
    /// session, agreed to the statement of this digest.
    ///
    /// # Errors
    /// Where it proves anything else, or nothing; that is audited.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, %purpose))]
    pub async fn prove(
        &self,
        actor: &Actor,
        challenge: &str,
        proof: Proof,
        purpose: Purpose,
        digest: &Digest,
        bound: Option<Bound>,
    ) -> Result<StepUp, ControlError> {
        self.own.limits.proof(&actor.principal.id)?;
        if matches!(proof, Proof::Totp(_)) {
            self.own.limits.typed(&actor.principal.id)?;
        }
        let (identity, actor, digest) = (self.clone(), actor.clone(), digest.clone());
        let id = challenge.to_owned();
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let wanted = Wanted { actor: &actor, purpose, digest: &digest, bound };
                let proven = prove(&mut tx, &identity, &wanted, &id, proof).await;
                settle(tx, By::from(&actor), AuditKind::StepUpRefused, &id, purpose, proven).await
            })
            .await
    }
}

impl Identity {
    /// Takes the proof without which whoever has a factor changes nothing that protects an account.
    pub(crate) async fn administer(
        &self,
        actor: &Actor,
        statement: &Statement,
        proven: Option<(&str, Proof)>,
    ) -> Result<(), ControlError> {
        let (purpose, digest) = (Purpose::Administer, statement.digest());
        match proven {
            Some((challenge, proof)) => {
                self.prove(actor, challenge, proof, purpose, &digest, None).await.map(drop)
            }
            None if self.factors(&actor.principal.id).await?.any() => {
                let message = "this takes a step-up with a passkey that you have: open /keys";
                Err(Refusal::Forbidden(message.to_owned()).into())
            }
            None => Ok(()),
        }
    }
}

/// What has to be proven, and by whom.
struct Wanted<'a> {
    actor: &'a Actor,
    purpose: Purpose,
    digest: &'a Digest,
    bound: Option<Bound>,
}

async fn challenge(
    tx: &mut Transaction,
    identity: &Identity,
    actor: &Actor,
    statement: Statement,
) -> Result<Challenge, ControlError> {
    tx.acting(actor)?;
    let principal = &actor.principal.id;
    let statement_purpose = statement.purpose;
    let asked = asked(tx, actor, statement);
    let keys = store::passkeys::of(tx.db(), principal).await?;
    let totp = takes_code(tx, principal, statement_purpose, !keys.is_empty()).await?;
    let options = if keys.is_empty() {
        None
    } else {
        let keys: Vec<_> = keys.into_iter().map(|kept| kept.key).collect();
        Some(identity.party()?.options(&keys, &asked.challenge())?)
    };
    if options.is_none() && !totp {
        let message = "you have no passkey yet: register one at /keys";
        return Err(Refusal::Conflict(message.to_owned()).into());
    }
    keep(tx, &asked).await?;
    Ok(Challenge { id: asked.id, options, totp, expires_at: asked.expires_at })
}

/// Whether a code of an app will do. It never does for what protects an account that has a
/// passkey: else whoever talks somebody out of a code could stay for good.
async fn takes_code(
    tx: &mut Transaction,
    principal: &PrincipalId,
    purpose: Purpose,
    has_passkey: bool,
) -> Result<bool, ControlError> {
    let weak = purpose == Purpose::Administer && has_passkey;
    let taken = tx.kernel().settings().totp && !weak;
    Ok(taken && store::totp::confirmed(tx.db(), principal).await?)
}

/// A fresh question to somebody.
pub(crate) fn asked(tx: &Transaction, actor: &Actor, statement: Statement) -> Asked {
    Asked {
        id: ids::fresh_text("ch"),
        principal: actor.principal.id.clone(),
        login: actor.login.clone(),
        nonce: rand::random::<[u8; 32]>().to_vec(),
        expires_at: tx.now.after(TIMEOUT),
        used_at: None,
        statement,
    }
}

/// Keeps a question, and writes it down before anybody can answer it.
pub(crate) async fn keep(tx: &mut Transaction, asked: &Asked) -> Result<(), ControlError> {
    store::challenges::insert(tx.db(), asked, MOST).await?;
    let by = By::Principal(asked.principal.clone());
    let detail = json!({
        "statement": asked.statement, "digest": asked.statement.digest(),
        "nonce": URL_SAFE_NO_PAD.encode(&asked.nonce), "login": asked.login,
    });
    tx.record(Event::new(by, AuditKind::StepUpAsked, &asked.id, detail)).await
}

/// Commits what came of a proof; a refusal is committed too, as an audit event.
pub(crate) async fn settle<T>(
    mut tx: Transaction,
    by: By,
    kind: AuditKind,
    challenge: &str,
    purpose: Purpose,
    proven: Result<T, Failure>,
) -> Result<T, ControlError> {
    match proven {
        Ok(proven) => tx.commit().await.map(|_| proven),
        Err(Failure::Broken(error)) => Err(error),
        Err(Failure::Unproven(why)) => {
            if let By::Principal(who) = &by {
                risk::failed(&mut tx, who, kind.name()).await?;
            }
            let detail = json!({ "reason": why.code(), "purpose": purpose });
            refuse(tx, by, kind, challenge, detail).await?;
            Err(Refusal::Unproven(why).into())
        }
    }
}

/// Commits that a proof was refused.
pub(crate) async fn refuse(
    mut tx: Transaction,
    by: By,
    kind: AuditKind,
    challenge: &str,
    detail: Value,
) -> Result<(), ControlError> {
    let challenge = crate::platform::sanitize::clip(challenge, 64);
    tx.record(Event::new(by, kind, challenge, detail)).await?;
    tx.commit().await.map(drop)
}

async fn prove(
    tx: &mut Transaction,
    identity: &Identity,
    wanted: &Wanted<'_>,
    id: &str,
    proof: Proof,
) -> Result<StepUp, Failure> {
    tx.acting(wanted.actor)?;
    let asked = answer(tx, wanted.actor, id).await?;
    if asked.statement.purpose != wanted.purpose {
        return Err(Unproven::WrongPurpose.into());
    }
    if asked.statement.digest() != *wanted.digest {
        return Err(Unproven::WrongStatement.into());
    }
    let (kind, credential, evidence) = match proof {
        Proof::Passkey(json) => {
            let (key, assertion) =
                check::touched(tx, identity, &asked.principal, &asked.challenge(), &json).await?;
            (
                StepUpKind::Passkey,
                assertion.credential.clone(),
                json!({ "passkey": key, "assertion": assertion }),
            )
        }
        Proof::Totp(code) => {
            let has_passkey = store::passkeys::count(tx.db(), &asked.principal).await? > 0;
            if !takes_code(tx, &asked.principal, wanted.purpose, has_passkey).await? {
                return Err(Unproven::TooWeak.into());
            }
            codes::take_code(tx, &asked.principal, &code).await?;
            (StepUpKind::Totp, "totp".to_owned(), Value::Null)
        }
    };
    let step_up = StepUp {
        id: ids::fresh("su").map_err(ControlError::from)?,
        principal: asked.principal.clone(),
        kind,
        purpose: wanted.purpose,
        subject: asked.statement.subject.clone(),
        at: tx.now,
        bound: wanted.bound.clone(),
        credential,
        digest: wanted.digest.clone(),
    };
    put_step_up(tx, &step_up, &asked, evidence).await?;
    Ok(step_up)
}

/// Uses a question up: it was asked of this person, in this login session, not long ago. From
/// then on no other answer to it counts, whatever becomes of this one.
pub(crate) async fn answer(
    tx: &mut Transaction,
    actor: &Actor,
    id: &str,
) -> Result<Asked, Failure> {
    let found = store::challenges::find(tx.db(), id).await?;
    let asked = found.ok_or(Unproven::Unknown)?;
    if asked.principal != actor.principal.id {
        return Err(Unproven::AnotherPerson.into());
    }
    if asked.login != actor.login {
        return Err(Unproven::AnotherSession.into());
    }
    if asked.used_at.is_some() {
        return Err(Unproven::Replayed.into());
    }
    let now = tx.now;
    store::challenges::spend(tx.db(), id, now).await?;
    if now >= asked.expires_at {
        return Err(Unproven::Expired.into());
    }
    Ok(asked)
}

async fn put_step_up(
    tx: &mut Transaction,
    step_up: &StepUp,
    asked: &Asked,
    evidence: Value,
) -> Result<(), ControlError> {
    let detail = json!({
        "challenge": asked.id, "kind": step_up.kind, "purpose": step_up.purpose,
        "subject": step_up.subject, "digest": step_up.digest, "bound": step_up.bound,
        "credential": step_up.credential, "evidence": evidence,
    });
    keep_step_up(tx, step_up).await?;
    let by = By::Principal(step_up.principal.clone());
    tx.record(Event::new(by, AuditKind::StepUpGiven, &step_up.id, detail)).await
}

/// Keeps a step-up, in the transaction of its audit event.
pub(crate) async fn keep_step_up(tx: &mut Transaction, given: &StepUp) -> Result<(), ControlError> {
    Ok(store::step_ups::insert(tx.db(), given).await?)
}

/// Whether they have something to prove themselves with.
pub(crate) async fn has_factor(
    tx: &mut Transaction,
    who: &PrincipalId,
) -> Result<bool, ControlError> {
    let app = tx.kernel().settings().totp;
    Ok(store::passkeys::count(tx.db(), who).await? > 0
        || (app && store::totp::confirmed(tx.db(), who).await?))
}

impl Asked {
    /// What the authenticator has to sign.
    pub(crate) fn challenge(&self) -> [u8; 32] {
        evidence::challenge(&self.statement, &self.nonce)
    }
}
