//! Requests and grants as the store has them.

use policies::{Grant, GrantEvent, GrantId, PrincipalId, RequestId, Resource};

use crate::access::transitions;
use crate::kernel::state::Transaction;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::By;
use crate::store;
use crate::store::requests::Stored;

pub(crate) async fn stored(tx: &mut Transaction, id: &RequestId) -> Result<Stored, ControlError> {
    let found = store::requests::find(tx.db(), id).await?;
    found.ok_or(Refusal::NotFound("request").into())
}

pub(crate) async fn granted(tx: &mut Transaction, id: &GrantId) -> Result<Grant, ControlError> {
    let found = store::grants::find(tx.db(), id).await?;
    found.ok_or(Refusal::NotFound("grant").into())
}

/// Their grant for it that isn't over, as time has made it by now.
pub(crate) async fn open_grant(
    tx: &mut Transaction,
    holder: &PrincipalId,
    resource: &Resource,
) -> Result<Option<Grant>, ControlError> {
    let found = store::grants::open_for(tx.db(), holder, resource).await?;
    let Some(grant) = found else {
        return Ok(None);
    };
    let grant = transitions::step(tx, &grant, GrantEvent::Tick, By::Control).await?;
    Ok(grant.deadline().is_some().then_some(grant))
}
