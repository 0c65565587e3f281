//! `[notify.NAME]`: the channels that messages go out by, and which messages.
//!
//! What is a secret (the address of a Slack webhook, a signing secret, a password) stands in a file of its
//! own, and is read with the rest of the inventory, at the start and on every reload.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use control::{
    Bounds, ChannelFault, ChannelName, Hook, Inventory, Mail, MailTls, Patience, Reach, Server,
    Templates, Topic, Way, WebhookSecret,
};
use policies::{GroupName, Ttl};
use secrecy::{ExposeSecret, SecretString};

use super::Config;
use super::fault::Fault;
use super::fields::Endpoint;
use super::read::{Located, Section, Value, path};
use super::resolve::Resolver;

const ATTEMPTS: u32 = 15;
const RETRY_AFTER: Ttl = Ttl::from_secs(5);
const TIMEOUT: Ttl = Ttl::from_secs(10);
const LONGEST_TIMEOUT: Ttl = Ttl::from_secs(60);
/// How many secrets one webhook may be signed by.
const MOST_SECRETS: usize = 4;
/// How many templates a folder may hold, and how long each may be.
const MOST_TEMPLATES: usize = 200;
const LONGEST_TEMPLATE: u64 = 64 << 10;
/// Where mail is submitted (RFC 6409, RFC 8314).
const SUBMISSION: u16 = 587;
const SUBMISSIONS: u16 = 465;

/// A channel as it was written down: what it names is still to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Channel {
    /// What it tells.
    pub events: BTreeSet<Topic>,
    /// Where it isn't empty, only what is for people of these groups.
    pub groups: BTreeSet<GroupName>,
    /// Whether it may be at a private address.
    pub allow_private: bool,
    /// How long one try may take.
    pub timeout: Ttl,
    /// How often a message is tried.
    pub attempts: u32,
    /// The pause after the first try.
    pub retry_after: Ttl,
    /// The folder of templates that replace ours.
    pub templates: Option<Located<PathBuf>>,
    /// Certificates to trust instead of the system's.
    pub roots: Option<Located<PathBuf>>,
    /// By what.
    pub means: Located<Means>,
}

/// A channel that messages go out by.
#[derive(Debug, Clone, PartialEq)]
pub enum Means {
    /// Signed JSON to a program.
    Webhook {
        /// Where.
        url: Address,
        /// The file of its secrets, one a line.
        secrets: Located<PathBuf>,
    },
    /// A channel of Slack.
    Slack {
        /// The file of its address.
        url: Located<PathBuf>,
    },
    /// Mail to each.
    Email {
        /// The server's host.
        host: String,
        /// Its port.
        port: u16,
        /// How mail is encrypted on its way there.
        tls: MailTls,
        /// The sender.
        from: String,
        /// The name there and the file of its password.
        sign_in: Option<(String, Located<PathBuf>)>,
    },
}

/// Where a webhook's address is.
#[derive(Debug, Clone, PartialEq)]
pub enum Address {
    /// Here.
    Written(String),
    /// In a file, since it is a secret.
    File(Located<PathBuf>),
}

#[derive(Clone, Copy)]
enum Kind {
    Webhook,
    Slack,
    Email,
}

const KINDS: [(&str, Kind); 3] =
    [("webhook", Kind::Webhook), ("slack", Kind::Slack), ("email", Kind::Email)];

/// Reads `[notify]`.
pub(super) fn channels(section: Section<'_>, base: &Path) -> BTreeMap<ChannelName, Channel> {
    let sections = section.sections::<ChannelName>("notify").into_iter();
    sections.filter_map(|(name, section)| Some((name, channel(section, base)?))).collect()
}

fn channel(mut section: Section<'_>, base: &Path) -> Option<Channel> {
    let kind = match section.value("kind") {
        Some(value) => value.choice(&KINDS),
        None => {
            section.missing("`kind` is missing", "kind = \"webhook\"");
            None
        }
    };
    let events = section.value("events").map_or_else(Topic::usual, events);
    let common = (
        section.take_or("groups", Vec::new()).into_iter().collect(),
        section.take_or("allow_private", false),
        section.value("timeout").and_then(timeout).unwrap_or(TIMEOUT),
        section.count_or("attempts", 50, ATTEMPTS),
        section.take_or("retry_after", RETRY_AFTER),
        section.path("templates", base),
        section.path("roots", base),
    );
    let means = kind.and_then(|kind| match kind {
        Kind::Webhook => webhook(&mut section, base),
        Kind::Slack => slack(&mut section, base),
        Kind::Email => email(&mut section, base),
    });
    let means = means.map(|means| section.located(means));
    if kind.is_some() {
        section.finish();
    }
    let (groups, allow_private, timeout, attempts, retry_after, templates, roots) = common;
    Some(Channel {
        events,
        groups,
        allow_private,
        timeout,
        attempts,
        retry_after,
        templates,
        roots,
        means: means?,
    })
}

