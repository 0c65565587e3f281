//! SSH keys that people register themselves.
//!
//! A key says who somebody is, so adding one is an act of administration: its private half signs that it
//! is theirs (`ssh_proof`), and whoever has a passkey or an app agrees to it with a touch, until which the
//! key waits and opens nothing. A key is one person's. One that was removed is gone for good, and what runs
//! by it is cut, since it may have been lost; what ran by one of the configuration is cut when it leaves it.

use std::collections::BTreeSet;
use std::sync::Arc;

use policies::{CredentialId, Digest, Lock, PrincipalId, Purpose, Subject, Timestamp, Ttl};
use serde_json::json;

use crate::identity::proof::{Failure, Proof};
use crate::identity::ssh_proof::Held;
use crate::identity::{Identity, credentials, ssh_proof};
use crate::kernel::cuts::{InForce, What};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, InternalError, Refusal};
use crate::model::event::{By, Event};
use crate::model::high_water::Factor;
use crate::model::inventory::Inventory;
use crate::model::statement::Statement;
use crate::model::view::{Scope, SshKeyView};
use crate::platform::ids;
use crate::platform::sanitize::clip;
use crate::store;

/// The longest name of a key, in letters.
const NAME_MAX: usize = 64;
/// How many keys a person may have, those that wait among them.
const MOST: usize = 32;
/// Longer than anything that was opened with a key may run.
const CUT: Ttl = Ttl::from_secs(30 * 24 * 3_600);
/// Long enough to cut what a key opened for one person, where the configuration gives it to another.
const MOVED: Ttl = Ttl::from_secs(60);
/// Who locks, and why, where it is no person's act.
const CONFIGURATION: &str = "configuration";
const DROPPED: &str = "the SSH key is no longer theirs in the configuration";
/// How long a key waits for its person to agree.
const TIMEOUT: Ttl = Ttl::from_secs(3_600);

impl Identity {
    /// SSH keys: the actor's own, or for those who oversee, everybody's. `Inbox` is read as `Mine`.
    ///
    /// # Errors
    /// Where the actor wants everybody's and oversees nothing.
    pub async fn ssh_keys(
        &self,
        actor: &Actor,
        scope: Scope,
    ) -> Result<Vec<SshKeyView>, ControlError> {
        let whose = match scope {
            Scope::Mine | Scope::Inbox => Some(&actor.principal.id),
            Scope::All => actor.must_oversee().map(|()| None)?,
        };
        let keys = store::ssh_keys::list(&mut *self.kernel.store().read().await?, whose).await?;
        let now = self.kernel.now();
        Ok(keys.into_iter().filter(|key| !has_lapsed(key, now)).collect())
    }

