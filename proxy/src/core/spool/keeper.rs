//! The thread that measures the free space each second, and counts the recordings when that is due.
//!
//! It counts at the start, when an admin asks for it by a reload, and while sessions are refused by a
//! quota, since files may have been moved away. A count takes a tenth of the time at most.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::room::Room;
use crate::core::clock::Clock;

const EVERY: Duration = Duration::from_secs(1);
/// The least time between two counts that were not asked for.
const BETWEEN_COUNTS: Duration = Duration::from_secs(5);
/// So much longer than a count took does the next one wait.
const REST: u32 = 9;

/// A request for a count.
#[derive(Debug)]
struct CountNow;

/// The handle on the thread, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    asked: SyncSender<CountNow>,
    counted: watch::Receiver<bool>,
}

impl Keeper {
    /// Starts the thread, which begins with a count.
    pub(super) fn start(room: Arc<Room>, clock: Clock) -> io::Result<Self> {
        let (asked, asks) = sync_channel(1);
        let (done, counted) = watch::channel(false);
        let thread = std::thread::Builder::new().name("postern-spool".to_owned());
        thread.spawn(move || keep(&room, &clock, &asks, &done))?;
        Ok(Self { asked, counted })
    }

    /// Waits for the first count.
    pub(super) async fn counted(&self) {
        // An error says that the thread is gone, and with it what would be waited for.
        let _ = self.counted.clone().wait_for(|counted| *counted).await;
    }

    /// Has the recordings counted soon.
    pub(super) fn count(&self) {
        // Where one waits already, that one is enough.
        let _ = self.asked.try_send(CountNow);
    }
}

fn keep(room: &Room, clock: &Clock, asks: &Receiver<CountNow>, done: &watch::Sender<bool>) {
    room.look();
    let mut next_count = count(room, clock);
    done.send_replace(true);
    loop {
        room.look();
        match asks.recv_timeout(EVERY) {
            Ok(CountNow) => next_count = count(room, clock),
            Err(RecvTimeoutError::Timeout) => {
                if room.wants_count() && clock.instant() >= next_count {
                    next_count = count(room, clock);
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Counts, and says when the next count may be.
fn count(room: &Room, clock: &Clock) -> Instant {
    let began = clock.instant();
    room.count();
    let ended = clock.instant();
    let took = ended.saturating_duration_since(began);
    ended + BETWEEN_COUNTS.max(took.saturating_mul(REST))
}
