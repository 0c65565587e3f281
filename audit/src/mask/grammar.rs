//! Which literals of a statement are secrets: a reader of tokens that knows the places where SQL
//! has them.
//!
//! It is no parser: what it can't follow it takes for something that holds no secret. A literal is a
//! secret where it is
//!
//! - the `PASSWORD` of a role, or an option of that name of a foreign server or user mapping;
//! - the value of a column: in INSERT by the list of columns, in SET, in a comparison, also by rows;
//! - the value of a setting, of a named argument, of a key of JSON, by name;
//! - an argument that is a key or a password, of functions that are known;
//! - an argument of a known function without side effects, whose result stands in such a place.
//!
//! A literal that is run is none: that of DO, `AS`, EXECUTE, COPY … PROGRAM, and the arguments of
//! functions that aren't known.

use std::sync::Arc;

use super::chars::{Name, Word};
use super::layer::Layer;
use super::vocabulary::{Function, is_secret};

mod frame;
mod keyword;
mod lists;
mod words;

use frame::{Expr, Frame, Items, List, Opened, Operand, Runs, Sql};
use keyword::{Keyword, Statement};

/// How deep parentheses are followed. Nothing deeper is taken for a secret.
const MAX_DEPTH: usize = 128;

/// What a literal is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Position {
    /// A value that is nothing of the following.
    #[default]
    Plain,
    /// A secret, all of it.
    Secret,
    /// A connection string.
    Connection,
    /// A connection string, a name, or SQL.
    Remote,
    /// SQL that is run, or the next part of it.
    Query,
    /// The same with places for values (`format`).
    Template,
    /// The body of DO or of a function.
    Body,
    /// It must stay as it is.
    Raw,
}

/// The language of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Language {
    /// The statement hasn't said it yet.
    #[default]
    Unknown,
    /// SQL or PL/pgSQL, which are read here.
    Known,
    /// Another one.
    Foreign,
}

/// The token before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Prev {
    #[default]
    None,
    Dot,
    Name,
    Type,
    Keyword(Keyword),
    Literal,
    Open,
    Close,
    Other,
}

/// What the next token is, if it is a literal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    /// What the expression says.
    #[default]
    Any,
    Is(Position),
    Language,
}

/// The reader of one text of SQL.
#[derive(Debug, Clone)]
pub(super) struct Grammar {
    frame: Frame,
    outer: Vec<Frame>,
    /// How many parentheses were opened beyond those.
    beyond: usize,
    statement: Statement,
    /// Whether the next token begins a statement.
    begins: bool,
    /// Whether there is nothing but the path of a name since the statement began: then `=` assigns
    /// to a variable, whose value may be run.
    bare: bool,
    /// Whether this may be the name of a setting.
    setting: bool,
    identified: bool,
    prev: Prev,
    next: Next,
    /// What the last literal was.
    position: Position,
    language: Language,
}

impl Default for Grammar {
    fn default() -> Grammar {
        Grammar {
            frame: Frame::default(),
            outer: Vec::new(),
            beyond: 0,
            statement: Statement::default(),
            begins: true,
            bare: true,
            setting: false,
            identified: false,
            prev: Prev::None,
            next: Next::Any,
            position: Position::Plain,
            language: Language::Unknown,
        }
    }
}

impl Grammar {
    /// The language of the last body.
    pub(super) fn language(&self) -> Language {
        self.language
    }

    /// The language of a body whose statement is over, or the text.
    pub(super) fn final_language(&self) -> Language {
        match self.language {
            Language::Unknown if self.statement == Statement::Do => Language::Known,
            Language::Unknown => Language::Foreign,
            language @ (Language::Known | Language::Foreign) => language,
        }
    }

    /// Begins a token. Whether it counts.
    fn begin(&mut self) -> bool {
        if self.beyond > 0 {
            return false;
        }
        if self.begins {
            self.begins = false;
            self.statement = Statement::Begins;
            self.bare = true;
            self.language = Language::Unknown;
            self.frame = Frame::default();
        }
        true
    }

