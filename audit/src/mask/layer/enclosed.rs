//! The lexer inside of something: a literal in quotes or dollars, a quoted name, a comment.

use super::dollar::{Closer, Found};
use super::inside::Inside;
use super::{Continues, Layer, Quote, State};
use crate::mask::chars::{Char, Word};
use crate::mask::grammar::Position;

/// The longest dollar tag that is read as one: PostgreSQL knows no bound.
const MAX_TAG: usize = 1024;

impl Layer {
    pub(super) fn open_quote(&mut self, unicode: bool, out: &mut Vec<u8>) {
        let extended = self.continues == Continues::Here || self.word.is_surely_letter(b'e');
        self.continues = Continues::No;
        let bits = [b'b', b'x'].iter().any(|letter| self.word.is_letter(*letter));
        if bits || [b'e', b'n'].iter().any(|letter| self.word.is_letter(*letter)) {
            self.word.take();
        }
        self.end_tokens();
        let position = self.grammar.open_literal();
        self.open_literal(if bits { Position::Raw } else { position }, unicode, out);
        self.state = State::Quote(Quote { extended });
    }

    /// A backslash has two readings: before a quote, where `standard_conforming_strings` may be
    /// off; behind a byte of 0x80 or more, with which it may make one character; and in SQL, where
    /// it may stand for any character.
    pub(super) fn quote(&mut self, ch: Char, quote: Quote, out: &mut Vec<u8>) {
        match (std::mem::replace(&mut self.last, ch.byte), ch.byte) {
            (b'\\', b'\'') if !quote.extended => self.give_up_at(ch, out),
            (0x80.., b'\\') if quote.extended => self.give_up_at(ch, out),
            (_, b'\'') => self.state = State::QuoteEnd(quote, ch),
            (_, b'\\') if quote.extended => self.state = State::Escape(quote, ch),
            (_, b'\\') => {
                self.give_up_inside(out);
                self.literal(ch, out);
            }
            _ => self.literal(ch, out),
        }
    }

    fn give_up_at(&mut self, ch: Char, out: &mut Vec<u8>) {
        self.give_up(out);
        out.extend_from_slice(ch.spelling());
    }

    /// SQL in a literal can't be read any more.
    fn give_up_inside(&mut self, out: &mut Vec<u8>) {
        if matches!(self.inside, Inside::Sql(_) | Inside::Remote(_)) {
            self.inside.suspend(out);
            self.inside = Inside::Raw;
        }
    }

    pub(super) fn escape(&mut self, ch: Char, escape: Char, quote: Quote, out: &mut Vec<u8>) {
        self.state = State::Quote(quote);
        self.last = ch.byte;
        let byte = unescape(ch.byte);
        if byte == 0 {
            self.give_up_inside(out);
        }
        self.literal(Char::pair(escape, ch, byte), out);
    }

    pub(super) fn quote_end(&mut self, ch: Char, end: Char, quote: Quote, out: &mut Vec<u8>) {
        if ch.byte == b'\'' {
            self.state = State::Quote(quote);
            return self.literal(Char::pair(end, ch, b'\''), out);
        }
        self.close_quote(quote, end, out);
        self.code(ch, out);
    }

    pub(super) fn close_quote(&mut self, quote: Quote, end: Char, out: &mut Vec<u8>) {
        self.close_literal(out);
        out.extend_from_slice(end.spelling());
        self.back_to_code();
        self.continues = if quote.extended { Continues::NextLine } else { Continues::No };
    }

    fn back_to_code(&mut self) {
        self.state = State::Code;
        self.last = 0;
    }

