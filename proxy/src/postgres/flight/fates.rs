//! What became of messages: done by the target, refused or skipped, or not known yet.

use std::collections::VecDeque;
use std::ops::Range;

use super::state::Awaited;

/// How many refusals are remembered at most.
const REFUSALS: usize = 32;

/// A message that was sent: its number, and that of the segment it is in, which ends with a Sync or
/// query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::postgres) struct Ticket {
    number: u64,
    segment: u64,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::postgres) enum Fate {
    /// It was not yet answered.
    Open,
    /// The target did it.
    Taken,
    /// It was refused or skipped, as far as is known.
    Lost,
}

/// Which messages were refused or skipped.
#[derive(Debug, Default)]
pub(super) struct Fates {
    /// How many segments are over.
    segment: u64,
    /// The last message that was sent, unless it is certain to be skipped.
    ticket: Option<Ticket>,
    /// Those that were refused or skipped together, newest last.
    lost: VecDeque<Range<u64>>,
    /// Those before this number count as lost unless they are settled: it was too long ago.
    forgotten: u64,
}

impl Fates {
    /// Notes a message, with its number where it may have an effect.
    pub(super) fn send(&mut self, awaited: Awaited, number: Option<u64>) {
        if matches!(awaited, Awaited::Query | Awaited::Call | Awaited::Sync) {
            self.segment += 1;
        }
        self.ticket = number.map(|number| Ticket { number, segment: self.segment });
    }

    pub(super) fn ticket(&self) -> Option<Ticket> {
        self.ticket
    }

    pub(super) fn is_in_this_segment(&self, ticket: Ticket) -> bool {
        ticket.segment == self.segment
    }

    /// What became of a message, where all before this one were answered.
    pub(super) fn fate(&self, ticket: Ticket, open: u64) -> Fate {
        let number = ticket.number;
        if number >= open {
            Fate::Open
        } else if number < self.forgotten || self.lost.iter().any(|lost| lost.contains(&number)) {
            Fate::Lost
        } else {
            Fate::Taken
        }
    }

    /// Notes that these messages were refused or skipped, or may have been.
    pub(super) fn lose(&mut self, lost: Range<u64>) {
        if !lost.is_empty() {
            self.lost.push_back(lost);
        }
        if self.lost.len() > REFUSALS {
            self.forgotten = self.lost.pop_front().map_or(self.forgotten, |lost| lost.end);
        }
    }
}
