//! What becomes of a request that waits, without anybody's act: it lapses, goes to others, is withdrawn
//! since the rules no longer give it, or is given since they ask for less by now.

use policies::{GrantError, GrantEvent, Request, RequestError, RequestEvent, Terms};
use serde_json::json;

use crate::kernel::transaction::Change;
use crate::model::actor::Asker;
use crate::model::error::ControlError;
use crate::model::event::By;
use crate::store;

impl Change {
    /// Lapses a request whose time is over; whether it was.
    pub(crate) async fn lapse(&mut self, request: &Request) -> Result<bool, ControlError> {
        let next = request.apply(RequestEvent::Tick, self.now)?;
        if next.is_pending() {
            return Ok(false);
        }
        self.put_request(&next, By::Control, "request.lapsed", json!({})).await?;
        Ok(true)
    }

    /// Lets others stand in for those who took too long.
    pub(crate) async fn escalate(&mut self, request: &Request) -> Result<(), ControlError> {
        let to = self.inventory.workflow.escalate_to.clone();
        match request.apply(RequestEvent::Escalate { to }, self.now) {
            Ok(next) => {
                let detail = json!({
                    "to": next.escalated, "needs": next.terms.approvals.told(),
                    "resource": next.subject(), "principal": next.principal,
                });
                self.put_request(&next, By::Control, "request.escalated", detail).await
            }
            Err(RequestError::Lapsed) => self.lapse(request).await.map(drop),
            // Nobody is left to turn to: it isn't looked at again.
            Err(_) => store::requests::update(self.db(), request, None).await,
        }
    }

    /// Takes a request back that is of no use any more, as where the rules no longer give it.
    pub(crate) async fn withdraw_for(
        &mut self,
        request: &Request,
        why: &str,
    ) -> Result<(), ControlError> {
        let next = request.apply(RequestEvent::Drop { why: why.to_owned() }, self.now)?;
        let detail = json!({ "why": why });
        self.put_request(&next, By::Control, "request.withdrawn", detail).await
    }

    /// Grants a request for which nothing lacks any more, since the rules ask for less by now; whether
    /// it did. What is locked waits on.
    pub(crate) async fn relax(
        &mut self,
        request: &Request,
        terms: Terms,
    ) -> Result<bool, ControlError> {
        let asked = &request.terms;
        let same = (&terms.approvals, terms.step_up) == (&asked.approvals, asked.step_up);
        if same || self.is_locked(request) || !self.inventory.is_approved(request, &terms.approvals)
        {
            return Ok(false);
        }
        let detail = json!({
            "why": "the rules ask for less by now", "asked": asked.approvals.told(),
            "needs": terms.approvals.told(), "rules": terms.rules,
            "resource": request.subject(), "principal": request.principal,
        });
        let next = match request.apply(RequestEvent::Relax { terms }, self.now) {
            Ok(next) => next,
            Err(_) => return Ok(false),
        };
        if let Some(why) = self.cannot_extend(&next).await? {
            self.withdraw_for(request, &why.to_string()).await?;
            return Ok(true);
        }
        self.put_request(&next, By::Control, "request.granted", detail).await?;
        self.give(&next).await?;
        Ok(true)
    }

    /// Why the grant that it is to make last longer can't last longer, where it is such a request.
    async fn cannot_extend(
        &mut self,
        request: &Request,
    ) -> Result<Option<GrantError>, ControlError> {
        let Some(id) = &request.extends else { return Ok(None) };
        let grant = self.granted(id).await?;
        let event = GrantEvent::Extend {
            request: request.id.clone(),
            by: request.lasts(),
            limit: request.took().limit,
        };
        Ok(grant.apply(event, self.now).err())
    }

    fn is_locked(&self, request: &Request) -> bool {
        let asker = Asker::absent(&request.principal);
        let locked = |resource| self.kernel().not_locked(&asker, resource, self.now).is_err();
        request.resources().any(locked)
    }
}
