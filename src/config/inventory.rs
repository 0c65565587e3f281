//! Reads what a configuration names: policies, secrets, trusted roots and certificates.
//!
//! All or nothing: one fault anywhere, and what was in force stays in force.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certs::store::{self, StoreError};
use certs::{Identity, TlsError, UpstreamMode};
use control::{AttestationRoots, Inventory, Secrets, WebhookSecret, World};
use policies::{
    Credential, IssuerName, Login, Principal, PrincipalId, RuleBook, Source, TargetName,
};
use policies::{Target as Ready, UpstreamTls};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::fault::{Fault, Faults, Site};
use super::issuer::{ClientSecret, Issuer};
use super::organisation::{Organisation, Place};
use super::read::Located;
use super::sections::{ApiTls, IdentityFiles};
use super::target::{Secret, Target, Tls};
use super::{Config, Person};

/// Libpq takes no longer password, and no longer one is typed.
const LONGEST_PASSWORD: usize = 1024;

/// The environment variables that a configuration may name.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, SecretString>);

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        let text = std::env::vars_os().filter_map(|(name, value)| {
            let value = value.into_string().ok()?;
            Some((name.into_string().ok()?, value))
        });
        text.collect()
    }

    fn get(&self, name: &str) -> Option<&SecretString> {
        self.0.get(name)
    }

    /// Where systemd puts the secrets of a service: the folder itself keeps others out, and the
    /// files, owned by root, have to be readable through an entry of an access control list.
    fn keeps(&self, path: &Path) -> bool {
        let folder = self.get("CREDENTIALS_DIRECTORY");
        folder.is_some_and(|folder| path.starts_with(folder.expose_secret()))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        let pairs = pairs.into_iter();
        Self(pairs.map(|(name, value)| (name, value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The certificates of the listeners that don't use one of the gateway's own authority.
#[derive(Debug, Clone)]
pub struct Identities {
    /// For Postgres clients.
    pub postgres: Option<Identity>,
    /// For pages and API.
    pub api: Option<Identity>,
}

impl Config {
    /// Reads policies, secrets and trusted roots; the environment is this process's.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn inventory(&self) -> Result<Inventory, Faults> {
        self.inventory_in(&Environment::of_process())
    }

    /// Reads policies, secrets and trusted roots.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn inventory_in(&self, environment: &Environment) -> Result<Inventory, Faults> {
        let mut faults = Vec::new();
        let rules = rules(&self.policies, &mut faults);
        let mut gathered = Gathered { environment, secrets: Secrets::default(), faults };
        let mut targets = control::Shared::<BTreeMap<_, _>>::default();
        for (name, target) in &self.targets {
            let ready = gathered.target(target);
            targets.insert(name.clone(), ready);
        }
        let issuers = self.issuers.iter().map(|(name, issuer)| {
            let ready = gathered.issuer(name, issuer);
            (name.clone(), ready)
        });
        let issuers: control::Shared<_> = issuers.collect();
        let channels = self.channels.iter().filter_map(|(name, channel)| {
            let ready = gathered.channel(name, channel)?;
            Some((name.clone(), ready))
        });
        let channels: control::Shared<_> = channels.collect();
        let ticket_secrets = gathered.ticket_secrets(self.workflow.ticket_secret.as_ref());
        let world = gathered.world(&self.organisation);
        let Gathered { secrets, faults, .. } = gathered;
        Faults::none_in(faults)?;
        let Some(rules) = rules else {
            return Err(Fault::new(self.policies.site.clone(), "there are no rules").into());
        };
        let programs = self.workloads.iter().map(|(id, workload)| (id, &workload.person));
        let people = self.people.iter().chain(programs);
        let people = people.map(|(id, person)| (id.clone(), known(id, person)));
        let workloads = self.workloads.iter();
        let workloads = workloads.map(|(id, workload)| (id.clone(), workload.proof.clone()));
        let (people, workloads) = (people.collect(), workloads.collect());
        let bearers = self.issuers.iter().filter_map(|(name, issuer)| {
            let bearer = issuer.bearer.as_ref()?;
            let (audience, scope) = (bearer.audience.clone(), bearer.scope.clone());
            let issuer = issuer.url.value.clone();
            Some((name.clone(), control::Bearer { issuer, audience, scope }))
        });
        let bearers = bearers.collect();
        let accounts = self.people.iter().filter_map(|(id, person)| {
            let account = &person.oidc.as_ref()?.value;
            Some(((account.issuer.clone(), account.subject.clone()), id.clone()))
        });
        let (rules, accounts) = (rules.into(), accounts.collect());
        Ok(Inventory {
            people,
            workloads,
            bearers,
            targets,
            rules,
            secrets,
            issuers,
            accounts,
            channels,
            workflow: self.workflow_with(ticket_secrets).into(),
            world,
        })
    }

    fn workflow_with(&self, ticket_secrets: Vec<WebhookSecret>) -> control::Workflow {
        control::Workflow {
            escalate_after: Some(self.workflow.escalate_after),
            escalate_to: self.workflow.escalate_to.clone(),
            same_as: second_identities(&self.people),
            ticket_secrets,
        }
    }

    /// Reads the certificates and keys of the listeners.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn identities(&self) -> Result<Identities, Faults> {
        let api = match &self.api.tls {
            ApiTls::Files(files) => Some(files),
            ApiTls::Authority | ApiTls::Off => None,
        };
        let mut faults = Vec::new();
        let mut read = |files: Option<&IdentityFiles>| {
            let identity = identity(files?);
            identity.map_err(|fault| faults.push(fault)).ok()
        };
        let identities =
            Identities { postgres: read(self.postgres.identity.as_ref()), api: read(api) };
        Faults::none_in(faults)?;
        Ok(identities)
    }

    /// Reads the certificates of makers of authenticators.
    ///
    /// # Errors
    /// Where there is no certificate to be read.
    pub fn attestation_roots(&self) -> Result<Option<AttestationRoots>, Faults> {
        let Some(file) = &self.passkeys.roots else { return Ok(None) };
        let fault = |why: String| {
            let told = format!("`{}`: {why}", file.value.display());
            Fault::new(file.site.clone(), told).mend("name a file of certificates in PEM")
        };
        let text =
            std::fs::read_to_string(&file.value).map_err(|error| fault(error.to_string()))?;
        Ok(Some(AttestationRoots::from_pem(&text).map_err(fault)?))
    }

    /// What is allowed, but hardly meant.
    #[must_use]
    pub fn warnings(&self, inventory: &Inventory) -> Vec<String> {
        let rosters = &self.organisation.rosters;
        let quorums = inventory.rules.quorums();
        let quorums = quorums.filter(|(_, quorum)| !rosters.contains_key(&quorum.group));
        let quorums = quorums.filter_map(|(rule, quorum)| {
            let people = self.people.values().filter(|person| !person.disabled);
            let there = people.filter(|person| person.groups.contains(&quorum.group)).count();
            (there < usize::from(quorum.count)).then(|| {
                let group = &quorum.group;
                format!("rule `{rule}` wants {quorum}, but only {there} can sign in from group `{group}`")
            })
        });
        quorums.chain(self.unheard(inventory)).collect()
    }
}

fn known(id: &PrincipalId, person: &Person) -> control::Person {
    control::Person {
        principal: Principal {
            id: id.clone(),
            name: person.name.clone(),
            groups: person.groups.clone(),
        },
        admin: person.admin,
        auditor: person.auditor,
        disabled: person.disabled,
        email: person.email.clone(),
    }
}

/// Second identities with the first: those that say so, and those that share an address of mail.
fn second_identities(people: &BTreeMap<PrincipalId, Person>) -> BTreeMap<PrincipalId, PrincipalId> {
    let mut by_mail: BTreeMap<String, &PrincipalId> = BTreeMap::new();
    let mut same = BTreeMap::new();
    for (id, person) in people {
        let said = person.same_as.as_ref().map(|first| &first.value);
        let mail = person.email.as_ref().map(|email| email.as_str().to_lowercase());
        let mailed = mail.map(|mail| *by_mail.entry(mail).or_insert(id));
        for other in said.into_iter().chain(mailed) {
            let (second, first) = (first_of(id, &same), first_of(other, &same));
            if second != first {
                same.insert(second, first);
            }
        }
    }
    let others = people.keys().map(|id| (id, first_of(id, &same)));
    let others = others.filter(|(id, first)| id != first);
    others.map(|(id, first)| (id.clone(), first.clone())).collect()
}

/// The first identity, as far as it is known.
fn first_of<'p>(
    id: &'p PrincipalId,
    same: &BTreeMap<&'p PrincipalId, &'p PrincipalId>,
) -> &'p PrincipalId {
    let mut first = id;
    while let Some(before) = same.get(first) {
        first = before;
    }
    first
}

