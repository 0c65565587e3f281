//! One `postern.toml`: all faults at once, each in its place; all or nothing; and the files of
//! `deploy/` do what they say.

mod deploy;
mod named;
mod notify;
mod text;
mod workloads;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use policies::{
    Binds, Credential, GroupName, Hold, IssuerName, Login, Partition, PrincipalId, TargetName, Ttl,
    UpstreamTls,
};
use postern::config::{ApiTls, Config, Environment, Faults, LogFormat};
use proptest::prelude::*;
use rstest::rstest;
use secrecy::ExposeSecret;

const LEAST: &str = "[gateway]\nhost = \"gate.example.com\"\n";
const TARGET: &str = "[targets.orders]\naddress = \"db.internal\"\ndatabases = [\"shop\"]\n\
                      [targets.orders.logins.app_rw]\ncertificate = true\n";

fn parse(text: &str) -> Result<Config, Faults> {
    Config::parse(text, Path::new("postern.toml"))
}

fn parsed(text: &str) -> Config {
    parse(text).unwrap_or_else(|faults| panic!("{faults}"))
}

/// The first line of each fault: place and message.
fn messages(faults: &Faults) -> Vec<String> {
    let first = |fault: &postern::config::Fault| format!("{}: {}", fault.site, fault.message);
    faults.all().iter().map(first).collect()
}

/// A folder with a configuration and what it names.
struct Set {
    folder: tempfile::TempDir,
}

impl Set {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("policies")).unwrap();
        let set = Self { folder };
        set.write("postern.toml", text);
        set.write("policies/access.cedar", "permit (principal, action, resource);\n");
        set
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).unwrap();
        self.allow(name, 0o600);
    }

    fn allow(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn config(&self) -> Config {
        Config::load(&self.path("postern.toml")).unwrap_or_else(|faults| panic!("{faults}"))
    }

    fn inventory(&self, environment: &[(&str, &str)]) -> Result<control::Inventory, Faults> {
        let pairs = environment.iter();
        let pairs = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.config().inventory_in(&pairs.collect::<Environment>())
    }

    fn refusal(&self) -> String {
        self.inventory(&[]).unwrap_err().to_string()
    }
}

/// One target with a login from this source, and further lines about the target.
fn with_login(source: &str, about: &str) -> String {
    let login = TARGET.replace("certificate = true", source);
    let target = login.replace("[\"shop\"]\n", &format!("[\"shop\"]\n{about}\n"));
    format!("{LEAST}{target}")
}

fn password(inventory: &control::Inventory) -> Option<String> {
    let (target, login) = (TargetName::new("orders").unwrap(), Login::new("app_rw").unwrap());
    let secret = inventory.secrets.get(&target, &login)?;
    Some(secret.expose_secret().to_owned())
}
