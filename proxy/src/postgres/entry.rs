//! The first bytes of a connection: how it begins.
//!
//! `SSLRequest` is answered with `S` and TLS, `GSSENCRequest` with `N`, a TLS ClientHello is direct TLS
//! and has to name the protocol `postgresql` (ALPN). Each may come once. Eight bytes are read exactly,
//! so nothing that was sent in clear behind a request for TLS can ever be read as protocol
//! (CVE-2021-23214). Without TLS there is a refusal, and a CancelRequest, which Postgres clients send
//! in clear.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use policies::TargetName;
use rustls::ServerConfig;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::startup::{LONGEST, Startup, StartupError};
use super::stream::{ReadAhead, Stream};
use super::wire::Fatal;

const SSL_REQUEST: u32 = 80_877_103;
const GSSENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
const ALPN: &[u8] = b"postgresql";

/// What came in.
#[derive(Debug)]
pub(super) enum Entry {
    /// A client that wants a session.
    Session(Box<Arrival>),
    /// A client wants a query of a session cancelled, and waits until its connection ends.
    Cancel { stream: Box<Stream>, pid: u32, secret: Bytes },
}

/// A client behind TLS, with what it wants.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: Stream,
    pub(super) startup: Startup,
    /// The target in the TLS server name, where it is one below ours.
    pub(super) server_name: Option<TargetName>,
    /// The client's certificate, in DER, verified against our authority.
    pub(super) certificate: Option<Vec<u8>>,
}

