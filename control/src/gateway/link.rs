//! The gRPC service that proxies talk to. Here the wire is parsed, and errors become statuses.

use link::v1;
use link::v1::link_server::Link;
use policies::{Authn, GrantId, Resource, SessionId, Timestamp, Ttl};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::access::grants::{Begun, Upstream, Visit};
use crate::access::input::Waiting;
use crate::access::step_up;
use crate::gateway::access_wait::Caller;
use crate::gateway::{Gateway, access_wait};
use crate::identity::bearer::{BearerError, Discovery};
use crate::identity::tokens::Redeemed;
use crate::kernel::cuts::KeptBy;
use crate::model::error::{ControlError, Refusal, StoreError};
use crate::platform::sanitize::clip;

/// How many events may wait for a slow proxy before it lags behind the feed.
const OUTBOX: usize = 64;
const TEXT_MAX: usize = 256;
const REPORT_MOST: usize = 1_000;
const LONGEST: Ttl = Ttl::from_secs(366 * 24 * 3_600);

/// The service of `postern.link.v1`.
#[derive(Clone)]
pub struct LinkService(Gateway);

impl LinkService {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self(gateway)
    }
}

#[tonic::async_trait]
impl Link for LinkService {
    type FeedStream = ReceiverStream<Result<v1::FeedEvent, Status>>;
    type AskStream = ReceiverStream<Result<v1::AskEvent, Status>>;

