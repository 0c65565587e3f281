//! Names and keywords.

use super::frame::{Insert, List};
use super::{
    Frame, Function, Grammar, Items, Keyword, MAX_DEPTH, Name, Next, Opened, Operand, Position,
    Prev, Runs, Sql, Statement, is_secret,
};

impl Grammar {
    /// A word without quotes.
    pub(in crate::mask) fn word(&mut self, name: &Name) {
        if !self.begin() {
            return;
        }
        let word = name.as_bytes();
        let next = std::mem::take(&mut self.next);
        if self.prev == Prev::Dot || matches!(self.frame.opened, Opened::Columns | Opened::Options)
        {
            return self.name(name, Function::of(word));
        }
        if self.outer.is_empty() {
            self.statement = self.statement.follow(word);
        }
        if next == Next::Language {
            self.name_language(word);
            return self.follow(Prev::Other);
        }
        if let Some(position) = self.clause(word) {
            self.follow(Prev::Other);
            self.next = Next::Is(position);
            return;
        }
        match Keyword::of(word).filter(|keyword| self.outer.is_empty() || !keyword.is_outer()) {
            Some(keyword) => self.keyword(keyword),
            None => self.name(name, Function::of(word)),
        }
        self.identified = word == b"identified";
    }

    /// A name in quotes: never a keyword.
    pub(in crate::mask) fn quoted_name(&mut self, name: &Name) {
        if !self.begin() {
            return;
        }
        let next = std::mem::take(&mut self.next);
        if next == Next::Language {
            self.name_language(if name.capitals { b"" } else { name.as_bytes() });
            return self.follow(Prev::Other);
        }
        if self.outer.is_empty() {
            self.statement = self.statement.follow(b"\"");
        }
        let function = Function::of(name.as_bytes());
        self.name(name, if name.capitals { Function::Unknown } else { function });
    }

    /// What the literal behind this word is, where the statement says so.
    fn clause(&self, word: &[u8]) -> Option<Position> {
        let by = word == b"by" && self.identified;
        let copies = self.statement == Statement::Copy && self.outer.is_empty();
        if self.statement == Statement::Role && !self.setting && (word == b"password" || by) {
            Some(Position::Secret)
        } else if self.statement == Statement::Subscription && word == b"connection" {
            Some(Position::Connection)
        } else if copies && matches!(word, b"to" | b"from") {
            Some(Position::Raw)
        } else {
            None
        }
    }

    fn name(&mut self, name: &Name, function: Function) {
        let secret = is_secret(name.as_bytes());
        let prev = self.prev;
        self.prev = Prev::Name;
        let frame = &mut self.frame;
        if std::mem::take(&mut frame.expr.cast) {
            self.prev = Prev::Type;
            frame.only_names = false;
            return;
        }
        frame.note_name(secret);
        let function = if prev == Prev::Dot { function.in_any_schema() } else { function };
        frame.expr.operand = Operand::Name { secret, function };
        let stays = match (&frame.expr.sql, function) {
            (Sql::Read(_), Function::QuoteValue | Function::QuoteName) => frame.expr.joins,
            (Sql::Begins(Runs::Query), Function::Template) => true,
            _ => false,
        };
        if !stays {
            self.break_sql();
        }
    }