    /// Adds a public key of the actor's: the one of the question that they were asked
    /// ([`Identity::ask_for_ssh_key`]), which its private half has signed. Where they have a passkey or an
    /// app, it waits for them to agree.
    ///
    /// # Errors
    /// Where the signature doesn't prove it, which is audited, or the key is somebody's already, or the
    /// actor has too many.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn add_ssh_key(
        &self,
        actor: &Actor,
        challenge: &str,
        signature: &str,
        name: &str,
    ) -> Result<SshKeyView, ControlError> {
        self.own.limits.proof(&actor.principal.id)?;
        let name = proper(name)?;
        let waits = self.factors(&actor.principal.id).await?.any();
        let (identity, actor) = (self.clone(), actor.clone());
        let (id, signature) = (challenge.to_owned(), signature.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                let added = prove_ssh_key(&mut tx, &actor, &id, &signature, name, waits).await;
                let by = By::from(&actor);
                crate::identity::challenge::settle(
                    tx,
                    by,
                    AuditKind::SshKeyRefused,
                    &id,
                    Purpose::Administer,
                    added,
                )
                .await
            })
            .await
    }

    /// What the actor agrees to about a key of theirs that waits.
    ///
    /// # Errors
    /// Where they have no such key, or none that waits.
    pub async fn ssh_key_addition(
        &self,
        actor: &Actor,
        id: &str,
    ) -> Result<Statement, ControlError> {
        let keys = self.ssh_keys(actor, Scope::Mine).await?;
        let found = keys.into_iter().find(|key| key.id == id);
        let key = found.ok_or(Refusal::NotFound("SSH key"))?;
        still_waits(&key)?;
        Ok(key.addition())
    }

    /// Takes the touch for a key that waits: from now on it says who somebody is.
    ///
    /// # Errors
    /// Where there is none, the proof isn't good, or somebody else has the key by now.
    pub async fn confirm_ssh_key(
        &self,
        actor: &Actor,
        id: &str,
        challenge: &str,
        proof: Proof,
    ) -> Result<(), ControlError> {
        let digest = self.ssh_key_addition(actor, id).await?.digest();
        self.prove(actor, challenge, proof, Purpose::Administer, &digest, None).await?;
        let (identity, actor, id) = (self.clone(), actor.clone(), id.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                confirm_ssh_key(&mut tx, &actor, &id, &digest).await?;
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Removes a key: one's own, or as an admin anybody's. What runs by it is cut.
    ///
    /// # Errors
    /// Where there is none of that name that the actor may remove.
    pub async fn remove_ssh_key(
        &self,
        actor: &Actor,
        id: &str,
    ) -> Result<InForce<()>, ControlError> {
        let (identity, actor, id) = (self.clone(), actor.clone(), id.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin_anyway().await?;
                remove_ssh_key(&mut tx, &actor, &id).await?;
                let durable = tx.commit_cut().await?;
                Ok(InForce { value: (), durable })
            })
            .await
    }
}

fn proper(name: &str) -> Result<String, Refusal> {
    let name = clip(name.trim(), NAME_MAX + 1);
    if name.is_empty() || name.chars().count() > NAME_MAX {
        let message = format!("give the key a name of at most {NAME_MAX} letters");
        return Err(Refusal::Invalid(message));
    }
    Ok(name)
}

fn has_lapsed(key: &SshKeyView, now: Timestamp) -> bool {
    key.confirmed_at.is_none() && key.added_at.after(TIMEOUT) <= now
}

fn still_waits(key: &SshKeyView) -> Result<(), Refusal> {
    match key.confirmed_at {
        None => Ok(()),
        Some(_) => Err(Refusal::Conflict("you have agreed to this key already".to_owned())),
    }
}

async fn prove_ssh_key(
    tx: &mut Transaction,
    actor: &Actor,
    challenge: &str,
    signature: &str,
    name: String,
    waits: bool,
) -> Result<SshKeyView, Failure> {
    let held = ssh_proof::held(tx, actor, challenge, signature).await?;
    credentials::live_until(tx, &actor.login).await?;
    is_free(tx, &held.line).await?;
    may_have_another(tx, actor, &held.line).await?;
    let now = tx.now;
    let key = SshKeyView {
        id: ids::fresh_text("sk"),
        principal: actor.principal.id.clone(),
        name,
        line: held.line.clone(),
        fingerprint: certs::key_fingerprint(&held.line).map_err(InternalError::IssueSsh)?,
        user_verified: held.holder.user_verified,
        added_at: now,
        confirmed_at: (!waits).then_some(now),
        used_at: None,
    };
    put_ssh_key(tx, actor, &key, held).await?;
    Ok(key)
}

async fn put_ssh_key(
    tx: &mut Transaction,
    actor: &Actor,
    key: &SshKeyView,
    held: Held,
) -> Result<(), ControlError> {
    store::ssh_keys::insert(tx.db(), key).await?;
    let detail = json!({
        "name": key.name, "fingerprint": key.fingerprint, "kind": key.kind(),
        "waits": key.confirmed_at.is_none(), "user_verified": key.user_verified,
        "challenge": held.challenge, "namespace": held.namespace, "message": held.message,
        "signature": held.holder.signature,
    });
    tx.record(Event::new(actor, AuditKind::SshKeyAdded, &key.id, detail)).await
}

