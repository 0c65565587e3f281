//! What a client sent on one channel and the target hasn't taken yet.
//!
//! The library's loop reads a whole connection, and calls our handler for every packet: a handler that
//! waited for the target would keep the client's window adjustments unread, and with both directions
//! full nothing would ever move. So a packet is put here and the handler returns. The library grants
//! new window when data arrives, though, not when it is passed on; while much waits, it is told to
//! grant next to nothing, and the handler takes its time ([`load`]).
//!
//! A session is opened, then runs one program, and is over when its client breaks that order. What waits is
//! kept by these states: what prepares the program, the program, and what belongs to it. So bytes have a
//! place only behind a program, and a second program has none.

mod load;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use russh::ChannelId;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::channel_requests::{Control, Program, Refused, Setup};
pub(super) use load::{Flooded, Load, WINDOW};

/// The most that is asked for on a channel before the target has taken any of it, and its bytes.
const MOST_ASKED: usize = 256;
const MOST_ASKED_BYTES: usize = 256 * 1024;
/// The most that is refused on one channel: each answer may lie in wait for a client that reads none.
const MOST_REFUSED: usize = 64;

/// Why a channel ends whose client breaks the order of a session.
const SECOND_PROGRAM: &str =
    "postern: this channel has had its program: open another channel for the next one";
const EARLY_DATA: &str = "postern: data came before any program was asked for";
const AFTER_EOF: &str = "postern: a program was asked for after the end of its input";

/// What comes of a session that runs no program yet.
#[derive(Debug)]
pub(super) enum Opening {
    Setup(Setup),
    Program(Program),
    Refused(Refused),
}

/// What comes of a channel whose bytes pass.
#[derive(Debug)]
pub(super) enum Item {
    Data(Bytes),
    Control(Control),
    Eof,
    Refused(Refused),
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

#[derive(Debug)]
struct Queue {
    state: State,
    setup: VecDeque<Setup>,
    program: Option<Program>,
    content: VecDeque<Waiting>,
    /// Why the channel is over, until somebody has recorded it.
    refused: Option<Refused>,
    asked: usize,
    asked_bytes: usize,
    refusals: usize,
}

/// What a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A session without a program, and whether the client has said that it sends no data.
    Opened { ended: bool },
    /// A session with its program.
    Running { ended: bool },
    /// A forward, which runs no program.
    Forward { ended: bool },
    /// Nothing any more.
    Over,
}

#[derive(Debug)]
enum Waiting {
    Data(BytesMut),
    Control(Control),
    Eof,
}

impl Inboxes {
    pub(super) fn get(&self, id: ChannelId) -> Option<Arc<Inbox>> {
        self.by_channel().get(&id).cloned()
    }

    /// The inbox of a session that a client opens.
    pub(super) fn session(&self, id: ChannelId) -> Arc<Inbox> {
        self.of(id, State::Opened { ended: false })
    }

