//! The connection to the target: its host key first, and only then a credential.

pub(super) mod remote_forward;
pub(super) mod remote_listen;

use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use policies::{Channel as Kind, Ssh, Target, TargetName};
use russh::client::{self, AuthResult, ChannelOpenHandle, Handle};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, Disconnect, Names, cipher};
use secrecy::ExposeSecret;
use ssh_key::{Algorithm, HashAlg, PublicKey};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::core::clock::Clock;
use crate::core::credential::TargetCredential;
use crate::ssh::transport::{KEEPALIVE, MOST_SILENT, preferred, rekey, version};
use crate::ssh::upstream::remote_forward::{Origin, RemoteChannel, RemoteForwards};
use crate::ssh::wire::Wire;

/// From the first packet to the end of authentication.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The pauses before a target that turns a connection away is asked again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(900),
    Duration::from_millis(2_000),
];
/// How long the target may take to read that we disconnect.
const DISCONNECT: Duration = Duration::from_millis(500);
/// Messages of one channel that may wait; with packets of 32 KiB it is a window.
const MESSAGES: usize = 64;

/// Why there is no connection to the target. Its address is never part of the message.
#[derive(Debug, Error)]
pub(super) enum DialError {
    #[error("it can't be reached")]
    Unreachable(#[source] std::io::Error),
    #[error("it did not answer in time")]
    Late,
    #[error(
        "it closed the connection before it greeted: too many connections may be signing in there (`MaxStartups` of sshd)"
    )]
    TurnedAway(#[source] russh::Error),
    #[error("many connections are signing in there: none of them came to an end in time")]
    Busy,
    #[error(
        "its host key is not the one that is configured: nothing was sent to it; ask who runs the gateway"
    )]
    HostKey,
    #[error("it does not speak SSH as it should")]
    Protocol(#[source] russh::Error),
    #[error("it refuses the gateway's credential: ask who runs the gateway to check the login")]
    Credential,
    #[error("it is not set up for SSH")]
    NotSsh,
}

/// A connection to the target, signed in. Dropped, it is gone.
pub(super) struct Upstream {
    pub(super) handle: Handle<TargetHandler>,
    /// What the target may open over it.
    pub(super) remote: Arc<RemoteForwards>,
    /// The line with which the target began.
    pub(super) version: Vec<u8>,
    _cut: DropGuard,
}

/// What all connections of one session to its target share.
pub(super) struct Ties {
    /// Takes the channels that the target opens.
    pub(super) remote: mpsc::Sender<Box<RemoteChannel>>,
    /// Once it is set, nothing goes to the target any more.
    pub(super) mute: Arc<AtomicBool>,
}

/// Where to, as whom, and with what.
pub(super) struct Call<'a> {
    pub(super) target: &'a Target,
    pub(super) login: &'a str,
    pub(super) credential: &'a TargetCredential,
    pub(super) clock: &'a Clock,
    pub(super) ties: &'a Ties,
}

/// Connects, verifies the host key, and signs in. A target that turns connections away when it has many is asked again.
pub(super) async fn dial(call: &Call<'_>) -> Result<Upstream, DialError> {
    for pause in PAUSES {
        match once(call).await {
            Err(DialError::TurnedAway(error)) => {
                tracing::debug!(target = %call.target.name, %error, "turned away: once more");
                // Others were turned away at the same time.
                sleep(pause.mul_f64(rand::random_range(0.5..1.5))).await;
            }
            dialled => return dialled,
        }
    }
    once(call).await
}

async fn once(call: &Call<'_>) -> Result<Upstream, DialError> {
    timeout(TIMEOUT, connect(call)).await.map_err(|_| DialError::Late)?
}

