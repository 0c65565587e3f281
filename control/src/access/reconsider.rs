//! What is live is decided again when the inventory, the people in it or the clock changed.

use std::sync::Arc;

use policies::{End, Grant, GrantEvent, PrincipalId, RequestId};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::access::{Access, load, pending, step_up, terms, transitions};
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal, Rejection};
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
                let mut tx = access.kernel.begin().await?;
                let next = (*tx.inventory).clone();
                decide_again(&mut tx, next, because).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

/// Puts in force what is known by now, and ends what no longer follows from it.
pub(crate) async fn decide_again(
    tx: &mut Transaction,
    next: Inventory,
    because: &'static str,
) -> Result<(), ControlError> {
    let now = tx.now;
    tx.know(Arc::new(next.attended(now)));
    let withdrawn = review_requests(tx, None).await?;
    review_grants(tx, None).await?;
    let revoked: Vec<_> = tx.ended().cloned().collect();
    if revoked.is_empty() && withdrawn.is_empty() {
        return Ok(());
    }
    let detail = json!({ "because": because, "revoked": revoked, "withdrawn": withdrawn });
    tx.record(Event::new(By::Control, AuditKind::RulesReconsidered, "rules", detail)).await
}

/// Withdraws pending requests that wouldn't be taken now, and gives those for which nothing lacks
/// any more: everybody's, or one person's. Which were withdrawn.
pub(crate) async fn review_requests(
    tx: &mut Transaction,
    whose: Option<&PrincipalId>,
) -> Result<Vec<RequestId>, ControlError> {
    let mut withdrawn = Vec::new();
    for stored in store::requests::pending(tx.db()).await? {
        let request = &stored.request;
        if whose.is_some_and(|whose| *whose != request.principal) {
            continue;
        }
        if transitions::lapse(tx, request).await? {
            continue;
        }
        let facts = step_up::facts_of(tx, &stored).await?;
        match tx.inventory.still_asks(request, &facts) {
            Err(why) => {
                transitions::withdraw_for(tx, request, &why.to_string()).await?;
                withdrawn.push(request.id.clone());
                continue;
            }
            Ok(terms) => {
                if pending::relax(tx, request, terms).await? {
                    continue;
                }
            }
        }
        // Who may stand in for whom is a part of what changed.
        let escalates_at = tx.inventory.escalates_at(request);
        store::requests::update(tx.db(), request, escalates_at).await?;
    }
    Ok(withdrawn)
}

/// Ends grants that wouldn't be given now: everybody's, or one person's.
pub(crate) async fn review_grants(
    tx: &mut Transaction,
    whose: Option<&PrincipalId>,
) -> Result<(), ControlError> {
    for grant in store::grants::open(tx.db()).await? {
        if whose.is_some_and(|whose| *whose != grant.principal) {
            continue;
        }
        match review(tx, &grant).await {
            Ok(()) => {}
            Err(ControlError::Refused(Refusal::Rejected(why))) => {
                end_by_rules(tx, &grant, &why).await?
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

async fn review(tx: &mut Transaction, grant: &Grant) -> Result<(), ControlError> {
    let stored = load::stored(tx, &grant.request).await?;
    let facts = step_up::facts_of(tx, &stored).await?;
    let terms = terms::covers(tx, grant, &facts).await?;
    Ok(was_proved(&terms, &stored.request)?)
}

async fn end_by_rules(
    tx: &mut Transaction,
    grant: &Grant,
    why: &Rejection,
) -> Result<(), ControlError> {
    let end = GrantEvent::End(End::Policy(why.to_string()));
    transitions::step(tx, grant, end, By::Control).await.map(drop)
}

/// The clock may be set, so the next change is looked for again at least this often.
const LONGEST: policies::Ttl = policies::Ttl::from_secs(60);
