//! The protocol towards a client: what the library calls, and how it is answered.
//!
//! Nothing here waits for the target. Requests are answered by what the target allows, in the order in
//! which they came, and put into the channel's inbox; channels wait in a queue until the session takes
//! them on. Whatever leads around the recording is refused, with words that say so.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use policies::{Channel as Kind, Ssh};
use russh::server::{
    Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Response, Session,
    VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Pty, Sig};
use ssh_key::{Algorithm, Certificate};
use tokio::sync::{mpsc, oneshot};

use super::enter::Entered;
use super::inbox::{Ask, Flooded, Inbox, Load, Size};
use super::lead::{Lead, NOT_RUN, Opened, ToTarget, not_permitted};
use super::wait::Waiting;
use super::{MOST_CHANNELS, Permits, Visit, identify};

/// RFC 4254, section 5.1.
const PROHIBITED: u32 = 1;
/// The longest value of an environment variable that passes.
const LONGEST_VALUE: usize = 4 * 1024;
/// The longest command line.
const LONGEST_COMMAND: usize = 128 * 1024;

/// One client's door.
pub(super) struct Door {
    pub(super) visit: Arc<Visit>,
    /// How the library is told to disconnect.
    pub(super) phone: Arc<OnceLock<Handle>>,
    pub(super) waiting: Option<Waiting>,
    pub(super) entered: Option<Entered>,
    /// What the target allows, once somebody was let in to one.
    pub(super) allowed: Option<Arc<Ssh>>,
    /// What the rules let the session do, once it has begun.
    rights: Permits,
    enter: Option<oneshot::Sender<Entered>>,
    open: mpsc::Sender<Opened>,
    channels: HashMap<ChannelId, Arc<Inbox>>,
    load: Arc<Load>,
}

/// What ends a connection from inside a handler.
#[derive(Debug, thiserror::Error)]
pub(super) enum DoorError {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error("the client sent more than it may")]
    Flooded,
}

impl From<Flooded> for DoorError {
    fn from(_: Flooded) -> Self {
        Self::Flooded
    }
}

type Done = Result<(), DoorError>;

impl Door {
    pub(super) fn new(
        visit: Arc<Visit>,
        enter: oneshot::Sender<Entered>,
        open: mpsc::Sender<Opened>,
        (phone, rights): (Arc<OnceLock<Handle>>, Permits),
    ) -> Self {
        Self {
            visit,
            phone,
            rights,
            waiting: None,
            entered: None,
            allowed: None,
            enter: Some(enter),
            open,
            channels: HashMap::new(),
            load: Arc::default(),
        }
    }

    fn allows(&self, kind: Kind) -> bool {
        self.allowed.as_ref().is_some_and(|ssh| ssh.allows(kind))
    }

    /// Asks the session for a channel.
    async fn lead(&mut self, lead: Lead, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        if self.channels.len() >= MOST_CHANNELS {
            return reply.reject(ChannelOpenFailure::ResourceShortage).await;
        }
        let id = channel.id();
        // All that the client sends is taken from the handlers: the library's own queue is given up.
        let (_, out) = channel.split();
        let inbox = Arc::new(Inbox::new(Arc::clone(&self.load)));
        let opened = Opened::Channel(ToTarget { lead, inbox: Arc::clone(&inbox), out, reply });
        if self.open.try_send(opened).is_ok() {
            self.channels.insert(id, inbox);
        }
    }

    /// Refuses a channel, in words.
    async fn turn_down(&self, what: &'static str, reply: ChannelOpenHandle) {
        let reason = self.why_not(what);
        reply.reject(ChannelOpenFailure::Other { code: PROHIBITED, reason: reason.clone() }).await;
        self.refused(what, reason);
    }

    fn why_not(&self, what: &str) -> String {
        if self.allowed.is_some() {
            format!("postern: {what} is not allowed on this target")
        } else {
            "postern: this connection names no target: ssh LOGIN@TARGET@GATE opens one".to_owned()
        }
    }

    /// What is refused is told, as far as there is room: it never reaches the target.
    fn refused(&self, what: &'static str, reason: String) {
        let _ = self.open.try_send(Opened::Refused { what, reason });
    }

    /// Passes a wish on where it is allowed; otherwise says why not and closes the channel.
    fn ask(&self, id: ChannelId, wish: (Kind, Ask), session: &mut Session) -> Done {
        let (kind, ask) = wish;
        let Some(inbox) = self.channels.get(&id) else {
            return Ok(session.channel_failure(id)?);
        };
        let permitted = self.rights.get().is_some_and(|rights| rights.channels.contains(&kind));
        if self.allows(kind) && permitted {
            inbox.ask(ask)?;
            return Ok(session.channel_success(id)?);
        }
        let reason =
            if self.allows(kind) { not_permitted(kind) } else { self.why_not(kind.word()) };
        // Stock clients drop what they were told where a request fails: so it runs, and says why not.
        session.channel_success(id)?;
        session.extended_data(id, 1, format!("{reason}\r\n"))?;
        session.exit_status_request(id, NOT_RUN)?;
        session.eof(id)?;
        session.close(id)?;
        self.refused(kind.word(), reason);
        Ok(())
    }

