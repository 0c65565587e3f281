//! Secrets within a literal that isn't read as SQL, within a comment, or within a value: what
//! connection strings, URIs, JSON and headers hold.
//!
//! Such a text may be run by a function that isn't known. So what is hidden here is one word: no
//! white space, quote, parenthesis or comment, and not the name of a call. It can't be a statement.
//! Where the text is certainly a connection string, its own rules say where a password ends.

use super::MAX_SECRET;
use super::chars::{Char, Name, Word};
use super::vocabulary::{begins_token, is_secret};

/// What stands in for a secret.
pub(super) const MASKED: &[u8] = b"***";

/// A bearer token has as many characters as this, where nothing else says that it is one.
const BEARER: usize = 12;

/// What follows the prefix of a well-known token has as many characters as this.
const TOKEN: usize = 8;

#[derive(Debug, Clone, Copy, Default)]
enum State {
    /// Nothing secret.
    #[default]
    Text,
    /// Behind the name of a secret, and perhaps white space or its `=`.
    Named { assigned: bool, gap: bool },
    /// In what may be the value of a secret, held back.
    Value { quote: Option<u8> },
    /// Behind it, where only a call is still to be excluded.
    ValueEnd,
    /// Behind the scheme of an authorization, whose token has so many characters.
    Scheme { least: usize },
    /// In what may be a token, held back.
    Token { least: usize, dots: usize },
    /// Behind `://user:`, held back.
    Userinfo { at: Option<usize> },
    /// In a quoted password of a connection string.
    Quoted { escaped: bool },
    /// In one that ends at white space.
    Bare { escaped: bool },
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
    /// Whether this is certainly a connection string.
    connection: bool,
    /// Whether it begins like JSON, so that a value may have spaces; unknown at first.
    json: Option<bool>,
    state: State,
    word: Name,
    uri: Uri,
    held: Vec<u8>,
    /// How many bytes of what is held are the secret.
    value: usize,
    last: u8,
    hidden: usize,
}

impl Content {
    /// Begins another content. A connection string of libpq's is one that nothing runs.
    pub(super) fn begin(&mut self, connection: bool) {
        self.connection = connection;
    }

    /// Takes the next character.
    pub(super) fn step(&mut self, ch: Char, out: &mut Vec<u8>) {
        if self.json.is_none() && !ch.byte.is_ascii_whitespace() {
            self.json = Some(matches!(ch.byte, b'{' | b'['));
        }
        match self.state {
            State::Text => self.text(ch, out),
            State::Named { assigned, gap } => self.named(ch, assigned, gap, out),
            State::Value { quote } => self.in_value(ch, quote, out),
            State::ValueEnd => self.value_end(ch, out),
            State::Scheme { least } => self.scheme(ch, least, out),
            State::Token { least, dots } => self.token(ch, least, dots, out),
            State::Userinfo { at } => self.userinfo(ch, at, out),
            State::Quoted { escaped } => self.quoted(ch, escaped, out),
            State::Bare { escaped } => self.bare(ch, escaped, out),
        }
        self.last = ch.byte;
    }

