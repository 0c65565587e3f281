//! Data of copies, joined as far as it is shown.

use super::Fold;
use crate::event::Source;
use crate::statements::{Copied, MAX_COPIES, MAX_COPY_SHOWN};

/// A copy in this direction that has nothing yet.
pub(super) fn copied(out: bool) -> Copied {
    Copied { out, ..Copied::default() }
}

impl Fold {
    /// A piece of data that was kept.
    pub(super) fn data(&mut self, of: Source, n: u64, piece: &[u8]) {
        let out = match of {
            Source::CopyIn => false,
            Source::CopyOut => true,
            // A long value shows its first bytes itself.
            Source::Value => return,
        };
        let kept = self.open_copy(n, out, |copy| {
            let room = MAX_COPY_SHOWN.saturating_sub(copy.first.len());
            let shown = piece.get(..room).unwrap_or(piece);
            copy.first.extend_from_slice(shown);
            copy.bytes = copy.bytes.saturating_add(piece.len() as u64);
            shown.len()
        });
        self.held += kept;
    }

    /// The end of a copy, or of a part of it.
    pub(super) fn copied(&mut self, n: u64, end: Copied) {
        if let Some(waiting) = self.find(n).filter(|_| !end.out) {
            let bytes_in = &mut waiting.statement.bytes_in;
            *bytes_in = bytes_in.saturating_add(end.bytes);
        }
        self.open_copy(n, end.out, |copy| {
            let first = std::mem::take(&mut copy.first);
            *copy = Copied { first, ..end };
            0
        });
    }

    /// Changes the copy that is open in this direction, or begins one. What it then holds in addition
    /// counts as the statement's.
    fn open_copy(&mut self, n: u64, out: bool, change: impl FnOnce(&mut Copied) -> usize) -> usize {
        let Some(waiting) = self.find(n) else { return 0 };
        let copies = &mut waiting.statement.copies;
        if !copies.iter().any(|copy| copy.out == out && !copy.ended) {
            if copies.len() >= MAX_COPIES {
                waiting.statement.truncated = true;
                return 0;
            }
            copies.push(copied(out));
        }
        let open = copies.iter_mut().find(|copy| copy.out == out && !copy.ended);
        let kept = open.map_or(0, change);
        waiting.weight += kept;
        kept
    }
}
