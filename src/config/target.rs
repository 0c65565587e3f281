//! The targets of a `postern.toml`: where they are, how they are verified, and what they lend.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use certs::UpstreamMode;
use policies::{
    Binds, Database, Environment, Hold, Kind, Login, Partition, Recording, TargetName, Ttl,
    WeakAuth,
};

use super::fields::{Endpoint, WordOrTable, label, unknown_word, word_or_table};
use super::read::{Field, Located, Section, Value, path};

const PORT: u16 = 5432;
const MODES: [&str; 4] = ["verify-full", "verify-ca", "insecure-no-verify", "off"];

/// A target as it was written down: its files and secrets are still to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name.
    pub name: Located<TargetName>,
    /// What it speaks.
    pub kind: Kind,
    /// Host name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How its identity is verified.
    pub tls: Tls,
    /// The environment that rules speak of.
    pub environment: Option<Environment>,
    /// Labels that rules may ask for.
    pub labels: BTreeMap<String, String>,
    /// Its databases; the first is the default.
    pub databases: Vec<Database>,
    /// Its logins, and where their credentials are.
    pub logins: BTreeMap<Login, Secret>,
    /// Who is kept waiting.
    pub hold: Hold,
    /// What becomes of sessions without control.
    pub partition: Partition,
    /// What is recorded.
    pub recording: Recording,
    /// How long a grant lasts.
    pub ttl: Ttl,
    /// Whether replication may be asked for.
    pub replication: bool,
    /// Ways of signing in that give a password away, and that the target may ask for.
    pub weak_auth: BTreeSet<WeakAuth>,
    /// What is particular to an SSH target.
    pub ssh: Option<policies::Ssh>,
}

/// How a target's identity is verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Tls {
    /// How much of it.
    pub mode: UpstreamMode,
    /// Who may have signed, instead of those that the system trusts.
    pub roots: Option<Located<PathBuf>>,
    /// The name on the certificate, where it isn't the host.
    pub name: Option<String>,
}

/// Where the credential of a login is.
#[derive(Debug, Clone, PartialEq)]
pub enum Secret {
    /// A file that holds the password.
    File(Located<PathBuf>),
    /// An environment variable that holds the password.
    Variable(Located<String>),
    /// No secret: the gateway's authority issues a certificate.
    Certificate,
    /// A file that holds a private key, for SSH.
    Key(Located<PathBuf>),
}

pub(super) fn target(
    name: TargetName,
    mut section: Section<'_>,
    default_ttl: Ttl,
    base: &Path,
) -> Option<Target> {
    let kinds = [("postgres", Kind::Postgres), ("ssh", Kind::Ssh)];
    let kind = match section.value("kind") {
        Some(value) => value.choice(&kinds),
        None => Some(Kind::Postgres),
    };
    if kind == Some(Kind::Ssh) {
        return super::ssh::target(name, section, default_ttl, base);
    }
    let name = section.located(name);
    let address = section.need::<Endpoint>("address", "address = \"db.internal:5432\"");
    let tls = section.value("tls");
    let tls_read = tls.map_or(Some(Tls::full()), |value| read_tls(value, &name.value, base));
    let policy = Policy::read(&mut section);
    let environment = section.take("environment");
    let labels = labels(&mut section);
    let databases = databases(&mut section);
    let logins = logins(&mut section, Kind::Postgres, base);
    let ttl = section.take_or("ttl", default_ttl);
    let replication = section.take_or("replication", false);
    let weak_auth = section.value("weak_auth");
    let verified = tls_read
        .as_ref()
        .is_none_or(|tls| matches!(tls.mode, UpstreamMode::VerifyFull | UpstreamMode::VerifyCa));
    let weak_auth = weak_auth.map(|value| read_weak_auth(value, verified)).unwrap_or_default();
    section.finish();
    let off = tls_read.as_ref().is_some_and(|tls| tls.mode == UpstreamMode::Off);
    if let Some(value) = tls.filter(|_| off && logins.values().any(|s| *s == Secret::Certificate)) {
        value.fault_with_remedy(
            "a login with a certificate needs TLS",
            "write another `tls`, or give the login a `password_file`",
        );
    }
    let address = address?;
    Some(Target {
        name,
        kind: kind?,
        host: address.host,
        port: address.port.unwrap_or(PORT),
        tls: tls_read?,
        environment,
        labels,
        databases,
        logins,
        hold: policy.hold,
        partition: policy.partition,
        recording: policy.recording,
        ttl,
        replication,
        weak_auth,
        ssh: None,
    })
}

/// The choices of a target that are one word each.
pub(super) struct Policy {
    pub(super) hold: Hold,
    pub(super) partition: Partition,
    recording: Recording,
}

impl Policy {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let holds =
            [("interactive", Hold::Interactive), ("always", Hold::Always), ("never", Hold::Never)];
        let partitions = [("cut", Partition::Cut), ("until-lease-end", Partition::UntilLeaseEnd)];
        let all_binds = [("keep", Binds::Keep), ("hash", Binds::Hash), ("omit", Binds::Omit)];
        Self {
            hold: section.choice_or("hold", &holds, Hold::Interactive),
            partition: section.choice_or("partition", &partitions, Partition::Cut),
            recording: Recording { binds: section.choice_or("binds", &all_binds, Binds::Keep) },
        }
    }
}

impl Tls {
    fn full() -> Self {
        Self { mode: UpstreamMode::VerifyFull, roots: None, name: None }
    }
}

