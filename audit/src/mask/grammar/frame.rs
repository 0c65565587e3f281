//! What is known of one pair of parentheses: which of its places hold secrets.

use std::sync::Arc;

use super::Layer;
use crate::mask::index_set::IndexSet;
use crate::mask::vocabulary::Function;

/// Which items of a list are secrets.
#[derive(Debug, Clone, Default)]
pub(super) enum Items {
    #[default]
    None,
    All,
    /// One bit each; none beyond.
    Bits(u16),
    At(Arc<IndexSet>),
}

impl Items {
    pub(super) fn has(&self, index: u16) -> bool {
        match self {
            Items::None => false,
            Items::All => true,
            Items::Bits(bits) => index < 16 && bits & (1 << index) != 0,
            Items::At(set) => set.contains(index),
        }
    }
}

/// What a pair of parentheses or brackets is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Opened {
    /// The statement itself, in none.
    #[default]
    Statement,
    Group,
    Call(Function),
    /// The columns of an INSERT.
    Columns,
    /// `OPTIONS (name 'value', …)`.
    Options,
    /// Values, one for each name of a list.
    Tuple,
    /// What follows the name of a type.
    Modifiers,
    Subscript,
    Array,
    /// `CASE … END`.
    Case,
}

/// What stands left of an operator.
#[derive(Debug, Clone, Default)]
pub(super) enum Operand {
    #[default]
    None,
    /// A name, or what was made of one.
    Name {
        secret: bool,
        function: Function,
    },
    /// A list of names, and how many there are.
    Row(Arc<IndexSet>, u16),
    Other,
}

impl Operand {
    pub(super) fn named(secret: bool) -> Operand {
        Operand::Name { secret, function: Function::Unknown }
    }

    pub(super) fn is_secret(&self) -> bool {
        matches!(self, Operand::Name { secret: true, .. })
    }
}

/// How the literal that is expected will be run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runs {
    Query,
    Template,
    Remote,
    Connect,
}

/// The SQL that is put together here and run.
#[derive(Debug, Clone, Default)]
pub(super) enum Sql {
    /// None.
    #[default]
    None,
    /// It begins with the next literal.
    Begins(Runs),
    /// It was read so far, and `||` may add to it.
    Read(Box<Layer>),
    /// It has parts that aren't known.
    Unknown,
}

/// What a list in parentheses, which follows an operator, holds.
#[derive(Debug, Clone)]
pub(super) enum List {
    Items(Items),
    Rows(Arc<IndexSet>),
}

/// One expression.
#[derive(Debug, Clone, Default)]
pub(super) struct Expr {
    pub(super) operand: Operand,
    /// Whether the value is a secret: what stands left of the operator names one.
    pub(super) armed: bool,
    /// Whether the next `and` belongs to `between`.
    pub(super) between: bool,
    /// Whether this is the condition of a CASE.
    pub(super) condition: bool,
    pub(super) list: Option<List>,
    pub(super) sql: Sql,
    /// Whether the next name is that of a type.
    pub(super) cast: bool,
    /// Whether the next literal is the name of a field.
    pub(super) field: bool,
    /// Whether `||` stands right before.
    pub(super) joins: bool,
    /// Whether the name is a variable of a loop.
    pub(super) variable: bool,
}

/// How far the list of columns of an INSERT was read.
#[derive(Debug, Clone, Default)]
pub(super) enum Insert {
    #[default]
    None,
    Table,
    Columns(Arc<IndexSet>),
}

/// One pair of parentheses, and where in it the text stands.
#[derive(Debug, Clone, Default)]
pub(super) struct Frame {
    pub(super) opened: Opened,
    pub(super) items: Items,
    pub(super) index: u16,
    /// Whether the items are those of a SELECT.
    pub(super) select: bool,
    /// What each pair of parentheses right in this one holds.
    pub(super) rows: Option<Arc<IndexSet>>,
    pub(super) insert: Insert,
    /// Which of the names in the list are those of secrets.
    pub(super) secrets: IndexSet,
    /// Whether there were names and commas only.
    pub(super) only_names: bool,
    /// Whether any name was that of a secret.
    pub(super) any_secret: bool,
    /// Whether the last argument was a literal that names a secret.
    pub(super) named: bool,
    /// Which values of USING are secrets.
    pub(super) using: Option<IndexSet>,
    pub(super) expr: Expr,
}

impl Frame {
    pub(super) fn new(opened: Opened, items: Items) -> Frame {
        Frame { opened, items, only_names: true, ..Frame::default() }
    }

    /// Whether a literal here is a secret, as far as this frame says.
    pub(super) fn expects(&self) -> bool {
        let listed = self.items.has(self.index) && !self.expr.condition;
        (self.expr.armed || listed) && matches!(self.expr.sql, Sql::None)
    }

    /// Takes note of a name in the list.
    pub(super) fn note_name(&mut self, secret: bool) {
        self.any_secret |= secret;
        if !matches!(self.opened, Opened::Columns | Opened::Group) {
            return;
        }
        if secret {
            self.secrets.insert(self.index);
        } else {
            self.secrets.remove(self.index);
        }
    }

    /// Begins another part of the statement.
    pub(super) fn reset(&mut self) {
        let expr = std::mem::take(&mut self.expr);
        self.expr.condition = expr.condition;
        if let Sql::Read(mut layer) = expr.sql {
            let params = layer.end_tokens().less_one();
            self.using = Some(params).filter(|params| !params.is_empty());
        }
        self.named = false;
    }

    /// Begins another part, in which the list of a SELECT is over.
    pub(super) fn boundary(&mut self) {
        self.reset();
        if self.select {
            (self.items, self.select) = (Items::None, false);
        }
        self.rows = None;
    }
}
