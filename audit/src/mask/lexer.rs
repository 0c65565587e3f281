//! The lexer that masks: just enough of SQL's grammar to know what is code, literal, name and
//! comment.
//!
//! Works byte by byte, so that the output can't depend on how the text was cut. It reads what
//! PostgreSQL reads with `standard_conforming_strings` on. A body of code (`DO $$ … $$`, `AS $$ …
//! $$`) is read like code; any other literal is content, see [`content`](super::content).
//!
//! Where settings, encodings or versions make PostgreSQL read differently, nothing from the first
//! such difference on is masked: what is executed must never be taken for a secret.

use super::content::{Content, Spelling};
use super::dollar::{Closer, Found};
use super::words::{Word, Words};

mod enclosed;

#[derive(Debug, Clone, Default)]
enum State {
    /// Between literals.
    #[default]
    Code,
    /// In a literal in quotes.
    Quote(Quote),
    /// Behind a backslash in one.
    Escape(Quote),
    /// Behind what may be its end, or a doubled quote.
    QuoteEnd(Quote),
    /// In a dollar tag, which may open a literal.
    Tag(Vec<u8>),
    /// In a dollar-quoted literal.
    Dollar { closer: Closer, secret: bool },
    /// In a quoted name.
    Name { secret: bool },
    /// Behind what may be its end.
    NameEnd { secret: bool },
    /// In a comment up to the end of the line.
    Line,
    /// In a comment in `/* */`, with the byte held back that may end or nest it.
    Block { depth: usize, held: Option<u8> },
    /// Behind something that can be read in two ways: the rest is passed on.
    Raw,
}

/// Whether a literal here would continue one with backslashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Continues {
    /// It would not.
    #[default]
    No,
    /// It would on another line.
    NextLine,
    /// It would.
    Here,
}

/// A literal in quotes.
#[derive(Debug, Clone, Copy)]
struct Quote {
    /// Whether backslashes escape.
    extended: bool,
    /// Whether all of it is a secret.
    secret: bool,
}

/// A secret was named: the next literal is taken for it.
#[derive(Debug, Clone, Copy, Default)]
struct Armed {
    /// How many parentheses were opened since.
    depth: usize,
    /// Whether an operator followed, as in `password = …`.
    assigned: bool,
    /// Whether a word followed that: a function, if a parenthesis is next.
    word: bool,
    /// Whether the secret may stand in double quotes: only behind `identified by`, elsewhere they
    /// are names.
    by: bool,
}

/// Masks the secrets of one SQL text, which may come in any pieces.
///
/// ```
/// let (mut masker, mut out) = (audit::Masker::default(), Vec::new());
/// masker.feed(b"alter role bob pass", false, &mut out);
/// masker.feed(b"word 'x'", true, &mut out);
/// assert_eq!(out, b"alter role bob password '***'");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Masker {
    state: State,
    words: Words,
    armed: Option<Armed>,
    content: Content,
    /// The last byte of code, where a comment may begin with it, or of a literal in quotes.
    last: u8,
    /// Whether a literal with backslashes has just ended, so that another one would continue it.
    continues: Continues,
    /// The same before a dash, which may begin a comment.
    continued: Continues,
    /// How many bytes of the present secret were left out.
    hidden: usize,
    /// The end of the body of code that this is in.
    body: Option<Closer>,
}

impl Masker {
    /// Masks the next piece into `out`. With the `last` one, everything is out and the masker is as
    /// new.
    pub fn feed(&mut self, chunk: &[u8], last: bool, out: &mut Vec<u8>) {
        for byte in chunk {
            self.byte(*byte, out);
        }
        if last {
            self.give_up_body(out);
            self.settle(out);
            *self = Masker::default();
        }
    }

    /// Looks for the end of the body of code before anything else: it ends whatever it stands in.
    fn byte(&mut self, byte: u8, out: &mut Vec<u8>) {
        let Some(found) = self.body.as_mut().map(|body| body.step(byte)) else {
            return self.lex(byte, out);
        };
        match found {
            Found::Tag => self.leave_body(out),
            Found::Maybe(held) => self.lex_held(held, out),
            Found::Not(held) => {
                self.lex_held(held, out);
                self.lex(byte, out);
            }
        }
    }

    fn lex_held(&mut self, held: usize, out: &mut Vec<u8>) {
        for at in 0..held {
            if let Some(byte) = self.body.as_ref().and_then(|body| body.tag_byte(at)) {
                self.lex(byte, out);
            }
        }
    }

    fn give_up_body(&mut self, out: &mut Vec<u8>) {
        let held = self.body.as_mut().map_or(0, Closer::give_up);
        self.lex_held(held, out);
    }