    /// Takes note of a token that is no name.
    fn follow(&mut self, prev: Prev) {
        self.prev = prev;
        self.frame.only_names = false;
        self.setting = false;
        self.identified = false;
        if self.outer.is_empty() {
            self.bare = false;
        }
    }

    /// A number.
    pub(super) fn number(&mut self) {
        if self.begin() {
            self.next = Next::Any;
            self.break_sql();
            self.frame.expr.operand = Operand::Other;
            self.follow(Prev::Other);
        }
    }

    /// A parameter, or a place for a value. Whether it is that of a secret.
    pub(super) fn value(&mut self) -> bool {
        let position = self.open_literal();
        self.close_literal(&[], None);
        if self.beyond == 0 {
            self.break_sql();
        }
        position == Position::Secret
    }

    /// What the literal is that begins here.
    pub(super) fn open_literal(&mut self) -> Position {
        if !self.begin() {
            return Position::Plain;
        }
        let next = std::mem::take(&mut self.next);
        let position = if self.prev == Prev::Literal {
            self.continued()
        } else if let Next::Is(position) = next {
            position
        } else if self.statement == Statement::Do && self.outer.is_empty() && next == Next::Any {
            Position::Body
        } else {
            self.position_in_expression()
        };
        let runs = matches!(self.statement, Statement::Function | Statement::Do);
        let position = if position == Position::Body && !runs { Position::Raw } else { position };
        self.position = position;
        self.next = if next == Next::Language { next } else { Next::Any };
        position
    }

    /// What stands right behind a literal is its next part.
    fn continued(&self) -> Position {
        match (self.position, &self.frame.expr.sql) {
            (Position::Query, Sql::Read(_)) => Position::Query,
            (Position::Plain | Position::Secret, _) => self.position,
            _ => Position::Raw,
        }
    }

    fn position_in_expression(&self) -> Position {
        match &self.frame.expr.sql {
            Sql::Begins(Runs::Query) => Position::Query,
            Sql::Begins(Runs::Template) => Position::Template,
            Sql::Begins(Runs::Remote) => Position::Remote,
            Sql::Begins(Runs::Connect) => Position::Connection,
            Sql::Read(_) if self.frame.expr.joins => Position::Query,
            Sql::Read(_) | Sql::Unknown => Position::Raw,
            Sql::None if self.expects() => Position::Secret,
            Sql::None => Position::Plain,
        }
    }

    /// Whether a value here is a secret.
    pub(super) fn expects(&self) -> bool {
        let option = self.frame.opened == Opened::Options && self.frame.expr.operand.is_secret();
        self.beyond == 0
            && (self.next == Next::Is(Position::Secret) || option || self.frame.expects())
    }

    /// The SQL read so far, for the literal that adds to it.
    pub(super) fn take_sql(&mut self) -> Option<Box<Layer>> {
        match std::mem::take(&mut self.frame.expr.sql) {
            Sql::Read(layer) => Some(layer),
            Sql::None | Sql::Begins(_) | Sql::Unknown => None,
        }
    }

    /// A literal is over: the beginning of what it holds, and its reader where it is SQL.
    pub(super) fn close_literal(&mut self, content: &[u8], sql: Option<Box<Layer>>) {
        if self.beyond > 0 {
            return;
        }
        if std::mem::take(&mut self.next) == Next::Language {
            self.name_language(content);
            return self.follow(Prev::Other);
        }
        let secret = names_secret(content);
        let frame = &mut self.frame;
        let field = std::mem::take(&mut frame.expr.field) || frame.opened == Opened::Subscript;
        frame.any_secret |= field && secret;
        frame.named = secret || (frame.named && frame.opened == Opened::Call(Function::Path));
        frame.expr.operand = if field { Operand::named(secret) } else { Operand::Other };
        frame.expr.joins = false;
        frame.expr.sql = match (self.position, sql, std::mem::take(&mut frame.expr.sql)) {
            (Position::Template, Some(mut layer), _) => {
                frame.items = Items::At(Arc::new(layer.take_placeholders()));
                Sql::None
            }
            (Position::Query | Position::Remote, Some(layer), _) => Sql::Read(layer),
            (Position::Query | Position::Template | Position::Remote, None, _) => Sql::Unknown,
            (Position::Connection, ..) => Sql::None,
            (Position::Raw, _, Sql::Read(_) | Sql::Begins(_)) => Sql::Unknown,
            (_, _, sql) => sql,
        };
        self.follow(Prev::Literal);
    }

