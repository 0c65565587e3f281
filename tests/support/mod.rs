//! A whole gateway in the test's own process, in front of a real Postgres of its own.
//!
//! alice asks, bob and carol approve, dave watches nothing. The target `orders` has the databases
//! `shop` and `reporting`, and the logins `app_rw`, `app_ro` (passwords) and `cert_user` (certificate).
#![allow(dead_code, reason = "each test file uses its part of the support")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    missing_docs,
    unreachable_pub,
    reason = "a test that can't go on has failed"
)]

pub mod browser;
pub mod gateway_process;
pub mod issuer;
pub mod libpq;
pub mod pages;
pub mod raw;
pub mod signer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use control::{AccessRequestInput, Actor};
use policies::{DeviceId, Grant, PrincipalId, Resource, Ttl};
use postern::config::Config;
use postern::throwaway::{Cluster, Options};
use postern::up::Gateway;
use secrecy::ExposeSecret;

/// Engineers may have all; nobody has to be asked.
pub const OPEN: &str = r#"
@id("engineers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database);
"#;

/// The same, but a DBA has to say yes.
pub const FOUR_EYES: &str = r#"
@id("engineers")
permit (principal in Group::"engineering", action == Action::"connect", resource is Database);
@id("four eyes") @approvals("1 of dba") @limit("1h")
forbid (principal, action == Action::"connect", resource);
"#;

/// What differs from test to test.
#[derive(Debug, Clone)]
pub struct Setup {
    pub rules: &'static str,
    /// The gateway's name, by which the command line connects.
    pub host: &'static str,
    pub max_connections: u32,
    /// Lines of the section `[people.alice]`.
    pub alice: String,
    /// Lines of the section `[targets.orders]`.
    pub target: String,
    /// Lines of the section `[postgres]`.
    pub postgres: String,
    /// Lines of the section `[limits]`.
    pub limits: String,
    /// Lines of the section `[recording]`.
    pub recording: String,
    /// Whole sections at the end of the file.
    pub more: String,
    pub programs: Option<PathBuf>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            rules: OPEN,
            host: "gate.example.com",
            max_connections: 100,
            alice: String::new(),
            target: String::new(),
            postgres: String::new(),
            limits: "per_address = 20000".to_owned(),
            // Tests run on disks that are nearly full as well.
            recording: "reserve = \"4MiB\"".to_owned(),
            more: String::new(),
            programs: None,
        }
    }
}

/// A gateway and its target.
pub struct Bed {
    pub gateway: Gateway,
    pub cluster: Cluster,
    pub folder: tempfile::TempDir,
    pub config: PathBuf,
}

/// Files with which a person connects by certificate.
pub struct Files {
    pub cert: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

pub const SECRET_RW: &str = "canary-upstream-password-of-app-rw";
pub const SECRET_RO: &str = "canary-upstream-password-of-app-ro";

impl Bed {
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    pub async fn with(setup: Setup) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = private_folder();
        let state = folder.path().join("state");
        let (cluster, config) = tokio::task::spawn_blocking({
            let (folder, state) = (folder.path().to_owned(), state.clone());
            move || {
                let cluster = cluster(&setup, &state);
                let config = write_config(&folder, &state, cluster.port(), &setup, &cluster);
                (cluster, config)
            }
        })
        .await
        .unwrap();
        let loaded = Config::load(&config).unwrap_or_else(|faults| panic!("{faults}"));
        let gateway = Gateway::start(&loaded).await.unwrap_or_else(|error| panic!("{error:?}"));
        Self { gateway, cluster, folder, config }
    }

    pub fn port(&self) -> u16 {
        self.gateway.postgres_addr().unwrap().port()
    }

    /// Signs somebody in, as their one-time link would.
    pub async fn actor(&self, name: &str) -> Actor {
        let control = self.gateway.control();
        let id = PrincipalId::new(name).unwrap();
        let invite = control.identity.invite(None, &id).await.unwrap();
        control.identity.sign_in(&invite.code, control::Origin::default()).await.unwrap().actor
    }

    /// A live grant for alice, as the rules give it without asking anybody.
    pub async fn grant(&self, resource: &str, ttl: &str) -> Grant {
        let asked = self.ask("alice", resource, ttl).await;
        asked.grant.expect("the rules ask for nobody")
    }

