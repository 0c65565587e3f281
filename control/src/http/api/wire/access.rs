//! Access as it is asked for, waits, and is given.

use std::collections::BTreeMap;

use policies::{Act, GrantState, RequestState};
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::view::{GrantView, RequestView};
use crate::model::waiting_connection::HoldView;

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
    /// What else is asked for with it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<String>,
    /// For how long.
    #[schema(example = "1h")]
    ttl: String,
    /// Why, in the words of the one who asks.
    reason: String,
    /// The ticket that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "OPS-12")]
    ticket: Option<String>,
    /// From when on, where not at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<String>,
    /// The grant that it is to make last longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    extends: Option<String>,
    /// Whether it is an emergency.
    break_glass: bool,
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
    /// Whose turn it is.
    turn: Vec<String>,
    /// How many more people have to say yes.
    missing: usize,
    /// Groups that took too long, each with the one whose members may stand in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    escalated: BTreeMap<String, String>,
    approvals: Vec<Approval>,
    asked_at: String,
    /// When it lapses if nobody decides.
    lapses_at: String,
    /// What an approval has to name: the digest of all that is asked.
    digest: String,
    /// Where the waiting connection comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    /// Whether the reader may say yes or no, perhaps once their turn has come.
    may_decide: bool,
    /// Whether their yes is what it waits for now.
    may_approve: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided: Option<Decided>,
    /// The grant that followed, or that it made last longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<String>,
    /// All the grants that followed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    grants: Vec<String>,
}

/// One person's yes.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Approval {
    by: String,
    at: String,
    /// The groups that they stood in for, since those took too long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stood_in: Vec<String>,
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
            also: request.also.iter().map(ToString::to_string).collect(),
            ttl: request.ttl.to_string(),
            starts_at: request.starts_at.map(|at| at.to_string()),
            extends: request.extends.as_ref().map(ToString::to_string),
            break_glass: request.act == Act::BreakGlass,
            reason: request.reason.clone(),
            ticket: request.ticket.as_ref().map(ToString::to_string),
            state: request.state.word(),
            prove_at: view.prove_at.clone(),
            step_up: request.terms.step_up.map(|within| within.to_string()),
            needs: request.terms.approvals.lines(),
            turn: request.turn().iter().map(ToString::to_string).collect(),
            missing: view.missing,
            escalated: request
                .escalated
                .iter()
                .map(|(from, to)| (from.to_string(), to.to_string()))
                .collect(),
            approvals: approvals(&request.state),
            asked_at: request.asked_at.to_string(),
            lapses_at: request.lapses_at.to_string(),
            digest: request.digest().to_string(),
            source: view.source.map(|source| source.to_string()),
            may_decide: view.may_decide,
            may_approve: view.may_approve,
            decided: decided(&request.state),
            grant: view.grants.first().map(ToString::to_string),
            grants: view.grants.iter().map(ToString::to_string).collect(),
        }
    }
}

fn approvals(state: &RequestState) -> Vec<Approval> {
    let wire = state.approvals().iter().map(|yes| Approval {
        by: yes.by.to_string(),
        at: yes.at.to_string(),
        stood_in: yes.stood_in.iter().map(ToString::to_string).collect(),
        step_up: yes.step_up.as_ref().map(ToString::to_string),
    });
    wire.collect()
}

fn decided(state: &RequestState) -> Option<Decided> {
    let (by, reason, at) = match state {
        RequestState::NeedsStepUp | RequestState::NeedsApproval { .. } => return None,
        RequestState::Denied { by, reason, at } => (Some(by.to_string()), Some(reason.clone()), at),
        RequestState::Withdrawn { at, why } => (None, why.clone(), at),
        RequestState::Granted { at, .. } | RequestState::Lapsed { at } => (None, None, at),
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
    /// Whether it was given in an emergency, without approval.
    break_glass: bool,
    /// The requests that made it last longer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extensions: Vec<String>,
    /// From when on it can be used, where that is to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_at: Option<String>,
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
    /// The review that it takes, where it was given in an emergency.
    #[serde(skip_serializing_if = "Option::is_none")]
    review: Option<String>,
    /// Whether the reader may revoke it.
    may_revoke: bool,
}

impl From<&GrantView> for Grant {
    fn from(view: &GrantView) -> Self {
        let review = view.review.as_ref().map(ToString::to_string);
        Self { may_revoke: view.may_revoke, review, ..Self::from(&view.grant) }
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
            break_glass: grant.act == Act::BreakGlass,
            extensions: grant.extensions.iter().map(ToString::to_string).collect(),
            starts_at: None,
            claim_by: None,
            since: None,
            ends: None,
            ended_at: None,
            end: None,
            end_detail: None,
            review: None,
            may_revoke: false,
        };
        match &grant.state {
            GrantState::Scheduled { opens, .. } => {
                Self { starts_at: Some(opens.to_string()), ..bare }
            }
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
