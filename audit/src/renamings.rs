//! SQL that gives names a meaning: `PREPARE` for statements, `DECLARE` and `OPEN` for portals.
//!
//! Where a text mentions one of these words, any name may stand for something of that text since.
//! `DEALLOCATE`, `CLOSE` and `DISCARD` take names away and so can't pass one thing off as another.
//! The unnamed statement and the unnamed portal can't be named in SQL.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::prepared::Shown;

/// The most such texts that are kept.
const MAX_TEXTS: usize = 8;

/// What a text may give a meaning to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Renames {
    /// Prepared statements.
    pub(crate) statements: bool,
    /// Portals.
    pub(crate) portals: bool,
}

/// The texts that may have changed what names of one sort stand for.
#[derive(Debug, Default)]
pub(crate) struct Renamings {
    /// With the number of each.
    texts: VecDeque<(u64, Arc<str>)>,
    count: u64,
    /// The number of the newest one that is no longer kept.
    forgotten: u64,
}

impl Renames {
    /// What this text may do, of which there may be more.
    pub(crate) fn of(text: &[u8], truncated: bool) -> Renames {
        let has = |word: &[u8]| {
            truncated || text.windows(word.len()).any(|at| at.eq_ignore_ascii_case(word))
        };
        Renames { statements: has(b"prepare"), portals: has(b"declare") || has(b"open") }
    }
}

impl Renamings {
    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Adds one.
    pub(crate) fn note(&mut self, text: &Arc<str>) {
        self.count += 1;
        self.texts.retain(|(_, known)| known != text);
        self.texts.push_back((self.count, Arc::clone(text)));
        if self.texts.len() > MAX_TEXTS
            && let Some((number, _)) = self.texts.pop_front()
        {
            self.forgotten = number;
        }
    }

    /// Those since there were so many, and whether some are no longer known.
    pub(crate) fn since(&self, count: u64) -> (Vec<Shown>, bool) {
        let since = self.texts.iter().filter(|(number, _)| *number > count);
        let shown = since.map(|(_, text)| Shown::harmless(Arc::clone(text))).collect();
        (shown, self.forgotten > count)
    }
}
