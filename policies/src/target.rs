//! What stands behind the gateway, and what exactly can be asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Database, Environment, Login, NameError, Ssh, TargetName, Ttl};

/// A service behind the gateway. A Postgres target has at least one database; the first is the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its name.
    pub name: TargetName,
    /// What it speaks.
    pub kind: Kind,
    /// Host name or address. Never shown to a client.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How its identity is verified.
    pub tls: UpstreamTls,
    /// The environment that rules speak of.
    pub environment: Option<Environment>,
    /// Labels that rules may ask for.
    pub labels: BTreeMap<String, String>,
    /// The databases that can be asked for; the first is the default.
    pub databases: Vec<Database>,
    /// The logins that can be asked for, and how the gateway signs in as each.
    pub logins: BTreeMap<Login, Credential>,
    /// Who is kept waiting for a person's act.
    pub hold: Hold,
    /// What becomes of live sessions when the control plane is out of reach.
    pub partition: Partition,
    /// What the recording keeps.
    pub recording: Recording,
    /// How long a grant lasts where nobody says.
    pub default_ttl: Ttl,
    /// Whether replication connections may be asked for at all.
    pub replication: bool,
    /// Ways of signing in that give a password away, and that the target may ask for all the same.
    pub weak_auth: BTreeSet<WeakAuth>,
    /// What is particular to an SSH target; nothing else has it.
    pub ssh: Option<Ssh>,
}

/// What a target speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The Postgres frontend/backend protocol, version 3.
    Postgres,
    /// SSH, version 2.
    Ssh,
}

impl Kind {
    /// Its name in configurations, on the wire and in recordings.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Ssh => "ssh",
        }
    }

    /// What rules call such a target.
    pub(crate) fn entity(self) -> &'static str {
        match self {
            Self::Postgres => "Database",
            Self::Ssh => "Host",
        }
    }
}

/// How the gateway signs in upstream. Only the kind is here; the secret is elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// A password from a file or the environment.
    Password,
    /// A certificate of our authority for the login: X.509 for Postgres, OpenSSH's for SSH.
    Certificate,
    /// A private key from a file, for SSH.
    Key,
}

/// A way of signing in that gives a password away to the other side, or to who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WeakAuth {
    /// The password in clear.
    Cleartext,
    /// An MD5 digest of the password.
    Md5,
    /// The password in clear, by SASL (RFC 4616).
    SaslPlain,
}

impl WeakAuth {
    /// Whether the password itself is sent, so that the other side has to be verified first.
    #[must_use]
    pub fn is_clear(self) -> bool {
        match self {
            Self::Cleartext | Self::SaslPlain => true,
            Self::Md5 => false,
        }
    }
}

/// How a target's identity is verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "kebab-case")]
pub enum UpstreamTls {
    /// Chain and name.
    VerifyFull {
        /// PEM certificates to trust instead of the system's.
        roots: Option<String>,
        /// The name that the certificate must carry where it isn't the host.
        name: Option<String>,
    },
    /// Chain only.
    VerifyCa {
        /// PEM certificates to trust instead of the system's.
        roots: Option<String>,
    },
    /// TLS with anyone: has to be written down.
    InsecureNoVerify,
    /// No TLS: has to be written down.
    Off,
}

/// Which clients wait while a person decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// Those that people type into.
    Interactive,
    /// All.
    Always,
    /// None: a refusal comes at once.
    Never,
}

/// What becomes of live sessions when control is out of reach and the feed's lease has lapsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partition {
    /// They are cut.
    Cut,
    /// They run to the end of their own lease.
    UntilLeaseEnd,
}

/// What the recording keeps of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Recording {
    /// What becomes of bind values.
    pub binds: Binds,
}

/// What a recording keeps of bind values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Binds {
    /// The values.
    Keep,
    /// Their digests.
    Hash,
    /// Their lengths only.
    Omit,
}

/// What is asked for: a login and a database on a target, written `app_rw@orders/reporting`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Resource {
    /// The target.
    pub target: TargetName,
    /// The upstream account.
    pub login: Login,
    /// The database; where it was left out, the target's default is filled in.
    pub database: Option<Database>,
}

