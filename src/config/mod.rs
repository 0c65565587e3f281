//! One `postern.toml`: what `postern up` reads.
//!
//! A text becomes a [`Config`] or [`Faults`], never a bit of both: unknown keys are refused, and
//! everything that is wrong is reported at once, each with its line. [`Config::load`] looks at the
//! file alone; [`Config::inventory`] reads what it names (policies, secrets, trusted roots), at the
//! start and again on every reload, all or nothing; [`Config::identities`] reads the certificates
//! of the listeners. [`check`] does all three.
//!
//! `read` is the machinery, `fields`, `sections` and `target` say what there is to be read.

mod directory;
mod fault;
mod fields;
mod inventory;
mod issuer;
mod nearest;
mod notify;
mod organisation;
mod read;
mod reference;
mod resolve;
mod rules;
mod secrets;
mod sections;
mod ssh;
mod target;
mod workflow;
mod workload;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use control::{ChannelName, Email, Grants, SignIn};
use policies::{GroupName, IssuerName, PrincipalId, TargetName, Ttl};
use proxy::RecordingSettings;

pub use fault::{Fault, Faults, Site, Spot};
pub use inventory::Identities;
pub use issuer::{Account, ClientSecret, Issuer};
pub use notify::{Address, Channel, Means};
pub use organisation::{Organisation, Place, Roster, Tickets};
pub use read::{Key, Located};
pub use reference::keys;
pub(crate) use rules::{policy_fault, policy_sources};
pub use secrets::Environment;
pub use sections::{
    Api, ApiTls, Gateway, IdentityFiles, Limits, Log, LogFormat, Metrics, Passkeys, Postgres,
    PostgresAuth, Ssh, Totp,
};
pub use target::{Secret, Target, Tls};
pub use workflow::Workflow;
pub use workload::Workload;

use read::{Document, Section};

/// Where the configuration of an installed gateway is.
pub const DEFAULT_PATH: &str = "/etc/postern/postern.toml";

/// A file that is larger is something else.
const MOST_BYTES: u64 = 16 << 20;

/// What a `postern.toml` says, checked as far as it can be by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// Who the gateway is, and where it keeps things.
    pub gateway: Gateway,
    /// The listeners for Postgres clients.
    pub postgres: Postgres,
    /// The listeners for SSH clients, where there are to be any.
    pub ssh: Option<Ssh>,
    /// The listener of pages and API.
    pub api: Api,
    /// The listener for Prometheus, where there is to be one.
    pub metrics: Option<Metrics>,
    /// What is logged, and how.
    pub log: Log,
    /// Limits of connections and waits.
    pub limits: Limits,
    /// How much room recordings may take.
    pub recording: RecordingSettings,
    /// The times of requests and grants.
    pub grants: Grants,
    /// How requests go their way.
    pub workflow: Workflow,
    /// How people sign in, how long that lasts, and what it brings.
    pub sign_in: SignIn,
    /// Whose authenticators may be registered.
    pub passkeys: Passkeys,
    /// Whether codes of authenticator apps are taken.
    pub totp: Totp,
    /// The folder of the policies.
    pub policies: Located<PathBuf>,
    /// The people.
    pub people: BTreeMap<PrincipalId, Person>,
    /// Programs that prove who they are by a token of an issuer.
    pub workloads: BTreeMap<PrincipalId, Workload>,
    /// Whom people sign in with.
    pub issuers: BTreeMap<IssuerName, Issuer>,
    /// The targets.
    pub targets: BTreeMap<TargetName, Target>,
    /// The channels that messages go out by.
    pub channels: BTreeMap<ChannelName, Channel>,
    /// Its clock, who is on call, and where its tickets are.
    pub organisation: Organisation,
}

/// A person as they were written down.
#[derive(Debug, Clone, PartialEq)]
pub struct Person {
    /// How people call them.
    pub name: String,
    /// The groups they are in.
    pub groups: BTreeSet<GroupName>,
    /// Whether they may lock, revoke and invite.
    pub admin: bool,
    /// Whether they may see everybody's sessions and the audit log.
    pub auditor: bool,
    /// Whether they are disabled: they can neither sign in nor connect.
    pub disabled: bool,
    /// Who they are at an issuer.
    pub oidc: Option<Located<Account>>,
    /// Where mail reaches them.
    pub email: Option<Email>,
    /// Whose second identity this is.
    pub same_as: Option<Located<PrincipalId>>,
    /// Their public SSH keys, each as OpenSSH writes one, without comments.
    pub ssh_keys: Vec<String>,
}

