//! About the API itself: whether it is there, and what it looks like.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::error::Problems;

/// That control answers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    status: &'static str,
    version: &'static str,
}

/// Says that control answers.
#[utoipa::path(get, path = "/health", tag = "meta", security(()),
    responses((status = 200, body = Health), Problems))]
pub(crate) async fn health() -> Json<Health> {
    Json(Health { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Gives this document.
#[utoipa::path(get, path = "/openapi.json", tag = "meta", security(()),
    responses((status = 200, body = Object, description = "An OpenAPI document"), Problems))]
pub(crate) async fn openapi(State(api): State<Api>) -> Json<utoipa::openapi::OpenApi> {
    Json(api.document.as_ref().clone())
}
