//! Locks: they beat every grant.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use policies::{LockId, Subject, Ttl};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{At, Body};
use super::wire;
use crate::http::api::state::Api;

/// Lists the locks in force.
#[utoipa::path(get, path = "/locks", tag = "locks",
    responses((status = 200, body = [wire::Lock]), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
) -> Result<Json<Vec<wire::Lock>>, Problem> {
    let locks = api.control.access.locks(&actor).await?;
    Ok(Json(locks.iter().map(wire::Lock::from).collect()))
}

/// What to lock.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Locking {
    /// `principal:alice`, `group:contractors`, `device:laptop-7`, `target:orders` or `login:app_rw@orders`.
    #[schema(value_type = String, example = "principal:alice")]
    subject: Subject,
    /// The locked read it.
    reason: String,
    /// For how long; without, until it is lifted.
    #[serde(rename = "for")]
    #[schema(value_type = Option<String>, example = "8h")]
    span: Option<Ttl>,
}

/// Locks a person, a group, a device, a target or a login, and cuts its sessions.
#[utoipa::path(post, path = "/locks", tag = "locks", request_body = Locking,
    responses((status = 200, body = wire::Cut<wire::Lock>),
        (status = 202, body = wire::Cut<wire::Lock>, description = "In force, and not yet written"),
        Problems))]
pub(crate) async fn lock(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(requested): Body<Locking>,
) -> Result<wire::Cut<wire::Lock>, Problem> {
    let until = requested.span.map(|span| api.control.kernel.now().after(span));
    let lock = api.control.access.lock(&actor, requested.subject, requested.reason, until).await?;
    let view = api.control.access.lock_view(lock.value.clone());
    Ok(wire::Cut::of(&lock, wire::Lock::from(&view)))
}

/// Lifts a lock.
#[utoipa::path(delete, path = "/locks/{id}", tag = "locks", params(("id" = String, Path)),
    responses((status = 204, description = "The lock is lifted"), Problems))]
pub(crate) async fn unlock(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<LockId>,
) -> Result<StatusCode, Problem> {
    api.control.access.unlock(&actor, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
