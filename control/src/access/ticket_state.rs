//! How a ticket stands: asked of its tracker when somebody names it.

use std::collections::BTreeSet;
use std::sync::Arc;

use policies::{Ticket, Timestamp};
use reqwest::StatusCode;
use serde_json::{Value, json};
use thiserror::Error;

use crate::access::{Access, reconsider};
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, Refusal, TooMany};
use crate::model::event::{By, Event};
use crate::model::tickets::Standing;
use crate::platform::http_client::{HttpError, get};
use crate::store::learned;

impl Access {
    /// The tracker, where there is one and some rule wants to know.
    pub(crate) fn asked_source(&self) -> Option<Arc<crate::model::tickets::TicketSource>> {
        let inventory = self.kernel.inventory();
        let wanted = inventory.rules.reads("ticket_state");
        inventory.context.tickets.clone().filter(|_| wanted)
    }

    /// Finds out how a ticket stands that somebody has just named, unless that is known.
    ///
    /// # Errors
    /// Where too many ask at once, or the store fails. A silent tracker is no error: then nobody knows.
    pub(crate) async fn look_up(&self, ticket: Option<&Ticket>) -> Result<(), ControlError> {
        let (Some(ticket), Some(source)) = (ticket, self.asked_source()) else { return Ok(()) };
        let now = self.kernel.now();
        let inventory = self.kernel.inventory();
        let known = inventory.context.learned.tickets.get(ticket).map(|standing| standing.at);
        if known.is_some_and(|at| now < at.after(source.refresh)) {
            return Ok(());
        }
        drop(inventory);
        let _place =
            self.own.lookups.try_acquire().map_err(|_| Refusal::TooMany(TooMany::Waiting))?;
        self.ask_tracker(&source, ticket).await
    }

    pub(crate) async fn ask_tracker(
        &self,
        source: &crate::model::tickets::TicketSource,
        ticket: &Ticket,
    ) -> Result<(), ControlError> {
        use std::sync::atomic::Ordering::Relaxed;
        match self.standing_of(source, ticket).await {
            Ok(state) => {
                self.own.tracker_silent.store(false, Relaxed);
                let (access, ticket) = (self.clone(), ticket.clone());
                self.kernel
                    .to_the_end(async move {
                        let mut tx = access.kernel.begin().await?;
                        hear_of_ticket(&mut tx, &ticket, state, "the tracker").await?;
                        tx.commit().await.map(drop)
                    })
                    .await
            }
            Err(silence) => {
                self.kernel.counts().source_failures.with_label_values(&["tickets"]).inc();
                tracing::warn!(error = &silence as &dyn std::error::Error, "the tracker is silent");
                if self.own.tracker_silent.swap(true, Relaxed) {
                    return Ok(());
                }
                self.fell_silent(AuditKind::TicketsSilent, "tickets", &silence.to_string()).await
            }
        }
    }

    async fn standing_of(
        &self,
        source: &crate::model::tickets::TicketSource,
        ticket: &Ticket,
    ) -> Result<Option<String>, Silence> {
        let answer =
            self.kernel.http().send(get(&source.url.of(ticket), source.bearer.as_ref())).await?;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            other => return Err(HttpError::Status(other).into()),
        }
        let said: Value = serde_json::from_slice(&answer.body).map_err(HttpError::Malformed)?;
        let state = said.pointer(&source.state).and_then(Value::as_str);
        let state = state.filter(|state| is_state(state));
        let state = state.ok_or_else(|| Silence::Stateless(source.state.clone()))?;
        Ok(Some(state.to_owned()))
    }

    /// Writes down, once, that a source doesn't answer.
    pub(crate) async fn fell_silent(
        &self,
        kind: AuditKind,
        name: &str,
        why: &str,
    ) -> Result<(), ControlError> {
        let event = Event::new(By::Control, kind, name, json!({ "why": why }));
        let access = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                tx.record(event).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

/// Takes in how a ticket stands, by the tracker's answer or its message, and ends what no longer
/// follows from it. A state that isn't short and plain is none.
pub(crate) async fn hear_of_ticket(
    tx: &mut Transaction,
    ticket: &Ticket,
    state: Option<String>,
    by: &'static str,
) -> Result<(), ControlError> {
    let state = state.filter(|state| is_state(state));
    let now = tx.now;
    learned::put(tx.db(), learned::Kind::Ticket, ticket.as_str(), &state, now).await?;
    let mut next = (*tx.inventory).clone();
    let tickets = &mut next.context.learned.tickets;
    let standing = Standing { state: state.clone(), at: now };
    let before = tickets.insert(ticket.clone(), standing);
    if tickets.len() > MOST {
        let oldest: BTreeSet<Timestamp> = tickets.values().map(|it| it.at).collect();
        let since = oldest.into_iter().nth(MOST / 10);
        tickets.retain(|_, it| since.is_some_and(|since| it.at > since));
    }
    if before.is_some_and(|before| before.state == state) {
        tx.know(Arc::new(next));
        return Ok(());
    }
    let detail = json!({ "state": state, "by": by });
    tx.record(Event::new(By::Control, AuditKind::TicketLearned, ticket, detail)).await?;
    reconsider::decide_again(tx, next, "a ticket").await
}

/// The longest state that is kept, in bytes.
const STATE_MAX: usize = 64;

/// How many tickets are known at once.
const MOST: usize = 10_000;

/// Why a tracker has said nothing that can be used.
#[derive(Debug, Error)]
enum Silence {
    #[error(transparent)]
    Web(#[from] HttpError),
    #[error("its answer has no text of at most {STATE_MAX} bytes at `{0}`")]
    Stateless(String),
}

/// Whether this may be how a ticket stands: something short and plain.
fn is_state(text: &str) -> bool {
    !text.is_empty() && text.len() <= STATE_MAX && !text.chars().any(char::is_control)
}
