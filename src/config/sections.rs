//! The sections about the gateway itself: everything in `postern.toml` but people and targets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use control::{Grants, Links, SignIn};
use policies::Ttl;
use proxy::RecordingSettings;
use url::Url;

use super::fields::{GatewayHost, WordOrTable, unknown_word, word_or_table};
use super::read::{Field, Located, Section, Value, path};

const STATE: &str = "/var/lib/postern";
const HANDSHAKE: Ttl = Ttl::from_secs(15);
const KEEPALIVE: Ttl = Ttl::from_secs(60);
const MOST_CONNECTIONS: u32 = 10_000_000;
const LONGEST_BANNER: usize = 4 * 1024;

/// Who the gateway is, and where it keeps things.
#[derive(Debug, Clone, PartialEq)]
pub struct Gateway {
    /// The name that clients connect to; targets have names below it.
    pub host: String,
    /// Where people reach the pages and the API.
    pub public_url: Url,
    /// The folder of the database and of the authority's keys.
    pub state: PathBuf,
    /// The folder of recordings.
    pub recordings: PathBuf,
}

impl Gateway {
    /// The database file.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state.join("postern.db")
    }

    /// The folder of the authority.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.state.join("authority")
    }
}

/// A certificate chain and its key, as files.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityFiles {
    /// The chain in PEM, leaf first.
    pub certificate: Located<PathBuf>,
    /// The private key in PEM.
    pub key: Located<PathBuf>,
}

/// The listeners for Postgres clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Postgres {
    /// Where to listen.
    pub listen: Vec<Located<SocketAddr>>,
    /// What to present; `None` for one that the gateway's own authority issues.
    pub identity: Option<IdentityFiles>,
    /// How clients without a certificate are asked who they are, where they don't say how.
    pub auth: PostgresAuth,
}

/// How clients without a certificate are asked who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresAuth {
    /// People confirm in a browser; programs are asked for a token of ours.
    Token,
    /// For an issuer's access token (`OAUTHBEARER`).
    Oauth,
}

/// The listeners for SSH clients.
#[derive(Debug, Clone, PartialEq)]
pub struct Ssh {
    /// Where to listen.
    pub listen: Vec<Located<SocketAddr>>,
    /// What clients are shown before they authenticate.
    pub banner: Option<String>,
}

/// The listener of pages and API.
#[derive(Debug, Clone, PartialEq)]
pub struct Api {
    /// Where to listen.
    pub listen: Located<SocketAddr>,
    /// How it is encrypted.
    pub tls: ApiTls,
}

/// How pages and API are encrypted.
#[derive(Debug, Clone, PartialEq)]
pub enum ApiTls {
    /// With a certificate that the gateway's own authority issues.
    Authority,
    /// With this certificate.
    Files(IdentityFiles),
    /// Not at all; on loopback only.
    Off,
}

/// The listener for Prometheus.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Where to listen.
    pub listen: Located<SocketAddr>,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// Which events, as `tracing` filters are written.
    pub filter: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Limits of connections and waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once.
    pub connections: u32,
    /// Connections at once from one address that haven't been identified.
    pub per_address: u32,
    /// How long a client may take to say who it is.
    pub handshake: Ttl,
    /// When a silent side of a session is asked whether it is still there.
    pub keepalive: Ttl,
    /// How long a connection waits for a person.
    pub hold: Ttl,
}

/// Whose authenticators may be registered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Passkeys {
    /// The certificates of their makers; without, everybody's may.
    pub roots: Option<Located<PathBuf>>,
}

/// Codes of authenticator apps.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totp {
    /// Whether they are taken.
    pub enabled: bool,
}

pub(super) fn gateway(mut section: Section<'_>, api: &Api, base: &Path) -> Option<Gateway> {
    let host = section.need::<GatewayHost>("host", "host = \"gate.example.com\"");
    let public_url = section.take::<Url>("public_url");
    let state = section.take_or("state", PathBuf::from(STATE));
    let recordings = section.take::<PathBuf>("recordings");
    section.finish();
    let GatewayHost(host) = host?;
    let state = base.join(state);
    Some(Gateway {
        public_url: public_url.or_else(|| own_address(&host, api))?,
        recordings: recordings.map_or_else(|| state.join("recordings"), |path| base.join(path)),
        state,
        host,
    })
}

/// The API's own address, where nobody says that there is another in front of it.
fn own_address(host: &str, api: &Api) -> Option<Url> {
    let listen = api.listen.value;
    let text = match api.tls {
        ApiTls::Off => format!("http://{listen}"),
        ApiTls::Authority | ApiTls::Files(_) => format!("https://{host}:{}", listen.port()),
    };
    Url::parse(&text).ok()
}

