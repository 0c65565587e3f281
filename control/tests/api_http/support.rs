//! A small company with its gateway: alice and dave are engineers, bob is a DBA, carol is an admin,
//! erin an auditor. `app_ro` on `orders` is free, `app_rw` takes a DBA, `reports` a ticket and a reason; `dba`
//! nobody gets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use control::{Clock, Control, Inventory, Issuer, Person, Secrets, Settings, Shared, Workload};
use link::v1::{self, link_client::LinkClient};
use policies::{
    Binds, Credential, Hold, Kind, Partition, Principal, PrincipalId, Recording, RuleBook, Source,
    Target, Timestamp, Ttl, UpstreamTls,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::Connection;
use tempfile::TempDir;
use tower::ServiceExt;

pub(crate) const NOW: i64 = 1_800_000_000_000;

const RULES: &str = r#"
    @id("engineers ask")
    permit (principal in Group::"engineering", action == Action::"connect", resource is Database)
    when { ["app_ro", "app_rw"].contains(context.login) };

    @id("writing takes a DBA")
    @approvals("1 of dba")
    forbid (principal, action == Action::"connect", resource is Database)
    when { context.login == "app_rw" };

    @id("reports say why")
    permit (principal in Group::"engineering", action == Action::"connect", resource is Database)
    when { context.login == "reports" };

    @id("a ticket and a reason")
    @ticket("OPS-[0-9]+") @reason("12")
    forbid (principal, action == Action::"connect", resource is Database)
    when { context.login == "reports" };
"#;

/// A gateway's control plane with its store in a temporary folder.
pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) clock: Clock,
    router: Router,
    folder: TempDir,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The answer, which has to be this refusal in the shape that all have.
    pub(crate) fn refused(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()));
        }
        problem
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::at("https://gate.example.com/").await
    }

    pub(crate) async fn at(public_url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::fixed(Timestamp::from_millis(NOW));
        let settings = settings(&folder, public_url);
        let control = Control::open(settings, inventory(), clock.clone()).await.unwrap();
        let router = control.api();
        Self { control, clock, router, folder }
    }

    /// The same, where people sign in with an issuer and a workload shows its tokens. Nobody answers at the
    /// issuer's address.
    pub(crate) async fn federated() -> Self {
        let world = Self::new().await;
        let mut inventory = inventory();
        let ci = person("ci", "CI", &[], false, false);
        inventory.people.insert(ci.principal.id.clone(), ci);
        inventory.workloads.insert(id("ci"), workload());
        let corp = issuer();
        inventory.issuers.insert(corp.name.clone(), corp);
        world.control.sources.reload(inventory).await.unwrap();
        world
    }

    /// Every path that is served, with its parameters in braces.
    pub(crate) fn paths(&self) -> BTreeSet<String> {
        // axum lists its paths in its `Debug` form only.
        let shown = format!("{:?}", self.router);
        let quoted = shown.split('"').skip(1).step_by(2);
        quoted.filter(|text| text.starts_with('/')).map(str::to_owned).collect()
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 16 << 20).await.unwrap();
        Answer {
            status: parts.status,
            headers: parts.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// Calls the API with a JSON body, or without one where it is null.
    pub(crate) async fn call(&self, token: &str, what: &str, body: Value) -> Answer {
        self.call_with(token, what, body, &[]).await
    }

    pub(crate) async fn call_with(
        &self,
        token: &str,
        what: &str,
        body: Value,
        headers: &[(&str, &str)],
    ) -> Answer {
        let (method, path) = what.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(format!("/api/v1{path}"));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() {
            Body::empty()
        } else {
            request = request.header("content-type", "application/json");
            Body::from(body.to_string())
        };
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn code(&self, who: &str) -> String {
        let invite = self.control.identity.invite(None, &id(who)).await.unwrap();
        invite.code.expose_secret().to_owned()
    }

    /// The bearer token of a fresh login.
    pub(crate) async fn login(&self, who: &str) -> String {
        let code = self.code(who).await;
        let answer = self.call("", "POST /login", json!({ "code": code })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// Something of alice's: the request that this asks, as JSON.
    pub(crate) async fn asked(&self, token: &str, login: &str, reason: &str) -> Value {
        let requested = json!({ "resource": format!("{login}@orders"), "reason": reason });
        let answer = self.call(token, "POST /requests", requested).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    /// A session of alice's on this grant, with its recording.
    pub(crate) async fn session(&self, grant: &str, session: &str) {
        let opened = v1::SessionOpened {
            session: session.into(),
            grant: grant.into(),
            identity: Some(identity("alice", "Alice")),
            resource: Some(resource("app_ro")),
            client: "192.0.2.7:50000".into(),
            application: "psql".into(),
        };
        let happening = v1::Happening {
            id: format!("hp-{session}"),
            at_ms: NOW,
            happening: Some(v1::happening::Happening::Opened(opened)),
        };
        let report = v1::ReportRequest { proxy: "gate".into(), happenings: vec![happening] };
        let mut link = LinkClient::new(self.control.link_service());
        link.report(report).await.unwrap();
        let file = self.folder.path().join("recordings").join(format!("{session}.rec"));
        std::fs::write(file, b"frames").unwrap();
    }

    /// The file of the store.
    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("postern.sqlite")
    }

    /// Makes every look at a request fail.
    pub(crate) async fn break_store(&self) {
        let file = self.database();
        let address = format!("sqlite://{}", file.display());
        let mut store = sqlx::SqliteConnection::connect(&address).await.unwrap();
        sqlx::query("ALTER TABLE requests RENAME TO lost").execute(&mut store).await.unwrap();
    }

    /// A connection that waits, and the code that its terminal shows. It waits while the stream
    /// lives.
    pub(crate) async fn hold(
        &self,
        client: &str,
        application: &str,
        reason: &str,
    ) -> (tonic::Streaming<v1::AskEvent>, v1::Confirm) {
        self.hold_at("app_ro", client, application, reason).await
    }

    pub(crate) async fn hold_at(
        &self,
        login: &str,
        client: &str,
        application: &str,
        reason: &str,
    ) -> (tonic::Streaming<v1::AskEvent>, v1::Confirm) {
        let request = v1::AskRequest {
            identity: None,
            resource: Some(resource(login)),
            client: client.into(),
            application: application.into(),
            ttl_ms: None,
            reason: reason.into(),
            wait: true,
            patience_ms: 600_000,
            ticket: None,
        };
        let mut link = LinkClient::new(self.control.link_service());
        let mut events = link.ask(request).await.unwrap().into_inner();
        match events.message().await.unwrap().unwrap().event {
            Some(v1::ask_event::Event::Confirm(confirm)) => (events, confirm),
            other => panic!("{other:?}"),
        }
    }
}

/// Who holds this token.
pub(crate) async fn actor_of(world: &World, token: &str) -> control::Actor {
    world
        .control
        .identity
        .authenticate(&token.to_owned().into(), control::LoginKind::Terminal)
        .await
        .unwrap()
}

pub(crate) fn id(who: &str) -> PrincipalId {
    PrincipalId::new(who).unwrap()
}

/// The request as if it came over a socket from this address.
pub(crate) fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    let peer: SocketAddr = address.parse().unwrap();
    request.extensions_mut().insert(ConnectInfo(peer));
    request
}

fn resource(login: &str) -> v1::Resource {
    v1::Resource { target: "orders".into(), login: login.into(), database: Some("shop".into()) }
}

fn identity(principal: &str, name: &str) -> v1::Identity {
    v1::Identity {
        principal: principal.into(),
        name: name.into(),
        authn: Some(v1::Authn {
            method: "certificate".into(),
            at_ms: NOW,
            evidence: "0f".into(),
            device: None,
        }),
    }
}

fn settings(folder: &TempDir, public_url: &str) -> Settings {
    let recordings = folder.path().join("recordings");
    std::fs::create_dir_all(&recordings).unwrap();
    Settings {
        database: folder.path().join("postern.sqlite"),
        accept_rollback: false,
        public_url: public_url.parse().unwrap(),
        gateway: None,
        recordings,
        grants: control::Grants {
            claim_within: Ttl::from_secs(900),
            request_patience: Ttl::from_secs(1_800),
            default: Ttl::from_secs(3_600),
        },
        hold_patience: Ttl::from_secs(600),
        sign_in: control::SignIn {
            links: control::Links::SignIn,
            idle: Ttl::from_secs(3_600),
            terminal_idle: Ttl::from_secs(14_400),
            absolute: Ttl::from_secs(43_200),
            certificate: Ttl::from_secs(12 * 3_600),
            token: Ttl::from_secs(3_600),
            token_max: Ttl::from_secs(24 * 3_600),
        },
        attestation: None,
        totp: false,
        feed_fresh: Ttl::from_secs(30),
        authority: Arc::new(certs::Authority::generate("Example", NOW).unwrap()),
        ssh: None,
    }
}

fn inventory() -> Inventory {
    let people = [
        person("alice", "Alice <b>", &["engineering"], false, false),
        person("dave", "Dave", &["engineering"], false, false),
        person("bob", "Bob", &["dba"], false, false),
        person("carol", "Carol", &[], true, false),
        person("erin", "Erin", &[], false, true),
    ];
    let rules = Source { name: "rules.cedar".into(), text: RULES.into() };
    let orders = target();
    Inventory {
        people: people.into_iter().map(|person| (person.principal.id.clone(), person)).collect(),
        workloads: Shared::default(),
        bearers: Shared::default(),
        targets: BTreeMap::from([(orders.name.clone(), orders)]).into(),
        rules: RuleBook::load(&[rules]).unwrap().into(),
        secrets: Secrets::default(),
        issuers: Shared::default(),
        accounts: Shared::default(),
        channels: Shared::default(),
        workflow: Shared::default(),
        context: control::Context::default(),
        ssh_keys: Shared::default(),
    }
}

const ISSUER: &str = "https://127.0.0.1:9";

fn workload() -> Workload {
    Workload {
        issuer: ISSUER.parse().unwrap(),
        audience: "postern".to_owned(),
        claims: BTreeMap::from([("sub".to_owned(), "repo:example/shop:*".parse().unwrap())]),
        certificate_ttl: Ttl::from_secs(600),
    }
}

fn issuer() -> Issuer {
    Issuer {
        name: "corp".parse().unwrap(),
        url: ISSUER.parse().unwrap(),
        client_id: "postern".to_owned(),
        client_secret: None,
        ca: None,
        scopes: Vec::new(),
        groups_claim: "groups".to_owned(),
        groups: None,
        admins: BTreeSet::new(),
        auditors: BTreeSet::new(),
        userinfo: false,
        refresh: Ttl::from_secs(3_600),
        refresh_grace: Ttl::from_secs(3_600),
    }
}

fn person(who: &str, name: &str, groups: &[&str], admin: bool, auditor: bool) -> Person {
    let groups: BTreeSet<_> = groups.iter().map(|group| group.parse().unwrap()).collect();
    let name = name.to_owned();
    let principal = Principal { id: id(who), name, groups };
    Person { principal, admin, auditor, disabled: false, email: None }
}

fn target() -> Target {
    let logins = ["app_ro", "app_rw", "dba", "reports"];
    Target {
        name: "orders".parse().unwrap(),
        kind: Kind::Postgres,
        host: "db.internal".into(),
        port: 5432,
        tls: UpstreamTls::VerifyFull { roots: None, name: None },
        environment: Some("prod".parse().unwrap()),
        labels: BTreeMap::new(),
        databases: vec!["shop".parse().unwrap()],
        logins: logins.map(|login| (login.parse().unwrap(), Credential::Certificate)).into(),
        hold: Hold::Interactive,
        partition: Partition::Cut,
        recording: Recording { binds: Binds::Keep },
        default_ttl: Ttl::from_secs(3_600),
        replication: false,
        weak_auth: Default::default(),
        ssh: None,
    }
}
