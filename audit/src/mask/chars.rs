//! Characters as one layer reads them, and the words that they make.

/// The deepest layer: SQL in a literal of SQL, and so on.
pub(super) const MAX_DEPTH: u8 = 3;

/// Each layer spells a character with at most two of the layer around it, and so does a literal in
/// the deepest.
const MAX_SPELLING: usize = 2 << MAX_DEPTH;

/// As many bytes of an identifier as PostgreSQL keeps (`NAMEDATALEN` less one).
pub(super) const MAX_NAME: usize = 63;

/// One character of a layer, and the bytes of the text that spell it: in `'it''s'` the character
/// `'` is spelled `''`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Char {
    /// What the target reads; 0 where that takes more than one byte to know.
    pub(super) byte: u8,
    bytes: [u8; MAX_SPELLING],
    len: u8,
}

impl Char {
    /// A byte of the text itself.
    pub(super) fn plain(byte: u8) -> Char {
        let mut bytes = [0; MAX_SPELLING];
        if let Some(first) = bytes.first_mut() {
            *first = byte;
        }
        Char { byte, bytes, len: 1 }
    }

    /// A character that is spelled with two of the layer around.
    pub(super) fn pair(first: Char, second: Char, byte: u8) -> Char {
        let mut pair = Char { byte, ..first };
        for (to, from) in pair.bytes.iter_mut().skip(first.len.into()).zip(second.spelling()) {
            *to = *from;
        }
        pair.len += second.len;
        pair
    }

    /// The bytes of the text.
    pub(super) fn spelling(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }
}

/// A name in lower case, as much of it as PostgreSQL keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Name {
    bytes: [u8; MAX_NAME],
    len: usize,
    /// Whether it was written with capital letters.
    pub(super) capitals: bool,
}

impl Default for Name {
    fn default() -> Name {
        Name { bytes: [0; MAX_NAME], len: 0, capitals: false }
    }
}

impl Name {
    pub(super) fn push(&mut self, byte: u8) {
        self.capitals |= byte.is_ascii_uppercase();
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte.to_ascii_lowercase();
            self.len += 1;
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// The word of code being read.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Word {
    pub(super) name: Name,
    /// Whether what stands right before it may belong to it, in another encoding.
    blurred: bool,
}

impl Word {
    /// Whether this byte is part of a word.
    pub(super) fn has(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
    }

    pub(super) fn is_empty(&self) -> bool {
        self.name.is_empty()
    }

    /// Whether it begins with a digit: then it is a number, and perhaps more.
    pub(super) fn is_number(&self) -> bool {
        self.name.as_bytes().first().is_some_and(u8::is_ascii_digit)
    }

    /// Whether the word is exactly this letter.
    pub(super) fn is_letter(&self, letter: u8) -> bool {
        self.name.as_bytes() == [letter]
    }

    /// Whether the word is this letter, however the bytes before it are read.
    pub(super) fn is_surely_letter(&self, letter: u8) -> bool {
        self.is_letter(letter) && !self.blurred
    }

    /// Whether it is open if a `$` here belongs to the word or opens a literal.
    pub(super) fn blurs_dollar(&self) -> bool {
        self.blurred || self.is_number()
    }

    /// Takes note of the byte between words. Behind a byte of 0x80 or more it may be the second
    /// byte of a character: of the encodings a client may choose, JOHAB has them from 0x31 on.
    pub(super) fn separate(&mut self, before: u8, byte: u8) {
        self.blurred = before >= 0x80 && byte > 0x30;
    }

    /// Takes the name, and leaves no word.
    pub(super) fn take(&mut self) -> Name {
        std::mem::take(&mut self.name)
    }
}
