//! Finding the tag that closes a dollar-quoted literal, character by character.

use crate::mask::chars::Char;

/// A tag being looked for, with its dollars.
#[derive(Debug, Clone, Default)]
pub(super) struct Closer {
    tag: Vec<u8>,
    held: Vec<Char>,
}

/// What one character means to the search.
#[derive(Debug, Clone)]
pub(super) enum Found {
    /// The tag is whole.
    Tag(Vec<Char>),
    /// The character may be part of the tag.
    Maybe,
    /// It isn't, and neither is what was held before it.
    Not(Vec<Char>),
}

impl Closer {
    /// Looks for this tag.
    pub(super) fn new(tag: Vec<u8>) -> Closer {
        Closer { tag, held: Vec::new() }
    }

    /// How many characters are held back.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Takes the next character. A dollar stands only at both ends of a tag, so no other match can
    /// begin within one.
    pub(super) fn step(&mut self, ch: Char) -> Found {
        if self.tag.get(self.held.len()) == Some(&ch.byte) {
            self.held.push(ch);
            let whole = self.held.len() == self.tag.len();
            return if whole { Found::Tag(self.give_up()) } else { Found::Maybe };
        }
        let mut held = self.give_up();
        if ch.byte == b'$' {
            self.held.push(ch);
        } else {
            held.push(ch);
        }
        Found::Not(held)
    }

    /// Gives up what is held.
    pub(super) fn give_up(&mut self) -> Vec<Char> {
        std::mem::take(&mut self.held)
    }

    /// Whether this character can only be content.
    pub(super) fn passes(&self, ch: Char) -> bool {
        self.held.is_empty() && ch.byte != b'$'
    }
}
