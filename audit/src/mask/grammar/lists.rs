//! Parentheses, brackets and commas.

use std::sync::Arc;

use super::frame::Insert;
use super::{
    Expr, Frame, Function, Grammar, Items, Keyword, List, Opened, Operand, Prev, Runs, Sql,
    Statement,
};

impl Grammar {
    /// An opening parenthesis.
    pub(super) fn open(&mut self) {
        let inner = self.opened();
        self.break_sql_unless_call(&inner);
        self.push(inner);
    }

    pub(super) fn push(&mut self, inner: Frame) {
        self.follow(Prev::Open);
        self.outer.push(std::mem::replace(&mut self.frame, inner));
    }

    /// SQL that is put together stays known behind `quote_literal` and its like alone.
    fn break_sql_unless_call(&mut self, inner: &Frame) {
        let spells = [Function::QuoteValue, Function::QuoteName].map(Opened::Call);
        if !spells.contains(&inner.opened) {
            self.break_sql();
        }
    }

    fn opened(&mut self) -> Frame {
        let named = self.prev == Prev::Name;
        let row = self.is_row();
        if self.prev == Prev::Type {
            return Frame::new(Opened::Modifiers, Items::None);
        }
        if matches!(self.frame.insert, Insert::Table)
            && (named || self.prev == Prev::Keyword(Keyword::Insert))
        {
            return Frame::new(Opened::Columns, Items::None);
        }
        if let Some(rows) = self.frame.rows.as_ref().filter(|_| !named || row) {
            return Frame::new(Opened::Tuple, Items::At(Arc::clone(rows)));
        }
        if !named || row {
            match self.frame.expr.list.take() {
                Some(List::Items(items)) => return Frame::new(Opened::Tuple, items),
                Some(List::Rows(names)) => {
                    let rows = Some(names);
                    return Frame { rows, ..Frame::new(Opened::Tuple, Items::None) };
                }
                None => {}
            }
        }
        match &self.frame.expr.operand {
            Operand::Name { function: Function::Options, .. }
                if named && self.statement == Statement::Foreign =>
            {
                Frame::new(Opened::Options, Items::None)
            }
            Operand::Name { function, .. } if named => self.call(*function),
            Operand::Name { .. } | Operand::None | Operand::Row(..) | Operand::Other => {
                self.group()
            }
        }
    }

    fn is_row(&self) -> bool {
        let (Prev::Name, Operand::Name { function, .. }) = (self.prev, &self.frame.expr.operand)
        else {
            return false;
        };
        *function == Function::Through(u16::MAX)
    }

    fn group(&mut self) -> Frame {
        let items = if self.frame.expects() { Items::All } else { Items::None };
        let mut group = Frame::new(Opened::Group, items);
        // `INSERT INTO t (…) (SELECT …)`
        if let Insert::Columns(columns) = &self.frame.insert
            && self.prev == Prev::Close
        {
            group.insert = Insert::Columns(Arc::clone(columns));
        }
        group
    }

    fn call(&mut self, function: Function) -> Frame {
        let expects = self.frame.expects();
        if let (Function::QuoteName, Sql::Read(layer)) = (function, &mut self.frame.expr.sql) {
            layer.takes_name();
        }
        let items = match function {
            Function::Through(bits) if expects => Items::Bits(bits),
            Function::Secrets(bits) => Items::Bits(bits),
            Function::QuoteValue if expects || self.sql_expects() => Items::All,
            Function::Through(_)
            | Function::QuoteValue
            | Function::QuoteName
            | Function::Unknown
            | Function::Pairs
            | Function::Path
            | Function::Query
            | Function::Remote
            | Function::Connect
            | Function::Template
            | Function::Array
            | Function::Options => Items::None,
        };
        let executed = matches!(self.frame.expr.sql, Sql::Begins(Runs::Query));
        let sql = match function {
            Function::Query => Sql::Begins(Runs::Query),
            Function::Remote => Sql::Begins(Runs::Remote),
            Function::Connect => Sql::Begins(Runs::Connect),
            Function::Template if executed => Sql::Begins(Runs::Template),
            Function::Template
            | Function::Through(_)
            | Function::Secrets(_)
            | Function::QuoteValue
            | Function::QuoteName
            | Function::Unknown
            | Function::Pairs
            | Function::Path
            | Function::Array
            | Function::Options => Sql::None,
        };
        let expr = Expr { sql, ..Expr::default() };
        Frame { expr, ..Frame::new(Opened::Call(function), items) }
    }

