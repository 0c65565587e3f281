//! The fold behind [`statements`](crate::statements): what waits for its answer, and how it gets
//! it.
//!
//! The target answers in the order it was asked. So an answer also ends the wait of all that was
//! sent before.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Event, Kind, Text, Value};
use crate::prepared::{Names, Portal, Prepared, Shown, values_weight};
use crate::statements::{MAX_OUTCOMES, MAX_OUTSTANDING, MAX_SHOWN, Outcome, Statement};

mod parts;

use parts::Joining;

/// The most bytes that waiting statements may hold together.
pub(crate) const MAX_HELD: usize = 128 * 1024 * 1024;

/// A statement whose answer may still come.
#[derive(Debug)]
struct Waiting {
    statement: Statement,
    /// The prepared statement that it runs.
    prepared: Option<(Text<'static>, Prepared)>,
    /// Whether one outcome is all there will be: so for anything but a simple query.
    single: bool,
    answered: bool,
    /// How many failures the session had seen when its answer came.
    failures: Option<u64>,
    weight: usize,
}

/// The fold: push events, pop statements.
#[derive(Debug)]
pub struct Fold {
    waiting: VecDeque<Waiting>,
    /// Bytes that `waiting` holds.
    held: usize,
    ready: VecDeque<Statement>,
    prepared: Names<Prepared>,
    portals: Names<Portal>,
    joining: Option<Joining>,
    /// Failures seen so far.
    failures: u64,
}

impl Default for Fold {
    fn default() -> Fold {
        Fold::new()
    }
}

impl Fold {
    /// A fold at the start of a recording.
    pub fn new() -> Fold {
        Fold {
            waiting: VecDeque::new(),
            held: 0,
            ready: VecDeque::new(),
            prepared: Names::new(),
            portals: Names::new(),
            joining: None,
            failures: 0,
        }
    }

    /// Takes the next event.
    pub fn push(&mut self, event: Event<'static>) {
        let Event { t, kind } = event;
        match kind {
            Kind::Query { n, text } => self.query(n, t, text.as_bytes(), false),
            Kind::QueryPart { n, text, last } => self.query_part(n, t, text.as_bytes(), last),
            Kind::Parse { statement, text } => self.parse(statement, text.as_bytes(), false),
            Kind::ParsePart { statement, text, last } => {
                self.parse_part(statement, text.as_bytes(), last)
            }
            Kind::Bind { portal, statement, values } => {
                self.bind(portal, statement, values.into_owned(), false)
            }
            Kind::BindPart { portal, statement, values, last } => {
                self.bind_part(portal, statement, values.into_owned(), last)
            }
            Kind::Execute { n, portal, .. } => self.execute(n, t, &portal),
            Kind::Call { n, function, values } => self.call(n, t, function, values.into_owned()),
            Kind::CopyIn { n, bytes } => self.copy_in(n, bytes),
            Kind::Done { n, tag, rows, bytes, micros } => {
                self.answer(n, done(tag, rows, bytes, micros))
            }
            Kind::Failed { n, sqlstate, bytes, micros } => {
                self.answer(n, failed(sqlstate, bytes, micros))
            }
            Kind::End(_) => self.finish(),
            Kind::Start(_) => {}
        }
        self.release();
    }

    /// The next statement whose answer is known.
    pub fn pop(&mut self) -> Option<Statement> {
        self.ready.pop_front()
    }

    /// Says that no event follows: what still waits is handed out.
    pub fn finish(&mut self) {
        self.flush_joining();
        while self.hand_out() {}
    }

    pub(super) fn query(&mut self, n: u64, at: u64, text: &[u8], truncated: bool) {
        let shown = show(text, truncated);
        let mut statement = blank(n, at);
        statement.text = Some(shown.text);
        statement.truncated = shown.truncated;
        self.wait(statement, None, false);
    }

    pub(super) fn parse(&mut self, name: Text<'static>, text: &[u8], truncated: bool) {
        let prepared =
            Prepared::over(self.prepared.find(&name), show(text, truncated), self.failures);
        self.prepared.set(name, prepared);
    }

    pub(super) fn bind(
        &mut self,
        portal: Text<'static>,
        statement: Text<'static>,
        values: Vec<Value<'static>>,
        truncated: bool,
    ) {
        let prepared = self.prepared.find(&statement).cloned();
        let prepared = prepared.map(|prepared| (statement, prepared));
        self.portals.set(portal, Portal { prepared, values: values.into(), truncated });
    }

    fn execute(&mut self, n: u64, at: u64, portal: &Text<'static>) {
        let mut statement = blank(n, at);
        let mut prepared = None;
        if let Some(portal) = self.portals.find(portal) {
            statement.values = Arc::clone(&portal.values);
            statement.truncated = portal.truncated;
            prepared.clone_from(&portal.prepared);
        }
        if let Some((_, prepared)) = &prepared {
            statement.text = Some(Arc::clone(&prepared.shown.text));
            statement.truncated |= prepared.shown.truncated;
        }
        self.wait(statement, prepared, true);
    }

