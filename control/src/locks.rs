//! Locks: they beat every grant. Proxies cut what a lock matches; the grants themselves stay.

use policies::{Lock, LockId, Subject, Timestamp};

use crate::{Actor, Control, ControlError, LockView, ids};

impl Control {
    /// Locks a principal, device, target or login: for admins.
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
    ) -> Result<Lock, ControlError> {
        let (control, actor) = (self.clone(), actor.clone());
        self.to_the_end(async move {
            let mut change = control.change().await?;
            change.administering(&actor)?;
            check(&subject, &actor, until, change.now)?;
            let lock = Lock {
                id: ids::fresh("lk")?,
                subject,
                reason: crate::audit::clip(&reason, 500),
                by: actor.principal.id.clone(),
                at: change.now,
                until,
            };
            change.add_lock(&lock).await?;
            change.commit().await?;
            Ok(lock)
        })
        .await
    }

    /// Lifts a lock: for admins.
    ///
    /// # Errors
    /// Where the actor is none, or there is no such lock.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, lock = %id))]
    pub async fn unlock(&self, actor: &Actor, id: &LockId) -> Result<(), ControlError> {
        let (control, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.to_the_end(async move {
            let mut change = control.change().await?;
            change.administering(&actor)?;
            control.can_be_lifted(&id)?;
            change.lift_lock(&id, &actor).await?;
            change.commit().await.map(drop)
        })
        .await
    }

    /// What was taken back stays taken back: its copies may be anywhere.
    fn can_be_lifted(&self, id: &LockId) -> Result<(), ControlError> {
        let locks = self.0.feed.locks();
        let lock = locks.iter().find(|lock| lock.id == *id);
        match lock.map(|lock| &lock.subject) {
            Some(Subject::Credential(credential)) => {
                let told = format!("`{credential}` was taken back for good: sign in again instead");
                Err(ControlError::Conflict(told))
            }
            Some(
                Subject::Principal(_)
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
        let now = self.now();
        let inventory = self.0.inventory.load();
        let locks = self.0.feed.locks().into_iter();
        let holding = locks.filter(|lock| lock.until.is_none_or(|until| now < until));
        let seen = holding.filter(|lock| actor.oversees() || concerns(&lock.subject, actor));
        Ok(seen.map(|lock| LockView { by_name: inventory.name(&lock.by), lock }).collect())
    }
}

fn check(
    subject: &Subject,
    actor: &Actor,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<(), ControlError> {
    let own = match subject {
        Subject::Principal(id) => *id == actor.principal.id,
        Subject::Device(id) => actor.authn.device.as_ref() == Some(id),
        Subject::Credential(_) | Subject::Target(_) | Subject::Login(_, _) => false,
    };
    if own {
        let told = "this would lock yourself out, and nobody locked out can lift a lock";
        return Err(ControlError::Conflict(told.to_owned()));
    }
    if until.is_some_and(|until| until <= now) {
        return Err(ControlError::Invalid("the lock would have ended already".to_owned()));
    }
    Ok(())
}

fn concerns(subject: &Subject, actor: &Actor) -> bool {
    match subject {
        Subject::Principal(id) => *id == actor.principal.id,
        Subject::Device(id) => actor.authn.device.as_ref() == Some(id),
        Subject::Credential(_) => false,
        Subject::Target(_) | Subject::Login(_, _) => true,
    }
}