    /// The inbox of a forward, made where there is none yet: one that the gateway opened is heard of from two
    /// sides.
    pub(super) fn forward(&self, id: ChannelId) -> Arc<Inbox> {
        self.of(id, State::Forward { ended: false })
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

    fn of(&self, id: ChannelId, state: State) -> Arc<Inbox> {
        let made = || Arc::new(Inbox::new(Arc::clone(&self.load), state));
        Arc::clone(self.by_channel().entry(id).or_insert_with(made))
    }

    fn by_channel(&self) -> MutexGuard<'_, HashMap<ChannelId, Arc<Inbox>>> {
        self.by_channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client sends. Each says whether it was taken: where it wasn't, the client is told no.
impl Inbox {
    fn new(load: Arc<Load>, state: State) -> Self {
        let (queue, closed) = (Mutex::new(Queue::new(state)), CancellationToken::new());
        Self { load, queue, arrived: Notify::new(), closed }
    }

    /// A session on its own.
    #[cfg(any(test, fuzzing))]
    pub(super) fn of_session() -> Self {
        Self::new(Arc::default(), State::Opened { ended: false })
    }

    /// Adds what prepares a program. Once there is one, it changes nothing about it.
    pub(super) fn prepare(&self, setup: Setup) -> Result<bool, Flooded> {
        let mut queue = self.queue();
        if !matches!(queue.state, State::Opened { .. }) {
            return queue.refuse();
        }
        if let (Setup::Resize(size), Some(Setup::Resize(last))) = (&setup, queue.setup.back_mut()) {
            *last = *size;
            return Ok(true);
        }
        queue.ask(setup.bytes())?;
        queue.setup.push_back(setup);
        self.arrived.notify_one();
        Ok(true)
    }

    /// Starts the program of a session. There is one, ever: to ask for another one ends the channel.
    pub(super) fn start(&self, program: Program) -> Result<bool, Flooded> {
        let mut queue = self.queue();
        match queue.state {
            State::Opened { ended: false } => {
                queue.ask(program.bytes())?;
                queue.state = State::Running { ended: false };
                queue.program = Some(program);
                self.arrived.notify_one();
                Ok(true)
            }
            State::Opened { ended: true } => self.end(&mut queue, program.word(), AFTER_EOF),
            State::Running { .. } => self.end(&mut queue, program.word(), SECOND_PROGRAM),
            State::Forward { .. } | State::Over => queue.refuse(),
        }
    }

    /// The program of a session is refused, which takes its place: the channel ends. Says whether it was the
    /// first that the client asked for.
    pub(super) fn refuse_program(&self, refused: Refused) -> Result<bool, Flooded> {
        let mut queue = self.queue();
        match queue.state {
            State::Opened { .. } => {
                self.end(&mut queue, refused.what, &refused.reason)?;
                Ok(true)
            }
            State::Running { .. } => self.end(&mut queue, refused.what, SECOND_PROGRAM),
            State::Forward { .. } | State::Over => queue.refuse(),
        }
    }

    /// Adds what goes to a program that runs. Of sizes that follow on each other only the last one matters.
    pub(super) fn control(&self, control: Control) -> Result<bool, Flooded> {
        let mut queue = self.queue();
        match (queue.state, control) {
            (State::Running { .. }, Control::Resize(size)) => {
                if let Some(Waiting::Control(Control::Resize(last))) = queue.content.back_mut() {
                    *last = size;
                    return Ok(true);
                }
                self.push_control(&mut queue, Control::Resize(size))
            }
            (State::Running { .. }, control) => self.push_control(&mut queue, control),
            (State::Opened { .. }, Control::Resize(size)) => {
                drop(queue);
                self.prepare(Setup::Resize(size))
            }
            (State::Opened { .. } | State::Forward { .. } | State::Over, _) => queue.refuse(),
        }
    }

    /// Adds bytes; small packets are put together.
    pub(super) fn data(&self, bytes: &[u8]) {
        let mut queue = self.queue();
        match queue.state {
            State::Running { ended: false } | State::Forward { ended: false } => {}
            State::Opened { .. } => return self.end_early(&mut queue),
            State::Running { .. } | State::Forward { .. } | State::Over => return,
        }
        match queue.content.back_mut() {
            Some(Waiting::Data(waiting)) => waiting.extend_from_slice(bytes),
            Some(Waiting::Control(_) | Waiting::Eof) | None => {
                queue.content.push_back(Waiting::Data(BytesMut::from(bytes)));
            }
        }
        drop(queue);
        self.load.add(bytes.len());
        self.arrived.notify_one();
    }

    /// Bytes that aren't standard input. No program of a client takes any: they go nowhere.
    pub(super) fn extended_data(&self) {
        let mut queue = self.queue();
        if let State::Opened { .. } = queue.state {
            self.end_early(&mut queue);
        }
    }

    /// The client sends no more data. It says so once.
    pub(super) fn eof(&self) {
        let mut queue = self.queue();
        match &mut queue.state {
            State::Opened { ended } => *ended = true,
            State::Running { ended } | State::Forward { ended } => {
                if !std::mem::replace(ended, true) {
                    queue.content.push_back(Waiting::Eof);
                    self.arrived.notify_one();
                }
            }
            State::Over => {}
        }
    }

    /// Something that was asked for is refused, and the channel goes on.
    pub(super) fn refuse(&self) -> Result<(), Flooded> {
        self.queue().refuse().map(|_| ())
    }

    /// The client is done with the channel.
    pub(super) fn close(&self) {
        self.closed.cancel();
        self.arrived.notify_one();
    }

    fn push_control(&self, queue: &mut Queue, control: Control) -> Result<bool, Flooded> {
        queue.ask(control.bytes())?;
        queue.content.push_back(Waiting::Control(control));
        self.arrived.notify_one();
        Ok(true)
    }

    fn end_early(&self, queue: &mut Queue) {
        queue.end(Refused::new("data", EARLY_DATA));
        self.arrived.notify_one();
    }

    fn end(&self, queue: &mut Queue, what: &'static str, reason: &str) -> Result<bool, Flooded> {
        queue.end(Refused::new(what, reason));
        self.arrived.notify_one();
        queue.refuse()
    }
}

/// What the target takes.
impl Inbox {
    /// Resolves when the client is done with the channel.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// What comes next of a session that runs no program; none once the channel is closed and all was taken.
    /// Cancel-safe.
    pub(super) async fn opening(&self) -> Option<Opening> {
        self.next(Queue::opening).await
    }

    /// What comes next of a channel whose bytes pass; none once it is closed and all was taken. Cancel-safe.
    pub(super) async fn content(&self) -> Option<Item> {
        self.next(|queue| queue.content(&self.load)).await
    }

    /// Why the channel is over, where nobody has taken that yet.
    pub(super) fn refused(&self) -> Option<Refused> {
        self.queue().refused.take()
    }

    async fn next<T>(&self, pop: impl Fn(&mut Queue) -> Option<T>) -> Option<T> {
        loop {
            let arrived = self.arrived.notified();
            if let Some(next) = pop(&mut self.queue()) {
                return Some(next);
            }
            if self.closed.is_cancelled() {
                return None;
            }
            arrived.await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn new(state: State) -> Self {
        Self {
            state,
            setup: VecDeque::new(),
            program: None,
            content: VecDeque::new(),
            refused: None,
            asked: 0,
            asked_bytes: 0,
            refusals: 0,
        }
    }

    /// Takes room for something that is asked for.
    fn ask(&mut self, bytes: usize) -> Result<(), Flooded> {
        let bytes = self.asked_bytes.saturating_add(bytes);
        if self.asked >= MOST_ASKED || bytes > MOST_ASKED_BYTES {
            return Err(Flooded);
        }
        self.asked += 1;
        self.asked_bytes = bytes;
        Ok(())
    }

    /// Gives the room back.
    fn answered(&mut self, bytes: usize) {
        self.asked = self.asked.saturating_sub(1);
        self.asked_bytes = self.asked_bytes.saturating_sub(bytes);
    }

    fn refuse(&mut self) -> Result<bool, Flooded> {
        self.refusals += 1;
        if self.refusals > MOST_REFUSED { Err(Flooded) } else { Ok(false) }
    }

    fn end(&mut self, refused: Refused) {
        self.state = State::Over;
        self.refused = Some(refused);
    }

    fn opening(&mut self) -> Option<Opening> {
        if let Some(setup) = self.setup.pop_front() {
            self.answered(setup.bytes());
            return Some(Opening::Setup(setup));
        }
        if let Some(program) = self.program.take() {
            self.answered(program.bytes());
            return Some(Opening::Program(program));
        }
        self.refused.take().map(Opening::Refused)
    }

    fn content(&mut self, load: &Load) -> Option<Item> {
        match self.content.pop_front() {
            Some(Waiting::Data(bytes)) => {
                load.sub(bytes.len());
                Some(Item::Data(bytes.freeze()))
            }
            Some(Waiting::Control(control)) => {
                self.answered(control.bytes());
                Some(Item::Control(control))
            }
            Some(Waiting::Eof) => Some(Item::Eof),
            None => self.refused.take().map(Item::Refused),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let left: usize = self
            .queue()
            .content
            .iter()
            .map(|waiting| match waiting {
                Waiting::Data(bytes) => bytes.len(),
                Waiting::Control(_) | Waiting::Eof => 0,
            })
            .sum();
        self.load.sub(left);
    }
}

#[cfg(test)]
mod tests;
