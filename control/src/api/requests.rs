//! Asking for access, and deciding on what others ask.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use policies::{Act, Digest, RequestId, StepUpId, Ticket, Ttl};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{Asked, At, Body};
use super::page::{Listed, paging};
use super::replay::Turn;
use super::{Api, wire};
use crate::{Actor, RequestFilter, Scope, Standing, Wish};

/// Which requests to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// One of `pending`, `granted`, `denied`, `withdrawn` and `lapsed`.
    state: Option<String>,
    /// Whose: `mine` (the default), `inbox` (those that wait for one's own verdict) or `all`.
    scope: Option<String>,
    cursor: Option<String>,
    /// At most 200.
    limit: Option<u32>,
}

/// The scope of this name; one's own where none is named.
pub(crate) fn scope(name: Option<&str>) -> Result<Scope, Problem> {
    let scope = name.map(str::parse).transpose();
    Ok(scope.map_err(super::invalid)?.unwrap_or_default())
}

/// Lists requests, newest first.
#[utoipa::path(get, path = "/requests", tag = "requests", params(Query),
    responses((status = 200, body = Listed<wire::AccessRequest>), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Listed<wire::AccessRequest>>, Problem> {
    let state = query.state.as_deref().map(str::parse::<Standing>);
    let filter = RequestFilter {
        scope: scope(query.scope.as_deref())?,
        state: state.transpose().map_err(super::invalid)?,
    };
    let paging = paging(query.cursor.as_deref(), query.limit)?;
    let page = api.control.requests(&actor, filter, paging).await?;
    Ok(Json(Listed::of(&page)))
}

/// What is asked for.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    /// The login, target and database; without a database, the target's default.
    #[schema(example = "app_rw@orders/shop")]
    resource: String,
    /// For how long; without, as long as the target's default.
    #[schema(value_type = Option<String>, example = "1h")]
    ttl: Option<Ttl>,
    /// Why; the approvers read it.
    #[serde(default)]
    reason: String,
    /// The ticket that it is for.
    #[schema(value_type = Option<String>, example = "OPS-12")]
    #[serde(default)]
    ticket: Option<Ticket>,
}

/// The request, and the grant where nobody has to be asked or it was there already.
#[derive(Serialize, ToSchema)]
pub(crate) struct Answer {
    request: wire::AccessRequest,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<wire::Grant>,
}

/// Asks for access.
#[utoipa::path(post, path = "/requests", tag = "requests", request_body = Ask,
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Sent again with the same key, a request gets its first answer for a day")),
    responses((status = 200, body = Answer), Problems))]
pub(crate) async fn ask(
    State(api): State<Api>,
    Caller(actor): Caller,
    headers: HeaderMap,
    Body(ask): Body<Ask>,
) -> Result<Json<serde_json::Value>, Problem> {
    let body = serde_json::to_vec(&ask).map_err(super::unwritable)?;
    let now = api.control.now();
    match api.replays.turn(&actor.principal.id, &headers, &body, now)? {
        Turn::Again(answer) => Ok(Json(answer)),
        Turn::First(claim) => {
            let answer = asked(&api, &actor, ask).await?;
            let answer = serde_json::to_value(&answer).map_err(super::unwritable)?;
            claim.keep(&answer);
            Ok(Json(answer))
        }
    }
}

async fn asked(api: &Api, actor: &Actor, ask: Ask) -> Result<Answer, Problem> {
    let wish = Wish {
        resource: ask.resource.parse().map_err(super::invalid)?,
        ttl: ask.ttl,
        reason: ask.reason,
        ticket: ask.ticket,
        act: Act::Connect,
        source: None,
    };
    let asked = api.control.ask(actor, wish).await?;
    let view = api.control.request(actor, &asked.request.id).await?;
    Ok(Answer {
        request: wire::AccessRequest::from(&view),
        grant: asked.grant.as_ref().map(wire::Grant::from),
    })
}

/// Shows one request.
#[utoipa::path(get, path = "/requests/{id}", tag = "requests", params(("id" = String, Path)),
    responses((status = 200, body = wire::AccessRequest), Problems))]
pub(crate) async fn show(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<RequestId>,
) -> Result<Json<wire::AccessRequest>, Problem> {
    shown(&api, &actor, &id).await.map(Json)
}

async fn shown(api: &Api, actor: &Actor, id: &RequestId) -> Result<wire::AccessRequest, Problem> {
    let view = api.control.request(actor, id).await?;
    Ok(wire::AccessRequest::from(&view))
}

/// A yes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Yes {
    /// The digest of the request that was read.
    digest: String,
    /// For how long at most.
    #[schema(value_type = Option<String>, example = "30m")]
    shorten: Option<Ttl>,
    /// The step-up by which one proved oneself on the request's page, where that is wanted.
    #[schema(value_type = Option<String>)]
    step_up: Option<StepUpId>,
}

/// Says yes to a request.
#[utoipa::path(post, path = "/requests/{id}/approve", tag = "requests",
    params(("id" = String, Path)), request_body = Yes,
    responses((status = 200, body = Answer), Problems))]
pub(crate) async fn approve(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<RequestId>,
    Body(yes): Body<Yes>,
) -> Result<Json<Answer>, Problem> {
    let Yes { digest, shorten, step_up } = yes;
    let yes = crate::Yes { digest: Digest::from(digest), shorten, step_up };
    let (_, grant) = api.control.approve(&actor, &id, yes).await?;
    let request = shown(&api, &actor, &id).await?;
    let grant = grant.as_ref().map(wire::Grant::from);
    Ok(Json(Answer { request, grant }))
}

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Because {
    /// Those whom it concerns are told.
    pub(crate) reason: String,
}

/// Says no to a request.
#[utoipa::path(post, path = "/requests/{id}/deny", tag = "requests",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = wire::AccessRequest), Problems))]
pub(crate) async fn deny(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<RequestId>,
    Body(because): Body<Because>,
) -> Result<Json<wire::AccessRequest>, Problem> {
    api.control.deny(&actor, &id, because.reason).await?;
    shown(&api, &actor, &id).await.map(Json)
}

/// Takes one's own request back.
#[utoipa::path(post, path = "/requests/{id}/withdraw", tag = "requests",
    params(("id" = String, Path)),
    responses((status = 200, body = wire::AccessRequest), Problems))]
pub(crate) async fn withdraw(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<RequestId>,
) -> Result<Json<wire::AccessRequest>, Problem> {
    api.control.withdraw(&actor, &id).await?;
    shown(&api, &actor, &id).await.map(Json)
}
