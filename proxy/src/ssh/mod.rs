//! The SSH data plane, read top-down as a connection passes:
//! [`door`] (the protocol towards the client) -> [`route`], [`identify`], [`enter`] (with [`wait`]), [`begin`] ->
//! [`session`] -> [`upstream`] -> [`channel`], which [`hub`] records -> the end; [`wishes`] is what clients
//! ask for on the way ([`channel_requests`]), [`listen`] and [`calls`] what targets open towards them;
//! [`onward`] is for connections that lead to targets by `-J`.
//!
//! The protocol runs in the tasks of its library, on the same worker. No channel opens before the
//! connection is admitted, and one connection is one target.

mod begin;
mod calls;
mod channel;
mod channel_requests;
mod door;
mod enter;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod hub;
mod identify;
mod inbox;
mod lead;
mod listen;
mod onward;
mod packet_bound;
mod preamble;
mod refuse;
mod route;
mod session;
mod sftp;
mod upstream;
mod wait;
mod wire;
mod wishes;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use policies::TargetName;
use russh::server::{Config, Handle, RunningSession};
use russh::{Limits, MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac};
use ssh_key::Algorithm;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::door::Door;
use self::enter::Entered;
use self::inbox::Inboxes;
use self::lead::Opened;
use self::onward::Inner;
use self::wire::{Socket, Wire};
use crate::Plane;
use crate::credential::Rights;
use crate::hold::Identity;
use crate::limits::Slot;

/// How a connection ended, as a metric's label.
type Outcome = &'static str;

/// SSH clients say what they are only after authentication.
const APPLICATION: &str = "ssh";
/// The longest that it takes until somebody is let in, with all that people do in between: who is told
/// something and doesn't answer isn't waited for.
const LONGEST_ENTRY: Duration = Duration::from_secs(900);
/// The most channels of one connection.
const MOST_CHANNELS: usize = 64;
/// Failures of authentication, which an agent with many keys makes before the right one.
const ATTEMPTS: usize = 20;
/// How long every failure takes.
const REJECTION: Duration = Duration::from_millis(250);
/// The life of a host certificate, which is made for each connection.
const HOST_LIFE: Duration = Duration::from_secs(24 * 3_600);
/// How long a client may take to hear why nothing more comes of its connection.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Keys are exchanged anew after so many bytes in one direction, and after so much time.
const REKEY: (usize, Duration) = (1 << 30, Duration::from_secs(3_600));
/// A side that says nothing for so long is asked whether it is still there, and is gone when so many
/// questions had no answer.
const KEEPALIVE: Duration = Duration::from_secs(30);
const MOST_SILENT: usize = 4;

/// One connection and what it works with.
struct Visit {
    plane: Arc<Plane>,
    peer: SocketAddr,
    slot: Arc<Slot>,
    leaving: Leaving,
    /// Cancelled once nothing more can come of it.
    over: CancellationToken,
    /// The target, where the connection lies within another one that leads there.
    within: Option<Within>,
}

/// What is known of a connection before its first byte.
struct Within {
    target: TargetName,
    /// The name by which the client asked for it.
    host: String,
    /// Who opened the connection around it, where that is known.
    identity: Option<Identity>,
}

/// How it shows that a waiting client has left.
enum Leaving {
    Socket(Socket),
    Outer(CancellationToken),
}

/// A client whose protocol runs.
struct Client {
    handle: Handle,
    running: RunningSession<Door>,
    opens: mpsc::Receiver<Box<Opened>>,
    shared: Arc<Shared>,
}

/// What the protocol's handlers and the session of one client share.
#[derive(Default)]
struct Shared {
    /// Whether the client is authenticated.
    authenticated: Arc<AtomicBool>,
    /// How the library is told to disconnect.
    phone: OnceLock<Handle>,
    /// What the rules let the session do, once it has begun: nothing before.
    rights: OnceLock<Rights>,
    /// What the client sent and the target hasn't taken yet.
    inboxes: Inboxes,
    /// The connections within this one.
    inner: Inner,
}