/// Loads every `*.cedar` of the folder, in the order of their names.
fn rules(folder: &Located<PathBuf>, faults: &mut Vec<Fault>) -> Option<RuleBook> {
    let sources = match policy_sources(&folder.value) {
        Ok(sources) => sources,
        Err((path, error)) => {
            let message = format!("cannot read `{}`: {error}", path.display());
            let remedy = "policies are the `*.cedar` files of the folder that `[policies]` names";
            faults.push(Fault::new(folder.site.clone(), message).mend(remedy));
            return None;
        }
    };
    match RuleBook::load(&sources) {
        Ok(rules) => Some(rules),
        Err(refused) => {
            faults.extend(refused.0.into_iter().map(|fault| policy_fault(&sources, fault)));
            None
        }
    }
}

/// A fault of a rule, with the line that it is in.
pub(crate) fn policy_fault(sources: &[Source], fault: policies::PolicyFault) -> Fault {
    let source = sources.iter().find(|source| source.name == fault.file);
    let line = source.and_then(|source| source.text.lines().nth(fault.line.saturating_sub(1)));
    let file: Arc<str> = fault.file.as_str().into();
    let site = Site::at(&file, fault.line, fault.column, 1, line.unwrap_or_default());
    Fault::new(site, fault.message)
}

/// The rules of a folder, file by file, or the path that can't be read.
pub(crate) fn policy_sources(folder: &Path) -> Result<Vec<Source>, (PathBuf, std::io::Error)> {
    let blame = |path: &Path| {
        let path = path.to_owned();
        move |error| (path.clone(), error)
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(blame(folder))? {
        let path = entry.map_err(blame(folder))?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            files.push(path);
        }
    }
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).map_err(blame(&path))?;
            let name = path.display().to_string();
            Ok(Source { name, text })
        })
        .collect()
}

