//! What a backup holds, file by file.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use control::StorePoint;
use policies::Timestamp;
use serde::{Deserialize, Serialize};

use super::{AUTHORITY, CONFIG, DATABASE, MANIFEST, RECORDINGS, STATE, VAULT_KEY, files};

/// A manifest that is longer is something else.
const MOST_BYTES: u64 = 256 << 20;
const FORMAT: u32 = 1;

/// The list of a backup's files, and of what moment it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// Which version of the program made it.
    pub version: String,
    /// When, in milliseconds since 1970.
    pub made_at: Timestamp,
    /// How far the database has come.
    pub store: StorePoint,
    pub(super) files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// From the backup's folder, with slashes.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// In hexadecimal digits.
    pub(super) sha256: String,
}

impl Manifest {
    pub(super) fn new(made_at: Timestamp, store: StorePoint, files: Vec<Entry>) -> Self {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Self { format: FORMAT, version, made_at, store, files }
    }

    /// How many bytes the files have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// How many files there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.files.len()
    }

    /// The files below a folder of the backup, with their names there.
    pub(super) fn below<'a>(
        &'a self,
        folder: &'a str,
    ) -> impl Iterator<Item = (&'a Entry, &'a str)> + 'a {
        self.files.iter().filter_map(move |entry| {
            let name = entry.path.strip_prefix(folder)?.strip_prefix('/')?;
            Some((entry, name))
        })
    }

    /// Reads the manifest of a backup, and compares every file with it. Nothing else is done.
    ///
    /// # Errors
    /// What is missing, damaged, or not in the list.
    pub fn verify(backup: &Path) -> Result<Self, String> {
        let manifest = Self::read(&backup.join(MANIFEST))?;
        let mut listed = BTreeSet::from([MANIFEST.to_owned()]);
        for entry in &manifest.files {
            check_path(&entry.path)?;
            if !listed.insert(entry.path.clone()) {
                return Err(format!("`{}` is listed twice", entry.path));
            }
            let measured = files::measure(&backup.join(&entry.path));
            let (bytes, sha256) =
                measured.map_err(|error| format!("`{}`: {}", entry.path, error.source))?;
            if (bytes, &sha256) != (entry.bytes, &entry.sha256) {
                return Err(format!("`{}` is not what the manifest says", entry.path));
            }
        }
        let mut there = Vec::new();
        list(backup, "", &mut there)?;
        match there.into_iter().find(|path| !listed.contains(path)) {
            Some(path) => Err(format!("`{path}` is not in the manifest")),
            None => Ok(manifest),
        }
    }

    fn read(path: &Path) -> Result<Self, String> {
        let fault = |why: &dyn std::fmt::Display| format!("`{MANIFEST}`: {why}");
        let size = path.symlink_metadata().map_err(|error| fault(&error))?;
        if !size.is_file() || size.len() > MOST_BYTES {
            return Err(fault(&"it is not a file of at most 256 MiB"));
        }
        let bytes = fs::read(path).map_err(|error| fault(&error))?;
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|error| fault(&error))?;
        match manifest.format {
            FORMAT => Ok(manifest),
            other => {
                Err(fault(&format!("it is of format {other}, and this program reads {FORMAT}")))
            }
        }
    }
}

/// A path names something that a backup holds, and leads nowhere else.
fn check_path(path: &str) -> Result<(), String> {
    let parts: Vec<&str> = path.split('/').collect();
    let plain = parts.iter().all(|part| !["", ".", ".."].contains(part) && !part.contains('\0'));
    let known = match parts.as_slice() {
        [STATE, DATABASE | VAULT_KEY] | [STATE, AUTHORITY, _] | [CONFIG, _] | [CONFIG, _, _] => {
            true
        }
        [RECORDINGS, name] => name.ends_with(".rec"),
        _ => false,
    };
    if plain && known { Ok(()) } else { Err(format!("`{path}` is no file of a backup")) }
}

/// Every file below a folder. Links are listed like files, so that none goes unseen.
fn list(folder: &Path, prefix: &str, into: &mut Vec<String>) -> Result<(), String> {
    let fault = |error| format!("`{}`: {error}", folder.display());
    for entry in fs::read_dir(folder).map_err(fault)? {
        let path = entry.map_err(fault)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = format!("{prefix}{}", name.unwrap_or_default());
        if path.symlink_metadata().map_err(fault)?.is_dir() {
            list(&path, &format!("{name}/"), into)?;
        } else {
            into.push(name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_path_stays_inside_of_its_folder() {
        for path in ["state/postern.db", "state/authority/ca.pem", "config/policies/a.cedar"] {
            assert_eq!(check_path(path), Ok(()), "{path}");
        }
        for path in [
            "",
            "state",
            "state/",
            "/etc/passwd",
            "state/../postern.db",
            "../state/postern.db",
            "state//postern.db",
            "other/x",
            "state/./postern.db",
            "state/authority/..",
            "manifest.json",
            "./state/postern.db",
            "/state/postern.db",
            "state/high-water.jsonl",
            "state/restore.pending",
            "state/authority/a/b",
            "recordings/.restore",
            "recordings/a/b.rec",
            "config/..",
        ] {
            assert!(check_path(path).is_err(), "{path}");
        }
    }
}
