//! Files that hold keys and other secrets.
//!
//! A private file is written whole or not at all: a temporary file in the same folder (mode 0600,
//! `O_EXCL`), fsync, then rename over the old one, or a hard link where an existing file must win.
//! A symbolic link is never written through. Reading refuses a file that others may read, and says
//! how to mend it. All of this blocks: call it at start-up or from a blocking task.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use secrecy::SecretSlice;
use zeroize::Zeroizing;

const PRIVATE: u32 = 0o600;
const PUBLIC: u32 = 0o644;
/// No key or password is longer: a path that names a disk image is a mistake.
const MAX_PRIVATE_BYTES: u64 = 1 << 20;

/// Why a file could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system said no.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// People other than the owner may read or write a private file.
    #[error("`{}` is open to others (mode {mode:03o}): run `chmod 600 {}`", path.display(), path.display())]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// People other than the owner may replace the files of a private folder.
    #[error("folder `{}` is writable by others (mode {mode:03o}): run `chmod 700 {}`", path.display(), path.display())]
    OpenFolder {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The destination is a symbolic link, which could lead anywhere.
    #[error("`{}` is a symbolic link: name the file itself", path.display())]
    SymbolicLink {
        /// The link.
        path: PathBuf,
    },
    /// The path doesn't name a plain file of a sane size.
    #[error("`{}` is not a plain file of at most 1 MiB", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file exists already, and was to be made again.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
}

/// Makes a folder that only its owner may enter, or checks that nobody else may write to it.
pub fn create_private_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| io_error("create folder", path, source))?;
    let metadata = fs::metadata(path).map_err(|source| io_error("inspect", path, source))?;
    match metadata.mode() & 0o777 {
        mode if mode & 0o022 == 0 => Ok(()),
        mode => Err(StoreError::OpenFolder { path: path.to_owned(), mode }),
    }
}

/// Writes or replaces a file that only its owner may read (mode 0600).
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes, PRIVATE)
}

/// Writes or replaces a file that anybody may read (mode 0644).
pub fn write_public(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    replace(path, bytes, PUBLIC)
}

/// Writes a private file, or answers [`StoreError::Exists`]: of two that race, one wins whole.
pub fn create_private(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    create(path, bytes, PRIVATE)
}

/// Writes a public file, or answers [`StoreError::Exists`]: of two that race, one wins whole.
pub fn create_public(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    create(path, bytes, PUBLIC)
}

/// Reads a file that nobody but its owner may read; others refuse it with the remedy.
pub fn read_private(path: &Path) -> Result<SecretSlice<u8>, StoreError> {
    let (file, size) = open_plain(path)?;
    check_private(path, &file)?;
    // The buffer never grows, so that no copy of the secret is left behind on the heap.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 32));
    file.take(MAX_PRIVATE_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|source| io_error("read", path, source))?;
    Ok(SecretSlice::from(Box::<[u8]>::from(bytes.as_slice())))
}

/// Reads a file that isn't secret, such as a certificate.
pub fn read_public(path: &Path) -> Result<Vec<u8>, StoreError> {
    fs::read(path).map_err(|source| io_error("read", path, source))
}

fn open_plain(path: &Path) -> Result<(File, u64), StoreError> {
    // Looked at before it is opened: opening a pipe would wait for its writer.
    let metadata = fs::metadata(path).map_err(|source| io_error("read", path, source))?;
    if !metadata.is_file() || metadata.len() > MAX_PRIVATE_BYTES {
        return Err(StoreError::NotAFile { path: path.to_owned() });
    }
    let file = File::open(path).map_err(|source| io_error("read", path, source))?;
    Ok((file, metadata.len()))
}

/// Asks the open file, not its name, which may mean another file by now.
fn check_private(path: &Path, file: &File) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(|source| io_error("inspect", path, source))?;
    match metadata.mode() & 0o777 {
        mode if mode & 0o077 == 0 => Ok(()),
        mode => Err(StoreError::OpenToOthers { path: path.to_owned(), mode }),
    }
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    refuse_link(path)?;
    let temporary = Temporary::write(path, bytes, mode)?;
    fs::rename(&temporary.0, path).map_err(|source| io_error("replace", path, source))?;
    sync_folder(path)
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let temporary = Temporary::write(path, bytes, mode)?;
    // A rename would replace what is there; a hard link refuses to, symbolic links included.
    match fs::hard_link(&temporary.0, path) {
        Ok(()) => sync_folder(path),
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            Err(StoreError::Exists { path: path.to_owned() })
        }
        Err(source) => Err(io_error("create", path, source)),
    }
}

