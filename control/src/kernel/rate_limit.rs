//! How often one person asks: often enough for every honest program, and not so often that others
//! have to wait for their turn to be written down.
//!
//! Whoever asks faster is refused before anything is read or written, and the audit log has one event
//! of it in ten minutes, with how many were refused since the one before.

use std::num::NonZeroU32;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use policies::PrincipalId;

/// How many requests, edits and extensions of one person are taken in a minute.
pub(super) const A_MINUTE: u32 = 60;
/// How many of them at once, as of a program whose connections all open together.
const AT_ONCE: u32 = 300;
/// How long nothing more is written down about somebody who was refused.
const SILENCE: Duration = Duration::from_secs(600);

/// How often people ask.
pub(crate) struct RequestLimits {
    pub(super) each: DefaultKeyedRateLimiter<PrincipalId>,
    pub(super) recorded: DefaultKeyedRateLimiter<PrincipalId>,
    pub(super) refused: AtomicU64,
}

impl RequestLimits {
    pub(crate) fn new() -> Self {
        let number = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        let once = Quota::with_period(SILENCE).unwrap_or(Quota::per_minute(NonZeroU32::MIN));
        Self {
            each: RateLimiter::keyed(
                Quota::per_minute(number(A_MINUTE)).allow_burst(number(AT_ONCE)),
            ),
            recorded: RateLimiter::keyed(once),
            refused: AtomicU64::new(0),
        }
    }

    /// Forgets whose bound is whole again.
    pub(crate) fn forget(&self) {
        self.each.retain_recent();
        self.each.shrink_to_fit();
        self.recorded.retain_recent();
        self.recorded.shrink_to_fit();
    }
}
