//! Passkeys: what the caller has, by which names. They are registered on the page `/keys`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::auth::Caller;
use super::error::{Kind, Problem, Problems};
use super::extract::{At, Body};
use crate::http::api::state::Api;
use crate::identity::proof::Proof;
use crate::model::actor::Actor;
use crate::model::statement::Statement;
use crate::model::view::PasskeyView;

/// A passkey.
#[derive(Serialize, ToSchema)]
pub(crate) struct Passkey {
    id: String,
    name: String,
    added_at: String,
    used_at: Option<String>,
}

/// All passkeys of the caller.
#[derive(Serialize, ToSchema)]
pub(crate) struct Passkeys {
    items: Vec<Passkey>,
}

impl From<PasskeyView> for Passkey {
    fn from(view: PasskeyView) -> Self {
        Self {
            id: view.id,
            name: view.name,
            added_at: view.added_at.to_string(),
            used_at: view.used_at.map(|at| at.to_string()),
        }
    }
}

/// Lists one's own passkeys, the oldest first.
#[utoipa::path(get, path = "/passkeys", tag = "passkeys",
    responses((status = 200, body = Passkeys), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
) -> Result<Json<Passkeys>, Problem> {
    let all = api.control.identity.passkeys(&actor).await?;
    Ok(Json(Passkeys { items: all.into_iter().map(Passkey::from).collect() }))
}

/// A name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Naming {
    #[schema(example = "my laptop")]
    name: String,
}

/// Names one of one's own passkeys again.
#[utoipa::path(post, path = "/passkeys/{id}/rename", tag = "passkeys",
    params(("id" = String, Path)), request_body = Naming,
    responses((status = 204, description = "It has this name now"), Problems))]
pub(crate) async fn rename(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<String>,
    Body(naming): Body<Naming>,
) -> Result<StatusCode, Problem> {
    api.control.identity.rename_passkey(&actor, &id, &naming.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What has to be proven before something is done.
#[derive(Serialize, ToSchema)]
pub(crate) struct ToProve {
    /// Comes back with the proof.
    challenge: String,
    /// What is agreed to: labels and texts, which have to be shown.
    statement: Vec<(String, String)>,
    /// For `navigator.credentials.get`, with bytes as base64url; null where there is no passkey.
    #[schema(value_type = Option<Object>)]
    options: Option<Value>,
    /// Whether a code of an authenticator app will do.
    totp: bool,
    expires_at: String,
}

/// Asks for the touch that removing one of one's own passkeys takes.
#[utoipa::path(post, path = "/passkeys/{id}/removal", tag = "passkeys",
    params(("id" = String, Path)),
    responses((status = 200, body = ToProve), Problems))]
pub(crate) async fn removal(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<String>,
) -> Result<Json<ToProve>, Problem> {
    let statement = api.control.identity.passkey_removal(&actor, &id).await?;
    to_prove(&api, &actor, statement).await
}

/// Asks the caller to agree to a statement.
pub(super) async fn to_prove(
    api: &Api,
    actor: &Actor,
    statement: Statement,
) -> Result<Json<ToProve>, Problem> {
    let challenge = api.control.identity.challenge(actor, &statement).await?;
    Ok(Json(ToProve {
        challenge: challenge.id,
        statement: statement.lines,
        options: challenge.options,
        totp: challenge.totp,
        expires_at: challenge.expires_at.to_string(),
    }))
}

/// The answer to what had to be proven.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proven {
    pub(super) challenge: String,
    /// What the authenticator answered (WebAuthn Level 3, `AuthenticationResponseJSON`).
    #[schema(value_type = Option<Object>)]
    proof: Option<Value>,
    /// A code of an authenticator app, in its place.
    #[schema(value_type = Option<String>)]
    totp: Option<SecretString>,
}

impl Proven {
    /// The challenge, and the one proof that came with it.
    pub(super) fn taken(self) -> Result<(String, Proof), Problem> {
        match (self.proof, self.totp) {
            (Some(proof), None) => Ok((self.challenge, Proof::Passkey(proof.to_string()))),
            (None, Some(code)) => Ok((self.challenge, Proof::Totp(code))),
            (Some(_), Some(_)) | (None, None) => {
                let detail = "send `proof` or `totp`, as it was asked for with the challenge";
                Err(Problem::new(Kind::Invalid, detail))
            }
        }
    }
}

/// Removes one of one's own passkeys, but never the only one.
#[utoipa::path(delete, path = "/passkeys/{id}", tag = "passkeys",
    params(("id" = String, Path)), request_body = Proven,
    responses((status = 204, description = "It is of no use any more"), Problems))]
pub(crate) async fn remove(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<String>,
    Body(proven): Body<Proven>,
) -> Result<StatusCode, Problem> {
    let (challenge, proof) = proven.taken()?;
    api.control.identity.remove_passkey(&actor, &id, &challenge, proof).await?;
    Ok(StatusCode::NO_CONTENT)
}
