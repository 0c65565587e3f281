//! Sessions, and the recordings that they left.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use policies::{GrantId, SessionId};
use serde::Deserialize;
use tokio_util::io::ReaderStream;
use utoipa::IntoParams;

use super::auth::Caller;
use super::error::{Kind, Problem, Problems};
use super::extract::{Asked, At};
use super::page::{Listed, paging};
use super::wire;
use crate::http::api::page::scope;
use crate::http::api::state::Api;
use crate::model::view::SessionFilter;

/// Which sessions to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// Whose: `mine` (the default) or `all`.
    scope: Option<String>,
    /// Only those that run, or only those that ended.
    live: Option<bool>,
    /// Only those of this grant.
    #[param(value_type = Option<String>)]
    grant: Option<GrantId>,
    cursor: Option<String>,
    /// At most 200.
    limit: Option<u32>,
}

/// Lists sessions, newest first.
#[utoipa::path(get, path = "/sessions", tag = "sessions", params(Query),
    responses((status = 200, body = Listed<wire::Session>), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Listed<wire::Session>>, Problem> {
    let paging = paging(query.cursor.as_deref(), query.limit)?;
    let filter = SessionFilter {
        scope: scope(query.scope.as_deref())?,
        live: query.live,
        grant: query.grant,
    };
    let page = api.control.evidence.sessions(&actor, filter, paging).await?;
    Ok(Json(Listed::of(&page)))
}

/// Shows one session.
#[utoipa::path(get, path = "/sessions/{id}", tag = "sessions", params(("id" = String, Path)),
    responses((status = 200, body = wire::Session), Problems))]
pub(crate) async fn show(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<SessionId>,
) -> Result<Json<wire::Session>, Problem> {
    let view = api.control.evidence.session(&actor, &id).await?;
    Ok(Json(wire::Session::from(&view)))
}

/// Gives the recording of a session, as it stands.
#[utoipa::path(get, path = "/sessions/{id}/recording", tag = "sessions",
    params(("id" = String, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream",
        description = "The frames of the recording"), Problems))]
pub(crate) async fn recording(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<SessionId>,
) -> Result<Response, Problem> {
    let path = api.control.evidence.recording(&actor, &id).await?;
    let file = tokio::fs::File::open(&path).await.map_err(|cause| unopened(&cause))?;
    let named = format!("attachment; filename=\"{id}.rec\"");
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_DISPOSITION, &named)];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}

fn unopened(cause: &std::io::Error) -> Problem {
    if cause.kind() == std::io::ErrorKind::NotFound {
        return Problem::new(Kind::NotFound, "no recording of this session is here");
    }
    Problem::incident(Kind::Unavailable, cause)
}
