//! The file of the high-water mark: lines of JSON, added at the end, and replaced as a whole at times.

use std::fs::{File, OpenOptions};
use std::io;
use std::io::{ErrorKind, Read, Write};
use std::path::Path;

use certs::store::{StoreError, write_private};

use crate::model::high_water::{Fact, HighWaterError, Known, Rollback};

/// A file that is larger holds something else.
const MOST_BYTES: u64 = 256 << 20;
/// A file is not replaced before it has so many bytes.
const SMALL_BYTES: u64 = 256 << 10;

/// Reads what a file knows; none where there is no file. A last line that a kill tore is left out: it
/// had nothing that had been answered.
pub(crate) fn read(path: &Path) -> Result<Result<Option<Known>, Rollback>, HighWaterError> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => match file.take(MOST_BYTES).read_to_string(&mut text) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Ok(Err(Rollback::Damaged("it is not text".to_owned())));
            }
            Err(error) => return Err(HighWaterError::Read(error)),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Ok(None)),
        Err(error) => return Err(HighWaterError::Read(error)),
    }
    Ok(parse(&text).map(Some))
}

pub(super) fn parse(text: &str) -> Result<Known, Rollback> {
    let whole = text.rfind('\n').map_or("", |end| text.get(..end).unwrap_or_default());
    let facts: Result<Vec<Fact>, Rollback> = whole
        .lines()
        .enumerate()
        .map(|(number, line)| {
            let malformed = |error| Rollback::Damaged(format!("line {}: {error}", number + 1));
            serde_json::from_str(line).map_err(malformed)
        })
        .collect();
    let known = Known::of(facts?);
    known.ok_or_else(|| Rollback::Damaged("it does not say how far the store had come".to_owned()))
}

/// The file, once it was written by this process.
#[derive(Default)]
pub(super) struct MarkFile {
    /// None before the first time, and after a failure, which may have left half a line.
    file: Option<File>,
    size: u64,
    /// Its size when it was replaced last.
    whole: u64,
}

impl MarkFile {
    /// Whether it has to be replaced as a whole, or has grown enough for it.
    pub(super) fn wants_replacing(&self) -> bool {
        self.file.is_none() || self.size > SMALL_BYTES.max(self.whole.saturating_mul(2))
    }

    /// Replaces it by all that is known. A kill leaves the one before or the new one.
    pub(super) fn replace(&mut self, path: &Path, known: &Known) -> Result<(), StoreError> {
        self.file = None;
        let text = lines(&known.facts());
        write_private(path, text.as_bytes())?;
        let opened = OpenOptions::new().append(true).open(path);
        let opened = opened.map_err(|source| StoreError::Io {
            action: "open",
            path: path.to_owned(),
            source,
        });
        self.file = Some(opened?);
        self.size = u64::try_from(text.len()).unwrap_or(u64::MAX);
        self.whole = self.size;
        Ok(())
    }

    /// Adds facts at the end, durably.
    pub(super) fn add(&mut self, facts: &[Fact]) -> io::Result<()> {
        let text = lines(facts);
        let Some(mut file) = self.file.take() else {
            return Err(io::Error::from(ErrorKind::NotConnected));
        };
        file.write_all(text.as_bytes())?;
        file.sync_data()?;
        self.file = Some(file);
        self.size = self.size.saturating_add(u64::try_from(text.len()).unwrap_or(u64::MAX));
        Ok(())
    }
}

/// Facts as lines. None of them can fail to be written: their keys are texts.
fn lines(facts: &[Fact]) -> String {
    let each = facts.iter().filter_map(|fact| serde_json::to_string(fact).ok());
    each.map(|line| line + "\n").collect()
}
