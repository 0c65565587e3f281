//! The protocol towards a client, from its first byte to the end of its connection.

use std::sync::Arc;
use std::time::Duration;

use policies::Kind;
use russh::server::Config;
use russh::{MethodKind, MethodSet};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::core::listener::{Accepted, ConnectionOutcome, Protocol};
use crate::core::plane::Plane;
use crate::ssh::auth::Authenticated;
use crate::ssh::channel::queue::WINDOW;
use crate::ssh::connection::{Connection, Leaving, MOST_CHANNELS, Shared};
use crate::ssh::handler::{Client, ClientHandler};
use crate::ssh::transport::{KEEPALIVE, MOST_SILENT, rekey, towards_clients, version};
use crate::ssh::wire::{Socket, Wire};

/// The longest that it takes until a client is let in, with all that people do in between: a client that
/// reads something and doesn't answer isn't waited for.
const LONGEST_AUTHENTICATION: Duration = Duration::from_secs(900);
/// Failures of authentication, which an agent with many keys makes before the right one.
const ATTEMPTS: usize = 20;
/// How long every failure takes.
const REJECTION: Duration = Duration::from_millis(250);
/// The life of a host certificate, which is made for each connection.
const HOST_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How long a client may take to read why its connection leads nowhere.
const LAST_MESSAGE: Duration = Duration::from_secs(5);

/// The protocol.
#[derive(Debug)]
pub(crate) struct SshServer {
    plane: Arc<Plane>,
}

impl SshServer {
    pub(crate) fn new(plane: Arc<Plane>) -> Self {
        Self { plane }
    }
}

impl Protocol for SshServer {
    const KIND: Kind = Kind::Ssh;

    async fn serve(&self, accepted: Accepted) -> ConnectionOutcome {
        let Accepted { stream, peer, slot } = accepted;
        let socket = Socket::new(stream);
        let leaving = Leaving::Socket(socket.clone());
        let (plane, over) = (Arc::clone(&self.plane), CancellationToken::new());
        let connection = Connection { plane, peer, slot, leaving, over, jump: None };
        Arc::new(connection).serve_protocol(socket).await
    }
}

impl Connection {
    /// Speaks the protocol with a client, and serves what it is let in to.
    pub(super) async fn serve_protocol<S>(self: &Arc<Self>, stream: S) -> ConnectionOutcome
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let cut = CancellationToken::new();
        // However this ends, the library's tasks end with it.
        let _cut = cut.clone().drop_guard();
        let config = match self.config() {
            Ok(config) => Arc::new(config),
            Err(error) => {
                tracing::error!(%error, "no host key can be shown");
                return "broken";
            }
        };
        let (authenticate, authenticated) = oneshot::channel();
        let (request, requests) = mpsc::channel(MOST_CHANNELS);
        let shared = Arc::<Shared>::default();
        let wire = Wire::from_client(stream, &cut, Arc::clone(&shared.authenticated));
        let handler =
            ClientHandler::new(Arc::clone(self), Arc::clone(&shared), authenticate, request);
        let running = match Box::pin(russh::server::run_stream(config, wire, handler)).await {
            Ok(running) => running,
            Err(error) => {
                tracing::debug!(peer = %self.peer, %error, "not a client of ours");
                return "nonsense";
            }
        };
        let handle = running.handle();
        // It is set once, here, before the protocol's task first runs.
        let _ = shared.handle.set(handle.clone());
        self.wait_for_authentication(Client { handle, running, requests, shared }, authenticated)
            .await
    }

    async fn wait_for_authentication(
        self: &Arc<Self>,
        mut client: Client,
        authenticated: oneshot::Receiver<Authenticated>,
    ) -> ConnectionOutcome {
        let authenticated = tokio::select! {
            biased;
            authenticated = authenticated => authenticated,
            ended = &mut client.running => {
                tracing::debug!(peer = %self.peer, ?ended, "the connection ended before it was let in");
                return "refused";
            }
            () = self.over.cancelled() => {
                let _ = timeout(LAST_MESSAGE, client.running).await;
                return "refused";
            }
            () = sleep(LONGEST_AUTHENTICATION) => return "late",
        };
        match authenticated {
            Ok(Authenticated::Target { admitted, destination }) => {
                self.serve_session(client, *admitted, destination).await
            }
            Ok(Authenticated::Jump(opener)) => self.serve_jumps(client, opener).await,
            Err(_) => {
                let _ = client.running.await;
                "refused"
            }
        }
    }

    fn config(&self) -> Result<Config, certs::SshError> {
        let mut config = Config {
            server_id: version(),
            methods: MethodSet::from(&[MethodKind::PublicKey, MethodKind::KeyboardInteractive][..]),
            auth_rejection_time: REJECTION,
            auth_rejection_time_initial: Some(Duration::ZERO),
            limits: rekey(),
            window_size: WINDOW,
            preferred: towards_clients(),
            max_auth_attempts: ATTEMPTS,
            inactivity_timeout: None,
            keepalive_interval: Some(KEEPALIVE),
            keepalive_max: MOST_SILENT,
            nodelay: true,
            ..Config::default()
        };
        if let Some(ssh) = &self.plane.settings.ssh {
            let now = self.plane.clock.now().millis();
            let certificate = ssh.authority.certify_host(&self.names(), HOST_LIFE, now)?;
            config.keys = vec![ssh.authority.host_key().clone()];
            config.certificates = vec![certificate];
        }
        Ok(config)
    }

    /// Under which names the client may know this host.
    fn names(&self) -> Vec<String> {
        match &self.jump {
            Some(jump) => vec![jump.host.clone()],
            None => self.plane.settings.host_names.clone(),
        }
    }
}