async fn connect(call: &Call<'_>) -> Result<Upstream, DialError> {
    let target = call.target;
    let expected = target.ssh.as_ref().ok_or(DialError::NotSsh)?;
    let address = (target.host.as_str(), target.port);
    let stream = TcpStream::connect(address).await.map_err(DialError::Unreachable)?;
    accept::keep_alive(&stream, KEEPALIVE).map_err(DialError::Unreachable)?;
    let cut = CancellationToken::new();
    // However this ends, the library's task ends with it.
    let guard = cut.clone().drop_guard();
    let remote = Arc::new(RemoteForwards::new(call.ties.remote.clone()));
    let version = Arc::<OnceLock<Vec<u8>>>::default();
    let handler = TargetHandler {
        target: target.name.clone(),
        host: target.host.clone(),
        expected: Expected::read(expected),
        clock: call.clock.clone(),
        remote: Arc::clone(&remote),
        version: Arc::clone(&version),
    };
    let wire = Wire::to_target(stream, &cut, Arc::clone(&call.ties.mute));
    let config = Arc::new(config(&handler.expected));
    let handle = client::connect_stream(config, wire, handler).await;
    let mut handle = handle.map_err(failed)?;
    sign_in(&mut handle, call).await?;
    let version = version.get().cloned().unwrap_or_default();
    Ok(Upstream { handle, remote, version, _cut: guard })
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the library may add errors")]
fn failed(error: russh::Error) -> DialError {
    match error {
        russh::Error::UnknownKey | russh::Error::NoCommonAlgo { .. } => DialError::HostKey,
        russh::Error::Disconnect | russh::Error::HUP => DialError::TurnedAway(error),
        russh::Error::IO(ref io) if io.kind() == ErrorKind::ConnectionReset => {
            DialError::TurnedAway(error)
        }
        error => DialError::Protocol(error),
    }
}

async fn sign_in(handle: &mut Handle<TargetHandler>, call: &Call<'_>) -> Result<(), DialError> {
    let login = call.login;
    let result = match call.credential {
        TargetCredential::SshKey { key, certificate: Some(certificate) } => {
            handle.authenticate_openssh_cert(login, Arc::clone(key), *certificate.clone()).await
        }
        TargetCredential::SshKey { key, certificate: None } => {
            let key = PrivateKeyWithHashAlg::new(Arc::clone(key), None);
            handle.authenticate_publickey(login, key).await
        }
        TargetCredential::Password(password) => {
            handle.authenticate_password(login, password.expose_secret()).await
        }
        TargetCredential::Certificate { .. } => return Err(DialError::Credential),
    };
    match result.map_err(DialError::Protocol)? {
        AuthResult::Success => Ok(()),
        AuthResult::Failure { .. } => Err(DialError::Credential),
    }
}

impl Upstream {
    /// Whether it can take another channel: one over which the target may open any is its channel's.
    pub(super) fn is_open(&self) -> bool {
        !self.handle.is_closed() && !self.remote.are_expected()
    }

    /// Disconnects, and waits for a moment at most.
    pub(super) async fn leave(self) {
        let (reason, none) = (Disconnect::ByApplication, String::new());
        let _ = timeout(DISCONNECT, self.handle.disconnect(reason, &none, &none)).await;
    }
}

fn config(expected: &Expected) -> client::Config {
    let mut preferred = preferred();
    if !expected.authorities.is_empty() {
        preferred.host_key_certificates = preferred.key.clone();
    }
    // A target with several keys has to show one of those that are known.
    let known: Vec<Algorithm> = expected.keys.iter().flat_map(algorithms).collect();
    if !known.is_empty() {
        preferred.key = known.into();
    }
    client::Config {
        client_id: version(),
        channel_buffer_size: MESSAGES,
        preferred,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: MOST_SILENT,
        limits: rekey(),
        nodelay: true,
        ..client::Config::default()
    }
}

/// How a key of this kind signs: RSA keys with modern digests alone.
fn algorithms(key: &PublicKey) -> Vec<Algorithm> {
    let algorithm = key.algorithm();
    if algorithm.clone().is_rsa() {
        let digests = [HashAlg::Sha512, HashAlg::Sha256];
        return digests.map(|hash| Algorithm::Rsa { hash: Some(hash) }).to_vec();
    }
    vec![algorithm]
}

/// What the target may prove itself with.
struct Expected {
    keys: Vec<PublicKey>,
    authorities: Vec<PublicKey>,
}

impl Expected {
    /// A line that can't be read stands for no key at all.
    fn read(ssh: &Ssh) -> Self {
        let read = |lines: &[String]| {
            lines.iter().filter_map(|line| PublicKey::from_openssh(line).ok()).collect()
        };
        Self { keys: read(&ssh.host_keys), authorities: read(&ssh.host_authorities) }
    }
}

/// What the library calls for one target. Channels that no client asked for are refused.
pub(super) struct TargetHandler {
    target: TargetName,
    host: String,
    expected: Expected,
    clock: Clock,
    remote: Arc<RemoteForwards>,
    version: Arc<OnceLock<Vec<u8>>>,
}

impl TargetHandler {
    fn is_expected(&self, shown: &PublicKeyOrCertificate) -> bool {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let known = self.expected.keys.iter().map(PublicKey::key_data);
                known.into_iter().any(|known| known == key.key_data())
            }
            PublicKeyOrCertificate::Certificate(certificate) => {
                let now = self.clock.now().millis();
                let authorities = &self.expected.authorities;
                let key = PublicKey::from(certificate.public_key().clone());
                self.expected.keys.iter().any(|known| known.key_data() == key.key_data())
                    || authorities.iter().any(|authority| {
                        certs::check_host(certificate, authority, &self.host, now).is_ok()
                    })
            }
        }
    }
}

