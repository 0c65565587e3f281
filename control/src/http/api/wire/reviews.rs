//! The review of an emergency.

use policies::ReviewState;
use serde::Serialize;
use utoipa::ToSchema;

use crate::model::view::ReviewView;

/// The review of an emergency.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Review {
    id: String,
    /// The grant that was given without approval.
    grant: String,
    request: String,
    /// Whom it is about.
    principal: String,
    /// How people call them.
    name: String,
    #[schema(example = "app_rw@orders/shop")]
    resource: String,
    /// Why, in their words.
    reason: String,
    /// Whose members sign, besides admins and auditors.
    groups: Vec<String>,
    opened_at: String,
    state: &'static str,
    /// Who signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_at: Option<String>,
    /// What they found.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// Whether the reader may sign it, once the grant has ended.
    may_sign: bool,
}

impl From<&ReviewView> for Review {
    fn from(view: &ReviewView) -> Self {
        let review = &view.review;
        let open = Self {
            id: review.id.to_string(),
            grant: review.grant.to_string(),
            request: review.request.to_string(),
            principal: review.principal.to_string(),
            name: view.name.clone(),
            resource: review.resource.to_string(),
            reason: review.reason.clone(),
            groups: review.groups.iter().map(ToString::to_string).collect(),
            opened_at: review.opened_at.to_string(),
            state: review.state.word(),
            signed_by: None,
            signed_at: None,
            note: None,
            may_sign: view.may_sign,
        };
        match &review.state {
            ReviewState::Open => open,
            ReviewState::Signed { by, note, at } => Self {
                signed_by: Some(by.to_string()),
                signed_at: Some(at.to_string()),
                note: Some(note.clone()),
                ..open
            },
        }
    }
}
