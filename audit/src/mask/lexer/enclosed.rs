//! The lexer inside of something: a literal in quotes or dollars, a quoted name, a comment.

use super::{Armed, Continues, Masker, Quote, State};
use crate::mask::content::{MASKED, MAX_SECRET, Spelling};
use crate::mask::dollar::{Closer, Found};
use crate::mask::words::{Word, Words};

/// The longest dollar tag that is read as one: PostgreSQL knows no bound.
const MAX_TAG: usize = 1024;

impl Masker {
    /// Whether a literal here is taken for a secret. A body of code never is: naming a secret must
    /// not hide code.
    pub(super) fn expects_secret(&self) -> bool {
        self.armed.is_some() && !self.words.lead_to_code()
    }

    pub(super) fn open_quote(&mut self, out: &mut Vec<u8>) {
        let extended = self.continues == Continues::Here || self.words.is_surely_letter(b'e');
        self.continues = Continues::No;
        if [b'e', b'n', b'b', b'x'].iter().any(|letter| self.words.is_letter(*letter)) {
            self.words.drop_word();
        }
        self.end_word();
        let secret = self.expects_secret();
        self.open_secret(secret, out);
        self.state = State::Quote(Quote { extended, secret });
    }

    fn open_secret(&mut self, secret: bool, out: &mut Vec<u8>) {
        self.hidden = 0;
        if secret {
            out.extend_from_slice(MASKED);
        }
    }

    /// A backslash has two readings: before a quote, where `standard_conforming_strings` may be
    /// off; and behind a byte of 0x80 or more, with which it may make one character.
    pub(super) fn quote(&mut self, byte: u8, quote: Quote, out: &mut Vec<u8>) {
        match (std::mem::replace(&mut self.last, byte), byte) {
            (b'\\', b'\'') if !quote.extended => self.give_up(byte, out),
            (0x80.., b'\\') if quote.extended => self.give_up(byte, out),
            (_, b'\'') => self.state = State::QuoteEnd(quote),
            (_, b'\\') if quote.extended => self.state = State::Escape(quote),
            _ => self.literal(byte, Spelling::plain(byte), quote.secret, out),
        }
    }

    /// From here on there is more than one reading.
    fn give_up(&mut self, byte: u8, out: &mut Vec<u8>) {
        self.content.end(out);
        out.push(byte);
        self.state = State::Raw;
    }

    pub(super) fn escape(&mut self, byte: u8, quote: Quote, out: &mut Vec<u8>) {
        self.state = State::Quote(quote);
        self.last = byte;
        self.literal(unescape(byte), Spelling::escaped(b'\\', byte), quote.secret, out);
    }

    pub(super) fn quote_end(&mut self, byte: u8, quote: Quote, out: &mut Vec<u8>) {
        if byte == b'\'' {
            self.state = State::Quote(quote);
            return self.literal(b'\'', Spelling::escaped(b'\'', b'\''), quote.secret, out);
        }
        self.close_quote(quote, out);
        self.code(byte, out);
    }

    pub(super) fn close_quote(&mut self, quote: Quote, out: &mut Vec<u8>) {
        self.close_literal(quote.secret, out);
        out.push(b'\'');
        self.continues = if quote.extended { Continues::NextLine } else { Continues::No };
    }

    /// One character of a literal.
    pub(super) fn literal(
        &mut self,
        byte: u8,
        spelling: Spelling,
        secret: bool,
        out: &mut Vec<u8>,
    ) {
        if secret {
            self.hide(spelling.as_bytes(), out);
        } else {
            self.content.step(byte, spelling, out);
        }
    }

    /// Leaves out what is secret, as long as that may be.
    fn hide(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.hidden = self.hidden.saturating_add(bytes.len());
        if self.hidden > MAX_SECRET {
            out.extend_from_slice(bytes);
        }
    }

    /// A literal that names a secret without its value arms the rest of the call: `format('…
    /// PASSWORD %L', 'x')`.
    pub(super) fn close_literal(&mut self, secret: bool, out: &mut Vec<u8>) {
        if !secret && self.content.end(out) {
            self.armed = Some(Armed { depth: 1, ..Armed::default() });
        }
        self.state = State::Code;
        self.last = 0;
    }

    pub(super) fn tag(&mut self, byte: u8, out: &mut Vec<u8>) {
        let State::Tag(tag) = &mut self.state else {
            return;
        };
        let fits = tag.len() > 1 || !byte.is_ascii_digit();
        if byte >= 0x80 || tag.len() > MAX_TAG {
            // One character may have several spellings, so the end of the literal is not known.
            self.give_up(byte, out);
        } else if byte == b'$' {
            let mut tag = std::mem::take(tag);
            tag.push(byte);
            out.push(byte);
            self.open_dollar(Closer::new(tag), out);
        } else if Words::has(byte) && fits {
            tag.push(byte);
            out.push(byte);
        } else {
            self.state = State::Code;
            self.code(byte, out);
        }
    }

