//! Login sessions, as their people and admins read them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::login::LoginRecord;

/// A login session, without its token.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LoginSession {
    id: String,
    principal: String,
    /// `browser` or `terminal`.
    kind: &'static str,
    /// How they proved who they are.
    method: String,
    /// Whether it may only register a passkey so far.
    enrolling: bool,
    /// The device that its certificates are for.
    #[serde(skip_serializing_if = "Option::is_none")]
    device: Option<String>,
    /// The issuer that vouched for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    issuer: Option<String>,
    /// Where they signed in from.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// What the client called itself; not checked.
    agent: String,
    signed_in_at: String,
    /// To the minute.
    seen_at: String,
    /// When it ends unless it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_at: Option<String>,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Why it ended, as one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

impl From<&LoginRecord> for LoginSession {
    fn from(login: &LoginRecord) -> Self {
        Self {
            id: login.id.to_string(),
            principal: login.principal.to_string(),
            kind: login.kind.word(),
            method: login.method.to_string(),
            enrolling: login.rank == crate::model::login::Rank::Enrolling,
            device: login.device.as_ref().map(ToString::to_string),
            issuer: login.issuer.as_ref().map(|at| at.issuer.clone()),
            address: login.address.map(|address| address.to_string()),
            agent: login.agent.clone(),
            signed_in_at: login.signed_in_at.to_string(),
            seen_at: login.seen_at.to_string(),
            idle_at: login.idle_at.map(|at| at.to_string()),
            expires_at: login.expires_at.to_string(),
            ended_at: login.ended.map(|end| end.at.to_string()),
            why: login.ended.map(|end| end.why.word()),
        }
    }
}
