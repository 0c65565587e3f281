//! A client that speaks the protocol byte by byte, to say what no driver would.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Bed, Files};

pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
pub const GSSENC_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

pub type Tls = TlsStream<TcpStream>;

/// A message with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub body: Vec<u8>,
}

impl Message {
    /// A field of an error or a notice.
    pub fn field(&self, wanted: u8) -> String {
        let mut fields = self.body.split(|byte| *byte == 0);
        let field = fields.find(|field| field.first() == Some(&wanted)).unwrap_or_default();
        String::from_utf8_lossy(field.get(1..).unwrap_or_default()).into_owned()
    }
}

pub async fn tcp(bed: &Bed) -> TcpStream {
    TcpStream::connect(("127.0.0.1", bed.port())).await.unwrap()
}

pub fn tls_config(bed: &Bed, files: Option<&Files>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    tls_config_of(&bed.ca_pem(), files, alpn)
}

pub fn tls_config_of(ca_pem: &str, files: Option<&Files>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca_pem.as_bytes()).unwrap()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match files {
        Some(files) => {
            let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(&files.key).unwrap())
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

/// SSLRequest, `S`, and TLS to the host name.
pub async fn secure(bed: &Bed, files: Option<&Files>) -> Tls {
    secure_as(bed, files, "localhost").await
}

pub async fn secure_as(bed: &Bed, files: Option<&Files>, server_name: &'static str) -> Tls {
    let mut stream = tcp(bed).await;
    stream.write_all(&SSL_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
    let connector = TlsConnector::from(tls_config(bed, files, &[]));
    connector.connect(ServerName::try_from(server_name).unwrap(), stream).await.unwrap()
}

/// A start-up packet.
pub fn startup(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = version.to_be_bytes().to_vec();
    for (name, value) in parameters {
        body.extend(format!("{name}\0{value}\0").bytes());
    }
    body.push(0);
    framed(None, &body)
}

/// A message, with a type or, as a start-up packet has it, without.
pub fn framed(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = kind.into_iter().collect();
    bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

pub fn query(sql: &str) -> Vec<u8> {
    framed(Some(b'Q'), format!("{sql}\0").as_bytes())
}

/// The next message; none where the connection is closed.
pub async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Option<Message> {
    let kind = stream.read_u8().await.ok()?;
    let length = stream.read_u32().await.ok()?;
    let mut body = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
    stream.read_exact(&mut body).await.ok()?;
    Some(Message { kind, body })
}

/// All messages up to one of this kind, which is the last.
pub async fn read_until<S: AsyncRead + Unpin>(stream: &mut S, kind: u8) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(message) = read(stream).await {
        let last = message.kind == kind;
        messages.push(message);
        if last {
            return messages;
        }
    }
    panic!("the connection closed before a {:?}: {messages:?}", char::from(kind));
}

/// The error that the other side closes with.
pub async fn read_error<S: AsyncRead + Unpin>(stream: &mut S) -> Message {
    read_until(stream, b'E').await.pop().unwrap()
}

/// Whether the other side closes, whatever it says before, within the time.
pub async fn closes<S: AsyncRead + Unpin>(stream: &mut S, within: Duration) -> bool {
    let mut sink = [0; 4096];
    let drain = async { while matches!(stream.read(&mut sink).await, Ok(count) if count > 0) {} };
    tokio::time::timeout(within, drain).await.is_ok()
}

/// A session by certificate with a gateway in another process.
pub async fn session_at(
    port: u16,
    ca_pem: &str,
    files: &Files,
    login: &str,
    database: &str,
) -> Tls {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(&SSL_REQUEST).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'S');
    let connector = TlsConnector::from(tls_config_of(ca_pem, Some(files), &[]));
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let parameters = [("user", login), ("database", database), ("application_name", "raw")];
    send(&mut stream, &startup(0x0003_0000, &parameters)).await;
    read_until(&mut stream, b'Z').await;
    stream
}

/// A session by certificate, up to its first ReadyForQuery.
pub async fn session(bed: &Bed, files: &Files, login: &str, database: &str) -> (Tls, Vec<Message>) {
    let mut stream = secure(bed, Some(files)).await;
    let parameters = [("user", login), ("database", database), ("application_name", "raw")];
    send(&mut stream, &startup(0x0003_0000, &parameters)).await;
    let messages = read_until(&mut stream, b'Z').await;
    (stream, messages)
}

pub async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) {
    stream.write_all(bytes).await.unwrap();
    stream.flush().await.unwrap();
}
