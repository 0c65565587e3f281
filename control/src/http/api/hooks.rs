//! What other systems tell: messages signed by the Standard Webhooks scheme.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde::Serialize;
use utoipa::ToSchema;

use super::error::{Kind, Problem, Problems};
use super::extract::Raw;
use super::front::Front;
use crate::platform::webhook_signature::WebhookHeaders;

/// What ended with a ticket.
#[derive(Serialize, ToSchema)]
pub(crate) struct Closed {
    /// Grants that ended.
    ended: Vec<String>,
    /// Requests that were taken back.
    withdrawn: Vec<String>,
}

/// How a ticket stands.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is read from the signed bytes, and described here")]
pub(crate) struct TicketState {
    /// The ticket, as requests name it.
    #[schema(example = "OPS-12")]
    ticket: String,
    /// `closed`, `done`, `resolved`, `cancelled` and `rejected` end what was given for it.
    #[schema(example = "closed")]
    state: String,
}

/// Takes a message of the system of tickets. A ticket that is over ends what was given for it.
///
/// Signed as standardwebhooks.com says: `webhook-id`, `webhook-timestamp` within five minutes, and
/// `webhook-signature`. A message counts once: the second time, the answer is 409.
#[utoipa::path(post, path = "/hooks/tickets", tag = "hooks", security(()),
    params(("webhook-id" = String, Header), ("webhook-timestamp" = String, Header),
        ("webhook-signature" = String, Header)),
    request_body = TicketState,
    responses((status = 200, body = Closed), Problems))]
pub(crate) async fn tickets(
    State(front): State<Front>,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Result<Json<Closed>, Problem> {
    let signed = WebhookHeaders {
        id: header(&headers, "webhook-id")?,
        timestamp: header(&headers, "webhook-timestamp")?,
        signature: header(&headers, "webhook-signature")?,
    };
    let closed = front.ticket_says(signed, &body).await?;
    Ok(Json(Closed {
        ended: closed.ended.iter().map(ToString::to_string).collect(),
        withdrawn: closed.withdrawn.iter().map(ToString::to_string).collect(),
    }))
}

/// Each is wanted once: of two, one was added.
fn header<'h>(headers: &'h HeaderMap, name: &str) -> Result<&'h str, Problem> {
    let mut all = headers.get_all(name).iter();
    let one = all.next().filter(|_| all.next().is_none());
    let text = one.and_then(|value| value.to_str().ok());
    text.ok_or_else(|| Problem::new(Kind::Invalid, format!("`{name}` is wanted, once")))
}
