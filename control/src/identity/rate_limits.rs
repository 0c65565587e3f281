//! How often somebody may try what proves who they are.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use accept::network;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use ipnet::IpNet;
use policies::PrincipalId;

use crate::model::error::TooMany;

/// How often something may be tried. The API bounds each address besides.
pub(crate) struct Limits {
    /// By network, so that none uses up another's: secrets of this length aren't guessed.
    sign_ins_each: DefaultKeyedRateLimiter<Option<IpAddr>>,
    codes_each: DefaultKeyedRateLimiter<PrincipalId>,
    codes: DefaultDirectRateLimiter,
    challenges_each: DefaultKeyedRateLimiter<PrincipalId>,
    proofs_each: DefaultKeyedRateLimiter<PrincipalId>,
    typed_each: DefaultKeyedRateLimiter<PrincipalId>,
}

impl Limits {
    pub(crate) fn new() -> Self {
        let each_minute =
            |count| Quota::per_minute(NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN));
        // Six digits are guessed in the end: five at once, then one every two minutes.
        let few = Quota::with_period(Duration::from_secs(120)).unwrap_or(each_minute(1));
        let few = few.allow_burst(NonZeroU32::new(5).unwrap_or(NonZeroU32::MIN));
        Self {
            sign_ins_each: RateLimiter::keyed(each_minute(600)),
            codes_each: RateLimiter::keyed(each_minute(20)),
            codes: RateLimiter::direct(each_minute(600)),
            challenges_each: RateLimiter::keyed(each_minute(60)),
            proofs_each: RateLimiter::keyed(each_minute(30)),
            typed_each: RateLimiter::keyed(few),
        }
    }

    /// Counts one try to sign in from there, good or not.
    pub(crate) fn sign_in(&self, from: Option<IpAddr>) -> Result<(), TooMany> {
        self.sign_ins_each.check_key(&from.map(network)).map_err(|_| TooMany::Tries)
    }

    /// Counts one look at a code, good or not. One's own bound comes first, so that nobody uses up
    /// everybody's.
    pub(crate) fn code(&self, by: &PrincipalId) -> Result<(), TooMany> {
        self.codes_each.check_key(by).map_err(|_| TooMany::Tries)?;
        self.codes.check().map_err(|_| TooMany::Tries)
    }

    /// Counts one question to somebody.
    pub(crate) fn challenge(&self, of: &PrincipalId) -> Result<(), TooMany> {
        self.challenges_each.check_key(of).map_err(|_| TooMany::Tries)
    }

    /// Counts one proof of somebody's, good or not.
    pub(crate) fn proof(&self, by: &PrincipalId) -> Result<(), TooMany> {
        self.proofs_each.check_key(by).map_err(|_| TooMany::Tries)
    }

    /// Counts one code of an authenticator app, good or not.
    pub(crate) fn typed(&self, by: &PrincipalId) -> Result<(), TooMany> {
        self.typed_each.check_key(by).map_err(|_| TooMany::Tries)
    }

    pub(crate) fn forget(&self) {
        self.sign_ins_each.retain_recent();
        self.challenges_each.retain_recent();
        self.proofs_each.retain_recent();
        self.typed_each.retain_recent();
        self.codes_each.retain_recent();
    }
}

/// How many wrong codes of each person are recorded.
pub(crate) struct FailedAttempts {
    /// Ten at once, then one a minute.
    each: DefaultKeyedRateLimiter<PrincipalId>,
    left_out: AtomicU64,
}

impl FailedAttempts {
    pub(crate) fn new() -> Self {
        let burst = NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_secs(60));
        let quota = quota.unwrap_or(Quota::per_minute(NonZeroU32::MIN)).allow_burst(burst);
        Self { each: RateLimiter::keyed(quota), left_out: AtomicU64::new(0) }
    }

    /// Whether this one is recorded: with how many were left out before it.
    pub(super) fn admit(&self, whose: &PrincipalId) -> Option<u64> {
        if self.each.check_key(whose).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Ordering::Relaxed))
    }

    /// Forgets whose bound is whole again.
    pub(crate) fn forget(&self) {
        self.each.retain_recent();
        self.each.shrink_to_fit();
    }
}

/// How many tokens of one network are looked at in a minute.
pub(crate) const A_MINUTE: u32 = 600;

/// How many tokens may be looked at, by network.
pub(crate) struct ExchangeLimit(pub(super) DefaultKeyedRateLimiter<Option<IpNet>>);

impl ExchangeLimit {
    pub(crate) fn new() -> Self {
        let most = NonZeroU32::new(A_MINUTE).unwrap_or(NonZeroU32::MIN);
        Self(RateLimiter::keyed(Quota::per_minute(most)))
    }

    /// Forgets whose bound is whole again.
    pub(crate) fn forget(&self) {
        self.0.retain_recent();
    }
}

/// How many of one network begin in a minute, and how many at once.
pub(crate) const EACH: (u32, u32) = (100, 300);

/// How often sign-ins begin, by network.
pub(crate) struct FlowLimit(pub(super) DefaultKeyedRateLimiter<Option<IpNet>>);

impl FlowLimit {
    pub(crate) fn new() -> Self {
        let of = |count| NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        Self(RateLimiter::keyed(Quota::per_minute(of(EACH.0)).allow_burst(of(EACH.1))))
    }

    /// Forgets whose bound is whole again.
    pub(crate) fn forget(&self) {
        self.0.retain_recent();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_codes_of_one_person_are_written_and_those_of_others_meanwhile() {
        let attempts = FailedAttempts::new();
        let counted = |whose: &str| attempts.admit(&whose.parse().unwrap());
        assert_eq!((0..1_000).filter(|_| counted("mallory").is_some()).count(), 10);
        assert_eq!(counted("bob"), Some(990));
    }
}
