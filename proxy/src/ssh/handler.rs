//! The protocol towards a client: what the library calls, and how it is answered.
//!
//! Requests are answered in the order in which they came. `auth` lets the client in, and `channel_requests`
//! answers all that it asks for afterwards. What takes more than a few steps is boxed: the
//! library keeps room for the largest of these futures for as long as the connection lasts.

mod channel_requests;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use policies::{Channel as Kind, Ssh};
use russh::server::{
    Auth, ChannelOpenHandle, Handle, Handler, Msg, PublicKeyOffer, Response, RunningSession,
    Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, Pty, Sig};
use ssh_key::{Algorithm, Certificate};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::ssh::auth::dialogue::Dialogue;
use crate::ssh::auth::{Authenticated, identify};
use crate::ssh::channel::channel_open::{ChannelOpen, ClientRequest};
use crate::ssh::channel::queue::Flooded;
use crate::ssh::channel::request::{Control, Program, Setup, Size};
use crate::ssh::connection::{Connection, Shared};
use crate::ssh::upstream::remote_forward::RemoteForward;

/// The most keys that a client may offer: each that may be a certificate's is asked to prove itself, and the
/// library counts only those that fail to.
const MOST_OFFERED: usize = 64;
/// The longest value of an environment variable that passes.
const LONGEST_VALUE: usize = 4 * 1024;
/// The longest command line.
const LONGEST_COMMAND: usize = 128 * 1024;

/// A client whose protocol runs.
pub(super) struct Client {
    pub(super) handle: Handle,
    pub(super) running: RunningSession<ClientHandler>,
    pub(super) requests: mpsc::Receiver<Box<ClientRequest>>,
    pub(super) shared: Arc<Shared>,
}

/// What the library calls for one client.
pub(super) struct ClientHandler {
    pub(super) connection: Arc<Connection>,
    pub(super) shared: Arc<Shared>,
    pub(super) dialogue: Option<Dialogue>,
    pub(super) authenticated: Option<Authenticated>,
    /// How many keys the client has offered.
    offered: usize,
    /// How many channels it has opened.
    pub(super) opened: usize,
    /// What the target allows, once the client was let in to one.
    pub(super) allowed: Option<Arc<Ssh>>,
    succeed: Option<oneshot::Sender<Authenticated>>,
    pub(super) requests: mpsc::Sender<Box<ClientRequest>>,
    /// Where the target listens for the client.
    pub(super) listening: Vec<(RemoteForward, CancellationToken)>,
}

/// What ends a connection from inside a handler.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandlerError {
    #[error(transparent)]
    Ssh(#[from] russh::Error),
    #[error("the client sent more than it may")]
    Flooded,
}

impl From<Flooded> for HandlerError {
    fn from(_: Flooded) -> Self {
        Self::Flooded
    }
}

pub(super) type Done = Result<(), HandlerError>;

impl ClientHandler {
    pub(super) fn new(
        connection: Arc<Connection>,
        shared: Arc<Shared>,
        succeed: oneshot::Sender<Authenticated>,
        requests: mpsc::Sender<Box<ClientRequest>>,
    ) -> Self {
        Self {
            connection,
            shared,
            dialogue: None,
            authenticated: None,
            offered: 0,
            opened: 0,
            allowed: None,
            succeed: Some(succeed),
            requests,
            listening: Vec::new(),
        }
    }
}

impl Handler for ClientHandler {
    type Error = HandlerError;

    async fn authentication_banner(&mut self) -> Result<Option<String>, HandlerError> {
        let banner = self.connection.plane.settings.ssh.as_ref().and_then(|ssh| ssh.banner.clone());
        Ok(banner.filter(|_| self.connection.jump.is_none()))
    }

    async fn auth_none(&mut self, user: &str) -> Result<Auth, HandlerError> {
        Ok(Box::pin(self.by_outer(user)).await)
    }