    fn leave_body(&mut self, out: &mut Vec<u8>) {
        self.settle(out);
        if let Some(body) = self.body.take() {
            out.extend_from_slice(body.tag());
        }
        *self = Masker::default();
    }

    fn lex(&mut self, byte: u8, out: &mut Vec<u8>) {
        match self.state {
            State::Code => self.code(byte, out),
            State::Quote(quote) => self.quote(byte, quote, out),
            State::Escape(quote) => self.escape(byte, quote, out),
            State::QuoteEnd(quote) => self.quote_end(byte, quote, out),
            State::Tag(_) => self.tag(byte, out),
            State::Dollar { .. } => self.dollar(byte, out),
            State::Name { secret } => self.name(byte, secret, out),
            State::NameEnd { secret } => self.name_end(byte, secret, out),
            State::Line => self.line(byte, out),
            State::Block { .. } => self.block(byte, out),
            State::Raw => out.push(byte),
        }
    }

    fn code(&mut self, byte: u8, out: &mut Vec<u8>) {
        out.push(byte);
        let before = std::mem::replace(&mut self.last, byte);
        if byte == b'$' && self.words.blurs_dollar() {
            self.state = State::Raw;
            return;
        }
        if Words::has(byte) || (byte == b'$' && !self.words.is_empty()) {
            self.continues = Continues::No;
            self.words.push(byte);
            return;
        }
        self.between_words(before, byte, out);
        self.words.separate(before, byte);
    }

    fn between_words(&mut self, before: u8, byte: u8, out: &mut Vec<u8>) {
        match (before, byte) {
            (b'-', b'-') => {
                self.continues = self.continued;
                self.state = State::Line;
            }
            (b'/', b'*') => self.state = State::Block { depth: 1, held: None },
            (_, b'\'') => self.open_quote(out),
            (_, b'&') if self.words.is_letter(b'u') => self.words.drop_word(),
            (_, b'"') => self.open_name(out),
            (_, b'$') => {
                self.end_word();
                self.state = State::Tag(vec![b'$']);
            }
            (_, other) => self.punctuation(other),
        }
    }

    fn punctuation(&mut self, byte: u8) {
        self.end_word();
        self.follow_continues(byte);
        let Some(armed) = &mut self.armed else { return };
        match byte {
            b';' => self.armed = None,
            b',' if armed.depth == 0 => self.armed = None,
            b'(' => *armed = Armed { depth: armed.depth + 1, word: false, ..*armed },
            b')' => armed.depth = armed.depth.saturating_sub(1),
            b'=' | b':' | b'|' | b'<' | b'>' | b'~' | b'.' => {
                *armed = Armed { assigned: true, word: false, ..*armed };
            }
            _ => {}
        }
    }

    /// Only white space with a line end, and comments up to one, may stand between the parts of a
    /// literal.
    fn follow_continues(&mut self, byte: u8) {
        let before = std::mem::take(&mut self.continues);
        self.continued = if byte == b'-' { before } else { Continues::No };
        self.continues = match (before, byte) {
            (Continues::NextLine, b'\n' | b'\r') => Continues::Here,
            (before, b' ' | b'\t' | b'\n' | b'\r' | 0x0c) => before,
            _ => Continues::No,
        };
    }

    fn end_word(&mut self) {
        match self.words.finish() {
            Word::None | Word::Through => {}
            Word::Secret => self.armed = Some(Armed::default()),
            Word::IdentifiedBy => self.armed = Some(Armed { by: true, ..Armed::default() }),
            Word::Clause => self.armed = None,
            Word::Identified | Word::Body | Word::Language | Word::Other => self.pass_word(),
        }
    }

    /// A word that may be a function of the secret's literal, or what follows the secret's name
    /// instead of one.
    fn pass_word(&mut self) {
        let Some(armed) = &mut self.armed else { return };
        if armed.depth == 0 {
            let may_be_function = armed.assigned && !armed.word;
            self.armed = may_be_function.then_some(Armed { word: true, ..*armed });
        }
    }

    /// Brings out what is held back, as at the end of the text: nothing is closed that was not.
    fn settle(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.state) {
            State::QuoteEnd(quote) => self.close_quote(quote, out),
            State::NameEnd { .. } => out.push(b'"'),
            State::Escape(quote) => self.literal(b'\\', Spelling::plain(b'\\'), quote.secret, out),
            State::Dollar { mut closer, secret } => {
                let held = closer.give_up();
                self.state = State::Dollar { closer, secret };
                self.dollar_held(held, out);
            }
            State::Block { held, .. } => self.comment(held.as_slice(), out),
            raw @ State::Raw => self.state = raw,
            State::Code | State::Quote(_) | State::Tag(_) | State::Name { .. } | State::Line => {}
        }
        self.content.end(out);
    }
}
