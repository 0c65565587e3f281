//! Backups: `backup` and `restore`.

use std::path::PathBuf;

use clap::Args;
use control::Clock;
use serde_json::json;

use super::set_up::ConfigFile;
use super::{Failure, Shape, show};
use crate::backup::{self, BackupError, Made, Manifest, RestoreError, Restored, Way};
use crate::config::Config;
use crate::state::StateError;

/// Copy the gateway's state, keys and configuration into a new folder, also while it runs
///
/// The folder holds private keys, and is for its owner alone. What the configuration names elsewhere, such as
/// passwords of targets, is not in it.
#[derive(Debug, Args)]
pub(super) struct Backup {
    #[command(flatten)]
    place: ConfigFile,
    /// Copy the recordings, too
    #[arg(long)]
    recordings: bool,
    /// The folder to make
    to: PathBuf,
    #[command(flatten)]
    shape: Shape,
}

/// Put a backup back into the state folder of a gateway that doesn't run: all of it, or nothing
///
/// The configuration stays as it is; the backup's is in its folder `config`.
#[derive(Debug, Args)]
pub(super) struct Restore {
    #[command(flatten)]
    place: ConfigFile,
    /// Only check that the backup is whole
    #[arg(long, conflicts_with_all = ["replace", "up_to_date"])]
    check: bool,
    /// Take a state folder that holds something; what is there is kept in a folder in it
    #[arg(long)]
    replace: bool,
    /// Nothing happened after this backup was made, as when the gateway moves to another machine: grants
    /// and sign-ins stay
    #[arg(long)]
    up_to_date: bool,
    /// The backup's folder
    from: PathBuf,
    #[command(flatten)]
    shape: Shape,
}

impl Backup {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let config = Config::load(&self.place.config)?;
        let now = Clock::system().now();
        let made = backup::make(&config, &self.to, self.recordings, now).await?;
        let Made { folder, manifest } = &made;
        show(self.shape, &to_json(manifest), || {
            Ok(format!(
                "{} holds {}.\nIt holds the gateway's private keys: keep it encrypted, and away from the \
                 gateway.\n",
                folder.display(),
                describe(manifest)
            ))
        })
    }
}

impl Restore {
    pub(super) async fn run(self) -> Result<(), Failure> {
        if self.check {
            let manifest = backup::check(&self.from).await?;
            return show(self.shape, &to_json(&manifest), || {
                Ok(format!("{} is whole: {}.\n", self.from.display(), describe(&manifest)))
            });
        }
        let config = Config::load(&self.place.config)?;
        let way = Way { replace: self.replace, up_to_date: self.up_to_date };
        let now = Clock::system().now();
        let restored = backup::restore(&config, &self.from, way, now).await?;
        show(self.shape, &to_json(&restored.manifest), || Ok(self.report(&config, &restored)))
    }

    fn report(&self, config: &Config, restored: &Restored) -> String {
        let state = config.gateway.state.display();
        let mut text = format!("restored into {state}: {}.\n", describe(&restored.manifest));
        if let Some(replaced) = &restored.replaced {
            text += &format!(
                "What was there before is in {}: it holds private keys, so remove it once it is not \
                 needed.\n",
                replaced.display()
            );
        }
        text += match (restored.kept_mark, self.up_to_date) {
            (true, _) => {
                "This folder knows how far its store had come. If the backup is older, the next start needs \
                 `postern up --accept-rollback`.\n"
            }
            (false, true) => "The next start goes on where the backup was made.\n",
            (false, false) => {
                "What was revoked, removed or locked after the backup is not in it. So the next start needs \
                 `postern up --accept-rollback`, which ends all grants and sign-ins.\n"
            }
        };
        text
    }
}

fn describe(manifest: &Manifest) -> String {
    format!(
        "{} files, {} bytes, made at {}, with the audit log up to event {}",
        manifest.count(),
        manifest.bytes(),
        manifest.made_at,
        manifest.store.event
    )
}

fn to_json(manifest: &Manifest) -> serde_json::Value {
    json!({
        "made_at": manifest.made_at.to_string(), "version": manifest.version,
        "files": manifest.count(), "bytes": manifest.bytes(), "store": manifest.store,
    })
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        match error {
            BackupError::Exists(_) | BackupError::NoStore(_) | BackupError::HalfRestored(_) => {
                Self::Conflict(error.to_string())
            }
            BackupError::Store(_) | BackupError::Io { .. } => {
                Self::Failed(crate::telemetry::chain(&error))
            }
        }
    }
}

impl From<RestoreError> for Failure {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Config(faults) => faults.into(),
            RestoreError::State(error) if matches!(*error, StateError::InUse { .. }) => {
                Self::Conflict(error.to_string())
            }
            RestoreError::NotEmpty(_) => Self::Conflict(error.to_string()),
            RestoreError::Unusable { .. }
            | RestoreError::State(_)
            | RestoreError::Mark(_)
            | RestoreError::Io { .. } => Self::Failed(crate::telemetry::chain(&error)),
        }
    }
}
