//! Giving: a request whose terms are met becomes its grants, or makes one last longer.

use policies::{
    Act, Grant, GrantEvent, GrantId, GrantState, Grounds, Request, RequestState, Resource,
    Timestamp, Ttl, Wanted,
};
use serde_json::json;

use crate::access::Access;
use crate::access::ask;
use crate::access::ask::{Answer, extends, is_same};
use crate::access::grants;
use crate::access::requests;
use crate::access::requests::{Wish, check_text};
use crate::access::reviews;
use crate::access::step_up;
use crate::access::transitions;
use crate::kernel::transaction::Transaction;
use crate::model::actor::{Actor, Asker};
use crate::model::error::{ControlError, Rejection};
use crate::model::event::By;
use crate::model::view::Asked;
use crate::platform::ids;
use crate::policy::risk;
use crate::store;

impl Access {
    /// Asks for more time on one's own grant, before its end and by the same rules.
    ///
    /// # Errors
    /// Where it isn't the actor's, hasn't been used or is over, the rules forbid it, or it lasts as
    /// long as they let it already.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, grant = %id))]
    pub async fn extend(
        &self,
        actor: &Actor,
        id: &GrantId,
        ttl: Option<Ttl>,
        reason: Option<String>,
    ) -> Result<Asked, ControlError> {
        check_text(
            "a reason",
            reason.as_deref().unwrap_or_default(),
            crate::access::requests::REASON_MAX,
        )?;
        self.kernel.paced(&actor.principal.id).await?;
        let (access, asker, id) = (self.clone(), actor.asker(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let answer = ask_longer(&mut tx, &asker, &id, (ttl, reason)).await?;
                let revision = tx.commit().await?;
                Ok(Asked::new(answer, revision))
            })
            .await
    }
}

async fn ask_longer(
    tx: &mut Transaction,
    asker: &Asker,
    id: &GrantId,
    (ttl, reason): (Option<Ttl>, Option<String>),
) -> Result<Answer, ControlError> {
    tx.inventory.person(&asker.principal)?;
    let grant = grants::granted(tx, id).await?;
    if grant.principal != asker.principal {
        return Err(ControlError::NotFound("grant"));
    }
    tx.kernel().not_locked(asker, &grant.resource, tx.now)?;
    let first = requests::stored(tx, &grant.request).await?;
    let (request, source) = (first.request, first.source);
    let wish = Wish {
        also: Vec::new(),
        ttl: Some(ttl.unwrap_or(grant.ttl)),
        reason: reason.unwrap_or_else(|| request.reason.clone()),
        ticket: request.ticket,
        act: grant.act,
        source,
        ..Wish::new(grant.resource.clone())
    };
    let all = [grant.resource.clone()];
    // Where the connection comes from is as it was; this is asked in a session.
    let unusual = risk::assess_risk(tx, asker, None).await?;
    let facts = wish.facts(unusual.facts(tx.now, source));
    let terms = ask::terms_of(tx, asker, &all, &facts)?;
    terms.said(wish.ticket.as_ref(), &wish.reason).map_err(Rejection::Unsaid)?;
    can_be_extended(tx, &grant, &wish, terms.limit)?;
    if let Some(waiting) = waits_longer(tx, &grant).await? {
        return match is_same(&waiting, &wish) {
            true => Ok((waiting, Vec::new())),
            false => Err(ControlError::Conflict(format!(
                "request `{}` to extend this grant waits already: take it back first",
                waiting.id
            ))),
        };
    }
    let Wish { resource, also, reason, ticket, act, .. } = wish;
    let ttl = wish.ttl.unwrap_or(grant.ttl);
    let (starts_at, extends) = (None, Some(grant.id));
    let wanted = Wanted { resource, also, ttl, reason, ticket, act, starts_at, extends };
    let request = ask::posed(tx, asker, wanted, (terms, None))?;
    ask::taken(tx, request, source, &unusual).await
}

/// Whether there would be anything to it, were it given now.
pub(crate) fn can_be_extended(
    tx: &Transaction,
    grant: &Grant,
    wish: &Wish,
    limit: Option<Ttl>,
) -> Result<(), ControlError> {
    let by = wish.ttl.unwrap_or(grant.ttl);
    let by = limit.map_or(by, |limit| by.min(limit));
    let event = GrantEvent::Extend { request: grant.request.clone(), by, limit };
    grant.apply(event, tx.now)?;
    Ok(())
}

