//! Secrets within the content of a literal, a comment or a value: connection strings, URIs, and SQL
//! in SQL.
//!
//! Reads the content as its characters mean, and emits the bytes that spell them: in `'it''s'` the
//! character `'` is spelled `''`. Holds back only what stands between `user:` and `@` in a URI.

use super::words::{Word, Words};

/// What stands in for a secret.
pub(super) const MASKED: &[u8] = b"***";

/// The most bytes that are left out as one secret: no password is longer, so what follows is not
/// lost.
pub(super) const MAX_SECRET: usize = 1024;

/// The bytes that spell one character, at most two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spelling {
    bytes: [u8; 2],
    len: usize,
}

impl Spelling {
    /// Spelled by itself.
    pub(super) fn plain(byte: u8) -> Spelling {
        Spelling { bytes: [byte, 0], len: 1 }
    }

    /// Spelled with a byte before it.
    pub(super) fn escaped(escape: u8, byte: u8) -> Spelling {
        Spelling { bytes: [escape, byte], len: 2 }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// Nothing secret.
    #[default]
    Text,
    /// Behind the name of a secret, and perhaps its `=`.
    Named { assigned: bool },
    /// Behind the name of a secret and something like a comment: the next quote opens the secret.
    Seek,
    /// Behind the name of a secret and a `$`.
    Dollar,
    /// In a quoted secret.
    Quoted { quote: u8, escaped: bool },
    /// Behind what may be the end of a quoted secret, or a doubled quote in it.
    QuoteEnd { quote: u8, spelling: Spelling },
    /// In a secret that ends at white space.
    Bare { escaped: bool },
    /// Behind `://user:`, up to `@` or the end of the authority.
    Held,
    /// The same, too long to be held: a secret.
    Swallowed,
    /// In a secret that ends with the literal.
    Lost,
}

/// How much of `://user:` was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Uri {
    #[default]
    None,
    Colon,
    Slash,
    User,
}

/// The scanner of one content.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    state: State,
    words: Words,
    uri: Uri,
    held: Vec<u8>,
    /// How many bytes of the present secret were left out.
    hidden: usize,
    /// Whether a secret was named whose value must be elsewhere: a placeholder, or nothing.
    owed: bool,
}

impl Content {
    /// Takes the next character.
    pub(super) fn step(&mut self, byte: u8, spelling: Spelling, out: &mut Vec<u8>) {
        match self.state {
            State::Text => self.text(byte, spelling, out),
            State::Named { assigned } => self.named(byte, spelling, assigned, out),
            State::Seek => self.seek(byte, spelling, out),
            State::Dollar => self.dollar(byte, spelling, out),
            State::Quoted { quote, escaped } => self.quoted(byte, spelling, quote, escaped, out),
            State::QuoteEnd { quote, spelling: end } => {
                self.quote_end(byte, spelling, quote, end, out)
            }
            State::Bare { escaped } => self.bare(byte, spelling, escaped, out),
            State::Held => self.hold(byte, spelling, out),
            State::Swallowed => self.swallow(byte, spelling, out),
            State::Lost => self.hide(spelling, out),
        }
    }

    fn open_secret(&mut self, out: &mut Vec<u8>) {
        self.hidden = 0;
        out.extend_from_slice(MASKED);
    }

    /// Leaves out what is secret, as long as that may be.
    fn hide(&mut self, spelling: Spelling, out: &mut Vec<u8>) {
        self.hidden = self.hidden.saturating_add(spelling.len);
        if self.hidden > MAX_SECRET {
            out.extend_from_slice(spelling.as_bytes());
        }
    }

