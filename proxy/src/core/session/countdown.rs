//! Announcing to the user of a session how much time is left.
//!
//! It follows the term of the lease: one that is extended is counted down again.

use std::pin::pin;
use std::sync::Arc;

use policies::{Term, Ttl};
use tokio::time::sleep_until;

use super::guard::Guard;

/// How much is left when it is announced, the most first.
const MARKS: [Ttl; 3] = [Ttl::from_secs(300), Ttl::from_secs(60), Ttl::from_secs(10)];

/// What was announced of the time that is left. A session that begins below a mark doesn't announce it.
#[derive(Debug)]
pub(crate) struct Countdown {
    guard: Arc<Guard>,
    passed: Option<Ttl>,
}

impl Countdown {
    pub(super) fn new(guard: Arc<Guard>) -> Self {
        let mut countdown = Self { guard, passed: None };
        countdown.passed = countdown.left().and_then(lowest_passed);
        countdown
    }

    /// Resolves, with what is left, each time that less is left than the next mark. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Ttl {
        let guard = Arc::clone(&self.guard);
        loop {
            // Listens before it looks, so that nothing falls between.
            let mut changed = pin!(guard.held().changed());
            changed.as_mut().enable();
            if let Some(left) = self.due() {
                return left;
            }
            tokio::select! {
                () = changed => {}
                () = self.next_mark() => {}
            }
        }
    }

    /// What is to be announced now, once.
    fn due(&mut self) -> Option<Ttl> {
        let left = self.left()?;
        let passed = lowest_passed(left);
        let before = std::mem::replace(&mut self.passed, passed);
        let lower = passed.is_some_and(|mark| before.is_none_or(|before| mark < before));
        let seconds = left.duration().as_millis().div_ceil(1_000);
        let seconds = u64::try_from(seconds).ok().filter(|seconds| lower && *seconds > 0);
        seconds.map(Ttl::from_secs)
    }

    async fn next_mark(&self) {
        let left = self.left();
        let mark = left.and_then(|left| MARKS.into_iter().find(|mark| *mark < left));
        match left.zip(mark) {
            Some((left, mark)) => {
                let span = left.duration().saturating_sub(mark.duration());
                sleep_until(self.guard.clock.instant() + span).await;
            }
            None => std::future::pending().await,
        }
    }

    /// None while the clock of the grant hasn't started.
    fn left(&self) -> Option<Ttl> {
        match self.guard.held().term() {
            Term::Until(ends) => Some(self.guard.clock.now().until(ends)),
            Term::Claim { .. } => None,
        }
    }
}

fn lowest_passed(left: Ttl) -> Option<Ttl> {
    MARKS.into_iter().rfind(|mark| left <= *mark)
}
