//! Events folded into statements: what a person wants to see of a session.
//!
//! Each execution becomes one [`Statement`], with its text found through portal and prepared
//! statement, its values and its outcomes. It is handed out, in order, once its answer is known to
//! be whole, or when the events are over. Memory is bounded: very long text is cut for display, and
//! what is outstanding beyond the bounds is handed out as incomplete. The recording itself has
//! everything.

use std::sync::Arc;

use crate::chain::Digest;
use crate::event::{Event, Value};

pub use crate::fold::Fold;

/// The most statements that wait for their answers.
pub const MAX_OUTSTANDING: usize = 65_536;

/// The most bytes of one text that are shown.
pub const MAX_SHOWN: usize = 1024 * 1024;

/// The most outcomes of one statement that are kept.
pub const MAX_OUTCOMES: usize = 1024;

/// The most copies of one statement that are shown.
pub const MAX_COPIES: usize = 64;

/// The most bytes of one copy's data that are shown.
pub const MAX_COPY_SHOWN: usize = 8 * 1024;

/// Data of one COPY.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Whether it came from the target (`COPY … TO STDOUT`).
    pub out: bool,
    /// The first bytes, as far as the recording has them and they are shown.
    pub first: Vec<u8>,
    /// How many there were in all.
    pub bytes: u64,
    /// SHA-256 of them, from byte `from` on.
    pub sha256: Option<Digest>,
    /// Where the digested part begins.
    pub from: u64,
    /// Whether its end is recorded. If not, `bytes` counts those that are kept.
    pub ended: bool,
}

/// How one command of a statement went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The command tag; empty where it failed.
    pub tag: String,
    /// Rows returned or changed.
    pub rows: u64,
    /// Bytes of the answer.
    pub bytes: u64,
    /// Microseconds from the statement to its answer.
    pub micros: u64,
    /// Where it failed, the SQLSTATE.
    pub sqlstate: Option<String>,
}

/// What may have run instead of what a statement shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alternative {
    /// Its text, or that of the SQL which may have named it; `None` where that is not known.
    pub text: Option<Arc<str>>,
    /// The values bound to it.
    pub values: Arc<[Value<'static>]>,
}

/// One execution in a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Its number.
    pub n: u64,
    /// When it was sent, in microseconds since the session started.
    pub at_micros: u64,
    /// Its text for display; `None` where what was executed is not known, such as a cursor or a
    /// forgotten name.
    pub text: Option<Arc<str>>,
    /// What may have run instead, oldest first: the name was prepared or bound again, and a failure
    /// since leaves it open whether the target took that; or SQL such as `PREPARE` may have given
    /// the name a meaning, and then it is that SQL. What a function does to names is not seen, and
    /// neither is SQL put together as it runs.
    pub otherwise: Vec<Alternative>,
    /// Whether the recording has more of the text, of what may have run instead, or of the values,
    /// than this.
    pub truncated: bool,
    /// The values bound to it.
    pub values: Arc<[Value<'static>]>,
    /// Bytes of data that the client sent with it (`COPY … FROM STDIN`).
    pub bytes_in: u64,
    /// The data of its copies, in order.
    pub copies: Vec<Copied>,
    /// How its commands went.
    pub outcomes: Vec<Outcome>,
    /// How many further outcomes there were.
    pub more_outcomes: u64,
    /// Whether it isn't known how it went: an answer came that may be its own, or another's.
    pub unknown: bool,
    /// Whether it was answered. If not, and that is known, the target skipped it after a failure, or the session ended
    /// first.
    pub complete: bool,
}

/// The statements of a sequence of events, such as a [`Reader`](crate::Reader).
#[derive(Debug)]
pub struct Statements<I> {
    events: I,
    fold: Fold,
    over: bool,
}

impl<I> Statements<I> {
    /// The statements of these events.
    pub fn new(events: I) -> Statements<I> {
        Statements { events, fold: Fold::new(), over: false }
    }
}

impl<E, I: Iterator<Item = Result<Event<'static>, E>>> Iterator for Statements<I> {
    type Item = Result<Statement, E>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(statement) = self.fold.pop() {
                return Some(Ok(statement));
            }
            if self.over {
                return None;
            }
            match self.events.next() {
                Some(Ok(event)) => self.fold.push(event),
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.over = true;
                    self.fold.finish();
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "statements_tests.rs"]
mod tests;
