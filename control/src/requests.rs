//! Every step of a request's life after it was asked: approved, denied, edited, taken back, told to
//! others, lapsed.

use std::net::IpAddr;

use policies::{
    Act, Digest, Edit, Facts, Grant, GrantId, GroupName, Quorum, Request, RequestError,
    RequestEvent, RequestId, Resource, Risk, StepUpId, Terms, Ticket, Timestamp, Ttl,
};
use serde_json::{Value, json};

use crate::actor::Asker;
use crate::ask::Answer;
use crate::audit::{By, Event};
use crate::publish::Change;
use crate::store::{self, requests::Stored};
use crate::{Actor, Asked, Control, ControlError, Rejection, step_up};

/// The longest reason, in bytes.
pub(crate) const REASON_MAX: usize = 2_000;

/// What somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The login, target and database; without a database, the target's default.
    pub resource: Resource,
    /// What else, to be decided on as one.
    pub also: Vec<Resource>,
    /// For how long; without, as long as the target's default.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: String,
    /// The ticket that it is for, where there is one.
    pub ticket: Option<Ticket>,
    /// Whether it is an emergency.
    pub act: Act,
    /// From when on; without, at once.
    pub starts_at: Option<Timestamp>,
    /// Where the connection comes from that waits for it, where there is one.
    pub source: Option<IpAddr>,
}

