//! Login sessions: a person lists and ends their own, an admin anybody's.

use axum::Json;
use axum::extract::State;
use policies::{LoginId, PrincipalId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{Asked, At, Body};
use super::page::{Lasting, Listed};
use super::wire;
use crate::http::api::state::Api;

/// Lists login sessions, newest first.
#[utoipa::path(get, path = "/logins", tag = "logins", params(Lasting),
    responses((status = 200, body = Listed<wire::LoginSession>), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Asked(query): Asked<Lasting>,
) -> Result<Json<Listed<wire::LoginSession>>, Problem> {
    let (scope, live, paging) = query.read()?;
    let page = api.control.identity.logins(&actor, scope, live, paging).await?;
    Ok(Json(Listed::of(&page)))
}

/// Ends a login session, with its certificates and tokens: one's own, or as an admin anybody's.
#[utoipa::path(delete, path = "/logins/{id}", tag = "logins", params(("id" = String, Path)),
    responses((status = 204, description = "The session is over"),
        (status = 202, description = "In force, and not yet written: `durable` is false"), Problems))]
pub(crate) async fn end(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<LoginId>,
) -> Result<wire::Gone, Problem> {
    Ok(wire::Gone(api.control.identity.end_login(&actor, &id).await?))
}

/// Whose login sessions to end.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Everywhere {
    /// Without, one's own.
    #[schema(value_type = Option<String>, example = "alice")]
    principal: Option<PrincipalId>,
}

/// How many ended.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ended {
    ended: usize,
}

/// Ends all login sessions of a person, this one among them where it is one's own.
#[utoipa::path(post, path = "/logins/end", tag = "logins", request_body = Everywhere,
    responses((status = 200, body = wire::Cut<Ended>),
        (status = 202, description = "In force, and not yet written: `durable` is false"), Problems))]
pub(crate) async fn end_all(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(requested): Body<Everywhere>,
) -> Result<wire::Cut<Ended>, Problem> {
    let whose = requested.principal.unwrap_or_else(|| actor.principal.id.clone());
    let done = api.control.identity.end_all_logins(&actor, &whose).await?;
    let ended = done.value.len();
    Ok(wire::Cut::of(&done, Ended { ended }))
}
