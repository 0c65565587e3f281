//! The way to a target: dial, verify who answers, sign in, and take its greeting as it is.
//!
//! No credential leaves before the target proved its identity as its configuration demands, and none
//! leaves in a way that gives it away, unless the configuration says so (see [`authenticate`]). What a
//! target may say before it is ready is bounded. Its own errors pass on (see [`refused`]); failures to
//! reach it carry the target's name only.

mod authenticate;
mod call;
mod refused;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use certs::{Connector, Identity, UpstreamMode};
use dashmap::DashMap;
use pgwire::messages::startup::{SslRequest, Startup};
use policies::{Target, TargetName, UpstreamTls};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use self::authenticate::authenticate;
pub(super) use self::call::{Call, DialError};
use self::call::{MESSAGE, send};
pub(super) use self::refused::refusal;
use super::stream::{ReadAhead, Stream};
use super::wire::{HEADER, WireError, cstring, put, read_message};
use crate::core::credential::TargetCredential;

/// From the first packet to ReadyForQuery.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The most that a target may say before it is ready.
const GREETING: usize = 64 * 1024;

/// A target that is signed in to.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) stream: Stream,
    pub(super) greeting: Greeting,
}

/// What a target sent between authentication and its first ReadyForQuery.
#[derive(Debug, Clone, Default)]
pub(super) struct Greeting {
    /// Parameter statuses and notices, as they came.
    pub(super) passing: BytesMut,
    /// The process id, and the secret with which a query is cancelled.
    pub(super) key: Option<(u32, Bytes)>,
    /// The transaction status of ReadyForQuery.
    pub(super) status: u8,
}

/// Prepared TLS settings of targets without a client certificate, so that roots are read once.
#[derive(Debug)]
pub(super) struct Connectors {
    prepared: DashMap<TargetName, (Arc<Target>, Option<Connector>)>,
    /// When a silent target is asked whether it is still there.
    keepalive: Duration,
}

impl Connectors {
    pub(super) fn new(keepalive: Duration) -> Self {
        Self { prepared: DashMap::new(), keepalive }
    }

    /// For a cancel, which needs no identity; none where the target takes no TLS, or none can be had.
    pub(super) fn anonymous(&self, target: &Arc<Target>) -> Option<Connector> {
        self.prepared(target).unwrap_or_else(|error| {
            tracing::error!(target = %target.name, %error, "a cancel can't reach the target");
            None
        })
    }

    fn connector(
        &self,
        target: &Arc<Target>,
        credential: &TargetCredential,
    ) -> Result<Option<Connector>, DialError> {
        match credential {
            TargetCredential::Password(_) => self.prepared(target),
            TargetCredential::SshKey { .. } => {
                Err(DialError::Settings(io::Error::other("a key for SSH opens no database")))
            }
            TargetCredential::Certificate { chain_pem, key_pem } => {
                let identity = Identity::from_pem(chain_pem.as_bytes(), key_pem);
                let identity = identity.map_err(settings)?;
                tls(&target.tls)?.connector(&target.host, Some(&identity)).map_err(settings)
            }
        }
    }

    fn prepared(&self, target: &Arc<Target>) -> Result<Option<Connector>, DialError> {
        if let Some(kept) = self.prepared.get(&target.name)
            && Arc::ptr_eq(&kept.0, target)
        {
            return Ok(kept.1.clone());
        }
        let connector = tls(&target.tls)?.connector(&target.host, None).map_err(settings)?;
        self.prepared.insert(target.name.clone(), (Arc::clone(target), connector.clone()));
        Ok(connector)
    }
}

fn settings(error: impl std::error::Error + Send + Sync + 'static) -> DialError {
    DialError::Settings(io::Error::other(error))
}

fn tls(tls: &UpstreamTls) -> Result<certs::UpstreamTls, DialError> {
    let (mode, roots, server_name) = match tls {
        UpstreamTls::VerifyFull { roots, name } => {
            (UpstreamMode::VerifyFull, roots.as_deref(), name.clone())
        }
        UpstreamTls::VerifyCa { roots } => (UpstreamMode::VerifyCa, roots.as_deref(), None),
        UpstreamTls::InsecureNoVerify => (UpstreamMode::InsecureNoVerify, Some(""), None),
        UpstreamTls::Off => (UpstreamMode::Off, Some(""), None),
    };
    let roots = match roots {
        Some("") => Arc::new(RootCertStore::empty()),
        Some(pem) => certs::roots_from_pem(pem.as_bytes()).map_err(settings)?,
        None => system_roots(),
    };
    Ok(certs::UpstreamTls { mode, server_name, roots, alpn: Vec::new() })
}

/// The certificates that the system trusts. Those that can't be read are as good as absent.
fn system_roots() -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    Arc::new(roots)
}

