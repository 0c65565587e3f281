//! For tests: a plane on a paused clock, and a control that does what the test says.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use link::v1;
use link::v1::link_server::{Link, LinkServer};
use policies::*;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use crate::core::clock::Clock;
use crate::core::credential::Credentials;
use crate::core::feed;
use crate::core::handshakes::Handshakes;
use crate::core::identity::Identity;
use crate::core::leases::{Leases, Snapshot};
use crate::core::limits::Limits;
use crate::core::metrics::Metrics;
use crate::core::plane::Plane;
use crate::core::report::Reports;
use crate::core::session::{Opening, Session, Sessions};
use crate::core::settings::{LimitSettings, RecordingSettings, Settings};
use crate::core::spool::Spool;

/// The time at which tests begin, in seconds.
pub(crate) const START: i64 = 1_000_000;

/// So many seconds after the start of a test.
pub(crate) fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis((START + secs) * 1_000)
}

pub(crate) fn key(who: &str, what: &str) -> LeaseKey {
    LeaseKey { principal: who.parse().unwrap(), resource: what.parse().unwrap() }
}

/// Alice's lease on `app@orders/shop`.
pub(crate) fn lease(grant: &str, term: Term) -> Lease {
    let key = key("alice", "app@orders/shop");
    Lease {
        grant: grant.parse().unwrap(),
        key,
        name: "Alice".into(),
        term,
        record: Default::default(),
    }
}

pub(crate) fn claim(by: i64, ttl: u64) -> Term {
    Term::Claim { by: at(by), ttl: Ttl::from_secs(ttl) }
}

pub(crate) fn target(partition: Partition) -> Target {
    Target {
        name: "orders".parse().unwrap(),
        kind: Kind::Postgres,
        host: "db.internal".into(),
        port: 5432,
        tls: UpstreamTls::Off,
        environment: None,
        labels: Default::default(),
        databases: vec!["shop".parse().unwrap()],
        logins: [("app".parse().unwrap(), Credential::Password)].into(),
        hold: Hold::Interactive,
        partition,
        recording: Recording { binds: Binds::Keep },
        default_ttl: Ttl::from_secs(60),
        replication: false,
        weak_auth: Default::default(),
        ssh: None,
    }
}

pub(crate) fn lock(subject: &str) -> Lock {
    Lock {
        id: "lk-1".parse().unwrap(),
        subject: subject.parse().unwrap(),
        reason: "incident 7".into(),
        by: "bob".parse().unwrap(),
        at: at(0),
        until: None,
        members: ["alice".parse().unwrap()].into(),
    }
}

pub(crate) fn alice() -> Identity {
    let authn = Authn {
        method: Method::Certificate,
        at: at(0),
        evidence: "01".into(),
        device: Some("laptop".parse().unwrap()),
    };
    Identity { principal: "alice".parse().unwrap(), name: "Alice".into(), authn }
}

/// A day.
pub(crate) const LONG: Ttl = Ttl::from_secs(86_400);

pub(crate) fn snapshot(leases: Vec<Lease>, partition: Partition) -> Snapshot {
    Snapshot {
        leases,
        targets: vec![target(partition)],
        public_url: "https://gate.example.com".into(),
        ..Snapshot::default()
    }
}

