//! A connection that waits for a person: asking control on its behalf, and following how that goes.
//!
//! A grant is reported only once the lease table has it, so that the next step can't miss it. Dropping a
//! [`PendingConnection`] withdraws what it asked for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use link::{Malformed, v1};
use policies::{GrantId, Resource, Ticket, Ttl};
use prometheus::HistogramTimer;
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Status, Streaming};

use crate::core::identity::Identity;
use crate::core::limits::{PendingPlace, WaitingClient};
use crate::core::plane::Plane;

/// The longest that control may take over an answer that needs no person.
const ANSWER: Duration = Duration::from_secs(10);
/// How long a wait goes on beyond its timeout, so that control can say that it is over.
const GRACE: Ttl = Ttl::from_secs(5);

/// What a connection asks control for, and how long it waits for that.
#[derive(Debug, Clone)]
pub(crate) struct AccessRequestInput {
    /// Who asks; where it is absent, a person has to confirm first.
    pub(crate) identity: Option<Identity>,
    pub(crate) resource: Resource,
    pub(crate) client: SocketAddr,
    /// What the client calls itself.
    pub(crate) application: String,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) reason: String,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) wait_for: WaitFor,
    /// The longest that it waits.
    pub(crate) timeout: Ttl,
}

/// What a connection without a live grant waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WaitFor {
    /// For people: it asks for access, and waits until they have acted.
    People,
    /// For control alone: it asks for access, and has at once what the rules give without a person.
    Rules,
    /// For nothing: it is refused.
    Nothing,
}

/// What happens while a connection waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PendingEvent {
    /// A person has to confirm this connection.
    Confirm { code: String, url: String, timeout: Ttl },
    /// This person confirmed it.
    Confirmed(Identity),
    /// The request stands and waits for approvals.
    Asked { request: String, needs: Vec<String>, url: String, timeout: Ttl },
    /// The lease is there: admission is next.
    Granted { grant: GrantId, ttl: Ttl, approved_by: Vec<String> },
    /// The answer is no.
    Refused { code: String, message: String, hint: String },
}

/// Why a wait fails.
#[derive(Debug, Error)]
pub(crate) enum PendingError {
    #[error("too many connections are waiting")]
    TooMany,
    #[error("control is out of reach")]
    Unreachable(#[source] Status),
    #[error("the gateway is shutting down")]
    Draining,
    #[error("nobody answered in time")]
    Lapsed,
    #[error("control ended the wait without an answer")]
    Ended,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the grant did not reach this gateway in time")]
    Unsettled,
}

/// A connection that waits.
#[derive(Debug)]
pub(crate) struct PendingConnection {
    plane: Arc<Plane>,
    events: Streaming<v1::AskEvent>,
    deadline: Instant,
    /// Frees the place and stops the clock when the wait is over, whichever way.
    place: PendingPlace,
    _waited: HistogramTimer,
}

impl PendingConnection {
    /// Asks control for access.
    pub(crate) async fn ask(
        plane: &Arc<Plane>,
        input: AccessRequestInput,
    ) -> Result<Self, PendingError> {
        let client = match &input.identity {
            Some(_) => WaitingClient::Authenticated,
            None => WaitingClient::Unauthenticated,
        };
        let place = plane.limits.wait(input.client, client).ok_or(PendingError::TooMany)?;
        let waited = plane.metrics.pending.start_timer();
        let ends = plane.clock.now().after(input.timeout).after(GRACE);
        let mut link = plane.link.clone();
        let answer = timeout(ANSWER, link.ask(v1::AskRequest::from(input))).await;
        let events =
            answer.map_err(|_| PendingError::Lapsed)?.map_err(PendingError::Unreachable)?;
        Ok(Self {
            deadline: plane.clock.deadline(ends),
            plane: Arc::clone(plane),
            events: events.into_inner(),
            place,
            _waited: waited,
        })
    }

    /// The next event. Cancel-safe up to a grant, which is waited for until it is in place.
    pub(crate) async fn next(&mut self) -> Result<PendingEvent, PendingError> {
        let event = tokio::select! {
            event = timeout_at(self.deadline, self.events.message()) => event,
            () = self.plane.sessions.drained.cancelled() => return Err(PendingError::Draining),
        };
        let event = event.map_err(|_| PendingError::Lapsed)?.map_err(PendingError::Unreachable)?;
        let event = event.and_then(|event| event.event).ok_or(PendingError::Ended)?;
        self.read(event).await
    }

    async fn read(&mut self, event: v1::ask_event::Event) -> Result<PendingEvent, PendingError> {
        use v1::ask_event::Event;
        Ok(match event {
            Event::Confirm(confirm) => PendingEvent::Confirm {
                code: confirm.code,
                url: confirm.url,
                timeout: Ttl::from_millis(confirm.patience_ms),
            },
            Event::Confirmed(identity) => {
                let identity = identity.try_into()?;
                self.place.confirmed();
                PendingEvent::Confirmed(identity)
            }
            Event::Asked(asked) => PendingEvent::Asked {
                request: asked.request,
                needs: asked.needs,
                url: asked.url,
                timeout: Ttl::from_millis(asked.patience_ms),
            },
            Event::Granted(granted) => self.settle(granted).await?,
            Event::Refused(no) => {
                PendingEvent::Refused { code: no.code, message: no.message, hint: no.hint }
            }
        })
    }

    /// Waits until the lease table has what was granted.
    async fn settle(&self, granted: v1::Granted) -> Result<PendingEvent, PendingError> {
        let deadline = self.plane.clock.instant() + ANSWER;
        if !self.plane.leases.reached(granted.revision, deadline).await {
            return Err(PendingError::Unsettled);
        }
        Ok(PendingEvent::Granted {
            grant: granted.id()?,
            ttl: Ttl::from_millis(granted.ttl_ms),
            approved_by: granted.approved_by,
        })
    }
}

impl From<AccessRequestInput> for v1::AskRequest {
    fn from(input: AccessRequestInput) -> Self {
        Self {
            identity: input.identity.map(Into::into),
            resource: Some(input.resource.into()),
            client: input.client.to_string(),
            application: input.application,
            ttl_ms: input.ttl.map(|ttl| ttl.millis().cast_unsigned()),
            reason: input.reason,
            ticket: input.ticket.map(Into::into),
            wait: input.wait_for == WaitFor::People,
            patience_ms: input.timeout.millis().cast_unsigned(),
        }
    }
}

#[cfg(test)]
#[path = "pending/tests.rs"]
mod tests;
