//! What a request carries, parsed at the edge, with every fault as a [`Problem`].
//!
//! Bodies are bounded in size; `arrival` bounds the time that they take.

use axum::body::Bytes;
use axum::extract::rejection::{FormRejection, PathRejection, QueryRejection};
use axum::extract::{Form, FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::error::{Kind, Problem};

/// The longest body, in bytes.
pub(crate) const BODY_MAX: usize = 64 * 1024;

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

/// The parameter in the path.
pub(crate) struct At<T>(pub(crate) T);

/// The query string.
pub(crate) struct Asked<T>(pub(crate) T);

/// A form of one of our pages.
pub(crate) struct Filled<T>(pub(crate) T);

/// A body as it came, for who has to check a signature over it first.
pub(crate) struct Raw(pub(crate) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let arrived = Bytes::from_request(request, state).await;
        arrived.map(Self).map_err(|rejection| unreadable(rejection.status(), rejection.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            let detail = "send the body as `application/json`";
            return Err(Problem::new(Kind::WrongMedia, detail));
        }
        let Raw(bytes) = Raw::from_request(request, state).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|fault| Problem::new(Kind::Invalid, fault.to_string()))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE);
    let text = value.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = text.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

fn unreadable(status: StatusCode, fault: String) -> Problem {
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        let detail = format!("a body has at most {BODY_MAX} bytes");
        return Problem::new(Kind::TooLarge, detail);
    }
    Problem::new(Kind::Invalid, fault)
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Path::<T>::from_request_parts(parts, state).await;
        found
            .map(|Path(value)| Self(value))
            .map_err(|fault: PathRejection| Problem::new(Kind::Invalid, fault.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Query::<T>::from_request_parts(parts, state).await;
        found
            .map(|Query(value)| Self(value))
            .map_err(|fault: QueryRejection| Problem::new(Kind::Invalid, fault.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Filled<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let arrived = Form::<T>::from_request(request, state).await;
        arrived
            .map(|Form(value)| Self(value))
            .map_err(|fault: FormRejection| unreadable(fault.status(), fault.body_text()))
    }
}
