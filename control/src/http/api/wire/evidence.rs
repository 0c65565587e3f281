//! What was done: sessions and the audit log.

use serde::Serialize;
use utoipa::ToSchema;

use super::people::Authn;
use crate::evidence::timeline::describe::describe;
use crate::model::view::{AuditView, SessionView};

/// A session.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Session {
    id: String,
    /// The grant that let it in.
    grant: String,
    principal: String,
    name: String,
    authn: Authn,
    resource: String,
    /// Address and port of the client.
    client: String,
    /// The name that the client gave itself; not checked.
    application: String,
    /// The proxy that carried it.
    proxy: String,
    opened_at: String,
    live: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Why it ended, as one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// Bytes from the client.
    bytes_in: u64,
    /// Bytes to the client.
    bytes_out: u64,
    statements: u64,
    /// Digest of the recording's last frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<String>,
}

impl From<&SessionView> for Session {
    fn from(view: &SessionView) -> Self {
        let ended = view.ended.as_ref();
        let said = |text: &String| (!text.is_empty()).then(|| text.clone());
        Self {
            id: view.id.to_string(),
            grant: view.grant.to_string(),
            principal: view.principal.to_string(),
            name: view.name.clone(),
            authn: Authn::from(&view.authn),
            resource: view.resource.to_string(),
            client: view.client.clone(),
            application: view.application.clone(),
            proxy: view.proxy.clone(),
            opened_at: view.opened_at.to_string(),
            live: ended.is_none(),
            ended_at: ended.map(|end| end.at.to_string()),
            end: ended.map(|end| end.end.clone()),
            detail: ended.and_then(|end| said(&end.detail)),
            bytes_in: ended.map_or(0, |end| end.bytes_in),
            bytes_out: ended.map_or(0, |end| end.bytes_out),
            statements: ended.map_or(0, |end| end.statements),
            head: ended.and_then(|end| said(&end.head)),
        }
    }
}

/// One event of the audit log.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AuditEvent {
    /// Its place in the log.
    id: i64,
    at: String,
    /// Who did it: `principal:ID`, `operator`, `control` or `proxy:NAME`.
    actor: String,
    #[schema(example = "request.asked")]
    kind: String,
    /// What it happened to.
    subject: String,
    /// The rest; its form follows from the kind.
    #[schema(value_type = Object)]
    detail: serde_json::Value,
    /// All of it in plain words, for people: programs go by the rest.
    #[serde(rename = "told")]
    text: String,
}

impl From<&AuditView> for AuditEvent {
    fn from(view: &AuditView) -> Self {
        Self {
            id: view.id,
            at: view.at.to_string(),
            actor: view.actor.clone(),
            kind: view.kind.to_string(),
            subject: view.subject.clone(),
            detail: view.detail.clone(),
            text: describe(view),
        }
    }
}