    /// Passes on what goes with a channel that is open.
    fn add(&self, id: ChannelId, ask: Ask, session: &mut Session) -> Done {
        match self.channels.get(&id) {
            Some(inbox) => {
                inbox.ask(ask)?;
                Ok(session.channel_success(id)?)
            }
            None => Ok(session.channel_failure(id)?),
        }
    }
}

impl Handler for Door {
    type Error = DoorError;

    async fn authentication_banner(&mut self) -> Result<Option<String>, DoorError> {
        let banner = self.visit.plane.settings.ssh.as_ref().and_then(|ssh| ssh.banner.clone());
        Ok(banner.filter(|_| self.visit.within.is_none()))
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, DoorError> {
        Ok(self.by_outer(user).await)
    }

    /// The library doesn't say whether it is a certificate's key that is offered, so every key of the
    /// kind that is certified may go on to prove itself; of others those that are registered.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the library may add algorithms")]
    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, DoorError> {
        let may = match offer.algorithm {
            Algorithm::Ed25519 => true,
            Algorithm::Dsa | Algorithm::Rsa { .. } => false,
            // A person isn't asked to touch a security key that is nobody's.
            _ => identify::by_key(&self.visit, offer.public_key).await.is_ok(),
        };
        Ok(if may { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, DoorError> {
        Ok(self.by_key(user, key.public_key).await)
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, DoorError> {
        Ok(self.by_certificate(user, certificate).await)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, DoorError> {
        Ok(self.dialogue(user, response.is_none()).await)
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Done {
        if let Some((enter, entered)) = self.enter.take().zip(self.entered.take()) {
            let _ = enter.send(entered);
        }
        Ok(())
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Done {
        if self.allowed.is_some() {
            self.lead(Lead::Session, channel, reply).await;
        } else {
            self.turn_down("a session", reply).await;
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        from: &str,
        from_port: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Done {
        if self.allowed.is_none() && self.visit.within.is_none() {
            let host = host.to_owned();
            let _ = self.open.try_send(Opened::Onward { channel, host, reply });
        } else if self.allows(Kind::DirectTcpip) {
            let (host, from) = (host.to_owned(), from.to_owned());
            self.lead(Lead::Tcp { host, port, from, from_port }, channel, reply).await;
        } else {
            self.turn_down(Kind::DirectTcpip.word(), reply).await;
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Done {
        if self.allows(Kind::DirectStreamlocal) {
            self.lead(Lead::Socket { path: path.to_owned() }, channel, reply).await;
        } else {
            self.turn_down(Kind::DirectStreamlocal.word(), reply).await;
        }
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Done {
        self.turn_down("x11", reply).await;
        Ok(())
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Done {
        self.turn_down("forwarded-tcpip", reply).await;
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Done {
        if let Some(inbox) = self.channels.remove(&id) {
            inbox.close();
        }
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Done {
        if let Some(inbox) = self.channels.get(&id) {
            inbox.eof();
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Done {
        let Some(inbox) = self.channels.get(&id) else {
            return Ok(());
        };
        inbox.data(data);
        self.load.check(self.channels.len())?;
        self.load.settle().await;
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        self.load.window()
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        term: &str,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Done {
        let size = Size { columns, rows, width, height };
        let (term, modes) = (term.chars().take(64).collect(), modes.to_vec());
        self.add(id, Ask::Pty { term, size, modes }, session)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Done {
        self.refused("x11", self.why_not("x11"));
        Ok(session.channel_failure(id)?)
    }

    async fn agent_request(&mut self, _: ChannelId, _: &mut Session) -> Result<bool, DoorError> {
        self.refused("agent", self.why_not("agent forwarding"));
        Ok(false)
    }

    async fn tcpip_forward(
        &mut self,
        _: &str,
        _: &mut u32,
        _: &mut Session,
    ) -> Result<bool, DoorError> {
        self.refused("forwarded-tcpip", self.why_not("forwarded-tcpip"));
        Ok(false)
    }

    async fn streamlocal_forward(&mut self, _: &str, _: &mut Session) -> Result<bool, DoorError> {
        self.refused("forwarded-streamlocal", self.why_not("forwarded-streamlocal"));
        Ok(false)
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Done {
        let passes = self.allowed.as_ref().is_some_and(|ssh| ssh.passes(name));
        if passes && value.len() <= LONGEST_VALUE && !value.contains('\0') {
            let (name, value) = (name.to_owned(), value.to_owned());
            return self.add(id, Ask::Env { name, value }, session);
        }
        Ok(session.channel_failure(id)?)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Done {
        self.ask(id, (Kind::Shell, Ask::Shell), session)
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Done {
        if command.len() > LONGEST_COMMAND {
            return Err(DoorError::Flooded);
        }
        self.ask(id, (Kind::Exec, Ask::Exec(command.to_vec())), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Done {
        let kind = if name == "sftp" { Kind::Sftp } else { Kind::Subsystem };
        self.ask(id, (kind, Ask::Subsystem(name.chars().take(256).collect())), session)
    }

    async fn window_change_request(
        &mut self,
        id: ChannelId,
        columns: u32,
        rows: u32,
        width: u32,
        height: u32,
        session: &mut Session,
    ) -> Done {
        self.add(id, Ask::Resize(Size { columns, rows, width, height }), session)
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, session: &mut Session) -> Done {
        self.add(id, Ask::Signal(signal), session)
    }
}
