//! What was tried and is no good: one-time links and typed codes, told in the audit log.
//!
//! Links are tried by anybody, within the bounds of `refusals.rs`. Whoever is signed in and types codes
//! that nothing waits under is counted by their own name, and it counts as their failure.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use policies::PrincipalId;
use serde_json::json;

use crate::identity::Identity;
use crate::identity::logins::AGENT_MAX;
use crate::kernel::refusals::{CountedBy, Noted, Refused};
use crate::kernel::transaction::Transaction;
use crate::model::actor::Actor;
use crate::model::error::ControlError;
use crate::model::event::{By, Event, clip};
use crate::model::login::Origin;
use crate::platform::ids;
use crate::policy::risk;
use crate::store;

/// How many typed codes of each person are told.
pub(crate) struct Guesses {
    /// Ten at once, then one a minute.
    each: DefaultKeyedRateLimiter<PrincipalId>,
    left_out: AtomicU64,
}

impl Guesses {
    pub(crate) fn new() -> Self {
        let burst = NonZeroU32::new(10).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_secs(60));
        let quota = quota.unwrap_or(Quota::per_minute(NonZeroU32::MIN)).allow_burst(burst);
        Self { each: RateLimiter::keyed(quota), left_out: AtomicU64::new(0) }
    }

    /// Whether this one is told: with how many were left out before it.
    fn tell(&self, whose: &PrincipalId) -> Option<u64> {
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

impl Identity {
    /// Writes down that somebody typed a code under which nothing waits, for them.
    ///
    /// # Errors
    /// Always: there is no such thing.
    pub(crate) async fn mistyped<T>(
        &self,
        actor: &Actor,
        what: &'static str,
    ) -> Result<T, ControlError> {
        let (identity, actor) = (self.clone(), actor.clone());
        let counted = self.own.guesses.tell(&actor.principal.id);
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                risk::failed(&mut tx, &actor.principal.id, "code").await?;
                if let Some(left_out) = counted {
                    let detail = json!({ "login": actor.login, "left_out": left_out });
                    tx.record(Event::new(&actor, "code.refused", what, detail)).await?;
                }
                tx.commit().await
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
        let from = CountedBy::address(origin.address);
        let Some(noted) = self.kernel.admit_refusal(Refused::Link, from) else {
            return Ok(());
        };
        let identity = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                refuse_link(&mut tx, noted, code, &origin).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

/// A link that was good once is somebody's, and says whose; a guess is nobody's.
async fn refuse_link(
    tx: &mut Transaction,
    noted: Noted,
    code: Option<ids::Hash>,
    origin: &Origin,
) -> Result<(), ControlError> {
    let spent = match code {
        Some(code) => store::login::spent_invite(tx.db(), &code).await?,
        None => None,
    };
    let (subject, why) = match &spent {
        Some((whose, true)) => (whose.to_string(), "used"),
        Some((whose, false)) => (whose.to_string(), "expired"),
        None => ("link".to_owned(), "unknown"),
    };
    if let Some((whose, _)) = &spent {
        risk::failed(tx, whose, "link").await?;
    }
    let detail = json!({
        "why": why, "address": origin.address, "agent": clip(&origin.agent, AGENT_MAX),
    });
    tx.note_refusal(noted, By::Control, subject, detail).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_codes_of_one_person_are_written_and_those_of_others_meanwhile() {
        let guesses = Guesses::new();
        let counted = |whose: &str| guesses.tell(&whose.parse().unwrap());
        assert_eq!((0..1_000).filter(|_| counted("mallory").is_some()).count(), 10);
        assert_eq!(counted("bob"), Some(990));
    }
}
