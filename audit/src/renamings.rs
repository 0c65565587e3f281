//! SQL that gives names a meaning: `PREPARE` for statements, `DECLARE` and `OPEN` for portals.
//!
//! Where a text mentions one of these words, any name may stand for something of that text since. The same
//! goes for a text that runs SQL which it puts together, or makes something that does ([`Mentions`]).
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
        let statements = truncated || Mentions::of(text).found();
        let portals = Mentions::of(text).may_run_any() || has(b"declare") || has(b"open");
        Renames { statements, portals }
    }
}

/// Looks for words with which a text may give a prepared statement's name another meaning: `PREPARE`, and
/// what runs SQL that is put together, or makes something that does. The text may come in pieces.
#[derive(Debug, Default)]
pub struct Mentions {
    /// The last bytes in lower case.
    last: u128,
    prepare: bool,
    may_run_any: bool,
}

/// A word in lower case, as the last bytes of a number.
#[derive(Clone, Copy)]
struct Word {
    bytes: u128,
    length: u32,
}

impl Word {
    const fn new(bytes: [u8; 16], length: u32) -> Self {
        Self { bytes: u128::from_be_bytes(bytes), length }
    }
}

const PREPARE: Word = Word::new(*b"\0\0\0\0\0\0\0\0\0prepare", 7);
/// These may begin within what looks like a longer name: behind the `\n` of an escaped string.
const ANYWHERE: [Word; 3] = [
    Word::new(*b"\0\0\0\0\0\0\0\0\0execute", 7),
    Word::new(*b"\0\0\0\0\0\0\0\0function", 8),
    Word::new(*b"\0\0\0\0\0\0\0procedure", 9),
];
/// These are too short for that. They begin a statement, which one of the others would have to put together.
const ALONE: [Word; 2] = [
    Word::new(*b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0do", 2),
    Word::new(*b"\0\0\0\0\0\0\0\0\0\0\0\0call", 4),
];

impl Mentions {
    /// Those of a whole text.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let mut mentions = Self::default();
        mentions.look(text);
        mentions
    }

    /// Looks at the next piece.
    pub fn look(&mut self, text: &[u8]) {
        for byte in text {
            let before = self.last;
            self.last = before << 8 | u128::from(byte.to_ascii_lowercase());
            if is_of_name(*byte) {
                self.prepare |= ends_with(self.last, PREPARE);
                self.may_run_any |= ANYWHERE.iter().any(|word| ends_with(self.last, *word));
            } else {
                self.may_run_any |= ALONE.iter().any(|word| ends_with_alone(before, *word));
            }
        }
    }

    /// Whether a name may have another meaning after this text.
    #[must_use]
    pub fn found(&self) -> bool {
        self.prepare || self.may_run_any
    }

    fn may_run_any(&self) -> bool {
        self.may_run_any
    }
}

fn ends_with(last: u128, word: Word) -> bool {
    last & ((1_u128 << (8 * word.length)) - 1) == word.bytes
}

fn ends_with_alone(last: u128, word: Word) -> bool {
    let before = u8::try_from((last >> (8 * word.length)) & 0xff).unwrap_or_default();
    ends_with(last, word) && !is_of_name(before)
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_$".contains(&byte) || !byte.is_ascii()
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
    pub(crate) fn since(&self, count: u64) -> Renamed {
        let since = self.texts.iter().filter(|(number, _)| *number > count);
        let texts = since.map(|(_, text)| Shown::unambiguous(Arc::clone(text))).collect();
        Renamed { texts, forgotten: self.forgotten > count }
    }
}

/// What may have given a name another meaning.
#[derive(Default)]
pub(crate) struct Renamed {
    /// The texts.
    pub(crate) texts: Vec<Shown>,
    /// Whether some are no longer known.
    pub(crate) forgotten: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_give_names_another_meaning_is_found_however_its_text_comes() {
        for text in [
            "Prepare s1 as select 2",
            "do $$ begin execute 'prep' || 'are s1 as select 2'; end $$",
            "begin; DO/**/E'begin \\x65xecute x; end'",
            "select 1;do'begin end'",
            "call p()",
            "execute other(1)",
            "create function f() returns void language plpgsql as E'begin \\x65xecute x; end'",
            "create procedure p() as E'\\nbegin \\x65xecute x; end'",
            "do E'begin \\nexecute x; end'",
        ] {
            assert!(Mentions::of(text.as_bytes()).found(), "{text}");
            let mut pieces = Mentions::default();
            text.as_bytes().chunks(1).for_each(|piece| pieces.look(piece));
            assert!(pieces.found(), "{text}");
        }
        for text in [
            "",
            "do",
            "select todo, do_it, undo, dot from recalls",
            "update users set password = $1",
            "insert into t values ($1) returning callback",
            "select called from calls",
        ] {
            assert!(!Mentions::of(text.as_bytes()).found(), "{text}");
        }
    }

    #[test]
    fn a_portal_may_be_renamed_by_what_runs_any_sql() {
        let renames = |text: &str| Renames::of(text.as_bytes(), false);
        let (both, none) = (Renames { statements: true, portals: true }, Renames::default());
        assert_eq!(renames("do $$ begin execute 'decl' || 'are p1'; end $$"), both);
        assert_eq!(renames("prepare s as select 1"), Renames { portals: false, ..both });
        assert_eq!(renames("declare p cursor for select 1"), Renames { statements: false, ..both });
        assert_eq!(renames("select 1"), none);
    }
}
