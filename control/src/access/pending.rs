//! What becomes of a request that waits, without anybody's act: it lapses, goes to others, is withdrawn
//! since the rules no longer give it, or is given since they ask for less by now.

use policies::{GrantError, GrantEvent, Request, RequestError, RequestEvent, Terms};
use serde_json::json;

use crate::access::transitions::{lapse, withdraw_for};
use crate::access::{issue_grant, load, transitions};
use crate::kernel::state::Transaction;
use crate::model::actor::Asker;
use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::By;
use crate::store;

/// Lets others stand in for those who took too long.
pub(crate) async fn escalate(tx: &mut Transaction, request: &Request) -> Result<(), ControlError> {
    let to = tx.inventory.workflow.escalate_to.clone();
    match request.apply(RequestEvent::Escalate { to }, tx.now) {
        Ok(next) => {
            let detail = json!({
                "to": next.escalated, "needs": next.terms.approvals.lines(),
                "resource": next.subject(), "principal": next.principal,
            });
            transitions::put_request(tx, &next, By::Control, AuditKind::RequestEscalated, detail)
                .await
        }
        Err(RequestError::Lapsed) => lapse(tx, request).await.map(drop),
        // Nobody is left to turn to: it isn't looked at again.
        Err(_) => Ok(store::requests::update(tx.db(), request, None).await?),
    }
}

/// Grants a request for which nothing lacks any more, since the rules ask for less by now; whether
/// it did. What is locked waits on.
pub(crate) async fn relax(
    tx: &mut Transaction,
    request: &Request,
    terms: Terms,
) -> Result<bool, ControlError> {
    let asked = &request.terms;
    let same = (&terms.approvals, terms.step_up) == (&asked.approvals, asked.step_up);
    if same || is_locked(tx, request) || !tx.inventory.is_approved(request, &terms.approvals) {
        return Ok(false);
    }
    let detail = json!({
        "why": "the rules ask for less by now", "asked": asked.approvals.lines(),
        "needs": terms.approvals.lines(), "rules": terms.rules,
        "resource": request.subject(), "principal": request.principal,
    });
    let next = match request.apply(RequestEvent::Relax { terms }, tx.now) {
        Ok(next) => next,
        Err(_) => return Ok(false),
    };
    if let Some(why) = cannot_extend(tx, &next).await? {
        withdraw_for(tx, request, &why.to_string()).await?;
        return Ok(true);
    }
    transitions::put_request(tx, &next, By::Control, AuditKind::RequestGranted, detail).await?;
    issue_grant::issue(tx, &next).await?;
    Ok(true)
}

/// Why the grant that it is to make last longer can't last longer, where it is such a request.
async fn cannot_extend(
    tx: &mut Transaction,
    request: &Request,
) -> Result<Option<GrantError>, ControlError> {
    let Some(id) = &request.extends else { return Ok(None) };
    let grant = load::granted(tx, id).await?;
    let event = GrantEvent::Extend {
        request: request.id.clone(),
        by: request.lasts(),
        limit: request.took().limit,
    };
    Ok(grant.apply(event, tx.now).err())
}

fn is_locked(tx: &Transaction, request: &Request) -> bool {
    let asker = Asker::absent(&request.principal);
    let locked = |resource| tx.kernel().not_locked(&asker, resource, tx.now).is_err();
    request.resources().any(locked)
}
