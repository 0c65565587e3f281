//! Asking: what somebody has or waits for already is joined; else a wish becomes a request, by what
//! the rules say of all that it asks for.

use std::net::IpAddr;

use policies::{
    Act, Facts, Grant, GrantEvent, GrantId, GrantState, PrincipalId, Request, RequestState,
    Resource, StepUp, Terms, Ttl, Unsaid, Wanted,
};

use crate::access::requests::{Waiting, Wish};
use crate::access::step_up;
use crate::kernel::transaction::Change;
use crate::model::actor::Asker;
use crate::model::error::{ControlError, Rejection};
use crate::model::event::By;
use crate::model::unusual::Unusual;
use crate::platform::ids;
use crate::policy::evaluate::needs;
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

/// What asking comes to: the request, and what it gave or what was there already.
pub(crate) type Answer = (Request, Vec<Grant>);

impl Change {
    pub(crate) async fn ask(
        &mut self,
        asker: &Asker,
        wish: Wish,
        waiting: Waiting,
    ) -> Result<Answer, ControlError> {
        self.inventory.person(&asker.principal)?;
        let (wish, all) = self.complete(asker, wish)?;
        let unusual = self.weigh(asker, wish.source).await?;
        if let Some(answer) = self.reused(asker, &wish, &all, &unusual).await? {
            return Ok(answer);
        }
        // Only what was touched for in this very form counts; what is asked elsewhere is stood by.
        let proof = asker.touch.clone();
        let facts = unusual.facts(wish.judged_at(self.now), wish.source);
        let facts = step_up::facts(wish.facts(facts), proof.as_ref());
        let terms = self.terms_of(asker, &all, &facts)?;
        terms.said(wish.ticket.as_ref(), &wish.reason).map_err(Rejection::Unsaid)?;
        if let Some(request) = self.joined(asker, &all, &wish, waiting).await? {
            return self.stands_by(request, proof).await;
        }
        if waiting == Waiting::No {
            self.fresh(&terms, proof.as_ref())?;
        }
        if waiting == Waiting::No && !terms.approvals.is_empty() {
            return Err(Rejection::NeedsApproval(needs(&terms.approvals)).into());
        }
        self.ask_anew(asker, wish, (terms, proof), &unusual).await
    }

    /// The wish with its databases filled in, and everything that it asks for; nothing of that is
    /// locked.
    fn complete(&self, asker: &Asker, wish: Wish) -> Result<(Wish, Vec<Resource>), ControlError> {
        let mut all: Vec<Resource> = Vec::new();
        for resource in std::iter::once(&wish.resource).chain(&wish.also) {
            let (_, resource) = self.inventory.resolve(resource)?;
            self.kernel().not_locked(asker, &resource, self.now)?;
            if !all.contains(&resource) {
                all.push(resource);
            }
        }
        self.makes_sense(&wish, all.len())?;
        let mut each = all.iter().cloned();
        let resource = each.next().unwrap_or_else(|| wish.resource.clone());
        Ok((Wish { resource, also: each.collect(), ..wish }, all))
    }

    pub(crate) fn makes_sense(&self, wish: &Wish, count: usize) -> Result<(), ControlError> {
        let invalid = |told: &str| Err(ControlError::Invalid(told.to_owned()));
        if count > TOGETHER_MOST {
            return invalid("one request asks for 20 things at most");
        }
        if wish.starts_at.is_some_and(|starts| starts <= self.now) {
            return invalid("it would have begun already: say a time to come, or none");
        }
        let latest = self.now.after(LATEST);
        if wish.starts_at.is_some_and(|starts| latest < starts) {
            return invalid("it would begin in more than 30 days: ask nearer to it");
        }
        if wish.act == Act::Connect {
            return Ok(());
        }
        if count > 1 || wish.starts_at.is_some() {
            return invalid("an emergency is about one thing, now");
        }
        let given = wish.reason.trim().chars().count();
        if usize::try_from(EMERGENCY_REASON).is_ok_and(|least| given < least) {
            let wanted = EMERGENCY_REASON;
            return Err(Rejection::Unsaid(Unsaid::Reason { wanted, given }).into());
        }
        Ok(())
    }