/// Whether a person has room for this key, once what they never agreed to is gone.
async fn may_have_another(
    tx: &mut Transaction,
    actor: &Actor,
    line: &str,
) -> Result<(), ControlError> {
    let (whose, now) = (&actor.principal.id, tx.now);
    let since = Timestamp::from_millis(now.millis().saturating_sub(TIMEOUT.millis()));
    store::ssh_keys::lapse(tx.db(), whose, since).await?;
    let own = store::ssh_keys::list(tx.db(), Some(whose)).await?;
    if own.iter().any(|key| key.line == line) {
        let message = "this key waits for you to agree to it already: do it at /keys";
        return Err(Refusal::Conflict(message.to_owned()).into());
    }
    if own.len() >= MOST {
        let message =
            format!("{MOST} keys are the most that one person may have: remove one first");
        return Err(Refusal::Conflict(message).into());
    }
    Ok(())
}

/// A key that is anybody's, or was, is no other's.
async fn is_free(tx: &mut Transaction, line: &str) -> Result<(), ControlError> {
    let message = if tx.inventory.ssh_keys.contains_key(line) {
        "this key is registered in the configuration already"
    } else {
        match store::ssh_keys::owner(tx.db(), line).await? {
            None => return Ok(()),
            Some((_, true)) => "this key is registered already, and each is one person's",
            Some((_, false)) => {
                "this key was removed, and may have been lost: `ssh-keygen -t ed25519` makes another"
            }
        }
    };
    Err(Refusal::Conflict(message.to_owned()).into())
}

async fn confirm_ssh_key(
    tx: &mut Transaction,
    actor: &Actor,
    id: &str,
    agreed: &Digest,
) -> Result<(), ControlError> {
    tx.acting(actor)?;
    let key = ssh_key(tx, id).await?;
    let own = key.filter(|key| key.principal == actor.principal.id);
    let key = own.ok_or(Refusal::NotFound("SSH key"))?;
    still_waits(&key)?;
    is_free(tx, &key.line).await?;
    let now = tx.now;
    store::ssh_keys::confirm(tx.db(), id, now).await?;
    let detail = json!({ "fingerprint": key.fingerprint, "digest": agreed });
    tx.record(Event::new(actor, AuditKind::SshKeyConfirmed, id, detail)).await
}

async fn remove_ssh_key(tx: &mut Transaction, actor: &Actor, id: &str) -> Result<(), ControlError> {
    tx.acting(actor)?;
    let theirs =
        |key: &crate::model::view::SshKeyView| actor.admin || key.principal == actor.principal.id;
    let key = ssh_key(tx, id).await?.filter(theirs);
    let key = key.ok_or(Refusal::NotFound("SSH key"))?;
    tx.cuts_off(actor.into(), What::SshKey { key: id.to_owned() });
    if key.confirmed_at.is_some() {
        cut_off(tx, actor, &key).await?;
    }
    forget_ssh_key(tx, actor.into(), &key).await
}

/// Removes a key whose lock is set already, or was never needed.
pub(crate) async fn drop_ssh_key(
    tx: &mut Transaction,
    by: By,
    id: &str,
) -> Result<(), ControlError> {
    match ssh_key(tx, id).await? {
        Some(key) => forget_ssh_key(tx, by, &key).await,
        None => Ok(()),
    }
}

async fn forget_ssh_key(
    tx: &mut Transaction,
    by: By,
    key: &SshKeyView,
) -> Result<(), ControlError> {
    let now = tx.now;
    store::ssh_keys::remove(tx.db(), key, now).await?;
    tx.removed_factor(Factor::SshKey(key.id.clone()));
    let detail = json!({
        "name": key.name, "fingerprint": key.fingerprint, "principal": key.principal,
    });
    tx.record(Event::new(by, AuditKind::SshKeyRemoved, &key.id, detail)).await
}

