//! Asking: what somebody has or waits for already is joined; else the input becomes a request, by what
//! the rules say of all that it asks for.

use std::net::IpAddr;

use policies::{
    Act, Facts, Grant, GrantState, MissingInput, Request, RequestState, Resource, StepUp, Terms,
    Ttl, Wanted,
};

use crate::access::input::{AccessRequestInput, Answer, REASON_MAX, Waiting};
use crate::access::load::open_grant;
use crate::access::terms::terms_of;
use crate::access::{Access, issue_grant, load, requests, step_up, terms, transitions};
use crate::kernel::state::Transaction;
use crate::model::actor::{Actor, Asker};
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::text::check_text;
use crate::model::unusual::Unusual;
use crate::model::view::Asked;
use crate::platform::ids;
use crate::policy::evaluate::needs;
use crate::policy::risk;
use crate::store;
use crate::store::requests::Stored;

/// How many requests of one person wait at once.
const PENDING_EACH: usize = 50;
/// How many things one request asks for.
const TOGETHER_MOST: usize = 20;
/// How far ahead something can be asked for.
const LATEST: Ttl = Ttl::from_secs(30 * 86_400);
/// How many characters the reason of an emergency has at least, whatever the rules say.
const EMERGENCY_REASON: u32 = 10;

pub(crate) async fn ask(
    tx: &mut Transaction,
    asker: &Asker,
    requested: AccessRequestInput,
    waiting: Waiting,
) -> Result<Answer, ControlError> {
    tx.inventory.person(&asker.principal)?;
    let (requested, all) = complete(tx, asker, requested)?;
    let unusual = risk::assess_risk(tx, asker, requested.source).await?;
    if let Some(answer) = reused(tx, asker, &requested, &all, &unusual).await? {
        return Ok(answer);
    }
    // Only what was touched for in this very form counts; what is asked elsewhere is stood by.
    let proof = asker.touch.clone();
    let facts = unusual.facts(requested.evaluated_at(tx.now), requested.source);
    let facts = step_up::facts(requested.facts(facts), proof.as_ref());
    let terms = terms_of(tx, asker, &all, &facts)?;
    terms
        .check_input(requested.ticket.as_ref(), &requested.reason)
        .map_err(Rejection::MissingInput)?;
    if let Some(request) = joined(tx, asker, &all, &requested, waiting).await? {
        return stands_by(tx, request, proof).await;
    }
    if waiting == Waiting::No {
        step_up::fresh(tx, &terms, proof.as_ref())?;
    }
    if waiting == Waiting::No && !terms.approvals.is_empty() {
        return Err(Rejection::NeedsApproval(needs(&terms.approvals)).into());
    }
    ask_anew(tx, asker, requested, terms, proof, &unusual).await
}

/// The input with its databases filled in, and everything that it asks for; nothing of that is
/// locked.
fn complete(
    tx: &Transaction,
    asker: &Asker,
    requested: AccessRequestInput,
) -> Result<(AccessRequestInput, Vec<Resource>), ControlError> {
    let mut all: Vec<Resource> = Vec::new();
    for resource in std::iter::once(&requested.resource).chain(&requested.also) {
        let (_, resource) = tx.inventory.resolve(resource)?;
        tx.kernel().not_locked(asker, &resource, tx.now)?;
        if !all.contains(&resource) {
            all.push(resource);
        }
    }
    makes_sense(tx, &requested, all.len())?;
    let mut each = all.iter().cloned();
    let resource = each.next().unwrap_or_else(|| requested.resource.clone());
    Ok((AccessRequestInput { resource, also: each.collect(), ..requested }, all))
}

pub(crate) fn makes_sense(
    tx: &Transaction,
    requested: &AccessRequestInput,
    count: usize,
) -> Result<(), Refusal> {
    let invalid = |message: &str| Err(Refusal::Invalid(message.to_owned()));
    if count > TOGETHER_MOST {
        return invalid("one request asks for 20 things at most");
    }
    if requested.starts_at.is_some_and(|starts| starts <= tx.now) {
        return invalid("it would have begun already: say a time to come, or none");
    }
    let latest = tx.now.after(LATEST);
    if requested.starts_at.is_some_and(|starts| latest < starts) {
        return invalid("it would begin in more than 30 days: ask nearer to it");
    }
    if requested.act == Act::Connect {
        return Ok(());
    }
    if count > 1 || requested.starts_at.is_some() {
        return invalid("an emergency is about one thing, now");
    }
    let given = requested.reason.trim().chars().count();
    if usize::try_from(EMERGENCY_REASON).is_ok_and(|least| given < least) {
        let wanted = EMERGENCY_REASON;
        return Err(Rejection::MissingInput(MissingInput::Reason { wanted, given }).into());
    }
    Ok(())
}

