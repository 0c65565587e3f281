//! Asking for access, and deciding on what others ask.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use policies::{Act, Digest, RequestId, StepUpId, Ticket, Timestamp, Ttl};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::error::{Kind, Problem, Problems};
use super::extract::{Asked, At, Body};
use super::page::{Listed, paging};
use super::replay::Turn;
use super::wire;
use crate::access::edit::{Changes, Part};
use crate::access::input::AccessRequestInput;
use crate::http::api::page::scope;
use crate::http::api::state::Api;
use crate::model::actor::Actor;
use crate::model::view::{RequestFilter, Standing};

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
        state: state.transpose().map_err(super::error::invalid)?,
    };
    let paging = paging(query.cursor.as_deref(), query.limit)?;
    let page = api.control.access.requests(&actor, filter, paging).await?;
    Ok(Json(Listed::of(&page)))
}

/// What is asked for.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ask {
    /// The login, target and database; without a database, the target's default.
    #[schema(example = "app_rw@orders/shop")]
    resource: String,
    /// What else, to be decided on as one and granted each.
    #[serde(default)]
    also: Vec<String>,
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
    /// From when on: RFC 3339, or a span from now such as `2h`; without, at once.
    #[schema(example = "2026-03-01T22:00:00Z")]
    #[serde(default)]
    starts_at: Option<String>,
    /// Whether it is an emergency: given without approval, never without a step-up, and reviewed.
    #[serde(default)]
    break_glass: bool,
}

/// The request, and the grant where nobody has to be asked or it was there already.
#[derive(Serialize, ToSchema)]
pub(crate) struct Answer {
    request: wire::AccessRequest,
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<wire::Grant>,
    /// The grants of what else was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<wire::Grant>,
}

/// What asking came to, as the one who asked sees it.
pub(crate) async fn answer(
    api: &Api,
    actor: &Actor,
    asked: crate::model::view::Asked,
) -> Result<Answer, Problem> {
    Ok(Answer {
        request: shown(api, actor, &asked.request.id).await?,
        grant: asked.grant.as_ref().map(wire::Grant::from),
        also: asked.also.iter().map(wire::Grant::from).collect(),
    })
}

/// A time to come: as RFC 3339 writes it, or a span from now.
pub(crate) fn moment(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    let span: Result<Ttl, _> = text.parse();
    match span {
        Ok(span) => Ok(now.after(span)),
        Err(_) => text.parse().map_err(super::error::invalid),
    }
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
    let body = serde_json::to_vec(&ask).map_err(super::error::unwritable)?;
    let now = api.control.kernel.now();
    match api.replays.turn(&actor.principal.id, &headers, &body, now)? {
        Turn::Again(answer) => Ok(Json(answer)),
        Turn::First(claim) => {
            let answer = asked(&api, &actor, ask).await?;
            let answer = serde_json::to_value(&answer).map_err(super::error::unwritable)?;
            claim.keep(&answer);
            Ok(Json(answer))
        }
    }
}

async fn asked(api: &Api, actor: &Actor, ask: Ask) -> Result<Answer, Problem> {
    let parse = |text: &String| text.parse().map_err(super::error::invalid);
    let starts_at = ask.starts_at.map(|text| moment(&text, api.control.kernel.now()));
    let requested = AccessRequestInput {
        resource: parse(&ask.resource)?,
        also: ask.also.iter().map(parse).collect::<Result<_, _>>()?,
        ttl: ask.ttl,
        reason: ask.reason,
        ticket: ask.ticket,
        act: if ask.break_glass { Act::BreakGlass } else { Act::Connect },
        starts_at: starts_at.transpose()?,
        source: None,
    };
    let asked = api.control.access.ask(actor, requested).await?;
    answer(api, actor, asked).await
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
    let view = api.control.access.request(actor, id).await?;
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
    let yes = crate::access::input::Yes { digest: Digest::from(digest), shorten, step_up };
    let asked = api.control.access.approve(&actor, &id, yes).await?;
    Ok(Json(answer(&api, &actor, asked).await?))
}

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Because {
    /// Those whom it concerns read it.
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
    api.control.access.deny(&actor, &id, because.reason).await?;
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
    api.control.access.withdraw(&actor, &id).await?;
    shown(&api, &actor, &id).await.map(Json)
}

/// What is to be said otherwise; what is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// For how long.
    #[schema(value_type = Option<String>, example = "1h")]
    ttl: Option<Ttl>,
    /// Why.
    reason: Option<String>,
    /// The ticket that it is for.
    #[schema(value_type = Option<String>, example = "OPS-12")]
    ticket: Option<Ticket>,
    /// Whether it is for no ticket any more.
    #[serde(default)]
    no_ticket: bool,
    /// From when on: RFC 3339, or a span from now.
    #[schema(example = "2026-03-01T22:00:00Z")]
    starts_at: Option<String>,
    /// Whether it is to begin at once, whatever was said before.
    #[serde(default)]
    at_once: bool,
}

/// What an edit does to a part: set or left out, but not both.
fn part<T>(value: Option<T>, goes: bool, message: &'static str) -> Result<Part<T>, Problem> {
    match (value, goes) {
        (Some(_), true) => Err(Problem::new(Kind::Invalid, message)),
        (Some(value), false) => Ok(Part::Becomes(value)),
        (None, true) => Ok(Part::Goes),
        (None, false) => Ok(Part::Stays),
    }
}

/// Changes one's own request while it waits. Every yes that was said is taken back with it.
#[utoipa::path(post, path = "/requests/{id}/edit", tag = "requests",
    params(("id" = String, Path)), request_body = Edit,
    responses((status = 200, body = Answer), Problems))]
pub(crate) async fn edit(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<RequestId>,
    Body(edit): Body<Edit>,
) -> Result<Json<Answer>, Problem> {
    let starts_at =
        edit.starts_at.map(|text| moment(&text, api.control.kernel.now())).transpose()?;
    let changes = Changes {
        ttl: edit.ttl,
        reason: edit.reason,
        ticket: part(edit.ticket, edit.no_ticket, "name a ticket or say `no_ticket`, not both")?,
        starts_at: part(starts_at, edit.at_once, "say `starts_at` or `at_once`, not both")?,
    };
    let asked = api.control.access.edit(&actor, &id, changes).await?;
    Ok(Json(answer(&api, &actor, asked).await?))
}
