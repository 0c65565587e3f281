//! Every refusal that a caller of the API can see: one table, one shape.
//!
//! A [`Problem`] is RFC 9457's problem+json. What it says is chosen here: words that the domain
//! wrote for people pass, whatever the store or the machine said does not. In its place stands the
//! name of an incident, under which the whole chain of causes is in the log.

use std::collections::BTreeMap;
use std::error::Error;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::model::error::{
    ControlError, InternalError, Refusal, Rejection, StoreError, TooMany, UpstreamError,
};
use crate::platform::error_chain::chain;

/// A refusal or a failure (RFC 9457, `application/problem+json`).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// A name that programs can rely on.
    #[serde(rename = "type")]
    #[schema(example = "urn:postern:problem:not-found")]
    kind: String,
    /// The name for people.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this very request.
    detail: String,
    /// An error code of OAuth (RFC 6749, 5.2), where the endpoint is one of its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    /// The page where one proves oneself, where that is what is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "https://gate.example.com/r/rq-2b7c")]
    url: Option<Box<str>>,
    /// Under this name the operators find the cause in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    incident: Option<Box<str>>,
}

/// The kinds of problems. Their names are part of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    Unauthenticated,
    StepUpNeeded,
    Forbidden,
    NotFound,
    WrongMethod,
    Slow,
    Conflict,
    TooLarge,
    WrongMedia,
    KeyReused,
    RateLimited,
    Internal,
    Unavailable,
    TimedOut,
}

impl Kind {
    pub(crate) const ALL: [Self; 15] = [
        Self::Invalid,
        Self::Unauthenticated,
        Self::StepUpNeeded,
        Self::Forbidden,
        Self::NotFound,
        Self::WrongMethod,
        Self::Slow,
        Self::Conflict,
        Self::TooLarge,
        Self::WrongMedia,
        Self::KeyReused,
        Self::RateLimited,
        Self::Internal,
        Self::Unavailable,
        Self::TimedOut,
    ];

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Invalid => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::StepUpNeeded | Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Conflict => StatusCode::CONFLICT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::WrongMedia => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthenticated => "unauthenticated",
            Self::StepUpNeeded => "step-up-needed",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::WrongMethod => "wrong-method",
            Self::Slow => "slow",
            Self::Conflict => "conflict",
            Self::TooLarge => "too-large",
            Self::WrongMedia => "wrong-media-type",
            Self::KeyReused => "idempotency-key-reused",
            Self::RateLimited => "rate-limited",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed-out",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Invalid => "The request is not valid",
            Self::Unauthenticated => "Sign in first",
            Self::StepUpNeeded => "Prove yourself first",
            Self::Forbidden => "You may not do this",
            Self::NotFound => "Not found",
            Self::WrongMethod => "This can't be done here",
            Self::Slow => "The request took too long to arrive",
            Self::Conflict => "The present state does not allow this",
            Self::TooLarge => "The request is too large",
            Self::WrongMedia => "The request has to be JSON",
            Self::KeyReused => "This idempotency key belongs to another request",
            Self::RateLimited => "Too many requests",
            Self::Internal => "Something broke on our side",
            Self::Unavailable => "The service can't do this right now",
            Self::TimedOut => "The answer took too long",
        }
    }
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:postern:problem:{}", kind.slug()),
            title: kind.title(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            error: None,
            url: None,
            incident: None,
        }
    }

    /// With an error code that OAuth's clients look for.
    pub(crate) fn coded(self, error: &'static str) -> Self {
        Self { error: Some(error), ..self }
    }

    /// A failure whose cause is for the log alone.
    pub(crate) fn incident(kind: Kind, cause: &dyn Error) -> Self {
        let incident = uuid::Uuid::now_v7().simple().to_string();
        tracing::error!(%incident, cause = %chain(cause), "a request failed");
        let detail = format!("the operators find the cause in the log as incident {incident}");
        Self { incident: Some(incident.into()), ..Self::new(kind, detail) }
    }

    pub(crate) fn title(&self) -> &'static str {
        self.title
    }

    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match &error {
            ControlError::Refused(refusal) => Self::refusal(refusal),
            ControlError::Store(store) => match store {
                StoreError::Unwritable | StoreError::Postponed => {
                    Self::new(Kind::Unavailable, error.to_string())
                }
                StoreError::Sql(_) | StoreError::Migrate(_) => {
                    Self::incident(Kind::Unavailable, &error)
                }
                StoreError::Unreadable(_)
                | StoreError::RolledBack(_)
                | StoreError::HighWater(_) => Self::incident(Kind::Internal, &error),
            },
            ControlError::Upstream(UpstreamError::Issuer(_)) => {
                Self::new(Kind::Unavailable, error.to_string())
            }
            ControlError::Upstream(UpstreamError::Http(_)) => {
                Self::incident(Kind::Unavailable, &error)
            }
            ControlError::Internal(
                InternalError::Issue(_)
                | InternalError::IssueSsh(_)
                | InternalError::Vault(_)
                | InternalError::Id(_)
                | InternalError::Broken,
            ) => Self::incident(Kind::Internal, &error),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::refusal(&refusal)
    }
}