    async fn feed(
        &self,
        request: Request<v1::FeedRequest>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        let v1::FeedRequest { proxy, unsettled } = request.into_inner();
        let proxy = clip(&proxy, TEXT_MAX);
        tracing::info!(proxy, "a proxy follows the feed");
        self.0.kernel.merge(unsettled, KeptBy::Proxy).await.map_err(status)?;
        let (events, stream) = mpsc::channel(OUTBOX);
        tokio::spawn(follow(self.0.clone(), events));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn redeem(
        &self,
        request: Request<v1::RedeemRequest>,
    ) -> Result<Response<v1::Identity>, Status> {
        let v1::RedeemRequest { token, resource, kind, .. } = request.into_inner();
        let token = SecretString::from(token);
        let redeemed = match kind.as_str() {
            "" | "token" => {
                let resource = parse_resource(resource)?;
                self.0.identity.redeem(&token, &resource).await.map_err(status)?
            }
            "ssh-key" => self.0.identity.redeem_key(token.expose_secret()).await.map_err(status)?,
            "oauth" => self.0.identity.redeem_bearer(&token).await.map_err(bearer_status)?,
            other => return Err(invalid(format!("there are no tokens of kind {other:?}"))),
        };
        let Redeemed { principal, authn } = redeemed;
        Ok(Response::new(v1::Identity {
            principal: principal.id.into(),
            name: principal.name,
            authn: Some(authn.into()),
        }))
    }

    async fn discover(
        &self,
        _: Request<v1::DiscoverRequest>,
    ) -> Result<Response<v1::Discovery>, Status> {
        let found = self.0.identity.discovery().map_err(bearer_status)?;
        let Discovery { openid_configuration, scope } = found;
        Ok(Response::new(v1::Discovery { openid_configuration, scope }))
    }

    async fn ask(
        &self,
        request: Request<v1::AskRequest>,
    ) -> Result<Response<Self::AskStream>, Status> {
        let caller = caller(request.into_inner())?;
        let (events, stream) = mpsc::channel(4);
        tokio::spawn(access_wait::serve(self.0.clone(), caller, events));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn begin(
        &self,
        request: Request<v1::BeginRequest>,
    ) -> Result<Response<v1::BeginReply>, Status> {
        let v1::BeginRequest { grant, session, client, authn } = request.into_inner();
        let grant: GrantId = grant.parse().map_err(invalid)?;
        let session: SessionId = session.parse().map_err(invalid)?;
        tracing::debug!(%grant, %session, "a session begins");
        let authn = authn.map(Authn::try_from).transpose()?;
        let visit = Visit { session, authn, source: crate::model::actor::source(&client) };
        match self.0.access.begin(&grant, visit).await {
            Ok(Begun { ends, credential, keep, rights }) => Ok(Response::new(v1::BeginReply {
                ends_ms: Timestamp::millis(ends),
                credential: Some(to_wire(&credential)),
                step_up_needed: None,
                keep,
                channels: rights.channels.iter().map(ToString::to_string).collect(),
                record: rights.record.iter().map(ToString::to_string).collect(),
            })),
            Err(ControlError::Refused(Refusal::StepUpNeeded { url, why })) => {
                let needed = v1::StepUpNeeded { message: why, hint: step_up::how(&url) };
                let nothing = v1::BeginReply::default();
                Ok(Response::new(v1::BeginReply { step_up_needed: Some(needed), ..nothing }))
            }
            Err(error) => Err(status(error)),
        }
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportReply>, Status> {
        let report = request.into_inner();
        if report.happenings.len() > REPORT_MOST {
            let message = format!("a report holds at most {REPORT_MOST} happenings");
            return Err(Status::invalid_argument(message));
        }
        self.0.evidence.report(report).await.map_err(status)?;
        Ok(Response::new(v1::ReportReply {}))
    }
}

/// Sends a snapshot and what comes after it, until the proxy leaves. One that lags too far behind
/// gets a new snapshot.
async fn follow(gateway: Gateway, outbox: mpsc::Sender<Result<v1::FeedEvent, Status>>) {
    let feed = &gateway.kernel.feed();
    let mut beat = tokio::time::interval(feed.beat().duration());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat.reset();
    let mut revived = feed.revived();
    let (mut next, mut events) = feed.subscribe();
    loop {
        let revision = next.revision;
        tokio::select! {
            () = gateway.kernel.closing().cancelled() => return,
            sent = outbox.send(Ok(next)) => if sent.is_err() { return },
        }
        next = tokio::select! {
            () = gateway.kernel.closing().cancelled() => return,
            () = outbox.closed() => return,
            heard = events.recv() => match heard {
                Ok(event) => (*event).clone(),
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "a proxy lags behind the feed and gets a new snapshot");
                    let (snapshot, after) = feed.subscribe();
                    events = after;
                    snapshot
                }
                Err(RecvError::Closed) => return,
            },
            _ = beat.tick() => feed.heartbeat(revision),
            // What lapsed while the store could not be written comes back at once.
            Ok(()) = revived.changed() => feed.heartbeat(revision),
        };
    }
}

fn caller(wire: v1::AskRequest) -> Result<Caller, Status> {
    let identity = match wire.identity {
        None => None,
        Some(identity) => {
            let authn = identity.authn.ok_or_else(|| missing("authn"))?;
            Some((identity.principal.parse().map_err(invalid)?, authn.try_into()?))
        }
    };
    let ttl = wire.ttl_ms.map(|millis| Ttl::from_millis(millis).min(LONGEST));
    if ttl.is_some_and(Ttl::is_zero) {
        return Err(Status::invalid_argument("a grant of no time is of no use"));
    }
    Ok(Caller {
        identity,
        resource: parse_resource(wire.resource)?,
        client: clip(&wire.client, TEXT_MAX),
        application: clip(&wire.application, TEXT_MAX),
        ttl,
        reason: clip(&wire.reason, TEXT_MAX),
        ticket: wire.ticket.map(|ticket| ticket.parse().map_err(invalid)).transpose()?,
        waiting: if wire.wait { Waiting::Yes } else { Waiting::No },
        patience: Ttl::from_millis(wire.patience_ms),
    })
}

fn parse_resource(wire: Option<v1::Resource>) -> Result<Resource, Status> {
    Ok(wire.ok_or_else(|| missing("resource"))?.try_into()?)
}

fn to_wire(credential: &Upstream) -> v1::Credential {
    let credential = match credential {
        Upstream::Password(secret) => {
            v1::credential::Credential::Password(secret.expose_secret().to_owned())
        }
        Upstream::Certificate(issued) => v1::credential::Credential::Certificate(v1::Certificate {
            chain_pem: issued.certificate.pem.clone(),
            key_pem: issued.key_pem.expose_secret().to_owned(),
        }),
        Upstream::SshKey(secret) => v1::credential::Credential::SshKey(v1::SshKey {
            private_key: secret.expose_secret().to_owned(),
            certificate: None,
        }),
        Upstream::SshCertificate(issued) => v1::credential::Credential::SshKey(v1::SshKey {
            private_key: issued.key.expose_secret().to_owned(),
            certificate: Some(issued.certificate.line.clone()),
        }),
    };
    v1::Credential { credential: Some(credential) }
}

/// Why an access token isn't taken is reported where it was proven to be one.
fn bearer_status(error: BearerError) -> Status {
    let message = error.to_string();
    match error {
        BearerError::NoIssuer => Status::failed_precondition(message),
        BearerError::Unproven
        | BearerError::Token(_)
        | BearerError::Nobody
        | BearerError::Unknown
        | BearerError::Rejected(_) => Status::unauthenticated(message),
        BearerError::Failed(error) => status(error),
    }
}

fn missing(field: &str) -> Status {
    Status::invalid_argument(format!("{field} is missing"))
}

fn invalid(error: impl ToString) -> Status {
    Status::invalid_argument(error.to_string())
}

/// The one place where an error becomes a status. What the machine said stays in the log.
fn status(error: ControlError) -> Status {
    match &error {
        ControlError::Refused(refusal) => refused(refusal),
        ControlError::Store(StoreError::Unwritable) => Status::unavailable(error.to_string()),
        ControlError::Store(
            StoreError::Sql(_)
            | StoreError::Postponed
            | StoreError::Migrate(_)
            | StoreError::Unreadable(_)
            | StoreError::RolledBack(_)
            | StoreError::HighWater(_),
        )
        | ControlError::Upstream(_)
        | ControlError::Internal(_) => {
            tracing::error!(error = &error as &dyn std::error::Error, "a proxy's call failed");
            Status::unavailable("control can't answer now")
        }
    }
}

fn refused(refusal: &Refusal) -> Status {
    let message = refusal.to_string();
    match refusal {
        Refusal::NotFound(_) => Status::not_found(message),
        Refusal::Forbidden(_)
        | Refusal::Rejected(_)
        | Refusal::EnrolFirst
        | Refusal::Unproven(_)
        | Refusal::StepUpNeeded { .. }
        | Refusal::Unfit { .. } => Status::permission_denied(message),
        Refusal::Conflict(_) => Status::failed_precondition(message),
        Refusal::Invalid(_) => Status::invalid_argument(message),
        Refusal::TooMany(_) => Status::resource_exhausted(message),
        Refusal::Disbelieved(_) => Status::unauthenticated(message),
        Refusal::Unauthenticated => Status::unauthenticated("the token is not valid here"),
    }
}
