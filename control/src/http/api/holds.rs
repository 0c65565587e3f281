//! Connections that wait: whoever holds the code that the terminal shows may look and confirm.

use axum::Json;
use axum::extract::State;
use policies::{Digest, StepUpId, Ticket};
use serde::Deserialize;
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::Body;
use super::guard::Source;
use super::wire;
use crate::gateway::pending_connections::Said;
use crate::http::api::state::Api;

/// The code that the terminal shows.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Code {
    #[schema(example = "KXQT-7M4P")]
    code: String,
}

/// Shows the connection that waits for this code. Takes a POST since codes don't belong in paths.
#[utoipa::path(post, path = "/holds/lookup", tag = "holds", request_body = Code,
    responses((status = 200, body = wire::Hold), Problems))]
pub(crate) async fn lookup(
    State(api): State<Api>,
    Caller(actor): Caller,
    Source(reader): Source,
    Body(Code { code }): Body<Code>,
) -> Result<Json<wire::Hold>, Problem> {
    let view = api.control.gateway.hold_by_code(&actor, &code).await?;
    Ok(Json(wire::Hold::new(&view, view.comes_from_elsewhere(reader))))
}

/// What a waiting connection is for, where its client had no way to say it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Saying {
    #[schema(example = "KXQT-7M4P")]
    code: String,
    /// The digest of the connection that was read.
    digest: String,
    /// The ticket that it is for.
    #[schema(value_type = Option<String>, example = "OPS-12")]
    #[serde(default)]
    ticket: Option<Ticket>,
    /// Why; the approvers read it.
    #[serde(default)]
    reason: String,
}

/// Says what one's own waiting connection is for. It has another digest from then on.
#[utoipa::path(post, path = "/holds/say", tag = "holds", request_body = Saying,
    responses((status = 200, body = wire::Hold), Problems))]
pub(crate) async fn say(
    State(api): State<Api>,
    Caller(actor): Caller,
    Source(reader): Source,
    Body(Saying { code, digest, ticket, reason }): Body<Saying>,
) -> Result<Json<wire::Hold>, Problem> {
    let said = Said { ticket, reason };
    let view = api.control.gateway.say(&actor, &code, &Digest::from(digest), said).await?;
    Ok(Json(wire::Hold::new(&view, view.comes_from_elsewhere(reader))))
}

/// A confirmation of what was read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confirmation {
    #[schema(example = "KXQT-7M4P")]
    code: String,
    /// The digest of the connection that was read.
    digest: String,
    /// The step-up by which one proved oneself on the connection's page, where that is wanted.
    #[schema(value_type = Option<String>)]
    step_up: Option<StepUpId>,
}

/// Confirms that the waiting connection is one's own; it goes on as this person.
#[utoipa::path(post, path = "/holds/confirm", tag = "holds", request_body = Confirmation,
    responses((status = 200, body = wire::Hold), Problems))]
pub(crate) async fn confirm(
    State(api): State<Api>,
    Caller(actor): Caller,
    Source(reader): Source,
    Body(said): Body<Confirmation>,
) -> Result<Json<wire::Hold>, Problem> {
    let digest = Digest::from(said.digest);
    let view = api.control.gateway.confirm(&actor, &said.code, digest, said.step_up).await?;
    Ok(Json(wire::Hold::new(&view, view.comes_from_elsewhere(reader))))
}
