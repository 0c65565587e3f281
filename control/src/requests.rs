//! Asking, and what people answer: every step of a request's life but the lapse.

use std::net::IpAddr;

use policies::{
    Act, Approval, Digest, Facts, Grant, GrantEvent, Request, RequestEvent, RequestId,
    RequestState, Resource, StepUp, StepUpId, Terms, Ticket, Ttl, Wanted,
};
use serde_json::{Value, json};

use crate::actor::Asker;
use crate::audit::By;
use crate::judge::needs;
use crate::publish::Change;
use crate::risk::Unusual;
use crate::store::{self, requests::Stored};
use crate::{Actor, Asked, Control, ControlError, Rejection, ids, step_up};

/// The longest reason, in bytes.
const REASON_MAX: usize = 2_000;
/// How many requests of one person wait at once.
const PENDING_EACH: i64 = 50;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The login, target and database; without a database, the target's default.
    pub resource: Resource,
    /// For how long; without, as long as the target's default.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: String,
    /// The ticket that it is for, where there is one.
    pub ticket: Option<Ticket>,
    /// Whether it is an emergency.
    pub act: Act,
    /// Where the connection comes from that waits for it, where there is one.
    pub source: Option<IpAddr>,
}

impl Wish {
    /// A wish for this, of which nothing more is said.
    #[must_use]
    pub fn new(resource: Resource) -> Self {
        let (ttl, reason, ticket) = (None, String::new(), None);
        Self { resource, ttl, reason, ticket, act: Act::Connect, source: None }
    }

    /// What the rules may ask about it, besides these.
    pub(crate) fn facts(&self, facts: Facts) -> Facts {
        Facts {
            act: self.act,
            ticket: self.ticket.clone(),
            reason: self.reason.clone(),
            ttl: self.ttl,
            ..facts
        }
    }
}

/// An approver's yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Yes {
    /// What they read.
    pub digest: Digest,
    /// For how long at most.
    pub shorten: Option<Ttl>,
    /// With what they proved themselves, where they did.
    pub step_up: Option<StepUpId>,
}

/// Whether somebody is there to wait for people's approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waiting {
    Yes,
    No,
}

impl Control {
    /// Asks. A live grant, or a pending request for the same, is joined instead of asking again.
    ///
    /// # Errors
    /// Where the rules or a lock forbid it, or something else of theirs for it waits.
    pub async fn ask(&self, actor: &Actor, wish: Wish) -> Result<Asked, ControlError> {
        self.ask_for(actor.asker(), wish, Waiting::Yes).await
    }