    fn keyword(&mut self, keyword: Keyword) {
        let (prev, setting) = (self.prev, self.setting);
        let begins = self.bare && matches!(self.frame.expr.operand, Operand::None);
        self.follow(Prev::Keyword(keyword));
        match keyword {
            Keyword::And if std::mem::take(&mut self.frame.expr.between) => {}
            Keyword::And => self.frame.reset(),
            Keyword::As => self.next = Next::Is(Position::Body),
            Keyword::Between => {
                self.compare();
                self.frame.expr.between = true;
            }
            Keyword::Begin => self.begins = self.outer.is_empty(),
            Keyword::Boundary => self.frame.boundary(),
            Keyword::Case => self.case(begins),
            Keyword::Distinct | Keyword::Keeps => {}
            Keyword::Else => self.branch(),
            Keyword::End if self.frame.opened == Opened::Case => self.close(),
            Keyword::End => {}
            Keyword::Execute => {
                self.frame.reset();
                self.frame.expr.sql = Sql::Begins(Runs::Query);
            }
            Keyword::For => {
                self.frame.boundary();
                self.frame.expr.variable = true;
            }
            Keyword::From if prev == Prev::Keyword(Keyword::Distinct) => self.compare(),
            Keyword::From => self.frame.boundary(),
            Keyword::In => self.list(),
            Keyword::Insert => {
                self.frame.boundary();
                self.frame.insert = Insert::Table;
            }
            Keyword::Into if prev == Prev::Keyword(Keyword::Insert) => {}
            Keyword::Into => self.frame.boundary(),
            Keyword::Language => self.next = Next::Language,
            Keyword::Like => self.compare(),
            Keyword::Program => self.next = Next::Is(Position::Raw),
            Keyword::Select => self.select(),
            Keyword::Set => {
                self.frame.boundary();
                self.setting = true;
            }
            Keyword::To => {
                self.frame.expr.armed |= setting && self.frame.expr.operand.is_secret();
            }
            Keyword::Uescape => self.next = Next::Is(Position::Plain),
            Keyword::Using => self.using(),
            Keyword::Values => self.values(),
            Keyword::When => {
                self.frame.reset();
                self.frame.expr.condition = self.frame.opened == Opened::Case;
            }
        }
    }

    /// `THEN` and `ELSE` begin a result of CASE, or a statement in a body of code.
    fn branch(&mut self) {
        self.frame.reset();
        self.frame.expr.condition = false;
        self.begins = self.outer.is_empty();
    }

    /// `CASE` of an expression. That of PL/pgSQL, which has statements in it, begins a statement.
    fn case(&mut self, begins: bool) {
        if begins || self.outer.len() >= MAX_DEPTH {
            return;
        }
        let items = if self.frame.expects() { Items::All } else { Items::None };
        let mut case = Frame::new(Opened::Case, items);
        case.expr.condition = true;
        self.break_sql();
        self.push(case);
    }

    /// `IN`, of a loop or before a list.
    fn list(&mut self) {
        let expr = &mut self.frame.expr;
        expr.list = match &expr.operand {
            _ if expr.variable => None,
            Operand::Name { secret: true, .. } => Some(List::Items(Items::All)),
            Operand::Row(names, _) => Some(List::Rows(names.clone())),
            Operand::Name { .. } | Operand::None | Operand::Other => None,
        };
        expr.operand = Operand::None;
    }

    /// The list of a SELECT: of an INSERT, or in the place of one or several values.
    fn select(&mut self) {
        let opened = self.frame.opened;
        let items = match (&self.frame.insert, &self.frame.rows) {
            (Insert::Columns(columns), _) => Items::At(columns.clone()),
            (_, Some(names)) if opened == Opened::Tuple => Items::At(names.clone()),
            _ => match (opened, std::mem::take(&mut self.frame.items)) {
                (Opened::Group | Opened::Tuple, Items::All) => Items::Bits(1),
                (Opened::Group | Opened::Tuple, items) => items,
                _ => Items::None,
            },
        };
        self.frame.boundary();
        (self.frame.items, self.frame.index, self.frame.select) = (items, 0, true);
    }

    fn values(&mut self) {
        let columns = match &self.frame.insert {
            Insert::Columns(columns) => Some(columns.clone()),
            Insert::None | Insert::Table => None,
        };
        self.frame.boundary();
        self.frame.rows = columns;
    }

    /// `USING` of EXECUTE, whose values are the parameters of the SQL before.
    fn using(&mut self) {
        self.frame.boundary();
        if let Some(params) = self.frame.using.take() {
            self.frame.items = Items::At(params.into());
            (self.frame.index, self.frame.select) = (0, true);
        }
    }
}