/// Their live grants, where they have one for everything that is asked for now.
async fn reused(
    tx: &mut Transaction,
    asker: &Asker,
    requested: &AccessRequestInput,
    all: &[Resource],
    unusual: &Unusual,
) -> Result<Option<Answer>, ControlError> {
    let said = requested.facts(unusual.facts(tx.now, requested.source));
    let mut live = Vec::new();
    for resource in all {
        let lately = step_up::latest(tx, asker, resource).await?;
        let facts = step_up::facts(said.clone(), lately.as_ref());
        live.extend(live_grant(tx, asker, resource, &facts).await?);
    }
    let Some(first) = live.first() else {
        return Ok(None);
    };
    if let Some(starts_at) = requested.starts_at {
        let message = format!(
            "grant `{}` is open now: ask for {starts_at} once it has ended, or extend it",
            first.id
        );
        return Err(Refusal::Conflict(message).into());
    }
    if live.len() < all.len() {
        return Ok(None);
    }
    let stored = load::stored(tx, &first.request).await?;
    Ok(Some((stored.request, live)))
}

/// Their live grant for it. One that only time has ended is ended here.
async fn live_grant(
    tx: &mut Transaction,
    asker: &Asker,
    resource: &Resource,
    facts: &Facts,
) -> Result<Option<Grant>, ControlError> {
    let Some(grant) = open_grant(tx, &asker.principal, resource).await? else {
        return Ok(None);
    };
    if let GrantState::Scheduled { opens, .. } = grant.state {
        let message = format!(
            "your grant `{0}` for this begins at {opens}: connect then, or give it back with \
                 `postern done {0}` and ask for now",
            grant.id
        );
        return Err(Refusal::Conflict(message).into());
    }
    terms::covers(tx, &grant, facts).await?;
    Ok(Some(grant))
}

/// Their pending request for exactly this, where it asks for the same. One that is of no use any
/// more is cleared away.
async fn joined(
    tx: &mut Transaction,
    asker: &Asker,
    all: &[Resource],
    requested: &AccessRequestInput,
    waiting: Waiting,
) -> Result<Option<Request>, ControlError> {
    let pending = store::requests::pending_of(tx.db(), &asker.principal).await?;
    let same = |stored: &Stored| {
        stored.request.extends.is_none()
            && stored.request.resources().count() == all.len()
            && stored.request.resources().all(|resource| all.contains(resource))
    };
    let Some(stored) = pending.into_iter().find(same) else {
        return Ok(None);
    };
    if crate::access::transitions::lapse(tx, &stored.request).await? {
        return Ok(None);
    }
    let facts = step_up::facts_of(tx, &stored).await?;
    let request = stored.request;
    if let Err(why) = tx.inventory.still_asks(&request, &facts) {
        crate::access::transitions::withdraw_for(tx, &request, &why.to_string()).await?;
        return Ok(None);
    }
    if request.act == Act::Connect && requested.act == Act::BreakGlass {
        return Ok(None);
    }
    if waiting == Waiting::No {
        return Err(Rejection::NeedsApproval(needs(&request.terms.approvals)).into());
    }
    let unproved = request.state == RequestState::NeedsStepUp;
    if asker.touch.is_some() && unproved && !is_exactly(tx, &request, requested)? {
        let message = "the requester gave the step-up for another form of it";
        crate::access::transitions::withdraw_for(tx, &request, message).await?;
        return Ok(None);
    }
    if is_same(&request, requested) { Ok(Some(request)) } else { Err(waits_already(&request)) }
}

/// A request that waited for the touch of the one who asks goes on with one that serves.
async fn stands_by(
    tx: &mut Transaction,
    request: Request,
    proof: Option<StepUp>,
) -> Result<Answer, ControlError> {
    let fresh = step_up::fresh(tx, &request.terms, proof.as_ref()).ok().flatten().cloned();
    match fresh.filter(|_| request.state == RequestState::NeedsStepUp) {
        Some(proof) => requests::proved(tx, &request, proof).await,
        None => Ok((request, Vec::new())),
    }
}

/// Whether a step-up for this input is one for that request: what it leaves out was not agreed to.
fn is_exactly(
    tx: &Transaction,
    request: &Request,
    requested: &AccessRequestInput,
) -> Result<bool, ControlError> {
    let default = tx.inventory.resolve(&request.resource)?.0.default_ttl;
    let requested =
        AccessRequestInput { ttl: requested.ttl.or(Some(default)), ..requested.clone() };
    Ok(is_same(request, &requested)
        && requested.reason == request.reason
        && requested.ticket == request.ticket)
}

