//! Locks: they beat every grant. Proxies cut what a lock matches; the grants themselves stay.
//!
//! A lock on a group is published with those who are in it, and again whenever they change.

use std::collections::BTreeSet;

use policies::{Lock, LockId, Subject, Timestamp};

use crate::access::Access;
use crate::kernel::cuts::{Deed, InForce, What};
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::inventory::Inventory;
use crate::model::view::LockView;
use crate::platform::ids;
use crate::store;

impl Access {
    /// Locks a principal, group, device, target or login: for admins.
    ///
    /// # Errors
    /// Where the actor is none, would lock themselves out, or the end has passed.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, %subject))]
    pub async fn lock(
        &self,
        actor: &Actor,
        subject: Subject,
        reason: String,
        until: Option<Timestamp>,
    ) -> Result<InForce<Lock>, ControlError> {
        let (access, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let lock = Lock {
                    id: ids::fresh("lk")?,
                    members: BTreeSet::new(),
                    subject,
                    reason: crate::platform::sanitize::clip(&reason, 500),
                    by: actor.principal.id.clone(),
                    at: access.kernel.now(),
                    until,
                };
                match access.lock_in_store(&actor, lock.clone()).await {
                    Err(error) if store::is_fault(&error) => {
                        access.lock_without_store(&actor, lock, error).await
                    }
                    done => done,
                }
            })
            .await
    }

    async fn lock_in_store(
        &self,
        actor: &Actor,
        lock: Lock,
    ) -> Result<InForce<Lock>, ControlError> {
        let mut tx = self.kernel.begin_anyway().await?;
        tx.administering(actor)?;
        check(&lock.subject, actor, lock.until, tx.now)?;
        let members = tx.inventory.locked_out(&lock.subject);
        let value = Lock { members, at: tx.now, ..lock };
        tx.add_lock(&value).await?;
        let durable = tx.commit_cut().await?;
        Ok(InForce { value, durable })
    }

    /// The same where not even a transaction can begin.
    async fn lock_without_store(
        &self,
        actor: &Actor,
        lock: Lock,
        error: ControlError,
    ) -> Result<InForce<Lock>, ControlError> {
        let _turn = self.kernel.store().turn().await;
        let (inventory, now) = (self.kernel.inventory(), self.kernel.now());
        self.kernel.not_shut_out(&actor.asker(), now)?;
        if !inventory.person(&actor.principal.id)?.admin {
            return Err(Refusal::Forbidden("this takes an admin".to_owned()).into());
        }
        check(&lock.subject, actor, lock.until, now)?;
        let members = inventory.locked_out(&lock.subject);
        let value = Lock { members, at: now, ..lock };
        let what = What::Lock { lock: value.clone() };
        self.kernel.cut_now(now, vec![Deed::new(actor.into(), what)], error).await?;
        Ok(InForce { value, durable: false })
    }

    /// Lifts a lock: for admins.
    ///
    /// # Errors
    /// Where the actor is none, or there is no such lock.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, lock = %id))]
    pub async fn unlock(&self, actor: &Actor, id: &LockId) -> Result<(), ControlError> {
        let (access, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                tx.administering(&actor)?;
                access.can_be_lifted(&id)?;
                tx.lift_lock(&id, &actor).await?;
                tx.commit().await.map(drop)
            })
            .await
    }

    /// What was taken back stays taken back: its copies may be anywhere.
    fn can_be_lifted(&self, id: &LockId) -> Result<(), Refusal> {
        let locks = self.kernel.feed().locks();
        let lock = locks.iter().find(|lock| lock.id == *id);
        match lock.map(|lock| &lock.subject) {
            Some(Subject::Credential(credential)) => {
                let message =
                    format!("`{credential}` was taken back for good: sign in again instead");
                Err(Refusal::Conflict(message))
            }
            Some(
                Subject::Principal(_)
                | Subject::Group(_)
                | Subject::Device(_)
                | Subject::Target(_)
                | Subject::Login(_, _),
            )
            | None => Ok(()),
        }
    }

    /// The locks that hold: all of them for admins and auditors, for others those on themselves
    /// and on targets.
    ///
    /// # Errors
    /// None so far; the signature leaves room for a store that has to be asked.
    pub async fn locks(&self, actor: &Actor) -> Result<Vec<LockView>, ControlError> {
        let now = self.kernel.now();
        let inventory = self.kernel.inventory();
        let locks = self.kernel.feed().locks().into_iter();
        let holding = locks.filter(|lock| lock.until.is_none_or(|until| now < until));
        let seen = holding.filter(|lock| actor.oversees() || concerns(&lock.subject, actor));
        Ok(seen.map(|lock| inventory.lock_view(lock)).collect())
    }

    /// A lock as people see it.
    #[must_use]
    pub fn lock_view(&self, lock: Lock) -> LockView {
        self.kernel.inventory().lock_view(lock)
    }
}

impl Inventory {
    fn lock_view(&self, lock: Lock) -> LockView {
        let (by_name, known) = (self.name(&lock.by), self.knows(&lock.subject));
        LockView { lock, by_name, known }
    }

    /// Whether there is what this names; devices and credentials are in no list here.
    fn knows(&self, subject: &Subject) -> bool {
        let has = |target, login| {
            self.targets.get(target).is_some_and(|known| known.logins.contains_key(login))
        };
        match subject {
            Subject::Principal(id) => self.people.contains_key(id),
            Subject::Group(name) => !self.members(name).is_empty(),
            Subject::Target(name) => self.targets.contains_key(name),
            Subject::Login(target, login) => has(target, login),
            Subject::Device(_) | Subject::Credential(_) => true,
        }
    }
}

fn check(
    subject: &Subject,
    actor: &Actor,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let own = match subject {
        Subject::Principal(id) => *id == actor.principal.id,
        Subject::Group(name) => actor.principal.groups.contains(name),
        Subject::Device(id) => actor.authn.device.as_ref() == Some(id),
        Subject::Credential(_) | Subject::Target(_) | Subject::Login(_, _) => false,
    };
    if own {
        let message = "this would lock yourself out, and nobody locked out can lift a lock";
        return Err(Refusal::Conflict(message.to_owned()));
    }
    if until.is_some_and(|until| until <= now) {
        return Err(Refusal::Invalid("the lock would have ended already".to_owned()));
    }
    Ok(())
}

fn concerns(subject: &Subject, actor: &Actor) -> bool {
    match subject {
        Subject::Principal(id) => *id == actor.principal.id,
        Subject::Group(name) => actor.principal.groups.contains(name),
        Subject::Device(id) => actor.authn.device.as_ref() == Some(id),
        Subject::Credential(_) => false,
        Subject::Target(_) | Subject::Login(_, _) => true,
    }
}
