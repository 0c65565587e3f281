//! Locks as they are written and published, and whom a lock on a group means.

use policies::{Lock, LockId};
use serde_json::json;

use crate::kernel::cuts::What;
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::store;

impl Transaction {
    pub(crate) async fn add_lock(&mut self, lock: &Lock) -> Result<(), ControlError> {
        self.add_lock_by(By::Principal(lock.by.clone()), lock).await
    }

    pub(crate) async fn add_lock_by(&mut self, by: By, lock: &Lock) -> Result<(), ControlError> {
        store::locks::insert(self.db(), lock).await?;
        self.cuts_off(by.clone(), What::Lock { lock: lock.clone() });
        let detail = json!({
            "subject": lock.subject, "reason": lock.reason,
            "until": lock.until.map(|until| until.to_string()),
        });
        self.record(Event::new(by, AuditKind::LockSet, &lock.id, detail)).await?;
        self.news.locks.push(lock.clone());
        Ok(())
    }

    pub(crate) async fn lift_lock(
        &mut self,
        id: &LockId,
        by: impl Into<By>,
    ) -> Result<(), ControlError> {
        let now = self.now;
        if !store::locks::lift(self.db(), id, now).await? {
            return Err(Refusal::NotFound("lock").into());
        }
        self.record(Event::new(by, AuditKind::LockLifted, id, json!({}))).await?;
        self.news.unlocked.push(id.clone());
        Ok(())
    }

    /// The locks on groups that have other members by the inventory that is put in force.
    pub(crate) fn relocked(&self) -> Vec<Lock> {
        let locks = self.kernel().0.feed.locks().into_iter().filter_map(|lock| {
            let members = self.inventory.locked_out(&lock.subject);
            (members != lock.members).then_some(Lock { members, ..lock })
        });
        locks.collect()
    }
}
