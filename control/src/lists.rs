//! What people see of requests and grants: their own, what waits for them, or, for those who
//! oversee, everything.

use policies::{Grant, GrantId, PrincipalId, RequestId, RequestState};
use sqlx::SqliteConnection;

use crate::store::{self, requests::Stored};
use crate::{
    Actor, Control, ControlError, GrantFilter, GrantView, Page, Paging, RequestFilter, RequestView,
    Scope,
};

/// How many live grants an inbox looks through.
const INBOX_MOST: i64 = 10_000;

impl Control {
    /// One request: for the one who asked, those who may decide, admins and auditors.
    ///
    /// # Errors
    /// Where there is none that the actor may see.
    pub async fn request(
        &self,
        actor: &Actor,
        id: &RequestId,
    ) -> Result<RequestView, ControlError> {
        let db = &mut *self.0.store.read().await?;
        let found = store::requests::find(db, id).await?;
        let stored = found.filter(|stored| may_see(actor, stored));
        self.show(db, actor, stored.ok_or(ControlError::NotFound("request"))?).await
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
        let db = &mut *self.0.store.read().await?;
        let (before, size) = (paging.before(), paging.size());
        let rows = if filter.scope == Scope::Inbox {
            inbox(store::requests::pending(db).await?, actor, before, size)
        } else {
            let state = filter.state.map(crate::Standing::word);
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
        let missing = match &request.state {
            RequestState::NeedsApproval { approvals } => request.missing(approvals),
            RequestState::NeedsStepUp
            | RequestState::Granted { .. }
            | RequestState::Denied { .. }
            | RequestState::Withdrawn { .. }
            | RequestState::Lapsed { .. } => 0,
        };
        Ok(RequestView {
            name: self.0.inventory.load().name(&request.principal),
            source,
            prove_at: self.prove_at(&request),
            missing,
            may_decide: request.is_pending() && decides(actor, &request),
            grant: store::grants::id_for(db, &request.id).await?,
            request,
        })
    }

    fn prove_at(&self, request: &policies::Request) -> Option<String> {
        let waits = request.state == RequestState::NeedsStepUp;
        waits.then(|| format!("{}/r/{}", self.settings().base_url(), request.id))
    }

    /// One grant: for its holder, those who may revoke it, admins and auditors.
    ///
    /// # Errors
    /// Where there is none that the actor may see.
    pub async fn grant(&self, actor: &Actor, id: &GrantId) -> Result<GrantView, ControlError> {
        let db = &mut *self.0.store.read().await?;
        let none = || ControlError::NotFound("grant");
        let grant = store::grants::find(db, id).await?.ok_or_else(none)?;
        let view = reveal(db, actor, grant).await?;
        let own = view.grant.principal == actor.principal.id;
        if own || view.may_revoke || actor.oversees() { Ok(view) } else { Err(none()) }
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
        let live_at = live.map(|live| (live, self.now()));
        let size = if inbox { INBOX_MOST } else { paging.size() };
        let db = &mut *self.0.store.read().await?;
        let rows = store::grants::list(db, whose, live_at, paging.before(), size).await?;
        let (mut items, mut last) = (Vec::new(), None);
        for stored in rows {
            let view = reveal(db, actor, stored.grant).await?;
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
fn whose(actor: &Actor, scope: Scope) -> Result<Option<&PrincipalId>, ControlError> {
    match scope {
        Scope::Mine => Ok(Some(&actor.principal.id)),
        Scope::Inbox => Ok(None),
        Scope::All => actor.must_oversee().map(|()| None),
    }
}

fn inbox(rows: Vec<Stored>, actor: &Actor, before: i64, size: i64) -> Vec<Stored> {
    let rows = rows.into_iter().filter(|row| row.seq < before);
    let asked = rows.filter(|row| decides(actor, &row.request));
    asked.take(usize::try_from(size).unwrap_or(usize::MAX)).collect()
}

fn decides(actor: &Actor, request: &policies::Request) -> bool {
    request.may_decide(&actor.principal).is_ok()
}

fn may_see(actor: &Actor, stored: &Stored) -> bool {
    let request = &stored.request;
    request.principal == actor.principal.id || actor.oversees() || decides(actor, request)
}

async fn reveal(
    db: &mut SqliteConnection,
    actor: &Actor,
    grant: Grant,
) -> Result<GrantView, ControlError> {
    let own = grant.principal == actor.principal.id;
    let may_revoke = if actor.admin || own {
        actor.admin
    } else {
        let found = store::requests::find(db, &grant.request).await?;
        found.is_some_and(|stored| decides(actor, &stored.request))
    };
    let may_revoke = may_revoke && grant.deadline().is_some();
    Ok(GrantView { grant, may_revoke })
}
