//! Saying one's own request otherwise while it waits: whoever has said yes is asked again, the rules
//! are too, and its time to wait begins again.

use std::net::IpAddr;

use policies::{
    Edit, Facts, GrantId, Request, RequestError, RequestEvent, RequestId, Resource, Risk, Terms,
    Ticket, Timestamp, Ttl,
};
use serde_json::json;

use crate::access::input::{AccessRequestInput, Answer, REASON_MAX};
use crate::access::{Access, ask, issue_grant, load, requests, terms, transitions};
use crate::kernel::state::Transaction;
use crate::model::actor::{Actor, Asker};
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::text::check_text;
use crate::model::view::Asked;
use crate::store::requests::Stored;

/// What an edit does to a part that a request need not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part<T> {
    /// It stays as it is.
    #[default]
    Stays,
    /// It is left out from now on.
    Goes,
    /// It is this.
    Becomes(T),
}

impl<T> Part<T> {
    fn of(self, before: Option<T>) -> Option<T> {
        match self {
            Self::Stays => before,
            Self::Goes => None,
            Self::Becomes(after) => Some(after),
        }
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
    pub ticket: Part<Ticket>,
    /// From when on; without, at once.
    pub starts_at: Part<Timestamp>,
}

impl Access {
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
        self.kernel.limit_requests(&actor.principal.id).await?;
        if let Part::Becomes(ticket) = &changes.ticket {
            self.look_up(Some(ticket)).await?;
        }
        let (access, actor, id) = (self.clone(), actor.clone(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let answer = edit(&mut tx, &actor, &id, changes).await?;
                let revision = tx.commit().await?;
                Ok(Asked::new(answer, revision))
            })
            .await
    }
}

async fn edit(
    tx: &mut Transaction,
    actor: &Actor,
    id: &RequestId,
    changes: Changes,
) -> Result<Answer, ControlError> {
    tx.acting(actor)?;
    let Stored { request, source, risk, .. } = load::stored(tx, id).await?;
    if request.principal != actor.principal.id {
        return Err(RequestError::NotTheirs.into());
    }
    let requested = changed(tx, &request, changes, source)?;
    let terms = judged_anew(tx, &actor.asker(), &request, &requested, risk).await?;
    let AccessRequestInput { ttl, reason, ticket, starts_at, .. } = requested;
    let edit = Edit { ttl: ttl.unwrap_or(request.ttl), reason, ticket, starts_at };
    let (by, patience) =
        (request.principal.clone(), tx.kernel().settings().grants.request_patience);
    let event = RequestEvent::Edit { by, edit, terms, timeout: patience };
    let next = request.apply(event, tx.now)?;
    let detail = json!({
        "ttl": next.ttl, "reason": next.reason, "ticket": next.ticket,
        "starts_at": next.starts_at.map(|at| at.to_string()), "before": request.digest(),
        "lapses_at": next.lapses_at.to_string(),
        "digest": next.digest(), "needs": next.terms.approvals.lines(),
    });
    transitions::put_request(tx, &next, actor, AuditKind::RequestEdited, detail).await?;
    requests::outcome(tx, next).await
}

/// The input that an edited request is. A time that has come doesn't have to come again.
fn changed(
    tx: &Transaction,
    request: &Request,
    changes: Changes,
    source: Option<IpAddr>,
) -> Result<AccessRequestInput, ControlError> {
    let Changes { ttl, reason, ticket, starts_at } = changes;
    if matches!(starts_at, Part::Becomes(_)) && request.extends.is_some() {
        let message = "an extension begins where the grant would end: it has no other time";
        return Err(Refusal::Invalid(message.to_owned()).into());
    }
    let requested = AccessRequestInput {
        also: request.also.clone(),
        ttl: Some(ttl.unwrap_or(request.ttl)),
        reason: reason.unwrap_or_else(|| request.reason.clone()),
        ticket: ticket.of(request.ticket.clone()),
        act: request.act,
        starts_at: starts_at.of(request.starts_at.filter(|starts| tx.now < *starts)),
        source,
        ..AccessRequestInput::new(request.resource.clone())
    };
    ask::makes_sense(tx, &requested, request.resources().count())?;
    Ok(requested)
}

/// What it takes, said so: without the touch that it was asked with.
async fn judged_anew(
    tx: &mut Transaction,
    asker: &Asker,
    request: &Request,
    requested: &AccessRequestInput,
    risk: Risk,
) -> Result<Terms, ControlError> {
    let all: Vec<Resource> = request.resources().cloned().collect();
    // What was unusual when it was asked stays so.
    let facts = Facts { risk, ..Facts::new(requested.evaluated_at(tx.now), requested.source) };
    let facts = requested.facts(facts);
    let terms = terms::terms_of(tx, asker, &all, &facts)?;
    terms
        .check_input(requested.ticket.as_ref(), &requested.reason)
        .map_err(Rejection::MissingInput)?;
    if let Some(id) = &request.extends {
        let grant: GrantId = id.clone();
        let grant = load::granted(tx, &grant).await?;
        issue_grant::can_be_extended(tx, &grant, requested, terms.limit)?;
    }
    Ok(terms)
}
