//! The first messages of a Postgres session, as far as it takes to know whether a login works:
//! SSLRequest, StartupMessage, SCRAM, and then Terminate. No statement is ever sent.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever else the protocol may hold is out of place here"
)]

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use certs::Connector;
use fallible_iterator::FallibleIterator as _;
use policies::{Database, Login};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use postgres_protocol::message::backend::{
    AuthenticationSaslBody, ErrorFields, ErrorResponseBody, Message,
};
use postgres_protocol::message::frontend;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

const PLUS: &str = "SCRAM-SHA-256-PLUS";
const SCRAM: &str = "SCRAM-SHA-256";
/// No message before ReadyForQuery is longer.
const LONGEST: usize = 64 * 1024;

/// Why a sign-in came to nothing.
#[derive(Debug, Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("it has no TLS")]
    NoTls,
    #[error("TLS failed: {0}")]
    Tls(io::Error),
    #[error("it says {code}: {message}")]
    Refused { code: String, message: String },
    #[error("it asks for {0}, which the gateway doesn't do")]
    Method(&'static str),
    #[error("it asks for a password, and there is none")]
    NoPassword,
    #[error("it doesn't speak the Postgres protocol")]
    Protocol,
}

/// How the target took the sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Welcome {
    /// It checked the credential.
    Checked,
    /// It asked for none.
    Unasked,
}

/// Asks for TLS, and shakes hands.
pub(super) async fn secure(
    address: SocketAddr,
    connector: &Connector,
) -> Result<TlsStream<TcpStream>, Trouble> {
    let mut stream = TcpStream::connect(address).await?;
    let mut request = BytesMut::new();
    frontend::ssl_request(&mut request);
    stream.write_all(&request).await?;
    match stream.read_u8().await? {
        b'S' => {}
        b'N' => return Err(Trouble::NoTls),
        _ => return Err(Trouble::Protocol),
    }
    let tls = TlsConnector::from(connector.config.clone());
    let name = connector.server_name.clone();
    tls.connect(name, stream).await.map_err(Trouble::Tls)
}

/// What channel binding can bind to: the certificate that the target presented.
pub(super) fn binding(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates()?.first()?;
    certs::tls_server_end_point(leaf)
}

/// A sign-in as one login.
pub(super) struct Attempt<'a> {
    pub(super) login: &'a Login,
    pub(super) database: Option<&'a Database>,
    pub(super) password: Option<&'a SecretString>,
    pub(super) binding: Option<Vec<u8>>,
}

impl Attempt<'_> {
    /// Signs in and leaves at once.
    pub(super) async fn make<S>(&self, stream: S) -> Result<Welcome, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut talk = Talk { stream, read: BytesMut::new() };
        let welcome = self.authenticate(&mut talk).await?;
        // Errors such as an unknown database come after the authentication.
        loop {
            match talk.receive().await? {
                Message::ReadyForQuery(_) => break,
                Message::ErrorResponse(body) => return Err(refused(&body)),
                _ => {}
            }
        }
        talk.send(|buffer| {
            frontend::terminate(buffer);
            Ok(())
        })
        .await?;
        Ok(welcome)
    }

    async fn authenticate<S>(&self, talk: &mut Talk<S>) -> Result<Welcome, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut parameters =
            vec![("user", self.login.as_str()), ("application_name", "postern doctor")];
        parameters.extend(self.database.map(|name| ("database", name.as_str())));
        talk.send(|buffer| frontend::startup_message(parameters, buffer)).await?;
        match talk.receive().await? {
            Message::AuthenticationOk => Ok(Welcome::Unasked),
            Message::AuthenticationSasl(body) => self.scram(talk, &body).await,
            Message::ErrorResponse(body) => Err(refused(&body)),
            Message::AuthenticationMd5Password(_) => Err(Trouble::Method("md5")),
            Message::AuthenticationCleartextPassword => {
                Err(Trouble::Method("a password in clear text"))
            }
            Message::AuthenticationGss | Message::AuthenticationSspi => {
                Err(Trouble::Method("Kerberos"))
            }
            _ => Err(Trouble::Protocol),
        }
    }

    async fn scram<S>(
        &self,
        talk: &mut Talk<S>,
        body: &AuthenticationSaslBody,
    ) -> Result<Welcome, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let password = self.password.ok_or(Trouble::NoPassword)?;
        let (mechanism, binding) = self.mechanism(body)?;
        let mut scram = ScramSha256::new(password.expose_secret().as_bytes(), binding);
        talk.send(|buffer| frontend::sasl_initial_response(mechanism, scram.message(), buffer))
            .await?;
        match talk.receive().await? {
            Message::AuthenticationSaslContinue(body) => scram.update(body.data())?,
            Message::ErrorResponse(body) => return Err(refused(&body)),
            _ => return Err(Trouble::Protocol),
        }
        talk.send(|buffer| frontend::sasl_response(scram.message(), buffer)).await?;
        match talk.receive().await? {
            Message::AuthenticationSaslFinal(body) => scram.finish(body.data())?,
            Message::ErrorResponse(body) => return Err(refused(&body)),
            _ => return Err(Trouble::Protocol),
        }
        match talk.receive().await? {
            Message::AuthenticationOk => Ok(Welcome::Checked),
            Message::ErrorResponse(body) => Err(refused(&body)),
            _ => Err(Trouble::Protocol),
        }
    }

    /// The strongest mechanism that both sides have.
    fn mechanism(
        &self,
        body: &AuthenticationSaslBody,
    ) -> Result<(&'static str, ChannelBinding), Trouble> {
        let offered: Vec<&str> = body.mechanisms().collect()?;
        match &self.binding {
            Some(hash) if offered.contains(&PLUS) => {
                Ok((PLUS, ChannelBinding::tls_server_end_point(hash.clone())))
            }
            Some(_) if offered.contains(&SCRAM) => Ok((SCRAM, ChannelBinding::unrequested())),
            None if offered.contains(&SCRAM) => Ok((SCRAM, ChannelBinding::unsupported())),
            Some(_) | None => Err(Trouble::Method("another SASL mechanism than SCRAM-SHA-256")),
        }
    }
}

/// A connection, and what was read ahead from it.
struct Talk<S> {
    stream: S,
    read: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn send(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> io::Result<()>,
    ) -> Result<(), Trouble> {
        let mut message = BytesMut::new();
        write(&mut message)?;
        self.stream.write_all(&message).await?;
        Ok(self.stream.flush().await?)
    }

    async fn receive(&mut self) -> Result<Message, Trouble> {
        loop {
            if let Some(message) = Message::parse(&mut self.read).map_err(|_| Trouble::Protocol)? {
                return Ok(message);
            }
            if self.read.len() > LONGEST {
                return Err(Trouble::Protocol);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }
}

fn refused(body: &ErrorResponseBody) -> Trouble {
    let (code, message) = code_and_message(body.fields());
    Trouble::Refused { code, message }
}

/// What an unknown server sends is printed without what a terminal would act on.
fn code_and_message(mut fields: ErrorFields<'_>) -> (String, String) {
    let (mut code, mut message) = (String::new(), String::new());
    while let Ok(Some(field)) = fields.next() {
        let text = String::from_utf8_lossy(field.value_bytes());
        let text = text.chars().filter(|c| !c.is_control()).take(300).collect();
        match field.type_() {
            b'C' => code = text,
            b'M' => message = text,
            _ => {}
        }
    }
    (code, message)
}
