//! What was tried and is no good: one-time links and typed codes, told in the audit log.
//!
//! Strangers can try as often as the network lets them, so that only so many of one network and kind are
//! told, and so many in all; with the next one stands how many were left out. Whoever is signed in and
//! types codes that nothing waits under is counted by their own name, and it counts as their failure.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use serde_json::json;

use crate::audit::{By, Event, clip};
use crate::logins::AGENT_MAX;
use crate::publish::Change;
use crate::{Actor, Control, ControlError, Origin, ids, store};
use accept::neighbourhood;

/// How much of this is told.
pub(crate) struct Guesses {
    /// Of one network or person: ten at once, then one a minute.
    each: DefaultKeyedRateLimiter<String>,
    /// In all: a hundred at once, then one a second.
    all: DefaultDirectRateLimiter,
    left_out: AtomicU64,
}

impl Guesses {
    pub(crate) fn new() -> Self {
        let quota = |secs, burst| {
            let burst = NonZeroU32::new(burst).unwrap_or(NonZeroU32::MIN);
            let paced = Quota::with_period(Duration::from_secs(secs));
            paced.unwrap_or(Quota::per_minute(NonZeroU32::MIN)).allow_burst(burst)
        };
        Self {
            each: RateLimiter::keyed(quota(60, 10)),
            all: RateLimiter::direct(quota(1, 100)),
            left_out: AtomicU64::new(0),
        }
    }

    /// Whether this one is told: with how many were left out before it.
    fn tell(&self, whose: String) -> Option<u64> {
        if self.each.check_key(&whose).is_err() || self.all.check().is_err() {
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

impl Control {
    /// Writes down that somebody typed a code under which nothing waits, for them.
    ///
    /// # Errors
    /// Always: there is no such thing.
    pub(crate) async fn mistyped<T>(
        &self,
        actor: &Actor,
        what: &'static str,
    ) -> Result<T, ControlError> {
        let (control, actor) = (self.clone(), actor.clone());
        let told = self.0.guesses.tell(format!("principal {}", actor.principal.id));
        self.to_the_end(async move {
            let mut change = control.change().await?;
            change.failed(&actor.principal.id, "code").await?;
            if let Some(left_out) = told {
                let detail = json!({ "login": actor.login, "left_out": left_out });
                change.record(Event::new(&actor, "code.refused", what, detail)).await?;
            }
            change.commit().await
        })
        .await?;
        Err(ControlError::NotFound(what))
    }

    /// Writes down that somebody tried a link that is no good, if it is one at all.
    pub(crate) async fn refuse_link(
        &self,
        code: Option<ids::Hash>,
        origin: Origin,
    ) -> Result<(), ControlError> {
        let from = origin.address.map(neighbourhood);
        let from = from.map_or_else(|| "nowhere".to_owned(), |network| network.to_string());
        let Some(left_out) = self.0.guesses.tell(format!("link from {from}")) else {
            return Ok(());
        };
        let control = self.clone();
        self.to_the_end(async move {
            let mut change = control.change().await?;
            change.refuse_link(code, &origin, left_out).await?;
            change.commit().await.map(drop)
        })
        .await
    }
}

impl Change {
    /// A link that was good once is somebody's, and says whose; a guess is nobody's.
    async fn refuse_link(
        &mut self,
        code: Option<ids::Hash>,
        origin: &Origin,
        left_out: u64,
    ) -> Result<(), ControlError> {
        let spent = match code {
            Some(code) => store::login::spent_invite(self.db(), &code).await?,
            None => None,
        };
        let (subject, why) = match &spent {
            Some((whose, true)) => (whose.to_string(), "used"),
            Some((whose, false)) => (whose.to_string(), "expired"),
            None => ("link".to_owned(), "unknown"),
        };
        if let Some((whose, _)) = &spent {
            self.failed(whose, "link").await?;
        }
        let detail = json!({
            "why": why, "address": origin.address, "agent": clip(&origin.agent, AGENT_MAX),
            "left_out": left_out,
        });
        self.record(Event::new(By::Control, "link.refused", subject, detail)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_of_one_network_are_told_and_none_of_those_left_out_is_forgotten() {
        let guesses = Guesses::new();
        let told = |whose: &str| guesses.tell(whose.to_owned());
        assert_eq!((0..1_000).filter(|_| told("link from 203.0.113.0/24").is_some()).count(), 10);
        assert_eq!(told("link from 198.51.100.0/24"), Some(990));
    }

    #[test]
    fn all_networks_together_are_told_of_within_bounds() {
        let guesses = Guesses::new();
        let told = (0..5_000).filter(|n| guesses.tell(format!("link from {n}")).is_some()).count();
        assert!((100..200).contains(&told), "{told}");
    }
}
