//! What a sign-in leaves on a person's machine, in `$POSTERN_HOME` or `~/.config/postern`.
//!
//! - `session.json`: the token and where it is good (for its owner alone)
//! - `client.crt`, `client.key`: the client certificate and its key (the key for its owner alone)
//! - `ca.crt`: the authority that the gateway's own certificate comes from
//! - `pg_service.conf`: one entry per target and database, for libpq

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use certs::store::{self, StoreError};
use policies::{Database, DeviceId, TargetName};
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use thiserror::Error;
use url::Url;

const VARIABLE: &str = "POSTERN_HOME";
const SESSION: &str = "session.json";
const CERTIFICATE: &str = "client.crt";
const KEY: &str = "client.key";
const AUTHORITY: &str = "ca.crt";
const SERVICES: &str = "pg_service.conf";
const SSH_KEY: &str = "id_ed25519";
const SSH_CERTIFICATE: &str = "id_ed25519-cert.pub";
const KNOWN_HOSTS: &str = "known_hosts";

/// Why what a sign-in left can't be used.
#[derive(Debug, Error)]
pub enum HomeError {
    /// Nobody signed in here.
    #[error("nobody is signed in here")]
    NotSignedIn,
    /// There is neither `$POSTERN_HOME` nor `$HOME`.
    #[error("there is no home folder: set `POSTERN_HOME`")]
    Nowhere,
    /// The folder's name can't stand in a configuration of libpq.
    #[error("`{0}` can't be used: its path holds control characters")]
    Path(String),
    /// A file can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file can't be removed.
    #[error("can't remove `{}`", path.display())]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The session's file is of another version, or damaged.
    #[error("`{}` can't be read: sign in again with `postern login`", .0.display())]
    Unreadable(PathBuf),
    /// The gateway didn't say where its Postgres clients go.
    #[error("the gateway doesn't say where Postgres clients connect: sign in again")]
    NoGateway,
    /// The gateway takes no SSH clients.
    #[error("the gateway takes no SSH clients")]
    NoSsh,
}

/// The folder of one person's sign-in.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

/// A sign-in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Session {
    /// The gateway's address.
    pub url: Url,
    /// The bearer token.
    #[serde(serialize_with = "exposed")]
    pub token: SecretString,
    /// Until when it is good, in RFC 3339.
    pub expires_at: String,
    /// Who.
    pub principal: String,
    /// How people call them.
    pub name: String,
    /// Under which name this machine's key is known.
    pub device: DeviceId,
    /// Until when the certificate is good, in RFC 3339.
    pub certificate_until: Option<String>,
    /// Where Postgres clients connect.
    pub gateway: Option<Place>,
}

/// Where Postgres clients connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

fn exposed<S: Serializer>(token: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose_secret())
}

impl Home {
    /// The folder that the environment names.
    ///
    /// # Errors
    /// Where it names none.
    pub fn find() -> Result<Self, HomeError> {
        let named = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = named(VARIABLE)
            .or_else(|| named("XDG_CONFIG_HOME").map(|folder| folder.join("postern")))
            .or_else(|| named("HOME").map(|folder| folder.join(".config/postern")));
        Self::at(&folder.ok_or(HomeError::Nowhere)?)
    }

    /// This folder.
    ///
    /// # Errors
    /// Where libpq's files couldn't name it.
    pub fn at(folder: &Path) -> Result<Self, HomeError> {
        let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let text = absolute.to_string_lossy();
        if text.chars().any(char::is_control) {
            return Err(HomeError::Path(text.escape_debug().to_string()));
        }
        Ok(Self(absolute))
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The file of the client certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.0.join(CERTIFICATE)
    }