impl Wish {
    /// A wish for this, of which nothing more is said.
    #[must_use]
    pub fn new(resource: Resource) -> Self {
        Self {
            resource,
            also: Vec::new(),
            ttl: None,
            reason: String::new(),
            ticket: None,
            act: Act::Connect,
            starts_at: None,
            source: None,
        }
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

    /// The time that its rules are asked about: when it is to begin, or else now.
    pub(crate) fn judged_at(&self, now: Timestamp) -> Timestamp {
        self.starts_at.map_or(now, |starts| starts.max(now))
    }
}

/// What of a request is to be said otherwise; what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// For how long.
    pub ttl: Option<Ttl>,
    /// Why.
    pub reason: Option<String>,
    /// The ticket.
    pub ticket: Option<Ticket>,
    /// From when on.
    pub starts_at: Option<Timestamp>,
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
        check_text("a reason", &wish.reason, REASON_MAX)?;
        self.look_up(wish.ticket.as_ref()).await?;
        let control = self.clone();
        self.to_the_end(async move {
            let mut change = control.change().await?;
            let answer = change.ask(&asker, wish, waiting).await?;
            let revision = change.commit().await?;
            Ok(Asked::new(answer, revision))
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
    ) -> Result<Asked, ControlError> {
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
    ) -> Result<Asked, ControlError> {
        let mut change = self.change().await?;
        let verdict = change.approve(actor, id, yes).await?;
        let revision = change.commit().await?;
        let answer = verdict
            .map_err(|why| ControlError::Conflict(format!("the request was withdrawn: {why}")))?;
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
        let (control, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.to_the_end(async move {
            let mut change = control.change().await?;
            let by = change.inventory.decider(&change.acting(&actor)?.principal);
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

    /// Says one's own request otherwise. Every yes that was said is taken back with it.
    ///
    /// # Errors
    /// Where it isn't the actor's, is over, says that already, or the rules forbid it.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, request = %id))]
    pub async fn edit(
        &self,
        actor: &Actor,
        id: &RequestId,
        changes: Changes,
    ) -> Result<Asked, ControlError> {
        check_text("a reason", changes.reason.as_deref().unwrap_or_default(), REASON_MAX)?;
        let (control, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.to_the_end(async move {
            let mut change = control.change().await?;
            let answer = change.edit(&actor, &id, changes).await?;
            let revision = change.commit().await?;
            Ok(Asked::new(answer, revision))
        })
        .await
    }
}

/// Refuses what is too long, or could pass for something else where it is shown.
pub(crate) fn check_text(what: &str, text: &str, most: usize) -> Result<(), ControlError> {
    let odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    if text.len() > most {
        return Err(ControlError::Invalid(format!("{what} has at most {most} bytes")));
    }
    if text.chars().any(odd) {
        return Err(ControlError::Invalid(format!("{what} can't hold control characters")));
    }
    Ok(())
}

fn groups(turn: &[Quorum]) -> Vec<&GroupName> {
    turn.iter().map(|quorum| &quorum.group).collect()
}

fn written(turn: &[Quorum]) -> Vec<String> {
    turn.iter().map(ToString::to_string).collect()
}

impl Change {
    async fn approve(
        &mut self,
        actor: &Actor,
        id: &RequestId,
        Yes { digest, shorten, step_up }: Yes,
    ) -> Result<Result<Answer, Rejection>, ControlError> {
        let by = self.inventory.decider(&self.acting(actor)?.principal);
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
        let next_stage = next.is_pending() && groups(next.turn()) != groups(request.turn());
        self.put_request(&next, actor, "request.approved", detail).await?;
        if next_stage {
            // Others are asked from here on, who haven't heard of it yet.
            let detail = json!({ "needs": written(next.turn()) });
            self.record(Event::new(By::Control, "request.turn", &next.id, detail)).await?;
        }
        self.outcome(next).await.map(Ok)
    }

    /// A request that may have become granted just now, with what that gave.
    pub(crate) async fn outcome(&mut self, request: Request) -> Result<Answer, ControlError> {
        if request.is_pending() {
            return Ok((request, Vec::new()));
        }
        let grants = self.give(&request).await?;
        Ok((request, grants))
    }

    async fn edit(
        &mut self,
        actor: &Actor,
        id: &RequestId,
        changes: Changes,
    ) -> Result<Answer, ControlError> {
        self.acting(actor)?;
        let Stored { request, source, risk, .. } = self.stored(id).await?;
        if request.principal != actor.principal.id {
            return Err(RequestError::NotTheirs.into());
        }
        let wish = self.changed(&request, changes, source)?;
        let terms = self.judged_anew(&actor.asker(), &request, (&wish, risk)).await?;
        let Wish { ttl, reason, ticket, starts_at, .. } = wish;
        let edit = Edit { ttl: ttl.unwrap_or(request.ttl), reason, ticket, starts_at };
        let by = request.principal.clone();
        let next = request.apply(RequestEvent::Edit { by, edit, terms }, self.now)?;
        let detail = json!({
            "ttl": next.ttl, "reason": next.reason, "ticket": next.ticket,
            "starts_at": next.starts_at.map(|at| at.to_string()), "before": request.digest(),
            "digest": next.digest(), "needs": next.terms.approvals.told(),
        });
        self.put_request(&next, actor, "request.edited", detail).await?;
        self.outcome(next).await
    }

    /// The wish that an edited request is. A time that has come doesn't have to come again.
    fn changed(
        &self,
        request: &Request,
        changes: Changes,
        source: Option<IpAddr>,
    ) -> Result<Wish, ControlError> {
        let Changes { ttl, reason, ticket, starts_at } = changes;
        if starts_at.is_some() && request.extends.is_some() {
            let told = "an extension begins where the grant would end: it has no other time";
            return Err(ControlError::Invalid(told.to_owned()));
        }
        let wish = Wish {
            also: request.also.clone(),
            ttl: Some(ttl.unwrap_or(request.ttl)),
            reason: reason.unwrap_or_else(|| request.reason.clone()),
            ticket: ticket.or_else(|| request.ticket.clone()),
            act: request.act,
            starts_at: starts_at.or(request.starts_at.filter(|starts| self.now < *starts)),
            source,
            ..Wish::new(request.resource.clone())
        };
        self.makes_sense(&wish, request.resources().count())?;
        Ok(wish)
    }

    /// What it takes, said so: without the touch that it was asked with.
    async fn judged_anew(
        &mut self,
        asker: &Asker,
        request: &Request,
        (wish, risk): (&Wish, Risk),
    ) -> Result<Terms, ControlError> {
        let all: Vec<Resource> = request.resources().cloned().collect();
        // What was unusual when it was asked stays so.
        let facts = Facts { risk, ..Facts::new(wish.judged_at(self.now), wish.source) };
        let facts = wish.facts(facts);
        let terms = self.terms_of(asker, &all, &facts)?;
        terms.said(wish.ticket.as_ref(), &wish.reason).map_err(Rejection::Unsaid)?;
        if let Some(id) = &request.extends {
            let grant: GrantId = id.clone();
            let grant = self.granted(&grant).await?;
            self.can_be_extended(&grant, wish, terms.limit)?;
        }
        Ok(terms)
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
        let terms = self.inventory.still_gives(&request, grant, facts)?;
        if terms.record.is_subset(&grant.record) {
            return Ok(terms);
        }
        let wanted: Vec<&str> = terms.record.iter().map(|record| record.word()).collect();
        Err(Rejection::NotCovered(format!("recordings with {}", wanted.join(", "))).into())
    }
}
