//! What is under way in a session: messages that were sent and not yet answered, oldest first, and to
//! which of them an answer belongs.
//!
//! The target reads them in order, so where it is follows from its answers ([`state`]). Only when it
//! fails a COPY, that can be more than one place: it ignores a Sync that it reads before the failure and
//! answers one that it reads after it, and the error doesn't say which. Then every place is followed
//! until an answer comes that only one of them explains. What came meanwhile is recorded once that is
//! known; where it never is, it is recorded as unknown. Nothing is guessed, and nothing waits.

mod attribution;
#[cfg(any(test, fuzzing))]
pub(super) mod differential;
mod fates;
mod state;

use std::borrow::Cow;

use audit::Kind;
use tokio::time::Instant;

use self::attribution::{Attribution, Outcome};
use self::fates::Fates;
pub(super) use self::fates::{Fate, Ticket};
pub(super) use self::state::{Awaited, Reply, Step};
use self::state::{State, Units};
use super::copies::Copies;
use super::wire::{Emit, WireError};

/// How many messages may be open before the client has to wait.
const MOST: usize = 65_536;
/// How many places are followed at once. Only a client that sends as many Syncs in one COPY needs more.
const MOST_PATHS: usize = 32;
/// How many answers are kept until it is known whose they are.
const MOST_UNDECIDED: usize = 256;
/// Room that an idle session keeps.
const KEPT: usize = 64;

/// The open messages of a session.
#[derive(Debug)]
pub(super) struct Flight {
    units: Units,
    sent: u64,
    /// Bytes of rows and COPY data since the last answer.
    bytes: u64,
    /// Something failed since the last ReadyForQuery.
    failed: bool,
    /// Where the target may be; nowhere that is known once an answer came that no place explains.
    paths: Vec<Path>,
    /// Answers that came and are not recorded yet.
    undecided: Vec<Outcome<'static>>,
    fates: Fates,
    /// The data of copies.
    pub(super) copies: Copies,
}

/// A place where the target may be, and what each undecided answer belongs to if it is there.
#[derive(Debug)]
struct Path {
    state: State,
    attributions: Vec<Attribution>,
}

impl Default for Flight {
    fn default() -> Self {
        Self::new(Copies::default())
    }
}

impl Flight {
    pub(super) fn new(copies: Copies) -> Self {
        Self {
            units: Units::default(),
            sent: 0,
            bytes: 0,
            failed: false,
            paths: vec![Path { state: State::START, attributions: Vec::new() }],
            undecided: Vec::new(),
            fates: Fates::default(),
            copies,
        }
    }

    /// Notes a message. An execution gets its number, which is returned.
    pub(super) fn send(&mut self, awaited: Awaited, now: Instant) -> u64 {
        self.sent += u64::from(awaited.executes());
        let has_effect = self.paths.iter().any(|path| !path.state.ignores(awaited, &self.units));
        self.fates.send(awaited, has_effect.then(|| self.units.end()));
        if has_effect {
            self.units.push(awaited, self.sent, now);
            if self.paths.len() > 1 {
                self.settle();
            }
        }
        self.sent
    }

