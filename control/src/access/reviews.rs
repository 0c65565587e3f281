//! Reviews of emergencies: opened with the grant, open until somebody else has looked at what was
//! done and signs for it.

use std::collections::BTreeSet;

use policies::{Act, Facts, Grant, GroupName, Request, Review, ReviewId, ReviewState, Signature};
use serde_json::json;

use crate::access::{Access, load};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::Event;
use crate::model::view::{Page, Paging, ReviewView};
use crate::platform::ids;
use crate::store;

/// The longest note, in bytes.
const NOTE_MAX: usize = 4_000;

impl Access {
    /// Reviews, newest first: those that are open, or all. Everybody sees those that they may sign and
    /// those about themselves; who oversees sees every one.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn reviews(
        &self,
        actor: &Actor,
        all: bool,
        paging: Paging,
    ) -> Result<Page<ReviewView>, ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        let state = (!all).then(|| ReviewState::Open.word());
        let rows = store::reviews::list(db, state, paging.before(), paging.size()).await?;
        let next = paging.next(rows.len(), rows.last().map(|row| row.seq));
        let shown = rows.into_iter().filter_map(|row| self.seen(actor, row.review));
        Ok(Page { items: shown.collect(), next })
    }

    /// One review.
    ///
    /// # Errors
    /// Where there is none that the actor may see.
    pub async fn review(&self, actor: &Actor, id: &ReviewId) -> Result<ReviewView, ControlError> {
        let found = store::reviews::find(&mut *self.kernel.store().read().await?, id).await?;
        let seen = found.and_then(|review| self.seen(actor, review));
        seen.ok_or(Refusal::NotFound("review").into())
    }

    fn seen(&self, actor: &Actor, review: Review) -> Option<ReviewView> {
        let inventory = self.kernel.inventory();
        let reader = inventory.reviewer(&actor.principal, &review);
        let asked = actor.principal.groups.iter().any(|group| review.groups.contains(group));
        // Whose emergency it was sees it under each of their identities.
        let sees = asked || actor.oversees() || reader.is_err();
        sees.then(|| ReviewView {
            name: inventory.name(&review.principal),
            may_sign: reader.is_ok_and(|reader| review.may_sign(&reader, actor.oversees()).is_ok()),
            review,
        })
    }

    /// Signs a review: the actor has looked at what was done.
    ///
    /// # Errors
    /// Where they may not, somebody has, they say nothing, or the grant is still open.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, review = %id))]
    pub async fn sign_review(
        &self,
        actor: &Actor,
        id: &ReviewId,
        note: String,
    ) -> Result<ReviewView, ControlError> {
        crate::model::text::check_text("a note", &note, NOTE_MAX)?;
        self.review(actor, id).await?;
        let (access, signer, named) = (self.clone(), actor.clone(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                sign(&mut tx, &signer, &named, note).await?;
                tx.commit().await
            })
            .await?;
        self.review(actor, id).await
    }
}

async fn sign(
    tx: &mut Transaction,
    actor: &Actor,
    id: &ReviewId,
    note: String,
) -> Result<(), ControlError> {
    let person = tx.acting(actor)?;
    let found = store::reviews::find(tx.db(), id).await?;
    let review = found.ok_or(Refusal::NotFound("review"))?;
    let over = load::granted(tx, &review.grant).await?.deadline().is_none();
    let by = tx.inventory.reviewer(&person.principal, &review)?;
    let oversees = person.admin || person.auditor;
    let detail = json!({ "grant": review.grant, "principal": review.principal, "note": note });
    let signed = review.sign(Signature { by, oversees, note }, over, tx.now)?;
    store::reviews::update(tx.db(), &signed).await?;
    tx.record(Event::new(actor, AuditKind::ReviewSigned, id, detail)).await
}

/// Tells of an emergency, and opens its review.
pub(crate) async fn alarm(
    tx: &mut Transaction,
    request: &Request,
    grant: &Grant,
) -> Result<(), ControlError> {
    let review = Review {
        id: ids::fresh("rv")?,
        grant: grant.id.clone(),
        request: request.id.clone(),
        principal: grant.principal.clone(),
        resource: grant.resource.clone(),
        reason: request.reason.clone(),
        groups: would_approve(tx, request, grant),
        opened_at: tx.now,
        state: ReviewState::Open,
    };
    store::reviews::insert(tx.db(), &review).await?;
    let by = crate::model::event::By::Principal(grant.principal.clone());
    let detail = json!({
        "grant": grant.id, "request": request.id, "principal": grant.principal,
        "resource": grant.resource.to_string(), "reason": request.reason,
        "ticket": request.ticket, "groups": review.groups, "review": review.id,
    });
    tx.record(Event::new(by.clone(), AuditKind::BreakGlassUsed, &grant.id, detail.clone())).await?;
    tx.record(Event::new(by, AuditKind::ReviewOpened, &review.id, detail)).await
}

/// The groups whose approval the rules would have wanted without the emergency.
fn would_approve(tx: &Transaction, request: &Request, grant: &Grant) -> BTreeSet<GroupName> {
    let facts = Facts { act: Act::Connect, ..Facts::new(tx.now, None).about(request) };
    let evaluated = tx.inventory.evaluate(&grant.principal, &grant.resource, &facts);
    let terms = evaluated.map(|(_, terms)| terms.approvals).unwrap_or_default();
    terms.quorums().map(|quorum| quorum.group.clone()).collect()
}
