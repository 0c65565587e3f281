//! Who somebody is, and how they prove it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::view::TokenView;

/// A token, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Token {
    id: String,
    principal: String,
    /// The one thing that it is good for.
    resource: String,
    minted_at: String,
    expires_at: String,
    /// Without, its uses aren't counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    uses_left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<String>,
}

impl From<&TokenView> for Token {
    fn from(view: &TokenView) -> Self {
        Self {
            id: view.id.clone(),
            principal: view.principal.to_string(),
            resource: view.resource.to_string(),
            minted_at: view.minted_at.to_string(),
            expires_at: view.expires_at.to_string(),
            uses_left: view.uses_left,
            revoked_at: view.revoked_at.map(|at| at.to_string()),
        }
    }
}

/// How somebody proved who they are.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Authn {
    method: String,
    at: String,
    /// The certificate's serial, the token's public part: never a secret.
    evidence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
}

impl From<&policies::Authn> for Authn {
    fn from(authn: &policies::Authn) -> Self {
        Self {
            method: authn.method.to_string(),
            at: authn.at.to_string(),
            evidence: authn.evidence.clone(),
            device: authn.device.as_ref().map(ToString::to_string),
        }
    }
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Person {
    #[schema(example = "alice")]
    id: String,
    name: String,
    groups: Vec<String>,
}

impl From<&policies::Principal> for Person {
    fn from(principal: &policies::Principal) -> Self {
        Self {
            id: principal.id.to_string(),
            name: principal.name.clone(),
            groups: principal.groups.iter().map(ToString::to_string).collect(),
        }
    }
}
