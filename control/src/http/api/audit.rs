//! The audit log.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{Asked, At};
use super::page::{Listed, paging};
use super::wire;
use crate::http::api::state::Api;

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
    let page = api.control.kernel.audit(&actor, paging).await?;
    Ok(Json(Listed::of(&page)))
}

/// What became of something.
#[derive(Serialize, ToSchema)]
#[schema(as = Story)]
pub(crate) struct Timeline {
    about: String,
    /// In plain words, oldest first.
    #[serde(rename = "told")]
    lines: Vec<String>,
    /// The events that it is made from.
    events: Vec<wire::AuditEvent>,
}

/// Tells what became of a session, a grant, a request, a login session, a certificate or a person:
/// who it was, how and when they proved it, and whose approvals let them in. For auditors and admins.
#[utoipa::path(get, path = "/audit/{id}", tag = "audit", params(("id" = String, Path)),
    responses((status = 200, body = Timeline), Problems))]
pub(crate) async fn story(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<String>,
) -> Result<Json<Timeline>, Problem> {
    let timeline = api.control.evidence.timeline(&actor, &id).await?;
    let events = timeline.events.iter().map(wire::AuditEvent::from).collect();
    Ok(Json(Timeline { about: timeline.about, lines: timeline.lines, events }))
}
