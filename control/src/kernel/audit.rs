//! Reads the audit log, for admins and auditors.

use crate::kernel::Kernel;
use crate::model::actor::Actor;
use crate::model::error::ControlError;
use crate::model::view::{AuditView, Page, Paging};
use crate::store;

impl Kernel {
    /// The audit log, newest first: for admins and auditors.
    ///
    /// # Errors
    /// Where the actor is neither.
    pub async fn audit(
        &self,
        actor: &Actor,
        paging: Paging,
    ) -> Result<Page<AuditView>, ControlError> {
        actor.must_oversee()?;
        Ok(store::audit::page(&mut *self.0.store.read().await?, paging).await?)
    }
}
