//! When a message is tried again: pauses that double, each a bit shorter by chance, so that what failed
//! together doesn't come back together.

use policies::{Timestamp, Ttl};

/// No pause is longer.
const LONGEST: u64 = 2 * 3_600_000;

/// How often a channel's messages are tried, and how far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// After so many tries a message is dead.
    pub attempts: u32,
    /// The pause after the first try; it doubles from then on.
    pub first_pause: Ttl,
}

/// What a try came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Sent,
    /// It may work later: why it didn't, and how long the receiver wants to be left alone.
    Later(String, Option<Ttl>),
    /// It will never work.
    Never(String),
    /// The receiver is gone for good, and says so.
    Gone,
}

/// What becomes of a message after a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    Settled,
    Again { at: Timestamp, why: String },
    Dead { why: String },
}

impl Patience {
    /// What becomes of a message after its `tried`th try, with a number that chance gave.
    pub(crate) fn after(self, tried: u32, outcome: Outcome, now: Timestamp, chance: u32) -> Next {
        match outcome {
            Outcome::Sent => Next::Settled,
            Outcome::Never(why) => Next::Dead { why },
            Outcome::Gone => Next::Dead { why: "the receiver is gone (410)".to_owned() },
            Outcome::Later(why, _) if tried >= self.attempts => Next::Dead { why },
            Outcome::Later(why, requested) => {
                let pause = self.pause(tried, chance);
                let pause = requested.map_or(pause, |requested| requested.max(pause));
                Next::Again { at: now.after(pause), why }
            }
        }
    }

    /// The pause after this try: between half of what is doubled and all of it.
    fn pause(self, tried: u32, chance: u32) -> Ttl {
        let first = u64::try_from(self.first_pause.millis()).unwrap_or(LONGEST);
        let doublings = tried.saturating_sub(1).min(32);
        let whole = first.saturating_mul(1 << doublings).min(LONGEST);
        let half = whole / 2;
        let share = half.saturating_mul(u64::from(chance)) / u64::from(u32::MAX);
        Ttl::from_millis(whole - half + share)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TIMEOUT: Patience = Patience { attempts: 5, first_pause: Ttl::from_secs(5) };
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn later() -> Outcome {
        Outcome::Later("it answered 500".into(), None)
    }

    #[test]
    fn pauses_double_up_to_a_bound() {
        for (tried, least, most) in
            [(1, 2_500, 5_000), (2, 5_000, 10_000), (4, 20_000, 40_000), (60, 3_600_000, 7_200_000)]
        {
            assert_eq!(TIMEOUT.pause(tried, 0).millis(), least);
            assert_eq!(TIMEOUT.pause(tried, u32::MAX).millis(), most);
        }
    }

    #[test]
    fn a_message_is_dead_after_its_last_try_and_not_before() {
        assert!(matches!(TIMEOUT.after(4, later(), NOW, 7), Next::Again { .. }));
        assert!(matches!(TIMEOUT.after(5, later(), NOW, 7), Next::Dead { .. }));
        let never = Outcome::Never("nobody has this address".into());
        assert!(matches!(TIMEOUT.after(1, never, NOW, 7), Next::Dead { .. }));
        assert!(matches!(TIMEOUT.after(1, Outcome::Gone, NOW, 7), Next::Dead { .. }));
        assert_eq!(TIMEOUT.after(5, Outcome::Sent, NOW, 7), Next::Settled);
    }

    #[test]
    fn a_receiver_may_ask_for_a_longer_pause_and_not_for_a_shorter_one() {
        let later = |secs| Outcome::Later("busy".into(), Some(Ttl::from_secs(secs)));
        let at = |outcome| match TIMEOUT.after(1, outcome, NOW, u32::MAX) {
            Next::Again { at, .. } => at.millis() - NOW.millis(),
            Next::Settled | Next::Dead { .. } => 0,
        };
        assert_eq!((at(later(60)), at(later(1))), (60_000, 5_000));
    }

    proptest! {
        #[test]
        fn no_pause_is_over_at_once_or_endless(tried: u32, chance: u32, first in 1_u64..86_400_000) {
            let patience = Patience { attempts: 15, first_pause: Ttl::from_millis(first) };
            let pause = patience.pause(tried, chance).millis();
            prop_assert!((1..=7_200_000).contains(&pause));
        }
    }
}
