//! Putting a backup back: verified, staged, and begun with one rename.
//!
//! The folder of the staged files gets the name [`PENDING`] once everything is there and durable. From then on
//! the restore is done, whoever moves the files to their places: this process, or after a kill the next one that
//! takes the state folder. What was there before is kept in a folder of its own.
//!
//! A high-water mark that is there stays: so a backup that is older than it is noticed at the next start.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use control::HIGH_WATER_FILE;
use policies::Timestamp;
use serde::{Deserialize, Serialize};

use super::files::{Temporary, copy, create, failed, is_there, make_folder, rename, sync};
use super::manifest::{Entry, Manifest};
use super::{AUTHORITY, DATABASE, FileError, RECORDINGS, RestoreError, STATE, VAULT_KEY};
use crate::config::Config;
use crate::state::{LOCK_FILE, StateFolder, keep_owner};

/// A restore that is done but for the moves.
pub(super) const PENDING: &str = "restore.pending";
/// What is staged, in the state folder and in that of recordings.
const STAGED: &str = ".restore";
const PLAN: &str = "plan.json";
/// What belongs to a database that was in use.
const BESIDE_DATABASE: [&str; 3] = ["postern.db-wal", "postern.db-shm", "postern.db-journal"];

/// How to restore.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way {
    /// Whether a state folder that holds something is taken. What is there is kept beside it.
    pub replace: bool,
    /// Whether nothing happened after the backup was made, as when a gateway moves to another machine.
    pub up_to_date: bool,
}

/// What was restored.
#[derive(Debug)]
pub struct Restored {
    /// The backup's list.
    pub manifest: Manifest,
    /// Where the files are that were there before.
    pub replaced: Option<PathBuf>,
    /// Whether a high-water mark was there, which the next start compares the store with.
    pub kept_mark: bool,
}

/// What is left to be done with the staged files.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    /// The names that the backup brings.
    brings: Vec<String>,
    /// The folder for what is there, below the state folder.
    replaced: String,
    /// The folder of the recordings, where some are staged.
    recordings: Option<PathBuf>,
}

/// Restores a backup into the state folder of a configuration: all of it, or nothing.
///
/// # Errors
/// Whatever stands in the way. Where the backup can't be used, the state folder was not touched.
pub async fn restore(
    config: &Config,
    backup: &Path,
    way: Way,
    now: Timestamp,
) -> Result<Restored, RestoreError> {
    let manifest = check(backup).await?;
    let state = StateFolder::take(&config.gateway.state)?;
    let folder = state.path();
    let replaced = format!("replaced-{}", now.millis());
    let occupied = occupied(folder)?;
    if occupied && !way.replace {
        return Err(RestoreError::NotEmpty(folder.to_owned()));
    }
    let staged = Temporary::make(folder.join(STAGED))?;
    let brings = stage(&manifest, backup, STATE, &staged.0)?;
    let kept_mark = is_there(&folder.join(HIGH_WATER_FILE));
    if !kept_mark {
        let (point, complete) = (manifest.store.clone(), way.up_to_date);
        control::begin_high_water(&staged.0, point, manifest.made_at, complete)?;
    }
    let recordings = stage_recordings(&manifest, backup, &config.gateway.recordings)?;
    let place = recordings.as_ref().map(|_| config.gateway.recordings.clone());
    let plan = Plan { brings, replaced: replaced.clone(), recordings: place };
    write_plan(&staged.0.join(PLAN), &plan)?;
    give(folder, &staged.0)?;
    rename(&staged.0, &folder.join(PENDING))?;
    finish_restore(folder)?;
    let replaced = Some(folder.join(replaced)).filter(|folder| folder.is_dir());
    Ok(Restored { manifest, replaced, kept_mark })
}

/// Checks that a backup is whole, and that its manifest is the one of its database.
///
/// # Errors
/// What is wrong with it.
pub async fn check(backup: &Path) -> Result<Manifest, RestoreError> {
    let unusable = |why| RestoreError::Unusable { backup: backup.to_owned(), why };
    let manifest = Manifest::verify(backup).map_err(unusable)?;
    let point = control::read_copy(&backup.join(STATE).join(DATABASE)).await;
    let point = point.map_err(|error| unusable(crate::telemetry::chain(&error)))?;
    if point == manifest.store {
        Ok(manifest)
    } else {
        Err(unusable("the manifest is of another database".to_owned()))
    }
}

