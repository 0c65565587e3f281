//! What people do about a request: they ask, approve, deny, take back. `edit` is how it is said
//! otherwise, `pending` what becomes of it without anybody's act.

use std::net::IpAddr;

use policies::{
    Act, Digest, Facts, Grant, GroupName, Quorum, Request, RequestEvent, RequestId, Resource,
    StepUpId, Terms, Ticket, Timestamp, Ttl,
};
use serde_json::{Value, json};

use crate::access::Access;
use crate::access::ask;
use crate::access::ask::Answer;
use crate::access::issue_grant;
use crate::access::pending;
use crate::access::step_up;
use crate::access::transitions;
use crate::kernel::transaction::Transaction;
use crate::model::actor::{Actor, Asker};
use crate::model::error::{ControlError, Rejection};
use crate::model::event::{By, Event};
use crate::model::view::Asked;
use crate::store;
use crate::store::requests::Stored;

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

impl Access {
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
        self.kernel.paced(&asker.principal).await?;
        self.look_up(wish.ticket.as_ref()).await?;
        let access = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let answer = ask::ask(&mut tx, &asker, wish, waiting).await?;
                let revision = tx.commit().await?;
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
                    move_request(&mut tx, &id, event, &actor, "request.denied", detail).await?;
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
                let kind = "request.withdrawn";
                let request = move_request(&mut tx, &id, event, &actor, kind, json!({})).await?;
                tx.commit().await?;
                Ok(request)
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
        return Err(ControlError::Invalid(format!("{what} can't hold access characters")));
    }
    Ok(())
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
    let proof = step_up.as_ref().map(step_up::told);
    let detail = json!({ "digest": digest, "shorten": shorten, "step_up": proof });
    let event = RequestEvent::Approve { by, digest, shorten, step_up };
    let next = request.apply(event, tx.now)?;
    let facts = crate::access::step_up::facts_of(tx, &stored).await?;
    if let Err(why) = tx.inventory.still_asks(request, &facts) {
        pending::withdraw_for(tx, request, &why.to_string()).await?;
        return Ok(Err(why));
    }
    let next_stage = next.is_pending() && groups(next.turn()) != groups(request.turn());
    transitions::put_request(tx, &next, actor, "request.approved", detail).await?;
    if next_stage {
        // Others are asked from here on, who haven't heard of it yet.
        let detail = json!({ "needs": written(next.turn()) });
        tx.record(Event::new(By::Control, "request.turn", &next.id, detail)).await?;
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
    let grants = issue_grant::give(tx, &request).await?;
    Ok((request, grants))
}

async fn move_request(
    tx: &mut Transaction,
    id: &RequestId,
    event: RequestEvent,
    actor: &Actor,
    kind: &'static str,
    detail: Value,
) -> Result<Request, ControlError> {
    let next = stored(tx, id).await?.request.apply(event, tx.now)?;
    transitions::put_request(tx, &next, actor, kind, detail).await?;
    Ok(next)
}

pub(crate) async fn stored(tx: &mut Transaction, id: &RequestId) -> Result<Stored, ControlError> {
    let found = store::requests::find(tx.db(), id).await?;
    found.ok_or(ControlError::NotFound("request"))
}

/// Whether a grant would be given again, under these facts: by which terms.
pub(crate) async fn covers(
    tx: &mut Transaction,
    grant: &Grant,
    facts: &Facts,
) -> Result<Terms, ControlError> {
    let request = stored(tx, &grant.request).await?.request;
    let terms = tx.inventory.still_gives(&request, grant, facts)?;
    if terms.record.is_subset(&grant.record) {
        return Ok(terms);
    }
    let wanted: Vec<&str> = terms.record.iter().map(|record| record.word()).collect();
    Err(Rejection::NotCovered(format!("recordings with {}", wanted.join(", "))).into())
}
