//! What is particular to an SSH target of a `postern.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use certs::UpstreamMode;
use policies::{Binds, Channel, Kind, PrincipalId, Recording, Ssh, StreamBound, TargetName, Ttl};

use super::fields::Endpoint;
use super::read::{Field, Section, Value};
use super::target::{self, Policy, Target, Tls};

const PORT: u16 = 22;
/// What passes where nobody says: the language of messages, and nothing that programs run.
const ENV: [&str; 2] = ["LANG", "LC_*"];

/// Reads an SSH target; `section` has been asked for its kind already.
pub(super) fn target(
    name: TargetName,
    mut section: Section<'_>,
    default_ttl: Ttl,
    base: &Path,
) -> Option<Target> {
    let name = section.located(name);
    let address = section.need::<Endpoint>("address", "address = \"web-1.internal:22\"");
    let policy = Policy::read(&mut section);
    let environment = section.take("environment");
    let labels = target::labels(&mut section);
    let logins = target::logins(&mut section, Kind::Ssh, base);
    let ttl = section.take_or("ttl", default_ttl);
    let ssh = read(&mut section);
    section.finish();
    let address = address?;
    Some(Target {
        name,
        kind: Kind::Ssh,
        host: address.host,
        port: address.port.unwrap_or(PORT),
        tls: Tls { mode: UpstreamMode::Off, roots: None, name: None },
        environment,
        labels,
        databases: Vec::new(),
        logins,
        hold: policy.hold,
        partition: policy.partition,
        recording: Recording { binds: Binds::Keep },
        ttl,
        replication: false,
        weak_auth: Default::default(),
        ssh: Some(ssh),
    })
}

fn read(section: &mut Section<'_>) -> Ssh {
    let (host_keys, host_authorities) =
        (host_keys(section.value("host_keys")), host_keys(section.value("host_authorities")));
    let read_only = section.take_or("read_only", false);
    let under = section.value("under").map_or_else(Vec::new, folders);
    let limited = read_only || !under.is_empty();
    // A shell or a command would lead around limits of file transfers.
    let default =
        if limited { BTreeSet::from([Channel::Sftp]) } else { Channel::default_channels() };
    let mut channels = section.value("channels").map_or(default, channels);
    if read_only {
        channels.remove(&Channel::SftpWrite);
    } else if channels.contains(&Channel::Sftp) {
        channels.insert(Channel::SftpWrite);
    }
    let record_streams = section.take_or("record_streams", StreamBound::default());
    let env = section.value("env").map_or_else(|| ENV.map(String::from).to_vec(), texts);
    if host_keys.is_empty() && host_authorities.is_empty() {
        section.missing(
            "nothing says how to recognise the target",
            "host_keys = [\"ssh-ed25519 AAAA…\"]`, as `ssh-keyscan` and its owner show, or \
             `host_authorities = [\"ssh-ed25519 AAAA…\"]",
        );
    }
    Ssh { host_keys, host_authorities, channels, env, read_only, under, record_streams }
}

fn texts(value: Value<'_>) -> Vec<String> {
    value.items("a list of texts").filter_map(String::read).collect()
}

/// Absolute paths, without anything that leads elsewhere.
fn folders(value: Value<'_>) -> Vec<String> {
    let mut found = Vec::new();
    for item in value.items("a list such as `[\"/srv/files\"]`") {
        let Some(folder) = String::read(item) else { continue };
        let is_plain = folder.starts_with('/')
            && !folder.contains('\0')
            && !folder.contains("//")
            && !folder.split('/').any(|part| part == "." || part == "..");
        if is_plain {
            found.push(folder);
        } else {
            item.fault_with_remedy("this is no absolute path", "write one such as `/srv/files`");
        }
    }
    found
}

fn host_keys(value: Option<Value<'_>>) -> Vec<String> {
    let file = "write the line as it is in `/etc/ssh/ssh_host_ed25519_key.pub` of the target";
    keys(value, file).into_iter().map(|(_, key)| key).collect()
}

/// The keys of one person. What is one's key can't be another's: it says who somebody is.
pub(super) fn persons(
    value: Option<Value<'_>>,
    id: &PrincipalId,
    all: &mut BTreeMap<String, PrincipalId>,
) -> Vec<String> {
    let mut found = Vec::new();
    for (item, key) in keys(value, "write the line as it is in `~/.ssh/id_ed25519.pub`") {
        let remedy = "write an Ed25519, ECDSA or security key: `ssh-keygen -t ed25519` makes one";
        if key.starts_with("ssh-rsa ") || key.starts_with("ssh-dss ") {
            item.fault_with_remedy("keys of this kind are not taken", remedy);
        } else if let Some(other) = all.insert(key.clone(), id.clone()) {
            let remedy = "give each person keys of their own";
            item.fault_with_remedy(format!("this is a key of `{other}` already"), remedy);
        } else {
            found.push(key);
        }
    }
    found
}

/// The keys of a list, each with its place.
fn keys<'v>(value: Option<Value<'v>>, file: &str) -> Vec<(Value<'v>, String)> {
    let mut found = Vec::new();
    let items = value.map(|value| value.items("a list of public keys"));
    for item in items.into_iter().flatten() {
        let Some(line) = String::read(item) else { continue };
        match certs::read_public_key(&line) {
            Ok(key) => found.push((item, key)),
            Err(_) => item.fault_with_remedy("this is no public key in OpenSSH's format", file),
        }
    }
    found
}

fn channels(value: Value<'_>) -> BTreeSet<Channel> {
    let mut found = BTreeSet::new();
    for item in value.items("a list such as `[\"shell\", \"sftp\"]`") {
        match String::read(item).map(|word| word.parse::<Channel>()) {
            Some(Ok(channel)) => {
                found.insert(channel);
            }
            Some(Err(unknown)) => {
                let words = Channel::ALL.map(Channel::word).join("`, `");
                item.fault_with_remedy(unknown.to_string(), format!("there are `{words}`"));
            }
            None => {}
        }
    }
    found
}
