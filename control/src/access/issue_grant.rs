//! Giving: a request whose terms are met becomes its grants, or makes one last longer.

use policies::{
    Act, Grant, GrantEvent, GrantId, GrantState, Grounds, Request, RequestState, Resource,
    Timestamp, Ttl,
};
use serde_json::json;

use crate::access::input::AccessRequestInput;
use crate::access::{load, reviews, step_up, transitions};
use crate::kernel::state::Transaction;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::By;
use crate::platform::ids;

/// Whether there would be anything to it, were it given now.
pub(crate) fn can_be_extended(
    tx: &Transaction,
    grant: &Grant,
    requested: &AccessRequestInput,
    limit: Option<Ttl>,
) -> Result<(), ControlError> {
    let by = requested.ttl.unwrap_or(grant.ttl);
    let by = limit.map_or(by, |limit| by.min(limit));
    let event = GrantEvent::Extend { request: grant.request.clone(), by, limit };
    grant.apply(event, tx.now)?;
    Ok(())
}

/// Gives what a request asks for, since its terms are met.
pub(crate) async fn issue(
    tx: &mut Transaction,
    request: &Request,
) -> Result<Vec<Grant>, ControlError> {
    if !matches!(request.state, RequestState::Granted { .. }) {
        return Err(Refusal::Conflict(format!(
            "the request is {}, not granted",
            request.state.word()
        ))
        .into());
    }
    if let Some(grant) = &request.extends {
        return lengthen(tx, request, grant).await;
    }
    let mut grants = Vec::new();
    for resource in request.resources() {
        grants.push(issue_one(tx, request, resource).await?);
    }
    Ok(grants)
}

async fn lengthen(
    tx: &mut Transaction,
    request: &Request,
    grant: &GrantId,
) -> Result<Vec<Grant>, ControlError> {
    let grant = load::granted(tx, grant).await?;
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
/// facts that they looked at. Where people decided, they are named, and this is nothing.
async fn decided_by(
    tx: &mut Transaction,
    request: &Request,
    resource: &Resource,
) -> Result<Option<Grounds>, ControlError> {
    if !request.state.approvals().is_empty() {
        return Ok(None);
    }
    let stored = load::stored(tx, &request.id).await?;
    let facts = step_up::facts_of(tx, &stored).await?;
    Ok(Some(tx.inventory.grounds(request, resource, &facts)?))
}

/// One of the things that a request asks for; what was given meanwhile stays as it is.
async fn issue_one(
    tx: &mut Transaction,
    request: &Request,
    resource: &Resource,
) -> Result<Grant, ControlError> {
    if let Some(open) = load::open_grant(tx, &request.principal, resource).await? {
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
    let own = tx.kernel().settings().grants.claim_within;
    let claim_within = request.took().claim_within.map_or(own, |within| within.min(own));
    match request.starts_at.filter(|starts| now < *starts) {
        Some(opens) => GrantState::Scheduled { opens, claim_within },
        None => GrantState::Granted { claim_by: now.after(claim_within) },
    }
}
