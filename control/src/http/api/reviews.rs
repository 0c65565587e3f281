//! Reviews of emergencies: seeing them, and signing that somebody has looked.

use axum::Json;
use axum::extract::State;
use policies::ReviewId;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{Asked, At, Body};
use super::page::{Listed, paging};
use super::wire;
use crate::http::api::state::Api;

/// Which reviews to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// Those that are signed too; without, only those that are open.
    #[serde(default)]
    all: bool,
    cursor: Option<String>,
    /// At most 200.
    limit: Option<u32>,
}

/// Lists the reviews that one may sign, and those about oneself; all of them for admins and auditors.
#[utoipa::path(get, path = "/reviews", tag = "reviews", params(Query),
    responses((status = 200, body = Listed<wire::Review>), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Listed<wire::Review>>, Problem> {
    let paging = paging(query.cursor.as_deref(), query.limit)?;
    let page = api.control.access.reviews(&actor, query.all, paging).await?;
    Ok(Json(Listed::of(&page)))
}

/// Shows one review.
#[utoipa::path(get, path = "/reviews/{id}", tag = "reviews", params(("id" = String, Path)),
    responses((status = 200, body = wire::Review), Problems))]
pub(crate) async fn show(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<ReviewId>,
) -> Result<Json<wire::Review>, Problem> {
    let view = api.control.access.review(&actor, &id).await?;
    Ok(Json(wire::Review::from(&view)))
}

/// What was found.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Found {
    /// It stays with the review.
    note: String,
}

/// Signs a review, once the grant has ended.
#[utoipa::path(post, path = "/reviews/{id}/sign", tag = "reviews",
    params(("id" = String, Path)), request_body = Found,
    responses((status = 200, body = wire::Review), Problems))]
pub(crate) async fn sign(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<ReviewId>,
    Body(found): Body<Found>,
) -> Result<Json<wire::Review>, Problem> {
    let view = api.control.access.sign_review(&actor, &id, found.note).await?;
    Ok(Json(wire::Review::from(&view)))
}
