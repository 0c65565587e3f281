//! What can be asked for, and what is blocked.

use serde::Serialize;
use utoipa::ToSchema;

use crate::model::view::{LockView, LoginView, TargetView, Verdict};

/// A target, as the reader may use it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Target {
    #[schema(example = "orders")]
    name: String,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<String>,
    /// The default comes first.
    databases: Vec<String>,
    /// How long a grant lasts where nobody says.
    default_ttl: String,
    logins: Vec<TargetLogin>,
}

/// A login of a target, and what asking for it would come to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TargetLogin {
    #[schema(example = "app_rw")]
    login: String,
    /// One of `free`, `approval` and `denied`.
    verdict: &'static str,
    /// Whose approval it takes.
    needs: Vec<String>,
    /// For how long at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
    /// What the ticket has to look like, where one is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "OPS-[0-9]+")]
    ticket: Option<String>,
    /// How many characters the reason has at least, where one is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<u32>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl From<&TargetView> for Target {
    fn from(view: &TargetView) -> Self {
        Self {
            name: view.name.to_string(),
            kind: view.kind.word(),
            environment: view.environment.as_ref().map(ToString::to_string),
            databases: view.databases.iter().map(ToString::to_string).collect(),
            default_ttl: view.default_ttl.to_string(),
            logins: view.logins.iter().map(TargetLogin::from).collect(),
        }
    }
}

impl From<&LoginView> for TargetLogin {
    fn from(view: &LoginView) -> Self {
        let (verdict, needs, limit, why) = match &view.verdict {
            Verdict::Free { limit } => ("free", Vec::new(), *limit, None),
            Verdict::Approval { needs, limit } => ("approval", needs.lines(), *limit, None),
            Verdict::Denied(why) => ("denied", Vec::new(), None, Some(why.to_string())),
        };
        Self {
            login: view.login.to_string(),
            verdict,
            needs,
            limit: limit.map(|limit| limit.to_string()),
            ticket: view.words.ticket(),
            reason: view.words.reason,
            why,
        }
    }
}

/// A lock.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Lock {
    id: String,
    /// What it blocks.
    #[schema(example = "login:app_rw@orders")]
    subject: String,
    reason: String,
    by: String,
    by_name: String,
    /// Whether there is somebody or something here today that it names. It holds either way, for
    /// whatever comes by that name.
    known: bool,
    at: String,
    /// Without, until it is lifted.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl From<&LockView> for Lock {
    fn from(view: &LockView) -> Self {
        let lock = &view.lock;
        Self {
            id: lock.id.to_string(),
            subject: lock.subject.to_string(),
            reason: lock.reason.clone(),
            by: lock.by.to_string(),
            by_name: view.by_name.clone(),
            known: view.known,
            at: lock.at.to_string(),
            until: lock.until.map(|until| until.to_string()),
        }
    }
}
