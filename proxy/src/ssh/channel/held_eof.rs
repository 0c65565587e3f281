//! The end of a program's output, on its way to the client.
//!
//! A client that has ended its input closes the channel when it reads this end, and hears of no status that comes later.
//! So the end waits for the status. A client that still writes may be waiting for the end itself: it
//! gets the end after a while.

use std::future::pending;
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::queue::ChannelQueue;

/// How long the end of the output waits for a status while the client's input is open.
const HELD: Duration = Duration::from_secs(5);

/// Whether the end of the output waits for the status.
#[derive(Debug, Default)]
pub(super) struct HeldEof {
    has_status: bool,
    held: Option<Pin<Box<Sleep>>>,
}

impl HeldEof {
    /// The output has ended. Says whether its end is to be passed on at once.
    pub(super) fn hold(&mut self) -> bool {
        if !self.has_status {
            self.held = Some(Box::pin(sleep(HELD)));
        }
        self.has_status
    }

    /// The status was passed on. Says whether the end of the output waited for it.
    pub(super) fn status(&mut self) -> bool {
        self.has_status = true;
        self.release()
    }

    /// It waits no longer. Says whether it did.
    pub(super) fn release(&mut self) -> bool {
        self.held.take().is_some()
    }

    /// Resolves when it has waited long enough for a client whose input is open. Cancel-safe.
    pub(super) async fn due(&mut self, queue: &ChannelQueue) {
        match &mut self.held {
            Some(held) => held.await,
            None => pending().await,
        }
        if queue.has_ended() {
            pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::advance;

    use super::*;
    use crate::ssh::channel::request::Program;

    /// Whether the end goes on after this time, for a client whose input has ended or not.
    async fn goes_on(eof: &mut HeldEof, ended: bool, after: Duration) -> bool {
        let queue = ChannelQueue::of_session();
        let _ = queue.start(Program::Shell).unwrap();
        if ended {
            queue.eof();
        }
        assert!(eof.due(&queue).now_or_never().is_none());
        advance(after).await;
        eof.due(&queue).now_or_never().is_some()
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_output_waits_for_the_status() {
        for (ended, after, expected) in [
            (false, HELD / 2, false),
            (false, HELD, true),
            (true, HELD, false),
            (true, 1_000 * HELD, false),
        ] {
            let mut eof = HeldEof::default();
            assert!(!eof.hold());
            assert_eq!(goes_on(&mut eof, ended, after).await, expected, "{ended} {after:?}");
            assert!(eof.status());
            assert!(!eof.release(), "it goes on once");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn behind_the_status_it_goes_on_at_once() {
        let mut eof = HeldEof::default();
        assert!(!eof.status());
        assert!(eof.hold());
        assert!(!goes_on(&mut eof, false, 10 * HELD).await);
    }
}