fn events(value: Value<'_>) -> BTreeSet<Topic> {
    let mut events = BTreeSet::new();
    for item in value.items("a list such as `[\"request.*\"]`") {
        let Some(pattern) = item.text("the name of an event") else { continue };
        match Topic::matching(pattern) {
            Ok(found) => events.extend(found),
            Err(error) => item.fault(error.to_string()),
        }
    }
    events
}

fn timeout(value: Value<'_>) -> Option<Ttl> {
    let span = value.parse::<Ttl>("a duration such as `10s`")?;
    if span <= LONGEST_TIMEOUT {
        return Some(span);
    }
    value.fault(format!("a try may take {LONGEST_TIMEOUT} at most"));
    None
}

fn webhook(section: &mut Section<'_>, base: &Path) -> Option<Means> {
    let (written, file) = (section.value("url"), section.value("url_file"));
    if let (Some(_), Some(second)) = (written, file) {
        second.fault_with_remedy("the address is given twice", "remove `url` or `url_file`");
    }
    if written.is_none() && file.is_none() {
        section.missing("`url` is missing", "url = \"https://hooks.example.com/postern\"");
    }
    let written = written.and_then(|value| value.text("a URL"));
    let written = written.map(|url| Address::Written(url.to_owned()));
    let file = file.and_then(|value| path(value, base)).map(Address::File);
    let secrets = file_of(section, "secret_file", base, "secret_file = \"secrets/webhook\"");
    Some(Means::Webhook { url: written.or(file)?, secrets: secrets? })
}

fn slack(section: &mut Section<'_>, base: &Path) -> Option<Means> {
    if let Some(value) = section.value("url") {
        value.fault_with_remedy(
            "whoever knows the address of a Slack webhook can write there: it is a secret",
            "write it to a file that only the gateway's user may read, and name that with `url_file`",
        );
        return None;
    }
    let url = file_of(section, "url_file", base, "url_file = \"secrets/slack\"");
    Some(Means::Slack { url: url? })
}

fn file_of(
    section: &mut Section<'_>,
    key: &'static str,
    base: &Path,
    example: &str,
) -> Option<Located<PathBuf>> {
    match section.value(key) {
        Some(value) => path(value, base),
        None => {
            section.missing(format!("`{key}` is missing"), example);
            None
        }
    }
}

fn email(section: &mut Section<'_>, base: &Path) -> Option<Means> {
    let ways =
        [("starttls", MailTls::StartTls), ("implicit", MailTls::Implicit), ("off", MailTls::Off)];
    let tls = section.choice_or("tls", &ways, MailTls::default());
    let server = section.need::<Endpoint>("server", "server = \"smtp.example.com:587\"");
    let from = section.need::<String>("from", "from = \"Postern <postern@example.com>\"");
    let (user, password) = (section.value("user"), section.value("password_file"));
    if let (Some(alone), None) | (None, Some(alone)) = (user, password) {
        alone.fault("`user` and `password_file` belong together: write both or neither");
    }
    let user = user.and_then(|value| <String as super::read::Field>::read(value));
    let sign_in = user.zip(password.and_then(|value| path(value, base)));
    let Endpoint { host, port } = server?;
    let usual = match tls {
        MailTls::Implicit => SUBMISSIONS,
        MailTls::StartTls | MailTls::Off => SUBMISSION,
    };
    Some(Means::Email { host, port: port.unwrap_or(usual), tls, from: from?, sign_in })
}

