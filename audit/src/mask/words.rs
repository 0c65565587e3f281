//! Words, seen byte by byte: what they mean to the masker.

/// Words whose value is a secret, also as the end of a longer word such as `client_secret`.
const SECRET_ENDS: [&[u8]; 8] = [
    b"password",
    b"passwd",
    b"passphrase",
    b"pwd",
    b"secret",
    b"secret_key",
    b"access_key",
    b"api_key",
];

/// Words whose value is a secret, by themselves.
const SECRETS: [&[u8]; 3] = [b"pass", b"pw", b"apikey"];

/// Words that may stand between a secret's name and its literal, as in `SET app.password TO 'x'`.
const THROUGH: [&[u8]; 4] = [b"to", b"like", b"ilike", b"values"];

/// Words that begin another clause: what follows is no longer about the secret.
const CLAUSES: [&[u8]; 12] = [
    b"and",
    b"or",
    b"from",
    b"where",
    b"then",
    b"else",
    b"end",
    b"when",
    b"union",
    b"returning",
    b"order",
    b"group",
];

/// How many bytes of a word are remembered.
const REMEMBERED: usize = size_of::<u128>();

/// What a word means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Word {
    /// There is no word.
    #[default]
    None,
    /// The name of a secret.
    Secret,
    /// `by`, of `identified by`.
    IdentifiedBy,
    /// `identified`, of `identified by`.
    Identified,
    /// A word that changes nothing.
    Through,
    /// A word that begins another clause.
    Clause,
    /// `do` or `as`: what a body of code follows.
    Body,
    /// `language`, whose name may stand between `do` and its body.
    Language,
    /// Any other.
    Other,
}

/// The word being read, and what those before it meant.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    /// The last bytes of the word, lower case.
    tail: u128,
    len: usize,
    /// Whether it begins with a digit: then it is a number, and perhaps more.
    number: bool,
    /// Whether what stands right before it may belong to it, in another encoding.
    blurred: bool,
    last: Word,
    before: Word,
}

impl Words {
    /// Whether this byte is part of a word.
    pub(super) fn has(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
    }

    /// Adds a byte to the word.
    pub(super) fn push(&mut self, byte: u8) {
        self.number = if self.len == 0 { byte.is_ascii_digit() } else { self.number };
        self.tail = self.tail << 8 | u128::from(byte.to_ascii_lowercase());
        self.len = self.len.saturating_add(1);
    }

    /// Whether there is no word.
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the word is exactly this letter.
    pub(super) fn is_letter(&self, letter: u8) -> bool {
        self.len == 1 && self.tail & 0xff == u128::from(letter)
    }

    /// Whether it can't be told if a `$` here belongs to the word or opens a literal.
    pub(super) fn blurs_dollar(&self) -> bool {
        self.blurred || (self.number && !self.is_empty())
    }

    /// Whether the word is this letter, however the bytes before it are read.
    pub(super) fn is_surely_letter(&self, letter: u8) -> bool {
        self.is_letter(letter) && !self.blurred
    }

    /// Takes note of the byte between words. Behind a byte of 0x80 or more it may be the second
    /// byte of a character: of the encodings a client may choose, JOHAB has them from 0x31 on.
    pub(super) fn separate(&mut self, before: u8, byte: u8) {
        self.blurred = before >= 0x80 && byte > 0x30;
    }

    /// Forgets the word.
    pub(super) fn drop_word(&mut self) {
        self.len = 0;
        self.tail = 0;
    }

    /// Ends the word and says what it means.
    pub(super) fn finish(&mut self) -> Word {
        if self.len == 0 {
            return Word::None;
        }
        let word = self.meaning();
        self.drop_word();
        self.before = self.last;
        self.last = word;
        word
    }

    /// Whether a literal here would be a body of code: after `do`, `as`, or `do language x`.
    pub(super) fn lead_to_code(&self) -> bool {
        self.last == Word::Body || self.before == Word::Language
    }

    fn meaning(&self) -> Word {
        let bytes = self.tail.to_be_bytes();
        let tail = bytes.get(REMEMBERED - self.len.min(REMEMBERED)..).unwrap_or_default();
        let is = |words: &[&[u8]]| self.len <= REMEMBERED && words.contains(&tail);
        if SECRET_ENDS.iter().any(|end| tail.ends_with(end)) || is(&SECRETS) {
            Word::Secret
        } else if is(&[b"by"]) && self.last == Word::Identified {
            Word::IdentifiedBy
        } else if is(&[b"identified"]) {
            Word::Identified
        } else if is(&THROUGH) {
            Word::Through
        } else if is(&CLAUSES) {
            Word::Clause
        } else if is(&[b"do", b"as"]) {
            Word::Body
        } else if is(&[b"language"]) {
            Word::Language
        } else {
            Word::Other
        }
    }
}
