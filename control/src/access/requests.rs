//! What people do about a request: they ask, approve, deny, take back. `edit` is how it is said
//! otherwise, `pending` what becomes of it without anybody's act.

use policies::{GroupName, Purpose, Quorum, Request, RequestEvent, RequestId, StepUp, StepUpId};
use serde_json::{Value, json};

use crate::access::input::{Answer, REASON_MAX, Yes};
use crate::access::load::stored;
use crate::access::step_up::{Wanted, check_given, to_json};
use crate::access::{Access, issue_grant, load, step_up, transitions};
use crate::kernel::state::Transaction;
use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::event::{By, Event};
use crate::model::statement;
use crate::model::text::check_text;
use crate::model::view::Asked;

impl Access {
    /// Says yes to what the digest stands for, perhaps for a shorter time.
    ///
    /// # Errors
    /// Where the actor isn't asked or has to prove themselves, the request has changed or is over,
    /// or the rules would no longer give it: then it is withdrawn.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, request = %id))]
    pub async fn approve(
        &self,
        actor: &Actor,
        id: &RequestId,
        yes: Yes,
    ) -> Result<Asked, ControlError> {
        let (access, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.kernel
            .to_the_end(async move {
                let said = access.approved(&actor, &id, yes).await;
                access.audited(&actor, said).await
            })
            .await
    }

    async fn approved(
        &self,
        actor: &Actor,
        id: &RequestId,
        yes: Yes,
    ) -> Result<Asked, ControlError> {
        let mut tx = self.kernel.begin().await?;
        let verdict = approve(&mut tx, actor, id, yes).await?;
        let revision = tx.commit().await?;
        let answer = verdict
            .map_err(|why| Refusal::Conflict(format!("the request was withdrawn: {why}")))?;
        Ok(Asked::new(answer, revision))
    }

    /// Says no.
    ///
    /// # Errors
    /// Where the actor isn't asked, or the request is over.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, request = %id))]
    pub async fn deny(
        &self,
        actor: &Actor,
        id: &RequestId,
        reason: String,
    ) -> Result<Request, ControlError> {
        check_text("a reason", &reason, REASON_MAX)?;
        let (access, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let person = tx.acting(&actor)?;
                let request = stored(&mut tx, &id).await?.request;
                let by = tx.inventory.decider(&person.principal, &request)?;
                let detail = json!({ "reason": reason });
                let event = RequestEvent::Deny { by, reason };
                let denied =
                    move_request(&mut tx, &id, event, &actor, AuditKind::RequestDenied, detail)
                        .await?;
                tx.commit().await?;
                Ok(denied)
            })
            .await
    }

    /// Takes one's own request back.
    ///
    /// # Errors
    /// Where it isn't the actor's, or is over.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, request = %id))]
    pub async fn withdraw(&self, actor: &Actor, id: &RequestId) -> Result<Request, ControlError> {
        let (access, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let by = actor.principal.id.clone();
                let event = RequestEvent::Withdraw { by };
                let kind = AuditKind::RequestWithdrawn;
                let request = move_request(&mut tx, &id, event, &actor, kind, json!({})).await?;
                tx.commit().await?;
                Ok(request)
            })
            .await
    }

    /// The one who asked stands by a request with a step-up; from then on others are asked.
    ///
    /// # Errors
    /// Where the step-up doesn't serve, or the request isn't theirs or doesn't wait for one.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, request = %id))]
    pub async fn stand_by(
        &self,
        actor: &Actor,
        id: &RequestId,
        given: &StepUpId,
    ) -> Result<Request, ControlError> {
        let (access, actor, id, given) = (self.clone(), actor.clone(), id.clone(), given.clone());
        self.kernel
            .to_the_end(async move {
                let stood = access.stood_by(&actor, &id, &given).await;
                access.audited(&actor, stood).await
            })
            .await
    }

    async fn stood_by(
        &self,
        actor: &Actor,
        id: &RequestId,
        given: &StepUpId,
    ) -> Result<Request, ControlError> {
        let mut tx = self.kernel.begin().await?;
        tx.acting(actor)?;
        let request = load::stored(&mut tx, id).await?.request;
        let name = tx.inventory.name(&request.principal);
        let need = Wanted {
            within: request.terms.step_up,
            ..Wanted::new(actor, Purpose::Ask, request.subject())
        };
        let shown = [statement::of_request(&request, &name)];
        let step_up = check_given(&mut tx, &need, given, &shown).await?;
        let (next, _) = proved(&mut tx, &request, step_up).await?;
        tx.commit().await?;
        Ok(next)
    }
}

fn groups(turn: &[Quorum]) -> Vec<&GroupName> {
    turn.iter().map(|quorum| &quorum.group).collect()
}

fn written(turn: &[Quorum]) -> Vec<String> {
    turn.iter().map(ToString::to_string).collect()
}

async fn approve(
    tx: &mut Transaction,
    actor: &Actor,
    id: &RequestId,
    Yes { digest, shorten, step_up }: Yes,
) -> Result<Result<Answer, Rejection>, ControlError> {
    let person = tx.acting(actor)?;
    let stored = stored(tx, id).await?;
    let request = &stored.request;
    let by = tx.inventory.decider(&person.principal, request)?;
    request.may_decide(&by)?;
    let step_up =
        crate::access::step_up::for_approval(tx, actor, request, step_up.as_ref()).await?;
    let proof = step_up.as_ref().map(step_up::to_json);
    let detail = json!({ "digest": digest, "shorten": shorten, "step_up": proof });
    let event = RequestEvent::Approve { by, digest, shorten, step_up };
    let next = request.apply(event, tx.now)?;
    let facts = crate::access::step_up::facts_of(tx, &stored).await?;
    if let Err(why) = tx.inventory.still_asks(request, &facts) {
        transitions::withdraw_for(tx, request, &why.to_string()).await?;
        return Ok(Err(why));
    }
    let next_stage = next.is_pending() && groups(next.turn()) != groups(request.turn());
    transitions::put_request(tx, &next, actor, AuditKind::RequestApproved, detail).await?;
    if next_stage {
        // Others are asked from here on, who haven't heard of it yet.
        let detail = json!({ "needs": written(next.turn()) });
        tx.record(Event::new(By::Control, AuditKind::RequestTurn, &next.id, detail)).await?;
    }
    outcome(tx, next).await.map(Ok)
}

/// A request that may have become granted just now, with what that gave.
pub(crate) async fn outcome(
    tx: &mut Transaction,
    request: Request,
) -> Result<Answer, ControlError> {
    if request.is_pending() {
        return Ok((request, Vec::new()));
    }
    let grants = issue_grant::issue(tx, &request).await?;
    Ok((request, grants))
}

async fn move_request(
    tx: &mut Transaction,
    id: &RequestId,
    event: RequestEvent,
    actor: &Actor,
    kind: AuditKind,
    detail: Value,
) -> Result<Request, ControlError> {
    let next = stored(tx, id).await?.request.apply(event, tx.now)?;
    transitions::put_request(tx, &next, actor, kind, detail).await?;
    Ok(next)
}

/// A step-up for a request of somebody's, on which others wait.
pub(crate) async fn proved(
    tx: &mut Transaction,
    request: &Request,
    step_up: StepUp,
) -> Result<Answer, ControlError> {
    let detail = json!({ "step_up": to_json(&step_up) });
    let by = By::Principal(step_up.principal.clone());
    let next = request.apply(RequestEvent::StepUp { step_up }, tx.now)?;
    transitions::put_request(tx, &next, by, AuditKind::RequestProved, detail).await?;
    outcome(tx, next).await
}