/// What is read for targets, one after the other.
pub(super) struct Gathered<'a> {
    environment: &'a Environment,
    secrets: Secrets,
    pub(super) faults: Vec<Fault>,
}

impl Gathered<'_> {
    fn target(&mut self, target: &Target) -> Ready {
        let logins = target.logins.iter();
        let logins = logins.map(|(login, secret)| {
            let kind = self.credential(&target.name.value, login, secret);
            (login.clone(), kind)
        });
        let logins = logins.collect();
        Ready {
            name: target.name.value.clone(),
            kind: target.kind,
            host: target.host.clone(),
            port: target.port,
            tls: self.tls(&target.tls),
            environment: target.environment.clone(),
            labels: target.labels.clone(),
            databases: target.databases.clone(),
            logins,
            hold: target.hold,
            partition: target.partition,
            recording: target.recording,
            default_ttl: target.ttl,
            replication: target.replication,
            ssh: target.ssh.clone(),
        }
    }

    fn issuer(&mut self, name: &IssuerName, issuer: &Issuer) -> control::Issuer {
        control::Issuer {
            name: name.clone(),
            url: issuer.url.value.clone(),
            client_id: issuer.client_id.clone(),
            client_secret: issuer.client_secret.as_ref().and_then(|from| self.client_secret(from)),
            ca: issuer.ca.as_ref().and_then(|file| self.roots(file)),
            scopes: issuer.scopes.clone(),
            groups_claim: issuer.groups_claim.clone(),
            groups: issuer.groups.clone(),
            admins: issuer.admins.clone(),
            auditors: issuer.auditors.clone(),
            userinfo: issuer.userinfo,
            refresh: issuer.refresh,
            refresh_grace: issuer.refresh_grace,
        }
    }

    /// The secrets with which the system of tickets signs, one a line: the old one stays until the
    /// new one is in use.
    fn ticket_secrets(&mut self, file: Option<&Located<PathBuf>>) -> Vec<WebhookSecret> {
        let Some(file) = file else { return Vec::new() };
        match self.text(file) {
            Ok(text) => {
                let lines = text.expose_secret().lines().map(str::trim);
                let lines = lines.filter(|line| !line.is_empty());
                let read: Result<Vec<WebhookSecret>, _> = lines.map(str::parse).collect();
                let told = match read {
                    Ok(secrets) if !secrets.is_empty() => return secrets,
                    Ok(_) => "there is no secret in it".to_owned(),
                    Err(error) => error.to_string(),
                };
                let told = format!("`{}`: {told}", file.value.display());
                self.faults.push(Fault::new(file.site.clone(), told));
            }
            Err(fault) => self.faults.push(fault),
        }
        Vec::new()
    }

    fn world(&mut self, organisation: &Organisation) -> World {
        let rosters = organisation.rosters.iter().map(|(name, roster)| {
            let from = match &roster.place {
                Place::File(path) => control::Place::File(path.clone()),
                Place::Web(url, bearer) => {
                    control::Place::Web { url: url.clone(), bearer: self.bearer(bearer.as_ref()) }
                }
            };
            let (people, refresh, keep) = (roster.people.clone(), roster.refresh, roster.keep);
            (name.clone(), control::RosterSource { from, people, refresh, keep })
        });
        let rosters = rosters.collect();
        let tickets = organisation.tickets.as_ref().map(|tickets| {
            let bearer = self.bearer(tickets.bearer.as_ref());
            let (url, state) = (tickets.url.clone(), tickets.state.clone());
            let (refresh, keep) = (tickets.refresh, tickets.keep);
            Arc::new(control::TicketSource { url, bearer, state, refresh, keep })
        });
        let calendar = Arc::new(organisation.calendar.clone());
        World::new(calendar, rosters, tickets)
    }

    fn bearer(&mut self, file: Option<&Located<PathBuf>>) -> Option<SecretString> {
        self.file(file?).map_err(|fault| self.faults.push(fault)).ok()
    }

    fn client_secret(&mut self, from: &ClientSecret) -> Option<SecretString> {
        let secret = match from {
            ClientSecret::File(file) => self.file(file),
            ClientSecret::Variable(name) => variable(self.environment, name),
        };
        secret.map_err(|fault| self.faults.push(fault)).ok()
    }

    fn credential(&mut self, target: &TargetName, login: &Login, secret: &Secret) -> Credential {
        let password = match secret {
            Secret::File(file) => self.file(file),
            Secret::Variable(name) => variable(self.environment, name),
            Secret::Certificate => return Credential::Certificate,
            Secret::Key(file) => {
                match self.key(file) {
                    Ok(key) => self.secrets.insert(target.clone(), login.clone(), key),
                    Err(fault) => self.faults.push(fault),
                }
                return Credential::Key;
            }
        };
        match password {
            Ok(password) => self.secrets.insert(target.clone(), login.clone(), password),
            Err(fault) => self.faults.push(fault),
        }
        Credential::Password
    }

    fn key(&self, file: &Located<PathBuf>) -> Result<SecretString, Fault> {
        let text = self.text(file)?;
        let unusable = |error: certs::SshError| Fault::new(file.site.clone(), error.to_string());
        certs::check_private_key(&text).map_err(unusable)?;
        Ok(text)
    }

    /// The one line of a secret file.
    pub(super) fn file(&self, file: &Located<PathBuf>) -> Result<SecretString, Fault> {
        let text = self.text(file)?;
        let what = format!("`{}`", file.value.display());
        password(text.expose_secret(), &what, &file.site)
    }

    /// A secret file as text.
    pub(super) fn text(&self, file: &Located<PathBuf>) -> Result<SecretString, Fault> {
        let path = &file.value;
        let read = if self.environment.keeps(path) {
            store::read_public(path).map(SecretSlice::from)
        } else {
            store::read_private(path)
        };
        let bytes = read.map_err(|error| stored(&file.site, &error))?;
        let what = format!("`{}`", path.display());
        let text = std::str::from_utf8(bytes.expose_secret())
            .map_err(|_| Fault::new(file.site.clone(), format!("{what} is not text")))?;
        Ok(text.into())
    }

    fn tls(&mut self, tls: &Tls) -> UpstreamTls {
        // Roots that can't be read are a fault, so that none never means the system's by accident.
        let roots = tls.roots.as_ref().and_then(|file| self.roots(file));
        match tls.mode {
            UpstreamMode::VerifyFull => UpstreamTls::VerifyFull { roots, name: tls.name.clone() },
            UpstreamMode::VerifyCa => UpstreamTls::VerifyCa { roots },
            UpstreamMode::InsecureNoVerify => UpstreamTls::InsecureNoVerify,
            UpstreamMode::Off => UpstreamTls::Off,
        }
    }

    pub(super) fn roots(&mut self, file: &Located<PathBuf>) -> Option<String> {
        match roots(file) {
            Ok(pem) => Some(pem),
            Err(fault) => {
                self.faults.push(fault);
                None
            }
        }
    }
}

