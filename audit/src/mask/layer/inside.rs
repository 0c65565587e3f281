//! What becomes of the content of a literal or a comment.

use super::Layer;
use crate::mask::MAX_SECRET;
use crate::mask::chars::{Char, MAX_DEPTH, MAX_NAME};
use crate::mask::content::{Content, MASKED};
use crate::mask::grammar::{Language, Position};

/// The longest keyword of a connection string and white space behind it that are looked at.
const MAX_KEYWORD: usize = 64;

/// What becomes of the content.
#[derive(Debug, Clone, Default)]
pub(super) enum Inside {
    /// It stays.
    #[default]
    Raw,
    /// It is a secret, of which so many bytes were left out.
    Secret(usize),
    /// It may have secrets in it.
    Text(Box<Content>),
    /// It is a connection string, a name or SQL: what follows its first word tells.
    Remote(Vec<Char>),
    /// It is SQL.
    Sql(Box<Layer>),
}

impl Inside {
    pub(super) fn step(&mut self, ch: Char, out: &mut Vec<u8>) {
        match self {
            Inside::Raw => out.extend_from_slice(ch.spelling()),
            Inside::Secret(hidden) => {
                *hidden += ch.spelling().len();
                if *hidden > MAX_SECRET {
                    out.extend_from_slice(ch.spelling());
                }
            }
            Inside::Text(content) => content.step(ch, out),
            Inside::Remote(first) if first.is_empty() && ch.byte.is_ascii_whitespace() => {
                out.extend_from_slice(ch.spelling());
            }
            Inside::Remote(first) => first.push(ch),
            Inside::Sql(layer) => layer.step(ch, out),
        }
    }

    /// Brings out what is held back.
    pub(super) fn suspend(&mut self, out: &mut Vec<u8>) {
        match self {
            Inside::Raw | Inside::Secret(_) => {}
            Inside::Remote(first) => {
                first.iter().for_each(|ch| out.extend_from_slice(ch.spelling()));
                *self = Inside::Raw;
            }
            Inside::Text(content) => content.end(out),
            Inside::Sql(layer) => layer.suspend(out),
        }
    }
}

impl Layer {
    /// Opens a literal in this position. A secret is masked at once.
    pub(super) fn open_literal(&mut self, position: Position, unicode: bool, out: &mut Vec<u8>) {
        self.content.clear();
        let readable = self.depth < MAX_DEPTH && !unicode;
        self.inside = match position {
            Position::Plain => Inside::Text(self.scanner(false)),
            Position::Connection => Inside::Text(self.scanner(true)),
            Position::Secret => {
                out.extend_from_slice(MASKED);
                Inside::Secret(0)
            }
            Position::Remote if readable => Inside::Remote(Vec::new()),
            Position::Query if readable => {
                let read = self.grammar.take_sql();
                Inside::Sql(read.unwrap_or_else(|| Box::new(self.inner(false))))
            }
            Position::Template if readable => Inside::Sql(Box::new(self.inner(true))),
            Position::Body if readable && self.reads_body() => {
                Inside::Sql(Box::new(self.inner(false)))
            }
            Position::Remote
            | Position::Query
            | Position::Template
            | Position::Body
            | Position::Raw => Inside::Raw,
        };
    }

    pub(super) fn scanner(&mut self, connection: bool) -> Box<Content> {
        let mut scanner = self.scanner.take().unwrap_or_default();
        scanner.begin(connection);
        scanner
    }

    /// Whether a body can be read here. One whose language comes later is deferred, unless it stands
    /// in a literal itself.
    fn reads_body(&mut self) -> bool {
        let unknown = self.grammar.language() == Language::Unknown;
        self.defers = unknown && self.depth == 0;
        self.defers || self.grammar.language() == Language::Known
    }

    /// One character of a literal.
    pub(super) fn literal(&mut self, ch: Char, out: &mut Vec<u8>) {
        if self.content.len() < MAX_NAME && !matches!(self.inside, Inside::Secret(_)) {
            self.content.push(ch.byte);
        }
        self.inside.step(ch, out);
        if let Inside::Remote(first) = &self.inside
            && let Some(connection) = is_connection(first)
        {
            self.tell_remote(connection, out);
        }
    }

    /// Decides what is sent elsewhere.
    fn tell_remote(&mut self, connection: bool, out: &mut Vec<u8>) {
        let Inside::Remote(first) = &mut self.inside else { return };
        let first = std::mem::take(first);
        self.inside = if connection {
            Inside::Text(self.scanner(true))
        } else {
            Inside::Sql(Box::new(self.inner(false)))
        };
        first.into_iter().for_each(|ch| self.inside.step(ch, out));
    }

    /// Closes a literal, before its closing quote is out.
    pub(super) fn close_literal(&mut self, out: &mut Vec<u8>) {
        self.tell_remote(false, out);
        self.inside.suspend(out);
        let sql = match std::mem::take(&mut self.inside) {
            Inside::Sql(layer) => Some(layer),
            Inside::Text(scanner) => {
                self.scanner = Some(scanner);
                None
            }
            Inside::Raw | Inside::Secret(_) | Inside::Remote(_) => None,
        };
        self.grammar.close_literal(&self.content, sql);
    }
}

/// Whether this begins a connection string (`host=`, `postgres:`), as SQL never does; `None` where
/// more has to be seen.
fn is_connection(first: &[Char]) -> Option<bool> {
    let last = first.last()?.byte;
    let mut bytes = first.iter().map(|ch| ch.byte).skip_while(|byte| is_keyword(*byte));
    if last == b'=' || last == b':' {
        return Some(first.len() > 1);
    }
    let more = bytes.all(|byte| byte.is_ascii_whitespace()) && first.len() <= MAX_KEYWORD;
    if more { None } else { Some(false) }
}

fn is_keyword(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
