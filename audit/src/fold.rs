//! The fold behind [`statements`](crate::statements): what waits for its answer, and how it gets
//! it.
//!
//! The target answers in the order it was asked. So an answer also ends the wait of all that was
//! sent before.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use crate::event::{Event, Kind, Text, Value};
use crate::names::{Names, Weight};
use crate::prepared::{Portal, Prepared, Shown, values_weight};
use crate::renamings::{Renamed, Renames, Renamings};
use crate::statements::{Copied, MAX_OUTCOMES, MAX_OUTSTANDING, MAX_SHOWN, Outcome, Statement};

mod copies;
mod parts;

use copies::copied;
use parts::Joining;

/// The most bytes that waiting statements may hold together.
pub(crate) const MAX_HELD: usize = 128 * 1024 * 1024;

/// A statement whose answer may still come.
#[derive(Debug)]
struct Waiting {
    statement: Statement,
    /// The portal that it runs, until it is answered.
    portal: Option<(Text<'static>, Portal)>,
    /// Whether one outcome is all there will be: so for anything but a simple query.
    single: bool,
    answered: bool,
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
    /// The texts that may have changed what prepared statements stand for.
    renamed_statements: Renamings,
    /// The same for portals.
    renamed_portals: Renamings,
    /// Binds seen so far.
    binds: u64,
    /// Failures and recoveries seen so far: what was sent on one side of either and used on the
    /// other may not have been taken.
    doubts: u64,
    /// Whether the target may still be skipping what is sent.
    failing: bool,
    /// From which execution on no outcome is known.
    lost_from: Option<u64>,
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
            renamed_statements: Renamings::default(),
            renamed_portals: Renamings::default(),
            binds: 0,
            doubts: 0,
            failing: false,
            lost_from: None,
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
            Kind::Execute { n, portal, .. } => self.execute(n, t, portal),
            Kind::Call { n, function, values } => self.call(n, t, function, values.into_owned()),
            Kind::CopyIn { n, bytes, sha256, from } => {
                self.copied(n, Copied { bytes, sha256, from, ended: true, ..copied(false) });
            }
            Kind::CopyOut { n, bytes, sha256, from } => {
                self.copied(n, Copied { bytes, sha256, from, ended: true, ..copied(true) });
            }
            Kind::Data { of, n, data } => self.data(of, n, data.as_bytes()),
            Kind::Unknown { from, to } => self.unknown(from, to),
            Kind::Done { n, tag, rows, bytes, micros } => {
                self.answer(n, done(tag, rows, bytes, micros))
            }
            Kind::Failed { n, sqlstate, bytes, micros } => {
                self.answer(n, failed(sqlstate, bytes, micros))
            }
            Kind::Recovered => self.recovered(),
            Kind::End(_) => self.finish(),
            Kind::Start(_) | Kind::Ssh(_) => {}
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
        self.rename(shown.renames, &shown.text);
        let mut statement = blank(n, at);
        statement.text = Some(shown.text);
        statement.truncated = shown.truncated;
        self.wait(statement, None, false);
    }

    pub(super) fn parse(&mut self, name: Text<'static>, text: &[u8], truncated: bool) {
        let previous = self.prepared.find(&name);
        let renamed = since(&self.renamed_statements, &name, previous.map(|it| it.renamings));
        let mut prepared = Prepared::over(previous, renamed, show(text, truncated));
        prepared.doubts_before = self.doubts;
        prepared.renamings = self.renamed_statements.count();
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
        let known = prepared.as_ref().map(|prepared| prepared.renamings);
        let renamed = since(&self.renamed_statements, &statement, known);
        self.binds += 1;
        let mut bound = Portal {
            id: self.binds,
            prepared: prepared.map(|prepared| (statement, prepared)),
            values: values.into(),
            truncated,
            doubts_before: self.doubts,
            renamings: self.renamed_portals.count(),
            ..Portal::unknown()
        };
        bound.rename(renamed, true);
        if let Some(previous) = self.portal(&portal) {
            bound.replace(previous);
        }
        self.portals.set(portal, bound);
    }

    /// A portal by its name, with what SQL may have made of it; `None` where nothing is known.
    fn portal(&self, name: &Text<'static>) -> Option<Portal> {
        let known = self.portals.find(name);
        let renamed = since(&self.renamed_portals, name, known.map(|portal| portal.renamings));
        if known.is_none() && renamed.texts.is_empty() && !renamed.forgotten {
            return None;
        }
        let mut portal = known.cloned().unwrap_or_else(Portal::unknown);
        portal.rename(renamed, false);
        Some(portal)
    }

    /// A text was run that may give names a meaning.
    fn rename(&mut self, renames: Renames, text: &Arc<str>) {
        if renames.statements {
            self.renamed_statements.note(text);
        }
        if renames.portals {
            self.renamed_portals.note(text);
        }
    }

    /// What was sent before is in doubt from here on.
    fn recovered(&mut self) {
        self.failing = false;
        self.doubts += 1;
    }