    pub(super) fn tag(&mut self, ch: Char, out: &mut Vec<u8>) {
        let State::Tag(tag) = &mut self.state else {
            return;
        };
        let byte = ch.byte;
        let first = tag.len() == 1;
        if byte >= 0x80 || tag.len() > MAX_TAG {
            // One character may have several spellings, so the end of the literal is not known.
            self.give_up_at(ch, out);
        } else if byte == b'$' {
            let mut tag = std::mem::take(tag);
            tag.push(byte);
            out.extend_from_slice(ch.spelling());
            let position = self.grammar.open_literal();
            self.open_literal(position, false, out);
            self.state = State::Dollar(Closer::new(tag));
        } else if first && byte.is_ascii_digit() {
            out.extend_from_slice(ch.spelling());
            self.state = State::Param(u32::from(byte - b'0'));
        } else if Word::has(byte) {
            tag.push(byte);
            out.extend_from_slice(ch.spelling());
        } else {
            self.state = State::Code;
            self.code(ch, out);
        }
    }

    pub(super) fn dollar(&mut self, ch: Char, out: &mut Vec<u8>) {
        let State::Dollar(closer) = &mut self.state else {
            return;
        };
        if closer.passes(ch) {
            return self.literal(ch, out);
        }
        match closer.step(ch) {
            Found::Tag(held) => {
                self.close_literal(out);
                held.iter().for_each(|ch| out.extend_from_slice(ch.spelling()));
                self.back_to_code();
            }
            Found::Maybe => {}
            Found::Not(held) => held.into_iter().for_each(|ch| self.literal(ch, out)),
        }
    }

    pub(super) fn name(&mut self, ch: Char, out: &mut Vec<u8>) {
        if ch.byte == b'"' {
            self.state = State::NameEnd(ch);
        } else {
            out.extend_from_slice(ch.spelling());
            self.word.name.push(ch.byte);
        }
    }

    pub(super) fn name_end(&mut self, ch: Char, end: Char, out: &mut Vec<u8>) {
        if ch.byte == b'"' {
            self.state = State::Name;
            out.extend_from_slice(end.spelling());
            out.extend_from_slice(ch.spelling());
            return self.word.name.push(b'"');
        }
        self.close_name(end, out);
        self.code(ch, out);
    }

    pub(super) fn close_name(&mut self, end: Char, out: &mut Vec<u8>) {
        out.extend_from_slice(end.spelling());
        let name = self.word.take();
        self.grammar.quoted_name(&name);
        self.back_to_code();
    }

    pub(super) fn open_comment(&mut self, state: State) {
        self.inside = Inside::Text(self.scanner(false));
        self.state = state;
    }

    pub(super) fn line(&mut self, ch: Char, out: &mut Vec<u8>) {
        if matches!(ch.byte, b'\n' | b'\r') {
            self.close_comment(out);
            return self.code(ch, out);
        }
        self.inside.step(ch, out);
    }

    pub(super) fn block(&mut self, ch: Char, out: &mut Vec<u8>) {
        let State::Block { depth, held } = &mut self.state else {
            return;
        };
        let before = held.take();
        match (before.map(|held| held.byte), ch.byte) {
            (Some(b'*'), b'/') if *depth == 1 => {
                self.close_comment(out);
                before.iter().for_each(|held| out.extend_from_slice(held.spelling()));
                out.extend_from_slice(ch.spelling());
            }
            (Some(b'*'), b'/') => {
                *depth -= 1;
                self.comment([before, Some(ch)], out);
            }
            (Some(b'/'), b'*') => {
                *depth += 1;
                self.comment([before, Some(ch)], out);
            }
            (_, b'*' | b'/') => {
                *held = Some(ch);
                self.comment([before, None], out);
            }
            _ => self.comment([before, Some(ch)], out),
        }
    }

    fn comment(&mut self, chars: [Option<Char>; 2], out: &mut Vec<u8>) {
        chars.into_iter().flatten().for_each(|ch| self.inside.step(ch, out));
    }

    fn close_comment(&mut self, out: &mut Vec<u8>) {
        self.inside.suspend(out);
        if let Inside::Text(scanner) = std::mem::take(&mut self.inside) {
            self.scanner = Some(scanner);
        }
        self.back_to_code();
    }
}

/// The character that one behind a backslash stands for; 0 where it takes more than one.
fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'f' => 0x0c,
        b'b' => 0x08,
        b'x' | b'u' | b'U' | b'0'..=b'7' => 0,
        other => other,
    }
}
