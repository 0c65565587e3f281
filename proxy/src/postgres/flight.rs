//! What is under way in a session: messages that were sent and not yet answered, oldest first.
//!
//! The target answers in order, so this queue is a model of what it has still to do (protocol section
//! "Message Flow"). A simple query or call is over at its ReadyForQuery. A step (Parse, Bind, Describe,
//! Close) and an Execute have one answer each. An error in either skips everything up to the next
//! Sync. During `COPY … FROM STDIN` the target swallows each Sync until the copy ends.

use std::collections::VecDeque;

use tokio::time::Instant;

/// How many messages may be open before the client has to wait.
const MOST: usize = 65_536;
/// How many refusals are remembered at most.
const REFUSALS: usize = 32;
/// Room that an idle session keeps.
const KEPT: usize = 64;

/// A message that has an answer, or that ends something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Parse, Bind, Describe or Close.
    Step,
    Execute,
    /// A simple query.
    Query,
    /// A FunctionCall.
    Call,
    Sync,
    /// CopyDone or CopyFail, which has no answer of its own.
    CopyEnd,
}

#[derive(Debug)]
struct Unit {
    awaited: Awaited,
    n: u64,
    sent: Instant,
}

/// A message that was sent: its number, and that of the segment it is in, which ends with a Sync or
/// query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    number: u64,
    segment: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It was not yet answered.
    Open,
    /// The target did it.
    Taken,
    /// It was refused or skipped, as far as is known.
    Lost,
}

/// The open messages of a session.
#[derive(Debug, Default)]
pub(super) struct Flight {
    units: VecDeque<Unit>,
    sent: u64,
    /// Bytes of rows and COPY data since the last answer.
    bytes: u64,
    /// The target skips what comes until a Sync that hasn't been sent yet.
    skipping: bool,
    /// The target takes COPY data, and swallows each Sync until an end that hasn't been sent yet.
    copying: bool,
    /// Something failed since the last ReadyForQuery.
    failed: bool,
    /// How many messages were queued.
    queued: u64,
    /// How many segments are over.
    segment: u64,
    /// The last message that was sent, unless it is certain to be skipped.
    ticket: Option<Ticket>,
    /// The first and the last number of those that were refused or skipped together, newest last.
    lost: VecDeque<(u64, u64)>,
    /// Those up to this number count as lost unless they are settled: it was too long ago.
    forgotten: u64,
}

/// To which execution an answer belongs, and what it cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// The execution's number; 0 where the answer belongs to none.
    pub(super) n: u64,
    pub(super) bytes: u64,
    pub(super) micros: u64,
}

impl Flight {
    /// Notes a message. An execution gets its number, which is returned.
    pub(super) fn send(&mut self, awaited: Awaited, now: Instant) -> u64 {
        if matches!(awaited, Awaited::Execute | Awaited::Query | Awaited::Call) {
            self.sent += 1;
        }
        if awaited == Awaited::CopyEnd && self.copying {
            self.copying = false;
        } else if !(self.copying && awaited == Awaited::Sync) {
            self.queue(awaited, now);
        }
        self.sent
    }

    fn queue(&mut self, awaited: Awaited, now: Instant) {
        self.ticket = None;
        if matches!(awaited, Awaited::Query | Awaited::Call | Awaited::Sync) {
            self.segment += 1;
        }
        if self.skipping && awaited != Awaited::Sync {
            return;
        }
        self.skipping = false;
        self.queued += 1;
        self.ticket = Some(Ticket { number: self.queued, segment: self.segment });
        self.units.push_back(Unit { awaited, n: self.sent, sent: now });
    }

    /// The message that was sent last; none where the target skips it for certain.
    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    /// Whether an error in this message would skip one that is sent now.
    pub(super) fn is_in_this_segment(&self, ticket: Ticket) -> bool {
        ticket.segment == self.segment
    }

    /// What became of a message.
    pub(super) fn fate(&self, ticket: Ticket) -> Fate {
        let number = ticket.number;
        if number > self.over() {
            Fate::Open
        } else if number <= self.forgotten
            || self.lost.iter().any(|(first, last)| (*first..=*last).contains(&number))
        {
            Fate::Lost
        } else {
            Fate::Taken
        }
    }

    /// How many messages are no longer open.
    fn over(&self) -> u64 {
        self.queued - self.units.len() as u64
    }

