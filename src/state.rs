//! The state folder, which one process at a time may use.
//!
//! A lock is held on a file in it, by the system and not by a number in the file: it ends with the process,
//! however that ends. It is taken before anything in the folder is read or written. A restore that was
//! interrupted is finished first.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use certs::store::{StoreError, create_private_dir};
use rustix::fs::{FlockOperation, OFlags, flock};
use thiserror::Error;

use crate::backup::{RestoreError, finish_restore};

/// The file that the lock is on.
pub(crate) const LOCK_FILE: &str = "postern.lock";
/// No process number is longer.
const LONGEST_ID: u64 = 20;

/// Why a state folder can't be used.
#[derive(Debug, Error)]
pub enum StateError {
    /// Another process uses it.
    #[error(
        "the state folder `{}` is in use by {}: stop that process first, or name another folder as \
         `state` in [gateway]", folder.display(), process(*by)
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// The process, where it is known.
        by: Option<u32>,
    },
    /// The folder can't be made, or others may write to it.
    #[error("the state folder can't be used")]
    Folder(#[from] StoreError),
    /// The lock can't be taken.
    #[error("the lock `{}` can't be taken", path.display())]
    Lock {
        /// The lock's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A restore that was interrupted can't be finished.
    #[error("a restore into the state folder was interrupted, and can't be finished")]
    Restore(#[from] RestoreError),
}

fn process(id: Option<u32>) -> String {
    id.map_or_else(|| "another process".to_owned(), |id| format!("process {id}"))
}

/// A state folder that nobody else uses. Dropped, it is free again.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

impl StateFolder {
    /// Takes the folder, and makes it where it is missing. This blocks.
    ///
    /// # Errors
    /// Where another process uses it, or it can't be used.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        create_private_dir(path)?;
        let file = path.join(LOCK_FILE);
        let failed = |source| StateError::Lock { path: file.clone(), source };
        let mut lock = open(&file).map_err(failed)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let folder = path.to_owned();
                return Err(StateError::InUse { folder, by: holder(&mut lock) });
            }
            Err(error) => return Err(failed(error.into())),
        }
        keep_owner(path, &file).map_err(failed)?;
        note_holder(&mut lock).map_err(failed)?;
        finish_restore(path)?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn open(path: &Path) -> io::Result<File> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options.custom_flags(nofollow).open(path)
}

/// What the holder wrote about itself; it may be about to.
fn holder(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(LONGEST_ID).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn note_holder(lock: &mut File) -> io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// Gives a file that root made to whoever owns the folder: the gateway has to be able to use it.
pub(crate) fn keep_owner(folder: &Path, file: &Path) -> io::Result<()> {
    let (wanted, has) = (folder.metadata()?, file.symlink_metadata()?);
    if rustix::process::geteuid().is_root()
        && (wanted.uid(), wanted.gid()) != (has.uid(), has.gid())
    {
        std::os::unix::fs::lchown(file, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_is_one_holders_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        let first = StateFolder::take(&path).unwrap();
        let Err(StateError::InUse { by, .. }) = StateFolder::take(&path) else { panic!() };
        assert_eq!(by, Some(std::process::id()));
        drop(first);
        // The file stays: whoever removed it could let two in.
        assert!(path.join(LOCK_FILE).exists());
        StateFolder::take(&path).unwrap();
    }

    #[test]
    fn a_lock_behind_a_link_is_not_taken() {
        let parent = tempfile::tempdir().unwrap();
        let victim = parent.path().join("victim");
        std::fs::write(&victim, "kept").unwrap();
        let path = parent.path().join("state");
        create_private_dir(&path).unwrap();
        std::os::unix::fs::symlink(&victim, path.join(LOCK_FILE)).unwrap();
        assert!(matches!(StateFolder::take(&path), Err(StateError::Lock { .. })));
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "kept");
    }
}
