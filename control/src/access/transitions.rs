//! The steps of requests and grants, each with its audit event and what proxies hear of it.

use std::net::IpAddr;

use policies::{Grant, GrantEvent, GrantId, GrantState, Grounds, Request, RequestEvent, Ticket};
use serde_json::{Value, json};

use crate::kernel::cuts::What;
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::unusual::Unusual;
use crate::store;

/// Takes a new request in.
pub(crate) async fn add_request(
    tx: &mut Transaction,
    request: &Request,
    source: Option<IpAddr>,
    unusual: &Unusual,
) -> Result<(), ControlError> {
    let escalates_at = tx.inventory.escalates_at(request);
    let risk = unusual.risk;
    store::requests::insert(tx.db(), request, source, risk, escalates_at).await?;
    let by = By::Principal(request.principal.clone());
    let needs: Vec<String> = request.terms.approvals.lines();
    let facts = unusual.facts(request.evaluated_at(tx.now), source).about(request);
    let facts = match tx.inventory.person(&request.principal) {
        Ok(person) => tx.inventory.informed(&person.principal, &facts),
        Err(_) => facts,
    };
    let detail = json!({
        "resource": request.subject(), "ttl": request.ttl, "reason": request.reason,
        "ticket": request.ticket, "act": request.act, "extends": request.extends,
        "starts_at": request.starts_at.map(|at| at.to_string()),
        "needs": needs, "rules": request.terms.rules, "digest": request.digest(),
        "source": source, "step_up": request.step_up, "unusual": unusual.describe(),
        "terms": request.terms, "on_call": facts.on_call, "ticket_state": facts.ticket_state,
        "risk": unusual.risk,
    });
    let event = Event::new(by, AuditKind::RequestAsked, &request.id, detail);
    tx.record(event).await?;
    touch(tx, request);
    Ok(())
}

/// Writes a request's next state.
pub(crate) async fn put_request(
    tx: &mut Transaction,
    request: &Request,
    by: impl Into<By>,
    kind: AuditKind,
    detail: Value,
) -> Result<(), ControlError> {
    let escalates_at = tx.inventory.escalates_at(request);
    store::requests::update(tx.db(), request, escalates_at).await?;
    tx.record(Event::new(by, kind, &request.id, detail)).await?;
    touch(tx, request);
    Ok(())
}

fn touch(tx: &mut Transaction, request: &Request) {
    let standing = (request.id.clone(), request.state.word());
    tx.touched.push(standing);
}

/// Steps a grant, and tells of it where that changed anything.
pub(crate) async fn step(
    tx: &mut Transaction,
    grant: &Grant,
    event: GrantEvent,
    by: impl Into<By>,
) -> Result<Grant, ControlError> {
    step_because(tx, grant, event, by, None).await
}

/// The same, on the grounds of rules.
pub(crate) async fn step_because(
    tx: &mut Transaction,
    grant: &Grant,
    event: GrantEvent,
    by: impl Into<By>,
    decided_by: Option<Grounds>,
) -> Result<Grant, ControlError> {
    let extended_by = match &event {
        GrantEvent::Extend { request, .. } => Some(request.clone()),
        GrantEvent::Use | GrantEvent::End(_) | GrantEvent::Tick => None,
    };
    let by = by.into();
    let next = grant.apply(event, tx.now)?;
    if next == *grant {
        return Ok(next);
    }
    if let GrantState::Ended { end, .. } = &next.state {
        let what = What::Grant { grant: next.id.clone(), end: end.clone() };
        tx.cuts_off(by.clone(), what);
    }
    store::grants::update(tx.db(), &next).await?;
    let ends = next.deadline().map(|at| at.to_string());
    let (kind, detail) = match (&next.state, extended_by) {
        (GrantState::Ended { end, .. }, _) => {
            (AuditKind::GrantEnded, json!({ "end": end.code(), "detail": end.detail() }))
        }
        (_, Some(request)) => {
            let detail = json!({ "ends": ends, "request": request, "decided_by": decided_by });
            (AuditKind::GrantExtended, detail)
        }
        (GrantState::Scheduled { .. } | GrantState::Granted { .. }, None) => {
            (AuditKind::GrantOpened, json!({ "claim_by": ends }))
        }
        (GrantState::Active { .. }, None) => (AuditKind::GrantUsed, json!({ "ends": ends })),
    };
    tx.record(Event::new(by, kind, &next.id, detail)).await?;
    announce(tx, &next).await?;
    Ok(next)
}

/// What proxies hear of a grant. An end withdraws the request for a later one.
async fn announce(tx: &mut Transaction, grant: &Grant) -> Result<(), ControlError> {
    tx.news.leases.extend(grant.lease());
    if let GrantState::Ended { end, .. } = &grant.state {
        tx.news.gone.push((grant.id.clone(), end.clone()));
        drop_extensions(tx, grant).await?;
    }
    Ok(())
}

/// Takes a new grant in.
pub(crate) async fn add_grant(
    tx: &mut Transaction,
    grant: &Grant,
    ticket: Option<&Ticket>,
    detail: Value,
) -> Result<(), ControlError> {
    store::grants::insert(tx.db(), grant, ticket).await?;
    tx.record(Event::new(By::Control, AuditKind::GrantGiven, &grant.id, detail)).await?;
    tx.news.leases.extend(grant.lease());
    Ok(())
}

/// Withdraws what would make a grant last longer that has ended.
pub(crate) async fn drop_extensions(
    tx: &mut Transaction,
    grant: &Grant,
) -> Result<(), ControlError> {
    for stored in store::requests::pending_of(tx.db(), &grant.principal).await? {
        if extends(&stored.request, &grant.id) && !lapse(tx, &stored.request).await? {
            withdraw_for(tx, &stored.request, "the grant has ended").await?;
        }
    }
    Ok(())
}

pub(crate) fn extends(request: &Request, grant: &GrantId) -> bool {
    request.extends.as_ref() == Some(grant)
}

/// Lapses a request whose time is over; whether it was.
pub(crate) async fn lapse(tx: &mut Transaction, request: &Request) -> Result<bool, ControlError> {
    let next = request.apply(RequestEvent::Tick, tx.now)?;
    if next.is_pending() {
        return Ok(false);
    }
    put_request(tx, &next, By::Control, AuditKind::RequestLapsed, json!({})).await?;
    Ok(true)
}

/// Takes a request back that is of no use any more, as where the rules no longer give it.
pub(crate) async fn withdraw_for(
    tx: &mut Transaction,
    request: &Request,
    why: &str,
) -> Result<(), ControlError> {
    let next = request.apply(RequestEvent::Drop { why: why.to_owned() }, tx.now)?;
    let detail = json!({ "why": why });
    put_request(tx, &next, By::Control, AuditKind::RequestWithdrawn, detail).await
}
