//! The protocol towards a client: what the library calls, and how it is answered.
//!
//! Requests are answered in the order in which they came, and what they ask for is seen to by others:
//! letting somebody in by `enter`, all the rest by `wishes`. What takes more than a few steps is boxed: the
//! library keeps room for the largest of these futures for as long as the connection lasts.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use policies::{Channel as Kind, Ssh};
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, Pty, Sig};
use ssh_key::{Algorithm, Certificate};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::calls::Wanted;
use super::channel_requests::{Control, Program, Setup, Size};
use super::enter::Entered;
use super::inbox::Flooded;
use super::lead::{Lead, Opened};
use super::wait::Waiting;
use super::{Shared, Visit, identify};

/// The most keys that a client may offer: each that may be a certificate's is asked to prove itself, and the
/// library counts only those that fail to.
const MOST_OFFERED: usize = 64;
/// The longest value of an environment variable that passes.
const LONGEST_VALUE: usize = 4 * 1024;
/// The longest command line.
const LONGEST_COMMAND: usize = 128 * 1024;

/// One client's door.
pub(super) struct Door {
    pub(super) visit: Arc<Visit>,
    pub(super) shared: Arc<Shared>,
    pub(super) waiting: Option<Waiting>,
    pub(super) entered: Option<Entered>,
    /// How many keys the client has offered.
    offered: usize,
    /// What the target allows, once somebody was let in to one.
    pub(super) allowed: Option<Arc<Ssh>>,
    enter: Option<oneshot::Sender<Entered>>,
    pub(super) open: mpsc::Sender<Box<Opened>>,
    /// Where the target listens for the client.
    pub(super) listening: Vec<(Wanted, CancellationToken)>,
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

pub(super) type Done = Result<(), DoorError>;

impl Door {
    pub(super) fn new(
        visit: Arc<Visit>,
        shared: Arc<Shared>,
        enter: oneshot::Sender<Entered>,
        open: mpsc::Sender<Box<Opened>>,
    ) -> Self {
        Self {
            visit,
            shared,
            waiting: None,
            entered: None,
            offered: 0,
            allowed: None,
            enter: Some(enter),
            open,
            listening: Vec::new(),
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
        Ok(Box::pin(self.by_outer(user)).await)
    }

    /// The library doesn't say whether it is a certificate's key that is offered, so every key of the
    /// kind that is certified may go on to prove itself; of others those that are registered.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the library may add algorithms")]
    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, DoorError> {
        self.offered += 1;
        if self.offered > MOST_OFFERED {
            return Err(DoorError::Flooded);
        }
        let may = match offer.algorithm {
            Algorithm::Ed25519 => true,
            Algorithm::Dsa | Algorithm::Rsa { .. } => false,
            // A person isn't asked to touch a security key that is nobody's.
            _ => Box::pin(identify::by_key(&self.visit, offer.public_key)).await.is_ok(),
        };
        Ok(if may { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, DoorError> {
        Ok(Box::pin(self.by_key(user, key.public_key)).await)
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, DoorError> {
        Ok(Box::pin(self.by_certificate(user, certificate)).await)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, DoorError> {
        Ok(Box::pin(self.dialogue(user, response.is_none())).await)
    }

    async fn auth_succeeded(&mut self, _: &mut Session) -> Done {
        self.shared.authenticated.store(true, Ordering::Relaxed);
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
            Box::pin(self.lead(Lead::Session, channel, reply)).await;
        } else {
            Box::pin(self.turn_down("a session", reply)).await;
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
            let onward = Opened::Onward { channel, host, reply };
            let _ = self.open.try_send(Box::new(onward));
        } else if self.allowed.is_some() {
            let (host, from) = (host.to_owned(), from.to_owned());
            let lead = Lead::Tcp { host, port, from, from_port };
            Box::pin(self.lead(lead, channel, reply)).await;
        } else {
            Box::pin(self.turn_down(Kind::DirectTcpip.word(), reply)).await;
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
        if self.allowed.is_some() {
            let lead = Lead::Socket { path: path.to_owned() };
            Box::pin(self.lead(lead, channel, reply)).await;
        } else {
            Box::pin(self.turn_down(Kind::DirectStreamlocal.word(), reply)).await;
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
        Box::pin(self.turn_down("x11", reply)).await;
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
        Box::pin(self.turn_down("forwarded-tcpip", reply)).await;
        Ok(())
    }

    /// A forward that the session has opened: what the client sends on it waits from now on.
    async fn channel_open_confirmation(
        &mut self,
        id: ChannelId,
        _: u32,
        _: u32,
        _: &mut Session,
    ) -> Done {
        self.shared.inboxes.forward(id);
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Done {
        self.shared.inboxes.close(id);
        self.shared.inner.left(id);
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Done {
        self.shared.inner.left(id);
        if let Some(inbox) = self.shared.inboxes.get(id) {
            inbox.eof();
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Done {
        let inboxes = &self.shared.inboxes;
        let Some(inbox) = inboxes.get(id) else {
            return Ok(());
        };
        inbox.data(data);
        inboxes.load.check(inboxes.count())?;
        inboxes.load.settle().await;
        Ok(())
    }

    /// No program of a client takes any but standard input.
    async fn extended_data(&mut self, id: ChannelId, _: u32, _: &[u8], _: &mut Session) -> Done {
        if let Some(inbox) = self.shared.inboxes.get(id) {
            inbox.extended_data();
        }
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        self.shared.inboxes.load.window()
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
        self.prepare(id, Setup::Pty { term, size, modes }, session)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        single: bool,
        protocol: &str,
        cookie: &str,
        screen: u32,
        session: &mut Session,
    ) -> Done {
        let short = |text: &str| text.chars().take(256).collect();
        let (protocol, cookie) = (short(protocol), short(cookie));
        let setup = Setup::X11 { single, protocol, cookie, screen };
        match self.lend(id, (Kind::X11, setup))? {
            true => Ok(session.channel_success(id)?),
            false => Ok(session.channel_failure(id)?),
        }
    }

    async fn agent_request(&mut self, id: ChannelId, _: &mut Session) -> Result<bool, DoorError> {
        self.lend(id, (Kind::Agent, Setup::Agent))
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, DoorError> {
        let at = Wanted::Tcp { host: address.to_owned(), port: *port };
        let listens = Box::pin(self.listen(at, session)).await?;
        if let Some(chosen) = listens {
            *port = chosen;
        }
        Ok(listens.is_some())
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, DoorError> {
        Ok(self.listen_no_longer(&Wanted::Tcp { host: address.to_owned(), port }))
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        session: &mut Session,
    ) -> Result<bool, DoorError> {
        let at = Wanted::Socket { path: path.to_owned() };
        Ok(Box::pin(self.listen(at, session)).await?.is_some())
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _: &mut Session,
    ) -> Result<bool, DoorError> {
        Ok(self.listen_no_longer(&Wanted::Socket { path: path.to_owned() }))
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
            return self.prepare(id, Setup::Env { name, value }, session);
        }
        let name: String = name.escape_debug().take(64).collect();
        self.refused("env", format!("the environment variable `{name}` is not passed on"));
        Ok(session.channel_failure(id)?)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Done {
        self.start(id, (Kind::Shell, Program::Shell), session)
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Done {
        if command.len() > LONGEST_COMMAND {
            return Err(DoorError::Flooded);
        }
        self.start(id, (Kind::Exec, Program::Exec(command.to_vec())), session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Done {
        self.subsystem(id, name, session)
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
        self.control(id, Control::Resize(Size { columns, rows, width, height }), session)
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, session: &mut Session) -> Done {
        self.control(id, Control::Signal(signal), session)
    }
}
