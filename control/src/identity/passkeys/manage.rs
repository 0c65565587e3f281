//! Names of somebody's passkeys, and removing one.

use policies::{Digest, Purpose};
use serde_json::json;

use crate::identity::Identity;
use crate::identity::proof::Proof;
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::Event;
use crate::model::high_water::Factor;
use crate::model::statement::Statement;
use crate::model::view::PasskeyView;
use crate::store;

/// The longest name of a passkey, in letters.
pub(crate) const NAME_MAX: usize = 64;

impl Identity {
    /// The actor's passkeys, the oldest first.
    ///
    /// # Errors
    /// Where the store can't be read.
    pub async fn passkeys(&self, actor: &Actor) -> Result<Vec<PasskeyView>, ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        let kept = store::passkeys::of(db, &actor.principal.id).await?;
        Ok(kept.into_iter().map(|kept| kept.view).collect())
    }

    /// Names one of the actor's passkeys again.
    ///
    /// # Errors
    /// Where they have no such passkey, or it is no name.
    pub async fn rename_passkey(
        &self,
        actor: &Actor,
        id: &str,
        name: &str,
    ) -> Result<(), ControlError> {
        let name = proper(name)?;
        let (identity, actor, id) = (self.clone(), actor.clone(), id.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                tx.acting(&actor)?;
                if !store::passkeys::rename(tx.db(), &actor.principal.id, &id, &name).await? {
                    return Err(Refusal::NotFound("passkey").into());
                }
                let event =
                    Event::new(&actor, AuditKind::PasskeyRenamed, &id, json!({ "name": name }));
                tx.record(event).await?;
                tx.commit().await.map(drop)
            })
            .await
    }

    /// What somebody agrees to who removes one of their passkeys.
    ///
    /// # Errors
    /// Where they have no such passkey, or no other.
    pub async fn passkey_removal(
        &self,
        actor: &Actor,
        id: &str,
    ) -> Result<Statement, ControlError> {
        let all = self.passkeys(actor).await?;
        let found = all.iter().find(|view| view.id == id);
        let view = found.ok_or(Refusal::NotFound("passkey"))?;
        not_the_last(all.len())?;
        Ok(removal(view))
    }

    /// Removes one of the actor's passkeys, who has agreed to it with a touch.
    ///
    /// # Errors
    /// Where they have no such passkey, no other, or the proof isn't good.
    pub async fn remove_passkey(
        &self,
        actor: &Actor,
        id: &str,
        challenge: &str,
        proof: Proof,
    ) -> Result<(), ControlError> {
        let digest = self.passkey_removal(actor, id).await?.digest();
        self.prove(actor, challenge, proof, Purpose::Administer, &digest, None).await?;
        let (identity, actor, id) = (self.clone(), actor.clone(), id.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                remove_passkey(&mut tx, &actor, &id, &digest).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

pub(crate) fn removal(view: &PasskeyView) -> Statement {
    let line = |label: &str, text: String| (label.to_owned(), text);
    Statement {
        purpose: Purpose::Administer,
        subject: view.id.clone(),
        lines: vec![
            line("Remove", format!("the passkey \"{}\"", view.name)),
            line("Of", view.principal.to_string()),
            line("Added", view.added_at.to_string()),
        ],
    }
}

pub(crate) fn not_the_last(count: usize) -> Result<(), Refusal> {
    if count > 1 {
        return Ok(());
    }
    let message = "this is your only passkey: register another one before you remove it";
    Err(Refusal::Conflict(message.to_owned()))
}

/// A name that people gave, on one line.
pub(crate) fn proper(name: &str) -> Result<String, Refusal> {
    let name = crate::platform::sanitize::clip(name.trim(), NAME_MAX + 1);
    if name.is_empty() || name.chars().count() > NAME_MAX {
        let message = format!("give the passkey a name of at most {NAME_MAX} letters");
        return Err(Refusal::Invalid(message));
    }
    Ok(name)
}

pub(crate) async fn remove_passkey(
    tx: &mut Transaction,
    actor: &Actor,
    id: &str,
    agreed: &Digest,
) -> Result<(), ControlError> {
    let all = store::passkeys::of(tx.db(), &actor.principal.id).await?;
    let found = all.iter().find(|kept| kept.view.id == id);
    let kept = found.ok_or(Refusal::NotFound("passkey"))?;
    not_the_last(all.len())?;
    store::passkeys::remove(tx.db(), id).await?;
    tx.removed_factor(Factor::Passkey(id.to_owned()));
    let detail = json!({ "name": kept.view.name, "digest": agreed });
    tx.record(Event::new(actor, AuditKind::PasskeyRemoved, id, detail)).await
}
