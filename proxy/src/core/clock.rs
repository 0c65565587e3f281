//! The one place that reads clocks.
//!
//! Decisions about grants use [`Clock::now`]: the later of the wall clock and of the wall time at
//! start plus the monotonic time since. A wall clock that is set back thus never lengthens a grant;
//! one that is set forward, or a suspended machine, ends it early. Timers sleep on monotonic time,
//! so the housekeeping looks at [`Clock::jump`] now and then and wakes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use policies::Timestamp;
use tokio::time::Instant;

/// The longest that a timer sleeps before it looks again; also keeps instants from overflowing.
const LONGEST_SLEEP: Duration = Duration::from_secs(24 * 3600);
/// A wall clock that is off by less was adjusted, not set.
const JUMP_MS: i64 = 2_000;

/// Wall and monotonic time, of which a copy is cheap.
#[derive(Debug, Clone)]
pub struct Clock(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: Instant,
    wall_at_start: i64,
    wall: Wall,
    /// By how much wall time was ahead of monotonic time when it was last looked at.
    ahead: AtomicI64,
}

#[derive(Debug)]
enum Wall {
    System,
    /// Monotonic time plus this many milliseconds.
    #[cfg(test)]
    Ahead(AtomicI64),
}

impl Clock {
    /// The system's clocks.
    #[must_use]
    pub fn system() -> Self {
        Self::starting(system_wall(), Wall::System)
    }

    /// A clock that follows the runtime's, which tests can pause, from this instant on.
    #[cfg(test)]
    pub(crate) fn paused(at: Timestamp) -> Self {
        Self::starting(at.millis(), Wall::Ahead(AtomicI64::new(0)))
    }

    fn starting(wall_at_start: i64, wall: Wall) -> Self {
        Self(Arc::new(Inner {
            started: monotonic(),
            wall_at_start,
            wall,
            ahead: AtomicI64::new(0),
        }))
    }

    /// Now, for every decision.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.reading().0
    }

    /// Now, and the monotonic instant at which it is so.
    #[must_use]
    pub fn reading(&self) -> (Timestamp, Instant) {
        let instant = monotonic();
        (Timestamp::from_millis(self.wall().max(self.steady(instant))), instant)
    }

    /// The monotonic instant, to measure with.
    #[must_use]
    pub fn instant(&self) -> Instant {
        monotonic()
    }

    /// When a timer for this time has to go off, as things stand; at most a day ahead.
    #[must_use]
    pub fn deadline(&self, at: Timestamp) -> Instant {
        let span = self.now().until(at).duration().min(LONGEST_SLEEP);
        monotonic() + span
    }

    /// By how many milliseconds the wall clock was set since the last call, where it was.
    #[must_use]
    pub fn jump(&self) -> Option<i64> {
        let ahead = self.wall().saturating_sub(self.steady(monotonic()));
        let jump = ahead.saturating_sub(self.0.ahead.load(Ordering::Relaxed));
        let jumped = jump.saturating_abs() > JUMP_MS;
        // Small adjustments are followed, so that they don't add up to a jump.
        self.0.ahead.store(ahead, Ordering::Relaxed);
        jumped.then_some(jump)
    }

    /// Sets the wall clock of a test forward or back.
    #[cfg(test)]
    pub(crate) fn step(&self, millis: i64) {
        match &self.0.wall {
            Wall::Ahead(ahead) => ahead.fetch_add(millis, Ordering::Relaxed),
            Wall::System => 0,
        };
    }

    fn steady(&self, at: Instant) -> i64 {
        let elapsed = at.saturating_duration_since(self.0.started);
        let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        self.0.wall_at_start.saturating_add(millis)
    }

    fn wall(&self) -> i64 {
        match &self.0.wall {
            Wall::System => system_wall(),
            #[cfg(test)]
            Wall::Ahead(ahead) => {
                self.steady(monotonic()).saturating_add(ahead.load(Ordering::Relaxed))
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the edge at which wall time is read")]
fn system_wall() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// The runtime's instant: the system's, except in tests that pause it.
fn monotonic() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_set_back_keeps_running_and_one_set_forward_is_followed() {
        let clock = Clock::paused(at(1_000_000));
        clock.step(-500_000);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.now(), at(1_010_000));
        clock.step(600_000);
        assert_eq!(clock.now(), at(1_110_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_is_reported_once_and_a_small_adjustment_is_none() {
        let clock = Clock::paused(at(0));
        assert_eq!(clock.jump(), None);
        for _ in 0..4 {
            clock.step(900);
            assert_eq!(clock.jump(), None);
        }
        clock.step(-60_000);
        assert_eq!(clock.jump(), Some(-60_000));
        assert_eq!(clock.jump(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_is_reached_when_its_time_is() {
        let clock = Clock::paused(at(0));
        tokio::time::sleep_until(clock.deadline(at(5_000))).await;
        assert_eq!(clock.now(), at(5_000));
        assert!(clock.deadline(at(i64::MAX)) > clock.instant());
    }
}