    /// Ends the content: nothing is held back any more.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) {
        match self.state {
            State::Value { quote: None } | State::ValueEnd => self.mask_value(out),
            State::Token { least, dots } => self.end_token(least, dots, out),
            State::Userinfo { at } => self.end_userinfo(at, out),
            State::Value { .. } => self.release(out),
            State::Text
            | State::Named { .. }
            | State::Scheme { .. }
            | State::Quoted { .. }
            | State::Bare { .. } => {}
        }
        let held = std::mem::take(&mut self.held);
        *self = Content { connection: self.connection, held, ..Content::default() };
    }

    fn text(&mut self, ch: Char, out: &mut Vec<u8>) {
        if Word::has(ch.byte) || ch.byte == b'-' {
            self.word.push(ch.byte);
            out.extend_from_slice(ch.spelling());
            if matches!(ch.byte, b'_' | b'-' | b'J') && begins_token(self.word.as_bytes()) {
                self.word = Name::default();
                self.state = State::Token { least: TOKEN, dots: usize::from(ch.byte == b'J') };
            }
            return self.follow_uri(ch.byte);
        }
        let word = std::mem::take(&mut self.word);
        if is_secret(word.as_bytes()) {
            self.uri = Uri::None;
            self.state = State::Named { assigned: false, gap: false };
            return self.named(ch, false, false, out);
        }
        if word.as_bytes() == b"bearer" {
            self.state = State::Scheme { least: BEARER };
            return self.scheme(ch, BEARER, out);
        }
        out.extend_from_slice(ch.spelling());
        self.follow_uri(ch.byte);
    }

    fn back_to_text(&mut self, ch: Char, out: &mut Vec<u8>) {
        self.state = State::Text;
        self.text(ch, out);
    }

    fn follow_uri(&mut self, byte: u8) {
        self.uri = match (self.uri, byte) {
            (Uri::User, b':') => {
                self.state = State::Userinfo { at: None };
                Uri::None
            }
            (Uri::None | Uri::Colon | Uri::Slash, b':') => Uri::Colon,
            (Uri::Colon, b'/') => Uri::Slash,
            (Uri::Slash, b'/') => Uri::User,
            (Uri::User, byte) if !ends_authority(byte) && byte != b'@' => Uri::User,
            (Uri::None | Uri::Colon | Uri::Slash | Uri::User, _) => Uri::None,
        };
    }

    fn named(&mut self, ch: Char, assigned: bool, gap: bool, out: &mut Vec<u8>) {
        self.state = match ch.byte {
            b'=' | b':' => State::Named { assigned: true, gap: false },
            b'>' if assigned => State::Named { assigned, gap },
            byte if byte.is_ascii_whitespace() => State::Named { assigned, gap: true },
            b'\'' if self.connection && assigned => {
                self.hidden = 0;
                out.extend_from_slice(ch.spelling());
                out.extend_from_slice(MASKED);
                self.state = State::Quoted { escaped: false };
                return;
            }
            _ if self.connection && assigned => {
                self.hidden = 0;
                out.extend_from_slice(MASKED);
                self.state = State::Bare { escaped: false };
                return self.bare(ch, false, out);
            }
            b'"' if assigned => State::Value { quote: Some(b'"') },
            b'\'' if assigned || gap => State::Value { quote: Some(b'\'') },
            // The end of a name in quotes, as in JSON.
            b'"' | b'\'' => State::Named { assigned, gap },
            byte if assigned && is_plain(byte) && byte != b'%' => {
                self.state = State::Value { quote: None };
                return self.in_value(ch, None, out);
            }
            _ => return self.back_to_text(ch, out),
        };
        out.extend_from_slice(ch.spelling());
    }

    fn in_value(&mut self, ch: Char, quote: Option<u8>, out: &mut Vec<u8>) {
        let comment = bounds_comment(self.last, ch.byte);
        let space = self.json == Some(true) && quote == Some(b'"') && ch.byte == b' ';
        if (is_plain(ch.byte) && (!comment || self.held.is_empty())) || space {
            self.held.extend_from_slice(ch.spelling());
            self.value = self.held.len();
            if self.value > MAX_SECRET {
                self.release(out);
            }
        } else if quote == Some(ch.byte) || (quote.is_none() && ch.byte.is_ascii_whitespace()) {
            self.held.extend_from_slice(ch.spelling());
            self.state = State::ValueEnd;
        } else if quote.is_none() && matches!(ch.byte, b',' | b';' | b'&' | b')' | b']' | b'}') {
            self.mask_value(out);
            self.back_to_text(ch, out);
        } else {
            self.release(out);
            self.back_to_text(ch, out);
        }
    }

    /// What was a word is the name of a call where a parenthesis follows, or perhaps behind a
    /// comment.
    fn value_end(&mut self, ch: Char, out: &mut Vec<u8>) {
        if ch.byte.is_ascii_whitespace() && self.held.len() <= self.value + MAX_SECRET {
            self.held.extend_from_slice(ch.spelling());
            return;
        }
        if matches!(ch.byte, b'(' | b'/') {
            self.release(out);
        } else {
            self.mask_value(out);
        }
        if let State::Scheme { least } = self.state {
            return self.scheme(ch, least, out);
        }
        self.back_to_text(ch, out);
    }

    fn mask_value(&mut self, out: &mut Vec<u8>) {
        let value = self.held.get(..self.value).unwrap_or_default().to_ascii_lowercase();
        if matches!(&value[..], b"basic" | b"bearer" | b"token" | b"negotiate" | b"digest") {
            self.release(out);
            self.state = State::Scheme { least: 1 };
            return;
        }
        if matches!(&value[..], b"" | b"null" | b"none" | b"true" | b"false") {
            return self.release(out);
        }
        self.mask(self.value, out);
    }

    /// Hides so many of the bytes held, and lets the rest out.
    fn mask(&mut self, bytes: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(MASKED);
        self.held.drain(..bytes.min(self.held.len()));
        self.release(out);
    }

    /// Lets out what is held, whole.
    fn release(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        self.value = 0;
        self.state = State::Text;
    }

    fn scheme(&mut self, ch: Char, least: usize, out: &mut Vec<u8>) {
        if ch.byte.is_ascii_whitespace() {
            out.extend_from_slice(ch.spelling());
            self.state = State::Scheme { least };
        } else if is_token(ch.byte) && self.last.is_ascii_whitespace() {
            self.state = State::Token { least, dots: 0 };
            self.token(ch, least, 0, out);
        } else {
            self.back_to_text(ch, out);
        }
    }

    fn token(&mut self, ch: Char, least: usize, dots: usize, out: &mut Vec<u8>) {
        let comment = bounds_comment(self.last, ch.byte);
        if is_token(ch.byte) && !comment && self.held.len() < MAX_SECRET {
            self.held.extend_from_slice(ch.spelling());
            let dots = dots + usize::from(dots > 0 && ch.byte == b'.');
            self.state = State::Token { least, dots };
            return;
        }
        if is_token(ch.byte) || comment || ch.byte == b'(' {
            self.release(out);
        } else {
            self.end_token(least, dots, out);
        }
        self.back_to_text(ch, out);
    }

    /// `dots` counts those of a JSON web token, and one for its beginning; it is 0 elsewhere.
    fn end_token(&mut self, least: usize, dots: usize, out: &mut Vec<u8>) {
        if self.held.len() < least || !matches!(dots, 0 | 3) {
            return self.release(out);
        }
        self.mask(self.held.len(), out);
    }

    fn userinfo(&mut self, ch: Char, at: Option<usize>, out: &mut Vec<u8>) {
        let fits = self.connection || is_plain(ch.byte);
        if ends_authority(ch.byte) || !fits || self.held.len() > MAX_SECRET {
            if ends_authority(ch.byte) || at.is_some() {
                self.end_userinfo(at, out);
            } else {
                self.release(out);
            }
            return self.back_to_text(ch, out);
        }
        let at = if ch.byte == b'@' { Some(self.held.len()) } else { at };
        self.held.extend_from_slice(ch.spelling());
        self.state = State::Userinfo { at };
    }

    /// A secret ends with the last `@`; without one this was a port.
    fn end_userinfo(&mut self, at: Option<usize>, out: &mut Vec<u8>) {
        match at {
            Some(at) if at > 0 => self.mask(at, out),
            Some(_) | None => self.release(out),
        }
    }

    fn quoted(&mut self, ch: Char, escaped: bool, out: &mut Vec<u8>) {
        if ch.byte == b'\'' && !escaped {
            return self.back_to_text(ch, out);
        }
        self.hide(ch, out);
        self.state = State::Quoted { escaped: !escaped && ch.byte == b'\\' };
    }

    fn bare(&mut self, ch: Char, escaped: bool, out: &mut Vec<u8>) {
        if !escaped && ch.byte.is_ascii_whitespace() {
            return self.back_to_text(ch, out);
        }
        self.hide(ch, out);
        self.state = State::Bare { escaped: !escaped && ch.byte == b'\\' };
    }

    /// Leaves out what is secret, as long as that may be.
    fn hide(&mut self, ch: Char, out: &mut Vec<u8>) {
        self.hidden += ch.spelling().len();
        if self.hidden > MAX_SECRET {
            out.extend_from_slice(ch.spelling());
        }
    }
}

/// Whether a comment begins or ends with these two.
fn bounds_comment(first: u8, second: u8) -> bool {
    matches!((first, second), (b'/', b'*') | (b'*', b'/') | (b'-', b'-'))
}

/// Whether the byte may be part of a word that is hidden.
fn is_plain(byte: u8) -> bool {
    Word::has(byte)
        || matches!(
            byte,
            b'.' | b'~'
                | b'+'
                | b'/'
                | b'='
                | b'-'
                | b'@'
                | b'%'
                | b'!'
                | b'*'
                | b'#'
                | b'^'
                | b'?'
                | b':'
        )
}

/// Whether the byte may be part of a token.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'+' | b'/' | b'=' | b'-')
}

/// Whether the authority of a URI (`user:secret@host:port`) is over.
fn ends_authority(byte: u8) -> bool {
    byte.is_ascii_whitespace() || matches!(byte, b'/' | b'?' | b'#')
}
