//! How much of a feed is read, and for how long; and a turn as the feed has it.

use std::time::{Duration, Instant};

use policies::Timestamp;

/// How often all events of a feed together may name somebody.
pub(crate) const MOST_NAMED: usize = 200_000;

/// How often one series, and all of a feed, may repeat before the time that is asked about ends.
pub(super) const MOST_REPEATS: usize = 20_000;

pub(super) const MOST_REPEATS_IN_ALL: usize = 1_000_000;

/// Why an event is left out, or a whole feed.
pub(crate) type Fault = &'static str;

pub(super) const TOO_MUCH: Fault = "it repeats too often, or reading it takes too long";

/// A turn as the feed has it: whom it names, since when, until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) names: Vec<String>,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// What is left of the bounds of a feed.
pub(super) struct Budget {
    named: usize,
    repeats: usize,
    ends: Instant,
}

impl Budget {
    #[expect(clippy::disallowed_methods, reason = "bounds the work, and decides about nobody")]
    pub(super) fn within(time: Duration) -> Self {
        let ends = Instant::now() + time;
        Self { named: MOST_NAMED, repeats: MOST_REPEATS_IN_ALL, ends }
    }

    /// Looks whether there is time for one more step.
    #[expect(clippy::disallowed_methods, reason = "bounds the work, and decides about nobody")]
    pub(super) fn repeat(&mut self) -> Result<(), Fault> {
        self.repeats = self.repeats.checked_sub(1).ok_or(TOO_MUCH)?;
        if Instant::now() < self.ends { Ok(()) } else { Err(TOO_MUCH) }
    }

    pub(super) fn name(&mut self, names: usize) -> Result<(), Fault> {
        self.named = self.named.checked_sub(names.max(1)).ok_or(TOO_MUCH)?;
        Ok(())
    }
}

/// The time that is asked about.
pub(crate) type Span = (Timestamp, Timestamp);