/// Ways of signing in; those that send the password itself need a target that is verified.
fn read_weak_auth(value: Value<'_>, verified: bool) -> BTreeSet<WeakAuth> {
    let known = [
        ("cleartext", WeakAuth::Cleartext),
        ("md5", WeakAuth::Md5),
        ("sasl-plain", WeakAuth::SaslPlain),
    ];
    let items = value.items("a list such as `[\"md5\"]`").filter_map(|item| {
        let way = item.choice(&known)?;
        if way.is_clear() && !verified {
            item.fault_with_remedy(
                "this sends the password to whoever answers",
                "write `tls = \"verify-full\"` or \"verify-ca\"",
            );
        }
        Some(way)
    });
    items.collect()
}

fn read_tls(value: Value<'_>, target: &TargetName, base: &Path) -> Option<Tls> {
    match word_or_table(value, format!("targets.{target}.tls"))? {
        WordOrTable::Word(word) => {
            let mode = mode(value, word)?;
            Some(Tls { mode, ..Tls::full() })
        }
        WordOrTable::Table(table) => tls_table(table, base),
    }
}

fn mode(value: Value<'_>, word: &str) -> Option<UpstreamMode> {
    let mode = word.parse().ok();
    if mode.is_none() {
        unknown_word(value, word, &MODES);
    }
    mode
}

fn tls_table(mut table: Section<'_>, base: &Path) -> Option<Tls> {
    let mode = match table.value("mode") {
        Some(value) => value.text("a TLS mode").and_then(|word| mode(value, word)),
        None => Some(UpstreamMode::VerifyFull),
    };
    let (roots, name) = (table.value("roots"), table.value("name"));
    table.finish();
    let mode = mode?;
    let verifies = matches!(mode, UpstreamMode::VerifyFull | UpstreamMode::VerifyCa);
    for (value, read) in [(roots, verifies), (name, mode == UpstreamMode::VerifyFull)] {
        if let Some(value) = value.filter(|_| !read) {
            let message = format!("`{mode}` doesn't look at this");
            value.fault_with_remedy(message, "remove it, or write `mode = \"verify-full\"`");
        }
    }
    Some(Tls {
        mode,
        roots: roots.and_then(|value| path(value, base)),
        name: name.and_then(server_name),
    })
}

fn server_name(value: Value<'_>) -> Option<String> {
    let text = String::read(value)?;
    if rustls_pki_types::ServerName::try_from(text.as_str()).is_ok() {
        return Some(text);
    }
    let message = format!("`{}` is no name that a certificate carries", text.escape_debug());
    value.fault_with_remedy(message, "write a DNS name or an IP address");
    None
}

pub(super) fn labels(section: &mut Section<'_>) -> BTreeMap<String, String> {
    let named = section.section("labels").named::<String>("labels");
    let read = named.into_iter();
    read.filter_map(|(key, _, _, value)| Some((key, label(value)?))).collect()
}

fn databases(section: &mut Section<'_>) -> Vec<Database> {
    let example = "databases = [\"shop\"]";
    let Some(value) = section.value("databases") else {
        section.missing("`databases` is missing", example);
        return Vec::new();
    };
    let mut found = Vec::new();
    for item in value.items("a list such as `[\"shop\"]`") {
        match Database::read(item) {
            Some(name) if found.contains(&name) => {
                item.fault(format!("database `{name}` stands here twice"));
            }
            Some(name) => found.push(name),
            None => {}
        }
    }
    let is_empty = value.raw().as_array().is_some_and(|array| array.is_empty());
    if is_empty {
        value.fault_with_remedy("a target has at least one database", format!("write `{example}`"));
    }
    found
}

pub(super) fn logins(
    section: &mut Section<'_>,
    kind: Kind,
    base: &Path,
) -> BTreeMap<Login, Secret> {
    let table = section.section("logins");
    if table.is_empty() {
        section.missing("there are no logins", "logins.app_rw.password_file = \"secrets/app_rw\"");
    }
    let sections = table.sections::<Login>("logins").into_iter();
    sections.filter_map(|(login, section)| Some((login, secret(section, kind, base)?))).collect()
}

/// Exactly one source of the credential.
fn secret(mut section: Section<'_>, kind: Kind, base: &Path) -> Option<Secret> {
    let file = section.value("password_file");
    let variable = section.value("password_env");
    let certificate = section.value("certificate");
    let key = (kind == Kind::Ssh).then(|| section.value("key_file")).flatten();
    let given = [file, variable, certificate, key].into_iter().flatten().count();
    if given > 1 || (given == 0 && section.is_empty()) {
        let many = if given == 0 { "no credential is" } else { "several credentials are" };
        section.missing(
            format!("{many} named"),
            "password_file = \"secrets/app_rw\"` or `password_env = \"APP_RW\"` or \
             `certificate = true",
        );
    }
    section.finish();
    if given != 1 {
        return None;
    }
    let file = file.and_then(|value| path(value, base)).map(Secret::File);
    let variable = variable.and_then(Located::read).map(Secret::Variable);
    let certificate = certificate.and_then(certificate_only);
    let key = key.and_then(|value| path(value, base)).map(Secret::Key);
    file.or(variable).or(certificate).or(key)
}

fn certificate_only(value: Value<'_>) -> Option<Secret> {
    if bool::read(value)? {
        return Some(Secret::Certificate);
    }
    value.fault_with_remedy(
        "`false` leaves the login without a credential",
        "write `certificate = true`, or name a `password_file`",
    );
    None
}
