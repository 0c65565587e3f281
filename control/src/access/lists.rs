//! What people see of requests and grants: their own, what waits for them, or, for those who
//! oversee, everything.

use policies::{Act, Grant, GrantId, PrincipalId, RequestId, RequestState};
use sqlx::SqliteConnection;

use crate::access::Access;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Refusal};
use crate::model::view::{GrantFilter, GrantView, Page, Paging, RequestFilter, RequestView, Scope};
use crate::store;
use crate::store::requests::Stored;

/// How many live grants an inbox looks through.
const INBOX_MOST: i64 = 10_000;

impl Access {
    /// One request: for the one who asked, those who may decide, admins and auditors.
    ///
    /// # Errors
    /// Where there is none that the actor may see.
    pub async fn request(
        &self,
        actor: &Actor,
        id: &RequestId,
    ) -> Result<RequestView, ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        let found = store::requests::find(db, id).await?;
        let stored = found.filter(|stored| self.may_see(actor, &stored.request));
        self.show(db, actor, stored.ok_or(Refusal::NotFound("request"))?).await
    }

    /// Requests, newest first. `Inbox` is what waits for the actor's own verdict.
    ///
    /// # Errors
    /// Where the actor wants everybody's and oversees nothing.
    pub async fn requests(
        &self,
        actor: &Actor,
        filter: RequestFilter,
        paging: Paging,
    ) -> Result<Page<RequestView>, ControlError> {
        let whose = whose(actor, filter.scope)?;
        let db = &mut *self.kernel.store().read().await?;
        let (before, size) = (paging.before(), paging.size());
        let rows = if filter.scope == Scope::Inbox {
            self.inbox(store::requests::pending(db).await?, actor, before, size)
        } else {
            let state = filter.state.map(crate::model::view::Standing::word);
            store::requests::list(db, whose, state, before, size).await?
        };
        let next = paging.next(rows.len(), rows.last().map(|row| row.seq));
        let mut items = Vec::with_capacity(rows.len());
        for stored in rows {
            items.push(self.show(db, actor, stored).await?);
        }
        Ok(Page { items, next })
    }

    async fn show(
        &self,
        db: &mut SqliteConnection,
        actor: &Actor,
        stored: Stored,
    ) -> Result<RequestView, ControlError> {
        let Stored { request, source, .. } = stored;
        let inventory = self.kernel.inventory();
        let reader = inventory.decider(&actor.principal, &request);
        let waits = matches!(request.state, RequestState::NeedsApproval { .. });
        let given = store::grants::of(db, &request.id).await?.into_iter().map(|grant| grant.id);
        let lengthened = request.extends.clone().filter(|_| !request.is_pending());
        Ok(RequestView {
            name: inventory.name(&request.principal),
            source,
            prove_at: self.prove_at(&request),
            missing: if waits { request.missing(request.state.approvals()) } else { 0 },
            may_decide: request.is_pending()
                && reader.as_ref().is_ok_and(|reader| request.may_decide(reader).is_ok()),
            may_approve: reader.is_ok_and(|reader| request.waits_for(&reader)),
            grants: given.chain(lengthened).collect(),
            request,
        })
    }

    /// What waits for this person's yes.
    fn inbox(&self, rows: Vec<Stored>, actor: &Actor, before: i64, size: i64) -> Vec<Stored> {
        let inventory = self.kernel.inventory();
        let rows = rows.into_iter().filter(|row| row.seq < before);
        let asked = rows.filter(|row| {
            let reader = inventory.decider(&actor.principal, &row.request);
            reader.is_ok_and(|reader| row.request.waits_for(&reader))
        });
        asked.take(usize::try_from(size).unwrap_or(usize::MAX)).collect()
    }

    fn may_see(&self, actor: &Actor, request: &policies::Request) -> bool {
        actor.oversees()
            || match self.kernel.inventory().decider(&actor.principal, request) {
                Ok(reader) => request.may_decide(&reader).is_ok(),
                // It is their own, under one of their identities.
                Err(_) => true,
            }
    }

    async fn reveal(
        &self,
        db: &mut SqliteConnection,
        actor: &Actor,
        grant: Grant,
    ) -> Result<GrantView, ControlError> {
        let grant = self.kernel.cuts().apply_to(grant);
        let own = grant.principal == actor.principal.id;
        let review = match grant.act {
            Act::BreakGlass => store::reviews::of(db, &grant.id).await?,
            Act::Connect => None,
        };
        let (inventory, reader) = (self.kernel.inventory(), &actor.principal);
        let decides = match &review {
            Some(review) => {
                let reader = inventory.reviewer(reader, review);
                reader.is_ok_and(|reader| review.concerns(&reader).is_ok())
            }
            None => store::requests::find(db, &grant.request).await?.is_some_and(|stored| {
                let reader = inventory.decider(reader, &stored.request);
                reader.is_ok_and(|reader| stored.request.may_decide(&reader).is_ok())
            }),
        };
        let may_revoke = actor.admin || (!own && decides);
        let may_revoke = may_revoke && grant.deadline().is_some();
        Ok(GrantView { review: review.map(|review| review.id), grant, may_revoke })
    }

    fn prove_at(&self, request: &policies::Request) -> Option<String> {
        let waits = request.state == RequestState::NeedsStepUp;
        waits.then(|| format!("{}/r/{}", self.kernel.settings().base_url(), request.id))
    }

    /// One grant: for its holder, those who may revoke it, admins and auditors.
    ///
    /// # Errors
    /// Where there is none that the actor may see.
    pub async fn grant(&self, actor: &Actor, id: &GrantId) -> Result<GrantView, ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        let none = || Refusal::NotFound("grant");
        let grant = store::grants::find(db, id).await?.ok_or_else(none)?;
        let view = self.reveal(db, actor, grant).await?;
        let own = view.grant.principal == actor.principal.id;
        if own || view.may_revoke || actor.oversees() { Ok(view) } else { Err(none().into()) }
    }

    /// Grants, newest first. `Inbox` is the live ones that the actor may revoke.
    ///
    /// # Errors
    /// Where the actor wants everybody's and oversees nothing.
    pub async fn grants(
        &self,
        actor: &Actor,
        filter: GrantFilter,
        paging: Paging,
    ) -> Result<Page<GrantView>, ControlError> {
        let whose = whose(actor, filter.scope)?;
        let inbox = filter.scope == Scope::Inbox;
        let live = if inbox { Some(true) } else { filter.live };
        let live_at = live.map(|live| (live, self.kernel.now()));
        let size = if inbox { INBOX_MOST } else { paging.size() };
        let db = &mut *self.kernel.store().read().await?;
        let rows = store::grants::list(db, whose, live_at, paging.before(), size).await?;
        let (mut items, mut last) = (Vec::new(), None);
        for stored in rows {
            let view = self.reveal(db, actor, stored.grant).await?;
            if !inbox || view.may_revoke {
                items.push(view);
                last = Some(stored.seq);
            }
            if i64::try_from(items.len()).is_ok_and(|count| count >= paging.size()) {
                break;
            }
        }
        let next = paging.next(items.len(), last);
        Ok(Page { items, next })
    }
}

/// Whose rows to look through; none means everybody's.
fn whose(actor: &Actor, scope: Scope) -> Result<Option<&PrincipalId>, Refusal> {
    match scope {
        Scope::Mine => Ok(Some(&actor.principal.id)),
        Scope::Inbox => Ok(None),
        Scope::All => actor.must_oversee().map(|()| None),
    }
}
