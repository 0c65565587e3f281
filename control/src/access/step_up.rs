//! Step-ups: kept as they are given, and looked for where the rules want one.
//!
//! They are wanted when somebody asks, when somebody approves, and at every connection, where a touch
//! serves the certificate or address of that connection alone. Whoever has something to prove themselves
//! with does so at every approval and confirmation, whatever the rules say. A step-up opens; it never
//! ends anything: a session outlives the touch that let it in. `connection` says what one takes before it
//! asks.

mod connection;

use policies::{
    Bound, Facts, Need, Purpose, Request, Resource, StepUp, StepUpId, Terms, Timestamp, Ttl,
};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::access::Access;
use crate::identity::challenge;
use crate::kernel::state::Transaction;
use crate::model::actor::{Actor, Asker};
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::Event;
use crate::model::inventory::Inventory;
use crate::model::statement;
use crate::model::statement::Statement;
use crate::model::waiting_connection::HoldView;
use crate::policy::risk;
use crate::store;
use crate::store::requests::Stored;

/// How old a touch may be that no rule asks for.
const UNRULED: Ttl = Ttl::from_secs(300);
/// How far back rules may look for a step-up.
const REMEMBERED: Ttl = Ttl::from_secs(24 * 3_600);

/// What audit events tell of a step-up: with which key, and what was agreed to.
pub(crate) fn to_json(given: &StepUp) -> Value {
    json!({
        "id": given.id, "kind": given.kind, "credential": given.credential,
        "digest": given.digest, "at": given.at.to_string(), "bound": given.bound,
    })
}

/// The kind and age of a step-up, for rules.
pub(crate) fn facts(facts: Facts, given: Option<&StepUp>) -> Facts {
    let step_up = given.map(|given| (given.kind, given.age(facts.now)));
    Facts { step_up, ..facts }
}

impl Access {
    /// What this person does to agree to something, where the rules want a touch of that age.
    pub(crate) async fn way(
        &self,
        actor: &Actor,
        within: Option<Ttl>,
    ) -> Result<Way, ControlError> {
        let factors = self.identity.factors(&actor.principal.id).await?;
        Ok(match (factors.any(), within) {
            (true, _) => Way::Touch,
            (false, Some(_)) => Way::Enrol,
            (false, None) => Way::Click,
        })
    }

    /// The same for a waiting connection.
    pub(crate) async fn way_for(
        &self,
        actor: &Actor,
        view: &HoldView,
    ) -> Result<Way, ControlError> {
        let (now, asker) = (self.kernel.now(), of_hold(actor, view));
        let unusual = {
            let db = &mut *self.kernel.store().read().await?;
            risk::assess(db, &asker, view.source, now).await?
        };
        let facts = unusual.facts(now, view.source);
        let within = self.kernel.inventory().touch_for(actor, view, &facts);
        self.way(actor, within).await
    }

    /// Writes down that a step-up wasn't taken, where that is how something ended.
    pub(crate) async fn audited<T>(
        &self,
        actor: &Actor,
        ended: Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        if let Err(ControlError::Refused(Refusal::Unfit { id, why })) = &ended {
            let mut tx = self.kernel.begin().await?;
            risk::failed(&mut tx, &actor.principal.id, "step-up").await?;
            let event = Event::new(actor, AuditKind::StepUpRefused, id, json!({ "reason": why }));
            tx.record(event).await?;
            tx.commit().await?;
        }
        ended
    }
}

async fn latest_in(
    db: &mut SqliteConnection,
    asker: &Asker,
    resource: &Resource,
    now: Timestamp,
) -> Result<Option<StepUp>, ControlError> {
    let subject = resource.to_string();
    let given = store::step_ups::of(db, &asker.principal, &subject).await?;
    let need = Need {
        principal: &asker.principal,
        purpose: Purpose::Connect,
        subject: &subject,
        bound: asker.place.as_ref(),
        within: REMEMBERED,
    };
    Ok(given.into_iter().find(|given| given.serves(&need, now).is_ok()))
}

/// What somebody does whose client can't wait for a touch. It is bound to the certificate or the
/// address, so that one client of theirs opens the way for the others.
pub(crate) fn how(url: &str) -> String {
    format!(
        "connect from here with psql or ssh, or with options='-c postern.hold=10m': it waits, and names the \
         page where you touch; then try again. Your keys are at {url}"
    )
}

/// How somebody agrees to something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a click: they have nothing to prove themselves with, and no rule wants it.
    Click,
    /// By a proof.
    Touch,
    /// By a proof, but they have nothing to prove themselves with.
    Enrol,
}

impl Inventory {
    /// How old a touch may be with which this person lets a connection go on, where the rules want
    /// one. What they refuse is reported to the connection, with why; it takes no touch.
    fn touch_for(&self, actor: &Actor, view: &HoldView, facts: &Facts) -> Option<Ttl> {
        let facts = Facts {
            ticket: view.ticket.clone(),
            reason: view.reason.clone(),
            ttl: view.ttl,
            ..facts.clone()
        };
        let evaluated = self.evaluate(&actor.principal.id, &view.resource, &facts);
        evaluated.ok().and_then(|(_, terms)| terms.step_up)
    }
}

/// The one who reads a waiting connection's code, as whoever asks by it.
fn of_hold(actor: &Actor, view: &HoldView) -> Asker {
    Asker { carrier: view.carrier.clone(), ..actor.asker() }
}

