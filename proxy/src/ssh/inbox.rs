//! What a client sent on one channel and the target hasn't taken yet.
//!
//! The library's loop reads a whole connection, and calls our handler for every packet: a handler that
//! waited for the target would keep the client's window adjustments unread, and with both directions
//! full nothing would ever move. So a packet is put here and the handler returns. The library grants
//! new window when data arrives, though, not when it is passed on; while much waits, it is told to
//! grant next to nothing, and the handler takes its time, but never more than [`PAUSE`].

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use russh::{ChannelId, Pty, Sig};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The window of a channel.
pub(super) const WINDOW: u32 = 2 * 1024 * 1024;
/// The window that is granted while much waits: the least that the library can grant.
const TRICKLE: u32 = 2;
/// How much may wait on a connection before its client is slowed down.
const MUCH: usize = 1024 * 1024;
/// The longest that a handler waits for the target.
const PAUSE: Duration = Duration::from_millis(20);
/// The most that is asked for on a channel before the target has taken any of it, and its bytes.
const MOST_ASKED: usize = 256;
const MOST_ASKED_BYTES: usize = 256 * 1024;
/// The most that is refused on one channel: each answer may lie in wait for a client that reads none.
const MOST_REFUSED: usize = 64;

/// One thing that a client sent.
#[derive(Debug)]
pub(super) enum Item {
    Data(Bytes),
    Ask(Ask),
    Eof,
}

/// What a client asks for on a channel.
#[derive(Debug)]
pub(super) enum Ask {
    Pty {
        term: String,
        size: Size,
        modes: Vec<(Pty, u32)>,
    },
    Env {
        name: String,
        value: String,
    },
    Shell,
    Exec(Vec<u8>),
    Subsystem(String),
    Resize(Size),
    Signal(Sig),
    /// The client is told this, and the target nothing.
    Tell(String),
    /// The target may use the client's key agent.
    Agent,
    /// The target may use the client's display.
    X11 {
        single: bool,
        protocol: String,
        cookie: String,
        screen: u32,
    },
}

impl Ask {
    /// What it takes up beside its place.
    fn bytes(&self) -> usize {
        match self {
            Self::Pty { term, modes, .. } => term.len() + modes.len() * size_of::<(Pty, u32)>(),
            Self::Env { name, value } => name.len() + value.len(),
            Self::Exec(command) => command.len(),
            Self::Subsystem(text) | Self::Signal(Sig::Custom(text)) | Self::Tell(text) => {
                text.len()
            }
            Self::X11 { protocol, cookie, .. } => protocol.len() + cookie.len(),
            Self::Shell | Self::Resize(_) | Self::Signal(_) | Self::Agent => 0,
        }
    }
}

/// The size of a terminal, in characters and in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: u32,
    pub(super) rows: u32,
    pub(super) width: u32,
    pub(super) height: u32,
}

/// A client that sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flooded;

/// How much waits on all channels of a connection.
#[derive(Debug, Default)]
pub(super) struct Load {
    bytes: AtomicUsize,
    lighter: Notify,
}

/// The inboxes of a connection, by their channels.
#[derive(Debug, Default)]
pub(super) struct Inboxes {
    pub(super) load: Arc<Load>,
    by_channel: Mutex<HashMap<ChannelId, Arc<Inbox>>>,
}

/// What waits on one channel.
#[derive(Debug)]
pub(super) struct Inbox {
    load: Arc<Load>,
    queue: Mutex<Queue>,
    arrived: Notify,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Waiting>,
    asked: usize,
    asked_bytes: usize,
    refused: usize,
    /// The client has said that it sends no more data.
    ended: bool,
}

#[derive(Debug)]
enum Waiting {
    Data(BytesMut),
    Ask(Ask),
    Eof,
}

impl Load {
    /// The window to aim at from now on.
    pub(super) fn window(&self) -> u32 {
        if self.is_much() { TRICKLE } else { WINDOW }
    }

    /// Gives the target some time to take what waits.
    pub(super) async fn settle(&self) {
        let lighter = self.lighter.notified();
        if self.is_much() {
            let _ = timeout(PAUSE, lighter).await;
        }
    }

    /// Whether more waits than so many channels may have sent.
    pub(super) fn check(&self, channels: usize) -> Result<(), Flooded> {
        let windows = channels.saturating_add(1).saturating_mul(2 * WINDOW as usize);
        let most = MUCH.saturating_add(windows);
        if self.bytes.load(Ordering::Acquire) > most { Err(Flooded) } else { Ok(()) }
    }

