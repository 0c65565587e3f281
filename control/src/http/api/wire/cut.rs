//! Access that was taken away: in force now, and written now or as soon as that is possible.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::kernel::cuts::InForce;

const NOTE: &str = "it is in force now, and not yet durable: control can't write to its disk, and \
                    writes this as soon as it can. Free space there, and don't restart it before";

/// What was done. It is in force with this answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cut<T> {
    #[serde(flatten)]
    value: T,
    /// Whether it is written. Otherwise the status is 202, and it is written as soon as that works.
    durable: bool,
    /// What to do where it isn't written.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

impl<T> Cut<T> {
    pub(crate) fn of<V>(done: &InForce<V>, value: T) -> Self {
        let note = (!done.durable).then_some(NOTE);
        Self { value, durable: done.durable, note }
    }
}

impl<T: Serialize> IntoResponse for Cut<T> {
    fn into_response(self) -> Response {
        let status = if self.durable { StatusCode::OK } else { StatusCode::ACCEPTED };
        (status, Json(self)).into_response()
    }
}

/// Something that is gone: 204 without a word, or 202 where that isn't written yet.
pub(crate) struct Gone(pub(crate) InForce<()>);

impl IntoResponse for Gone {
    fn into_response(self) -> Response {
        if self.0.durable {
            return StatusCode::NO_CONTENT.into_response();
        }
        let body = json!({ "durable": false, "note": NOTE });
        (StatusCode::ACCEPTED, Json(body)).into_response()
    }
}
