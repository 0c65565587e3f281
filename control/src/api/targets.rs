//! What there is to ask for.

use axum::Json;
use axum::extract::State;

use super::auth::Caller;
use super::error::Problems;
use super::{Api, wire};

/// Lists the targets, and what asking for each login would come to.
#[utoipa::path(get, path = "/targets", tag = "targets",
    responses((status = 200, body = [wire::Target]), Problems))]
pub(crate) async fn list(State(api): State<Api>, Caller(actor): Caller) -> Json<Vec<wire::Target>> {
    let targets = api.control.targets(&actor);
    Json(targets.iter().map(wire::Target::from).collect())
}
