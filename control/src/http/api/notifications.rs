//! Messages to people, and the channels that carry them: for admins.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{Asked, At};
use super::page::{Listed, paging};
use super::wire;
use crate::http::api::error::invalid;
use crate::http::api::state::Api;
use crate::model::view::MessageState;

/// Which messages to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// Only those that are `waiting`, `sent` or `dead`.
    state: Option<String>,
    cursor: Option<String>,
    /// At most 200.
    limit: Option<u32>,
}

/// Lists messages, newest first, without what they say. For admins.
#[utoipa::path(get, path = "/notifications", tag = "notifications", params(Query),
    responses((status = 200, body = Listed<wire::Notification>), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<Listed<wire::Notification>>, Problem> {
    let state = query.state.as_deref().map(str::parse::<MessageState>);
    let state = state.transpose().map_err(invalid)?;
    let paging = paging(query.cursor.as_deref(), query.limit)?;
    let page = api.control.notifier.messages(&actor, state, paging).await?;
    Ok(Json(Listed::of(&page)))
}

/// How many messages are sent again.
#[derive(Serialize, ToSchema)]
pub(crate) struct Again {
    count: u64,
}

/// Sends all dead messages again. For admins.
#[utoipa::path(post, path = "/notifications/retry", tag = "notifications",
    responses((status = 200, body = Again), Problems))]
pub(crate) async fn retry_all(
    State(api): State<Api>,
    Caller(actor): Caller,
) -> Result<Json<Again>, Problem> {
    let count = api.control.notifier.send_all_again(&actor).await?;
    Ok(Json(Again { count }))
}

/// Sends a message again that is dead or waits. For admins.
#[utoipa::path(post, path = "/notifications/{id}/retry", tag = "notifications",
    params(("id" = String, Path)),
    responses((status = 204, description = "It is sent again"), Problems))]
pub(crate) async fn retry(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<String>,
) -> Result<StatusCode, Problem> {
    api.control.notifier.send_again(&actor, &id, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a message once more, also one that was taken: under its old id, so that a receiver that has
/// it knows it. For admins.
#[utoipa::path(post, path = "/notifications/{id}/replay", tag = "notifications",
    params(("id" = String, Path)),
    responses((status = 204, description = "It is sent once more"), Problems))]
pub(crate) async fn replay(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<String>,
) -> Result<StatusCode, Problem> {
    api.control.notifier.send_again(&actor, &id, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the channels. For admins.
#[utoipa::path(get, path = "/channels", tag = "notifications",
    responses((status = 200, body = [wire::Channel]), Problems))]
pub(crate) async fn channels(
    State(api): State<Api>,
    Caller(actor): Caller,
) -> Result<Json<Vec<wire::Channel>>, Problem> {
    let channels = api.control.notifier.channels(&actor).await?;
    Ok(Json(channels.iter().map(wire::Channel::from).collect()))
}

/// Sends a test by a channel, at once: to the caller, where it reaches each by themselves. For admins.
#[utoipa::path(post, path = "/channels/{id}/test", tag = "notifications",
    params(("id" = String, Path)),
    responses((status = 204, description = "The receiver took it"), Problems))]
pub(crate) async fn test(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(name): At<String>,
) -> Result<StatusCode, Problem> {
    api.control.notifier.test_channel(&actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Switches a channel on again whose receiver had said that it is gone. For admins.
#[utoipa::path(post, path = "/channels/{id}/on", tag = "notifications",
    params(("id" = String, Path)),
    responses((status = 204, description = "The channel is on"), Problems))]
pub(crate) async fn switch_on(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(name): At<String>,
) -> Result<StatusCode, Problem> {
    api.control.notifier.switch_channel_on(&actor, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