/// What a step-up has to be good for.
pub(super) struct Wanted<'a> {
    pub(super) actor: &'a Actor,
    pub(super) purpose: Purpose,
    pub(super) subject: String,
    pub(super) bound: Option<Bound>,
    pub(super) within: Option<Ttl>,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(actor: &'a Actor, purpose: Purpose, subject: String) -> Self {
        Self { actor, purpose, subject, bound: None, within: None }
    }
}

/// The latest touch of theirs that serves for a connection to this, however old within a day.
pub(crate) async fn latest(
    tx: &mut Transaction,
    asker: &Asker,
    resource: &Resource,
) -> Result<Option<StepUp>, ControlError> {
    let now = tx.now;
    latest_in(tx.db(), asker, resource, now).await
}

/// The facts of a request that was asked before: what was unusual then, and the step-up that it
/// was asked with. A network that becomes known, or is forgotten, changes nothing about it.
pub(crate) async fn facts_of(tx: &mut Transaction, stored: &Stored) -> Result<Facts, ControlError> {
    let Stored { request, source, risk, .. } = stored;
    let facts = Facts { risk: *risk, ..Facts::new(request.evaluated_at(tx.now), *source) };
    let Some(id) = &request.step_up else {
        return Ok(facts);
    };
    let found = store::step_ups::find(tx.db(), id).await?;
    // As old as it was then: what was right when it was asked doesn't turn wrong by waiting.
    let step_up = found.map(|given| (given.kind, given.age(request.asked_at)));
    Ok(Facts { step_up, ..facts })
}

/// Whether this connection has to be touched for before it goes on: a step-up that is fresh
/// enough for these terms, from where the connection is.
pub(crate) fn fresh<'g>(
    tx: &Transaction,
    terms: &Terms,
    given: Option<&'g StepUp>,
) -> Result<Option<&'g StepUp>, ControlError> {
    let Some(within) = terms.step_up else {
        return Ok(None);
    };
    match given.filter(|given| tx.now < given.at.after(within)) {
        Some(given) => Ok(Some(given)),
        None => {
            let message = format!("the rules require a step-up of the last {within} here");
            Err(tx.kernel().step_up_needed("/keys", &message))
        }
    }
}

/// The step-up with which an approver says yes, where they gave one.
pub(crate) async fn for_approval(
    tx: &mut Transaction,
    actor: &Actor,
    request: &Request,
    given: Option<&StepUpId>,
) -> Result<Option<StepUp>, ControlError> {
    let need = Wanted::new(actor, Purpose::Approve, request.id.to_string());
    let need = Wanted { within: request.terms.step_up, ..need };
    let name = tx.inventory.name(&request.principal);
    let shown = [statement::of_approval(request, &name)];
    wanted(tx, &need, given, &shown, &format!("/r/{}", request.id)).await
}

/// The step-up with which a person lets their waiting connection go on, where it takes one.
pub(crate) async fn for_hold(
    tx: &mut Transaction,
    actor: &Actor,
    view: &HoldView,
    given: Option<&StepUpId>,
) -> Result<Option<StepUp>, ControlError> {
    let unusual = risk::assess_risk(tx, &of_hold(actor, view), view.source).await?;
    let facts = unusual.facts(tx.now, view.source);
    let need = Wanted {
        bound: view.place.clone(),
        within: tx.inventory.touch_for(actor, view, &facts),
        ..Wanted::new(actor, Purpose::Connect, view.resource.to_string())
    };
    let shown = [false, true].map(|elsewhere| statement::of_hold(view, actor, elsewhere));
    wanted(tx, &need, given, &shown, &format!("/c/{}", view.id)).await
}

/// The step-up that was given, if it is about what was shown; none where none is wanted.
async fn wanted(
    tx: &mut Transaction,
    need: &Wanted<'_>,
    given: Option<&StepUpId>,
    shown: &[Statement],
    page: &str,
) -> Result<Option<StepUp>, ControlError> {
    let Some(id) = given else {
        if need.within.is_none() && !challenge::has_factor(tx, &need.actor.principal.id).await? {
            return Ok(None);
        }
        return Err(tx.kernel().step_up_needed(page, "this takes a fresh step-up"));
    };
    check_given(tx, need, id, shown).await.map(Some)
}

pub(super) async fn check_given(
    tx: &mut Transaction,
    need: &Wanted<'_>,
    id: &StepUpId,
    shown: &[Statement],
) -> Result<StepUp, ControlError> {
    let unfit = |why: &str| Refusal::Unfit { id: id.clone(), why: why.to_owned() };
    let found = store::step_ups::find(tx.db(), id).await?;
    let step_up = found.ok_or_else(|| unfit("there is none of that name"))?;
    let asked = Need {
        principal: &need.actor.principal.id,
        purpose: need.purpose,
        subject: &need.subject,
        bound: need.bound.as_ref(),
        within: need.within.unwrap_or(UNRULED),
    };
    let served = step_up.serves(&asked, tx.now);
    served.map_err(|why| unfit(&why.to_string()))?;
    if shown.iter().any(|statement| statement.digest() == step_up.digest) {
        Ok(step_up)
    } else {
        Err(unfit("what was agreed to reads otherwise").into())
    }
}