/// The pending request to make this grant last longer.
async fn waits_longer(
    tx: &mut Transaction,
    grant: &Grant,
) -> Result<Option<Request>, ControlError> {
    let pending = store::requests::pending_of(tx.db(), &grant.principal).await?;
    let mut requests = pending.into_iter().map(|stored| stored.request);
    let found = requests.find(|request| extends(request, &grant.id));
    match found {
        Some(request) if !crate::access::pending::lapse(tx, &request).await? => Ok(Some(request)),
        Some(_) | None => Ok(None),
    }
}

/// Gives what a request asks for, since its terms are met.
pub(crate) async fn give(
    tx: &mut Transaction,
    request: &Request,
) -> Result<Vec<Grant>, ControlError> {
    if !matches!(request.state, RequestState::Granted { .. }) {
        return Err(ControlError::Conflict(format!(
            "the request is {}, not granted",
            request.state.word()
        )));
    }
    if let Some(grant) = &request.extends {
        return lengthen(tx, request, grant).await;
    }
    let mut grants = Vec::new();
    for resource in request.resources() {
        grants.push(give_one(tx, request, resource).await?);
    }
    Ok(grants)
}

async fn lengthen(
    tx: &mut Transaction,
    request: &Request,
    grant: &GrantId,
) -> Result<Vec<Grant>, ControlError> {
    let grant = grants::granted(tx, grant).await?;
    let event = GrantEvent::Extend {
        request: request.id.clone(),
        by: request.lasts(),
        limit: request.took().limit,
    };
    let by = By::Principal(request.principal.clone());
    let because = decided_by(tx, request, &grant.resource).await?;
    let extended = transitions::step_because(tx, &grant, event, by, because).await?;
    Ok(vec![extended])
}

/// What the audit log tells of a yes that nobody was asked for: the rules that had a say, and the
/// facts that they looked at. Where people decided, they are told, and this is nothing.
async fn decided_by(
    tx: &mut Transaction,
    request: &Request,
    resource: &Resource,
) -> Result<Option<Grounds>, ControlError> {
    if !request.state.approvals().is_empty() {
        return Ok(None);
    }
    let stored = requests::stored(tx, &request.id).await?;
    let facts = step_up::facts_of(tx, &stored).await?;
    Ok(Some(tx.inventory.grounds(request, resource, &facts)?))
}

/// One of the things that a request asks for; what was given meanwhile stays as it is.
async fn give_one(
    tx: &mut Transaction,
    request: &Request,
    resource: &Resource,
) -> Result<Grant, ControlError> {
    if let Some(open) = ask::open_grant(tx, &request.principal, resource).await? {
        return Ok(open);
    }
    let grant = Grant {
        id: ids::fresh("gr")?,
        request: request.id.clone(),
        principal: request.principal.clone(),
        name: tx.inventory.name(&request.principal),
        resource: resource.clone(),
        ttl: request.lasts(),
        act: request.act,
        extensions: Vec::new(),
        record: request.took().record.clone(),
        granted_at: tx.now,
        state: begins(tx, request, tx.now),
    };
    let approvers: Vec<&str> =
        request.state.approvals().iter().map(|yes| yes.by.as_str()).collect();
    let decided_by = decided_by(tx, request, resource).await?;
    let detail = json!({
        "request": request.id, "principal": grant.principal,
        "resource": grant.resource.to_string(), "ttl": grant.ttl, "approved_by": approvers,
        "starts_at": request.starts_at.map(|at| at.to_string()),
        "act": grant.act, "record": grant.record, "decided_by": decided_by,
    });
    transitions::add_grant(tx, &grant, request.ticket.as_ref(), detail).await?;
    if grant.act == Act::BreakGlass {
        reviews::alarm(tx, request, &grant).await?;
    }
    Ok(grant)
}

/// Open at once, or from a time to come on.
fn begins(tx: &Transaction, request: &Request, now: Timestamp) -> GrantState {
    let own = tx.kernel().settings().claim_within;
    let claim_within = request.took().claim_within.map_or(own, |within| within.min(own));
    match request.starts_at.filter(|starts| now < *starts) {
        Some(opens) => GrantState::Scheduled { opens, claim_within },
        None => GrantState::Granted { claim_by: now.after(claim_within) },
    }
}
