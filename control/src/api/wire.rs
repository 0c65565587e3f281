//! What travels as JSON: domain values as API clients read them.
//!
//! Instants are RFC 3339 in UTC, spans are written `1h30m`, resources `app_rw@orders/shop`. What
//! isn't there is left out, not null. The domain's own serialised form is the store's business and
//! never shown.

use policies::{GrantState, RequestState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{AuditView, GrantView, HoldView, LockView, LoginView, RequestView};
use crate::{SessionView, TargetView, TokenView, Verdict};

/// An access request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AccessRequest {
    id: String,
    /// Who asks.
    principal: String,
    /// How people call them.
    name: String,
    #[schema(example = "app_rw@orders/shop")]
    resource: String,
    /// For how long.
    #[schema(example = "1h")]
    ttl: String,
    /// Why, in the words of the one who asks.
    reason: String,
    state: &'static str,
    /// Whose approval it takes.
    #[schema(example = json!(["2 of dba"]))]
    needs: Vec<String>,
    /// How many more people have to say yes.
    missing: usize,
    approvals: Vec<Approval>,
    asked_at: String,
    /// When it lapses if nobody decides.
    lapses_at: String,
    /// What an approval has to name: the digest of all that is asked.
    digest: String,
    /// Where the waiting connection comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// Whether the reader may say yes or no now.
    may_decide: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<Decided>,
    /// The grant that followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
}

/// One person's yes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Approval {
    by: String,
    at: String,
}

/// How a request ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Decided {
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    at: String,
}

impl From<&RequestView> for AccessRequest {
    fn from(view: &RequestView) -> Self {
        let request = &view.request;
        let needs = request.terms.approvals.iter().map(ToString::to_string);
        Self {
            id: request.id.to_string(),
            principal: request.principal.to_string(),
            name: view.name.clone(),
            resource: request.resource.to_string(),
            ttl: request.ttl.to_string(),
            reason: request.reason.clone(),
            state: request.state.word(),
            needs: needs.collect(),
            missing: view.missing,
            approvals: approvals(&request.state),
            asked_at: request.asked_at.to_string(),
            lapses_at: request.lapses_at.to_string(),
            digest: request.digest().to_string(),
            source: view.source.map(|source| source.to_string()),
            may_decide: view.may_decide,
            decided: decided(&request.state),
            grant: view.grant.as_ref().map(ToString::to_string),
        }
    }
}

fn approvals(state: &RequestState) -> Vec<Approval> {
    let said = match state {
        RequestState::NeedsApproval { approvals } | RequestState::Granted { approvals, .. } => {
            approvals.as_slice()
        }
        RequestState::Denied { .. }
        | RequestState::Withdrawn { .. }
        | RequestState::Lapsed { .. } => &[],
    };
    let wire = said.iter().map(|yes| Approval {
        by: yes.by.to_string(),
        at: yes.at.to_string(),
    });
    wire.collect()
}

fn decided(state: &RequestState) -> Option<Decided> {
    let (by, reason, at) = match state {
        RequestState::NeedsApproval { .. } => return None,
        RequestState::Denied { by, reason, at } => (Some(by.to_string()), Some(reason.clone()), at),
        RequestState::Granted { at, .. }
        | RequestState::Withdrawn { at }
        | RequestState::Lapsed { at } => (None, None, at),
    };
    let at = at.to_string();
    Some(Decided { by, reason, at })
}

/// A grant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Grant {
    id: String,
    /// The request that it follows from.
    request: String,
    principal: String,
    name: String,
    #[schema(example = "app_rw@orders/shop")]
    resource: String,
    /// How long it lasts from its first use.
    #[schema(example = "1h")]
    ttl: String,
    state: &'static str,
    granted_at: String,
    /// By when the first use has to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    claim_by: Option<String>,
    /// When it was first used.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// When it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    ends: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_detail: Option<String>,
    /// Whether the reader may revoke it.
    may_revoke: bool,
}

impl From<&GrantView> for Grant {
    fn from(view: &GrantView) -> Self {
        Self {
            may_revoke: view.may_revoke,
            ..Self::from(&view.grant)
        }
    }
}

impl From<&policies::Grant> for Grant {
    /// For its holder, who gives a grant back instead of revoking it, or where it is over.
    fn from(grant: &policies::Grant) -> Self {
        let bare = Self {
            id: grant.id.to_string(),
            request: grant.request.to_string(),
            principal: grant.principal.to_string(),
            name: grant.name.clone(),
            resource: grant.resource.to_string(),
            ttl: grant.ttl.to_string(),
            state: grant.state.word(),
            granted_at: grant.granted_at.to_string(),
            claim_by: None,
            since: None,
            ends: None,
            ended_at: None,
            end: None,
            end_detail: None,
            may_revoke: false,
        };
        match &grant.state {
            GrantState::Granted { claim_by } => Self {
                claim_by: Some(claim_by.to_string()),
                ..bare
            },
            GrantState::Active { since, ends } => Self {
                since: Some(since.to_string()),
                ends: Some(ends.to_string()),
                ..bare
            },
            GrantState::Ended { at, end } => Self {
                ended_at: Some(at.to_string()),
                end: Some(end.code()),
                end_detail: end.detail().map(str::to_owned),
                ..bare
            },
        }
    }
}

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
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl From<&TargetView> for Target {
    fn from(view: &TargetView) -> Self {
        Self {
            name: view.name.to_string(),
            kind: match view.kind {
                policies::Kind::Postgres => "postgres",
            },
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
            Verdict::Free { limit } => ("free", [].as_slice(), *limit, None),
            Verdict::Approval { needs, limit } => ("approval", needs.as_slice(), *limit, None),
            Verdict::Denied(why) => ("denied", [].as_slice(), None, Some(why.to_string())),
        };
        Self {
            login: view.login.to_string(),
            verdict,
            needs: needs.iter().map(ToString::to_string).collect(),
            limit: limit.map(|limit| limit.to_string()),
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
            at: lock.at.to_string(),
            until: lock.until.map(|until| until.to_string()),
        }
    }
}

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

/// A connection that waits to be confirmed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Hold {
    id: String,
    resource: String,
    /// Address and port that it comes from.
    client: String,
    /// The name that the client gave itself; not checked.
    application: String,
    asked_at: String,
    expires_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<String>,
    reason: String,
    /// What a confirmation has to name: the digest of all this.
    digest: String,
    /// Whether the connection comes from elsewhere than this request, or it isn't known.
    client_differs: bool,
}

impl Hold {
    pub(crate) fn new(view: &HoldView, client_differs: bool) -> Self {
        Self {
            id: view.id.clone(),
            resource: view.resource.to_string(),
            client: view.client.clone(),
            application: view.application.clone(),
            asked_at: view.asked_at.to_string(),
            expires_at: view.expires_at.to_string(),
            ttl: view.ttl.map(|ttl| ttl.to_string()),
            reason: view.reason.clone(),
            digest: view.digest.to_string(),
            client_differs,
        }
    }
}

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
}

impl From<&AuditView> for AuditEvent {
    fn from(view: &AuditView) -> Self {
        Self {
            id: view.id,
            at: view.at.to_string(),
            actor: view.actor.clone(),
            kind: view.kind.clone(),
            subject: view.subject.clone(),
            detail: view.detail.clone(),
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
