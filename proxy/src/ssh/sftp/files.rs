//! Open files: which handle is which, and what has passed through each.

use std::collections::{BTreeMap, HashMap};

use audit::Digest;
use audit::ssh::{Transfer, Transferred};
use sha2::{Digest as _, Sha256};

/// The most files and folders that one channel may have open.
pub(super) const OPEN_MAX: usize = 1024;

/// The open files of one channel. Each is known by the number of the operation that opened it.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    handles: HashMap<Vec<u8>, u64>,
    open: BTreeMap<u64, Open>,
}

/// What has passed through one open file.
#[derive(Debug, Default)]
pub(super) struct Open {
    pub(super) read: ByteCount,
    pub(super) written: ByteCount,
    /// What was written before a write whose last byte hasn't come: no target acts on a part of one.
    pub(super) before_unfinished: Option<ByteCount>,
    /// Reads and writes that the target refused.
    pub(super) refused: u64,
    /// Whether a write was among them.
    pub(super) unwritten: bool,
}

/// Bytes in one direction, digested as long as each piece begins where the one before it ended.
#[derive(Debug, Clone, Default)]
pub(super) struct ByteCount {
    started: bool,
    scattered: bool,
    bytes: u64,
    from: u64,
    next: u64,
    sha256: Sha256,
}

impl OpenFiles {
    /// Whether no more may be opened.
    pub(super) fn are_full(&self) -> bool {
        self.open.len() >= OPEN_MAX
    }

    /// The target gave a handle. One that it gave before stands for the new file only, and what passed
    /// through the old one is returned.
    pub(super) fn insert(&mut self, handle: &[u8], n: u64) -> Option<(u64, Transfer)> {
        self.open.insert(n, Open::default());
        let before = self.handles.insert(handle.to_owned(), n)?;
        self.open.remove(&before).map(|open| (before, open.transfer(true)))
    }

    /// The number behind a handle.
    pub(super) fn find(&self, handle: &[u8]) -> Option<u64> {
        self.handles.get(handle).copied()
    }

    /// The client closes this handle. The target may give it to another file at once, before its answer is
    /// here, so it stands for none until the target gives it again.
    pub(super) fn close(&mut self, handle: &[u8]) -> Option<u64> {
        self.handles.remove(handle)
    }

    /// An open file by its number.
    pub(super) fn get(&mut self, n: u64) -> Option<&mut Open> {
        self.open.get_mut(&n)
    }

    /// The target closed the file: what has passed.
    pub(super) fn remove(&mut self, n: u64) -> Option<Transfer> {
        self.handles.retain(|_, other| *other != n);
        self.open.remove(&n).map(|open| open.transfer(false))
    }

    /// The channel ended: what has passed through all that were open.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (u64, Transfer)> + use<> {
        self.handles.clear();
        std::mem::take(&mut self.open).into_iter().map(|(n, open)| (n, open.transfer(true)))
    }
}

impl Open {
    fn transfer(self, cut: bool) -> Transfer {
        let mut written = self.before_unfinished.unwrap_or(self.written).finish();
        if let Some(written) = &mut written
            && self.unwritten
        {
            written.sha256 = None;
        }
        Transfer { read: self.read.finish(), written, refused: self.refused, cut }
    }
}

impl ByteCount {
    /// The next piece begins here.
    pub(super) fn begin(&mut self, offset: u64) {
        if !self.started {
            (self.started, self.from) = (true, offset);
        } else if offset != self.next {
            self.scattered = true;
        }
        self.next = offset;
    }

    /// Bytes of the piece.
    pub(super) fn add(&mut self, piece: &[u8]) {
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(bytes);
        self.next = self.next.saturating_add(bytes);
        if !self.scattered {
            self.sha256.update(piece);
        }
    }

    fn finish(self) -> Option<Transferred> {
        let sha256 = (!self.scattered).then(|| Digest(self.sha256.finalize().into()));
        self.started.then_some(Transferred { bytes: self.bytes, from: self.from, sha256 })
    }
}
