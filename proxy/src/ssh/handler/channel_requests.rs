//! What a client asks for on a connection that was let in: passed on, or refused with the reason.
//!
//! Requests are answered by the rules, and where these allow them by the target, in the order in which they
//! came. They go through the channel's queue; channels wait in a queue until the session takes them on. What
//! waits for a target's answer here is bounded (`channel/answer.rs`), and no channel of the same connection
//! can hold it up: each has a connection to the target of its own, and so has each place at which the target
//! listens for the client. Whatever leads around the recording is refused unless it is allowed.

use std::time::Duration;

use policies::Channel as Kind;
use russh::server::{ChannelOpenHandle, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::ssh::channel::answer::Answer;
use crate::ssh::channel::channel_open::{
    ChannelOpen, ChannelToOpen, ClientRequest, not_allowed, not_permitted,
};
use crate::ssh::channel::content::SFTP;
use crate::ssh::channel::request::{Control, Program, Refused, Setup};
use crate::ssh::connection::{MOST_CHANNELS, MOST_OPENED};
use crate::ssh::handler::{ClientHandler, Done, HandlerError};
use crate::ssh::upstream::remote_forward::{ListenRequest, RemoteForward};

/// RFC 4254, section 5.1.
const PROHIBITED: u32 = 1;
const SHORTAGE: u32 = 4;
/// The most places at which a target listens for one client.
const MOST_LISTENING: usize = 16;
/// The longest name of such a place.
const LONGEST_PLACE: usize = 256;
/// The longest name of a subsystem.
const LONGEST_NAME: usize = 256;
/// How long a target may take until it listens.
const TIMEOUT: Duration = Duration::from_secs(20);

impl ClientHandler {
    /// Asks the session for a channel.
    pub(in crate::ssh) async fn open_channel(
        &mut self,
        open: ChannelOpen,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) {
        let queues = &self.shared.queues;
        if queues.count() >= MOST_CHANNELS {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        if self.opened >= MOST_OPENED {
            let reason =
                "postern: this connection has opened as many channels as it may: open another one";
            let (code, reason) = (SHORTAGE, reason.to_owned());
            return reply.reject(ChannelOpenFailure::Other { code, reason }).await;
        }
        self.opened += 1;
        let id = channel.id();
        // All that the client sends is taken from the handlers: the library's own queue is given up.
        let (_, out) = channel.split();
        let queue = match &open {
            ChannelOpen::Session => queues.session(id),
            ChannelOpen::Tcp { .. } | ChannelOpen::Socket { .. } => queues.forward(id),
        };
        let request = ClientRequest::Channel(ChannelToOpen { open, queue, out, reply });
        // One for which there is no room is dropped, which refuses it.
        let _ = self.requests.try_send(Box::new(request));
    }

    /// Refuses a channel, with the reason.
    pub(in crate::ssh) async fn turn_down(&self, what: &'static str, reply: ChannelOpenHandle) {
        let reason = self.why_not(what);
        reply.reject(ChannelOpenFailure::Other { code: PROHIBITED, reason: reason.clone() }).await;
        self.refused(what, reason);
    }

    /// Has the refusal recorded, as far as there is room: what is refused never reaches the target.
    pub(in crate::ssh) fn refused(&self, what: &'static str, reason: String) {
        let _ = self.requests.try_send(Box::new(ClientRequest::Refused { what, reason }));
    }

    fn why_not(&self, what: &str) -> String {
        if self.allowed.is_some() {
            not_allowed(what)
        } else {
            "postern: this connection names no target: ssh LOGIN@TARGET@GATE opens one".to_owned()
        }
    }

    /// Whether the target and the rules allow this; otherwise why not.
    fn may(&self, kind: Kind) -> Result<(), String> {
        if !self.allowed.as_ref().is_some_and(|ssh| ssh.allows(kind)) {
            return Err(self.why_not(kind.word()));
        }
        let permitted = self.shared.rights.get();
        let permitted = permitted.is_some_and(|rights| rights.channels.contains(&kind));
        if permitted { Ok(()) } else { Err(not_permitted(kind)) }
    }

    /// Starts the program of a channel where it is allowed; otherwise says why not and ends the channel.
    pub(in crate::ssh) async fn start(
        &self,
        id: ChannelId,
        kind: Kind,
        program: Program,
        session: &mut Session,
    ) -> Done {
        let Some(queue) = self.shared.queues.get(id) else {
            return Ok(session.channel_failure(id)?);
        };
        let taken = match self.may(kind) {
            Ok(()) => queue.start(program)?,
            // Stock clients drop the reason where a request fails: so it seems to run, and prints the reason.
            Err(reason) => queue.refuse_program(Refused::new(kind.word(), reason))?,
        };
        // The task of a channel that ends drops what it hasn't answered, once nobody else holds its queue.
        drop(queue);
        answer(id, taken, session).await
    }

    /// Asks for a subsystem. A target that reads a name up to its NUL takes it for another one than is
    /// decided on here: such names are none.
    pub(in crate::ssh) async fn subsystem(
        &self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Done {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name || name.len() > LONGEST_NAME {
            let name: String = name.escape_debug().take(64).collect();
            let reason = format!("postern: `{name}` is no name of a subsystem");
            if let Some(queue) = self.shared.queues.get(id) {
                let _ = queue.refuse_program(Refused::new("subsystem", reason))?;
            }
            return Ok(session.channel_failure(id)?);
        }
        let kind = if name == SFTP { Kind::Sftp } else { Kind::Subsystem };
        self.start(id, kind, Program::Subsystem(name.to_owned()), session).await
    }

    /// Passes on what prepares a program.
    pub(in crate::ssh) async fn prepare(
        &self,
        id: ChannelId,
        setup: Setup,
        session: &mut Session,
    ) -> Done {
        let queue = self.shared.queues.get(id);
        let taken = queue.map_or(Ok(Answer::Refused), |queue| queue.prepare(setup))?;
        answer(id, taken, session).await
    }

    /// Passes on what goes to a program that runs.
    pub(in crate::ssh) async fn control(
        &self,
        id: ChannelId,
        control: Control,
        session: &mut Session,
    ) -> Done {
        let queue = self.shared.queues.get(id);
        let taken = queue.map_or(Ok(Answer::Refused), |queue| queue.control(control))?;
        answer(id, taken, session).await
    }

    /// Lets the target use what is the client's, where that is allowed; otherwise says why not, and the
    /// channel goes on without it.
    pub(in crate::ssh) async fn forward(
        &self,
        id: ChannelId,
        kind: Kind,
        setup: Setup,
    ) -> Result<bool, HandlerError> {
        let Some(queue) = self.shared.queues.get(id) else {
            return Ok(false);
        };
        let Err(reason) = self.may(kind) else {
            let taken = queue.prepare(setup)?;
            drop(queue);
            return Ok(taken.granted().await);
        };
        queue.refuse()?;
        let _ = queue.prepare(Setup::Print(reason.clone()))?;
        self.refused(kind.word(), reason);
        Ok(false)
    }

    /// Has the target listen at a place, and returns the port that it chose, where it was to choose one.
    /// A client shows why it doesn't only with `-v`.
    pub(in crate::ssh) async fn remote_forward(
        &mut self,
        at: RemoteForward,
        session: &mut Session,
    ) -> Result<Option<u32>, HandlerError> {
        match self.start_remote_forward(at.clone()).await {
            Ok((port, until)) => {
                self.listening.push((at.chosen(port), until));
                Ok(Some(port))
            }
            Err(reason) => {
                session.debug(true, &reason, "")?;
                Ok(None)
            }
        }
    }

    async fn start_remote_forward(
        &self,
        at: RemoteForward,
    ) -> Result<(u32, CancellationToken), String> {
        if self.allowed.is_none() {
            return Err(self.why_not(at.kind().word()));
        }
        if self.listening.len() >= MOST_LISTENING || at.length() > LONGEST_PLACE {
            return Err("postern: the target listens at as many places as it may".to_owned());
        }
        let (answer, answered) = oneshot::channel();
        let until = CancellationToken::new();
        let listen = ListenRequest { at, until: until.clone(), answer };
        let lost = || "postern: the target did not answer".to_owned();
        self.requests.try_send(Box::new(ClientRequest::Listen(listen))).map_err(|_| lost())?;
        let answer = timeout(TIMEOUT, answered).await.map_err(|_| lost())?;
        Ok((answer.map_err(|_| lost())??, until))
    }

    /// Has the target listen there no longer. Says whether it did.
    pub(in crate::ssh) fn cancel_remote_forward(&mut self, at: &RemoteForward) -> bool {
        let found = self.listening.iter().position(|(place, _)| place == at);
        let ended = found.map(|found| self.listening.swap_remove(found));
        ended.inspect(|(_, until)| until.cancel()).is_some()
    }
}

async fn answer(id: ChannelId, answer: Answer, session: &mut Session) -> Done {
    if answer.granted().await {
        return Ok(session.channel_success(id)?);
    }
    Ok(session.channel_failure(id)?)
}
