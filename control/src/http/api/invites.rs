//! Invitations: one-time sign-in links, made by admins.

use axum::Json;
use axum::extract::State;
use policies::PrincipalId;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::Body;
use super::passkeys::{Proven, ToProve, to_prove};
use crate::http::api::state::Api;

/// Whom to invite.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Whom {
    #[schema(value_type = String, example = "alice")]
    principal: PrincipalId,
    /// What `POST /invites/challenge` asked for, of an admin who has something to prove themselves with.
    proven: Option<Proven>,
}

/// Whom an invitation would be for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct InviteInput {
    #[schema(value_type = String, example = "alice")]
    principal: PrincipalId,
}

/// Asks for the touch that an invitation takes of an admin who has a passkey.
#[utoipa::path(post, path = "/invites/challenge", operation_id = "inviteChallenge", tag = "invites", request_body = InviteInput,
    responses((status = 200, body = ToProve), Problems))]
pub(crate) async fn statement(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(requested): Body<InviteInput>,
) -> Result<Json<ToProve>, Problem> {
    let statement = api.control.identity.invite_statement(&requested.principal);
    to_prove(&api, &actor, statement).await
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
    let invite = match whom.proven.map(Proven::taken).transpose()? {
        Some((challenge, proof)) => {
            let proven = Some((challenge.as_str(), proof));
            api.control.identity.invite_by(&actor, &whom.principal, proven).await?
        }
        None => api.control.identity.invite_by(&actor, &whom.principal, None).await?,
    };
    Ok(Json(Invited {
        url: invite.url.expose_secret().to_owned(),
        code: invite.code.expose_secret().to_owned(),
        expires_at: invite.expires_at.to_string(),
    }))
}
