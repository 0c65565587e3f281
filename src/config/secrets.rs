//! Reads the secrets, keys and certificates that a configuration names.
//!
//! A secret is a file for its owner alone, or a variable of the environment; it is one line, and never printed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use certs::store::{self, StoreError};
use certs::{Identity, TlsError};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

use super::fault::{Fault, Site};
use super::read::Located;
use super::sections::IdentityFiles;

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

    /// The one line of a secret file.
    pub(super) fn line(&self, file: &Located<PathBuf>) -> Result<SecretString, Fault> {
        let text = self.text(file)?;
        let what = format!("`{}`", file.value.display());
        password(text.expose_secret(), &what, &file.site)
    }

    /// A secret file as text.
    pub(super) fn text(&self, file: &Located<PathBuf>) -> Result<SecretString, Fault> {
        let path = &file.value;
        let read = if self.keeps(path) {
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

    /// The secret that a variable holds.
    pub(super) fn variable(&self, name: &Located<String>) -> Result<SecretString, Fault> {
        let what = format!("environment variable `{}`", name.value);
        let value = self.get(&name.value).ok_or_else(|| {
            Fault::new(name.site.clone(), format!("{what} is not set"))
                .with_remedy("set it for this process, or name a file instead")
        })?;
        password(value.expose_secret(), &what, &name.site)
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

/// Certificates to trust, as PEM.
pub(super) fn roots(file: &Located<PathBuf>) -> Result<String, Fault> {
    let pem = store::read_public(&file.value).map_err(|error| stored(&file.site, &error))?;
    let unusable = || {
        let path = file.value.display();
        Fault::new(file.site.clone(), format!("`{path}` holds no usable certificate in PEM"))
            .with_remedy("put the certificate of whoever signed the other side's into it")
    };
    certs::roots_from_pem(&pem).map_err(|_| unusable())?;
    String::from_utf8(pem).map_err(|_| unusable())
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
    Err(fault.with_remedy("it holds the one password or secret, and nothing else"))
}

/// A listener's own certificate and key.
pub(super) fn identity(files: &IdentityFiles) -> Result<Identity, Fault> {
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

/// A file that can't be read: the error names it, and says how to fix its permissions.
fn stored(site: &Site, error: &StoreError) -> Fault {
    match error {
        StoreError::Io { source, .. } => Fault::new(site.clone(), format!("{error}: {source}"))
            .with_remedy(
                "paths are read from the folder of this file, as the user that runs the gateway",
            ),
        StoreError::OpenToOthers { .. }
        | StoreError::OpenFolder { .. }
        | StoreError::SymbolicLink { .. }
        | StoreError::NotAFile { .. }
        | StoreError::Exists { .. } => Fault::new(site.clone(), error.to_string()),
    }
}
