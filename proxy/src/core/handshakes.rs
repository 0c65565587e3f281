//! How many connections to one target sign in at the same time.
//!
//! A server drops connections when many have not signed in yet (sshd's `MaxStartups`), and a client that opens many
//! forwards at once asks for as many. So the connections of all sessions to one target take turns.

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use policies::TargetName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The most that sign in at one target at once. OpenSSH begins to drop connections at ten.
const MOST: usize = 8;
/// The longest that one waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The connections that are signing in, by their target.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    // Names of targets come from the configuration: they are few.
    by_target: DashMap<TargetName, Arc<Semaphore>>,
}

/// A turn, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Turn(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit);

impl Handshakes {
    /// Waits for a turn to sign in at this target. None where that takes too long. Cancel-safe.
    pub(crate) async fn turn(&self, target: &TargetName) -> Option<Turn> {
        let turns = Arc::clone(
            &self.by_target.entry(target.clone()).or_insert_with(|| Arc::new(Semaphore::new(MOST))),
        );
        let turn = timeout(LONGEST_WAIT, turns.acquire_owned()).await.ok()?.ok()?;
        Some(Turn(turn))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn so_many_sign_in_at_once_and_the_next_one_waits_for_its_turn() {
        let (web, shop) = (TargetName::new("web-1").unwrap(), TargetName::new("shop").unwrap());
        let handshakes = Handshakes::default();
        let mut turns = Vec::new();
        for _ in 0..MOST {
            turns.push(handshakes.turn(&web).now_or_never().flatten().unwrap());
        }
        assert!(handshakes.turn(&shop).now_or_never().flatten().is_some(), "another target");
        let mut next = std::pin::pin!(handshakes.turn(&web));
        assert!(next.as_mut().now_or_never().is_none());
        turns.pop();
        assert!(next.await.is_some());
        drop(turns);
        let mut turns = Vec::new();
        for _ in 0..MOST {
            turns.push(handshakes.turn(&web).await);
        }
        assert!(handshakes.turn(&web).await.is_none(), "nobody waits for ever");
    }
}
