//! Making a backup, while the gateway runs or not.

use std::fs;
use std::path::{Path, PathBuf};

use policies::Timestamp;

use super::files::{
    Temporary, copy_folder, copy_followed, create, failed, folder_of, is_there, make_folder,
};
use super::files::{measure, rename, sync};
use super::manifest::{Entry, Manifest};
use super::restore::PENDING;
use super::{AUTHORITY, BackupError, CONFIG, DATABASE, MANIFEST, RECORDINGS, STATE, VAULT_KEY};
use crate::config::Config;

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// Its folder.
    pub folder: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
}

/// Makes a backup at a place where nothing is yet: all of it, or nothing.
///
/// # Errors
/// Whatever stands in the way.
pub async fn make(
    config: &Config,
    to: &Path,
    with_recordings: bool,
    now: Timestamp,
) -> Result<Made, BackupError> {
    // An empty folder is as good as none: a rename takes its place.
    let is_empty = fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_none());
    if is_there(to) && !is_empty {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let database = config.gateway.database();
    if !database.is_file() {
        return Err(BackupError::NoStore(database));
    }
    if is_there(&config.gateway.state.join(PENDING)) {
        return Err(BackupError::HalfRestored(config.gateway.state.clone()));
    }
    let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let beside = to.with_file_name(format!(".{name}.{:016x}", rand::random::<u64>()));
    let staged = Temporary::make(beside)?;
    let root = &staged.0;
    make_folder(&root.join(STATE))?;
    let copied = root.join(STATE).join(DATABASE);
    drop(create(&copied)?);
    let store = control::copy_store(&database, &copied).await.map_err(BackupError::Store)?;
    let mut files = vec![whole(&copied)?];
    files.extend(keys(config, root)?);
    files.extend(configuration(config, root)?);
    if with_recordings {
        let (from, to) = (&config.gateway.recordings, root.join(RECORDINGS));
        files.extend(copy_folder(from, &to, RECORDINGS, |path| has_ending(path, "rec"))?);
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    let manifest = Manifest::new(now, store, files);
    write_manifest(root, &manifest)?;
    sync(root)?;
    rename(root, to)?;
    Ok(Made { folder: to.to_owned(), manifest })
}

/// The database is written by its own library: it is made durable and measured afterwards.
fn whole(database: &Path) -> Result<Entry, BackupError> {
    let file = fs::File::open(database).and_then(|file| file.sync_all());
    file.map_err(failed("sync", database))?;
    sync(folder_of(database))?;
    let (bytes, sha256) = measure(database)?;
    Ok(Entry { path: format!("{STATE}/{DATABASE}"), bytes, sha256 })
}

/// The keys of the state folder. Without them the database's secrets can't be read, and nobody's
/// certificate is known any more.
fn keys(config: &Config, root: &Path) -> Result<Vec<Entry>, BackupError> {
    let state = &config.gateway.state;
    let to = root.join(STATE).join(AUTHORITY);
    let listed = format!("{STATE}/{AUTHORITY}");
    let mut files = copy_folder(&state.join(AUTHORITY), &to, &listed, is_no_remainder)?;
    let vault = state.join(VAULT_KEY);
    if vault.is_file() {
        files.push(one(&vault, root, &format!("{STATE}/{VAULT_KEY}"))?);
    }
    Ok(files)
}

/// The configuration, its rules, and nothing that it names elsewhere.
fn configuration(config: &Config, root: &Path) -> Result<Vec<Entry>, BackupError> {
    make_folder(&root.join(CONFIG))?;
    let mut files = vec![one(&config.file, root, &format!("{CONFIG}/postern.toml"))?];
    let (to, listed) = (root.join(CONFIG).join("policies"), format!("{CONFIG}/policies"));
    let is_rule = |path: &Path| has_ending(path, "cedar") || has_ending(path, "toml");
    files.extend(copy_folder(&config.policies.value, &to, &listed, is_rule)?);
    Ok(files)
}

fn one(from: &Path, root: &Path, path: &str) -> Result<Entry, BackupError> {
    let (bytes, sha256) = copy_followed(from, &root.join(path))?;
    Ok(Entry { path: path.to_owned(), bytes, sha256 })
}

fn has_ending(path: &Path, wanted: &str) -> bool {
    path.extension().is_some_and(|ending| ending == wanted)
}

/// Half-written files of a process that was killed are hidden ones.
fn is_no_remainder(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    !name.to_string_lossy().starts_with('.')
}

fn write_manifest(root: &Path, manifest: &Manifest) -> Result<(), BackupError> {
    use std::io::Write;
    let path = root.join(MANIFEST);
    let mut text = serde_json::to_vec_pretty(manifest)
        .map_err(|error| failed("write", &path)(error.into()))?;
    text.push(b'\n');
    let mut file = create(&path)?;
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    Ok(written.map_err(failed("write", &path))?)
}
