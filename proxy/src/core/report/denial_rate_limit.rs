//! How many denials are reported: unauthenticated clients must not grow the audit log without bound.
//!
//! A network is reported once a second for each reason, after a burst, and all together a few dozen times a
//! second. Authenticated and unauthenticated clients have limits of their own, so that a flood of the one never
//! hides the other. What is left out is counted, and reported with the next of its kind.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Of one network and reason: one a second, ten at once.
const ONE: Rate = Rate { every: Duration::from_secs(1), burst: 10 };
/// Of all unauthenticated clients: 40 a second.
const UNAUTHENTICATED: Rate = Rate { every: Duration::from_millis(25), burst: 40 };
/// Of all authenticated clients: 10 a second.
const AUTHENTICATED: Rate = Rate { every: Duration::from_millis(100), burst: 10 };
/// How many kinds are remembered at most.
const KINDS: usize = 4_096;
/// How often quiet kinds are forgotten at most.
const SWEEP: Duration = Duration::from_secs(1);
/// The longest detail to which a count is added, in characters.
const DETAIL_MAX: usize = 160;

/// A network, and why it was denied.
type Kind = (IpAddr, &'static str);

/// The rates of denials.
#[derive(Debug)]
pub(super) struct DenialRateLimits {
    unauthenticated: RateLimit,
    authenticated: RateLimit,
}

/// How many of the same kind were left out since the last one that passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// From this network.
    pub(super) here: u64,
    /// From networks that are remembered no more.
    pub(super) elsewhere: u64,
}

#[derive(Debug)]
struct RateLimit(Mutex<State>);

#[derive(Debug)]
struct State {
    rate: Rate,
    all: Bucket,
    kinds: HashMap<Kind, Counted>,
    /// By reason, of which there are a few.
    forgotten: HashMap<&'static str, u64>,
    swept: Instant,
}

#[derive(Debug)]
struct Counted {
    bucket: Bucket,
    left_out: u64,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    every: Duration,
    burst: u32,
}

/// When all that passed would have passed at the even rate.
#[derive(Debug, Clone, Copy)]
struct Bucket(Instant);

impl DenialRateLimits {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            unauthenticated: RateLimit::new(UNAUTHENTICATED, now),
            authenticated: RateLimit::new(AUTHENTICATED, now),
        }
    }

    /// Whether this one passes, and how many did not since the last one that did.
    pub(super) fn pass(&self, kind: Kind, is_authenticated: bool, now: Instant) -> Option<LeftOut> {
        let limit = if is_authenticated { &self.authenticated } else { &self.unauthenticated };
        limit.0.lock().unwrap_or_else(PoisonError::into_inner).pass(kind, now)
    }
}

impl RateLimit {
    fn new(rate: Rate, now: Instant) -> Self {
        Self(Mutex::new(State {
            rate,
            all: Bucket(now),
            kinds: HashMap::new(),
            forgotten: HashMap::new(),
            swept: now,
        }))
    }
}

impl State {
    fn pass(&mut self, kind: Kind, now: Instant) -> Option<LeftOut> {
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(&kind) {
            self.sweep(now);
            if self.kinds.len() >= KINDS {
                *self.forgotten.entry(kind.1).or_default() += 1;
                return None;
            }
        }
        let fresh = Counted { bucket: Bucket(now), left_out: 0 };
        let counted = self.kinds.entry(kind).or_insert(fresh);
        if !(counted.bucket.has_room(ONE, now) && self.all.has_room(self.rate, now)) {
            counted.left_out += 1;
            return None;
        }
        counted.bucket.take(ONE, now);
        self.all.take(self.rate, now);
        let here = std::mem::take(&mut counted.left_out);
        Some(LeftOut { here, elsewhere: self.forgotten.remove(kind.1).unwrap_or(0) })
    }

    /// Forgets the kinds that were quiet for so long that they may have a whole burst again.
    fn sweep(&mut self, now: Instant) {
        if now.saturating_duration_since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        let forgotten = &mut self.forgotten;
        self.kinds.retain(|(_, reason), counted| {
            let is_quiet = counted.bucket.0 <= now;
            if is_quiet && counted.left_out > 0 {
                *forgotten.entry(reason).or_default() += counted.left_out;
            }
            !is_quiet
        });
    }
}

