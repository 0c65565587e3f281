//! Grants: seeing them, giving one's own back, revoking another's.

use axum::Json;
use axum::extract::State;
use policies::{GrantId, Ttl};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{Asked, At, Body};
use super::page::{Lasting, Listed};
use super::requests::{Answer, Because, answer};
use super::wire;
use crate::http::api::state::Api;
use crate::model::view::GrantFilter;

/// Lists grants, newest first.
#[utoipa::path(get, path = "/grants", tag = "grants", params(Lasting),
    responses((status = 200, body = Listed<wire::Grant>), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Asked(query): Asked<Lasting>,
) -> Result<Json<Listed<wire::Grant>>, Problem> {
    let (scope, live, paging) = query.read()?;
    let page = api.control.access.grants(&actor, GrantFilter { scope, live }, paging).await?;
    Ok(Json(Listed::of(&page)))
}

/// Shows one grant.
#[utoipa::path(get, path = "/grants/{id}", tag = "grants", params(("id" = String, Path)),
    responses((status = 200, body = wire::Grant), Problems))]
pub(crate) async fn show(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<GrantId>,
) -> Result<Json<wire::Grant>, Problem> {
    let view = api.control.access.grant(&actor, &id).await?;
    Ok(Json(wire::Grant::from(&view)))
}

/// Gives one's own grant back.
#[utoipa::path(post, path = "/grants/{id}/done", tag = "grants", params(("id" = String, Path)),
    responses((status = 200, body = wire::Cut<wire::Grant>),
        (status = 202, body = wire::Cut<wire::Grant>, description = "In force, and not yet written"),
        Problems))]
pub(crate) async fn done(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<GrantId>,
) -> Result<wire::Cut<wire::Grant>, Problem> {
    let grant = api.control.access.done(&actor, &id).await?;
    Ok(wire::Cut::of(&grant, wire::Grant::from(&grant.value)))
}

/// Ends somebody's grant, and with it their sessions.
#[utoipa::path(post, path = "/grants/{id}/revoke", tag = "grants",
    params(("id" = String, Path)), request_body = Because,
    responses((status = 200, body = wire::Cut<wire::Grant>),
        (status = 202, body = wire::Cut<wire::Grant>, description = "In force, and not yet written"),
        Problems))]
pub(crate) async fn revoke(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<GrantId>,
    Body(because): Body<Because>,
) -> Result<wire::Cut<wire::Grant>, Problem> {
    let grant = api.control.access.revoke(&actor, &id, because.reason).await?;
    Ok(wire::Cut::of(&grant, wire::Grant::from(&grant.value)))
}

/// More time.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Longer {
    /// How much; without, as long as the grant was given for.
    #[schema(value_type = Option<String>, example = "30m")]
    ttl: Option<Ttl>,
    /// Why; without, for the reason that it was asked for.
    reason: Option<String>,
}

/// Asks for more time on one's own grant, before its end and by the same rules.
#[utoipa::path(post, path = "/grants/{id}/extend", tag = "grants",
    params(("id" = String, Path)), request_body = Longer,
    responses((status = 200, body = Answer), Problems))]
pub(crate) async fn extend(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<GrantId>,
    Body(longer): Body<Longer>,
) -> Result<Json<Answer>, Problem> {
    let asked = api.control.access.extend(&actor, &id, longer.ttl, longer.reason).await?;
    Ok(Json(answer(&api, &actor, asked).await?))
}