/// Whether a state folder holds anything but its lock.
fn occupied(folder: &Path) -> Result<bool, FileError> {
    for entry in fs::read_dir(folder).map_err(failed("list", folder))? {
        let entry = entry.map_err(failed("list", folder))?;
        if entry.file_name() != LOCK_FILE {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Copies what a backup has below one of its folders, and compares it once more: the first of its names.
fn stage(
    manifest: &Manifest,
    backup: &Path,
    below: &str,
    to: &Path,
) -> Result<Vec<String>, RestoreError> {
    let mut brings: Vec<String> = Vec::new();
    for (Entry { path, bytes, sha256 }, name) in manifest.below(below) {
        let target = to.join(name);
        make_folder(super::files::folder_of(&target))?;
        let copied = copy(&backup.join(path), &target)?;
        if copied != (*bytes, sha256.clone()) {
            let why = format!("`{path}` changed meanwhile");
            return Err(RestoreError::Unusable { backup: backup.to_owned(), why });
        }
        let first = name.split('/').next().unwrap_or(name);
        if !brings.iter().any(|there| there == first) {
            brings.push(first.to_owned());
        }
    }
    Ok(brings)
}

fn stage_recordings(
    manifest: &Manifest,
    backup: &Path,
    recordings: &Path,
) -> Result<Option<Temporary>, RestoreError> {
    if manifest.below(RECORDINGS).next().is_none() {
        return Ok(None);
    }
    remove(&recordings.join(STAGED))?;
    let staged = Temporary::make(recordings.join(STAGED))?;
    stage(manifest, backup, RECORDINGS, &staged.0)?;
    give(recordings, &staged.0)?;
    Ok(Some(staged))
}

fn write_plan(path: &Path, plan: &Plan) -> Result<(), FileError> {
    let text = serde_json::to_vec(plan).map_err(|error| failed("write", path)(error.into()))?;
    let mut file = create(path)?;
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    written.map_err(failed("write", path))
}

/// Makes all below durable, and whoever owns the folder its owner.
fn give(folder: &Path, below: &Path) -> Result<(), FileError> {
    keep_owner(folder, below).map_err(failed("give", below))?;
    for entry in fs::read_dir(below).map_err(failed("list", below))? {
        let path = entry.map_err(failed("list", below))?.path();
        if path.is_dir() {
            give(folder, &path)?;
        } else {
            keep_owner(folder, &path).map_err(failed("give", &path))?;
        }
    }
    sync(below)
}

/// Finishes a restore that was begun, and clears away one that was not. Whoever calls it holds the
/// folder's lock. It may be interrupted, and done again.
pub(crate) fn finish_restore(folder: &Path) -> Result<(), RestoreError> {
    remove(&folder.join(STAGED))?;
    let pending = folder.join(PENDING);
    let path = pending.join(PLAN);
    if !is_there(&path) {
        // Nothing is left but the folder, where anything is.
        return Ok(remove(&pending)?);
    }
    let text = fs::read(&path).map_err(failed("read", &path))?;
    let plan: Plan =
        serde_json::from_slice(&text).map_err(|error| failed("read", &path)(error.into()))?;
    let replaced = folder.join(&plan.replaced);
    for name in [DATABASE, VAULT_KEY, AUTHORITY, HIGH_WATER_FILE] {
        let (staged, place) = (pending.join(name), folder.join(name));
        let brought = plan.brings.iter().any(|brought| brought == name);
        // What the backup brings and isn't staged any more is in its place already.
        if brought == is_there(&staged) && name != HIGH_WATER_FILE {
            set_aside(folder, name, &replaced)?;
        }
        if is_there(&staged) {
            rename(&staged, &place)?;
        }
    }
    if let Some(recordings) = &plan.recordings {
        move_recordings(recordings)?;
    }
    fs::remove_file(&path).map_err(failed("remove", &path))?;
    Ok(remove(&pending)?)
}

/// Keeps what is in a place, with what belongs to it.
fn set_aside(folder: &Path, name: &str, replaced: &Path) -> Result<(), FileError> {
    let beside = BESIDE_DATABASE.iter().filter(|_| name == DATABASE);
    for name in beside.copied().chain([name]) {
        let place = folder.join(name);
        if !is_there(&place) {
            continue;
        }
        if !is_there(replaced) {
            make_folder(replaced)?;
            keep_owner(folder, replaced).map_err(failed("give", replaced))?;
        }
        rename(&place, &replaced.join(name))?;
    }
    Ok(())
}

/// Recordings that are there stay: they are the same, or longer.
fn move_recordings(recordings: &Path) -> Result<(), FileError> {
    let staged = recordings.join(STAGED);
    if !is_there(&staged) {
        return Ok(());
    }
    for entry in fs::read_dir(&staged).map_err(failed("list", &staged))? {
        let entry = entry.map_err(failed("list", &staged))?;
        let place = recordings.join(entry.file_name());
        if !is_there(&place) {
            rename(&entry.path(), &place)?;
        }
    }
    remove(&staged)
}

/// Removes a folder with all in it, where there is one.
fn remove(folder: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(folder) {
        Ok(()) => sync(super::files::folder_of(folder)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", folder)(error)),
    }
}

#[cfg(test)]
mod tests;