    /// Ends the content. Whether it names a secret whose value must come after it.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> bool {
        let mut owed = self.owed;
        match self.state {
            State::Text => owed |= names_secret(self.words.finish()),
            State::Named { .. } | State::Seek | State::Dollar => owed = true,
            State::QuoteEnd { spelling, .. } => out.extend_from_slice(spelling.as_bytes()),
            State::Held => self.release(out),
            State::Quoted { .. } | State::Bare { .. } | State::Swallowed | State::Lost => {}
        }
        *self = Content::default();
        owed
    }

    fn text(&mut self, byte: u8, spelling: Spelling, out: &mut Vec<u8>) {
        if Words::has(byte) {
            self.words.push(byte);
        } else if names_secret(self.words.finish()) {
            self.uri = Uri::None;
            self.state = State::Named { assigned: false };
            return self.named(byte, spelling, false, out);
        }
        out.extend_from_slice(spelling.as_bytes());
        self.follow_uri(byte);
    }

    fn follow_uri(&mut self, byte: u8) {
        self.uri = match (self.uri, byte) {
            (Uri::User, b':') => {
                self.state = State::Held;
                Uri::None
            }
            (Uri::None | Uri::Colon | Uri::Slash, b':') => Uri::Colon,
            (Uri::Colon, b'/') => Uri::Slash,
            (Uri::Slash, b'/') => Uri::User,
            (Uri::User, byte) if !ends_authority(byte) && byte != b'@' => Uri::User,
            (Uri::None | Uri::Colon | Uri::Slash | Uri::User, _) => Uri::None,
        };
    }

    fn named(&mut self, byte: u8, spelling: Spelling, assigned: bool, out: &mut Vec<u8>) {
        self.state = match byte {
            b'\'' => return self.open(byte, spelling, out),
            b'"' if assigned => return self.open(byte, spelling, out),
            b'=' | b':' | b'>' => State::Named { assigned: true },
            byte if byte.is_ascii_whitespace() => State::Named { assigned },
            // The end of a name in quotes, as in JSON.
            b'"' => State::Named { assigned },
            _ if assigned => {
                self.owed |= matches!(byte, b'%' | b'$');
                self.open_secret(out);
                self.state = State::Bare { escaped: false };
                return self.bare(byte, spelling, false, out);
            }
            // What a literal may be prefixed with: E, U&, N.
            b'e' | b'E' | b'u' | b'U' | b'n' | b'N' | b'&' => State::Named { assigned },
            b'/' | b'-' => State::Seek,
            b'$' => State::Dollar,
            _ => {
                self.owed |= byte == b'%';
                self.state = State::Text;
                return self.text(byte, spelling, out);
            }
        };
        out.extend_from_slice(spelling.as_bytes());
    }

    fn seek(&mut self, byte: u8, spelling: Spelling, out: &mut Vec<u8>) {
        match byte {
            b'\'' => self.open(byte, spelling, out),
            _ => out.extend_from_slice(spelling.as_bytes()),
        }
    }

    /// A parameter is filled elsewhere; anything else opens a dollar quote, which here ends with
    /// the content.
    fn dollar(&mut self, byte: u8, spelling: Spelling, out: &mut Vec<u8>) {
        if byte.is_ascii_digit() {
            self.owed = true;
            self.state = State::Text;
            return self.text(byte, spelling, out);
        }
        self.open_secret(out);
        self.hide(spelling, out);
        self.state = State::Lost;
    }

    fn open(&mut self, quote: u8, spelling: Spelling, out: &mut Vec<u8>) {
        out.extend_from_slice(spelling.as_bytes());
        self.open_secret(out);
        self.state = State::Quoted { quote, escaped: false };
    }

    fn quoted(
        &mut self,
        byte: u8,
        spelling: Spelling,
        quote: u8,
        escaped: bool,
        out: &mut Vec<u8>,
    ) {
        if byte == quote && !escaped {
            self.state = State::QuoteEnd { quote, spelling };
            return;
        }
        self.hide(spelling, out);
        self.state = State::Quoted { quote, escaped: !escaped && byte == b'\\' };
    }

    fn quote_end(
        &mut self,
        byte: u8,
        spelling: Spelling,
        quote: u8,
        end: Spelling,
        out: &mut Vec<u8>,
    ) {
        if byte == quote {
            self.hide(end, out);
            self.hide(spelling, out);
            self.state = State::Quoted { quote, escaped: false };
            return;
        }
        out.extend_from_slice(end.as_bytes());
        self.state = State::Text;
        self.text(byte, spelling, out);
    }

    fn bare(&mut self, byte: u8, spelling: Spelling, escaped: bool, out: &mut Vec<u8>) {
        if !escaped && byte.is_ascii_whitespace() {
            self.state = State::Text;
            return self.text(byte, spelling, out);
        }
        self.hide(spelling, out);
        self.state = State::Bare { escaped: !escaped && byte == b'\\' };
    }

    fn hold(&mut self, byte: u8, spelling: Spelling, out: &mut Vec<u8>) {
        if ends_authority(byte) {
            self.release(out);
            self.state = State::Text;
            return self.text(byte, spelling, out);
        }
        self.held.extend_from_slice(spelling.as_bytes());
        if self.held.len() > MAX_SECRET {
            self.open_secret(out);
            self.hidden = self.held.len();
            self.held.clear();
            self.state = State::Swallowed;
        }
    }

    fn swallow(&mut self, byte: u8, spelling: Spelling, out: &mut Vec<u8>) {
        if ends_authority(byte) {
            self.state = State::Text;
            return self.text(byte, spelling, out);
        }
        self.hide(spelling, out);
    }

    /// A port stays; anything else is a secret, up to the last `@`.
    fn release(&mut self, out: &mut Vec<u8>) {
        let host = self.held.iter().rposition(|byte| *byte == b'@');
        if host.is_none() && self.held.iter().all(u8::is_ascii_digit) {
            out.append(&mut self.held);
            return;
        }
        out.extend_from_slice(MASKED);
        out.extend_from_slice(host.and_then(|at| self.held.get(at..)).unwrap_or_default());
        self.held.clear();
    }
}

fn names_secret(word: Word) -> bool {
    matches!(word, Word::Secret | Word::IdentifiedBy)
}

/// Whether the authority of a URI (`user:secret@host:port`) is over.
fn ends_authority(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'?' | b'#')
}