/// Channels that no target opens, by the names of the library's handlers, which would take them: an
/// answer that is dropped is a refusal.
macro_rules! refused {
    ($($opened:ident($($what:ty),*);)*) => {$(
        async fn $opened(
            &mut self,
            _: Channel<client::Msg>,
            $(_: $what,)*
            _: ChannelOpenHandle,
            _: &mut client::Session,
        ) -> Result<(), russh::Error> {
            Ok(())
        }
    )*};
}

impl client::Handler for TargetHandler {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, russh::Error> {
        let expected = self.is_expected(shown);
        if !expected {
            let print = shown.public_key().fingerprint(HashAlg::Sha256);
            tracing::error!(target = %self.target, shown = %print, "the target's host key is another");
        }
        Ok(expected)
    }

    /// A target that doesn't know the strict key exchange gets ciphers alone that need none: a message
    /// that is taken out of their stream breaks it.
    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        names: &Names,
        session: &mut client::Session,
    ) -> Result<(), russh::Error> {
        let _ = self.version.set(session.remote_sshid().to_vec());
        let counted = [cipher::AES_128_GCM, cipher::AES_256_GCM].contains(&names.cipher);
        if names.strict_kex() || counted { Ok(()) } else { Err(russh::Error::KexInit) }
    }

    refused! {
        server_channel_open_session();
        server_channel_open_direct_tcpip(&str, u32, &str, u32);
        server_channel_open_direct_streamlocal(&str);
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<client::Msg>,
        _: &str,
        port: u32,
        from: &str,
        from_port: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        let origin = Origin { port, from, from_port };
        self.remote.opened(Kind::ForwardedTcpip, origin, channel, reply);
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<client::Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        self.remote.opened(Kind::ForwardedStreamlocal, Origin::default(), channel, reply);
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<client::Msg>,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        self.remote.opened(Kind::Agent, Origin::default(), channel, reply);
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        channel: Channel<client::Msg>,
        from: &str,
        from_port: u32,
        reply: ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), russh::Error> {
        let origin = Origin { port: 0, from, from_port };
        self.remote.opened(Kind::X11, origin, channel, reply);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use policies::Partition;
    use ssh_key::public::{KeyData, RsaPublicKey};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::core::testing::{at, target};

    fn ssh() -> Ssh {
        Ssh {
            host_keys: Vec::new(),
            host_authorities: Vec::new(),
            channels: BTreeSet::new(),
            env: Vec::new(),
            read_only: false,
            under: Vec::new(),
            record_streams: Default::default(),
        }
    }

    #[test]
    fn an_rsa_host_key_is_compared_with_its_exponent() {
        let key = |e: &[u8]| {
            let number = |bytes: &[u8]| ssh_key::Mpint::from_positive_bytes(bytes);
            let rsa = RsaPublicKey::new(number(e), number(&[0xf5; 256])).unwrap();
            PublicKey::from(KeyData::Rsa(rsa))
        };
        let line = key(&[1, 0, 1]).to_openssh().unwrap();
        let ssh = Ssh { host_keys: vec![line], ..ssh() };
        let (to, _opened) = mpsc::channel(1);
        let handler = TargetHandler {
            target: TargetName::new("web-1").unwrap(),
            host: "web-1.internal".to_owned(),
            expected: Expected::read(&ssh),
            clock: Clock::paused(at(0)),
            remote: Arc::new(RemoteForwards::new(to)),
            version: Arc::default(),
        };
        assert!(handler.is_expected(&key(&[1, 0, 1]).into()));
        assert!(!handler.is_expected(&key(&[3]).into()));
    }

    #[tokio::test]
    async fn a_target_that_is_not_waited_for_any_more_loses_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (host, port) = ("127.0.0.1".to_owned(), listener.local_addr().unwrap().port());
        let target = Target { host, port, ssh: Some(ssh()), ..target(Partition::Cut) };
        let (remote, _opened) = mpsc::channel(1);
        let ties = Ties { remote, mute: Arc::default() };
        let credential = TargetCredential::Password(String::new().into());
        let clock = Clock::paused(at(0));
        let (login, target) = ("deploy", &target);
        let call = Call { target, login, credential: &credential, clock: &clock, ties: &ties };
        let mut there = None;
        let silent = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
            let mut heard = vec![0; 64];
            stream.read_exact(&mut heard).await.unwrap();
            there = Some(stream);
        };
        tokio::select! {
            _ = connect(&call) => panic!("it never answered"),
            () = silent => {}
        }
        let ended = there.unwrap().read_to_end(&mut Vec::new()).await;
        assert!(ended.is_ok());
    }
}