fn refuse_link(path: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => {
            Err(StoreError::SymbolicLink { path: path.to_owned() })
        }
        Ok(_) => Ok(()),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(io_error("inspect", path, source)),
    }
}

/// A complete, synced file beside its destination, removed when dropped unless it was renamed.
struct Temporary(PathBuf);

impl Temporary {
    fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<Self, StoreError> {
        let name =
            path.file_name().ok_or_else(|| StoreError::NotAFile { path: path.to_owned() })?;
        let hidden = format!(".{}.{:016x}.tmp", name.to_string_lossy(), rand::random::<u64>());
        let temporary = Self(path.with_file_name(hidden));
        temporary.fill(bytes, mode).map_err(|source| io_error("write", path, source))?;
        Ok(temporary)
    }

    fn fill(&self, bytes: &[u8], mode: u32) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&self.0)?;
        // The umask may have taken bits from the mode, never added any.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        file.sync_all()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove, and nobody to tell if it fails.
        let _ = fs::remove_file(&self.0);
    }
}

/// A rename survives a power cut only once its folder is on disk.
fn sync_folder(path: &Path) -> Result<(), StoreError> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| io_error("sync folder", folder, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rstest::rstest;
    use secrecy::ExposeSecret;

    use super::*;

    fn mode_of(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn a_private_file_is_readable_by_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_private(&path, b"one").unwrap();
        write_private(&path, b"two").unwrap();
        assert_eq!(mode_of(&path), 0o600);
        assert_eq!(read_private(&path).unwrap().expose_secret(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_secret_that_was_read_cannot_be_printed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_private(&path, b"canary").unwrap();
        let printed = format!("{:?}", read_private(&path).unwrap());
        assert!(!printed.contains("canary") && !printed.contains("99, 97"), "{printed}");
    }

    #[rstest]
    #[case::owner_reads(0o400, true)]
    #[case::owner_writes(0o600, true)]
    #[case::group_reads(0o640, false)]
    #[case::others_read(0o604, false)]
    #[case::group_writes(0o620, false)]
    #[case::everybody(0o666, false)]
    fn a_private_file_open_to_others_is_refused(#[case] mode: u32, #[case] accepted: bool) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        write_private(&path, b"secret").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match read_private(&path) {
            Ok(_) => assert!(accepted),
            Err(error) => {
                assert!(!accepted);
                assert!(error.to_string().contains(&format!("chmod 600 {}", path.display())));
            }
        }
    }

    #[test]
    fn a_symbolic_link_is_never_written_through() {
        let folder = tempfile::tempdir().unwrap();
        let (victim, link) = (folder.path().join("victim"), folder.path().join("link"));
        fs::write(&victim, b"kept").unwrap();
        symlink(&victim, &link).unwrap();
        assert!(matches!(write_private(&link, b"x"), Err(StoreError::SymbolicLink { .. })));
        assert!(matches!(write_public(&link, b"x"), Err(StoreError::SymbolicLink { .. })));
        assert!(matches!(create_private(&link, b"x"), Err(StoreError::Exists { .. })));
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
    }

    #[test]
    fn of_many_that_create_a_file_exactly_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let wins = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8u8)
                .map(|n| {
                    let path = &path;
                    scope.spawn(move || create_private(path, &[n; 64]).is_ok())
                })
                .collect();
            tries.into_iter().map(|t| u32::from(t.join().unwrap())).sum::<u32>()
        });
        assert_eq!(wins, 1);
        let stored = fs::read(&path).unwrap();
        assert!(stored.len() == 64 && stored.iter().all(|byte| *byte == stored[0]));
    }

    #[test]
    fn a_folder_writable_by_others_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("a/b");
        create_private_dir(&folder).unwrap();
        assert_eq!(mode_of(&folder), 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o770)).unwrap();
        let error = create_private_dir(&folder).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }

    #[rstest]
    #[case::a_folder("")]
    #[case::a_device("/dev/null")]
    fn what_is_not_a_plain_file_is_refused(#[case] path: &str) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(path);
        assert!(matches!(read_private(&path), Err(StoreError::NotAFile { .. })));
    }
}
