//! Access as it is asked for, waits, and is given.

use policies::{GrantState, RequestState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{GrantView, HoldView, RequestView};

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
    /// The ticket that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "OPS-12")]
    ticket: Option<String>,
    state: &'static str,
    /// Where the one who asks has to prove themselves before anybody is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "https://gate.example.com/r/rq-2b7c")]
    prove_at: Option<String>,
    /// How old the step-up of an approver may be, where one is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "5m")]
    step_up: Option<String>,
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
    /// The step-up by which they proved themselves; the audit log has it under this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_up: Option<String>,
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
        Self {
            id: request.id.to_string(),
            principal: request.principal.to_string(),
            name: view.name.clone(),
            resource: request.resource.to_string(),
            ttl: request.ttl.to_string(),
            reason: request.reason.clone(),
            ticket: request.ticket.as_ref().map(ToString::to_string),
            state: request.state.word(),
            prove_at: view.prove_at.clone(),
            step_up: request.terms.step_up.map(|within| within.to_string()),
            needs: request.terms.approvals.told(),
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
        RequestState::NeedsStepUp
        | RequestState::Denied { .. }
        | RequestState::Withdrawn { .. }
        | RequestState::Lapsed { .. } => &[],
    };
    let wire = said.iter().map(|yes| Approval {
        by: yes.by.to_string(),
        at: yes.at.to_string(),
        step_up: yes.step_up.as_ref().map(ToString::to_string),
    });
    wire.collect()
}

fn decided(state: &RequestState) -> Option<Decided> {
    let (by, reason, at) = match state {
        RequestState::NeedsStepUp | RequestState::NeedsApproval { .. } => return None,
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
        Self { may_revoke: view.may_revoke, ..Self::from(&view.grant) }
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
            GrantState::Granted { claim_by } => {
                Self { claim_by: Some(claim_by.to_string()), ..bare }
            }
            GrantState::Active { since, ends } => {
                Self { since: Some(since.to_string()), ends: Some(ends.to_string()), ..bare }
            }
            GrantState::Ended { at, end } => Self {
                ended_at: Some(at.to_string()),
                end: Some(end.code()),
                end_detail: end.detail().map(str::to_owned),
                ..bare
            },
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
    /// The ticket that it names.
    #[serde(skip_serializing_if = "Option::is_none")]
    ticket: Option<String>,
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
            ticket: view.ticket.as_ref().map(ToString::to_string),
            digest: view.digest.to_string(),
            client_differs,
        }
    }
}