/// One that is there and hasn't waited for too long.
async fn ssh_key(tx: &mut Transaction, id: &str) -> Result<Option<SshKeyView>, ControlError> {
    let found = store::ssh_keys::find(tx.db(), id).await?;
    Ok(found.filter(|key| !has_lapsed(key, tx.now)))
}

/// Takes all of a person's keys away, and returns those that may have opened something.
pub(crate) async fn forget_ssh_keys(
    tx: &mut Transaction,
    whose: &PrincipalId,
) -> Result<Vec<SshKeyView>, ControlError> {
    let now = tx.now;
    let keys = store::ssh_keys::list(tx.db(), Some(whose)).await?;
    for key in &keys {
        store::ssh_keys::remove(tx.db(), key, now).await?;
        tx.removed_factor(Factor::SshKey(key.id.clone()));
    }
    Ok(keys.into_iter().filter(|key| key.confirmed_at.is_some()).collect())
}

/// Whatever was opened with the key ends, at every proxy.
pub(crate) async fn cut_off(
    tx: &mut Transaction,
    actor: &Actor,
    key: &SshKeyView,
) -> Result<(), ControlError> {
    let (by, why) = (actor.principal.id.clone(), "the SSH key was removed");
    tx.add_lock(&key_lock(tx, &key.fingerprint, by, why, CUT)?).await
}

/// Cuts what was opened with keys that the configuration had and has no more. What it has again opens
/// again.
pub(crate) async fn follow_listed_keys(
    tx: &mut Transaction,
    before: &Inventory,
) -> Result<(), ControlError> {
    let next = Arc::clone(&tx.inventory);
    unlock_listed_keys(tx, &next).await?;
    for (line, whose) in before.ssh_keys.iter() {
        let span = match next.ssh_keys.get(line) {
            Some(owner) if owner == whose => continue,
            Some(_) => MOVED,
            None => CUT,
        };
        let owner = store::ssh_keys::owner(tx.db(), line).await?;
        if owner == Some((whose.clone(), true)) {
            continue;
        }
        let fingerprint = certs::key_fingerprint(line).map_err(InternalError::IssueSsh)?;
        let by = store::parse("principal", CONFIGURATION)?;
        let lock = key_lock(tx, &fingerprint, by, DROPPED, span)?;
        tx.add_lock_by(By::Control, &lock).await?;
    }
    Ok(())
}

async fn unlock_listed_keys(tx: &mut Transaction, next: &Inventory) -> Result<(), ControlError> {
    let now = tx.now;
    let locks = tx.kernel().feed().locks().into_iter();
    let ours = |lock: &Lock| lock.reason == DROPPED && lock.until.is_none_or(|until| now < until);
    let dropped: Vec<Lock> = locks.filter(ours).collect();
    if dropped.is_empty() {
        return Ok(());
    }
    let listed = next.ssh_keys.keys().map(|line| certs::key_fingerprint(line));
    let listed: BTreeSet<String> =
        listed.collect::<Result<_, _>>().map_err(InternalError::IssueSsh)?;
    for lock in dropped {
        if matches!(&lock.subject, Subject::Credential(id) if listed.contains(id.as_str())) {
            tx.lift_lock(&lock.id, By::Control).await?;
        }
    }
    Ok(())
}

fn key_lock(
    tx: &Transaction,
    fingerprint: &str,
    by: PrincipalId,
    why: &str,
    span: Ttl,
) -> Result<Lock, ControlError> {
    let credential: CredentialId = store::parse("credential", fingerprint)?;
    Ok(Lock {
        id: ids::fresh("lk")?,
        subject: Subject::Credential(credential),
        reason: why.to_owned(),
        by,
        at: tx.now,
        until: Some(tx.now.after(span)),
        members: BTreeSet::new(),
    })
}