    /// The message that was sent last; none where the target skips it for certain.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.fates.ticket()
    }

    /// Whether an error in this message would skip one that is sent now.
    pub(super) fn is_in_this_segment(&self, ticket: Ticket) -> bool {
        self.fates.is_in_this_segment(ticket)
    }

    /// What became of a message. Where the target may be in several places, it is the worst.
    pub(super) fn fate(&self, ticket: Ticket) -> Fate {
        self.fates.fate(ticket, self.units.first())
    }

    /// How many executions there were.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether the client has to wait for answers. It doesn't where none may come before it goes on:
    /// what it sends is then followed no further.
    pub(super) fn is_full(&mut self, emit: Emit<'_>) -> Result<bool, WireError> {
        if self.units.len() < MOST {
            return Ok(false);
        }
        let copying = self.paths.iter().any(|path| path.state.is_copying());
        if copying || self.paths.len() > 1 {
            self.lose(emit)?;
        }
        Ok(self.is_waited_for())
    }

    /// Whether too much is open, as of the last look.
    pub(super) fn is_waited_for(&self) -> bool {
        self.units.len() >= MOST
    }

    /// Whether the target has nothing to answer.
    pub(super) fn is_empty(&self) -> bool {
        !self.paths.is_empty() && self.paths.iter().all(|path| path.state.is_idle(&self.units))
    }

    /// Gives memory back.
    pub(super) fn rest(&mut self) {
        if self.units.len() == 0 {
            self.units.shrink_to(KEPT);
        }
    }

    /// Bytes of an answer came.
    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Rows or COPY data came.
    pub(super) fn carried(&mut self, bytes: usize, emit: Emit<'_>) -> Result<(), WireError> {
        self.count(bytes);
        // Of one place it is nothing new.
        if self.paths.len() > 1 { self.noted(Reply::More, emit) } else { Ok(()) }
    }

    /// The execution that is being answered; 0 where that isn't known.
    pub(super) fn current(&self) -> u64 {
        let mut all = self.paths.iter().map(|path| path.state.work(&self.units).map(|work| work.n));
        let first = all.next().flatten();
        first.filter(|first| all.all(|other| other == Some(*first))).unwrap_or(0)
    }

    /// An answer came that is no outcome.
    pub(super) fn noted(&mut self, reply: Reply, emit: Emit<'_>) -> Result<(), WireError> {
        if self.follow(reply, None) { self.decide(emit) } else { self.lose(emit) }
    }

    /// A statement was answered well.
    pub(super) fn done(
        &mut self,
        reply: Reply,
        tag: Cow<'_, str>,
        rows: u64,
        now: Instant,
        emit: Emit<'_>,
    ) -> Result<(), WireError> {
        let bytes = std::mem::take(&mut self.bytes);
        self.outcome(reply, Outcome::Done { tag, rows, bytes }, now, emit)
    }

    /// Something was refused; in the extended protocol all up to the next Sync is skipped.
    pub(super) fn failed(
        &mut self,
        sqlstate: &str,
        fatal: bool,
        now: Instant,
        emit: Emit<'_>,
    ) -> Result<(), WireError> {
        if self.paths.iter().any(|path| path.state.is_copying()) {
            // Data that comes later is not of this copy.
            self.copies.input.finish(emit)?;
        }
        self.failed = true;
        let bytes = std::mem::take(&mut self.bytes);
        let outcome = Outcome::Failed { sqlstate: sqlstate.into(), bytes };
        if !fatal {
            return self.outcome(Reply::Error, outcome, now, emit);
        }
        // It is the end, wherever the target is.
        for path in &mut self.paths {
            let whose = path.state.work(&self.units);
            path.attributions.push(Attribution::of(whose, now));
        }
        self.attribute(outcome, emit)
    }

    /// ReadyForQuery.
    pub(super) fn ready(&mut self, emit: Emit<'_>) -> Result<(), WireError> {
        self.noted(Reply::Ready, emit)?;
        if !std::mem::take(&mut self.failed) {
            return Ok(());
        }
        self.paths.iter_mut().for_each(|path| path.attributions.push(Attribution::default()));
        self.attribute(Outcome::Recovered, emit)
    }

    /// The session is over: what is undecided stays so.
    pub(super) fn finish(&mut self, emit: Emit<'_>) -> Result<(), WireError> {
        self.copies.input.finish(emit)?;
        self.copies.output.finish(emit)?;
        self.record_undecided(emit)
    }

    fn outcome(
        &mut self,
        reply: Reply,
        outcome: Outcome<'_>,
        now: Instant,
        emit: Emit<'_>,
    ) -> Result<(), WireError> {
        if !self.follow(reply, Some(now)) {
            self.lose(emit)?;
        }
        self.attribute(outcome, emit)?;
        self.decide(emit)
    }

    /// Follows an answer from every place, and rules out those that can't give it. Where none can,
    /// nothing changes and the answer is no.
    fn follow(&mut self, reply: Reply, outcome: Option<Instant>) -> bool {
        match &mut self.paths[..] {
            [] => true,
            [path] if reply != Reply::Error || !path.state.is_copying() => {
                let Some((state, work)) = path.state.after(reply, &self.units) else {
                    return false;
                };
                let before = std::mem::replace(&mut path.state, state.settled(&self.units));
                if reply == Reply::Error {
                    self.fates.lose(before.at..path.state.at);
                }
                path.attributions.extend(outcome.map(|now| Attribution::of(work, now)));
                self.units.forget_before(path.state.at);
                true
            }
            _ => self.follow_all(reply, outcome),
        }
    }

    fn follow_all(&mut self, reply: Reply, outcome: Option<Instant>) -> bool {
        let fails = |state: State| reply == Reply::Error && state.is_copying();
        let explains =
            |path: &Path| fails(path.state) || path.state.after(reply, &self.units).is_some();
        if !self.paths.iter().any(explains) {
            return false;
        }
        for Path { state, mut attributions } in std::mem::take(&mut self.paths) {
            let (mut places, work) = state.all_after(reply, &self.units, MOST_PATHS + 1);
            attributions.extend(outcome.map(|now| Attribution::of(work, now)));
            let last = places.pop();
            for place in places {
                self.add(state.at, place, attributions.clone());
            }
            if let Some(place) = last {
                self.add(state.at, place, attributions);
            }
        }
        self.forget();
        true
    }

    /// Adds a place. Where it is one of those that are followed, an earlier answer may belong to either.
    fn add(&mut self, before: u64, state: State, attributions: Vec<Attribution>) {
        let state = state.settled(&self.units);
        if state.is_skipping() {
            self.fates.lose(before..state.at);
        }
        match self.paths.iter_mut().find(|path| path.state == state) {
            Some(same) => {
                let both = same.attributions.iter_mut().zip(attributions);
                both.for_each(|(one, other)| *one = one.or(other));
            }
            None => self.paths.push(Path { state, attributions }),
        }
    }

    /// Passes over what has no effect, from every place.
    fn settle(&mut self) {
        for Path { state, attributions } in std::mem::take(&mut self.paths) {
            self.add(state.at, state, attributions);
        }
        self.forget();
    }

    fn forget(&mut self) {
        let oldest = self.paths.iter().map(|path| path.state.at).min();
        self.units.forget_before(oldest.unwrap_or_default());
    }

    /// Records an answer, or keeps it until it is known whose it is.
    fn attribute(&mut self, outcome: Outcome<'_>, emit: Emit<'_>) -> Result<(), WireError> {
        let newest = self.undecided.len();
        let whose = self.attribution(newest);
        if self.undecided.is_empty() && whose.is_certain() {
            self.paths.iter_mut().for_each(|path| path.attributions.clear());
            return outcome.record(whose, emit);
        }
        self.undecided.push(outcome.into_owned());
        if self.undecided.len() > MOST_UNDECIDED { self.record_undecided(emit) } else { Ok(()) }
    }

    /// To what an undecided answer may belong.
    fn attribution(&self, index: usize) -> Attribution {
        let all = self.paths.iter().filter_map(|path| path.attributions.get(index).copied());
        all.reduce(Attribution::or).unwrap_or_default()
    }

    /// Records what is decided by now.
    fn decide(&mut self, emit: Emit<'_>) -> Result<(), WireError> {
        match self.paths.len() {
            1 if !self.undecided.is_empty() => self.record_undecided(emit),
            0..=MOST_PATHS => Ok(()),
            _ => self.lose(emit),
        }
    }

    /// Records what came, with as much as is known of whose it is.
    fn record_undecided(&mut self, emit: Emit<'_>) -> Result<(), WireError> {
        for (index, outcome) in std::mem::take(&mut self.undecided).into_iter().enumerate() {
            outcome.record(self.attribution(index), emit)?;
        }
        self.paths.iter_mut().for_each(|path| path.attributions.clear());
        Ok(())
    }

    /// From here on it isn't known where the target is, and no outcome is.
    fn lose(&mut self, emit: Emit<'_>) -> Result<(), WireError> {
        self.record_undecided(emit)?;
        let open = self.paths.iter().filter_map(|path| path.state.oldest(&self.units));
        let from = open.min().unwrap_or(self.sent + 1);
        self.paths.clear();
        self.fates.lose(self.units.first()..self.units.end());
        self.units.clear();
        emit(Kind::Unknown { from, to: None })
    }
}

#[cfg(test)]
#[path = "flight/tests.rs"]
mod tests;