pub(super) fn postgres(mut section: Section<'_>, base: &Path) -> Postgres {
    let listen = match section.value("listen") {
        Some(value) => addresses(value),
        None => vec![section.located(SocketAddr::from(([127, 0, 0, 1], 5432)))],
    };
    let identity = identity(&mut section, base);
    let ways = [("token", PostgresAuth::Token), ("oauth", PostgresAuth::Oauth)];
    let auth = section.choice_or("auth", &ways, PostgresAuth::Token);
    section.finish();
    Postgres { listen, identity, auth }
}

pub(super) fn ssh(mut section: Section<'_>) -> Ssh {
    let listen = match section.value("listen") {
        Some(value) => addresses(value),
        None => vec![section.located(SocketAddr::from(([127, 0, 0, 1], 2222)))],
    };
    let banner = section.value("banner").and_then(banner);
    section.finish();
    Ssh { listen, banner }
}

/// Lines for the terminals of unauthenticated clients: nothing in them moves the cursor.
fn banner(value: Value<'_>) -> Option<String> {
    let text = String::read(value)?;
    if text.len() > LONGEST_BANNER {
        value
            .fault_with_remedy("this is too long", format!("write at most {LONGEST_BANNER} bytes"));
        return None;
    }
    if text.chars().any(|letter| letter.is_control() && letter != '\n') {
        value.fault_with_remedy("this has control characters", "write plain lines of text");
        return None;
    }
    Some(text.trim_end().lines().map(|line| format!("{line}\r\n")).collect())
}

fn addresses(value: Value<'_>) -> Vec<Located<SocketAddr>> {
    if value.raw().is_str() {
        return Located::read(value).into_iter().collect();
    }
    let items: Vec<Value<'_>> = value.items("a list such as `[\"127.0.0.1:5432\"]`").collect();
    if items.is_empty() && value.raw().is_array() {
        value.fault_with_remedy(
            "there is nowhere to listen",
            "write `listen = [\"127.0.0.1:5432\"]`",
        );
    }
    items.into_iter().filter_map(Located::read).collect()
}

/// A certificate and its key: both, or neither.
fn identity(section: &mut Section<'_>, base: &Path) -> Option<IdentityFiles> {
    let certificate = section.value("certificate");
    let key = section.value("key");
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let (certificate, key) = (path(certificate, base), path(key, base));
            Some(IdentityFiles { certificate: certificate?, key: key? })
        }
        (Some(alone), None) => {
            alone.fault_with_remedy("`certificate` needs its `key`", "write `key = \"tls.key\"`");
            None
        }
        (None, Some(alone)) => {
            alone.fault_with_remedy(
                "`key` needs its `certificate`",
                "write `certificate = \"tls.pem\"`",
            );
            None
        }
        (None, None) => None,
    }
}

pub(super) fn api(mut section: Section<'_>, base: &Path) -> Api {
    let listen = section
        .take("listen")
        .unwrap_or_else(|| section.located(SocketAddr::from(([127, 0, 0, 1], 7080))));
    let tls = section
        .value("tls")
        .and_then(|value| api_tls(value, listen.value, base))
        .unwrap_or(ApiTls::Authority);
    section.finish();
    Api { listen, tls }
}

fn api_tls(value: Value<'_>, listen: SocketAddr, base: &Path) -> Option<ApiTls> {
    match word_or_table(value, "api.tls".into())? {
        WordOrTable::Word("authority") => Some(ApiTls::Authority),
        WordOrTable::Word("off") if listen.ip().is_loopback() => Some(ApiTls::Off),
        WordOrTable::Word("off") => {
            value.fault_with_remedy(
                format!("`off` would show sign-ins to everybody on the way to {listen}"),
                "listen on `127.0.0.1:7080` behind a proxy that does TLS, or write `authority`",
            );
            None
        }
        WordOrTable::Word(word) => {
            unknown_word(value, word, &["authority", "off"]);
            None
        }
        WordOrTable::Table(mut table) => {
            if !table.has("certificate") && !table.has("key") {
                table.missing(
                    "`certificate` and `key` are missing",
                    "certificate = \"tls.pem\", key = \"tls.key\"",
                );
            }
            let files = identity(&mut table, base);
            table.finish();
            files.map(ApiTls::Files)
        }
    }
}

