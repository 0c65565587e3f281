//! How much of what a client sent waits, and how it is slowed down by that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// The window of a channel.
pub(in crate::ssh) const WINDOW: u32 = 2 * 1024 * 1024;
/// The window that is granted while much waits: the least that the library can grant.
pub(super) const TRICKLE: u32 = 2;
/// How much may wait on a connection before its client is slowed down.
pub(super) const MUCH: usize = 1024 * 1024;
/// The longest that a handler waits for the target.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// A client that sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ssh) struct Flooded;

/// How much waits on all channels of a connection.
#[derive(Debug, Default)]
pub(in crate::ssh) struct Load {
    bytes: AtomicUsize,
    lighter: Notify,
}

impl Load {
    /// The window to aim at from now on.
    pub(in crate::ssh) fn window(&self) -> u32 {
        if self.is_much() { TRICKLE } else { WINDOW }
    }

    /// Gives the target some time to take what waits.
    pub(in crate::ssh) async fn settle(&self) {
        let lighter = self.lighter.notified();
        if self.is_much() {
            let _ = timeout(PAUSE, lighter).await;
        }
    }

    /// Whether more waits than so many channels may have sent.
    pub(in crate::ssh) fn check(&self, channels: usize) -> Result<(), Flooded> {
        let windows = channels.saturating_add(1).saturating_mul(2 * WINDOW as usize);
        let most = MUCH.saturating_add(windows);
        if self.bytes.load(Ordering::Acquire) > most { Err(Flooded) } else { Ok(()) }
    }

    fn is_much(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > MUCH
    }

    pub(super) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if !self.is_much() {
            self.lighter.notify_one();
        }
    }
}
