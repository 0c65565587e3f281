//! The lexer that masks: just enough of SQL's lexical rules to know what is code, literal, name and
//! comment.
//!
//! It works byte by byte, so that the output can't depend on how the text was cut. It reads what
//! PostgreSQL reads with `standard_conforming_strings` on. Tokens go to the [`Grammar`], which says
//! what a literal is. A literal that is SQL is read by a lexer of its own, one layer deeper.
//!
//! Where settings, encodings or versions make PostgreSQL read differently, nothing from the first
//! such difference on is masked: what is executed must never be taken for a secret.

use super::chars::{Char, Name, Word};
use super::content::Content;
use super::grammar::{Grammar, Language};
use super::index_set::IndexSet;
use dollar::Closer;
use inside::Inside;
use template::Place;

mod dollar;
mod enclosed;
mod inside;
mod template;

#[derive(Debug, Clone, Default)]
enum State {
    /// Between literals.
    #[default]
    Code,
    /// In a literal in quotes.
    Quote(Quote),
    /// Behind a backslash in one.
    Escape(Quote, Char),
    /// Behind what may be its end, or a doubled quote.
    QuoteEnd(Quote, Char),
    /// In a dollar tag, which may open a literal.
    Tag(Vec<u8>),
    /// In a dollar-quoted literal.
    Dollar(Closer),
    /// In the number of a parameter.
    Param(u32),
    /// In a place of a template.
    Place(Place),
    /// In a quoted name.
    Name,
    /// Behind what may be its end.
    NameEnd(Char),
    /// In a comment up to the end of the line.
    Line,
    /// In a comment in `/* */`, with the byte held back that may end or nest it.
    Block { depth: usize, held: Option<Char> },
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
}

/// An operator: its first characters tell what it is.
#[derive(Debug, Clone, Copy, Default)]
struct Operator {
    bytes: [u8; 4],
    len: usize,
}

impl Operator {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    /// Takes back the character that began a comment.
    fn pop(&mut self) {
        self.len = self.len.saturating_sub(1);
    }
}

/// The lexer of one text of SQL.
#[derive(Debug, Clone, Default)]
pub(super) struct Layer {
    depth: u8,
    state: State,
    word: Word,
    operator: Operator,
    grammar: Grammar,
    inside: Inside,
    /// The scanner of what is no SQL, between its uses.
    scanner: Option<Box<Content>>,
    /// The beginning of what the present literal holds.
    content: Vec<u8>,
    /// The last byte of code, where a comment may begin with it, or of a literal in quotes.
    last: u8,
    /// Whether `U&` stands right before.
    unicode: bool,
    /// Whether a literal with backslashes has just ended, so that another one would continue it.
    continues: Continues,
    /// The same before a dash, which may begin a comment.
    continued: Continues,
    /// The parameters in places of secrets.
    params: IndexSet,
    /// Of a template, how many places there were, and those of secrets.
    places: Option<(u16, IndexSet)>,
    /// Whether a body is being read whose language isn't known yet.
    defers: bool,
}

impl Layer {
    fn inner(&self, template: bool) -> Layer {
        let places = template.then(|| (0, IndexSet::default()));
        Layer { depth: self.depth + 1, places, ..Layer::default() }
    }

    /// Takes the next character.
    pub(super) fn step(&mut self, ch: Char, out: &mut Vec<u8>) {
        match self.state {
            State::Code => self.code(ch, out),
            State::Quote(quote) => self.quote(ch, quote, out),
            State::Escape(quote, escape) => self.escape(ch, escape, quote, out),
            State::QuoteEnd(quote, end) => self.quote_end(ch, end, quote, out),
            State::Tag(_) => self.tag(ch, out),
            State::Dollar(_) => self.dollar(ch, out),
            State::Param(number) => self.param(ch, number, out),
            State::Place(place) => self.place(ch, place, out),
            State::Name => self.name(ch, out),
            State::NameEnd(end) => self.name_end(ch, end, out),
            State::Line => self.line(ch, out),
            State::Block { .. } => self.block(ch, out),
            State::Raw => out.extend_from_slice(ch.spelling()),
        }
        if self.places.is_some() && ch.byte == b'%' && !self.in_code() {
            // What is put in there may end whatever this is.
            self.give_up(out);
        }
    }

    fn in_code(&self) -> bool {
        matches!(self.state, State::Code | State::Place(_) | State::Raw)
    }

    fn code(&mut self, ch: Char, out: &mut Vec<u8>) {
        let byte = ch.byte;
        out.extend_from_slice(ch.spelling());
        let before = std::mem::replace(&mut self.last, byte);
        let unicode = std::mem::take(&mut self.unicode);
        if byte == b'%' && self.places.is_some() {
            self.end_tokens();
            self.state = State::Place(Place::default());
            return;
        }
        if byte == b'$' && self.word.blurs_dollar() {
            self.state = State::Raw;
            return;
        }
        if Word::has(byte) || (byte == b'$' && !self.word.is_empty()) {
            self.continues = Continues::No;
            self.end_operator();
            self.word.name.push(byte);
            return;
        }
        self.between_words(before, byte, unicode, out);
        self.word.separate(before, byte);
    }

    fn between_words(&mut self, before: u8, byte: u8, unicode: bool, out: &mut Vec<u8>) {
        match (before, byte) {
            (b'-', b'-') => {
                self.operator.pop();
                self.end_tokens();
                self.continues = self.continued;
                self.open_comment(State::Line);
            }
            (b'/', b'*') => {
                self.operator.pop();
                self.end_tokens();
                self.open_comment(State::Block { depth: 1, held: None });
            }
            (_, b'\'') => self.open_quote(unicode, out),
            (_, b'&') if self.word.is_letter(b'u') => {
                self.word.take();
                self.unicode = true;
            }
            (_, b'"') => {
                self.end_tokens();
                self.continues = Continues::No;
                self.state = State::Name;
            }
            (_, b'$') => {
                self.end_tokens();
                self.continues = Continues::No;
                self.state = State::Tag(vec![b'$']);
            }
            (_, other) => self.punctuation(other),
        }
    }

