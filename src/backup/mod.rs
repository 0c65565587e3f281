//! Backups of a gateway: one folder with a manifest, and the way back.
//!
//! `state/` holds the database as of one moment and the keys of the state folder, `config/` the configuration
//! and its rules, `recordings/` the recordings where they were asked for. `manifest.json` lists every file with
//! its length and SHA-256, and how far the database has come. Files that the configuration names elsewhere
//! (passwords, certificates, roots) are not in a backup: they belong to whoever keeps secrets.
//!
//! [`make`] writes beside the destination and renames at the end. [`restore`] verifies everything, stages it
//! inside of the state folder, and begins with one rename: a restore that is interrupted is either undone or
//! finished by whoever uses the folder next (`finish_restore`).

mod files;
mod make;
mod manifest;
mod restore;

use std::io;
use std::path::PathBuf;

use thiserror::Error;

pub use make::{Made, make};
pub use manifest::Manifest;
pub(crate) use restore::finish_restore;
pub use restore::{Restored, Way, check, restore};

use crate::config::Faults;

/// The manifest's name.
const MANIFEST: &str = "manifest.json";
/// The folders of a backup.
const STATE: &str = "state";
const CONFIG: &str = "config";
const RECORDINGS: &str = "recordings";
/// What is in a state folder, beside the database.
const DATABASE: &str = "postern.db";
const VAULT_KEY: &str = "vault.key";
const AUTHORITY: &str = "authority";

/// Why no backup was made. Nothing is left at the destination.
#[derive(Debug, Error)]
pub enum BackupError {
    /// Something is there already.
    #[error("`{}` is there already: name a folder that is still to be made", .0.display())]
    Exists(PathBuf),
    /// There is no store yet.
    #[error("there is no database `{}`: nothing was ever started with this configuration", .0.display())]
    NoStore(PathBuf),
    /// A restore into the state folder was interrupted.
    #[error("a restore into `{}` was interrupted: start the gateway, which finishes it", .0.display())]
    HalfRestored(PathBuf),
    /// The database can't be copied.
    #[error(
        "the database can't be copied: where the gateway that runs is of an older version, use its \
         own `postern backup`"
    )]
    Store(#[source] control::ControlError),
    /// A file can't be read or written.
    #[error("can't {action} `{}`", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why nothing was restored.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// The backup is not whole, or holds what none holds.
    #[error("the backup `{}` can't be used: {why}. The state folder was not touched", backup.display())]
    Unusable {
        /// The backup.
        backup: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The state folder holds something.
    #[error(
        "the state folder `{}` is not empty: name an empty one, or restore with `--replace`, which keeps \
         what is there in a folder beside it", .0.display()
    )]
    NotEmpty(PathBuf),
    /// The state folder is in use, or can't be used.
    #[error(transparent)]
    State(Box<crate::state::StateError>),
    /// The configuration can't be read.
    #[error("{0}")]
    Config(#[from] Faults),
    /// The first high-water mark can't be written.
    #[error("the high-water mark can't be written")]
    Mark(#[from] certs::store::StoreError),
    /// A file can't be read or written.
    #[error("can't {action} `{}`", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl From<crate::state::StateError> for RestoreError {
    fn from(error: crate::state::StateError) -> Self {
        Self::State(Box::new(error))
    }
}

/// What was being done to a file when it failed.
#[derive(Debug)]
struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl From<FileError> for BackupError {
    fn from(FileError { action, path, source }: FileError) -> Self {
        Self::Io { action, path, source }
    }
}

impl From<FileError> for RestoreError {
    fn from(FileError { action, path, source }: FileError) -> Self {
        Self::Io { action, path, source }
    }
}
