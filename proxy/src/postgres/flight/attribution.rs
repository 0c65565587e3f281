//! To which execution an answer belongs, and what is recorded of it.

use std::borrow::Cow;

use audit::Kind;
use tokio::time::Instant;

use super::super::wire::{Emit, WireError};
use super::state::Work;

/// An execution, none, or a range of executions where that isn't certain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Attribution {
    /// 0 where it may be none.
    least: u64,
    most: u64,
    micros: u64,
}

impl Attribution {
    pub(super) fn of(work: Option<Work>, now: Instant) -> Self {
        let Some(work) = work else { return Self::default() };
        let spent = now.saturating_duration_since(work.sent).as_micros();
        let micros = u64::try_from(spent).unwrap_or(u64::MAX);
        Self { least: work.n, most: work.n, micros }
    }

    /// Either of both.
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            least: self.least.min(other.least),
            most: self.most.max(other.most),
            micros: self.micros.max(other.micros),
        }
    }

    pub(super) fn is_certain(self) -> bool {
        self.least == self.most
    }
}

/// An answer that is recorded.
#[derive(Debug)]
pub(super) enum Outcome<'a> {
    Done { tag: Cow<'a, str>, rows: u64, bytes: u64 },
    Failed { sqlstate: Cow<'a, str>, bytes: u64 },
    Recovered,
}

impl Outcome<'_> {
    pub(super) fn into_owned(self) -> Outcome<'static> {
        match self {
            Self::Done { tag, rows, bytes } => {
                Outcome::Done { tag: tag.into_owned().into(), rows, bytes }
            }
            Self::Failed { sqlstate, bytes } => {
                Outcome::Failed { sqlstate: sqlstate.into_owned().into(), bytes }
            }
            Self::Recovered => Outcome::Recovered,
        }
    }

    /// Records it as the outcome of what it belongs to; where that isn't certain, as unattributed, behind
    /// all that it may belong to.
    pub(super) fn record(self, whose: Attribution, emit: Emit<'_>) -> Result<(), WireError> {
        let Attribution { least, most, micros } = whose;
        let n = if whose.is_certain() { most } else { 0 };
        if !whose.is_certain() {
            emit(Kind::Unknown { from: least.max(1), to: Some(most) })?;
        }
        emit(match self {
            Self::Done { tag, rows, bytes } => Kind::Done { n, tag, rows, bytes, micros },
            Self::Failed { sqlstate, bytes } => Kind::Failed { n, sqlstate, bytes, micros },
            Self::Recovered => Kind::Recovered,
        })
    }
}
