//! Another inventory: taken whole or not at all, and everything that is live is decided again.

use std::sync::Arc;

use policies::{GrantId, RequestId};
use serde_json::json;

use crate::access::reconsider;
use crate::identity::oidc::people;
use crate::identity::{logins, ssh_keys};
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, StoreError};
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::sources::Sources;

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Grants that ended.
    pub revoked: Vec<GrantId>,
    /// Requests that were taken back.
    pub withdrawn: Vec<RequestId>,
}

impl Sources {
    /// Puts another inventory in force. Grants that it wouldn't give end, pending requests that it
    /// wouldn't take are withdrawn, and proxies get a new snapshot, all at once.
    ///
    /// # Errors
    /// Where it contradicts itself or the store fails; then the one in force stays in force. Where the
    /// store can't be written, what it takes away is cut nevertheless, and it follows by itself.
    pub async fn reload(&self, inventory: Inventory) -> Result<Reloaded, ControlError> {
        inventory.check()?;
        self.take(Arc::new(inventory)).await
    }

    pub(crate) async fn take(&self, next: Arc<Inventory>) -> Result<Reloaded, ControlError> {
        let sources = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = sources.kernel.begin_anyway().await?;
                let (before, postponed) = (Arc::clone(&tx.inventory), Arc::clone(&next));
                people::configure(&mut tx, next, &sources.identity).await?;
                ssh_keys::follow_listed_keys(&mut tx, &before).await?;
                let withdrawn = reconsider::review_requests(&mut tx, None).await?;
                reconsider::review_grants(&mut tx, None).await?;
                logins::end_logins_of_strangers(&mut tx).await?;
                let revoked: Vec<GrantId> = tx.ended().cloned().collect();
                let detail = json!({ "revoked": revoked, "withdrawn": withdrawn });
                let event = Event::new(By::Control, AuditKind::InventoryTaken, "inventory", detail);
                tx.record(event).await?;
                if !tx.commit_cut().await? {
                    sources.kernel.postponed().store(Some(postponed));
                    return Err(StoreError::Postponed.into());
                }
                sources.kernel.postponed().store(None);
                Ok(Reloaded { revoked, withdrawn })
            })
            .await
    }
}