    #[tracing::instrument(skip_all, fields(principal = %asker.principal, resource = %wish.resource))]
    pub(crate) async fn ask_for(
        &self,
        asker: Asker,
        wish: Wish,
        waiting: Waiting,
    ) -> Result<Asked, ControlError> {
        check_reason(&wish.reason)?;
        let control = self.clone();
        self.to_the_end(async move {
            let mut change = control.change().await?;
            let (request, grant) = change.ask(&asker, wish, waiting).await?;
            let revision = change.commit().await?;
            Ok(Asked { request, grant, revision })
        })
        .await
    }

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
    ) -> Result<(Request, Option<Grant>), ControlError> {
        let (control, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.to_the_end(async move {
            let said = control.approved(&actor, &id, yes).await;
            control.audited(&actor, said).await
        })
        .await
    }

    async fn approved(
        &self,
        actor: &Actor,
        id: &RequestId,
        yes: Yes,
    ) -> Result<(Request, Option<Grant>), ControlError> {
        let mut change = self.change().await?;
        let verdict = change.approve(actor, id, yes).await?;
        change.commit().await?;
        verdict.map_err(|why| ControlError::Conflict(format!("the request was withdrawn: {why}")))
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
        check_reason(&reason)?;
        let (control, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.to_the_end(async move {
            let mut change = control.change().await?;
            let by = change.acting(&actor)?.principal;
            let detail = json!({ "reason": reason });
            let event = RequestEvent::Deny { by, reason };
            let denied = change.move_request(&id, event, &actor, "request.denied", detail).await?;
            change.commit().await?;
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
        let (control, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.to_the_end(async move {
            let mut change = control.change().await?;
            let by = actor.principal.id.clone();
            let event = RequestEvent::Withdraw { by };
            let kind = "request.withdrawn";
            let request = change.move_request(&id, event, &actor, kind, json!({})).await?;
            change.commit().await?;
            Ok(request)
        })
        .await
    }
}

fn check_reason(reason: &str) -> Result<(), ControlError> {
    let odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if reason.len() > REASON_MAX {
        let told = format!("a reason has at most {REASON_MAX} bytes");
        return Err(ControlError::Invalid(told));
    }
    if reason.chars().any(odd) {
        let told = "a reason can't hold control characters";
        return Err(ControlError::Invalid(told.to_owned()));
    }
    Ok(())
}

impl Change {
    async fn ask(
        &mut self,
        asker: &Asker,
        wish: Wish,
        waiting: Waiting,
    ) -> Result<(Request, Option<Grant>), ControlError> {
        self.inventory.person(&asker.principal)?;
        let (_, resource) = self.inventory.resolve(&wish.resource)?;
        self.control().not_locked(asker, &resource, self.now)?;
        let lately = self.youngest(asker, &resource).await?;
        let unusual = self.weigh(asker, wish.source).await?;
        let said = wish.facts(unusual.facts(self.now, wish.source));
        let facts = step_up::facts(said.clone(), lately.as_ref());
        if let Some(grant) = self.live_grant(asker, &resource, &facts).await? {
            let stored = self.stored(&grant.request).await?;
            return Ok((stored.request, Some(grant)));
        }
        // Only what was touched for in this very form counts; what is asked elsewhere is stood by.
        let proof = asker.touch.clone();
        let facts = step_up::facts(said, proof.as_ref());
        let (resource, terms) = self.inventory.judge(&asker.principal, &resource, &facts)?;
        terms.said(wish.ticket.as_ref(), &wish.reason).map_err(Rejection::Unsaid)?;
        if let Some(request) = self.joined(asker, &resource, &wish, waiting).await? {
            return self.stands_by(request, proof).await;
        }
        if waiting == Waiting::No {
            self.fresh(&terms, proof.as_ref())?;
        }
        if waiting == Waiting::No && !terms.approvals.is_empty() {
            return Err(Rejection::NeedsApproval(needs(&terms.approvals)).into());
        }
        self.ask_anew(asker, (resource, wish), (terms, proof), &unusual).await
    }

    /// A request that waited for the touch of the one who asks goes on with one that serves.
    async fn stands_by(
        &mut self,
        request: Request,
        proof: Option<StepUp>,
    ) -> Result<(Request, Option<Grant>), ControlError> {
        let fresh = self.fresh(&request.terms, proof.as_ref()).ok().flatten().cloned();
        match fresh.filter(|_| request.state == RequestState::NeedsStepUp) {
            Some(proof) => self.proved(&request, proof).await,
            None => Ok((request, None)),
        }
    }

    /// Their live grant for it. One that only time has ended is ended here.
    async fn live_grant(
        &mut self,
        asker: &Asker,
        resource: &Resource,
        facts: &Facts,
    ) -> Result<Option<Grant>, ControlError> {
        let found = store::grants::open_for(self.db(), &asker.principal, resource).await?;
        let Some(grant) = found else {
            return Ok(None);
        };
        if !grant.is_live(self.now) {
            self.step(&grant, GrantEvent::Tick, By::Control).await?;
            return Ok(None);
        }
        self.covers(&grant, facts).await?;
        Ok(Some(grant))
    }

    /// Their pending request for it, where it asks for the same. One that is of no use any more is
    /// cleared away.
    async fn joined(
        &mut self,
        asker: &Asker,
        resource: &Resource,
        wish: &Wish,
        waiting: Waiting,
    ) -> Result<Option<Request>, ControlError> {
        let found = store::requests::pending_for(self.db(), &asker.principal, resource).await?;
        let Some(stored) = found else {
            return Ok(None);
        };
        if self.lapse(&stored.request).await? {
            return Ok(None);
        }
        let facts = self.facts_of(&stored).await?;
        let request = stored.request;
        if let Err(why) = self.inventory.still_asks(&request, &facts) {
            self.withdraw_for(&request, &why.to_string()).await?;
            return Ok(None);
        }
        if waiting == Waiting::No {
            return Err(Rejection::NeedsApproval(needs(&request.terms.approvals)).into());
        }
        let unproved = request.state == RequestState::NeedsStepUp;
        if asker.touch.is_some() && unproved && !self.is_exactly(&request, wish)? {
            let told = "the one who asks has touched for it in another form";
            self.withdraw_for(&request, told).await?;
            return Ok(None);
        }
        if is_same(&request, wish) {
            return Ok(Some(request));
        }
        let told = format!(
            "request `{}` for the same access waits already: withdraw it to ask differently",
            request.id
        );
        Err(ControlError::Conflict(told))
    }

    /// Whether a touch for this wish is one for that request: what it leaves out was not agreed to.
    fn is_exactly(&self, request: &Request, wish: &Wish) -> Result<bool, ControlError> {
        let default = self.inventory.resolve(&request.resource)?.0.default_ttl;
        let wish = Wish { ttl: wish.ttl.or(Some(default)), ..wish.clone() };
        Ok(is_same(request, &wish)
            && wish.reason == request.reason
            && wish.ticket == request.ticket)
    }

    async fn ask_anew(
        &mut self,
        asker: &Asker,
        (resource, wish): (Resource, Wish),
        (terms, proof): (Terms, Option<StepUp>),
        unusual: &Unusual,
    ) -> Result<(Request, Option<Grant>), ControlError> {
        if store::requests::count_pending_of(self.db(), &asker.principal).await? >= PENDING_EACH {
            let told = format!("{PENDING_EACH} of your requests wait already");
            return Err(ControlError::Conflict(told));
        }
        let ttl = match wish.ttl {
            Some(ttl) => ttl,
            None => self.inventory.resolve(&resource)?.0.default_ttl,
        };
        let patience = self.control().settings().request_patience;
        let request = Request::ask(
            ids::fresh("rq")?,
            asker.principal.clone(),
            Wanted { resource, ttl, reason: wish.reason, ticket: wish.ticket, act: wish.act },
            terms,
            proof.as_ref(),
            (self.now, patience),
        );
        self.add_request(&request, wish.source, unusual).await?;
        if request.is_pending() {
            return Ok((request, None));
        }
        let grant = self.give(&request).await?;
        Ok((request, Some(grant)))
    }

    async fn approve(
        &mut self,
        actor: &Actor,
        id: &RequestId,
        Yes { digest, shorten, step_up }: Yes,
    ) -> Result<Result<(Request, Option<Grant>), Rejection>, ControlError> {
        let by = self.acting(actor)?.principal;
        let stored = self.stored(id).await?;
        let request = &stored.request;
        request.may_decide(&by)?;
        let step_up = self.for_approval(actor, request, step_up.as_ref()).await?;
        let proof = step_up.as_ref().map(step_up::told);
        let detail = json!({ "digest": digest, "shorten": shorten, "step_up": proof });
        let event = RequestEvent::Approve { by, digest, shorten, step_up };
        let next = request.apply(event, self.now)?;
        let facts = self.facts_of(&stored).await?;
        if let Err(why) = self.inventory.still_asks(request, &facts) {
            self.withdraw_for(request, &why.to_string()).await?;
            return Ok(Err(why));
        }
        self.put_request(&next, actor, "request.approved", detail).await?;
        if next.is_pending() {
            return Ok(Ok((next, None)));
        }
        let grant = self.give(&next).await?;
        Ok(Ok((next, Some(grant))))
    }

    async fn move_request(
        &mut self,
        id: &RequestId,
        event: RequestEvent,
        actor: &Actor,
        kind: &'static str,
        detail: Value,
    ) -> Result<Request, ControlError> {
        let next = self.stored(id).await?.request.apply(event, self.now)?;
        self.put_request(&next, actor, kind, detail).await?;
        Ok(next)
    }

    /// Lapses a request whose time is over; whether it was.
    pub(crate) async fn lapse(&mut self, request: &Request) -> Result<bool, ControlError> {
        let next = request.apply(RequestEvent::Tick, self.now)?;
        if next.is_pending() {
            return Ok(false);
        }
        self.put_request(&next, By::Control, "request.lapsed", json!({})).await?;
        Ok(true)
    }

    /// Takes a request back in the name of the one who asked, since the rules no longer give it.
    pub(crate) async fn withdraw_for(
        &mut self,
        request: &Request,
        why: &str,
    ) -> Result<(), ControlError> {
        let by = request.principal.clone();
        let next = request.apply(RequestEvent::Withdraw { by }, self.now)?;
        let detail = json!({ "why": why });
        self.put_request(&next, By::Control, "request.withdrawn", detail).await
    }

    pub(crate) async fn stored(&mut self, id: &RequestId) -> Result<Stored, ControlError> {
        let found = store::requests::find(self.db(), id).await?;
        found.ok_or(ControlError::NotFound("request"))
    }

    /// Whether a grant would be given again, under these facts: by which terms.
    pub(crate) async fn covers(
        &mut self,
        grant: &Grant,
        facts: &Facts,
    ) -> Result<Terms, ControlError> {
        let request = self.stored(&grant.request).await?.request;
        let given = (approvals(&request), grant.ttl);
        Ok(self.inventory.still_gives(&request, given, facts)?)
    }
}

/// Who said yes, where it was granted.
pub(crate) fn approvals(request: &Request) -> &[Approval] {
    match &request.state {
        RequestState::Granted { approvals, .. } => approvals.as_slice(),
        RequestState::NeedsStepUp
        | RequestState::NeedsApproval { .. }
        | RequestState::Denied { .. }
        | RequestState::Withdrawn { .. }
        | RequestState::Lapsed { .. } => &[],
    }
}

/// Whether somebody who asks this can as well wait for that.
fn is_same(request: &Request, wish: &Wish) -> bool {
    let limit = request.terms.limit;
    let within = |ttl: Ttl| limit.map_or(ttl, |limit| ttl.min(limit));
    let same_ttl = wish.ttl.is_none_or(|ttl| within(ttl) == request.ttl);
    same_ttl
        && wish.act == request.act
        && (wish.reason.is_empty() || wish.reason == request.reason)
        && (wish.ticket.is_none() || wish.ticket == request.ticket)
}