    pub async fn ask(&self, name: &str, resource: &str, ttl: &str) -> control::Asked {
        let actor = self.actor(name).await;
        let input = AccessRequestInput {
            ttl: Some(ttl.parse::<Ttl>().unwrap()),
            reason: "a test".to_owned(),
            ..AccessRequestInput::new(resource.parse::<Resource>().unwrap())
        };
        self.gateway.control().access.ask(&actor, input).await.unwrap()
    }

    /// A token of alice's.
    pub async fn token(&self, resource: &str) -> String {
        let (actor, resource) = (self.actor("alice").await, resource.parse().unwrap());
        let minted =
            self.gateway.control().identity.mint_token(&actor, &resource, None, None).await;
        minted.unwrap().token.expose_secret().to_owned()
    }

    /// A certificate with its key, as `postern login` would write them.
    pub async fn files(&self, name: &str) -> Files {
        self.files_for(name, "laptop").await
    }

    pub async fn files_for(&self, name: &str, device: &str) -> Files {
        let actor = self.actor(name).await;
        let request = certs::NewRequest::generate().unwrap();
        let device = DeviceId::new(device).unwrap();
        let issued =
            self.gateway.control().identity.issue_certificate(&actor, &request.csr_pem, &device);
        let issued = issued.await.unwrap();
        let folder = self.folder.path().join(format!("{name}-{device}"));
        certs::store::create_private_dir(&folder).unwrap();
        let files = Files {
            cert: folder.join("client.crt"),
            key: folder.join("client.key"),
            ca: folder.join("ca.crt"),
        };
        certs::store::write_private(&files.key, request.key_pem.expose_secret().as_bytes())
            .unwrap();
        std::fs::write(&files.cert, issued.pem).unwrap();
        std::fs::write(&files.ca, self.ca_pem()).unwrap();
        files
    }

    pub fn ca_pem(&self) -> String {
        self.gateway.control().kernel.settings().authority.ca_pem().to_owned()
    }

    /// A libpq conninfo with a certificate.
    pub fn conninfo(&self, files: &Files, login: &str, database: &str) -> String {
        let Files { cert, key, ca } = files;
        format!(
            "host=localhost port={} user={login} dbname={database} sslmode=verify-full \
             sslrootcert={} sslcert={} sslkey={}",
            self.port(),
            ca.display(),
            cert.display(),
            key.display(),
        )
    }

    /// A libpq conninfo with a token, for clients that nobody types into.
    pub fn token_conninfo(&self, login: &str, database: &str) -> String {
        let ca = self.folder.path().join("ca.crt");
        std::fs::write(&ca, self.ca_pem()).unwrap();
        let (port, ca) = (self.port(), ca.display());
        format!(
            "host=localhost port={port} user={login} dbname={database} sslmode=verify-full sslrootcert={ca}"
        )
    }

    /// The details of all audit events of a kind, newest first.
    pub async fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        let bob = self.actor("bob").await;
        let paging = control::Paging { cursor: None, limit: Some(200) };
        let page = self.gateway.control().kernel.audit(&bob, paging).await.unwrap();
        let of = page.items.into_iter().filter(|event| event.kind == kind);
        of.map(|event| event.detail).collect()
    }

    /// Sessions of the target itself, seen from inside.
    pub fn upstream_sessions(&self) -> usize {
        let sql = "select count(*) from pg_stat_activity where application_name like 'postern:%'";
        self.cluster.psql(sql).unwrap().trim().parse().unwrap()
    }

    pub async fn no_upstream_session_stays(&self) {
        until("the target has no session of the gateway's", || self.upstream_sessions() == 0).await;
    }

    /// The statements of the one recording, as `postern replay` would show them.
    pub fn recordings(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().join("state/recordings");
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|ending| ending == "rec"));
        files.sort();
        files
    }

    /// The value of a metric's series, summed over its labels that contain `label`.
    pub async fn metric(&self, name: &str, label: &str) -> f64 {
        let url = format!("http://{}/metrics", self.gateway.metrics_addr().unwrap());
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let of = |line: &&str| {
            let series = line.strip_prefix(name).unwrap_or_default();
            series.starts_with(['{', ' ']) && line.contains(label)
        };
        let values = text.lines().filter(of).filter_map(|line| line.rsplit(' ').next());
        values.map(|value| value.parse::<f64>().unwrap()).sum()
    }
}

/// `psql` without anybody's settings.
pub fn psql(conninfo: &str) -> Command {
    client("psql", &["-X", "-v", "ON_ERROR_STOP=1", conninfo])
}

/// A libpq program without anybody's settings.
pub fn client(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program_path(program));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
        command.env_remove(name);
    }
    command.env("HOME", "/nonexistent").env("LC_ALL", "C");
    command
}

