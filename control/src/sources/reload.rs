//! Another inventory: taken whole or not at all, and everything that is live is decided again.

use std::sync::Arc;

use policies::{End, Grant, GrantEvent, GrantId, PrincipalId, RequestId};
use serde_json::json;

use crate::kernel::control::Control;
use crate::kernel::transaction::Change;
use crate::model::error::{ControlError, Rejection};
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::policy::evaluate::was_proved;
use crate::store;

/// What a reload changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reloaded {
    /// Grants that ended.
    pub revoked: Vec<GrantId>,
    /// Requests that were taken back.
    pub withdrawn: Vec<RequestId>,
}

impl Control {
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
        let control = self.clone();
        self.to_the_end(async move {
            let mut change = control.change_anyway().await?;
            let (before, postponed) = (Arc::clone(&change.inventory), Arc::clone(&next));
            change.configure(next).await?;
            change.follow_listed_keys(&before).await?;
            let withdrawn = change.review_requests(None).await?;
            change.review_grants(None).await?;
            change.end_logins_of_strangers().await?;
            let revoked: Vec<GrantId> = change.ended().cloned().collect();
            let detail = json!({ "revoked": revoked, "withdrawn": withdrawn });
            let event = Event::new(By::Control, "inventory.taken", "inventory", detail);
            change.record(event).await?;
            if !change.commit_cut().await? {
                control.0.postponed.store(Some(postponed));
                return Err(ControlError::Postponed);
            }
            control.0.postponed.store(None);
            Ok(Reloaded { revoked, withdrawn })
        })
        .await
    }
}

impl Change {
    /// Withdraws pending requests that wouldn't be taken now, and gives those for which nothing lacks
    /// any more: everybody's, or one person's. Which were withdrawn.
    pub(crate) async fn review_requests(
        &mut self,
        whose: Option<&PrincipalId>,
    ) -> Result<Vec<RequestId>, ControlError> {
        let mut withdrawn = Vec::new();
        for stored in store::requests::pending(self.db()).await? {
            let request = &stored.request;
            if whose.is_some_and(|whose| *whose != request.principal) {
                continue;
            }
            if self.lapse(request).await? {
                continue;
            }
            let facts = self.facts_of(&stored).await?;
            match self.inventory.still_asks(request, &facts) {
                Err(why) => {
                    self.withdraw_for(request, &why.to_string()).await?;
                    withdrawn.push(request.id.clone());
                    continue;
                }
                Ok(terms) => {
                    if self.relax(request, terms).await? {
                        continue;
                    }
                }
            }
            // Who may stand in for whom is a part of what changed.
            let escalates_at = self.inventory.escalates_at(request);
            store::requests::update(self.db(), request, escalates_at).await?;
        }
        Ok(withdrawn)
    }

    /// Ends grants that wouldn't be given now: everybody's, or one person's.
    pub(crate) async fn review_grants(
        &mut self,
        whose: Option<&PrincipalId>,
    ) -> Result<(), ControlError> {
        for grant in store::grants::open(self.db()).await? {
            if whose.is_some_and(|whose| *whose != grant.principal) {
                continue;
            }
            match self.review(&grant).await {
                Ok(()) => {}
                Err(ControlError::Refused(why)) => self.end_by_rules(&grant, &why).await?,
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    async fn review(&mut self, grant: &Grant) -> Result<(), ControlError> {
        let stored = self.stored(&grant.request).await?;
        let facts = self.facts_of(&stored).await?;
        let terms = self.covers(grant, &facts).await?;
        Ok(was_proved(&terms, &stored.request)?)
    }

    async fn end_by_rules(&mut self, grant: &Grant, why: &Rejection) -> Result<(), ControlError> {
        let end = GrantEvent::End(End::Policy(why.to_string()));
        self.step(grant, end, By::Control).await.map(drop)
    }
}
