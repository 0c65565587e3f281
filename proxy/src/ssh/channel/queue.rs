//! What a client sent on one channel and the target hasn't taken yet.
//!
//! The library's loop reads a whole connection, and calls our handler for every packet: a handler that
//! waited for the target would keep the client's window adjustments unread, and with both directions
//! full nothing would ever move. So a packet is put here and the handler returns. The library grants
//! new window when data arrives, though, not when it is passed on; while much waits, it grants
//! next to nothing, and the handler takes its time ([`load`]).
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

use crate::ssh::channel::request::{Control, Program, Refused, Setup};
pub(in crate::ssh) use load::{Flooded, Load, WINDOW};

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
pub(in crate::ssh) enum Preparation {
    Setup(Setup),
    Program(Program),
    Refused(Refused),
}

/// What comes of a channel whose bytes pass.
#[derive(Debug)]
pub(in crate::ssh) enum Item {
    Data(Bytes),
    Control(Control),
    Eof,
    Refused(Refused),
}

/// The queues of a connection, by their channels.
#[derive(Debug, Default)]
pub(in crate::ssh) struct ChannelQueues {
    pub(in crate::ssh) load: Arc<Load>,
    by_channel: Mutex<HashMap<ChannelId, Arc<ChannelQueue>>>,
}

/// What waits on one channel.
#[derive(Debug)]
pub(in crate::ssh) struct ChannelQueue {
    load: Arc<Load>,
    waiting: Mutex<Waiting>,
    arrived: Notify,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Waiting {
    state: State,
    setup: VecDeque<Setup>,
    program: Option<Program>,
    content: VecDeque<Received>,
    /// Why the channel is over, until that is recorded.
    refused: Option<Refused>,
    asked: usize,
    asked_bytes: usize,
    refusals: usize,
}

/// What a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A session without a program, and whether the client has announced that it sends no data.
    Opened { ended: bool },
    /// A session with its program.
    Running { ended: bool },
    /// A forward, which runs no program.
    Forward { ended: bool },
    /// Nothing any more.
    Over,
}

#[derive(Debug)]
enum Received {
    Data(BytesMut),
    Control(Control),
    Eof,
}

impl ChannelQueues {
    pub(in crate::ssh) fn get(&self, id: ChannelId) -> Option<Arc<ChannelQueue>> {
        self.by_channel().get(&id).cloned()
    }

    /// The queue of a session that a client opens.
    pub(in crate::ssh) fn session(&self, id: ChannelId) -> Arc<ChannelQueue> {
        self.of(id, State::Opened { ended: false })
    }

    /// The queue of a forward, made where there is none yet: one that the gateway opened is heard of from two
    /// sides.
    pub(in crate::ssh) fn forward(&self, id: ChannelId) -> Arc<ChannelQueue> {
        self.of(id, State::Forward { ended: false })
    }

    /// The client is done with the channel.
    pub(in crate::ssh) fn close(&self, id: ChannelId) {
        if let Some(queue) = self.by_channel().remove(&id) {
            queue.close();
        }
    }

    /// A channel that was never opened.
    pub(in crate::ssh) fn forget(&self, id: ChannelId) {
        self.by_channel().remove(&id);
    }

    pub(in crate::ssh) fn count(&self) -> usize {
        self.by_channel().len()
    }

    fn of(&self, id: ChannelId, state: State) -> Arc<ChannelQueue> {
        let made = || Arc::new(ChannelQueue::new(Arc::clone(&self.load), state));
        Arc::clone(self.by_channel().entry(id).or_insert_with(made))
    }

    fn by_channel(&self) -> MutexGuard<'_, HashMap<ChannelId, Arc<ChannelQueue>>> {
        self.by_channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client sends. Each returns whether it was taken: where it wasn't, the request fails.
impl ChannelQueue {
    fn new(load: Arc<Load>, state: State) -> Self {
        let (waiting, closed) = (Mutex::new(Waiting::new(state)), CancellationToken::new());
        Self { load, waiting, arrived: Notify::new(), closed }
    }