/// Why a client is not received.
#[derive(Debug, Error)]
pub(super) enum EntryError {
    /// It reads what is wrong, over the layer that it speaks.
    #[error("{}", .1.message)]
    Refused(Option<Box<Stream>>, Fatal),
    /// Bytes that no client of ours sends; the connection is closed.
    #[error("{0}")]
    Nonsense(&'static str),
    /// The connection broke, or the TLS handshake failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Receives one client, up to its start-up packet.
pub(super) async fn receive(
    tcp: TcpStream,
    tls: &Arc<ServerConfig>,
    host_names: &[String],
) -> Result<Entry, EntryError> {
    let mut first = [0; 1];
    if tcp.peek(&mut first).await? == 0 {
        return Err(EntryError::Nonsense("the connection was closed before a byte came"));
    }
    if first == [TLS_HANDSHAKE] {
        return direct(tcp, tls, host_names).await;
    }
    negotiate(tcp, tls, host_names).await
}

/// Requests in clear until one of them leads to TLS.
async fn negotiate(
    mut tcp: TcpStream,
    tls: &Arc<ServerConfig>,
    host_names: &[String],
) -> Result<Entry, EntryError> {
    let mut gss_asked = false;
    loop {
        let (length, code) = word_pair(&mut tcp).await?;
        match (length, code) {
            (8, SSL_REQUEST) => {
                tcp.write_all(b"S").await?;
                return secure(tcp, tls, host_names).await;
            }
            (8, GSSENC_REQUEST) if !gss_asked => {
                gss_asked = true;
                tcp.write_all(b"N").await?;
            }
            (8, GSSENC_REQUEST) => {
                return Err(EntryError::Nonsense("GSS encryption was asked for twice"));
            }
            (length, CANCEL_REQUEST) => {
                return cancel(Stream::Plain(ReadAhead::new(tcp)), length).await;
            }
            (length, code) if is_startup(length, code) => return Err(refuse_plain(tcp).await),
            _ => return Err(EntryError::Nonsense("no start-up packet")),
        }
    }
}

fn is_startup(length: usize, code: u32) -> bool {
    (9..=LONGEST).contains(&length) && code >> 16 <= 3
}

/// A start-up in clear is answered in clear, with the remedy.
async fn refuse_plain(mut tcp: TcpStream) -> EntryError {
    let fatal = Fatal::new("28000", "TLS is required")
        .hint("Connect with sslmode=require, or better verify-full.");
    let mut out = BytesMut::new();
    fatal.put(&mut out);
    // The refusal is the outcome, whether or not the client reads it.
    let _ = tcp.write_all(&out).await;
    let _ = tcp.shutdown().await;
    EntryError::Refused(None, fatal)
}

async fn direct(
    tcp: TcpStream,
    tls: &Arc<ServerConfig>,
    host_names: &[String],
) -> Result<Entry, EntryError> {
    let stream = TlsAcceptor::from(Arc::clone(tls)).accept(ReadAhead::new(tcp)).await?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(EntryError::Nonsense("direct TLS without the protocol name `postgresql`"));
    }
    inside(stream, host_names).await
}

async fn secure(
    tcp: TcpStream,
    tls: &Arc<ServerConfig>,
    host_names: &[String],
) -> Result<Entry, EntryError> {
    let stream = TlsAcceptor::from(Arc::clone(tls)).accept(ReadAhead::new(tcp)).await?;
    inside(stream, host_names).await
}

/// Inside TLS: a start-up packet or a CancelRequest, and nothing else.
async fn inside(
    stream: tokio_rustls::server::TlsStream<ReadAhead>,
    host_names: &[String],
) -> Result<Entry, EntryError> {
    let session = stream.get_ref().1;
    let certificate = session.peer_certificates().and_then(<[_]>::first).map(|der| der.to_vec());
    let server_name = session.server_name().and_then(|name| target_in(name, host_names));
    let mut stream = Stream::Accepted(Box::new(stream));
    let (length, code) = word_pair(&mut stream).await?;
    match code {
        SSL_REQUEST | GSSENC_REQUEST => {
            return Err(EntryError::Nonsense("encryption was asked for inside TLS"));
        }
        CANCEL_REQUEST => return cancel(stream, length).await,
        _ => {}
    }
    match startup(&mut stream, length, code).await? {
        Ok(startup) => {
            Ok(Entry::Session(Box::new(Arrival { stream, startup, server_name, certificate })))
        }
        Err(error) => Err(EntryError::Refused(Some(Box::new(stream)), Fatal::from(&error))),
    }
}

async fn startup(
    stream: &mut Stream,
    length: usize,
    code: u32,
) -> Result<Result<Startup, StartupError>, EntryError> {
    if !(9..=LONGEST).contains(&length) {
        let why = format!("a length of {length} bytes, where 9 to {LONGEST} are possible");
        return Ok(Err(StartupError::Malformed(why)));
    }
    let mut packet = code.to_be_bytes().to_vec();
    packet.resize(length - 4, 0);
    if let Some(rest) = packet.get_mut(4..) {
        stream.read_exact(rest).await?;
    }
    Ok(Startup::parse(&packet))
}

/// The process id and the secret, of 4 to 256 bytes (protocol 3.2), of a CancelRequest.
async fn cancel(mut stream: Stream, length: usize) -> Result<Entry, EntryError> {
    if !(16..=268).contains(&length) {
        return Err(EntryError::Nonsense("a CancelRequest of an impossible length"));
    }
    let pid = stream.read_u32().await?;
    let mut secret = BytesMut::zeroed(length - 12);
    stream.read_exact(&mut secret).await?;
    Ok(Entry::Cancel { stream: Box::new(stream), pid, secret: secret.freeze() })
}

/// The length word and the word behind it: exactly eight bytes.
async fn word_pair<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(usize, u32), EntryError> {
    let length = stream.read_u32().await?;
    let code = stream.read_u32().await?;
    Ok((usize::try_from(length).unwrap_or(usize::MAX), code))
}

/// `orders` in `orders.gate.example.com`.
fn target_in(server_name: &str, host_names: &[String]) -> Option<TargetName> {
    let below = |host: &String| server_name.strip_suffix(host.as_str())?.strip_suffix('.');
    let label = host_names.iter().find_map(below)?;
    TargetName::new(label).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_one_label_below_the_gateway() {
        let hosts = ["gate.example.com".to_owned()];
        let target = |name| target_in(name, &hosts).map(|target| target.to_string());
        assert_eq!(target("orders.gate.example.com").as_deref(), Some("orders"));
        for other in [
            "gate.example.com",
            "a.b.gate.example.com",
            "ordersgate.example.com",
            "orders.example.com",
        ] {
            assert_eq!(target(other), None, "{other}");
        }
    }
}
