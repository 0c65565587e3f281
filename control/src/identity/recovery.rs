//! Recovery: somebody has lost every passkey.
//!
//! An admin asks for it, with a reason; a second person with an office has to agree. Then the
//! person's passkeys, app and SSH keys are gone, their login sessions end, and a one-time link lets them
//! register again. Nobody can do it alone, and nobody to themselves; both acts are audited.

use policies::{OtherHuman, Principal, PrincipalId, Purpose, Ttl};
use serde_json::json;

use crate::identity::login::Invite;
use crate::identity::proof::Proof;
use crate::identity::{Identity, login, logins};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::high_water::Factor;
use crate::model::inventory::Inventory;
use crate::model::login::{LoginEnd, Which};
use crate::model::statement::Statement;
use crate::model::view::{RecoveryView, SshKeyView};
use crate::platform::ids;
use crate::platform::sanitize::clip;
use crate::store;

/// How long a second person has to agree.
const TIMEOUT: Ttl = Ttl::from_secs(24 * 3_600);
/// The longest reason, in letters.
const REASON_MAX: usize = 500;

impl Identity {
    /// What an admin agrees to who asks for a recovery.
    #[must_use]
    pub fn recovery_statement(&self, principal: &PrincipalId, reason: &str) -> Statement {
        let line = |label: &str, text: &str| (label.to_owned(), text.to_owned());
        Statement {
            purpose: Purpose::Administer,
            subject: "recovery".to_owned(),
            lines: vec![
                line("Ask to remove", "every passkey, authenticator app and SSH key"),
                line("Of", principal.as_str()),
                line("Reason", reason),
            ],
        }
    }

    /// Asks for a person's factors to be removed.
    ///
    /// # Errors
    /// Where the actor is no admin, it is themselves, or their own proof is missing or not good.
    pub async fn ask_recovery(
        &self,
        actor: &Actor,
        principal: &PrincipalId,
        reason: &str,
        proven: Option<(&str, Proof)>,
    ) -> Result<RecoveryView, ControlError> {
        may_ask(&self.kernel.inventory(), actor, principal)?;
        self.administer(actor, &self.recovery_statement(principal, reason), proven).await?;
        let (identity, actor, principal) = (self.clone(), actor.clone(), principal.clone());
        let reason = clip(reason, REASON_MAX);
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                tx.administering(&actor)?;
                tx.inventory.person(&principal)?;
                let by = may_ask(&tx.inventory, &actor, &principal)?;
                let view = RecoveryView {
                    id: ids::fresh_text("rc"),
                    principal,
                    asked_by: by.into_principal().id,
                    reason,
                    asked_at: tx.now,
                    expires_at: tx.now.after(TIMEOUT),
                };
                store::recoveries::insert(tx.db(), &view).await?;
                let detail = json!({ "principal": view.principal, "reason": view.reason });
                tx.record(Event::new(&actor, AuditKind::RecoveryAsked, &view.id, detail)).await?;
                tx.commit().await?;
                Ok(view)
            })
            .await
    }

    /// Recoveries that wait for a second person: for admins and auditors.
    ///
    /// # Errors
    /// Where the actor is neither.
    pub async fn recoveries(&self, actor: &Actor) -> Result<Vec<RecoveryView>, ControlError> {
        actor.must_oversee()?;
        Ok(store::recoveries::waiting(&mut *self.kernel.store().read().await?, self.kernel.now())
            .await?)
    }

    /// One of them.
    ///
    /// # Errors
    /// Where there is none of that name, or the actor is neither an admin nor an auditor.
    pub async fn recovery(&self, actor: &Actor, id: &str) -> Result<RecoveryView, ControlError> {
        actor.must_oversee()?;
        let db = &mut *self.kernel.store().read().await?;
        let found = store::recoveries::find(db, id, self.kernel.now()).await?;
        found.ok_or(Refusal::NotFound("recovery").into())
    }

    /// Agrees to a recovery, as the second person: the factors are gone, and the link is for the
    /// person to register again.
    ///
    /// # Errors
    /// Where the actor asked for it, it is about themselves, they hold no office, or their own proof
    /// is missing or not good.
    pub async fn agree_to_recovery(
        &self,
        actor: &Actor,
        id: &str,
        proven: Option<(&str, Proof)>,
    ) -> Result<Invite, ControlError> {
        let view = self.recovery(actor, id).await?;
        view.agreed_by(&self.kernel.inventory(), &actor.principal)?;
        self.administer(actor, &view.statement(), proven).await?;
        let (identity, actor, id) = (self.clone(), actor.clone(), id.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let invite = recover(&mut tx, &actor, &id).await?;
                tx.commit().await?;
                Ok(invite)
            })
            .await
    }
}