/// Why a text, or a request, names no resource.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ResourceError {
    /// Not of the form `login@target[/database]`.
    #[error("`{0}` is not of the form login@target or login@target/database")]
    Form(String),
    /// One of the names is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// No such login on the target.
    #[error("target `{target}` has no login `{login}`")]
    UnknownLogin {
        /// The target.
        target: TargetName,
        /// What was asked for.
        login: Login,
    },
    /// No such database on the target.
    #[error("target `{target}` has no database `{database}`")]
    UnknownDatabase {
        /// The target.
        target: TargetName,
        /// What was asked for.
        database: Database,
    },
}

impl Target {
    /// The database that is meant where none is named.
    #[must_use]
    pub fn default_database(&self) -> Option<&Database> {
        self.databases.first()
    }

    /// Checks what is asked for against what this target has, and fills in the default database.
    ///
    /// # Errors
    /// Where the login or the database isn't one of this target's, to the byte.
    pub fn resolve(
        &self,
        login: &Login,
        database: Option<&Database>,
    ) -> Result<Resource, ResourceError> {
        if !self.logins.contains_key(login) {
            let (target, login) = (self.name.clone(), login.clone());
            return Err(ResourceError::UnknownLogin { target, login });
        }
        let database = database.or_else(|| self.default_database()).cloned();
        if let Some(unknown) = database.as_ref().filter(|name| !self.databases.contains(name)) {
            let (target, database) = (self.name.clone(), unknown.clone());
            return Err(ResourceError::UnknownDatabase { target, database });
        }
        Ok(Resource { target: self.name.clone(), login: login.clone(), database })
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.login, self.target)?;
        self.database.iter().try_for_each(|database| write!(f, "/{database}"))
    }
}

impl FromStr for Resource {
    type Err = ResourceError;

    /// A login may contain `@`; the last one separates it from the target.
    fn from_str(text: &str) -> Result<Self, ResourceError> {
        let form = || ResourceError::Form(text.chars().take(200).collect());
        let (login, place) = text.rsplit_once('@').ok_or_else(form)?;
        let (target, database) = match place.split_once('/') {
            Some((target, database)) => (target, Some(Database::new(database)?)),
            None => (place, None),
        };
        Ok(Self { target: TargetName::new(target)?, login: Login::new(login)?, database })
    }
}

#[cfg(test)]
pub(crate) fn orders() -> Target {
    Target {
        name: TargetName::new("orders").unwrap(),
        kind: Kind::Postgres,
        host: "db.internal".into(),
        port: 5432,
        tls: UpstreamTls::VerifyFull { roots: None, name: None },
        environment: Some(Environment::new("prod").unwrap()),
        labels: BTreeMap::from([("team".into(), "shop".into())]),
        databases: vec![Database::new("shop").unwrap(), Database::new("reporting").unwrap()],
        logins: BTreeMap::from([
            (Login::new("app_ro").unwrap(), Credential::Password),
            (Login::new("app_rw").unwrap(), Credential::Password),
        ]),
        hold: Hold::Interactive,
        partition: Partition::Cut,
        recording: Recording { binds: Binds::Keep },
        default_ttl: Ttl::from_secs(3600),
        replication: false,
        weak_auth: BTreeSet::new(),
        ssh: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_written_and_read() {
        for text in ["app_rw@orders", "app_rw@orders/reporting", "alice@example.com@orders"] {
            assert_eq!(text.parse::<Resource>().unwrap().to_string(), text);
        }
        for text in ["orders", "@orders", "app_rw@", "app_rw@orders/", "a@Orders", "a@b/c\0"] {
            assert!(text.parse::<Resource>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_what_the_target_has_can_be_asked_for_and_to_the_byte() {
        let target = orders();
        let login = Login::new("app_rw").unwrap();
        let resolved = target.resolve(&login, None).unwrap();
        assert_eq!(resolved.to_string(), "app_rw@orders/shop");
        for name in ["APP_RW", "app_rw ", "postgres"] {
            assert!(target.resolve(&Login::new(name).unwrap(), None).is_err(), "{name}");
        }
        for name in ["Shop", "shop ", "postgres", "template1"] {
            let database = Database::new(name).unwrap();
            assert!(target.resolve(&login, Some(&database)).is_err(), "{name}");
        }
    }
}
