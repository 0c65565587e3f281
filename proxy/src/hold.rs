//! Asking control on behalf of a connection: whose is this token, and may this person come in?
//!
//! Where the answer takes a person's act, the connection waits here and hears how it goes. A grant is
//! told only once the lease table has it, so that the next step can't miss it. Dropping a [`Hold`]
//! takes the wish back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use link::{Malformed, v1};
use policies::{Authn, GrantId, PrincipalId, Resource, Ticket, Ttl};
use prometheus::HistogramTimer;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::{Code, Response, Status, Streaming};

use crate::limits::{HoldPlace, Waits};
use crate::plane::Plane;

/// How long control may take over an answer that nobody has to think about.
const ANSWER: Duration = Duration::from_secs(10);
/// How long beyond its patience a wait goes on, so that control can say that it is over.
const GRACE: Ttl = Ttl::from_secs(5);

/// Who is at the other side of a connection, and how we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) principal: PrincipalId,
    pub(crate) name: String,
    pub(crate) authn: Authn,
}

/// What a connection asks for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// Who asks; without, a person has to confirm first.
    pub(crate) identity: Option<Identity>,
    pub(crate) resource: Resource,
    pub(crate) client: SocketAddr,
    /// What the client calls itself.
    pub(crate) application: String,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) reason: String,
    pub(crate) ticket: Option<Ticket>,
    /// Whether the connection waits for people.
    pub(crate) wait: bool,
    /// For how long at most.
    pub(crate) patience: Ttl,
}

/// How it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HoldEvent {
    /// A person has to confirm this connection.
    Confirm { code: String, url: String, patience: Ttl },
    /// This person did.
    Confirmed(Identity),
    /// The request stands and waits for approvals.
    Asked { request: String, needs: Vec<String>, url: String, patience: Ttl },
    /// The lease is there: admission is next.
    Granted { grant: GrantId, ttl: Ttl, approved_by: Vec<String> },
    /// No.
    Refused { code: String, message: String, hint: String },
}

