//! What the system of tickets says: a ticket is closed, and with it ends what was given for it.
//!
//! Its messages are signed by the Standard Webhooks scheme. A message counts once and only within
//! minutes of its signature; one that isn't believed changes nothing and says little.

use policies::{End, GrantEvent, GrantId, RequestId, Ticket};
use serde::Deserialize;
use serde_json::json;

use crate::access::{Access, ticket_state, transitions};
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal};
use crate::model::event::{By, Event};
use crate::platform::webhook_signature::{WEBHOOK_TOLERANCE, WebhookHeaders, verify_webhook};
use crate::store;

/// Who speaks, in the audit log.
const SPEAKER: &str = "tickets";

/// What ended with a ticket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Grants that ended.
    pub ended: Vec<GrantId>,
    /// Requests that were taken back.
    pub withdrawn: Vec<RequestId>,
}

/// The message: which ticket, and whether that means its end.
#[derive(Deserialize)]
struct Message {
    ticket: Ticket,
    state: String,
}

/// The states of a ticket that end what was given for it.
const OVER: [&str; 5] = ["closed", "done", "resolved", "cancelled", "rejected"];

impl Access {
    /// Takes a message about a ticket. Where it says that the ticket is over, what was given for it
    /// ends as done, and what waits for approval is taken back.
    ///
    /// # Errors
    /// Where nobody set this up, the message isn't believed, was taken before, or can't be read.
    pub async fn ticket_says(
        &self,
        headers: WebhookHeaders<'_>,
        body: &[u8],
    ) -> Result<Closed, ControlError> {
        let secrets = self.kernel.inventory().workflow.ticket_secrets.clone();
        if secrets.is_empty() {
            return Err(Refusal::NotFound("receiver of messages").into());
        }
        verify_webhook(&secrets, headers, body, self.kernel.now())
            .map_err(|why| Refusal::Disbelieved(why.to_string()))?;
        let message: Message = serde_json::from_slice(body).map_err(|_| unreadable())?;
        let (access, id) = (self.clone(), headers.id.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let closed = hear(&mut tx, &id, message).await?;
                tx.commit().await?;
                Ok(closed)
            })
            .await
    }
}

fn unreadable() -> ControlError {
    let message = "the message has to be JSON with a `ticket` and its `state`";
    Refusal::Invalid(message.to_owned()).into()
}

async fn hear(tx: &mut Transaction, id: &str, message: Message) -> Result<Closed, ControlError> {
    // Twice the tolerance: a message may be signed as late as that from now.
    let expires_at = tx.now.after(WEBHOOK_TOLERANCE).after(WEBHOOK_TOLERANCE);
    if !store::webhooks::take(tx.db(), id, expires_at).await? {
        let text = "this message was taken before".to_owned();
        return Err(Refusal::Conflict(text).into());
    }
    let Message { ticket, state } = message;
    let is_over = OVER.contains(&state.to_lowercase().as_str());
    let closed = if is_over { close(tx, &ticket).await? } else { nothing() };
    let detail = json!({
        "state": crate::platform::sanitize::clip(&state, 100), "ended": closed.ended,
        "withdrawn": closed.withdrawn, "message": id,
    });
    tx.record(Event::new(By::Hook(SPEAKER), AuditKind::TicketReported, &ticket, detail)).await?;
    ticket_state::hear_of_ticket(tx, &ticket, Some(state), "its message").await?;
    Ok(closed)
}

async fn close(tx: &mut Transaction, ticket: &Ticket) -> Result<Closed, ControlError> {
    let mut closed = nothing();
    for request in store::requests::pending_about(tx.db(), ticket).await? {
        if !transitions::lapse(tx, &request).await? {
            let message = format!("ticket {ticket} is closed");
            transitions::withdraw_for(tx, &request, &message).await?;
            closed.withdrawn.push(request.id);
        }
    }
    for grant in store::grants::open_about(tx.db(), ticket).await? {
        transitions::step(tx, &grant, GrantEvent::End(End::Done), By::Hook(SPEAKER)).await?;
        closed.ended.push(grant.id);
    }
    Ok(closed)
}

fn nothing() -> Closed {
    Closed { ended: Vec::new(), withdrawn: Vec::new() }
}
