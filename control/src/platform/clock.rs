//! The edge at which control reads the time. Everything else is handed it.
//!
//! The machine's time is the later of the wall clock and of the wall time at start plus the monotonic
//! time since, as at the proxies: a clock that is set back never makes anything last longer, and one
//! that is set forward, or a machine that slept, ends it early.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use policies::{Timestamp, Ttl};

/// Wall time in milliseconds: the system's, or one that stands still until it is moved.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System(Start),
    Fixed(Arc<AtomicI64>),
}

/// When a clock of the machine's began to be looked at.
#[derive(Debug, Clone, Copy)]
struct Start {
    wall: i64,
    monotonic: Instant,
}

impl Start {
    /// The time by a wall clock that shows this, so long after the start.
    fn later(&self, wall: i64, since: Duration) -> i64 {
        let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        wall.max(self.wall.saturating_add(since))
    }
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System(Start { wall: system_millis(), monotonic: instant() }))
    }

    /// A clock that stands at `at`. Its copies move together.
    #[must_use]
    pub fn fixed(at: Timestamp) -> Self {
        Self(Source::Fixed(Arc::new(AtomicI64::new(at.millis()))))
    }

    /// Moves a fixed clock; the machine's own isn't ours to move.
    pub fn advance(&self, by: Ttl) {
        match &self.0 {
            Source::System(_) => {}
            Source::Fixed(at) => {
                at.fetch_add(by.millis(), Ordering::SeqCst);
            }
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(match &self.0 {
            Source::System(start) => {
                start.later(system_millis(), instant().duration_since(start.monotonic))
            }
            Source::Fixed(at) => at.load(Ordering::SeqCst),
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the edge")]
fn system_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX))
}

#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_and_one_that_is_set_forward_is_believed() {
        let start = Start { wall: 1_000_000, monotonic: instant() };
        for (shown, since, now) in [
            (1_060_000, 60, 1_060_000),
            (400_000, 60, 1_060_000),
            (9_000_000, 60, 9_000_000),
            // Set forward and back again: as much as really passed.
            (1_090_000, 90, 1_090_000),
            (-5, 0, 1_000_000),
        ] {
            assert_eq!(start.later(shown, Duration::from_secs(since)), now, "{shown}");
        }
        assert_eq!(start.later(0, Duration::MAX), i64::MAX);
    }
}