    /// A session on its own.
    #[cfg(any(test, fuzzing))]
    pub(in crate::ssh) fn of_session() -> Self {
        Self::new(Arc::default(), State::Opened { ended: false })
    }

    /// Adds what prepares a program. Once there is one, it changes nothing about it.
    pub(in crate::ssh) fn prepare(&self, setup: Setup) -> Result<bool, Flooded> {
        let mut waiting = self.waiting();
        if !matches!(waiting.state, State::Opened { .. }) {
            return waiting.refuse();
        }
        if let (Setup::Resize(size), Some(Setup::Resize(last))) = (&setup, waiting.setup.back_mut())
        {
            *last = *size;
            return Ok(true);
        }
        waiting.ask(setup.bytes())?;
        waiting.setup.push_back(setup);
        self.arrived.notify_one();
        Ok(true)
    }

    /// Starts the program of a session. There is one, ever: to ask for another one ends the channel.
    pub(in crate::ssh) fn start(&self, program: Program) -> Result<bool, Flooded> {
        let mut waiting = self.waiting();
        match waiting.state {
            State::Opened { ended: false } => {
                waiting.ask(program.bytes())?;
                waiting.state = State::Running { ended: false };
                waiting.program = Some(program);
                self.arrived.notify_one();
                Ok(true)
            }
            State::Opened { ended: true } => self.end(&mut waiting, program.word(), AFTER_EOF),
            State::Running { .. } => self.end(&mut waiting, program.word(), SECOND_PROGRAM),
            State::Forward { .. } | State::Over => waiting.refuse(),
        }
    }

    /// The program of a session is refused, which takes its place: the channel ends. Says whether it was the
    /// first that the client asked for.
    pub(in crate::ssh) fn refuse_program(&self, refused: Refused) -> Result<bool, Flooded> {
        let mut waiting = self.waiting();
        match waiting.state {
            State::Opened { .. } => {
                self.end(&mut waiting, refused.what, &refused.reason)?;
                Ok(true)
            }
            State::Running { .. } => self.end(&mut waiting, refused.what, SECOND_PROGRAM),
            State::Forward { .. } | State::Over => waiting.refuse(),
        }
    }

    /// Adds what goes to a program that runs. Of sizes that follow on each other only the last one matters.
    pub(in crate::ssh) fn control(&self, control: Control) -> Result<bool, Flooded> {
        let mut waiting = self.waiting();
        match (waiting.state, control) {
            (State::Running { .. }, Control::Resize(size)) => {
                if let Some(Received::Control(Control::Resize(last))) = waiting.content.back_mut() {
                    *last = size;
                    return Ok(true);
                }
                self.push_control(&mut waiting, Control::Resize(size))
            }
            (State::Running { .. }, control) => self.push_control(&mut waiting, control),
            (State::Opened { .. }, Control::Resize(size)) => {
                drop(waiting);
                self.prepare(Setup::Resize(size))
            }
            (State::Opened { .. } | State::Forward { .. } | State::Over, _) => waiting.refuse(),
        }
    }

    /// Adds bytes; small packets are put together.
    pub(in crate::ssh) fn data(&self, bytes: &[u8]) {
        let mut waiting = self.waiting();
        match waiting.state {
            State::Running { ended: false } | State::Forward { ended: false } => {}
            State::Opened { .. } => return self.end_early(&mut waiting),
            State::Running { .. } | State::Forward { .. } | State::Over => return,
        }
        match waiting.content.back_mut() {
            Some(Received::Data(waiting)) => waiting.extend_from_slice(bytes),
            Some(Received::Control(_) | Received::Eof) | None => {
                waiting.content.push_back(Received::Data(BytesMut::from(bytes)));
            }
        }
        drop(waiting);
        self.load.add(bytes.len());
        self.arrived.notify_one();
    }

    /// Bytes that aren't standard input. No program of a client takes any: they go nowhere.
    pub(in crate::ssh) fn extended_data(&self) {
        let mut waiting = self.waiting();
        if let State::Opened { .. } = waiting.state {
            self.end_early(&mut waiting);
        }
    }