async fn ask_anew(
    tx: &mut Transaction,
    asker: &Asker,
    requested: AccessRequestInput,
    terms: Terms,
    proof: Option<StepUp>,
    unusual: &Unusual,
) -> Result<Answer, ControlError> {
    let ttl = match requested.ttl {
        Some(ttl) => ttl,
        None => tx.inventory.resolve(&requested.resource)?.0.default_ttl,
    };
    let AccessRequestInput { resource, also, reason, ticket, act, starts_at, source, .. } =
        requested;
    let extends = None;
    let wanted = Wanted { resource, also, ttl, reason, ticket, act, starts_at, extends };
    let request = posed(tx, asker, wanted, terms, proof.as_ref())?;
    taken(tx, request, source, unusual).await
}

/// The request that somebody poses.
pub(crate) fn posed(
    tx: &Transaction,
    asker: &Asker,
    wanted: Wanted,
    terms: Terms,
    proof: Option<&StepUp>,
) -> Result<Request, ControlError> {
    let timeout = tx.kernel().settings().grants.request_patience;
    let id = ids::fresh("rq")?;
    let principal = asker.principal.clone();
    Ok(Request::ask(id, principal, wanted, terms, proof, tx.now, timeout))
}

/// Takes a new request in, and gives what it asks for where nobody has to be asked.
pub(crate) async fn taken(
    tx: &mut Transaction,
    request: Request,
    source: Option<IpAddr>,
    unusual: &Unusual,
) -> Result<Answer, ControlError> {
    if request.is_pending() {
        makes_room(tx, &request).await?;
    }
    transitions::add_request(tx, &request, source, unusual).await?;
    if request.is_pending() {
        return Ok((request, Vec::new()));
    }
    let grants = issue_grant::issue(tx, &request).await?;
    Ok((request, grants))
}

/// Nothing of it waits already, and not too much else. An emergency waits for nobody.
async fn makes_room(tx: &mut Transaction, request: &Request) -> Result<(), ControlError> {
    let waiting = store::requests::pending_of(tx.db(), &request.principal).await?;
    let count = waiting.len();
    let overlaps = |other: &Request| {
        request.resources().any(|mine| other.resources().any(|theirs| theirs == mine))
    };
    for Stored { request: other, .. } in waiting {
        if !overlaps(&other) || transitions::lapse(tx, &other).await? {
            continue;
        }
        if (request.act, other.act) != (Act::BreakGlass, Act::Connect) {
            return Err(waits_already(&other));
        }
        transitions::withdraw_for(tx, &other, "an emergency overtook it").await?;
    }
    if count >= PENDING_EACH && request.act == Act::Connect {
        let message = format!("{PENDING_EACH} of your requests wait already");
        return Err(Refusal::Conflict(message).into());
    }
    Ok(())
}

fn waits_already(request: &Request) -> ControlError {
    Refusal::Conflict(format!(
        "request `{0}` for the same access waits already: change it with `postern edit {0}`, or take \
         it back with `postern withdraw {0}`",
        request.id
    )).into()
}

/// Whether somebody who asks this can as well wait for that.
pub(crate) fn is_same(request: &Request, requested: &AccessRequestInput) -> bool {
    let limit = request.terms.limit;
    let within = |ttl: Ttl| limit.map_or(ttl, |limit| ttl.min(limit));
    let same_ttl = requested.ttl.is_none_or(|ttl| within(ttl) == request.ttl);
    same_ttl
        && requested.act == request.act
        && requested.starts_at == request.starts_at
        && (requested.reason.is_empty() || requested.reason == request.reason)
        && (requested.ticket.is_none() || requested.ticket == request.ticket)
}

impl Access {
    /// Asks. A live grant, or a pending request for the same, is joined instead of asking again.
    ///
    /// # Errors
    /// Where the rules or a lock forbid it, or something else of theirs for it waits.
    pub async fn ask(
        &self,
        actor: &Actor,
        requested: AccessRequestInput,
    ) -> Result<Asked, ControlError> {
        self.ask_for(actor.asker(), requested, Waiting::Yes).await
    }

    #[tracing::instrument(skip_all, fields(principal = %asker.principal, resource = %requested.resource))]
    pub(crate) async fn ask_for(
        &self,
        asker: Asker,
        requested: AccessRequestInput,
        waiting: Waiting,
    ) -> Result<Asked, ControlError> {
        check_text("a reason", &requested.reason, REASON_MAX)?;
        self.kernel.limit_requests(&asker.principal).await?;
        self.look_up(requested.ticket.as_ref()).await?;
        let access = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let answer = ask(&mut tx, &asker, requested, waiting).await?;
                let revision = tx.commit().await?;
                Ok(Asked::new(answer, revision))
            })
            .await
    }
}
