//! What is under way in a session: executions that were sent and not yet answered.
//!
//! Answers come in the order of the questions. A simple query may have several, up to its
//! ReadyForQuery; an Execute has one; an error skips everything up to the next Sync. A Sync that the
//! target swallowed, as it does during `COPY … FROM STDIN`, is recognised by the next answer, which
//! belongs to what stands behind it.

use std::collections::VecDeque;

use tokio::time::Instant;

/// How many questions may be open before the client has to wait.
const MOST: usize = 65_536;

/// What is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Answers to a simple query.
    Query,
    /// The answer to an Execute.
    Execute,
    /// The answer to a FunctionCall.
    Call,
    /// The ReadyForQuery of a Sync.
    Sync,
}

#[derive(Debug)]
struct Unit {
    awaited: Awaited,
    n: u64,
    sent: Instant,
}

/// The open questions of a session, oldest first.
#[derive(Debug, Default)]
pub(super) struct Flight {
    units: VecDeque<Unit>,
    sent: u64,
    /// Bytes of rows and COPY data since the last answer.
    bytes: u64,
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
    /// Notes an execution, and gives it its number.
    pub(super) fn send(&mut self, awaited: Awaited, now: Instant) -> u64 {
        if awaited != Awaited::Sync {
            self.sent += 1;
        }
        self.units.push_back(Unit { awaited, n: self.sent, sent: now });
        self.sent
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

    /// Rows or COPY data came.
    pub(super) fn carried(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// A statement was answered well.
    pub(super) fn answered(&mut self, now: Instant) -> Answer {
        let answer = self.answer(now);
        self.units.pop_front_if(|unit| unit.awaited == Awaited::Execute);
        answer
    }

    /// A statement was refused; in the extended protocol all up to the next Sync is skipped.
    pub(super) fn failed(&mut self, now: Instant) -> Answer {
        let answer = self.answer(now);
        while self.units.pop_front_if(|unit| unit.awaited == Awaited::Execute).is_some() {}
        answer
    }

    /// ReadyForQuery: the oldest query, call or Sync is over.
    pub(super) fn ready(&mut self) {
        while let Some(unit) = self.units.pop_front() {
            if unit.awaited != Awaited::Execute {
                break;
            }
        }
    }

    fn answer(&mut self, now: Instant) -> Answer {
        let bytes = std::mem::take(&mut self.bytes);
        while self.has_question()
            && self.units.pop_front_if(|unit| unit.awaited == Awaited::Sync).is_some()
        {}
        match self.units.front().filter(|unit| unit.awaited != Awaited::Sync) {
            Some(unit) => {
                let spent = now.saturating_duration_since(unit.sent).as_micros();
                Answer { n: unit.n, bytes, micros: u64::try_from(spent).unwrap_or(u64::MAX) }
            }
            None => Answer { n: 0, bytes, micros: 0 },
        }
    }

    fn has_question(&self) -> bool {
        self.units.iter().any(|unit| unit.awaited != Awaited::Sync)
    }
}

#[cfg(test)]
mod tests {
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
        let (mut flight, now) = flight(&[Awaited::Query, Awaited::Query]);
        assert_eq!([flight.answered(now).n, flight.answered(now).n], [1, 1]);
        flight.ready();
        assert_eq!(flight.answered(now).n, 2);
    }

    #[tokio::test]
    async fn each_execute_of_a_pipeline_has_one_answer() {
        use Awaited::{Execute, Sync};
        let (mut flight, now) = flight(&[Execute, Execute, Sync, Execute, Sync]);
        assert_eq!([flight.answered(now).n, flight.answered(now).n], [1, 2]);
        flight.ready();
        assert_eq!(flight.answered(now).n, 3);
        flight.ready();
        assert!(flight.is_empty());
    }

    #[tokio::test]
    async fn an_error_skips_to_the_sync() {
        use Awaited::{Execute, Sync};
        let (mut flight, now) = flight(&[Execute, Execute, Sync, Execute, Sync]);
        assert_eq!(flight.failed(now).n, 1);
        flight.ready();
        assert_eq!(flight.answered(now).n, 3);
    }

    #[tokio::test]
    async fn a_sync_that_copy_swallowed_does_not_shift_the_answers() {
        use Awaited::{Execute, Query, Sync};
        let (mut flight, now) = flight(&[Execute, Sync, Sync]);
        assert_eq!(flight.answered(now).n, 1);
        flight.ready();
        flight.send(Query, now);
        assert_eq!(flight.answered(now).n, 2);
        flight.ready();
        assert!(flight.is_empty());
    }

    #[tokio::test]
    async fn an_error_outside_any_execution_belongs_to_none() {
        let (mut flight, now) = flight(&[]);
        flight.carried(7);
        assert_eq!(flight.failed(now), Answer { n: 0, bytes: 7, micros: 0 });
        flight.ready();
    }
}
