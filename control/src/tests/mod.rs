//! Journeys through control, on a real SQLite file.

mod attestation;
mod complaints;
mod cuts;
mod decisions;
mod device;
mod emergencies;
mod factors;
mod feed;
mod four_eyes;
mod grants;
mod keys;
mod link;
mod login;
mod logins;
mod notify;
mod pending;
mod reconcile;
mod reference;
mod refusals;
mod reload;
mod reminders;
mod requests;
mod restart;
mod risk;
mod rollback;
mod ssh_keys;
mod ssh_proof;
mod step_up;
mod threats;
mod tickets;
mod tokens;
mod wait;
mod words;
mod workflow;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use policies::{
    Authn, Binds, Credential, Database, Environment, Grant, GroupName, Hold, Kind, Login, Method,
    Partition, Principal, PrincipalId, Recording, RequestId, RuleBook, Source, Target, TargetName,
    Timestamp, Ttl, UpstreamTls,
};
use secrecy::SecretString;
use tempfile::TempDir;

use crate::Control;
use crate::access::input::AccessRequestInput;
use crate::model::actor::Actor;
use crate::model::error::ControlError;
use crate::model::inventory::{Inventory, Secrets};
use crate::model::person::Person;
use crate::model::settings::Settings;
use crate::model::view::Asked;
use crate::platform::clock::Clock;
use crate::platform::shared::Shared;

pub(crate) const START: i64 = 1_800_000_000_000;

pub(crate) const RULES: &str = r#"
    permit (principal in Group::"engineering", action == Action::"connect", resource is Database)
    when { ["app_ro", "app_rw", "app_cert"].contains(context.login) };

    @id("writes take two DBAs") @approvals("2 of dba") @limit("1h")
    forbid (principal, action == Action::"connect", resource in Env::"prod")
    when { context.login == "app_rw" };

    @id("never from outside")
    forbid (principal, action, resource)
    when { context has source && !context.source.isInRange(ip("10.0.0.0/8")) };
"#;

/// A control plane in a folder of its own, whose clock stands still until it is moved.
pub(crate) struct World {
    pub(crate) control: Control,
    pub(crate) clock: Clock,
    pub(crate) folder: TempDir,
    authority: Arc<certs::Authority>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(|_| ()).await
    }

    /// The same, set up otherwise.
    pub(crate) async fn with(tx: impl FnOnce(&mut Settings)) -> Self {
        let folder = TempDir::new().unwrap();
        let clock = Clock::fixed(Timestamp::from_millis(START));
        let authority = Arc::new(certs::Authority::generate("Example CA", START).unwrap());
        let mut settings = settings(&folder, &authority);
        tx(&mut settings);
        let control = Control::open(settings, inventory(RULES), clock.clone()).await.unwrap();
        Self { control, clock, folder, authority }
    }

    /// Opens the same store again, as after a kill: nothing was closed.
    pub(crate) async fn reopened(self) -> Self {
        self.reopened_with(RULES).await
    }

    /// The same, with other rules.
    pub(crate) async fn reopened_with(self, rules: &str) -> Self {
        let settings = settings(&self.folder, &self.authority);
        let opened = Control::open(settings, inventory(rules), self.clock.clone()).await;
        Self { control: opened.unwrap(), ..self }
    }

    /// A connection of its own to the store, to look and to break things.
    pub(crate) async fn raw(&self) -> sqlx::SqliteConnection {
        let path = self.folder.path().join("postern.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        sqlx::ConnectOptions::connect(&options).await.unwrap()
    }

    pub(crate) fn pass(&self, secs: u64) {
        self.clock.advance(Ttl::from_secs(secs));
    }

    pub(crate) async fn ask(&self, who: &str, what: &str) -> Result<Asked, ControlError> {
        self.control.access.ask(&actor(who), access_to(what)).await
    }

    pub(crate) async fn approve(
        &self,
        who: &str,
        id: &RequestId,
    ) -> Result<Option<Grant>, ControlError> {
        let view = self.control.access.request(&actor("eve"), id).await?;
        let digest = view.request.digest();
        let approved = self
            .control
            .access
            .approve(
                &actor(who),
                id,
                crate::access::input::Yes { digest, shorten: None, step_up: None },
            )
            .await;
        approved.map(|asked| asked.grant)
    }

    /// A grant of alice's for `app_rw`, as two DBAs gave it.
    pub(crate) async fn write_grant(&self) -> Grant {
        let asked = self.ask("alice", "app_rw@orders").await.unwrap();
        assert!(self.approve("bob", &asked.request.id).await.unwrap().is_none());
        self.approve("carol", &asked.request.id).await.unwrap().unwrap()
    }

    pub(crate) async fn read_grant(&self) -> Grant {
        self.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap()
    }

    /// What happened, oldest first.
    pub(crate) async fn kinds(&self) -> Vec<String> {
        let paging = crate::model::view::Paging { cursor: None, limit: Some(200) };
        let page = self.control.kernel.audit(&actor("eve"), paging).await.unwrap();
        page.items.into_iter().rev().map(|event| event.kind.to_string()).collect()
    }
}

