//! A grant that is to last longer: that is asked for like any other access.

use policies::{Grant, GrantId, Request, Ttl, Wanted};

use crate::access::ask::is_same;
use crate::access::input::{AccessRequestInput, Answer};
use crate::access::issue_grant::can_be_extended;
use crate::access::transitions::extends;
use crate::access::{Access, ask, load, terms};
use crate::kernel::state::Transaction;
use crate::model::actor::{Actor, Asker};
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::text::check_text;
use crate::model::view::Asked;
use crate::policy::risk;
use crate::store;

impl Access {
    /// Asks for more time on one's own grant, before its end and by the same rules.
    ///
    /// # Errors
    /// Where it isn't the actor's, hasn't been used or is over, the rules forbid it, or it lasts as
    /// long as they let it already.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, grant = %id))]
    pub async fn extend(
        &self,
        actor: &Actor,
        id: &GrantId,
        ttl: Option<Ttl>,
        reason: Option<String>,
    ) -> Result<Asked, ControlError> {
        check_text(
            "a reason",
            reason.as_deref().unwrap_or_default(),
            crate::access::input::REASON_MAX,
        )?;
        self.kernel.limit_requests(&actor.principal.id).await?;
        let (access, asker, id) = (self.clone(), actor.asker(), id.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let answer = ask_longer(&mut tx, &asker, &id, ttl, reason).await?;
                let revision = tx.commit().await?;
                Ok(Asked::new(answer, revision))
            })
            .await
    }
}

async fn ask_longer(
    tx: &mut Transaction,
    asker: &Asker,
    id: &GrantId,
    ttl: Option<Ttl>,
    reason: Option<String>,
) -> Result<Answer, ControlError> {
    tx.inventory.person(&asker.principal)?;
    let grant = load::granted(tx, id).await?;
    if grant.principal != asker.principal {
        return Err(Refusal::NotFound("grant").into());
    }
    tx.kernel().not_locked(asker, &grant.resource, tx.now)?;
    let first = load::stored(tx, &grant.request).await?;
    let (request, source) = (first.request, first.source);
    let requested = AccessRequestInput {
        also: Vec::new(),
        ttl: Some(ttl.unwrap_or(grant.ttl)),
        reason: reason.unwrap_or_else(|| request.reason.clone()),
        ticket: request.ticket,
        act: grant.act,
        source,
        ..AccessRequestInput::new(grant.resource.clone())
    };
    let all = [grant.resource.clone()];
    // Where the connection comes from is as it was; this is asked in a session.
    let unusual = risk::assess_risk(tx, asker, None).await?;
    let facts = requested.facts(unusual.facts(tx.now, source));
    let terms = terms::terms_of(tx, asker, &all, &facts)?;
    terms
        .check_input(requested.ticket.as_ref(), &requested.reason)
        .map_err(Rejection::MissingInput)?;
    can_be_extended(tx, &grant, &requested, terms.limit)?;
    if let Some(waiting) = waits_longer(tx, &grant).await? {
        return match is_same(&waiting, &requested) {
            true => Ok((waiting, Vec::new())),
            false => Err(Refusal::Conflict(format!(
                "request `{}` to extend this grant waits already: take it back first",
                waiting.id
            ))
            .into()),
        };
    }
    let AccessRequestInput { resource, also, reason, ticket, act, .. } = requested;
    let ttl = requested.ttl.unwrap_or(grant.ttl);
    let (starts_at, extends) = (None, Some(grant.id));
    let wanted = Wanted { resource, also, ttl, reason, ticket, act, starts_at, extends };
    let request = ask::posed(tx, asker, wanted, terms, None)?;
    ask::taken(tx, request, source, &unusual).await
}

/// The pending request to make this grant last longer.
async fn waits_longer(
    tx: &mut Transaction,
    grant: &Grant,
) -> Result<Option<Request>, ControlError> {
    let pending = store::requests::pending_of(tx.db(), &grant.principal).await?;
    let mut requests = pending.into_iter().map(|stored| stored.request);
    let found = requests.find(|request| extends(request, &grant.id));
    match found {
        Some(request) if !crate::access::transitions::lapse(tx, &request).await? => {
            Ok(Some(request))
        }
        Some(_) | None => Ok(None),
    }
}
