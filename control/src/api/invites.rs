//! Invitations: one-time sign-in links, made by admins.

use axum::Json;
use axum::extract::State;
use policies::PrincipalId;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::Body;

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whom {
    #[schema(value_type = String, example = "alice")]
    principal: PrincipalId,
}

/// A sign-in link. It is shown this once, and good once.
#[derive(Serialize, ToSchema)]
pub(crate) struct Invited {
    url: String,
    code: String,
    expires_at: String,
}

/// Makes a one-time sign-in link for a person. For admins.
#[utoipa::path(post, path = "/invites", tag = "invites", request_body = Whom,
    responses((status = 200, body = Invited), Problems))]
pub(crate) async fn invite(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(whom): Body<Whom>,
) -> Result<Json<Invited>, Problem> {
    let invite = api.control.invite(Some(&actor), &whom.principal).await?;
    Ok(Json(Invited {
        url: invite.url.expose_secret().to_owned(),
        code: invite.code.expose_secret().to_owned(),
        expires_at: invite.expires_at.to_string(),
    }))
}