/// A configuration with all that it names.
#[derive(Debug)]
pub struct Checked {
    /// The configuration.
    pub config: Config,
    /// People, targets, rules and secrets.
    pub inventory: control::Inventory,
    /// The certificates of the listeners.
    pub identities: Identities,
}

/// Reads a configuration and everything that it names.
///
/// # Errors
/// Everything that is wrong with the file or, where nothing is, with what it names.
pub fn check(path: &Path) -> Result<Checked, Faults> {
    let config = Config::load(path)?;
    config.attestation_roots()?;
    match (config.inventory(), config.identities()) {
        (Ok(inventory), Ok(identities)) => Ok(Checked { config, inventory, identities }),
        (Err(faults), Ok(_)) | (Ok(_), Err(faults)) => Err(faults),
        (Err(one), Err(other)) => Err(one.and(other)),
    }
}

impl Config {
    /// Reads the file.
    ///
    /// # Errors
    /// Where it can't be read, and everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        let text = read_text(path)?;
        Self::parse(&text, path)
    }

    /// Reads a text as if it were the content of the file. Nothing that it names is looked at.
    ///
    /// # Errors
    /// Everything that is wrong with it. Where the syntax is broken, that alone is reported.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Faults> {
        let document = Document::new(&path.display().to_string(), text);
        let table = document.parse();
        let config = if document.has_faults() {
            None
        } else {
            let root = Section::new(&document, table.get_ref(), 0..0, String::new());
            read_config(root, path)
        };
        let faults = document.into_faults();
        Faults::none_in(faults)?;
        config.ok_or_else(|| {
            Fault::new(Site::file(&path.display().to_string()), "no configuration").into()
        })
    }

    /// The sections in which another configuration differs, but which a reload doesn't change.
    #[must_use]
    pub fn needs_restart(&self, newer: &Self) -> Vec<&'static str> {
        // Each section is named, so that a new one is decided on here before it compiles.
        let Self {
            gateway,
            postgres,
            ssh,
            api,
            metrics,
            log,
            limits,
            grants,
            sign_in,
            passkeys,
            totp,
            // A reload takes these over.
            file: _,
            recording: _,
            workflow: _,
            policies: _,
            people: _,
            workloads: _,
            issuers: _,
            targets: _,
            channels: _,
            organisation: _,
        } = self;
        let Grants { claim_within, request_patience, default: _ } = grants;
        let differs = [
            ("gateway", *gateway != newer.gateway),
            ("postgres", *postgres != newer.postgres),
            ("ssh", *ssh != newer.ssh),
            ("api", *api != newer.api),
            ("metrics", *metrics != newer.metrics),
            ("log", *log != newer.log),
            ("limits", *limits != newer.limits),
            ("grants.claim_within", *claim_within != newer.grants.claim_within),
            ("grants.request_patience", *request_patience != newer.grants.request_patience),
            ("sign_in", *sign_in != newer.sign_in),
            ("passkeys", *passkeys != newer.passkeys),
            ("totp", *totp != newer.totp),
        ];
        let differing = differs.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(section, _)| section).collect()
    }
}

fn read_text(path: &Path) -> Result<String, Faults> {
    let fault = |message: String| {
        Fault::new(Site::file(&path.display().to_string()), message)
            .with_remedy("name another file with `--config`, or fix this one")
    };
    let size =
        std::fs::metadata(path).map_err(|error| fault(format!("cannot be read: {error}")))?;
    if !size.is_file() || size.len() > MOST_BYTES {
        return Err(fault("is not a file of at most 16 MiB".into()).into());
    }
    Ok(std::fs::read_to_string(path).map_err(|error| fault(format!("cannot be read: {error}")))?)
}

