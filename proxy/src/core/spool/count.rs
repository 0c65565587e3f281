//! Counting what is in the folder of recordings, and whose it is.

use std::fs::{self, DirEntry, File};
use std::io::{self, BufReader, ErrorKind};
use std::path::Path;

use audit::{Event, Kind, Reader};
use policies::{PrincipalId, SessionId};

use super::ledger::SpoolUse;

/// A first frame fits into this, so that it takes one read.
const FIRST_READ: usize = 4 * 1024;

/// Adds up the sizes of all recordings but those that are accounted for elsewhere. One file is open at
/// a time, and of each only the first frame is read.
pub(super) fn count(
    folder: &Path,
    is_accounted: impl Fn(&SessionId) -> bool,
) -> io::Result<SpoolUse> {
    let mut found = SpoolUse::default();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(session) = session_of(&entry) else {
            continue;
        };
        if is_accounted(&session) {
            continue;
        }
        match owned(&entry, &session) {
            Ok((Some(principal), bytes)) => {
                *found.by_principal.entry(principal).or_default() += bytes
            }
            Ok((None, bytes)) => found.unowned += bytes,
            // Moved away meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What the recordings in a folder take, and whose they are.
///
/// # Errors
/// Where the folder or a file of it can't be read.
pub fn spool_use(folder: &Path) -> io::Result<SpoolUse> {
    count(folder, |_| false)
}

/// The session of a recording, by the name of its file.
fn session_of(entry: &DirEntry) -> Option<SessionId> {
    entry.file_name().to_str()?.strip_suffix(".rec")?.parse().ok()
}

/// Whose a recording is, by its first frame, and how large it is.
fn owned(entry: &DirEntry, session: &SessionId) -> io::Result<(Option<PrincipalId>, u64)> {
    // What is no plain file is not opened: that could block.
    let metadata = entry.metadata()?;
    if !metadata.is_file() {
        return Ok((None, 0));
    }
    let first = BufReader::with_capacity(FIRST_READ, File::open(entry.path())?);
    let first = Reader::for_session(first, session.as_str()).next_event()?;
    let Some(Event { kind: Kind::Start(start), .. }) = first else {
        return Ok((None, metadata.len()));
    };
    Ok((start.principal.parse().ok(), metadata.len()))
}
