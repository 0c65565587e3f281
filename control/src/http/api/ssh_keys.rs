//! SSH keys that people register themselves: the private half signs what is asked, with `ssh-keygen -Y sign`,
//! and where it takes a touch besides, the page `/keys` takes it.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::auth::Caller;
use super::error::{Problem, Problems};
use super::extract::{Asked, At, Body};
use super::wire;
use crate::http::api::page::scope;
use crate::http::api::state::Api;
use crate::model::view::SshKeyView;

/// Which keys to list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Query {
    /// Whose: `mine` (the default) or `all`.
    scope: Option<String>,
}

/// A registered SSH key.
#[derive(Serialize, ToSchema)]
pub(crate) struct SshKey {
    id: String,
    principal: String,
    name: String,
    #[schema(example = "ssh-ed25519")]
    kind: String,
    /// As OpenSSH shows it; `credential:SHA256:…` is its name for locks.
    fingerprint: String,
    public_key: String,
    /// Of a security key: whether it checked a PIN, finger or face when it was added, beyond the touch.
    #[serde(skip_serializing_if = "Option::is_none")]
    user_verified: Option<bool>,
    added_at: String,
    /// Without, it waits for its person to agree, and opens nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmed_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<String>,
}

impl From<SshKeyView> for SshKey {
    fn from(view: SshKeyView) -> Self {
        Self {
            kind: view.kind().to_owned(),
            id: view.id,
            principal: view.principal.to_string(),
            name: view.name,
            fingerprint: view.fingerprint,
            public_key: view.line,
            user_verified: view.user_verified,
            added_at: view.added_at.to_string(),
            confirmed_at: view.confirmed_at.map(|at| at.to_string()),
            used_at: view.used_at.map(|at| at.to_string()),
        }
    }
}

/// Registered SSH keys.
#[derive(Serialize, ToSchema)]
pub(crate) struct SshKeys {
    items: Vec<SshKey>,
}

/// Lists registered SSH keys, the oldest first.
#[utoipa::path(get, path = "/ssh-keys", tag = "ssh-keys", params(Query),
    responses((status = 200, body = SshKeys), Problems))]
pub(crate) async fn list(
    State(api): State<Api>,
    Caller(actor): Caller,
    Asked(query): Asked<Query>,
) -> Result<Json<SshKeys>, Problem> {
    let keys = api.control.identity.ssh_keys(&actor, scope(query.scope.as_deref())?).await?;
    Ok(Json(SshKeys { items: keys.into_iter().map(SshKey::from).collect() }))
}

/// A key that is to be registered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Offering {
    /// An Ed25519, ECDSA or security key, as a file that ends in `.pub` has it.
    public_key: String,
}

/// What the private half of the key has to sign.
#[derive(Serialize, ToSchema)]
pub(crate) struct ToSign {
    /// Comes back with the signature.
    challenge: String,
    /// For `ssh-keygen -Y sign -n`.
    #[schema(example = "postern-key@gate.example.com")]
    namespace: String,
    /// What is signed, to the letter: no end of a line follows.
    message: String,
    expires_at: String,
}

/// Asks what the private half of a key has to sign before the key can be registered.
#[utoipa::path(post, path = "/ssh-keys/challenge", tag = "ssh-keys", request_body = Offering,
    responses((status = 200, body = ToSign), Problems))]
pub(crate) async fn challenge(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(offer): Body<Offering>,
) -> Result<Json<ToSign>, Problem> {
    let asked = api.control.identity.ask_for_ssh_key(&actor, &offer.public_key).await?;
    Ok(Json(ToSign {
        challenge: asked.id,
        namespace: asked.namespace,
        message: asked.message,
        expires_at: asked.expires_at.to_string(),
    }))
}

/// A key whose private half has signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registering {
    /// As it was asked.
    challenge: String,
    /// What `ssh-keygen -Y sign` printed over the message.
    #[schema(example = "-----BEGIN SSH SIGNATURE-----\n…")]
    signature: String,
    #[schema(example = "my laptop")]
    name: String,
}

/// A key that was added.
#[derive(Serialize, ToSchema)]
pub(crate) struct Registered {
    key: SshKey,
    /// Where its person still has to agree to it, within the hour.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirm_at: Option<String>,
}

/// Registers an SSH key of one's own, which is proved by a signature.
#[utoipa::path(post, path = "/ssh-keys", tag = "ssh-keys", request_body = Registering,
    responses((status = 200, body = Registered), Problems))]
pub(crate) async fn add(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(requested): Body<Registering>,
) -> Result<Json<Registered>, Problem> {
    let Registering { challenge, signature, name } = requested;
    let key = api.control.identity.add_ssh_key(&actor, &challenge, &signature, &name).await?;
    let page = || format!("{}/keys", api.control.kernel.settings().base_url());
    let confirm_at = key.confirmed_at.is_none().then(page);
    Ok(Json(Registered { key: key.into(), confirm_at }))
}

/// Removes a key for good, and cuts what runs by it: one's own, or as an admin anybody's.
#[utoipa::path(delete, path = "/ssh-keys/{id}", tag = "ssh-keys", params(("id" = String, Path)),
    responses((status = 204, description = "It opens nothing any more"),
        (status = 202, description = "In force, and not yet written: `durable` is false"), Problems))]
pub(crate) async fn remove(
    State(api): State<Api>,
    Caller(actor): Caller,
    At(id): At<String>,
) -> Result<wire::Gone, Problem> {
    Ok(wire::Gone(api.control.identity.remove_ssh_key(&actor, &id).await?))
}