    fn name_language(&mut self, name: &[u8]) {
        let known = [&b"sql"[..], b"plpgsql"].iter().any(|known| name.eq_ignore_ascii_case(known));
        self.language = if known { Language::Known } else { Language::Foreign };
    }

    /// SQL that is put together has a part here that isn't known.
    fn break_sql(&mut self) {
        if !matches!(self.frame.expr.sql, Sql::None) {
            self.frame.expr.sql = Sql::Unknown;
        }
    }

    /// An operator, which may be several characters.
    pub(super) fn operator(&mut self, operator: &[u8]) {
        if !self.begin() {
            return;
        }
        self.next = Next::Any;
        let assigns = self.bare && self.outer.is_empty() && operator == b"=";
        let call = matches!(self.frame.opened, Opened::Call(_));
        match operator {
            b"::" => self.frame.expr.cast = true,
            b"->" | b"->>" | b"#>" | b"#>>" => self.frame.expr.field = true,
            b"||" => self.join(),
            b"=>" | b":=" => {
                self.frame.expr.armed = call && self.frame.expr.operand.is_secret();
                self.frame.expr.operand = Operand::None;
            }
            _ if assigns => self.frame.expr.operand = Operand::None,
            _ if operator.iter().any(|byte| matches!(byte, b'=' | b'<' | b'>' | b'~')) => {
                self.compare();
            }
            _ => self.frame.expr.operand = Operand::Other,
        }
        if operator != b"||" {
            self.frame.expr.joins = false;
        }
        self.follow(Prev::Other);
    }

    fn join(&mut self) {
        if self.prev == Prev::Name {
            self.break_sql();
        }
        if matches!(self.frame.expr.sql, Sql::Begins(_)) {
            self.frame.expr.sql = Sql::Unknown;
        }
        self.frame.expr.joins = true;
        self.frame.expr.operand = Operand::Other;
    }

    /// What follows is compared with the operand.
    fn compare(&mut self) {
        let expr = &mut self.frame.expr;
        expr.armed = expr.operand.is_secret();
        expr.list = None;
        if let Operand::Row(names, count) = &expr.operand {
            expr.armed = *count == 1 && names.contains(0);
            expr.list = Some(List::Items(Items::At(Arc::clone(names))));
        }
        expr.operand = Operand::None;
        self.break_sql();
    }

    /// A character that is neither part of a word nor of an operator.
    pub(super) fn punctuation(&mut self, byte: u8) {
        match byte {
            b'(' | b'[' if self.beyond > 0 || self.outer.len() >= MAX_DEPTH => self.beyond += 1,
            b')' | b']' if self.beyond > 0 => self.beyond -= 1,
            _ if !self.begin() => {}
            b'(' => self.open(),
            b'[' => self.open_bracket(),
            b')' | b']' => {
                self.close_cases();
                self.close();
            }
            b',' => self.comma(),
            b'.' => self.prev = Prev::Dot,
            b';' => self.end_statement(),
            _ => self.follow(Prev::Other),
        }
        self.next = Next::Any;
    }

    /// The statement is over, or the text.
    pub(super) fn end_statement(&mut self) {
        self.close_cases();
        if self.outer.is_empty() {
            self.language = self.final_language();
            self.begins = true;
        }
        self.frame.boundary();
        self.prev = Prev::None;
    }
}

/// Whether a literal is the name of a secret, or a path to one (`'{a,password}'`).
fn names_secret(content: &[u8]) -> bool {
    let end = content.iter().rposition(|byte| Word::has(*byte)).map_or(0, |at| at + 1);
    let name = content.get(..end).unwrap_or_default().to_ascii_lowercase();
    is_secret(name.rsplit(|byte| matches!(byte, b'{' | b',' | b'"')).next().unwrap_or_default())
}
