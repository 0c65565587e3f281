//! Files and folders of backups: private, copied with their digest, and durable once they are named.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::FileError;
use super::manifest::Entry;

const BLOCK: usize = 128 * 1024;

/// Says to what an error happened.
pub(super) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError { action, path: path.to_owned(), source }
}

/// Makes a folder for its owner alone, and those above it that are missing.
pub(super) fn make_folder(path: &Path) -> Result<(), FileError> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).map_err(failed("make folder", path))
}

/// Makes a private file that is not there yet.
pub(super) fn create(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.map_err(failed("make", path))
}

/// Opens a plain file, and never what a link leads to.
pub(super) fn open(path: &Path) -> Result<File, FileError> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(failed("open", path))?;
    let metadata = file.metadata().map_err(failed("inspect", path))?;
    if metadata.is_file() {
        return Ok(file);
    }
    Err(failed("open", path)(io::Error::new(ErrorKind::InvalidInput, "it is not a plain file")))
}

/// Copies a file into a private new one, durably: how long it is, and its digest. Of a file that grows
/// meanwhile, what it was at the begin is copied.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(u64, String), FileError> {
    let source = open(from)?;
    let length = source.metadata().map_err(failed("inspect", from))?.len();
    let mut target = create(to)?;
    let measured = pour(&mut source.take(length), |block| target.write_all(block));
    let measured = measured.map_err(failed("copy", from))?;
    target.sync_all().map_err(failed("write", to))?;
    Ok(measured)
}

/// The same of the file that a link leads to.
pub(super) fn copy_followed(from: &Path, to: &Path) -> Result<(u64, String), FileError> {
    copy(&from.canonicalize().map_err(failed("read", from))?, to)
}

/// How long a file is, and its digest.
pub(super) fn measure(path: &Path) -> Result<(u64, String), FileError> {
    pour(&mut open(path)?, |_| Ok(())).map_err(failed("read", path))
}

fn pour(
    source: &mut impl Read,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, String)> {
    let (mut block, mut hash, mut length) = (vec![0; BLOCK], Sha256::new(), 0_u64);
    loop {
        let count = source.read(&mut block)?;
        let Some(read) = block.get(..count).filter(|read| !read.is_empty()) else { break };
        take(read)?;
        hash.update(read);
        length = length.saturating_add(u64::try_from(count).unwrap_or(u64::MAX));
    }
    let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((length, digest))
}

/// Copies files of a folder that `wanted` names, and lists them; none where there is no folder. A link to a
/// file, as containers mount a configuration, is copied as that file.
pub(super) fn copy_folder(
    from: &Path,
    to: &Path,
    listed_as: &str,
    wanted: impl Fn(&Path) -> bool,
) -> Result<Vec<Entry>, FileError> {
    let found = match fs::read_dir(from) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", from)(error)),
    };
    make_folder(to)?;
    let mut entries = Vec::new();
    for entry in found {
        let path = entry.map_err(failed("list", from))?.path();
        if !wanted(&path) || path.is_dir() {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let unnamed = || io::Error::new(ErrorKind::InvalidInput, "its name is not UTF-8");
        let name = name.ok_or_else(unnamed).map_err(failed("list", &path))?;
        let (bytes, sha256) = copy_followed(&path, &to.join(name))?;
        entries.push(Entry { path: format!("{listed_as}/{name}"), bytes, sha256 });
    }
    sync(to)?;
    Ok(entries)
}

/// Makes names in a folder durable.
pub(super) fn sync(folder: &Path) -> Result<(), FileError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(failed("sync folder", folder))
}

/// Renames, durably.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(failed("rename", from))?;
    sync(folder_of(to))
}

/// The folder that a path is in.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// Whether there is anything under this name, be it a link that leads nowhere.
pub(super) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// A folder that is removed with all in it, unless it was renamed by then.
pub(super) struct Temporary(pub(super) PathBuf);

impl Temporary {
    pub(super) fn make(path: PathBuf) -> Result<Self, FileError> {
        make_folder(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // After a rename there is nothing to remove, and nobody to tell if it fails.
        let _ = fs::remove_dir_all(&self.0);
    }
}
