//! What a connection takes before it asks: a touch of its person, or words that its client couldn't say.
//!
//! What they have already decides what the rules are asked about: a grant is used under what was said
//! when it was asked for, and what waits was said, too.

use std::sync::Arc;

use policies::{
    Facts, MissingInput, Request, RequestState, Resource, Risk, StepUp, Terms, Timestamp, Ttl,
};
use serde_json::json;
use sqlx::SqliteConnection;

use super::{facts, latest_in};
use crate::access::Access;
use crate::access::input::AccessRequestInput;
use crate::model::actor::{Actor, Asker};
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::unusual::Unusual;
use crate::model::waiting_connection::HoldView;
use crate::policy::risk;
use crate::store;

/// What is known of a connection before it asks.
struct Case {
    inventory: Arc<Inventory>,
    resource: Resource,
    standing: Standing,
    given: Option<StepUp>,
    unusual: Unusual,
    facts: Facts,
}

impl Case {
    fn terms(&self, asker: &Asker, facts: &Facts) -> Option<Terms> {
        let evaluated = self.inventory.evaluate(&asker.principal, &self.resource, facts).ok();
        evaluated.map(|(_, terms)| terms)
    }
}

impl Access {
    async fn case(
        &self,
        asker: &Asker,
        requested: &AccessRequestInput,
    ) -> Result<Case, ControlError> {
        let now = self.kernel.now();
        let inventory = self.kernel.inventory();
        let (_, resource) = inventory.resolve(&requested.resource)?;
        let (given, standing, unusual) = {
            let db = &mut *self.kernel.store().read().await?;
            let standing = standing(db, asker, &resource, now).await?;
            let given = match &standing {
                Standing::Unproved(_) => asker.touch.clone(),
                Standing::Asked | Standing::Granted(_) => {
                    latest_in(db, asker, &resource, now).await?
                }
            };
            (given, standing, risk::assess(db, asker, requested.source, now).await?)
        };
        let said = requested.facts(unusual.facts(now, requested.source));
        let said = match &standing {
            Standing::Granted(request) => said.about(request),
            Standing::Unproved(_) | Standing::Asked => said,
        };
        let facts = facts(said, given.as_ref());
        Ok(Case { inventory, resource, standing, given, unusual, facts })
    }

    /// Whether a connection has to be touched for before it goes on. What the rules refuse is reported
    /// when it is asked for; it takes no touch. Where it has to be, the audit log tells why.
    pub(crate) async fn wants_touch(
        &self,
        asker: &Asker,
        requested: &AccessRequestInput,
    ) -> Result<bool, ControlError> {
        let now = self.kernel.now();
        let case = self.case(asker, requested).await?;
        let within = |facts: &Facts| {
            let terms = case.terms(asker, facts);
            terms.and_then(|terms| terms.step_up.map(|within| (within, terms.rules)))
        };
        let fresh = |within| case.given.as_ref().is_some_and(|given| now < given.at.after(within));
        let Some((wanted, rules)) = within(&case.facts).filter(|(within, _)| !fresh(*within))
        else {
            return Ok(false);
        };
        let asks = |risk| {
            let facts = Facts { risk, ..case.facts.clone() };
            within(&facts).is_some_and(|(within, _)| within <= wanted)
        };
        let because = if asks(Risk::default()) { Vec::new() } else { case.unusual.because(asks) };
        self.wanted(asker, &case.resource, wanted, rules, because).await.map(|()| true)
    }

    /// What the rules want to know before a connection goes on, and weren't. Nothing is lacking of
    /// what its person has or waits for already.
    pub(crate) async fn lacks_words(
        &self,
        asker: &Asker,
        requested: &AccessRequestInput,
    ) -> Result<Option<MissingInput>, ControlError> {
        self.look_up(requested.ticket.as_ref()).await?;
        let case = self.case(asker, requested).await?;
        if !matches!(case.standing, Standing::Unproved(false)) {
            return Ok(None);
        }
        let terms = case.terms(asker, &case.facts);
        Ok(terms.and_then(|terms| {
            terms.check_input(requested.ticket.as_ref(), &requested.reason).err()
        }))
    }

    /// The same of a waiting connection, for the one who reads its code.
    pub(crate) async fn lacks(
        &self,
        actor: &Actor,
        view: &HoldView,
    ) -> Result<Option<MissingInput>, ControlError> {
        let requested = AccessRequestInput {
            ttl: view.ttl,
            reason: view.reason.clone(),
            ticket: view.ticket.clone(),
            source: view.source,
            ..AccessRequestInput::new(view.resource.clone())
        };
        self.lacks_words(&super::of_hold(actor, view), &requested).await
    }

    /// Writes down that a connection is held for a touch, and why.
    async fn wanted(
        &self,
        asker: &Asker,
        resource: &Resource,
        within: Ttl,
        rules: Vec<String>,
        because: Vec<String>,
    ) -> Result<(), ControlError> {
        let why = if because.is_empty() { rules.join(", ") } else { because.join(", ") };
        let detail = json!({
            "resource": resource.to_string(), "within": within, "rules": rules,
            "unusual": because, "told": format!("step-up asked because {why}"),
        });
        let event = Event::new(By::Control, AuditKind::StepUpWanted, &asker.principal, detail);
        let access = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                tx.record(event).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

/// What they have of what a connection wants.
enum Standing {
    /// Nothing, or a request that they haven't stood by: whether there is one.
    Unproved(bool),
    /// A request that they have stood by, so that a connection is all that is left to touch for.
    Asked,
    /// A grant, with what was said when it was asked for.
    Granted(Box<Request>),
}

async fn standing(
    db: &mut SqliteConnection,
    asker: &Asker,
    resource: &Resource,
    now: Timestamp,
) -> Result<Standing, ControlError> {
    let grant = store::grants::open_for(db, &asker.principal, resource).await?;
    if let Some(grant) = grant.filter(|grant| grant.is_live(now)) {
        let found = store::requests::find(db, &grant.request).await?;
        let stored = found.ok_or(Refusal::NotFound("request"))?;
        return Ok(Standing::Granted(Box::new(stored.request)));
    }
    let pending = store::requests::pending_of(db, &asker.principal).await?;
    let waits = pending.into_iter().map(|stored| stored.request);
    let mut about = waits.filter(|request| request.resources().any(|wanted| wanted == resource));
    let first = about.next();
    let proved = |request: &Request| request.state != RequestState::NeedsStepUp;
    let asked = first.as_ref().is_some_and(proved) || about.any(|request| proved(&request));
    Ok(if asked { Standing::Asked } else { Standing::Unproved(first.is_some()) })
}
