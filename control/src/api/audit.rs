//! The audit log.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::Asked;
use super::page::{Listed, paging};
use super::{Api, wire};

/// Which page of the log to read.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    cursor: Option<String>,
    /// At most 200.
    limit: Option<u32>,
}

/// Reads the audit log, newest first. For auditors and admins.
#[utoipa::path(get, path = "/audit", tag = "audit", params(Query),
    responses((status = 200, body = Listed<wire::AuditEvent>), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Listed<wire::AuditEvent>>, Problem> {
    let paging = paging(query.cursor.as_deref(), query.limit)?;
    let page = api.control.audit(&actor, paging).await?;
    Ok(Json(Listed::of(&page)))
}