    fn execute(&mut self, n: u64, at: u64, name: Text<'static>) {
        let mut statement = blank(n, at);
        let Some(portal) = self.portal(&name) else {
            return self.wait(statement, None, true);
        };
        statement.values = Arc::clone(&portal.values);
        statement.truncated = portal.truncated;
        if let Some((_, prepared)) = &portal.prepared {
            statement.text = Some(Arc::clone(&prepared.shown.text));
            statement.truncated |= prepared.shown.truncated;
        }
        for (renames, text) in portal.renames() {
            self.rename(renames, &text);
        }
        self.wait(statement, Some((name, portal)), true);
    }

    fn call(&mut self, n: u64, at: u64, function: u32, values: Vec<Value<'static>>) {
        let mut statement = blank(n, at);
        statement.text = Some(format!("function call {function}").into());
        statement.values = values.into();
        self.wait(statement, None, true);
    }

    /// An answer may belong to any of these.
    fn unknown(&mut self, from: u64, to: Option<u64>) {
        let range = from..=to.unwrap_or(u64::MAX);
        for waiting in &mut self.waiting {
            waiting.statement.unknown |= range.contains(&waiting.statement.n);
        }
        if to.is_none() {
            self.lost_from = Some(self.lost_from.map_or(from, |lost| lost.min(from)));
        }
    }

    /// Answers come in order: whatever was sent before the statement answered gets no further one.
    fn answer(&mut self, n: u64, outcome: Outcome) {
        let failed = outcome.sqlstate.is_some();
        while self.waiting.front().is_some_and(|first| n != 0 && first.statement.n < n) {
            self.hand_out();
        }
        if !failed && self.failing {
            self.recovered();
        }
        let doubts = self.doubts;
        self.failing |= failed;
        self.doubts += u64::from(failed);
        let Some(waiting) = self.find(n) else { return };
        waiting.answered |= failed || waiting.single;
        waiting.statement.complete = true;
        if waiting.statement.outcomes.len() < MAX_OUTCOMES {
            waiting.statement.outcomes.push(outcome);
        } else {
            waiting.statement.more_outcomes += 1;
        }
        let Some((name, portal)) = waiting.portal.take() else { return };
        waiting.doubt(&portal, doubts);
        if !failed {
            self.settle(&name, &portal, doubts);
        }
    }

    /// A success with no doubt since its Parse or Bind: the target took it, so what the name stood
    /// for before is of no interest.
    fn settle(&mut self, name: &Text<'static>, portal: &Portal, doubts: u64) {
        if portal.doubts_before == doubts {
            self.portals.lighten(name, |held| held.settle(portal.id));
        }
        if let Some((name, prepared)) = &portal.prepared
            && prepared.doubts_before == doubts
        {
            self.prepared.lighten(name, |held| held.settle(&prepared.shown.text));
        }
    }

    fn find(&mut self, n: u64) -> Option<&mut Waiting> {
        self.waiting
            .iter_mut()
            .take_while(|waiting| waiting.statement.n <= n)
            .find(|waiting| waiting.statement.n == n)
    }

    fn wait(
        &mut self,
        mut statement: Statement,
        portal: Option<(Text<'static>, Portal)>,
        single: bool,
    ) {
        let text = statement.text.as_ref().map_or(0, |text| text.len());
        let weight = match &portal {
            Some((name, portal)) => name.as_bytes().len() + portal.weight(),
            None => text + values_weight(&statement.values),
        };
        statement.unknown = self.lost_from.is_some_and(|lost| lost <= statement.n);
        self.held += weight;
        self.waiting.push_back(Waiting { statement, portal, single, answered: false, weight });
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
        let Some(mut waiting) = self.waiting.pop_front() else {
            return false;
        };
        self.held = self.held.saturating_sub(waiting.weight);
        if let Some((_, portal)) = waiting.portal.take() {
            waiting.doubt(&portal, self.doubts);
        }
        self.ready.push_back(waiting.statement);
        true
    }
}

impl Waiting {
    fn doubt(&mut self, portal: &Portal, doubts: u64) {
        let (otherwise, more) = portal.otherwise(doubts);
        self.statement.otherwise = otherwise;
        self.statement.truncated |= more;
    }
}

/// The texts that may have renamed something since; none could rename what has no name.
fn since(renamings: &Renamings, name: &Text<'_>, known: Option<u64>) -> Renamed {
    if name.as_bytes().is_empty() {
        return Renamed::default();
    }
    renamings.since(known.unwrap_or(0))
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
        copies: Vec::new(),
        outcomes: Vec::new(),
        more_outcomes: 0,
        unknown: false,
        complete: false,
    }
}

/// Text for display: what isn't UTF-8 is replaced, what is too long is cut.
fn show(text: &[u8], truncated: bool) -> Shown {
    let kept = text.get(..MAX_SHOWN).unwrap_or(text);
    let truncated = truncated || kept.len() < text.len();
    let renames = Renames::of(kept, truncated);
    Shown { text: String::from_utf8_lossy(kept).into(), truncated, renames }
}