    /// What it takes to have all of this: the strictest of what each takes.
    pub(crate) fn terms_of(
        &self,
        asker: &Asker,
        all: &[Resource],
        facts: &Facts,
    ) -> Result<Terms, Rejection> {
        let judge = |resource| self.inventory.judge(&asker.principal, resource, facts);
        let each = all.iter().map(|resource| judge(resource).map(|(_, terms)| terms));
        let mut sum: Option<Terms> = None;
        for terms in each {
            let terms = terms?;
            sum = Some(match sum {
                Some(sum) => sum.and(terms),
                None => terms,
            });
        }
        Ok(sum.unwrap_or_default())
    }

    /// Their live grants, where they have one for everything that is asked for now.
    async fn reused(
        &mut self,
        asker: &Asker,
        wish: &Wish,
        all: &[Resource],
        unusual: &Unusual,
    ) -> Result<Option<Answer>, ControlError> {
        let said = wish.facts(unusual.facts(self.now, wish.source));
        let mut live = Vec::new();
        for resource in all {
            let lately = self.youngest(asker, resource).await?;
            let facts = step_up::facts(said.clone(), lately.as_ref());
            live.extend(self.live_grant(asker, resource, &facts).await?);
        }
        let Some(first) = live.first() else {
            return Ok(None);
        };
        if let Some(starts_at) = wish.starts_at {
            let told = format!(
                "grant `{}` is open now: ask for {starts_at} once it has ended, or extend it",
                first.id
            );
            return Err(ControlError::Conflict(told));
        }
        if live.len() < all.len() {
            return Ok(None);
        }
        let stored = self.stored(&first.request).await?;
        Ok(Some((stored.request, live)))
    }

    /// Their live grant for it. One that only time has ended is ended here.
    async fn live_grant(
        &mut self,
        asker: &Asker,
        resource: &Resource,
        facts: &Facts,
    ) -> Result<Option<Grant>, ControlError> {
        let Some(grant) = self.open_grant(&asker.principal, resource).await? else {
            return Ok(None);
        };
        if let GrantState::Scheduled { opens, .. } = grant.state {
            let told = format!(
                "your grant `{0}` for this begins at {opens}: connect then, or give it back with \
                 `postern done {0}` and ask for now",
                grant.id
            );
            return Err(ControlError::Conflict(told));
        }
        self.covers(&grant, facts).await?;
        Ok(Some(grant))
    }

    /// Their grant for it that isn't over, as time has made it by now.
    pub(crate) async fn open_grant(
        &mut self,
        holder: &PrincipalId,
        resource: &Resource,
    ) -> Result<Option<Grant>, ControlError> {
        let found = store::grants::open_for(self.db(), holder, resource).await?;
        let Some(grant) = found else {
            return Ok(None);
        };
        let grant = self.step(&grant, GrantEvent::Tick, By::Control).await?;
        Ok(grant.deadline().is_some().then_some(grant))
    }