pub(super) fn metrics(mut section: Section<'_>) -> Metrics {
    let listen = section
        .take("listen")
        .unwrap_or_else(|| section.located(SocketAddr::from(([127, 0, 0, 1], 9187))));
    section.finish();
    Metrics { listen }
}

pub(super) fn log(mut section: Section<'_>) -> Log {
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = section.choice_or("format", &formats, LogFormat::Text);
    let filter = section.value("filter").and_then(filter);
    section.finish();
    Log { format, filter: filter.unwrap_or_else(|| "info".into()) }
}

fn filter(value: Value<'_>) -> Option<String> {
    let text = String::read(value)?;
    if tracing_subscriber::EnvFilter::try_new(&text).is_ok() {
        return Some(text);
    }
    value.fault_with_remedy(
        format!("`{text}` doesn't say which log lines are wanted"),
        "write a level such as `info`, or `info,proxy=debug`",
    );
    None
}

pub(super) fn limits(mut section: Section<'_>) -> Limits {
    let limits = Limits {
        connections: section.count_or("connections", MOST_CONNECTIONS, 20_000),
        per_address: section.count_or("per_address", MOST_CONNECTIONS, 512),
        handshake: section.take_or("handshake", HANDSHAKE),
        keepalive: section.take_or("keepalive", KEEPALIVE),
        hold: section.take_or("hold", minutes(10)),
    };
    section.finish();
    limits
}

pub(super) fn recording(mut section: Section<'_>) -> RecordingSettings {
    let default = RecordingSettings::default();
    let recording = RecordingSettings {
        session_quota: section.take_or("session_quota", default.session_quota),
        principal_quota: section.take_or("principal_quota", default.principal_quota),
        spool_quota: section.take_or("spool_quota", default.spool_quota),
        reserve: section.take_or("reserve", default.reserve),
    };
    section.finish();
    recording
}

pub(super) fn grants(mut section: Section<'_>) -> Grants {
    let grants = Grants {
        claim_within: section.take_or("claim_within", minutes(15)),
        request_patience: section.take_or("request_patience", minutes(30)),
        default: section.take_or("default", minutes(60)),
    };
    section.finish();
    grants
}

pub(super) fn sign_in(mut section: Section<'_>) -> SignIn {
    let links = [("enrol", Links::Enrol), ("sign-in", Links::SignIn)];
    let most = section.value("token_max");
    let sign_in = SignIn {
        links: section.choice_or("links", &links, Links::default()),
        idle: section.take_or("idle", minutes(60)),
        terminal_idle: section.take_or("terminal_idle", minutes(4 * 60)),
        absolute: section.take_or("absolute", minutes(12 * 60)),
        certificate: section.take_or("certificate", minutes(12 * 60)),
        token: section.take_or("token", minutes(60)),
        token_max: most.and_then(Ttl::read).unwrap_or(minutes(24 * 60)),
    };
    if let Some(most) = most.filter(|_| sign_in.token > sign_in.token_max) {
        most.fault_with_remedy(
            format!("`token_max` is shorter than `token`, {}", sign_in.token),
            format!("write at least `token_max = \"{}\"`", sign_in.token),
        );
    }
    section.finish();
    sign_in
}

/// Whose passkeys are taken, and whether codes are.
pub(super) fn passkeys(mut section: Section<'_>, base: &Path) -> Passkeys {
    let policy = section.value("attestation");
    let listed = policy.and_then(|value| value.choice(&[("none", false), ("listed", true)]));
    let given = section.value("attestation_roots");
    let roots = given.and_then(|value| path(value, base));
    if let (Some(true), Some(value), None) = (listed, policy, given) {
        value.fault_with_remedy(
            "`listed` wants the certificates of the makers",
            "name their file with `attestation_roots`, or write `attestation = \"none\"`",
        );
    }
    if let Some(value) = given.filter(|_| listed != Some(true)) {
        value.fault_with_remedy(
            "`attestation_roots` counts for nothing without `attestation = \"listed\"`",
            "write that too, or remove this",
        );
    }
    section.finish();
    Passkeys { roots }
}

pub(super) fn totp(mut section: Section<'_>) -> Totp {
    let totp = Totp { enabled: section.take_or("enabled", false) };
    section.finish();
    totp
}

const fn minutes(count: u64) -> Ttl {
    Ttl::from_secs(count * 60)
}

pub(super) fn policies(mut section: Section<'_>, base: &Path) -> Located<PathBuf> {
    let folder = section.path("folder", base);
    let folder = folder.unwrap_or_else(|| section.located(base.join("policies")));
    section.finish();
    folder
}