/// Serves one connection from its first byte to its end.
pub(crate) async fn serve(plane: Arc<Plane>, tcp: TcpStream, peer: SocketAddr, slot: Slot) {
    let socket = Socket::new(tcp);
    let leaving = Leaving::Socket(socket.clone());
    let (slot, over) = (Arc::new(slot), CancellationToken::new());
    let visit = Arc::new(Visit { plane, peer, slot, leaving, over, within: None });
    let outcome = visit.host(socket).await;
    visit.plane.metrics.connection("ssh", outcome);
}

impl Visit {
    /// Speaks the protocol with a client, and serves what it is let in to.
    async fn host<S>(self: &Arc<Self>, stream: S) -> Outcome
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
        let (enter, entered) = oneshot::channel();
        let (open, opens) = mpsc::channel(MOST_CHANNELS);
        let shared = Arc::<Shared>::default();
        let wire = Wire::from_client(stream, &cut, Arc::clone(&shared.authenticated));
        let door = Door::new(Arc::clone(self), Arc::clone(&shared), enter, open);
        let running = match Box::pin(russh::server::run_stream(config, wire, door)).await {
            Ok(running) => running,
            Err(error) => {
                tracing::debug!(peer = %self.peer, %error, "not a client of ours");
                return "nonsense";
            }
        };
        let handle = running.handle();
        // It is set once, here, before the protocol's task first runs.
        let _ = shared.phone.set(handle.clone());
        self.arrive(Client { handle, running, opens, shared }, entered).await
    }

    async fn arrive(
        self: &Arc<Self>,
        mut client: Client,
        entered: oneshot::Receiver<Entered>,
    ) -> Outcome {
        let entered = tokio::select! {
            biased;
            entered = entered => entered,
            ended = &mut client.running => {
                tracing::debug!(peer = %self.peer, ?ended, "the connection ended before it was let in");
                return "refused";
            }
            () = self.over.cancelled() => {
                let _ = timeout(LAST_WORDS, client.running).await;
                return "refused";
            }
            () = sleep(LONGEST_ENTRY) => return "late",
        };
        match entered {
            Ok(Entered::Target(let_in)) => self.stay(client, *let_in).await,
            Ok(Entered::Onward(opener)) => self.lead_on(client, opener).await,
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
            window_size: inbox::WINDOW,
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
        match &self.within {
            Some(within) => vec![within.host.clone()],
            None => self.plane.settings.host_names.clone(),
        }
    }
}

impl Leaving {
    /// Resolves when a client that waits has left.
    async fn left(&self) {
        match self {
            Self::Socket(socket) => socket.stirred().await,
            Self::Outer(ended) => ended.cancelled().await,
        }
    }
}

/// What either side is told of this program: no version, which would only help to attack it.
fn version() -> SshId {
    SshId::Standard(Cow::Borrowed("SSH-2.0-Postern"))
}

fn rekey() -> Limits {
    Limits::new(REKEY.0, REKEY.0, REKEY.1)
}

/// Clients choose by their own order, and OpenSSH's has counter mode before what seals and encrypts in one:
/// they are offered that alone.
fn towards_clients() -> Preferred {
    const CIPHERS: &[cipher::Name] = &[cipher::AES_128_GCM, cipher::AES_256_GCM];
    Preferred { cipher: Cow::Borrowed(CIPHERS), ..preferred() }
}

/// Modern algorithms alone, and among methods of key exchange first the one that a quantum computer
/// can't undo later. Nothing is compressed: it tells of what is encrypted by its length.
fn preferred() -> Preferred {
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    const CIPHERS: &[cipher::Name] =
        &[cipher::AES_128_GCM, cipher::AES_256_GCM, cipher::AES_256_CTR];
    const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];
    Preferred {
        kex: Cow::Borrowed(KEX),
        key: Cow::Borrowed(&[
            Algorithm::Ed25519,
            Algorithm::Ecdsa { curve: ssh_key::EcdsaCurve::NistP256 },
        ]),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(&[compression::NONE]),
        ..Preferred::DEFAULT
    }
}