impl From<InternalError> for Problem {
    fn from(error: InternalError) -> Self {
        ControlError::from(error).into()
    }
}

impl Problem {
    fn refusal(refusal: &Refusal) -> Self {
        let url = match refusal {
            Refusal::StepUpNeeded { url, .. } => Some(url.as_str().into()),
            Refusal::NotFound(_)
            | Refusal::Forbidden(_)
            | Refusal::Rejected(_)
            | Refusal::Unfit { .. }
            | Refusal::Conflict(_)
            | Refusal::Invalid(_)
            | Refusal::TooMany(_)
            | Refusal::Unauthenticated
            | Refusal::EnrolFirst
            | Refusal::Unproven(_)
            | Refusal::Disbelieved(_) => None,
        };
        Self { url, ..Self::new(Kind::of(refusal), refusal.to_string()) }
    }
}

impl Kind {
    /// The kind of problem that a refusal is.
    fn of(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::StepUpNeeded { .. } => Self::StepUpNeeded,
            Refusal::NotFound(_) => Self::NotFound,
            Refusal::Forbidden(_)
            | Refusal::EnrolFirst
            | Refusal::Unproven(_)
            | Refusal::Unfit { .. } => Self::Forbidden,
            Refusal::Rejected(rejection) => refused(rejection),
            Refusal::Conflict(_) => Self::Conflict,
            Refusal::Invalid(_) => Self::Invalid,
            Refusal::TooMany(TooMany::Tries | TooMany::Requests(_)) => Self::RateLimited,
            Refusal::TooMany(TooMany::Waiting) => Self::Unavailable,
            Refusal::Unauthenticated | Refusal::Disbelieved(_) => Self::Unauthenticated,
        }
    }
}

fn refused(rejection: &Rejection) -> Kind {
    match rejection {
        Rejection::NoTarget(_) | Rejection::NoResource(_) => Kind::NotFound,
        Rejection::NeedsApproval(_) | Rejection::NotCovered(_) => Kind::Conflict,
        Rejection::Unknown
        | Rejection::Disabled
        | Rejection::Locked(_)
        | Rejection::Rules(_)
        | Rejection::NobodyThere => Kind::Forbidden,
        Rejection::MissingInput(_) => Kind::Invalid,
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}

/// The problems that any operation can answer with, for the OpenAPI document.
pub(crate) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let answer = |kind: Kind| {
            let schema = Ref::from_schema_name("Problem");
            let content = ContentBuilder::new().schema(Some(schema)).build();
            let response = ResponseBuilder::new()
                .description(kind.title())
                .content("application/problem+json", content)
                .build();
            (kind.status().as_str().to_owned(), RefOr::T(response))
        };
        Kind::ALL.into_iter().map(answer).collect()
    }
}

/// What doesn't parse, as a problem.
pub(crate) fn invalid(fault: impl ToString) -> Problem {
    Problem::new(Kind::Invalid, fault.to_string())
}

/// What can't be written as JSON, as a problem.
pub(crate) fn unwritable(cause: serde_json::Error) -> Problem {
    Problem::incident(Kind::Internal, &cause)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::error::Unreadable;
    use crate::model::unproven::Unproven;

    #[rstest]
    #[case(Refusal::NotFound("grant"))]
    #[case(Refusal::Forbidden(String::new()))]
    #[case(Rejection::Unknown)]
    #[case(Rejection::NotCovered(String::new()))]
    #[case(Refusal::StepUpNeeded { url: String::new(), why: String::new() })]
    #[case(Refusal::Conflict(String::new()))]
    #[case(Refusal::Invalid(String::new()))]
    #[case(TooMany::Tries)]
    #[case(TooMany::Waiting)]
    #[case(Refusal::Unauthenticated)]
    #[case(Refusal::EnrolFirst)]
    #[case(Unproven::Replayed)]
    #[case(Refusal::Disbelieved(String::new()))]
    #[case(sqlx::Error::PoolTimedOut)]
    #[case(StoreError::Unwritable)]
    #[case(InternalError::Broken)]
    fn a_code_has_the_status_of_its_problem(#[case] error: impl Into<ControlError>) {
        let error = error.into();
        let code = error.code();
        assert_eq!(Problem::from(error).status().as_u16(), code.status(), "{code}");
    }

    #[test]
    fn what_the_store_holds_is_not_shown() {
        let problem = Problem::from(ControlError::from(Unreadable::new("body", "secret")));
        assert!(problem.incident.is_some() && !problem.detail.contains("secret"));
    }
}