impl Identity {
    /// Recovers an account by the word of the operator at the console, where nobody is left to agree to
    /// it. Whoever is there could change the store as well; so it is in the audit log.
    ///
    /// # Errors
    /// Where there is no such person, they are disabled, or the store fails.
    pub async fn recover_at_console(
        &self,
        principal: &PrincipalId,
    ) -> Result<Invite, ControlError> {
        let (identity, whose) = (self.clone(), principal.clone());
        self.kernel.to_the_end(async move {
            let mut tx = identity.kernel.begin().await?;
            let (passkeys, totp) = remove_factors(&mut tx, &whose).await?;
            // It is done before anybody is served, so that no session by one of them is left to be cut.
            let ssh_keys = crate::identity::ssh_keys::forget_ssh_keys(&mut tx, &whose).await?;
            let detail = json!({
                "principal": whose, "passkeys": passkeys, "totp": totp, "ssh_keys": names(&ssh_keys),
            });
            tx.record(Event::new(By::Operator, AuditKind::RecoveryDone, &whose, detail)).await?;
            logins::end_logins(&mut tx, Which::Of(&whose), LoginEnd::Ended, By::Operator).await?;
            let invite = login::make_invite(&mut tx, By::Operator, &whose).await?;
            tx.commit().await?;
            Ok(invite)
        })
        .await
    }
}

fn names(keys: &[SshKeyView]) -> Vec<&str> {
    keys.iter().map(|key| key.id.as_str()).collect()
}

/// An admin, who is another person than the one whose account it is.
fn may_ask(
    inventory: &Inventory,
    actor: &Actor,
    principal: &PrincipalId,
) -> Result<OtherHuman, Refusal> {
    let forbidden = |message: &str| Refusal::Forbidden(message.to_owned());
    if !actor.admin {
        return Err(forbidden("this takes an admin"));
    }
    let other = inventory.other_human(&actor.principal, [principal]);
    let message = "nobody recovers their own account, under whatever identity: ask another admin";
    other.map_err(|_| forbidden(message))
}

impl RecoveryView {
    /// This person as the second one: neither who asked for it nor whose account it is.
    fn agreed_by(
        &self,
        inventory: &Inventory,
        principal: &Principal,
    ) -> Result<OtherHuman, Refusal> {
        let other = inventory.other_human(principal, [&self.asked_by, &self.principal]);
        other.map_err(|_| {
            let message = "a second person has to agree to this: another admin or an auditor, who is \
                        neither of the two under any identity";
            Refusal::Forbidden(message.to_owned())
        })
    }
}

async fn recover(tx: &mut Transaction, actor: &Actor, id: &str) -> Result<Invite, ControlError> {
    let person = tx.acting(actor)?;
    let now = tx.now;
    let found = store::recoveries::find(tx.db(), id, now).await?;
    let view = found.ok_or(Refusal::NotFound("recovery"))?;
    let second = view.agreed_by(&tx.inventory, &person.principal)?;
    if !store::recoveries::done(tx.db(), id, now).await? {
        return Err(Refusal::NotFound("recovery").into());
    }
    let whose = &view.principal;
    let (passkeys, totp) = remove_factors(tx, whose).await?;
    let ssh_keys = crate::identity::ssh_keys::forget_ssh_keys(tx, whose).await?;
    for key in &ssh_keys {
        crate::identity::ssh_keys::cut_off(tx, actor, key).await?;
    }
    let detail = json!({
        "principal": whose, "asked_by": view.asked_by, "agreed_by": second.principal().id,
        "reason": view.reason,
        "passkeys": passkeys, "totp": totp, "ssh_keys": names(&ssh_keys),
        "digest": view.statement().digest(),
    });
    tx.record(Event::new(actor, AuditKind::RecoveryDone, id, detail)).await?;
    logins::end_logins(tx, Which::Of(whose), LoginEnd::Ended, By::from(actor)).await?;
    login::make_invite(tx, By::from(actor), whose).await
}

/// Removes all that somebody proves themselves with: the passkeys, and whether there was an app.
async fn remove_factors(
    tx: &mut Transaction,
    whose: &PrincipalId,
) -> Result<(Vec<String>, bool), ControlError> {
    let keys = store::passkeys::of(tx.db(), whose).await?;
    for kept in &keys {
        store::passkeys::remove(tx.db(), &kept.view.id).await?;
        tx.removed_factor(Factor::Passkey(kept.view.id.clone()));
    }
    let totp = store::totp::remove(tx.db(), whose).await?;
    tx.removed_factor(Factor::App(whose.clone()));
    // Whoever had the account may have made other places look usual.
    store::risk::forget_person(tx.db(), whose).await?;
    Ok((keys.into_iter().map(|kept| kept.view.id).collect(), totp))
}