    /// The library doesn't say whether it is a certificate's key that is offered, so every key of the
    /// kind that is certified may go on to prove itself; of others those that are registered.
    #[allow(clippy::wildcard_enum_match_arm, reason = "the library may add algorithms")]
    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, HandlerError> {
        self.offered += 1;
        if self.offered > MOST_OFFERED {
            return Err(HandlerError::Flooded);
        }
        let may = match offer.algorithm {
            Algorithm::Ed25519 => true,
            Algorithm::Dsa | Algorithm::Rsa { .. } => false,
            // A person isn't asked to touch a security key that is registered for no user.
            _ => Box::pin(identify::by_key(&self.connection, offer.public_key)).await.is_ok(),
        };
        Ok(if may { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, HandlerError> {
        Ok(Box::pin(self.by_key(user, key.public_key)).await)
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, HandlerError> {
        Ok(Box::pin(self.by_certificate(user, certificate)).await)
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, HandlerError> {
        Ok(Box::pin(self.keyboard_interactive(user, response.is_none())).await)
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Done {
        let _ = self.shared.version.set(session.remote_sshid().to_vec());
        self.shared.authenticated.store(true, Ordering::Relaxed);
        if let Some((succeed, authenticated)) = self.succeed.take().zip(self.authenticated.take()) {
            let _ = succeed.send(authenticated);
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
            Box::pin(self.open_channel(ChannelOpen::Session, channel, reply)).await;
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
        if self.allowed.is_none() && self.connection.jump.is_none() {
            let host = host.to_owned();
            let jump = ClientRequest::Jump { channel, host, reply };
            let _ = self.requests.try_send(Box::new(jump));
        } else if self.allowed.is_some() {
            let (host, from) = (host.to_owned(), from.to_owned());
            let open = ChannelOpen::Tcp { host, port, from, from_port };
            Box::pin(self.open_channel(open, channel, reply)).await;
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
            let open = ChannelOpen::Socket { path: path.to_owned() };
            Box::pin(self.open_channel(open, channel, reply)).await;
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
        self.shared.queues.confirmed(id);
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Done {
        self.shared.queues.close(id);
        self.shared.inner.leave(id);
        Ok(())
    }

    async fn channel_eof(&mut self, id: ChannelId, _: &mut Session) -> Done {
        self.shared.inner.leave(id);
        if let Some(queue) = self.shared.queues.get(id) {
            queue.eof();
        }
        Ok(())
    }

    async fn data(&mut self, id: ChannelId, data: &[u8], _: &mut Session) -> Done {
        let queues = &self.shared.queues;
        let Some(queue) = queues.get(id) else {
            return Ok(());
        };
        queue.data(data);
        queues.load.check(queues.count())?;
        queues.load.settle().await;
        Ok(())
    }

    /// No program of a client takes any but standard input.
    async fn extended_data(&mut self, id: ChannelId, _: u32, _: &[u8], _: &mut Session) -> Done {
        if let Some(queue) = self.shared.queues.get(id) {
            queue.extended_data();
        }
        Ok(())
    }

    fn adjust_window(&mut self, _: ChannelId, _: u32) -> u32 {
        self.shared.queues.load.window()
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
        Box::pin(self.prepare(id, Setup::Pty { term, size, modes }, session)).await
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
        match Box::pin(self.forward(id, Kind::X11, setup)).await? {
            true => Ok(session.channel_success(id)?),
            false => Ok(session.channel_failure(id)?),
        }
    }

    async fn agent_request(
        &mut self,
        id: ChannelId,
        _: &mut Session,
    ) -> Result<bool, HandlerError> {
        Box::pin(self.forward(id, Kind::Agent, Setup::Agent)).await
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, HandlerError> {
        let at = RemoteForward::Tcp { host: address.to_owned(), port: *port };
        let chosen_port = Box::pin(self.remote_forward(at, session)).await?;
        if let Some(chosen) = chosen_port {
            *port = chosen;
        }
        Ok(chosen_port.is_some())
    }

    async fn cancel_tcpip_forward(
        &mut self,
        address: &str,
        port: u32,
        _: &mut Session,
    ) -> Result<bool, HandlerError> {
        Ok(self.cancel_remote_forward(&RemoteForward::Tcp { host: address.to_owned(), port }))
    }

    async fn streamlocal_forward(
        &mut self,
        path: &str,
        session: &mut Session,
    ) -> Result<bool, HandlerError> {
        let at = RemoteForward::Socket { path: path.to_owned() };
        Ok(Box::pin(self.remote_forward(at, session)).await?.is_some())
    }

    async fn cancel_streamlocal_forward(
        &mut self,
        path: &str,
        _: &mut Session,
    ) -> Result<bool, HandlerError> {
        Ok(self.cancel_remote_forward(&RemoteForward::Socket { path: path.to_owned() }))
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
            return Box::pin(self.prepare(id, Setup::Env { name, value }, session)).await;
        }
        let name: String = name.escape_debug().take(64).collect();
        self.refused("env", format!("the environment variable `{name}` is not passed on"));
        Ok(session.channel_failure(id)?)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Done {
        Box::pin(self.start(id, Kind::Shell, Program::Shell, session)).await
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Done {
        if command.len() > LONGEST_COMMAND {
            return Err(HandlerError::Flooded);
        }
        Box::pin(self.start(id, Kind::Exec, Program::Exec(command.to_vec()), session)).await
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Done {
        Box::pin(self.subsystem(id, name, session)).await
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
        let size = Size { columns, rows, width, height };
        Box::pin(self.control(id, Control::Resize(size), session)).await
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, session: &mut Session) -> Done {
        Box::pin(self.control(id, Control::Signal(signal), session)).await
    }
}