/// Why a wait came to nothing.
#[derive(Debug, Error)]
pub(crate) enum HoldError {
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

/// Why a token names nobody.
#[derive(Debug, Error)]
pub(crate) enum RedeemError {
    #[error("{0}")]
    Refused(String),
    #[error("control is out of reach")]
    Unreachable(#[source] Status),
    #[error("control did not answer in time")]
    Late,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// A connection that waits.
#[derive(Debug)]
pub(crate) struct Hold {
    plane: Arc<Plane>,
    events: Streaming<v1::AskEvent>,
    deadline: Instant,
    /// Frees the place and stops the clock when the wait is over, whichever way.
    place: HoldPlace,
    _waited: HistogramTimer,
}

impl Hold {
    /// Asks.
    pub(crate) async fn ask(plane: &Arc<Plane>, wish: Wish) -> Result<Self, HoldError> {
        let who = if wish.identity.is_some() { Waits::Known } else { Waits::Stranger };
        let place = plane.limits.hold(wish.client, who).ok_or(HoldError::TooMany)?;
        let waited = plane.metrics.hold.start_timer();
        let patience = plane.clock.now().after(wish.patience).after(GRACE);
        let mut link = plane.link.clone();
        let answer = timeout(ANSWER, link.ask(v1::AskRequest::from(wish))).await;
        let events = answer.map_err(|_| HoldError::Lapsed)?.map_err(HoldError::Unreachable)?;
        Ok(Self {
            deadline: plane.clock.deadline(patience),
            plane: Arc::clone(plane),
            events: events.into_inner(),
            place,
            _waited: waited,
        })
    }

    /// The next that happens. Cancel-safe up to a grant, which is waited for until it is in place.
    pub(crate) async fn next(&mut self) -> Result<HoldEvent, HoldError> {
        let event = tokio::select! {
            event = timeout_at(self.deadline, self.events.message()) => event,
            () = self.plane.sessions.drained.cancelled() => return Err(HoldError::Draining),
        };
        let event = event.map_err(|_| HoldError::Lapsed)?.map_err(HoldError::Unreachable)?;
        let event = event.and_then(|event| event.event).ok_or(HoldError::Ended)?;
        self.read(event).await
    }

    async fn read(&mut self, event: v1::ask_event::Event) -> Result<HoldEvent, HoldError> {
        use v1::ask_event::Event;
        Ok(match event {
            Event::Confirm(confirm) => HoldEvent::Confirm {
                code: confirm.code,
                url: confirm.url,
                patience: Ttl::from_millis(confirm.patience_ms),
            },
            Event::Confirmed(identity) => {
                let identity = identity.try_into()?;
                self.place.confirmed();
                HoldEvent::Confirmed(identity)
            }
            Event::Asked(asked) => HoldEvent::Asked {
                request: asked.request,
                needs: asked.needs,
                url: asked.url,
                patience: Ttl::from_millis(asked.patience_ms),
            },
            Event::Granted(granted) => self.settle(granted).await?,
            Event::Refused(no) => {
                HoldEvent::Refused { code: no.code, message: no.message, hint: no.hint }
            }
        })
    }

    /// Waits until the lease table has what was granted.
    async fn settle(&self, granted: v1::Granted) -> Result<HoldEvent, HoldError> {
        let deadline = self.plane.clock.instant() + ANSWER;
        if !self.plane.leases.reached(granted.revision, deadline).await {
            return Err(HoldError::Unsettled);
        }
        Ok(HoldEvent::Granted {
            grant: granted.id()?,
            ttl: Ttl::from_millis(granted.ttl_ms),
            approved_by: granted.approved_by,
        })
    }
}

/// What a client offers as a proof of who it is.
#[derive(Debug)]
pub(crate) enum Proof {
    /// A token of ours, from the password field.
    Token(SecretString),
    /// An access token of an issuer.
    Bearer(SecretString),
}

/// Exchanges a proof for the principal whose it is.
pub(crate) async fn redeem(
    plane: &Plane,
    proof: &Proof,
    resource: &Resource,
    client: SocketAddr,
) -> Result<Identity, RedeemError> {
    let (kind, token) = match proof {
        Proof::Token(token) => ("token", token),
        Proof::Bearer(token) => ("oauth", token),
    };
    let request = v1::RedeemRequest {
        token: token.expose_secret().to_owned(),
        resource: Some(resource.clone().into()),
        client: client.to_string(),
        kind: kind.to_owned(),
    };
    let mut link = plane.link.clone();
    let identity = answered(timeout(ANSWER, link.redeem(request)).await)?;
    Ok(identity.try_into()?)
}

/// The principal whose registered key this is: a line as OpenSSH writes one, proved by the caller.
pub(crate) async fn redeem_key(
    plane: &Plane,
    line: String,
    client: SocketAddr,
) -> Result<Identity, RedeemError> {
    let (kind, client) = ("ssh-key".to_owned(), client.to_string());
    let request = v1::RedeemRequest { token: line, resource: None, client, kind };
    let mut link = plane.link.clone();
    let identity = answered(timeout(ANSWER, link.redeem(request)).await)?;
    Ok(identity.try_into()?)
}

/// Where a client gets an access token that control takes.
pub(crate) async fn discover(plane: &Plane) -> Result<v1::Discovery, RedeemError> {
    let mut link = plane.link.clone();
    answered(timeout(ANSWER, link.discover(v1::DiscoverRequest {})).await)
}

fn answered<T>(answer: Result<Result<Response<T>, Status>, Elapsed>) -> Result<T, RedeemError> {
    match answer {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) if is_verdict(&status) => {
            Err(RedeemError::Refused(status.message().to_owned()))
        }
        Ok(Err(status)) => Err(RedeemError::Unreachable(status)),
        Err(_) => Err(RedeemError::Late),
    }
}

/// Whether control decided, rather than failed.
pub(crate) fn is_verdict(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::InvalidArgument
    )
}

impl From<Wish> for v1::AskRequest {
    fn from(wish: Wish) -> Self {
        Self {
            identity: wish.identity.map(Into::into),
            resource: Some(wish.resource.into()),
            client: wish.client.to_string(),
            application: wish.application,
            ttl_ms: wish.ttl.map(|ttl| ttl.millis().cast_unsigned()),
            reason: wish.reason,
            ticket: wish.ticket.map(Into::into),
            wait: wish.wait,
            patience_ms: wish.patience.millis().cast_unsigned(),
        }
    }
}

impl From<Identity> for v1::Identity {
    fn from(identity: Identity) -> Self {
        Self {
            principal: identity.principal.into(),
            name: identity.name,
            authn: Some(identity.authn.into()),
        }
    }
}

impl TryFrom<v1::Identity> for Identity {
    type Error = Malformed;

    fn try_from(wire: v1::Identity) -> Result<Self, Malformed> {
        let (principal, name, authn) = wire.parts()?;
        Ok(Self { principal, name, authn })
    }
}

#[cfg(test)]
#[path = "hold/tests.rs"]
mod tests;