/// A plane whose control is scripted. Its feed isn't followed: tests write the leases themselves.
pub(crate) struct Rig {
    pub(crate) plane: Arc<Plane>,
    pub(crate) control: Arc<Control>,
    pub(crate) folder: TempDir,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(LimitSettings::default())
    }

    pub(crate) fn with(limits: LimitSettings) -> Self {
        let folder = TempDir::new().unwrap();
        let (channel, control) = Control::serve();
        let clock = Clock::paused(at(0));
        let metrics = Arc::new(Metrics::new(&prometheus::Registry::new()).unwrap());
        let link = feed::client(channel);
        let waiting = limits.connections.saturating_mul(3);
        let (reports, reporter) = Reports::new(waiting, Arc::clone(&metrics), clock.instant());
        tokio::spawn(reporter.run("proxy-1".into(), link.clone()));
        let leases = Arc::new(Leases::new(clock.clone()));
        let settings = settings(folder.path().join("recordings"), limits.clone());
        let spool = Spool::open(&settings, clock.clone(), Arc::clone(&metrics)).unwrap();
        let sessions = Sessions {
            clock: clock.clone(),
            leases: Arc::clone(&leases),
            metrics: Arc::clone(&metrics),
            reports: reports.clone(),
            spool: spool.clone(),
            drained: CancellationToken::new(),
        };
        let plane = Plane {
            settings,
            credentials: Credentials::new(clock.clone(), link.clone()),
            handshakes: Handshakes::default(),
            limits: Limits::new(limits, Arc::clone(&metrics)),
            spool,
            clock,
            leases,
            link,
            sessions,
            metrics,
            reports,
        };
        Self { plane: Arc::new(plane), control, folder }
    }

    /// Replaces all leases, for a day.
    pub(crate) fn grant(&self, leases: Vec<Lease>, partition: Partition) {
        self.plane.leases.apply_snapshot(1, LONG, snapshot(leases, partition));
    }

    /// Lets Alice in.
    pub(crate) fn open(&self) -> Session {
        self.open_from("192.0.2.7:5555")
    }

    /// Lets Alice in from there.
    pub(crate) fn open_from(&self, client: &str) -> Session {
        self.open_as(alice(), client)
    }

    /// Lets this person in from there.
    pub(crate) fn open_as(&self, identity: Identity, client: &str) -> Session {
        let key = key(identity.principal.as_str(), "app@orders/shop");
        let pass = self
            .plane
            .admit(&AdmissionQuery { key: &key, device: None, credential: None })
            .unwrap();
        let (client, application) = (client.parse().unwrap(), "psql".into());
        let kind = policies::Kind::Postgres;
        let opening = Opening { kind, pass, identity, client, application };
        self.plane.sessions.open(opening).unwrap()
    }
}

pub(crate) fn settings(recordings: std::path::PathBuf, limits: LimitSettings) -> Settings {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::server::ResolvesServerCertUsingSni::new()));
    Settings {
        name: "proxy-1".into(),
        postgres: vec!["127.0.0.1:0".parse().unwrap()],
        ssh: None,
        host_names: vec!["gate.example.com".into()],
        tls: Arc::new(tls),
        bearer: false,
        recordings,
        state: None,
        // Tests run on disks that are nearly full as well.
        recording: RecordingSettings {
            reserve: Amount::Size(Size::from_bytes(1)),
            ..RecordingSettings::default()
        },
        workers: 2,
        limits,
    }
}

/// A control that does what the test says.
#[derive(Default)]
pub(crate) struct Control {
    feeds: Mutex<VecDeque<mpsc::Receiver<Result<v1::FeedEvent, Status>>>>,
    pub(crate) subscribed: AtomicUsize,
    /// What subscribers gave back of what control had not written.
    pub(crate) given_back: Mutex<Vec<Vec<Vec<u8>>>>,
    pub(crate) asks: Mutex<VecDeque<Vec<v1::AskEvent>>>,
    pub(crate) withdrawn: Arc<AtomicUsize>,
    pub(crate) begins: Mutex<Vec<v1::BeginRequest>>,
    pub(crate) begin_reply: Mutex<Option<Result<v1::BeginReply, Status>>>,
    pub(crate) reported: Mutex<Vec<v1::Happening>>,
    /// How many reports fail first.
    pub(crate) failing: AtomicUsize,
}

