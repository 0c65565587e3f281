//! What a client asks for on a connection that was let in: passed on, or refused in words.
//!
//! Nothing here waits for a channel. Requests are answered by what the target and the rules allow, in the
//! order in which they came, and put into the channel's inbox; channels wait in a queue until the session
//! takes them on. Only where the target is to listen for the client its answer is waited for, which comes
//! over a connection of its own. Whatever leads around the recording is refused unless it is allowed.

use std::time::Duration;

use policies::Channel as Kind;
use russh::server::{ChannelOpenHandle, Msg, Session};
use russh::{Channel, ChannelId, ChannelOpenFailure};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::MOST_CHANNELS;
use super::calls::{Listen, Wanted};
use super::channel::SFTP;
use super::channel_requests::{Control, Program, Refused, Setup};
use super::door::{Done, Door, DoorError};
use super::lead::{Lead, Opened, ToTarget, not_allowed, not_permitted};

/// RFC 4254, section 5.1.
const PROHIBITED: u32 = 1;
/// The most places at which a target listens for one client.
const MOST_LISTENING: usize = 16;
/// The longest name of such a place.
const LONGEST_PLACE: usize = 256;
/// The longest name of a subsystem.
const LONGEST_NAME: usize = 256;
/// How long a target may take until it listens.
const PATIENCE: Duration = Duration::from_secs(20);

impl Door {
    /// Asks the session for a channel.
    pub(super) async fn lead(
        &mut self,
        lead: Lead,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) {
        let inboxes = &self.shared.inboxes;
        if inboxes.count() >= MOST_CHANNELS {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        let id = channel.id();
        // All that the client sends is taken from the handlers: the library's own queue is given up.
        let (_, out) = channel.split();
        let inbox = match &lead {
            Lead::Session => inboxes.session(id),
            Lead::Tcp { .. } | Lead::Socket { .. } => inboxes.forward(id),
        };
        let opened = Opened::Channel(ToTarget { lead, inbox, out, reply });
        if self.open.try_send(Box::new(opened)).is_err() {
            inboxes.forget(id);
        }
    }

    /// Refuses a channel, in words.
    pub(super) async fn turn_down(&self, what: &'static str, reply: ChannelOpenHandle) {
        let reason = self.why_not(what);
        reply.reject(ChannelOpenFailure::Other { code: PROHIBITED, reason: reason.clone() }).await;
        self.refused(what, reason);
    }

    /// What is refused is told, as far as there is room: it never reaches the target.
    pub(super) fn refused(&self, what: &'static str, reason: String) {
        let _ = self.open.try_send(Box::new(Opened::Refused { what, reason }));
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
    pub(super) fn start(
        &self,
        id: ChannelId,
        (kind, program): (Kind, Program),
        session: &mut Session,
    ) -> Done {
        let Some(inbox) = self.shared.inboxes.get(id) else {
            return Ok(session.channel_failure(id)?);
        };
        let taken = match self.may(kind) {
            Ok(()) => inbox.start(program)?,
            // Stock clients drop what they were told where a request fails: so it runs, and says why not.
            Err(reason) => inbox.refuse_program(Refused::new(kind.word(), reason))?,
        };
        answer(id, taken, session)
    }

    /// Asks for a subsystem. A target that reads a name up to its NUL takes it for another one than is
    /// decided on here: such names are none.
    pub(super) fn subsystem(&self, id: ChannelId, name: &str, session: &mut Session) -> Done {
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name || name.len() > LONGEST_NAME {
            let name: String = name.escape_debug().take(64).collect();
            let reason = format!("postern: `{name}` is no name of a subsystem");
            if let Some(inbox) = self.shared.inboxes.get(id) {
                inbox.refuse_program(Refused::new("subsystem", reason))?;
            }
            return Ok(session.channel_failure(id)?);
        }
        let kind = if name == SFTP { Kind::Sftp } else { Kind::Subsystem };
        self.start(id, (kind, Program::Subsystem(name.to_owned())), session)
    }

    /// Passes on what prepares a program.
    pub(super) fn prepare(&self, id: ChannelId, setup: Setup, session: &mut Session) -> Done {
        let taken = match self.shared.inboxes.get(id) {
            Some(inbox) => inbox.prepare(setup)?,
            None => false,
        };
        answer(id, taken, session)
    }

    /// Passes on what goes to a program that runs.
    pub(super) fn control(&self, id: ChannelId, control: Control, session: &mut Session) -> Done {
        let taken = match self.shared.inboxes.get(id) {
            Some(inbox) => inbox.control(control)?,
            None => false,
        };
        answer(id, taken, session)
    }

    /// Lets the target use what is the client's, where that is allowed; otherwise says why not, and the
    /// channel goes on without it.
    pub(super) fn lend(
        &self,
        id: ChannelId,
        (kind, setup): (Kind, Setup),
    ) -> Result<bool, DoorError> {
        let Some(inbox) = self.shared.inboxes.get(id) else {
            return Ok(false);
        };
        let Err(reason) = self.may(kind) else {
            return Ok(inbox.prepare(setup)?);
        };
        inbox.refuse()?;
        inbox.prepare(Setup::Tell(reason.clone()))?;
        self.refused(kind.word(), reason);
        Ok(false)
    }

    /// Has the target listen at a place, and returns the port that it chose, where it was to choose one.
    /// A client isn't told why it doesn't, except in what it shows with `-v`.
    pub(super) async fn listen(
        &mut self,
        at: Wanted,
        session: &mut Session,
    ) -> Result<Option<u32>, DoorError> {
        match self.listens(at.clone()).await {
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

    async fn listens(&self, at: Wanted) -> Result<(u32, CancellationToken), String> {
        if self.allowed.is_none() {
            return Err(self.why_not(at.kind().word()));
        }
        if self.listening.len() >= MOST_LISTENING || at.length() > LONGEST_PLACE {
            return Err("postern: the target listens at as many places as it may".to_owned());
        }
        let (answer, answered) = oneshot::channel();
        let until = CancellationToken::new();
        let listen = Listen { at, until: until.clone(), answer };
        let lost = || "postern: the target did not answer".to_owned();
        self.open.try_send(Box::new(Opened::Listen(listen))).map_err(|_| lost())?;
        let answer = timeout(PATIENCE, answered).await.map_err(|_| lost())?;
        Ok((answer.map_err(|_| lost())??, until))
    }

    /// Has the target listen there no longer. Says whether it did.
    pub(super) fn listen_no_longer(&mut self, at: &Wanted) -> bool {
        let found = self.listening.iter().position(|(place, _)| place == at);
        let ended = found.map(|found| self.listening.swap_remove(found));
        ended.inspect(|(_, until)| until.cancel()).is_some()
    }
}

fn answer(id: ChannelId, taken: bool, session: &mut Session) -> Done {
    if taken {
        return Ok(session.channel_success(id)?);
    }
    Ok(session.channel_failure(id)?)
}