impl Resolver<'_> {
    /// The channel with all that it names. A fault is put down, and leaves none.
    pub(super) fn channel(
        &mut self,
        name: &ChannelName,
        channel: &Channel,
    ) -> Option<control::Channel> {
        let roots = match &channel.roots {
            Some(file) => Some(self.roots(file)?),
            None => None,
        };
        let reach = if channel.allow_private { Reach::Anywhere } else { Reach::Public };
        let bounds = Bounds { reach, timeout: channel.timeout, roots: roots.as_deref() };
        let way = self.way(&channel.means, bounds);
        let templates =
            channel.templates.as_ref().map_or_else(|| Ok(Templates::default()), templates);
        match (way, templates) {
            (Ok(way), Ok(templates)) => Some(control::Channel {
                name: name.clone(),
                topics: channel.events.clone(),
                groups: channel.groups.clone(),
                patience: Patience { attempts: channel.attempts, first_pause: channel.retry_after },
                timeout: channel.timeout,
                templates,
                way,
            }),
            (way, templates) => {
                self.faults.extend([way.err(), templates.err()].into_iter().flatten());
                None
            }
        }
    }

    fn way(&self, means: &Located<Means>, bounds: Bounds<'_>) -> Result<Way, Fault> {
        let unfit =
            |fault: ChannelFault| Fault::new(means.site.clone(), crate::telemetry::chain(&fault));
        match &means.value {
            Means::Webhook { url, secrets } => {
                let url = match url {
                    Address::Written(url) => SecretString::from(url.clone()),
                    Address::File(file) => self.environment.line(file)?,
                };
                let secrets = self.secrets(secrets)?;
                Hook::new(url.expose_secret(), secrets, bounds).map(Way::Webhook).map_err(unfit)
            }
            Means::Slack { url } => {
                let url = self.environment.line(url)?;
                Hook::new(url.expose_secret(), Vec::new(), bounds).map(Way::Slack).map_err(unfit)
            }
            Means::Email { host, port, tls, from, sign_in } => {
                let server = Server { host: host.clone(), port: *port };
                let sign_in = match sign_in {
                    Some((user, file)) => Some((user.clone(), self.environment.line(file)?)),
                    None => None,
                };
                let mail = Mail::new(server, *tls, sign_in, from, bounds);
                mail.map(|mail| Way::Email(Box::new(mail))).map_err(|fault| unfit(fault.into()))
            }
        }
    }

    /// The secrets of a webhook: while one takes the place of another, both stand in the file.
    fn secrets(&self, file: &Located<PathBuf>) -> Result<Vec<WebhookSecret>, Fault> {
        let text = self.environment.text(file)?;
        let lines = text.expose_secret().lines().filter(|line| !line.trim().is_empty());
        let secrets: Result<Vec<WebhookSecret>, _> =
            lines.map(|line| line.trim().parse()).collect();
        let what = format!("`{}`", file.value.display());
        match secrets {
            Ok(secrets) if (1..=MOST_SECRETS).contains(&secrets.len()) => Ok(secrets),
            Ok(_) => {
                let message = format!("{what} holds none, or more than {MOST_SECRETS} secrets");
                let remedy = "write the one that `postern notifications secret` prints into it";
                Err(Fault::new(file.site.clone(), message).with_remedy(remedy))
            }
            Err(error) => Err(Fault::new(file.site.clone(), format!("{what}: {error}"))),
        }
    }
}

/// Reads the templates of a folder, and tries each with every event.
fn templates(folder: &Located<PathBuf>) -> Result<Templates, Fault> {
    let fault = |why: String| Fault::new(folder.site.clone(), why);
    let files = template_files(&folder.value).map_err(fault)?;
    Templates::load(&files).map_err(|error| fault(error.to_string()))
}

fn template_files(folder: &Path) -> Result<Vec<(String, String)>, String> {
    let blame = |path: &Path, error: std::io::Error| format!("`{}`: {error}", path.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| blame(folder, error))? {
        let path = entry.map_err(|error| blame(folder, error))?.path();
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let size = fs::metadata(&path).map_err(|error| blame(&path, error))?;
        if name.starts_with('.') || size.is_dir() {
            continue;
        }
        if size.len() > LONGEST_TEMPLATE || files.len() >= MOST_TEMPLATES {
            return Err(format!(
                "`{}`: a folder holds {MOST_TEMPLATES} templates of 64 KiB at most",
                path.display()
            ));
        }
        let text = fs::read_to_string(&path).map_err(|error| blame(&path, error))?;
        files.push((name.to_owned(), text));
    }
    files.sort();
    Ok(files)
}

impl Config {
    /// Channels that would reach nobody.
    pub(super) fn unheard(&self, inventory: &Inventory) -> Vec<String> {
        let mut warnings = Vec::new();
        for (name, channel) in &self.channels {
            let meant = inventory.people.values().filter(|person| {
                let groups = &person.principal.groups;
                channel.groups.is_empty() || !groups.is_disjoint(&channel.groups)
            });
            let by_mail = matches!(channel.means.value, Means::Email { .. });
            let reached = meant.filter(|person| !by_mail || person.email.is_some()).count();
            // People whom an issuer vouches for come later.
            if reached == 0 && self.issuers.is_empty() {
                let what = if by_mail { "with an `email`" } else { "of its `groups`" };
                warnings
                    .push(format!("channel `{name}` reaches nobody: there are no people {what}"));
            }
        }
        warnings
    }
}