impl Control {
    pub(crate) fn serve() -> (Channel, Arc<Self>) {
        let (channel, incoming) = link::pipe();
        let control = Arc::new(Self::default());
        let service = LinkServer::from_arc(Arc::clone(&control));
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));
        (channel, control)
    }

    /// What the next subscriber will hear.
    pub(crate) fn next_feed(&self) -> mpsc::Sender<Result<v1::FeedEvent, Status>> {
        let (sender, receiver) = mpsc::channel(16);
        self.feeds.lock().unwrap().push_back(receiver);
        sender
    }

    /// The reports of sessions, as `opened` or their end and its detail.
    pub(crate) fn reports(&self) -> Vec<String> {
        use v1::happening::Happening as What;
        let reported = self.reported.lock().unwrap();
        let reports =
            reported.iter().filter_map(|happening| match happening.happening.clone()? {
                What::Opened(_) => Some("opened".to_owned()),
                What::Ended(ended) => {
                    Some(format!("{} {}", ended.end, ended.detail).trim().to_owned())
                }
                What::Denied(denied) => Some(format!("denied {}", denied.reason)),
                What::Clock(clock) => Some(format!("clock {}", clock.jump_ms)),
            });
        reports.collect()
    }
}

/// Counts the calls that their caller gave up.
struct Open {
    events: VecDeque<v1::AskEvent>,
    withdrawn: Arc<AtomicUsize>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.withdrawn.fetch_add(1, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl Link for Control {
    type FeedStream = ReceiverStream<Result<v1::FeedEvent, Status>>;
    type AskStream = Pin<Box<dyn Stream<Item = Result<v1::AskEvent, Status>> + Send>>;

    async fn feed(
        &self,
        request: Request<v1::FeedRequest>,
    ) -> Result<Response<Self::FeedStream>, Status> {
        self.given_back.lock().unwrap().push(request.into_inner().unsettled);
        self.subscribed.fetch_add(1, Ordering::SeqCst);
        let feed = self.feeds.lock().unwrap().pop_front();
        let feed = feed.ok_or_else(|| Status::unavailable("not now"))?;
        Ok(Response::new(ReceiverStream::new(feed)))
    }

    async fn redeem(
        &self,
        request: Request<v1::RedeemRequest>,
    ) -> Result<Response<v1::Identity>, Status> {
        match request.into_inner().token.as_str() {
            "good" => Ok(Response::new(alice().into())),
            "broken" => Err(Status::internal("secret reason")),
            _ => Err(Status::unauthenticated("no such token")),
        }
    }

    async fn discover(
        &self,
        _: Request<v1::DiscoverRequest>,
    ) -> Result<Response<v1::Discovery>, Status> {
        Err(Status::failed_precondition("no issuer is set"))
    }

    async fn ask(&self, _: Request<v1::AskRequest>) -> Result<Response<Self::AskStream>, Status> {
        let events = self.asks.lock().unwrap().pop_front().unwrap_or_default();
        let open = Open { events: events.into(), withdrawn: Arc::clone(&self.withdrawn) };
        let stream = futures_util::stream::unfold(open, |mut open| async move {
            let next = open.events.pop_front();
            if next.is_none() {
                tokio::time::sleep(Duration::from_secs(3_600)).await;
            }
            next.map(|event| (Ok(event), open))
        });
        Ok(Response::new(Box::pin(stream.fuse())))
    }

    async fn begin(
        &self,
        request: Request<v1::BeginRequest>,
    ) -> Result<Response<v1::BeginReply>, Status> {
        self.begins.lock().unwrap().push(request.into_inner());
        let reply = self.begin_reply.lock().unwrap().clone();
        reply.unwrap_or_else(|| Err(Status::unavailable("not now"))).map(Response::new)
    }

    async fn report(
        &self,
        request: Request<v1::ReportRequest>,
    ) -> Result<Response<v1::ReportReply>, Status> {
        let less = |left: usize| left.checked_sub(1);
        if self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            return Err(Status::unavailable("not now"));
        }
        self.reported.lock().unwrap().extend(request.into_inner().happenings);
        Ok(Response::new(v1::ReportReply {}))
    }
}
