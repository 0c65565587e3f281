//! Registering a passkey.
//!
//! The first one takes a login session alone; each further one takes a touch of one that is there
//! already, since otherwise whoever holds a cookie for a minute could stay for good.

use policies::{Method, Purpose};
use secrecy::SecretString;
use serde_json::{Value, json};
use webauthn_rs::prelude::RegisterPublicKeyCredential;

use crate::identity::passkeys::manage::proper;
use crate::identity::passkeys::party;
use crate::identity::passkeys::party::Owner;
use crate::identity::proof::{Challenge, Failure, Proof};
use crate::identity::{Identity, challenge, logins};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::login::Rank;
use crate::model::statement::Statement;
use crate::model::unproven::Unproven;
use crate::model::view::PasskeyView;
use crate::platform::ids;
use crate::store;
use crate::store::passkeys::Kept;

/// What the statement of a registration is about.
const SUBJECT: &str = "passkey";

/// A registered passkey, and the token by which the login session goes on.
#[derive(Debug)]
pub struct Enrolled {
    /// The passkey.
    pub passkey: PasskeyView,
    /// The session's next token; the one before is dead.
    pub token: SecretString,
}

impl Identity {
    /// What somebody agrees to who adds a passkey to those that they have.
    #[must_use]
    pub fn passkey_addition(&self, actor: &Actor) -> Statement {
        statement(actor, "Add a passkey")
    }

    /// Asks the browser to make a passkey. Whoever has a factor proves it first: `proven` is the
    /// challenge of [`Identity::passkey_addition`] and what came back on it.
    ///
    /// # Errors
    /// Where the proof is missing or not good, or passkeys don't work at this address.
    pub async fn begin_enrolment(
        &self,
        actor: &Actor,
        proven: Option<(&str, Proof)>,
    ) -> Result<Challenge, ControlError> {
        self.administer(actor, &self.passkey_addition(actor), proven).await?;
        self.own.limits.challenge(&actor.principal.id)?;
        let (identity, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let challenge = begin_enrolment(&mut tx, &identity, &actor).await?;
                tx.commit().await?;
                Ok(challenge)
            })
            .await
    }

    /// Takes the new passkey in. A session that may do nothing else becomes a full one.
    ///
    /// # Errors
    /// Where the answer isn't good or the passkey is known already; that is audited.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn enrol(
        &self,
        actor: &Actor,
        challenge: &str,
        answer: &str,
        name: &str,
    ) -> Result<Enrolled, ControlError> {
        self.own.limits.proof(&actor.principal.id)?;
        let name = proper(name)?;
        let (identity, actor) = (self.clone(), actor.clone());
        let (id, answer) = (challenge.to_owned(), answer.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let enrolled = enrol(&mut tx, &identity, &actor, &id, &answer, name).await;
                let by = By::from(&actor);
                crate::identity::challenge::settle(
                    tx,
                    by,
                    AuditKind::PasskeyRefused,
                    &id,
                    Purpose::Administer,
                    enrolled,
                )
                .await
            })
            .await
    }
}

fn statement(actor: &Actor, what: &str) -> Statement {
    let who = format!("{} ({})", actor.principal.name, actor.principal.id);
    Statement {
        purpose: Purpose::Administer,
        subject: SUBJECT.to_owned(),
        lines: vec![("What".to_owned(), what.to_owned()), ("For".to_owned(), who)],
    }
}

/// What a new passkey itself is asked to agree to.
fn making(actor: &Actor) -> Statement {
    statement(actor, "Be a passkey")
}

async fn begin_enrolment(
    tx: &mut Transaction,
    identity: &Identity,
    actor: &Actor,
) -> Result<Challenge, ControlError> {
    tx.acting(actor)?;
    let asked = challenge::asked(tx, actor, making(actor));
    let owner = owner_of_new(tx, actor).await?;
    let options: Value = identity.party()?.enrolment(owner, &asked.challenge())?;
    challenge::keep(tx, &asked).await?;
    let (id, expires_at) = (asked.id, asked.expires_at);
    Ok(Challenge { id, options: Some(options), totp: false, expires_at })
}

async fn owner_of_new<'a>(
    tx: &mut Transaction,
    actor: &'a Actor,
) -> Result<Owner<'a>, ControlError> {
    let principal = &actor.principal;
    let kept = store::passkeys::of(tx.db(), &principal.id).await?;
    Ok(Owner {
        handle: store::passkeys::handle(tx.db(), &principal.id).await?,
        id: principal.id.as_str(),
        name: &principal.name,
        has: kept.iter().map(|kept| kept.key.cred_id().clone()).collect(),
    })
}

async fn enrol(
    tx: &mut Transaction,
    identity: &Identity,
    actor: &Actor,
    id: &str,
    answer: &str,
    name: String,
) -> Result<Enrolled, Failure> {
    tx.acting(actor)?;
    let asked = challenge::answer(tx, actor, id).await?;
    if asked.statement != making(actor) {
        return Err(Unproven::WrongPurpose.into());
    }
    let answer: RegisterPublicKeyCredential = party::read(answer)?;
    let owner = owner_of_new(tx, actor).await?;
    let key = identity.party()?.register(owner, &asked.challenge(), &answer)?;
    let passkey = PasskeyView {
        id: ids::fresh_text("pk"),
        principal: actor.principal.id.clone(),
        name,
        added_at: tx.now,
        used_at: None,
    };
    let kept = Kept { view: passkey.clone(), key };
    if !store::passkeys::insert(tx.db(), &kept).await? {
        return Err(Unproven::Known.into());
    }
    let detail = json!({
        "name": passkey.name, "challenge": asked.id, "credential": kept.credential(),
    });
    tx.record(Event::new(actor, AuditKind::PasskeyAdded, &passkey.id, detail)).await?;
    let token = logins::rotate(tx, &actor.login, Some((Rank::Full, Method::Passkey))).await?;
    Ok(Enrolled { passkey, token })
}