fn roots(file: &Located<PathBuf>) -> Result<String, Fault> {
    let pem = store::read_public(&file.value).map_err(|error| stored(&file.site, &error))?;
    let unusable = || {
        let path = file.value.display();
        Fault::new(file.site.clone(), format!("`{path}` holds no usable certificate in PEM"))
            .mend("put the certificate of whoever signed the other side's into it")
    };
    certs::roots_from_pem(&pem).map_err(|_| unusable())?;
    String::from_utf8(pem).map_err(|_| unusable())
}

fn variable(environment: &Environment, name: &Located<String>) -> Result<SecretString, Fault> {
    let what = format!("environment variable `{}`", name.value);
    let value = environment.get(&name.value).ok_or_else(|| {
        Fault::new(name.site.clone(), format!("{what} is not set"))
            .mend("set it for this process, or name a file instead")
    })?;
    password(value.expose_secret(), &what, &name.site)
}

/// A password is one line; the line break that editors add isn't part of it.
fn password(text: &str, what: &str, site: &Site) -> Result<SecretString, Fault> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let problem = if line.is_empty() {
        "is empty"
    } else if line.contains(['\n', '\r', '\0']) {
        "holds more than one line"
    } else if line.len() > LONGEST_PASSWORD {
        "is too long to be a password"
    } else {
        return Ok(line.into());
    };
    let fault = Fault::new(site.clone(), format!("{what} {problem}"));
    Err(fault.mend("it holds the one password or secret, and nothing else"))
}