impl Bucket {
    fn has_room(self, rate: Rate, now: Instant) -> bool {
        let ahead = self.0.saturating_duration_since(now);
        ahead <= rate.every.saturating_mul(rate.burst.saturating_sub(1))
    }

    fn take(&mut self, rate: Rate, now: Instant) {
        self.0 = self.0.max(now) + rate.every;
    }
}

impl LeftOut {
    /// What was denied, and that there was more of it.
    pub(super) fn added_to(self, detail: String) -> String {
        let more = match (self.here, self.elsewhere) {
            (0, 0) => return detail,
            (here, 0) => format!("and {here} more like it"),
            (0, elsewhere) => format!("and {elsewhere} more like it from elsewhere"),
            (here, elsewhere) => {
                format!("and {here} more like it, and {elsewhere} from elsewhere")
            }
        };
        // Long details are clipped where they are kept; this must not be what is lost.
        let detail: String = detail.chars().take(DETAIL_MAX).collect();
        if detail.is_empty() { more } else { format!("{detail}; {more}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_network_is_reported_ten_times_and_then_once_a_second_for_each_reason() {
        let now = Instant::now();
        let limits = DenialRateLimits::new(now);
        let pass = |reason, now| limits.pass((address(1), reason), false, now);
        assert_eq!((0..1_000).filter_map(|_| pass("no-grant", now)).count(), 10);
        assert!(pass("unknown-target", now).is_some());
        let later = pass("no-grant", now + secs(1));
        assert_eq!(later, Some(LeftOut { here: 990, elsewhere: 0 }));
        assert_eq!(pass("no-grant", now + secs(1)), None);
        assert_eq!(pass("no-grant", now + secs(2)), Some(LeftOut { here: 1, elsewhere: 0 }));
    }

    #[test]
    fn in_all_a_few_dozen_a_second_are_reported_and_floods_hide_no_authenticated_client() {
        let now = Instant::now();
        let limits = DenialRateLimits::new(now);
        let unauthenticated = |n, now| limits.pass((address(n), "no-grant"), false, now).is_some();
        assert_eq!((0..1_000).filter(|n| unauthenticated(*n, now)).count(), 40);
        assert!(limits.pass((address(1), "no-grant"), true, now).is_some());
        let next = (0..1_000).filter(|n| unauthenticated(*n, now + secs(1))).count();
        assert_eq!(next, 40);
    }

    #[test]
    fn memory_is_bounded_and_every_one_that_is_left_out_is_counted() {
        let now = Instant::now();
        let limits = DenialRateLimits::new(now);
        let (mut reported, mut left_out) = (0_u64, 0);
        let mut report = |n, now| {
            if let Some(more) = limits.pass((address(n), "no-grant"), false, now) {
                reported += 1;
                left_out += more.here + more.elsewhere;
            }
        };
        (0..50_000).for_each(|n| report(n, now));
        (50_000..50_010).for_each(|n| report(n, now + secs(60)));
        assert_eq!((reported, left_out), (50, 50_010 - 50));
        assert!(limits.unauthenticated.0.lock().unwrap().kinds.len() <= KINDS);
    }

    #[test]
    fn the_count_is_added_to_the_detail_and_not_lost_behind_a_long_one() {
        let detail_with =
            |here, elsewhere, detail: &str| LeftOut { here, elsewhere }.added_to(detail.to_owned());
        assert_eq!(detail_with(0, 0, "no lease"), "no lease");
        assert_eq!(detail_with(3, 0, "no lease"), "no lease; and 3 more like it");
        assert_eq!(detail_with(0, 2, ""), "and 2 more like it from elsewhere");
        assert_eq!(detail_with(3, 2, ""), "and 3 more like it, and 2 from elsewhere");
        let long = detail_with(u64::MAX, u64::MAX, &"x".repeat(1_000));
        assert!(long.len() <= 256 && long.ends_with(" from elsewhere"), "{long}");
    }
}
