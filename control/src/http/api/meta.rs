//! About the API itself: whether it is there, and what it looks like.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::Problems;
use crate::http::api::state::Api;

const UNWRITABLE: &str = "control can't write to its disk: no new access begins, and what is taken \
                          away is cut but not yet durable. Free space on the disk of its state \
                          folder, or see the log for another cause; it goes on by itself, so \
                          don't restart it";

const NO_ROOM: &str = "no session begins, because there is no room for its recording: `postern doctor` \
                       says what to do";

/// Whether control does its work.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`, `unwritable` where control can't write to its store, or `no-room` where no session can
    /// begin for want of room to record it.
    status: &'static str,
    version: &'static str,
    /// Since when it can't.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// How often access was taken away that isn't written yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending_cuts: Option<usize>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'static str>,
}

/// Says whether control answers and can write, and whether sessions can be recorded. Take it to decide where requests go, not to restart
/// control: a restart does not make room on a disk.
#[utoipa::path(get, path = "/health", tag = "meta", security(()),
    responses((status = 200, body = Health),
        (status = 503, body = Health, description = "Control can't write to its store"), Problems))]
pub(crate) async fn health(State(api): State<Api>) -> (StatusCode, Json<Health>) {
    let health = api.control.kernel.store_health();
    let version = env!("CARGO_PKG_VERSION");
    let Some(since) = health.unwritable_since else {
        let (status, detail) = match api.control.kernel.has_room() {
            true => ("ok", None),
            false => ("no-room", Some(NO_ROOM)),
        };
        let works = Health { status, version, since: None, pending_cuts: None, detail };
        return (StatusCode::OK, Json(works));
    };
    let unwritable = Health {
        status: "unwritable",
        version,
        since: Some(since.to_string()),
        pending_cuts: Some(health.pending_cuts),
        detail: Some(UNWRITABLE),
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(unwritable))
}

/// Gives this document.
#[utoipa::path(get, path = "/openapi.json", tag = "meta", security(()),
    responses((status = 200, body = Object, description = "An OpenAPI document"), Problems))]
pub(crate) async fn openapi(State(api): State<Api>) -> Json<utoipa::openapi::OpenApi> {
    Json(api.document.as_ref().clone())
}