/// Postgres' own programs: not all of them are in the path.
pub fn program_path(program: &str) -> PathBuf {
    let newest =
        (15..=18).rev().map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")));
    newest
        .map(|folder| folder.join(program))
        .find(|path| path.exists())
        .unwrap_or_else(|| program.into())
}

/// Runs a command in another thread, and gives its success, output and errors.
pub async fn run(mut command: Command) -> (bool, String, String) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.expect("the program is installed");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

/// Waits for something to be true, for at most half a minute.
pub async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    until_some(what, async || is_so().then_some(())).await;
}

/// Waits for something to be there, for at most half a minute.
pub async fn until_some<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never came true that {what}");
}

/// Resident memory of this process, in KiB.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

pub fn private_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let permissions = std::fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().prefix("postern-test-").permissions(permissions).tempdir().unwrap()
}

fn cluster(setup: &Setup, state: &Path) -> Cluster {
    certs::store::create_private_dir(state).unwrap();
    let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let authority =
        certs::Authority::load_or_generate(&state.join("authority"), "Postern", now).unwrap();
    let options = Options {
        programs: setup.programs.clone(),
        max_connections: setup.max_connections,
        client_ca: Some(authority.ca_pem().to_owned()),
        hba: vec![
            "hostssl all cert_user 127.0.0.1/32 cert".to_owned(),
            "hostssl all clear_user 127.0.0.1/32 password".to_owned(),
            "hostssl all md5_user 127.0.0.1/32 md5".to_owned(),
        ],
        ..Options::default()
    };
    let cluster = Cluster::start(options).unwrap_or_else(|error| panic!("{error}"));
    let sql = format!(
        "create role app_rw login password '{SECRET_RW}';\n\
         create role app_ro login password '{SECRET_RO}';\n\
         create role cert_user login;\n\
         create role clear_user login password '{SECRET_RW}';\n\
         set password_encryption = md5;\n\
         create role md5_user login password '{SECRET_RW}';\n\
         create database shop owner app_rw;\n\
         create database reporting owner app_rw;\n"
    );
    cluster.psql(&sql).unwrap();
    cluster
}

fn write_config(
    folder: &Path,
    state: &Path,
    port: u16,
    setup: &Setup,
    cluster: &Cluster,
) -> PathBuf {
    let Setup { rules, host, alice, target, postgres, limits, recording, more, .. } = setup;
    let policies = folder.join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(policies.join("access.cedar"), rules).unwrap();
    std::fs::write(folder.join("target-ca.pem"), cluster.ca_pem()).unwrap();
    for (login, secret) in BTreeMap::from([("app_rw", SECRET_RW), ("app_ro", SECRET_RO)]) {
        certs::store::write_private(&folder.join(login), secret.as_bytes()).unwrap();
    }
    let state = state.display();
    let tls = if target.contains("tls =") {
        ""
    } else {
        "tls = { mode = \"verify-full\", roots = \"target-ca.pem\" }"
    };
    let address = if target.contains("address =") {
        String::new()
    } else {
        format!("address = \"localhost:{port}\"")
    };
    let certificate = if target.contains("\"off\"") {
        ""
    } else {
        "[targets.orders.logins.cert_user]\ncertificate = true"
    };
    let text = format!(
        r#"
[gateway]
host = "{host}"
public_url = "http://localhost:0"
state = "{state}"
[postgres]
listen = ["127.0.0.1:0"]
{postgres}
[api]
listen = "127.0.0.1:0"
tls = "off"
[metrics]
listen = "127.0.0.1:0"
[limits]
{limits}
[recording]
{recording}
[sign_in]
links = "sign-in"
[people.alice]
name = "Alice"
email = "alice@example.com"
groups = ["engineering"]
{alice}
[people.bob]
name = "Bob"
email = "bob@example.com"
groups = ["dba"]
admin = true
auditor = true
[people.carol]
name = "Carol"
email = "carol@example.com"
groups = ["dba"]
[people.dave]
name = "Dave"
[targets.orders]
kind = "postgres"
{address}
environment = "prod"
databases = ["shop", "reporting"]
{tls}
{target}
[targets.orders.logins.app_rw]
password_file = "app_rw"
[targets.orders.logins.app_ro]
password_file = "app_ro"
{certificate}
{more}
"#
    );
    let path = folder.join("postern.toml");
    std::fs::write(&path, text).unwrap();
    path
}