fn settings(folder: &TempDir, authority: &Arc<certs::Authority>) -> Settings {
    Settings {
        database: folder.path().join("postern.db"),
        accept_rollback: false,
        public_url: "https://gate.example.com/".parse().unwrap(),
        gateway: None,
        recordings: folder.path().join("recordings"),
        grants: crate::model::settings::Grants {
            claim_within: Ttl::from_secs(900),
            request_patience: Ttl::from_secs(1_800),
            default: Ttl::from_secs(3_600),
        },
        hold_patience: Ttl::from_secs(600),
        sign_in: crate::model::settings::SignIn {
            links: crate::model::settings::Links::SignIn,
            idle: Ttl::from_secs(3_600),
            terminal_idle: Ttl::from_secs(14_400),
            absolute: Ttl::from_secs(43_200),
            certificate: Ttl::from_secs(43_200),
            token: Ttl::from_secs(3_600),
            token_max: Ttl::from_secs(86_400),
        },
        attestation: None,
        totp: true,
        feed_fresh: Ttl::from_secs(30),
        authority: Arc::clone(authority),
        ssh: None,
    }
}

pub(crate) fn inventory(rules: &str) -> Inventory {
    let mut people = vec![
        person("alice", "engineering"),
        person("mallory", ""),
        person("bob", "dba engineering"),
        person("carol", "dba"),
        person("lena", "leads"),
        person("otto", "ops"),
        person("alice-admin", "dba"),
        Person { admin: true, auditor: true, ..person("eve", "") },
    ];
    people.extend((0..50).map(|number| person(&format!("dba-{number}"), "dba")));
    let mut secrets = Secrets::default();
    for login in ["app_ro", "app_rw"] {
        let (target, login) = (name("orders"), Login::new(login).unwrap());
        secrets.insert(target, login, SecretString::from("canary-upstream-password"));
    }
    let source = Source { name: "access.cedar".into(), text: rules.into() };
    Inventory {
        people: people.into_iter().map(|person| (person.principal.id.clone(), person)).collect(),
        workloads: Shared::default(),
        bearers: Shared::default(),
        targets: BTreeMap::from([(name("orders"), orders())]).into(),
        rules: RuleBook::load(&[source]).unwrap().into(),
        secrets,
        issuers: Shared::default(),
        accounts: Shared::default(),
        channels: Shared::default(),
        workflow: crate::model::workflow::Workflow {
            same_as: BTreeMap::from([("alice-admin".parse().unwrap(), "alice".parse().unwrap())]),
            ..crate::model::workflow::Workflow::default()
        }
        .into(),
        context: crate::model::context::Context::default(),
        ssh_keys: Shared::default(),
    }
}

fn name(text: &str) -> TargetName {
    TargetName::new(text).unwrap()
}

fn person(id: &str, groups: &str) -> Person {
    let groups = groups.split_whitespace().map(|group| GroupName::new(group).unwrap());
    let principal = Principal {
        id: PrincipalId::new(id).unwrap(),
        name: format!("{}{}", id[..1].to_uppercase(), &id[1..]),
        groups: groups.collect(),
    };
    let email = format!("{id}@example.com").parse().ok();
    Person { principal, admin: false, auditor: false, disabled: false, email }
}

fn orders() -> Target {
    let login = |name: &str| Login::new(name).unwrap();
    Target {
        name: name("orders"),
        kind: Kind::Postgres,
        host: "db.internal".into(),
        port: 5432,
        tls: UpstreamTls::Off,
        environment: Some(Environment::new("prod").unwrap()),
        labels: BTreeMap::new(),
        databases: ["shop", "reporting"].map(|name| Database::new(name).unwrap()).into(),
        logins: BTreeMap::from([
            (login("app_ro"), Credential::Password),
            (login("app_rw"), Credential::Password),
            (login("app_cert"), Credential::Certificate),
        ]),
        hold: Hold::Interactive,
        partition: Partition::Cut,
        recording: Recording { binds: Binds::Keep },
        default_ttl: Ttl::from_secs(3_600),
        replication: false,
        weak_auth: Default::default(),
        ssh: None,
    }
}

pub(crate) fn actor(id: &str) -> Actor {
    let known = inventory("");
    let person = known.people.get(&PrincipalId::new(id).unwrap()).unwrap();
    Actor {
        principal: person.principal.clone(),
        admin: person.admin,
        auditor: person.auditor,
        login: "ls-aaaaaaaaaaaa".parse().unwrap(),
        authn: Authn {
            method: Method::Link,
            at: Timestamp::from_millis(START),
            evidence: "ls-aaaaaaaaaaaa".into(),
            device: None,
        },
    }
}

pub(crate) fn access_to(what: &str) -> AccessRequestInput {
    AccessRequestInput::new(what.parse().unwrap())
}