    fn is_much(&self) -> bool {
        self.bytes.load(Ordering::Acquire) > MUCH
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
    }

    fn sub(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if !self.is_much() {
            self.lighter.notify_one();
        }
    }
}

impl Inboxes {
    pub(super) fn get(&self, id: ChannelId) -> Option<Arc<Inbox>> {
        self.by_channel().get(&id).cloned()
    }

    /// The inbox of a channel, made where there is none yet: a channel that the gateway opened is heard
    /// of from two sides.
    pub(super) fn of(&self, id: ChannelId) -> Arc<Inbox> {
        let made = || Arc::new(Inbox::new(Arc::clone(&self.load)));
        Arc::clone(self.by_channel().entry(id).or_insert_with(made))
    }

    /// The client is done with the channel.
    pub(super) fn close(&self, id: ChannelId) {
        if let Some(inbox) = self.by_channel().remove(&id) {
            inbox.close();
        }
    }

    /// A channel that was never opened.
    pub(super) fn forget(&self, id: ChannelId) {
        self.by_channel().remove(&id);
    }

    pub(super) fn count(&self) -> usize {
        self.by_channel().len()
    }

    fn by_channel(&self) -> MutexGuard<'_, HashMap<ChannelId, Arc<Inbox>>> {
        self.by_channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    pub(super) fn new(load: Arc<Load>) -> Self {
        let closed = CancellationToken::new();
        Self { load, queue: Mutex::default(), arrived: Notify::new(), closed }
    }

    /// Adds bytes; small packets are put together.
    pub(super) fn data(&self, bytes: &[u8]) {
        let mut queue = self.queue();
        if queue.ended {
            return;
        }
        match queue.items.back_mut() {
            Some(Waiting::Data(waiting)) => waiting.extend_from_slice(bytes),
            Some(Waiting::Ask(_) | Waiting::Eof) | None => {
                queue.items.push_back(Waiting::Data(BytesMut::from(bytes)));
            }
        }
        drop(queue);
        self.load.add(bytes.len());
        self.arrived.notify_one();
    }

    /// Adds a wish. Of sizes that follow on each other only the last one matters.
    pub(super) fn ask(&self, ask: Ask) -> Result<(), Flooded> {
        let mut queue = self.queue();
        if let (Ask::Resize(size), Some(Waiting::Ask(Ask::Resize(last)))) =
            (&ask, queue.items.back_mut())
        {
            *last = *size;
            return Ok(());
        }
        let bytes = queue.asked_bytes.saturating_add(ask.bytes());
        if queue.asked >= MOST_ASKED || bytes > MOST_ASKED_BYTES {
            return Err(Flooded);
        }
        queue.asked += 1;
        queue.asked_bytes = bytes;
        queue.items.push_back(Waiting::Ask(ask));
        drop(queue);
        self.arrived.notify_one();
        Ok(())
    }

    /// Something that was asked for is refused.
    pub(super) fn refuse(&self) -> Result<(), Flooded> {
        let mut queue = self.queue();
        queue.refused += 1;
        if queue.refused > MOST_REFUSED { Err(Flooded) } else { Ok(()) }
    }

    /// The client sends no more data. It says so once.
    pub(super) fn eof(&self) {
        let mut queue = self.queue();
        if !std::mem::replace(&mut queue.ended, true) {
            queue.items.push_back(Waiting::Eof);
            self.arrived.notify_one();
        }
    }