fn read_config(mut root: Section<'_>, path: &Path) -> Option<Config> {
    let base = path.parent().unwrap_or(Path::new(""));
    let api = sections::api(root.section("api"), base);
    let gateway = sections::gateway(root.section("gateway"), &api, base);
    let postgres = sections::postgres(root.section("postgres"), base);
    let has_ssh = root.has("ssh");
    let ssh = Some(sections::ssh(root.section("ssh"))).filter(|_| has_ssh);
    let has_metrics = root.has("metrics");
    let metrics = Some(sections::metrics(root.section("metrics"))).filter(|_| has_metrics);
    let log = sections::log(root.section("log"));
    let limits = sections::limits(root.section("limits"));
    let recording = sections::recording(root.section("recording"));
    let grants = sections::grants(root.section("grants"));
    let workflow = workflow::workflow(root.section("workflow"), base);
    let sign_in = sections::sign_in(root.section("sign_in"));
    let passkeys = sections::passkeys(root.section("passkeys"), base);
    let totp = sections::totp(root.section("totp"));
    let policies = sections::policies(root.section("policies"), base);
    let located = people(root.section("people"));
    let people = located.iter().map(|(id, person)| (id.clone(), person.value.clone())).collect();
    let workloads = workload::workloads(root.section("workloads"), &people);
    let issuers = issuer::issuers(root.section("issuers"), base);
    let targets = targets(root.section("targets"), grants.default, base);
    let channels = notify::channels(root.section("notify"), base);
    let organisation = organisation::organisation(&mut root, base);
    let document = root.document();
    root.finish();
    issuer::check(&located, &issuers, document);
    workflow::check(&located, document);
    organisation::check(&located, &organisation.rosters, document);
    let listeners = postgres.listen.iter().chain([&api.listen]);
    let listeners = listeners.chain(ssh.iter().flat_map(|ssh| &ssh.listen));
    let listeners = listeners.chain(metrics.iter().map(|metrics| &metrics.listen));
    once_each(listeners, document);
    Some(Config {
        file: path.to_owned(),
        gateway: gateway?,
        postgres,
        ssh,
        api,
        metrics,
        log,
        limits,
        recording,
        grants,
        workflow,
        sign_in,
        passkeys,
        totp,
        policies,
        people,
        workloads,
        issuers,
        targets,
        channels,
        organisation,
    })
}

fn targets(section: Section<'_>, usual: Ttl, base: &Path) -> BTreeMap<TargetName, Target> {
    let sections = section.sections::<TargetName>("targets").into_iter();
    let targets = sections.filter_map(|(name, section)| {
        let target = target::target(name.clone(), section, usual, base)?;
        Some((name, target))
    });
    targets.collect()
}

fn people(section: Section<'_>) -> BTreeMap<PrincipalId, Located<Person>> {
    let sections = section.sections::<PrincipalId>("people").into_iter();
    let mut keys = BTreeMap::new();
    sections
        .map(|(id, mut section)| {
            let person = Person {
                name: section.take_or("name", id.to_string()),
                groups: section.take_or("groups", Vec::new()).into_iter().collect(),
                admin: section.take_or("admin", false),
                auditor: section.take_or("auditor", false),
                disabled: section.take_or("disabled", false),
                oidc: issuer::account(&mut section),
                email: section.take("email"),
                same_as: section.take("same_as"),
                ssh_keys: ssh::persons(section.value("ssh_keys"), &id, &mut keys),
            };
            let person = section.located(person);
            section.finish();
            (id, person)
        })
        .collect()
}

/// Faults every address that two listeners would fight for.
fn once_each<'a>(
    listeners: impl Iterator<Item = &'a Located<SocketAddr>>,
    document: &Document<'_>,
) {
    let mut seen: Vec<&Located<SocketAddr>> = Vec::new();
    for listener in listeners {
        if let Some(other) = seen.iter().find(|other| collide(other.value, listener.value)) {
            let message = match other.value == listener.value {
                true => format!("{} is another listener's already", listener.value),
                false => format!("{} is taken already by {}", listener.value, other.value),
            };
            let fault = Fault::new(listener.site.clone(), message);
            document.put(fault.with_remedy("give each listener a port of its own"));
        }
        seen.push(listener);
    }
}

/// Port 0 is any free one, and collides with nothing.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let (a, b) = (one.ip(), other.ip());
    let same_family = a.is_ipv4() == b.is_ipv4();
    let overlap = a == b || (same_family && (a.is_unspecified() || b.is_unspecified()));
    one.port() == other.port() && one.port() != 0 && overlap
}
