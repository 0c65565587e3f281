//! Every key that a configuration may have: a sample that has each kind of section is read, and what the
//! readers ask for is noted.

use std::path::Path;

use super::read::{Document, Key, Section};

/// What begins the names in the sample; the reference writes `NAME` there.
const NAME: &str = "sample";

const SAMPLE: &str = r#"
[gateway]
host = "gate.example.com"
[postgres]
[ssh]
[metrics]
[api.tls]
certificate = "tls.pem"
key = "tls.key"
[tickets]
url = "https://tracker.example.com/issues/{ticket}"
state = "/state"
[rosters.sample]
file = "rosters/duty.ics"
[people.sample]
oidc = { issuer = "sample", subject = "00u1abcd" }
[workloads.sample-job]
issuer = "https://token.example.com"
audience = "https://gate.example.com"
claims.sub = "repo:example/shop"
[issuers.sample]
url = "https://login.example.com"
client_id = "postern"
groups = {}
[targets.sample]
address = "db.example.com"
databases = ["shop"]
tls = { mode = "verify-full" }
logins.sample.password_file = "secrets/app"
[targets.sample-host]
kind = "ssh"
address = "web-1.example.com"
host_keys = ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ"]
logins.sample.key_file = "secrets/host"
[notify.sample]
kind = "webhook"
url = "https://hooks.example.com/postern"
secret_file = "secrets/webhook"
[notify.sample-slack]
kind = "slack"
url_file = "secrets/slack"
[notify.sample-mail]
kind = "email"
server = "smtp.example.com"
from = "postern@example.com"
"#;

/// Every key, in the order in which they are read. The names of people, targets and so on are `NAME`.
#[must_use]
pub fn keys() -> Vec<Key> {
    let mut keys: Vec<Key> = Vec::new();
    for mut key in read().into_keys() {
        let parts = key.section.split('.');
        let parts = parts.map(|part| if part.starts_with(NAME) { "NAME" } else { part });
        key.section = parts.collect::<Vec<_>>().join(".");
        // Several targets and channels have been read.
        if !keys.iter().any(|known| (&known.section, known.name) == (&key.section, key.name)) {
            keys.push(key);
        }
    }
    keys
}

fn read() -> Document<'static> {
    let document = Document::new("sample.toml", SAMPLE);
    let table = document.parse();
    let root = Section::new(&document, table.get_ref(), 0..0, String::new());
    drop(super::read_config(root, Path::new("sample.toml")));
    drop(table);
    document
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_a_configuration_with_every_section() {
        let faults = read().into_faults();
        assert!(faults.is_empty(), "{faults:#?}");
        let keys = keys();
        for section in ["targets.NAME.tls", "targets.NAME.logins.NAME", "people.NAME.oidc"] {
            assert!(keys.iter().any(|key| key.section == section), "{section}: {keys:#?}");
        }
    }
}
