//! Finding the tag that closes a dollar-quoted literal, byte by byte.

/// A tag being looked for, with its dollars.
#[derive(Debug, Clone, Default)]
pub(super) struct Closer {
    tag: Vec<u8>,
    matched: usize,
}

/// What one byte means to the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The tag is whole.
    Tag,
    /// The byte may be part of the tag; this many bytes of the tag, held before it, are not.
    Maybe(usize),
    /// Neither the byte nor this many bytes held before it are part of the tag.
    Not(usize),
}

impl Closer {
    /// Looks for this tag.
    pub(super) fn new(tag: Vec<u8>) -> Closer {
        Closer { tag, matched: 0 }
    }

    /// The tag.
    pub(super) fn tag(&self) -> &[u8] {
        &self.tag
    }

    /// The byte of the tag at this place.
    pub(super) fn tag_byte(&self, at: usize) -> Option<u8> {
        self.tag.get(at).copied()
    }

    /// Takes the next byte. A dollar stands only at both ends of a tag, so no other match can begin
    /// within one.
    pub(super) fn step(&mut self, byte: u8) -> Found {
        let held = self.matched;
        if self.tag.get(held) == Some(&byte) {
            self.matched += 1;
            let whole = self.matched == self.tag.len();
            return if whole { Found::Tag } else { Found::Maybe(0) };
        }
        self.matched = usize::from(byte == b'$');
        if byte == b'$' { Found::Maybe(held) } else { Found::Not(held) }
    }

    /// Gives up: how many bytes of the tag were held.
    pub(super) fn give_up(&mut self) -> usize {
        std::mem::take(&mut self.matched)
    }
}