    fn call(&mut self, n: u64, at: u64, function: u32, values: Vec<Value<'static>>) {
        let mut statement = blank(n, at);
        statement.text = Some(format!("function call {function}").into());
        statement.values = values.into();
        self.wait(statement, None, true);
    }

    fn copy_in(&mut self, n: u64, bytes: u64) {
        if let Some(waiting) = self.find(n) {
            waiting.statement.bytes_in = waiting.statement.bytes_in.saturating_add(bytes);
        }
    }

    /// Answers come in order: whatever was sent before the statement answered gets no further one.
    fn answer(&mut self, n: u64, outcome: Outcome) {
        let failed = outcome.sqlstate.is_some();
        while self.waiting.front().is_some_and(|first| n != 0 && first.statement.n < n) {
            self.hand_out();
        }
        let failures = self.failures;
        self.failures += u64::from(failed);
        let Some(waiting) = self.find(n) else { return };
        waiting.answered |= failed || waiting.single;
        waiting.statement.complete = true;
        waiting.failures = Some(failures);
        if waiting.statement.outcomes.len() < MAX_OUTCOMES {
            waiting.statement.outcomes.push(outcome);
        } else {
            waiting.statement.more_outcomes += 1;
        }
        // A success with no failure since its Parse: the target took it.
        let settled = waiting
            .prepared
            .take_if(|(_, prepared)| !failed && prepared.failures_before == failures);
        if let Some((name, taken)) = settled {
            self.settle(&name, &taken);
        }
    }

    /// What a name stood for before is of no interest once its newest Parse is known to be taken.
    fn settle(&mut self, name: &Text<'static>, taken: &Prepared) {
        self.prepared.lighten(name, |held| {
            if Arc::ptr_eq(&held.shown.text, &taken.shown.text) {
                held.earlier.clear();
            } else if let Some(at) =
                held.earlier.iter().position(|text| Arc::ptr_eq(text, &taken.shown.text))
            {
                held.earlier.drain(..at);
            }
        });
    }

    fn find(&mut self, n: u64) -> Option<&mut Waiting> {
        self.waiting
            .iter_mut()
            .take_while(|waiting| waiting.statement.n <= n)
            .find(|waiting| waiting.statement.n == n)
    }

    fn wait(
        &mut self,
        statement: Statement,
        prepared: Option<(Text<'static>, Prepared)>,
        single: bool,
    ) {
        let text = statement.text.as_ref().map_or(0, |text| text.len());
        let weight = text + values_weight(&statement.values);
        self.held += weight;
        self.waiting.push_back(Waiting {
            statement,
            prepared,
            single,
            answered: false,
            failures: None,
            weight,
        });
    }

    /// Hands out what is answered, and the oldest where too much waits.
    fn release(&mut self) {
        while self.waiting.front().is_some_and(|first| first.answered)
            || self.waiting.len() > MAX_OUTSTANDING
            || self.held > MAX_HELD
        {
            if !self.hand_out() {
                return;
            }
        }
    }

    fn hand_out(&mut self) -> bool {
        let Some(Waiting { mut statement, prepared, failures, weight, .. }) =
            self.waiting.pop_front()
        else {
            return false;
        };
        self.held = self.held.saturating_sub(weight);
        if let Some((_, prepared)) = prepared
            && prepared.failures_before != failures.unwrap_or(self.failures)
        {
            statement.otherwise = prepared.earlier;
        }
        self.ready.push_back(statement);
        true
    }
}

fn done(tag: Cow<'static, str>, rows: u64, bytes: u64, micros: u64) -> Outcome {
    let tag = tag.into_owned();
    Outcome { tag, rows, bytes, micros, sqlstate: None }
}

fn failed(sqlstate: Cow<'static, str>, bytes: u64, micros: u64) -> Outcome {
    let sqlstate = Some(sqlstate.into_owned());
    Outcome { tag: String::new(), rows: 0, bytes, micros, sqlstate }
}

fn blank(n: u64, at_micros: u64) -> Statement {
    Statement {
        n,
        at_micros,
        text: None,
        otherwise: Vec::new(),
        truncated: false,
        values: Arc::from([]),
        bytes_in: 0,
        outcomes: Vec::new(),
        more_outcomes: 0,
        complete: false,
    }
}

/// Text for display: what isn't UTF-8 is replaced, what is too long is cut.
fn show(text: &[u8], truncated: bool) -> Shown {
    let kept = text.get(..MAX_SHOWN).unwrap_or(text);
    let truncated = truncated || kept.len() < text.len();
    Shown { text: String::from_utf8_lossy(kept).into(), truncated }
}