    /// Notes that these messages were refused or skipped.
    fn lose(&mut self, first: u64, last: u64) {
        if first <= last {
            self.lost.push_back((first, last));
        }
        if self.lost.len() > REFUSALS {
            self.forgotten = self.lost.pop_front().map_or(self.forgotten, |(_, last)| last);
        }
    }

    /// How many executions there were.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn is_full(&self) -> bool {
        self.units.len() >= MOST
    }

    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Gives memory back.
    pub(super) fn rest(&mut self) {
        if self.units.is_empty() {
            self.units.shrink_to(KEPT);
        }
    }

    /// Rows or COPY data came.
    pub(super) fn carried(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// A step was answered. RowDescription and NoData answer a query, too, and end nothing then.
    pub(super) fn stepped(&mut self) {
        self.skip_copy_ends();
        self.units.pop_front_if(|unit| unit.awaited == Awaited::Step);
    }

    /// A statement was answered well.
    pub(super) fn answered(&mut self, now: Instant) -> Answer {
        self.skip_copy_ends();
        self.copying = false;
        let n = self.units.front().map(|unit| unit.n);
        let answer = self.answer(n, now);
        self.units.pop_front_if(|unit| unit.awaited == Awaited::Execute);
        answer
    }

    /// Something was refused; in the extended protocol all up to the next Sync is skipped.
    pub(super) fn failed(&mut self, now: Instant) -> Answer {
        self.skip_copy_ends();
        self.copying = false;
        self.failed = true;
        let extended = |unit: &mut Unit| matches!(unit.awaited, Awaited::Step | Awaited::Execute);
        if !self.units.front_mut().is_some_and(extended) {
            let n = self.units.front().filter(|unit| unit.awaited != Awaited::Sync);
            return self.answer(n.map(|unit| unit.n), now);
        }
        // The refusal of a step is that of the execution that it was for.
        let mut units = self.units.iter().take_while(|unit| unit.awaited != Awaited::Sync);
        let n = units.find(|unit| unit.awaited == Awaited::Execute).map(|unit| unit.n);
        let answer = self.answer(n, now);
        let over = self.over();
        while self.units.pop_front_if(|unit| unit.awaited != Awaited::Sync).is_some() {}
        self.lose(over + 1, self.over());
        self.skipping = self.units.is_empty();
        answer
    }

    /// The target takes COPY data: whatever Sync it got or gets before the end, it swallows.
    pub(super) fn copies_in(&mut self) {
        self.skip_copy_ends();
        let Some(copy) = self.units.pop_front() else { return };
        while self.units.pop_front_if(|unit| unit.awaited == Awaited::Sync).is_some() {}
        let ended = self.units.pop_front_if(|unit| unit.awaited == Awaited::CopyEnd);
        self.copying = ended.is_none();
        self.units.push_front(copy);
    }

    /// ReadyForQuery: the oldest query, call or Sync is over. Whether something had failed before.
    pub(super) fn ready(&mut self) -> bool {
        let first = self.over() + 1;
        let mut last = self.over();
        while let Some(unit) = self.units.pop_front() {
            if matches!(unit.awaited, Awaited::Query | Awaited::Call | Awaited::Sync) {
                break;
            }
            last += 1;
        }
        self.lose(first, last);
        (self.skipping, self.copying) = (false, false);
        std::mem::take(&mut self.failed)
    }

    /// The end of a copy that never began is ignored by the target.
    fn skip_copy_ends(&mut self) {
        while self.units.pop_front_if(|unit| unit.awaited == Awaited::CopyEnd).is_some() {}
    }

    fn answer(&mut self, n: Option<u64>, now: Instant) -> Answer {
        let bytes = std::mem::take(&mut self.bytes);
        let sent = self.units.front().map_or(now, |unit| unit.sent);
        let spent = now.saturating_duration_since(sent).as_micros();
        Answer { n: n.unwrap_or(0), bytes, micros: u64::try_from(spent).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::Awaited::{CopyEnd, Execute, Query, Step, Sync};
    use super::*;

    fn flight(sent: &[Awaited]) -> (Flight, Instant) {
        let (mut flight, now) = (Flight::default(), Instant::now());
        for awaited in sent {
            flight.send(*awaited, now);
        }
        (flight, now)
    }

    #[tokio::test]
    async fn a_query_of_several_statements_has_several_answers() {
        let (mut flight, now) = flight(&[Query, Query]);
        assert_eq!([flight.answered(now).n, flight.answered(now).n], [1, 1]);
        assert!(!flight.ready());
        assert_eq!(flight.answered(now).n, 2);
    }

    #[tokio::test]
    async fn each_execute_of_a_pipeline_has_one_answer() {
        let (mut flight, now) = flight(&[Step, Execute, Step, Execute, Sync, Execute, Sync]);
        flight.stepped();
        assert_eq!(flight.answered(now).n, 1);
        flight.stepped();
        assert_eq!(flight.answered(now).n, 2);
        flight.ready();
        assert_eq!(flight.answered(now).n, 3);
        flight.ready();
        assert!(flight.is_empty());
    }

    #[tokio::test]
    async fn an_error_skips_to_the_sync_and_is_told_when_it_is_over() {
        let (mut flight, now) = flight(&[Execute, Execute, Query, Sync, Execute, Sync]);
        assert_eq!(flight.failed(now).n, 1);
        assert!(flight.ready());
        assert_eq!(flight.answered(now).n, 4);
        assert!(!flight.ready());
    }

    #[tokio::test]
    async fn a_refused_lone_parse_is_not_the_failure_of_what_follows() {
        let (mut flight, now) = flight(&[Step, Sync, Step, Step, Execute, Sync]);
        assert_eq!(flight.failed(now).n, 0);
        assert!(flight.ready());
        flight.stepped();
        flight.stepped();
        assert_eq!(flight.answered(now).n, 1);
    }

    #[tokio::test]
    async fn what_comes_before_the_sync_of_a_failed_segment_is_never_awaited() {
        let (mut flight, now) = flight(&[Execute]);
        flight.failed(now);
        for _ in 0..2 * MOST {
            flight.send(Execute, now);
        }
        flight.send(Query, now);
        assert!(!flight.is_full() && flight.is_empty());
        flight.send(Sync, now);
        assert!(flight.ready());
        let n = flight.send(Query, now);
        assert_eq!(flight.answered(now).n, n);
    }

    #[tokio::test]
    async fn a_sync_that_copy_swallows_does_not_shift_the_answers() {
        let (mut early, now) = flight(&[Step, Execute, Sync]);
        early.stepped();
        early.copies_in();
        for awaited in [Sync, CopyEnd, Sync] {
            early.send(awaited, now);
        }
        let (mut late, _) = flight(&[Execute, Sync, CopyEnd, Sync]);
        late.copies_in();
        for mut flight in [early, late] {
            assert_eq!(flight.answered(now).n, 1);
            flight.ready();
            assert!(flight.is_empty());
            flight.send(Query, now);
            assert_eq!(flight.answered(now).n, 2);
        }
    }

    #[tokio::test]
    async fn an_end_of_a_copy_that_never_began_is_ignored() {
        let (mut flight, now) = flight(&[CopyEnd, CopyEnd, Query]);
        assert_eq!(flight.answered(now).n, 1);
        flight.ready();
        assert!(flight.is_empty());
    }

    #[tokio::test]
    async fn what_is_refused_or_skipped_is_told_from_what_is_taken() {
        let (mut flight, now) = flight(&[]);
        let sent = |flight: &mut Flight, awaited| {
            flight.send(awaited, now);
            flight.ticket()
        };
        let taken = sent(&mut flight, Step).unwrap();
        assert_eq!(flight.fate(taken), Fate::Open);
        flight.stepped();
        let refused = sent(&mut flight, Step).unwrap();
        let after = sent(&mut flight, Execute).unwrap();
        assert!(flight.is_in_this_segment(taken));
        flight.failed(now);
        assert_eq!(sent(&mut flight, Step), None, "it is skipped for certain");
        sent(&mut flight, Sync);
        assert!(!flight.is_in_this_segment(refused));
        let next = sent(&mut flight, Step).unwrap();
        flight.ready();
        flight.stepped();
        assert_eq!(
            [taken, refused, after, next].map(|ticket| flight.fate(ticket)),
            [Fate::Taken, Fate::Lost, Fate::Lost, Fate::Taken]
        );
        for _ in 0..2 * REFUSALS {
            sent(&mut flight, Step);
            flight.failed(now);
            sent(&mut flight, Sync);
            flight.ready();
        }
        assert_eq!(flight.fate(next), Fate::Lost, "it was too long ago");
        assert_eq!(flight.lost.len(), REFUSALS);
    }

    #[tokio::test]
    async fn an_error_outside_any_execution_belongs_to_none() {
        let (mut flight, now) = flight(&[]);
        flight.carried(7);
        assert_eq!(flight.failed(now), Answer { n: 0, bytes: 7, micros: 0 });
        flight.ready();
    }
}