    /// Whether the SQL that is put together expects a secret next.
    fn sql_expects(&mut self) -> bool {
        match &mut self.frame.expr.sql {
            Sql::Read(layer) => layer.takes_value(),
            Sql::None | Sql::Begins(_) | Sql::Unknown => false,
        }
    }

    /// An opening bracket: of an array, or behind what it is an element of.
    pub(super) fn open_bracket(&mut self) {
        let array =
            matches!(self.frame.expr.operand, Operand::Name { function: Function::Array, .. });
        let subscript = matches!(self.prev, Prev::Name | Prev::Close) && !array;
        let inner = if subscript {
            Frame::new(Opened::Subscript, Items::None)
        } else if self.frame.expects() {
            Frame::new(Opened::Array, Items::All)
        } else {
            Frame::new(Opened::Array, Items::None)
        };
        self.break_sql();
        let bare = self.bare;
        self.push(inner);
        self.bare = bare && subscript;
    }

    /// Closes each CASE that has no end.
    pub(super) fn close_cases(&mut self) {
        while self.frame.opened == Opened::Case {
            self.close();
        }
    }

    /// A closing parenthesis or bracket, or the end of a CASE.
    pub(super) fn close(&mut self) {
        let Some(outer) = self.outer.pop() else {
            return self.follow(Prev::Close);
        };
        let bare = self.bare;
        let inner = std::mem::replace(&mut self.frame, outer);
        let only_names = self.frame.only_names;
        self.follow(Prev::Close);
        self.frame.only_names = only_names && inner.opened == Opened::Subscript;
        self.bare = bare && inner.opened == Opened::Subscript;
        self.frame.any_secret |= inner.any_secret;
        self.frame.expr.joins = false;
        self.result_of(inner);
    }

    /// What stands in parentheses is an operand.
    fn result_of(&mut self, inner: Frame) {
        let expr = &mut self.frame.expr;
        match inner.opened {
            Opened::Columns => {
                self.frame.insert = Insert::Columns(Arc::new(inner.secrets));
                expr.operand = Operand::None;
            }
            Opened::Modifiers => {}
            Opened::Subscript if inner.named => expr.operand = Operand::named(true),
            Opened::Subscript => {}
            Opened::Group if inner.only_names => {
                expr.operand = Operand::Row(Arc::new(inner.secrets), inner.index.saturating_add(1));
            }
            Opened::Group | Opened::Call(_) if !inner.select => {
                expr.operand = Operand::named(inner.any_secret);
            }
            Opened::Group
            | Opened::Call(_)
            | Opened::Statement
            | Opened::Options
            | Opened::Tuple
            | Opened::Case
            | Opened::Array => expr.operand = Operand::Other,
        }
    }

    pub(super) fn comma(&mut self) {
        let only_names = self.frame.only_names;
        let setting = self.statement == Statement::Set && self.outer.is_empty();
        let armed = setting && self.frame.expr.armed;
        let named = self.frame.named;
        self.follow(Prev::Other);
        self.frame.reset();
        let frame = &mut self.frame;
        frame.only_names = only_names;
        frame.index = frame.index.saturating_add(1);
        let called = |function| frame.opened == Opened::Call(function);
        let paired = called(Function::Pairs) && frame.index % 2 == 1;
        let reached = called(Function::Path) && frame.index == 2;
        let sql = if called(Function::Remote) {
            Sql::Begins(Runs::Remote)
        } else if called(Function::Connect) {
            Sql::Begins(Runs::Connect)
        } else {
            Sql::None
        };
        frame.expr.armed = armed || (named && (paired || reached));
        frame.expr.sql = sql;
    }
}