    /// Their pending request for exactly this, where it asks for the same. One that is of no use any
    /// more is cleared away.
    async fn joined(
        &mut self,
        asker: &Asker,
        all: &[Resource],
        wish: &Wish,
        waiting: Waiting,
    ) -> Result<Option<Request>, ControlError> {
        let pending = store::requests::pending_of(self.db(), &asker.principal).await?;
        let same = |stored: &Stored| {
            stored.request.extends.is_none()
                && stored.request.resources().count() == all.len()
                && stored.request.resources().all(|resource| all.contains(resource))
        };
        let Some(stored) = pending.into_iter().find(same) else {
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
        if request.act == Act::Connect && wish.act == Act::BreakGlass {
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
        if is_same(&request, wish) { Ok(Some(request)) } else { Err(waits_already(&request)) }
    }

    /// A request that waited for the touch of the one who asks goes on with one that serves.
    async fn stands_by(
        &mut self,
        request: Request,
        proof: Option<StepUp>,
    ) -> Result<Answer, ControlError> {
        let fresh = self.fresh(&request.terms, proof.as_ref()).ok().flatten().cloned();
        match fresh.filter(|_| request.state == RequestState::NeedsStepUp) {
            Some(proof) => self.proved(&request, proof).await,
            None => Ok((request, Vec::new())),
        }
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
        wish: Wish,
        (terms, proof): (Terms, Option<StepUp>),
        unusual: &Unusual,
    ) -> Result<Answer, ControlError> {
        let ttl = match wish.ttl {
            Some(ttl) => ttl,
            None => self.inventory.resolve(&wish.resource)?.0.default_ttl,
        };
        let Wish { resource, also, reason, ticket, act, starts_at, source, .. } = wish;
        let extends = None;
        let wanted = Wanted { resource, also, ttl, reason, ticket, act, starts_at, extends };
        let request = self.posed(asker, wanted, (terms, proof.as_ref()))?;
        self.taken(request, source, unusual).await
    }

    /// The request that somebody poses.
    pub(crate) fn posed(
        &self,
        asker: &Asker,
        wanted: Wanted,
        (terms, proof): (Terms, Option<&StepUp>),
    ) -> Result<Request, ControlError> {
        let patience = self.kernel().settings().request_patience;
        let id = ids::fresh("rq")?;
        let principal = asker.principal.clone();
        Ok(Request::ask(id, principal, wanted, terms, proof, (self.now, patience)))
    }

    /// Takes a new request in, and gives what it asks for where nobody has to be asked.
    pub(crate) async fn taken(
        &mut self,
        request: Request,
        source: Option<IpAddr>,
        unusual: &Unusual,
    ) -> Result<Answer, ControlError> {
        if request.is_pending() {
            self.makes_room(&request).await?;
        }
        self.add_request(&request, source, unusual).await?;
        if request.is_pending() {
            return Ok((request, Vec::new()));
        }
        let grants = self.give(&request).await?;
        Ok((request, grants))
    }

    /// Nothing of it waits already, and not too much else. An emergency waits for nobody.
    async fn makes_room(&mut self, request: &Request) -> Result<(), ControlError> {
        let waiting = store::requests::pending_of(self.db(), &request.principal).await?;
        let count = waiting.len();
        let overlaps = |other: &Request| {
            request.resources().any(|mine| other.resources().any(|theirs| theirs == mine))
        };
        for Stored { request: other, .. } in waiting {
            if !overlaps(&other) || self.lapse(&other).await? {
                continue;
            }
            if (request.act, other.act) != (Act::BreakGlass, Act::Connect) {
                return Err(waits_already(&other));
            }
            self.withdraw_for(&other, "an emergency overtook it").await?;
        }
        if count >= PENDING_EACH && request.act == Act::Connect {
            let told = format!("{PENDING_EACH} of your requests wait already");
            return Err(ControlError::Conflict(told));
        }
        Ok(())
    }

    /// Withdraws what would make a grant last longer that has ended.
    pub(crate) async fn drop_extensions(&mut self, grant: &Grant) -> Result<(), ControlError> {
        for stored in store::requests::pending_of(self.db(), &grant.principal).await? {
            if extends(&stored.request, &grant.id) && !self.lapse(&stored.request).await? {
                self.withdraw_for(&stored.request, "the grant has ended").await?;
            }
        }
        Ok(())
    }
}

pub(crate) fn extends(request: &Request, grant: &GrantId) -> bool {
    request.extends.as_ref() == Some(grant)
}

fn waits_already(request: &Request) -> ControlError {
    ControlError::Conflict(format!(
        "request `{0}` for the same access waits already: change it with `postern edit {0}`, or take \
         it back with `postern withdraw {0}`",
        request.id
    ))
}

/// Whether somebody who asks this can as well wait for that.
pub(crate) fn is_same(request: &Request, wish: &Wish) -> bool {
    let limit = request.terms.limit;
    let within = |ttl: Ttl| limit.map_or(ttl, |limit| ttl.min(limit));
    let same_ttl = wish.ttl.is_none_or(|ttl| within(ttl) == request.ttl);
    same_ttl
        && wish.act == request.act
        && wish.starts_at == request.starts_at
        && (wish.reason.is_empty() || wish.reason == request.reason)
        && (wish.ticket.is_none() || wish.ticket == request.ticket)
}