    pub(super) fn open_dollar(&mut self, closer: Closer, out: &mut Vec<u8>) {
        let secret = self.expects_secret();
        self.open_secret(secret, out);
        if !secret && self.body.is_none() && self.words.lead_to_code() {
            *self = Masker { body: Some(closer), ..Masker::default() };
            return;
        }
        self.state = State::Dollar { closer, secret };
    }

    pub(super) fn dollar(&mut self, byte: u8, out: &mut Vec<u8>) {
        let State::Dollar { closer, secret } = &mut self.state else {
            return;
        };
        let (found, secret) = (closer.step(byte), *secret);
        match found {
            Found::Tag => self.close_dollar(out),
            Found::Maybe(held) => self.dollar_held(held, out),
            Found::Not(held) => {
                self.dollar_held(held, out);
                self.literal(byte, Spelling::plain(byte), secret, out);
            }
        }
    }

    pub(super) fn dollar_held(&mut self, held: usize, out: &mut Vec<u8>) {
        let State::Dollar { closer, secret } = &self.state else {
            return;
        };
        let (held, secret) = (closer.tag().get(..held).unwrap_or_default().to_vec(), *secret);
        for byte in held {
            self.literal(byte, Spelling::plain(byte), secret, out);
        }
    }

    pub(super) fn close_dollar(&mut self, out: &mut Vec<u8>) {
        if let State::Dollar { closer, secret } = std::mem::take(&mut self.state) {
            self.close_literal(secret, out);
            out.extend_from_slice(closer.tag());
        }
    }

    pub(super) fn open_name(&mut self, out: &mut Vec<u8>) {
        self.end_word();
        let secret = self.armed.is_some_and(|armed| armed.by);
        self.open_secret(secret, out);
        self.state = State::Name { secret };
    }

    pub(super) fn name(&mut self, byte: u8, secret: bool, out: &mut Vec<u8>) {
        if byte == b'"' {
            self.state = State::NameEnd { secret };
        } else {
            self.name_byte(byte, secret, out);
        }
    }

    pub(super) fn name_byte(&mut self, byte: u8, secret: bool, out: &mut Vec<u8>) {
        if secret {
            self.hide(&[byte], out);
        } else {
            out.push(byte);
            self.words.push(byte);
        }
    }

    pub(super) fn name_end(&mut self, byte: u8, secret: bool, out: &mut Vec<u8>) {
        if byte == b'"' {
            self.state = State::Name { secret };
            self.name_byte(byte, secret, out);
            return self.name_byte(byte, secret, out);
        }
        self.close_name(out);
        self.code(byte, out);
    }

    /// A quoted name is a name, never a keyword; only that of a secret means something.
    pub(super) fn close_name(&mut self, out: &mut Vec<u8>) {
        out.push(b'"');
        self.state = State::Code;
        self.last = 0;
        match self.words.finish() {
            Word::None => {}
            Word::Secret => self.armed = Some(Armed::default()),
            Word::IdentifiedBy
            | Word::Identified
            | Word::Through
            | Word::Clause
            | Word::Body
            | Word::Language
            | Word::Other => {
                self.pass_word();
            }
        }
    }

    pub(super) fn line(&mut self, byte: u8, out: &mut Vec<u8>) {
        if matches!(byte, b'\n' | b'\r') {
            self.close_comment(out);
            return self.code(byte, out);
        }
        self.content.step(byte, Spelling::plain(byte), out);
    }

    pub(super) fn block(&mut self, byte: u8, out: &mut Vec<u8>) {
        let State::Block { depth, held } = &mut self.state else {
            return;
        };
        match (held.take(), byte) {
            (Some(b'*'), b'/') if *depth == 1 => {
                self.close_comment(out);
                out.extend_from_slice(b"*/");
            }
            (Some(b'*'), b'/') => {
                *depth -= 1;
                self.comment(b"*/", out);
            }
            (Some(b'/'), b'*') => {
                *depth += 1;
                self.comment(b"/*", out);
            }
            (before, b'*' | b'/') => {
                *held = Some(byte);
                self.comment(before.as_slice(), out);
            }
            (before, _) => {
                self.comment(before.as_slice(), out);
                self.comment(&[byte], out);
            }
        }
    }

    pub(super) fn comment(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for byte in bytes {
            self.content.step(*byte, Spelling::plain(*byte), out);
        }
    }

    /// What a comment owes is nobody's: a comment never arms.
    pub(super) fn close_comment(&mut self, out: &mut Vec<u8>) {
        self.content.end(out);
        self.state = State::Code;
        self.last = 0;
    }
}

/// What a character behind a backslash means, as far as it matters here.
fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' | b'r' | b't' | b'f' => b' ',
        other => other,
    }
}