fn identity(files: &IdentityFiles) -> Result<Identity, Fault> {
    let (certificate, key) = (&files.certificate, &files.key);
    Identity::from_files(&certificate.value, &key.value).map_err(|error| match &error {
        TlsError::Store(refused) if path_of(refused) == certificate.value => {
            stored(&certificate.site, refused)
        }
        TlsError::Store(refused) => stored(&key.site, refused),
        TlsError::NoCertificate => Fault::new(certificate.site.clone(), error.to_string()),
        TlsError::NoKey
        | TlsError::Pair(_)
        | TlsError::NoIdentity
        | TlsError::NoRoots
        | TlsError::ServerName { .. }
        | TlsError::Rustls(_)
        | TlsError::Verifier(_) => Fault::new(key.site.clone(), error.to_string()),
    })
}

fn path_of(error: &StoreError) -> &Path {
    match error {
        StoreError::Io { path, .. }
        | StoreError::OpenToOthers { path, .. }
        | StoreError::OpenFolder { path, .. }
        | StoreError::SymbolicLink { path }
        | StoreError::NotAFile { path }
        | StoreError::Exists { path } => path,
    }
}

/// A file that can't be read: the error names it, and says how to mend its permissions.
fn stored(site: &Site, error: &StoreError) -> Fault {
    match error {
        StoreError::Io { source, .. } => Fault::new(site.clone(), format!("{error}: {source}"))
            .mend("paths are read from the folder of this file, as the user that runs the gateway"),
        StoreError::OpenToOthers { .. }
        | StoreError::OpenFolder { .. }
        | StoreError::SymbolicLink { .. }
        | StoreError::NotAFile { .. }
        | StoreError::Exists { .. } => Fault::new(site.clone(), error.to_string()),
    }
}