    fn punctuation(&mut self, byte: u8) {
        self.end_word();
        self.follow_continues(byte);
        if is_operator(byte) {
            return self.operator.push(byte);
        }
        self.end_operator();
        if !byte.is_ascii_whitespace() {
            self.grammar.punctuation(byte);
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
        if self.word.is_empty() {
            return;
        }
        let number = self.word.is_number();
        let name = self.word.take();
        if number {
            self.grammar.number();
        } else {
            self.grammar.word(&name);
        }
    }

    fn end_operator(&mut self) {
        if self.operator.len > 0 {
            let operator = std::mem::take(&mut self.operator);
            self.grammar.operator(operator.bytes.get(..operator.len).unwrap_or_default());
        }
    }

    fn param(&mut self, ch: Char, number: u32, out: &mut Vec<u8>) {
        if ch.byte.is_ascii_digit() {
            let number = number.saturating_mul(10).saturating_add(u32::from(ch.byte - b'0'));
            out.extend_from_slice(ch.spelling());
            self.state = State::Param(number);
        } else if ch.byte == b'$' {
            out.extend_from_slice(ch.spelling());
            self.state = State::Raw;
        } else {
            self.end_param(number);
            self.code(ch, out);
        }
    }

    fn end_param(&mut self, number: u32) {
        self.state = State::Code;
        self.last = b'0';
        let secret = self.grammar.value();
        if let Some(number) = u16::try_from(number).ok().filter(|_| secret) {
            self.params.insert(number);
        }
    }

    /// Ends the token that is being read. The parameters in places of secrets so far.
    pub(super) fn end_tokens(&mut self) -> &IndexSet {
        if let State::Param(number) = self.state {
            self.end_param(number);
        }
        self.end_word();
        self.end_operator();
        &self.params
    }

    /// A value is put in here. Whether it is a secret.
    pub(super) fn takes_value(&mut self) -> bool {
        self.takes() && self.grammar.value()
    }

    /// A name is put in here.
    pub(super) fn takes_name(&mut self) {
        if self.takes() {
            self.grammar.quoted_name(&Name::default());
        }
    }

    /// Whether a token can be put in here. If not, where what follows ends is not known.
    fn takes(&mut self) -> bool {
        self.end_tokens();
        let takes = matches!(self.state, State::Code);
        if !takes {
            self.state = State::Raw;
        }
        takes
    }

    /// The places of a template that hold secrets, from 0.
    pub(super) fn take_placeholders(&mut self) -> IndexSet {
        self.places.take().map(|(_, places)| places).unwrap_or_default()
    }

    /// Brings out what is held back, where a text or a part of it ends: nothing is closed that was
    /// not.
    pub(super) fn suspend(&mut self, out: &mut Vec<u8>) {
        match std::mem::take(&mut self.state) {
            State::QuoteEnd(quote, end) => return self.close_quote(quote, end, out),
            State::NameEnd(end) => return self.close_name(end, out),
            State::Escape(_, escape) => {
                self.inside.suspend(out);
                out.extend_from_slice(escape.spelling());
                self.state = State::Raw;
            }
            State::Dollar(mut closer) => {
                let held = closer.give_up();
                self.state = if held.is_empty() { State::Dollar(closer) } else { State::Raw };
                held.into_iter().for_each(|ch| self.literal(ch, out));
            }
            State::Block { depth, held } => {
                held.into_iter().for_each(|ch| self.inside.step(ch, out));
                self.state = State::Block { depth, held: None };
            }
            State::Tag(_) | State::Place(_) => self.state = State::Raw,
            state @ (State::Code
            | State::Quote(_)
            | State::Param(_)
            | State::Name
            | State::Line
            | State::Raw) => self.state = state,
        }
        self.inside.suspend(out);
    }

    /// From here on there is more than one reading.
    fn give_up(&mut self, out: &mut Vec<u8>) {
        self.suspend(out);
        self.inside = Inside::Raw;
        self.state = State::Raw;
    }

    /// Whether a body is being read whose language isn't known yet, and its language once it is.
    pub(super) fn deferred(&self) -> Option<Language> {
        self.defers.then(|| self.grammar.language())
    }

    /// The language of a deferred body at the end of the text.
    pub(super) fn final_language(&mut self) -> Language {
        self.end_tokens();
        self.grammar.final_language()
    }

    /// The body is no longer deferred. If it can't be read, what is left of it is passed on. How
    /// many bytes are held back.
    pub(super) fn settle_deferred(&mut self, readable: bool) -> usize {
        self.defers = false;
        if readable || matches!(self.state, State::Code) {
            return 0;
        }
        self.inside = Inside::Raw;
        match &self.state {
            State::QuoteEnd(..)
            | State::Escape(..)
            | State::NameEnd(_)
            | State::Block { held: Some(_), .. } => 1,
            State::Dollar(closer) => closer.held(),
            State::Code
            | State::Quote(_)
            | State::Tag(_)
            | State::Param(_)
            | State::Place(_)
            | State::Name
            | State::Line
            | State::Block { held: None, .. }
            | State::Raw => 0,
        }
    }
}

/// Whether the character is part of an operator, or a colon.
fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-'
            | b'*'
            | b'/'
            | b'<'
            | b'>'
            | b'='
            | b'~'
            | b'!'
            | b'@'
            | b'#'
            | b'%'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
            | b':'
    )
}
