//! A second chance for what the store can't take: a small file beside it.
//!
//! Its blocks are written when it is made, so that a full disk doesn't keep a record out of it. A
//! record is its length, the SHA-256 of its content, and the content; a length of zero ends the list.
//! What a crash left half written fails its digest and is not read.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

const SIZE: u64 = 1 << 20;
const LENGTH: usize = 4;
const DIGEST: usize = 32;
const END: [u8; LENGTH] = [0; LENGTH];

/// The file, and where its next record goes.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    end: u64,
}

impl Journal {
    /// Opens the file, or makes one that nobody else can read, and reads its records.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<Vec<u8>>)> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path)?;
        let length = file.metadata()?.len();
        if length < SIZE {
            let missing = usize::try_from(SIZE - length).unwrap_or_default();
            file.write_all_at(&vec![0; missing], length)?;
            file.sync_all()?;
        }
        let mut bytes = Vec::new();
        Read::by_ref(&mut file).take(SIZE).read_to_end(&mut bytes)?;
        let (records, end) = records(&bytes);
        Ok((Self { file, end }, records))
    }

    /// Adds a record, which is on the disk when this returns.
    pub(crate) fn append(&mut self, content: &[u8]) -> io::Result<()> {
        let length = u32::try_from(content.len()).map_err(|_| ErrorKind::FileTooLarge)?;
        let digest = Sha256::digest(content);
        let record = [&length.to_be_bytes(), digest.as_slice(), content].concat();
        let next = self.end + record.len() as u64;
        if next + LENGTH as u64 > SIZE {
            return Err(ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(&[&record[..], &END].concat(), self.end)?;
        self.file.sync_data()?;
        self.end = next;
        Ok(())
    }

    /// Forgets all records.
    pub(crate) fn clear(&mut self) -> io::Result<()> {
        if self.end == 0 {
            return Ok(());
        }
        self.file.write_all_at(&END, 0)?;
        self.file.sync_data()?;
        self.end = 0;
        Ok(())
    }
}

fn records(bytes: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let (mut all, mut rest) = (Vec::new(), bytes);
    while let Some((content, after)) = first(rest) {
        all.push(content.to_vec());
        rest = after;
    }
    (all, (bytes.len() - rest.len()) as u64)
}

fn first(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, bytes) = bytes.split_first_chunk::<LENGTH>()?;
    let (digest, bytes) = bytes.split_first_chunk::<DIGEST>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok().filter(|length| *length > 0)?;
    let (content, rest) = bytes.split_at_checked(length)?;
    (Sha256::digest(content).as_slice() == digest).then_some((content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_again_until_they_are_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cuts");
        let open = || Journal::open(&path).unwrap();
        let (mut journal, none) = open();
        assert!(none.is_empty());
        journal.append(b"first").unwrap();
        journal.append(&[7; 300]).unwrap();
        let (mut journal, both) = open();
        assert_eq!(both, [b"first".to_vec(), vec![7; 300]]);
        journal.append(b"third").unwrap();
        assert_eq!(open().1.len(), 3);
        journal.clear().unwrap();
        assert!(open().1.is_empty());
        journal.append(b"short").unwrap();
        assert_eq!(open().1, [b"short"], "what stood behind it is not read again");
        assert_eq!(path.metadata().unwrap().len(), SIZE);
    }

    #[test]
    fn what_is_torn_or_too_much_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cuts");
        let (mut journal, _) = Journal::open(&path).unwrap();
        journal.append(b"whole").unwrap();
        journal.append(b"torn").unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"x", (LENGTH + DIGEST + 5 + LENGTH + DIGEST) as u64).unwrap();
        assert_eq!(Journal::open(&path).unwrap().1, [b"whole"]);
        let large = vec![1; usize::try_from(SIZE).unwrap()];
        assert_eq!(journal.append(&large).unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
