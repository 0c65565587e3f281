//! What is live is decided again when the inventory, the people in it or the clock changed.

use std::sync::Arc;

use policies::{End, Grant, GrantEvent, PrincipalId, RequestId};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::access::Access;
use crate::kernel::transaction::Change;
use crate::model::error::{ControlError, Rejection};
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::policy::evaluate::was_proved;
use crate::store;

impl Access {
    /// Decides everything again whenever the clock alone may have changed an answer, until `stop`.
    pub(crate) async fn keep_reconsidering(&self, stop: CancellationToken) {
        let mut since = self.kernel.now();
        loop {
            let next = self.kernel.inventory().next_change(since);
            let left = next.map_or(LONGEST, |next| self.kernel.now().until(next));
            let woken = self.kernel.reconsider().notified();
            tokio::select! {
                () = stop.cancelled() => return,
                () = woken => continue,
                () = tokio::time::sleep(left.min(LONGEST).duration()) => {}
            }
            let now = self.kernel.now();
            if next.is_none_or(|next| now < next) {
                continue;
            }
            match self.reconsider("the clock").await {
                Ok(()) => since = now,
                Err(error) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "can't decide again");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Decides again about all that is live, with what is known by now.
    pub(crate) async fn reconsider(&self, because: &'static str) -> Result<(), ControlError> {
        let access = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut change = access.kernel.change().await?;
                let next = (*change.inventory).clone();
                change.decide_again(next, because).await?;
                change.commit().await.map(drop)
            })
            .await
    }
}

impl Change {
    /// Puts in force what is known by now, and ends what no longer follows from it.
    pub(crate) async fn decide_again(
        &mut self,
        next: Inventory,
        because: &'static str,
    ) -> Result<(), ControlError> {
        let now = self.now;
        self.know(Arc::new(next.attended(now)));
        let withdrawn = self.review_requests(None).await?;
        self.review_grants(None).await?;
        let revoked: Vec<_> = self.ended().cloned().collect();
        if revoked.is_empty() && withdrawn.is_empty() {
            return Ok(());
        }
        let detail = json!({ "because": because, "revoked": revoked, "withdrawn": withdrawn });
        self.record(Event::new(By::Control, "rules.reconsidered", "rules", detail)).await
    }

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

/// The clock may be set, so the next change is looked for again at least this often.
const LONGEST: policies::Ttl = policies::Ttl::from_secs(60);
