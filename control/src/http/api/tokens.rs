//! Tokens: short-lived secrets for clients that know nothing but a password field.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use policies::Ttl;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{Asked, At, Body};
use super::page::{Listed, paging};
use super::wire;
use crate::http::api::page::scope;
use crate::http::api::state::Api;

/// Which tokens to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// Whose: `mine` (the default) or `all`.
    scope: Option<String>,
    cursor: Option<String>,
    /// At most 200.
    limit: Option<u32>,
}

/// Lists tokens, newest first, without their secrets.
#[utoipa::path(get, path = "/tokens", tag = "tokens", params(Query),
    responses((status = 200, body = Listed<wire::Token>), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Listed<wire::Token>>, Problem> {
    let scope = scope(query.scope.as_deref())?;
    let paging = paging(query.cursor.as_deref(), query.limit)?;
    let page = api.control.identity.tokens(&actor, scope, paging).await?;
    Ok(Json(Listed::of(&page)))
}

/// What the token is for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Minting {
    /// The one thing that it will be good for.
    #[schema(example = "app_ro@orders/shop")]
    resource: String,
    /// For how long.
    #[schema(value_type = Option<String>, example = "1h")]
    ttl: Option<Ttl>,
    /// For how many connections; without, they aren't counted.
    uses: Option<u32>,
}

/// The token. It is shown this once.
#[derive(Serialize, ToSchema)]
pub(crate) struct Minted {
    id: String,
    token: String,
    expires_at: String,
}

/// Makes a token for one's own connections.
#[utoipa::path(post, path = "/tokens", tag = "tokens", request_body = Minting,
    responses((status = 200, body = Minted), Problems))]
pub(crate) async fn mint(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(requested): Body<Minting>,
) -> Result<Json<Minted>, Problem> {
    let resource = requested.resource.parse().map_err(super::error::invalid)?;
    let minted =
        api.control.identity.mint_token(&actor, &resource, requested.ttl, requested.uses).await?;
    Ok(Json(Minted {
        id: minted.id,
        token: minted.token.expose_secret().to_owned(),
        expires_at: minted.expires_at.to_string(),
    }))
}

/// Takes a token back.
#[utoipa::path(delete, path = "/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 204, description = "The token is no longer good"), Problems))]
pub(crate) async fn revoke(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<String>,
) -> Result<StatusCode, Problem> {
    api.control.identity.revoke_token(&actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
