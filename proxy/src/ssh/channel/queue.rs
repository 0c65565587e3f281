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

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::ssh::channel::answer::{Answer, Asked};
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
    Setup(Asked<Setup>),
    Program(Asked<Program>),
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
    setup: VecDeque<Asked<Setup>>,
    program: Option<Asked<Program>>,
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
    /// A session without a program, and whether the client has announced that it sends no data. A client whose
    /// program the target refused may have sent some already.
    Opened { ended: bool, refused: bool },
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

impl ChannelQueue {
    /// A session's.
    pub(in crate::ssh) fn session(load: Arc<Load>) -> Self {
        Self::new(load, State::Opened { ended: false, refused: false })
    }

    /// A forward's.
    pub(in crate::ssh) fn forward(load: Arc<Load>) -> Self {
        Self::new(load, State::Forward { ended: false })
    }

    fn new(load: Arc<Load>, state: State) -> Self {
        let (waiting, closed) = (Mutex::new(Waiting::new(state)), CancellationToken::new());
        Self { load, waiting, arrived: Notify::new(), closed }
    }

    /// A session on its own.
    #[cfg(any(test, fuzzing))]
    pub(in crate::ssh) fn of_session() -> Self {
        Self::session(Arc::default())
    }
}

/// What a client sends. Requests return by what they are answered.
impl ChannelQueue {
    /// Adds what prepares a program. Once there is one, it changes nothing about it.
    pub(in crate::ssh) fn prepare(&self, setup: Setup) -> Result<Answer, Flooded> {
        let mut waiting = self.waiting();
        if !matches!(waiting.state, State::Opened { .. }) {
            return waiting.refuse();
        }
        let last = waiting.setup.back_mut().map(|last| &mut last.request);
        if let (Setup::Resize(size), Some(Setup::Resize(last))) = (&setup, last) {
            *last = *size;
            return Ok(Answer::Granted);
        }
        waiting.ask(setup.bytes())?;
        let (asked, answer) = if setup.is_answered() {
            Asked::new(setup)
        } else {
            (Asked::unanswered(setup), Answer::Granted)
        };
        waiting.setup.push_back(asked);
        self.arrived.notify_one();
        Ok(answer)
    }

    /// Starts the program of a session. There is one that the target takes: to ask for another one then ends the
    /// channel.
    pub(in crate::ssh) fn start(&self, program: Program) -> Result<Answer, Flooded> {
        let mut waiting = self.waiting();
        match waiting.state {
            State::Opened { ended: false, .. } => {
                waiting.ask(program.bytes())?;
                waiting.state = State::Running { ended: false };
                let (asked, answer) = Asked::new(program);
                waiting.program = Some(asked);
                self.arrived.notify_one();
                Ok(answer)
            }
            State::Opened { ended: true, .. } => self.end(&mut waiting, program.word(), AFTER_EOF),
            State::Running { .. } => self.end(&mut waiting, program.word(), SECOND_PROGRAM),
            State::Forward { .. } | State::Over => waiting.refuse(),
        }
    }

    /// The program of a session is refused here, which takes its place: the channel ends. The first one that the
    /// client asks for is answered as if it ran, so that the reason can be shown.
    pub(in crate::ssh) fn refuse_program(&self, refused: Refused) -> Result<Answer, Flooded> {
        let mut waiting = self.waiting();
        match waiting.state {
            State::Opened { .. } => {
                let _ = self.end(&mut waiting, refused.what, &refused.reason)?;
                Ok(Answer::Granted)
            }
            State::Running { .. } => self.end(&mut waiting, refused.what, SECOND_PROGRAM),
            State::Forward { .. } | State::Over => waiting.refuse(),
        }
    }

    /// Adds what goes to a program that runs. Of sizes that follow on each other only the last one matters.
    pub(in crate::ssh) fn control(&self, control: Control) -> Result<Answer, Flooded> {
        let mut waiting = self.waiting();
        match (waiting.state, control) {
            (State::Running { .. }, Control::Resize(size)) => {
                if let Some(Received::Control(Control::Resize(last))) = waiting.content.back_mut() {
                    *last = size;
                    return Ok(Answer::Granted);
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
            State::Opened { refused: false, .. } => return self.end_early(&mut waiting),
            State::Opened { .. } | State::Running { .. } | State::Forward { .. } | State::Over => {
                return;
            }
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
        if let State::Opened { refused: false, .. } = waiting.state {
            self.end_early(&mut waiting);
        }
    }

    /// The client sends no more data. It says so once.
    pub(in crate::ssh) fn eof(&self) {
        let mut waiting = self.waiting();
        match &mut waiting.state {
            State::Opened { ended, .. } => *ended = true,
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

    fn push_control(&self, waiting: &mut Waiting, control: Control) -> Result<Answer, Flooded> {
        waiting.ask(control.bytes())?;
        waiting.content.push_back(Received::Control(control));
        self.arrived.notify_one();
        Ok(Answer::Granted)
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
    ) -> Result<Answer, Flooded> {
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

    /// Whether the client sends no more data.
    pub(in crate::ssh) fn has_ended(&self) -> bool {
        match self.waiting().state {
            State::Opened { ended, .. } | State::Running { ended } | State::Forward { ended } => {
                ended
            }
            State::Over => true,
        }
    }

    /// The target doesn't run the program: the client may ask for another one, and what it sent to this one goes
    /// nowhere.
    pub(in crate::ssh) fn not_started(&self) {
        let mut waiting = self.waiting();
        if let State::Running { ended } = waiting.state {
            waiting.state = State::Opened { ended, refused: true };
            let left = waiting.drain();
            self.load.sub(left);
        }
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

    fn refuse(&mut self) -> Result<Answer, Flooded> {
        self.refusals += 1;
        if self.refusals > MOST_REFUSED { Err(Flooded) } else { Ok(Answer::Refused) }
    }

    fn end(&mut self, refused: Refused) {
        self.state = State::Over;
        self.refused = Some(refused);
    }

    fn preparation(&mut self) -> Option<Preparation> {
        if let Some(setup) = self.setup.pop_front() {
            self.answered(setup.request.bytes());
            return Some(Preparation::Setup(setup));
        }
        if let Some(program) = self.program.take() {
            self.answered(program.request.bytes());
            return Some(Preparation::Program(program));
        }
        self.refused.take().map(Preparation::Refused)
    }

    /// Drops what was sent to a program, and returns how many bytes that were.
    fn drain(&mut self) -> usize {
        let dropped = self.content.drain(..).map(|received| match received {
            Received::Data(bytes) => bytes.len(),
            Received::Control(_) | Received::Eof => 0,
        });
        dropped.sum()
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
        let left = self.waiting().drain();
        self.load.sub(left);
    }
}

#[cfg(test)]
mod tests;