    /// The file of the client certificate's key.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.0.join(KEY)
    }

    /// The file of the authority's certificate.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.0.join(AUTHORITY)
    }

    /// The file of libpq's services.
    #[must_use]
    pub fn services(&self) -> PathBuf {
        self.0.join(SERVICES)
    }

    /// The file of the SSH key; its certificate is beside it.
    #[must_use]
    pub fn ssh_key(&self) -> PathBuf {
        self.0.join(SSH_KEY)
    }

    /// The file of the host keys to trust: the gateway's authority vouches for all of them.
    #[must_use]
    pub fn known_hosts(&self) -> PathBuf {
        self.0.join(KNOWN_HOSTS)
    }

    /// The sign-in.
    ///
    /// # Errors
    /// Where there is none, or it can't be read.
    pub fn session(&self) -> Result<Session, HomeError> {
        let path = self.0.join(SESSION);
        if !path.exists() {
            return Err(HomeError::NotSignedIn);
        }
        let bytes = store::read_private(&path)?;
        serde_json::from_slice(bytes.expose_secret()).map_err(|_| HomeError::Unreadable(path))
    }

    /// The authority's certificate, where one was saved.
    ///
    /// # Errors
    /// Where it can't be read.
    pub fn ca(&self) -> Result<Option<Vec<u8>>, HomeError> {
        let path = self.authority();
        Ok(if path.exists() { Some(store::read_public(&path)?) } else { None })
    }

    /// Saves a sign-in.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn save(&self, session: &Session) -> Result<(), HomeError> {
        let path = self.0.join(SESSION);
        let text = serde_json::to_vec_pretty(session);
        let text = SecretSlice::from(text.map_err(|_| HomeError::Unreadable(path.clone()))?);
        store::create_private_dir(&self.0)?;
        Ok(store::write_private(&path, text.expose_secret())?)
    }

    /// Saves a key and its certificate, the key first.
    pub(super) fn save_certificate(&self, key: &SecretString, pem: &str) -> Result<(), HomeError> {
        store::create_private_dir(&self.0)?;
        store::write_private(&self.key(), key.expose_secret().as_bytes())?;
        Ok(store::write_public(&self.certificate(), pem.as_bytes())?)
    }

    /// Saves the authority's certificate.
    pub(super) fn save_authority(&self, pem: &str) -> Result<(), HomeError> {
        store::create_private_dir(&self.0)?;
        Ok(store::write_public(&self.authority(), pem.as_bytes())?)
    }

    /// Saves an SSH key and its certificate, the key first, and who vouches for host keys.
    pub(super) fn save_ssh(
        &self,
        key: &SecretString,
        certificate: &str,
        authority: &str,
    ) -> Result<(), HomeError> {
        store::create_private_dir(&self.0)?;
        store::write_private(&self.ssh_key(), key.expose_secret().as_bytes())?;
        let certificate = format!("{}\n", certificate.trim_end());
        store::write_public(&self.0.join(SSH_CERTIFICATE), certificate.as_bytes())?;
        let known = format!("@cert-authority * {}\n", authority.trim_end());
        Ok(store::write_public(&self.known_hosts(), known.as_bytes())?)
    }

    /// Saves an entry for each database of each target.
    pub(super) fn save_services(
        &self,
        gateway: &Place,
        targets: &[(TargetName, Vec<Database>)],
    ) -> Result<(), HomeError> {
        let mut text =
            String::from("# Written by `postern login`. Choose a login with `user=…`.\n");
        for (target, databases) in targets {
            for (place, database) in databases.iter().enumerate() {
                let name = database_name(target, Some(database).filter(|_| place > 0));
                self.service(&mut text, gateway, &name);
            }
        }
        Ok(store::write_public(&self.services(), text.as_bytes())?)
    }

    fn service(&self, text: &mut String, gateway: &Place, name: &str) {
        let (key, certificate) = (self.key(), self.certificate());
        let (authority, host, port) = (self.authority(), &gateway.host, gateway.port);
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "\n[{name}]\nhost={host}\nport={port}\ndbname={name}\nsslmode=verify-full\n\
             sslrootcert={}\nsslcert={}\nsslkey={}\n",
            authority.display(),
            certificate.display(),
            key.display()
        );
    }

    /// Forgets the sign-in: token, certificate and key.
    ///
    /// # Errors
    /// Where a file can't be removed.
    pub fn forget(&self) -> Result<(), HomeError> {
        for name in [SESSION, KEY, CERTIFICATE, SERVICES, SSH_KEY, SSH_CERTIFICATE, KNOWN_HOSTS] {
            let path = self.0.join(name);
            match fs::remove_file(&path) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(HomeError::Remove { path, source });
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// How a database is named at the gateway: the target alone means its default database.
pub(crate) fn database_name(target: &TargetName, database: Option<&Database>) -> String {
    database.map_or_else(|| target.to_string(), |database| format!("{target}/{database}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn session() -> Session {
        Session {
            url: Url::parse("https://gate.example.com").unwrap(),
            token: "secret".into(),
            expires_at: "2026-01-01T00:00:00Z".into(),
            principal: "alice".into(),
            name: "Alice".into(),
            device: DeviceId::new("laptop").unwrap(),
            certificate_until: None,
            gateway: None,
        }
    }

    #[test]
    fn a_sign_in_is_kept_for_its_owner_alone_and_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(&folder.path().join("home")).unwrap();
        assert!(matches!(home.session(), Err(HomeError::NotSignedIn)));
        home.save(&session()).unwrap();
        home.save_certificate(&"key".into(), "pem").unwrap();
        for name in [SESSION, KEY] {
            let mode = fs::metadata(home.0.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let read = home.session().unwrap();
        assert_eq!(read.token.expose_secret(), "secret");
        assert!(!format!("{read:?}").contains("secret"));
        home.forget().unwrap();
        assert!(matches!(home.session(), Err(HomeError::NotSignedIn)));
        assert!(!home.key().exists());
    }

    #[test]
    fn every_database_has_its_service() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path()).unwrap();
        let gateway = Place { host: "gate.example.com".into(), port: 5432 };
        let database = |name| Database::new(name).unwrap();
        let targets =
            [(TargetName::new("orders").unwrap(), vec![database("shop"), database("reporting")])];
        home.save_services(&gateway, &targets).unwrap();
        let text = fs::read_to_string(home.services()).unwrap();
        let entry = format!(
            "\n[orders/reporting]\nhost=gate.example.com\nport=5432\ndbname=orders/reporting\n\
             sslmode=verify-full\nsslrootcert={}\n",
            home.authority().display()
        );
        assert!(text.contains("\n[orders]\n") && text.contains(&entry), "{text}");
    }
}