    /// The client is done with the channel.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.arrived.notify_one();
    }

    /// Resolves when the client is done with the channel.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// What comes next; none once the channel is closed and all was taken. Cancel-safe.
    pub(super) async fn next(&self) -> Option<Item> {
        loop {
            let arrived = self.arrived.notified();
            {
                let mut queue = self.queue();
                match queue.items.pop_front() {
                    Some(waiting) => return Some(self.taken(&mut queue, waiting)),
                    None if self.closed.is_cancelled() => return None,
                    None => {}
                }
            }
            arrived.await;
        }
    }

    fn taken(&self, queue: &mut Queue, waiting: Waiting) -> Item {
        match waiting {
            Waiting::Data(bytes) => {
                self.load.sub(bytes.len());
                Item::Data(bytes.freeze())
            }
            Waiting::Ask(ask) => {
                queue.asked = queue.asked.saturating_sub(1);
                queue.asked_bytes = queue.asked_bytes.saturating_sub(ask.bytes());
                Item::Ask(ask)
            }
            Waiting::Eof => Item::Eof,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let left: usize = self
            .queue()
            .items
            .iter()
            .map(|waiting| match waiting {
                Waiting::Data(bytes) => bytes.len(),
                Waiting::Ask(_) | Waiting::Eof => 0,
            })
            .sum();
        self.load.sub(left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(columns: u32) -> Size {
        Size { columns, rows: 24, width: 0, height: 0 }
    }

    #[tokio::test]
    async fn what_was_sent_comes_out_in_its_order() {
        let inbox = Inbox::new(Arc::default());
        inbox.ask(Ask::Shell).unwrap();
        inbox.data(b"one ");
        inbox.data(b"two");
        inbox.ask(Ask::Resize(size(80))).unwrap();
        inbox.ask(Ask::Resize(size(132))).unwrap();
        inbox.eof();
        inbox.close();
        assert!(matches!(inbox.next().await, Some(Item::Ask(Ask::Shell))));
        assert!(matches!(inbox.next().await, Some(Item::Data(bytes)) if &bytes[..] == b"one two"));
        let resized = inbox.next().await;
        assert!(matches!(resized, Some(Item::Ask(Ask::Resize(last))) if last == size(132)));
        assert!(matches!(inbox.next().await, Some(Item::Eof)));
        assert!(inbox.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_slowed_down_while_much_waits_and_no_longer() {
        let load = Arc::new(Load::default());
        let inbox = Inbox::new(Arc::clone(&load));
        inbox.data(&vec![0; MUCH]);
        assert_eq!(load.window(), WINDOW);
        inbox.data(b"x");
        assert_eq!(load.window(), TRICKLE);
        let began = tokio::time::Instant::now();
        load.settle().await;
        assert_eq!(began.elapsed(), PAUSE, "a handler never waits for long");
        let (_, taken) = tokio::join!(load.settle(), inbox.next());
        assert!(matches!(taken, Some(Item::Data(_))));
        assert_eq!(began.elapsed(), PAUSE, "and not at all once it is taken");
        assert_eq!(load.window(), WINDOW);
    }

    #[test]
    fn who_sends_past_every_window_is_found_out() {
        let load = Arc::new(Load::default());
        let inbox = Inbox::new(Arc::clone(&load));
        inbox.data(&vec![0; 4 * WINDOW as usize]);
        assert_eq!(load.check(1), Ok(()));
        inbox.data(&vec![0; WINDOW as usize]);
        assert_eq!(load.check(1), Err(Flooded));
        assert_eq!(load.check(2), Ok(()));
        drop(inbox);
        assert_eq!(load.check(0), Ok(()));
        let inbox = Inbox::new(load);
        for _ in 0..2 {
            inbox.ask(Ask::Exec(vec![0; MOST_ASKED_BYTES / 2])).unwrap();
        }
        let longer = || Ask::Signal(Sig::Custom("x".to_owned()));
        assert_eq!(inbox.ask(longer()), Err(Flooded));
        let inbox = Inbox::new(Arc::default());
        for _ in 0..MOST_ASKED {
            inbox.ask(Ask::Signal(Sig::INT)).unwrap();
        }
        assert_eq!(inbox.ask(Ask::Signal(Sig::INT)), Err(Flooded));
    }

    #[tokio::test]
    async fn who_says_again_and_again_that_it_is_at_its_end_says_it_once() {
        let inbox = Inbox::new(Arc::default());
        for _ in 0..10_000 {
            inbox.eof();
            inbox.data(b"more");
        }
        assert_eq!(inbox.queue().items.len(), 1);
        assert!(matches!(inbox.next().await, Some(Item::Eof)));
        inbox.eof();
        inbox.close();
        assert!(inbox.next().await.is_none());
    }

    #[tokio::test]
    async fn there_is_room_for_wishes_again_once_the_target_took_some() {
        let inbox = Inbox::new(Arc::default());
        let half = || Ask::Exec(vec![0; MOST_ASKED_BYTES / 2]);
        inbox.ask(half()).unwrap();
        inbox.ask(half()).unwrap();
        assert_eq!(inbox.ask(half()), Err(Flooded));
        assert!(inbox.next().await.is_some());
        inbox.ask(half()).unwrap();
        for _ in 0..MOST_REFUSED {
            inbox.refuse().unwrap();
        }
        assert_eq!(inbox.refuse(), Err(Flooded));
    }
}