    /// The client sends no more data. It says so once.
    pub(in crate::ssh) fn eof(&self) {
        let mut waiting = self.waiting();
        match &mut waiting.state {
            State::Opened { ended } => *ended = true,
            State::Running { ended } | State::Forward { ended } => {
                if !std::mem::replace(ended, true) {
                    waiting.content.push_back(Received::Eof);
                    self.arrived.notify_one();
                }
            }
            State::Over => {}
        }
    }

    /// Something that was asked for is refused, and the channel goes on.
    pub(in crate::ssh) fn refuse(&self) -> Result<(), Flooded> {
        self.waiting().refuse().map(|_| ())
    }

    /// The client is done with the channel.
    pub(in crate::ssh) fn close(&self) {
        self.closed.cancel();
        self.arrived.notify_one();
    }

    fn push_control(&self, waiting: &mut Waiting, control: Control) -> Result<bool, Flooded> {
        waiting.ask(control.bytes())?;
        waiting.content.push_back(Received::Control(control));
        self.arrived.notify_one();
        Ok(true)
    }

    fn end_early(&self, waiting: &mut Waiting) {
        waiting.end(Refused::new("data", EARLY_DATA));
        self.arrived.notify_one();
    }

    fn end(
        &self,
        waiting: &mut Waiting,
        what: &'static str,
        reason: &str,
    ) -> Result<bool, Flooded> {
        waiting.end(Refused::new(what, reason));
        self.arrived.notify_one();
        waiting.refuse()
    }
}

/// What the target takes.
impl ChannelQueue {
    /// Resolves when the client is done with the channel.
    pub(in crate::ssh) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// What comes next of a session that runs no program; none once the channel is closed and all was taken.
    /// Cancel-safe.
    pub(in crate::ssh) async fn preparation(&self) -> Option<Preparation> {
        self.next(Waiting::preparation).await
    }

    /// What comes next of a channel whose bytes pass; none once it is closed and all was taken. Cancel-safe.
    pub(in crate::ssh) async fn content(&self) -> Option<Item> {
        self.next(|waiting| waiting.content(&self.load)).await
    }

    /// Why the channel is over, unless that was taken before.
    pub(in crate::ssh) fn refused(&self) -> Option<Refused> {
        self.waiting().refused.take()
    }

    async fn next<T>(&self, pop: impl Fn(&mut Waiting) -> Option<T>) -> Option<T> {
        loop {
            let arrived = self.arrived.notified();
            if let Some(next) = pop(&mut self.waiting()) {
                return Some(next);
            }
            if self.closed.is_cancelled() {
                return None;
            }
            arrived.await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
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

    fn preparation(&mut self) -> Option<Preparation> {
        if let Some(setup) = self.setup.pop_front() {
            self.answered(setup.bytes());
            return Some(Preparation::Setup(setup));
        }
        if let Some(program) = self.program.take() {
            self.answered(program.bytes());
            return Some(Preparation::Program(program));
        }
        self.refused.take().map(Preparation::Refused)
    }

    fn content(&mut self, load: &Load) -> Option<Item> {
        match self.content.pop_front() {
            Some(Received::Data(bytes)) => {
                load.sub(bytes.len());
                Some(Item::Data(bytes.freeze()))
            }
            Some(Received::Control(control)) => {
                self.answered(control.bytes());
                Some(Item::Control(control))
            }
            Some(Received::Eof) => Some(Item::Eof),
            None => self.refused.take().map(Item::Refused),
        }
    }
}

impl Drop for ChannelQueue {
    fn drop(&mut self) {
        let left: usize = self
            .waiting()
            .content
            .iter()
            .map(|waiting| match waiting {
                Received::Data(bytes) => bytes.len(),
                Received::Control(_) | Received::Eof => 0,
            })
            .sum();
        self.load.sub(left);
    }
}

#[cfg(test)]
mod tests;
