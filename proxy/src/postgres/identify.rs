//! Who is it? A client certificate, a token in the password field, or nobody yet.
//!
//! The order is the design's: a certificate was verified by TLS and is read here; a token is asked for
//! in clear, which is only ever inside TLS, from clients that nobody types into; a person at a terminal
//! confirms in a browser, later. SCRAM is never offered: there is no password to prove.

use std::net::SocketAddr;

use bytes::BytesMut;
use pgwire::messages::startup::Authentication;
use policies::{Authn, Hold, Method, Resource, Target};
use secrecy::SecretString;
use tokio::io::AsyncWriteExt;

use super::entry::Arrival;
use super::refuse::Refusal;
use super::startup::Startup;
use super::wire::{Fatal, HEADER, WireError, cstring, put, read_message};
use crate::Plane;
use crate::hold::{Identity, redeem};

/// The longest password message; a token is much shorter.
const PASSWORD: usize = 4 * 1024;
/// What every token begins with, so that a password typed by mistake never leaves this process.
const TOKEN: &str = "pst_";

/// Why it isn't known who it is.
#[derive(Debug)]
pub(super) enum IdentifyError {
    Refused(Refusal),
    Wire(WireError),
}

impl From<WireError> for IdentifyError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<std::io::Error> for IdentifyError {
    fn from(error: std::io::Error) -> Self {
        Self::Wire(error.into())
    }
}

/// Whether this client waits while a person decides.
pub(super) fn waits(target: &Target, startup: &Startup) -> bool {
    match target.hold {
        Hold::Always => true,
        Hold::Interactive => startup.is_interactive(),
        Hold::Never => false,
    }
}

/// Finds out who it is; none where a person will have to confirm.
pub(super) async fn identify(
    plane: &Plane,
    arrival: &mut Arrival,
    target: &Target,
    resource: &Resource,
    client: SocketAddr,
) -> Result<Option<Identity>, IdentifyError> {
    if let Some(certificate) = &arrival.certificate {
        return by_certificate(plane, certificate).map(Some).map_err(IdentifyError::Refused);
    }
    if waits(target, &arrival.startup) && !arrival.startup.options.token {
        return Ok(None);
    }
    let token = ask_for_token(arrival).await?;
    let identity = redeem(plane, &token, resource, client).await;
    identity.map(Some).map_err(|error| IdentifyError::Refused(Refusal::token(&error)))
}

fn by_certificate(plane: &Plane, certificate: &[u8]) -> Result<Identity, Refusal> {
    let now = plane.clock.now();
    let refuse = |why: String| {
        let fatal = Fatal::new("28000", format!("client certificate: {why}"));
        Refusal::new("certificate", fatal.hint("`postern login` writes a fresh certificate."))
    };
    let person =
        certs::identify(certificate, now.millis()).map_err(|why| refuse(why.to_string()))?;
    let principal =
        person.principal_id.parse().map_err(|why: policies::NameError| refuse(why.to_string()))?;
    let device =
        person.device.parse().map_err(|why: policies::NameError| refuse(why.to_string()))?;
    let authn = Authn {
        method: Method::Certificate,
        at: now,
        evidence: person.serial,
        device: Some(device),
    };
    Ok(Identity { name: person.principal_id, principal, authn })
}

async fn ask_for_token(arrival: &mut Arrival) -> Result<SecretString, IdentifyError> {
    let mut out = BytesMut::new();
    put(&mut out, &Authentication::CleartextPassword);
    arrival.stream.write_all(&out).await?;
    arrival.stream.flush().await?;
    let message = read_message(&mut arrival.stream, PASSWORD).await?;
    let body = message.get(HEADER..).unwrap_or_default();
    let password = (message.first() == Some(&b'p')).then(|| cstring(body)).flatten();
    let (password, _) = password.filter(|(_, rest)| rest.is_empty()).ok_or(WireError::Body('p'))?;
    std::str::from_utf8(password)
        .ok()
        .filter(|text| text.starts_with(TOKEN))
        .map(SecretString::from)
        .ok_or_else(|| IdentifyError::Refused(not_a_token()))
}

fn not_a_token() -> Refusal {
    let fatal = Fatal::new("28P01", "the password is not a token of this gateway");
    let hint = "Put a token of `postern token LOGIN@TARGET` into the password field, \
                or connect with the certificate of `postern login`.";
    Refusal::new("token", fatal.hint(hint))
}