/// Makes a target notice soon that its client has gone, even where this whole process was killed.
/// Postgres has it since version 14; what doesn't know it is signed in to without.
const NOTICE_GONE: (&str, &str) = ("client_connection_check_interval", "2s");

/// Signs in to a target.
pub(super) async fn dial(connectors: &Connectors, call: &Call<'_>) -> Result<Upstream, DialError> {
    let signed_in = async {
        let first = sign_in(connectors, call, Some(NOTICE_GONE)).await;
        match first {
            Err(DialError::Refused(message)) if names(&message, NOTICE_GONE.0) => {
                sign_in(connectors, call, None).await
            }
            first => first,
        }
    };
    timeout(TIMEOUT, signed_in).await.map_err(|_| DialError::Late)?
}

fn names(message: &[u8], setting: &str) -> bool {
    message.windows(setting.len()).any(|window| window == setting.as_bytes())
}

async fn sign_in(
    connectors: &Connectors,
    call: &Call<'_>,
    more: Option<(&str, &str)>,
) -> Result<Upstream, DialError> {
    let connector = connectors.connector(call.target, call.credential)?;
    let (mut stream, binding) =
        connect(call.target, connector.as_ref(), connectors.keepalive).await?;
    send(&mut stream, &startup(call, more)).await?;
    authenticate(&mut stream, call, binding).await?;
    let greeting = greeting(&mut stream).await?;
    Ok(Upstream { stream, greeting })
}

/// Opens a connection of the kind that the target takes, for a session or for a cancel.
pub(super) async fn connect(
    target: &Target,
    connector: Option<&Connector>,
    keepalive: Duration,
) -> Result<(Stream, Option<Vec<u8>>), DialError> {
    let tcp = TcpStream::connect((target.host.as_str(), target.port)).await;
    let mut tcp = tcp.map_err(DialError::Unreachable)?;
    accept::keep_alive(&tcp, keepalive).map_err(DialError::Unreachable)?;
    let Some(connector) = connector else {
        return Ok((Stream::Plain(ReadAhead::new(tcp)), None));
    };
    let mut request = BytesMut::new();
    put(&mut request, &SslRequest::new());
    tcp.write_all(&request).await.map_err(WireError::from)?;
    // One byte exactly: whatever a fake adds in clear can only spoil the handshake.
    if tcp.read_u8().await.map_err(WireError::from)? != b'S' {
        return Err(DialError::NoTls);
    }
    let tls = TlsConnector::from(Arc::clone(&connector.config));
    let stream = tls.connect(connector.server_name.clone(), ReadAhead::new(tcp)).await;
    let stream = stream.map_err(DialError::Unverified)?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let binding = certificate.and_then(|certificate| certs::tls_server_end_point(certificate));
    Ok((Stream::Dialed(Box::new(stream)), binding))
}

fn startup(call: &Call<'_>, more: Option<(&str, &str)>) -> BytesMut {
    let mut startup = Startup::new();
    let more = more.map(|(name, value)| (name.to_owned(), value.to_owned()));
    startup.parameters.extend(call.settings.clone().into_iter().chain(more));
    startup.parameters.insert("user".to_owned(), call.login.to_owned());
    startup.parameters.insert("database".to_owned(), call.database.to_owned());
    let replication = call.replication.map(|mode| ("replication".to_owned(), mode.to_owned()));
    startup.parameters.extend(replication);
    let mut out = BytesMut::new();
    put(&mut out, &startup);
    out
}

/// Everything up to ReadyForQuery, bounded.
async fn greeting(stream: &mut Stream) -> Result<Greeting, DialError> {
    let mut greeting = Greeting::default();
    loop {
        let message = read_message(stream, MESSAGE).await?;
        let body = message.slice(HEADER..);
        match message.first() {
            Some(b'S') if is_parameter_status(&body) => greeting.passing.put_slice(&message),
            Some(b'N') => greeting.passing.put_slice(&message),
            Some(b'K') if greeting.key.is_none() && (8..=260).contains(&body.len()) => {
                let (pid, secret) = body.split_first_chunk::<4>().ok_or(WireError::Body('K'))?;
                greeting.key = Some((u32::from_be_bytes(*pid), Bytes::copy_from_slice(secret)));
            }
            Some(b'Z') => {
                greeting.status = *body.first().ok_or(WireError::Body('Z'))?;
                return Ok(greeting);
            }
            Some(b'E') => return Err(DialError::Refused(message)),
            kind => {
                let kind = char::from(kind.copied().unwrap_or_default());
                return Err(WireError::Kind(kind).into());
            }
        }
        if greeting.passing.len() > GREETING {
            return Err(DialError::Endless);
        }
    }
}

fn is_parameter_status(body: &[u8]) -> bool {
    let value = cstring(body).and_then(|(_, rest)| cstring(rest));
    value.is_some_and(|(_, rest)| rest.is_empty())
}

#[cfg(test)]
mod tests;
