//! Proving to a target that the gateway knows a login's password.
//!
//! SCRAM-SHA-256 gives nothing away. A target that asks for more than that (the password in clear, or
//! a digest of it that can be tried against a list) gets it only where its configuration says so, and in
//! clear only where its identity was verified (CVE-2021-23222 and its like).

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use pgwire::messages::startup::{SASLInitialResponse, SASLResponse};
use policies::{Target, UpstreamTls, WeakAuth};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use secrecy::{ExposeSecret, SecretString};

use super::super::stream::Stream;
use super::super::wire::{WireError, put, put_raw};
use super::call::{Call, DialError, expect, send};
use crate::core::credential::TargetCredential;

/// SASL's own way to send a password in clear (RFC 4616).
const PLAIN: &str = "PLAIN";

/// Answers what the target asks for, until it is content.
pub(super) async fn authenticate(
    stream: &mut Stream,
    call: &Call<'_>,
    binding: Option<Vec<u8>>,
) -> Result<(), DialError> {
    let (code, more) = authentication(stream).await?;
    if code == 0 {
        return Ok(());
    }
    let TargetCredential::Password(password) = call.credential else {
        return Err(DialError::Method("a password of a login that has a certificate"));
    };
    if password.expose_secret().is_empty() {
        return Err(DialError::Method("a password, and the login's is empty"));
    }
    match code {
        10 => sasl(stream, call.target, password, &more, binding).await?,
        3 => {
            allowed(call.target, WeakAuth::Cleartext, "a clear password")?;
            send_password(stream, password.expose_secret().as_bytes()).await?;
        }
        5 => {
            allowed(call.target, WeakAuth::Md5, "an MD5 password")?;
            let salt = *more.first_chunk::<4>().ok_or(WireError::Body('R'))?;
            let password = password.expose_secret().as_bytes();
            send_password(stream, md5_hash(call.login.as_bytes(), password, salt).as_bytes())
                .await?;
        }
        _ => return Err(DialError::Method("an unknown way of authentication")),
    }
    match authentication(stream).await? {
        (0, _) => Ok(()),
        _ => Err(DialError::Method("a second authentication")),
    }
}

/// Whether the configuration lets this target ask in this way.
fn allowed(target: &Target, how: WeakAuth, name: &'static str) -> Result<(), DialError> {
    let verified =
        matches!(target.tls, UpstreamTls::VerifyFull { .. } | UpstreamTls::VerifyCa { .. });
    let listed = target.weak_auth.contains(&how);
    if listed && (verified || !how.is_clear()) { Ok(()) } else { Err(DialError::Method(name)) }
}

/// The code of an Authentication message, and what follows it.
async fn authentication(stream: &mut Stream) -> Result<(u32, Bytes), DialError> {
    let body = expect(stream, b'R').await?;
    let code = body.first_chunk::<4>().ok_or(WireError::Body('R'))?;
    Ok((u32::from_be_bytes(*code), body.slice(4..)))
}

async fn send_password(stream: &mut Stream, password: &[u8]) -> Result<(), DialError> {
    let (mut out, mut body) = (BytesMut::new(), BytesMut::from(password));
    body.put_u8(0);
    put_raw(&mut out, b'p', &body);
    send(stream, &out).await
}

async fn sasl(
    stream: &mut Stream,
    target: &Target,
    password: &SecretString,
    offered: &Bytes,
    binding: Option<Vec<u8>>,
) -> Result<(), DialError> {
    let offers =
        |name: &str| offered.split(|byte| *byte == 0).any(|other| other == name.as_bytes());
    let (mechanism, binding) = match binding {
        Some(binding) if offers(SCRAM_SHA_256_PLUS) => {
            (SCRAM_SHA_256_PLUS, ChannelBinding::tls_server_end_point(binding))
        }
        // A claim that we could have bound the channel exposes an attacker who took the offer away.
        Some(_) if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unrequested()),
        None if offers(SCRAM_SHA_256) => (SCRAM_SHA_256, ChannelBinding::unsupported()),
        _ if offers(PLAIN) => {
            allowed(target, WeakAuth::SaslPlain, "a clear password by SASL PLAIN")?;
            return plain(stream, password).await;
        }
        _ => return Err(DialError::Method("an unknown SASL mechanism")),
    };
    scram(stream, password, mechanism, binding).await
}

/// The login is that of the start-up packet.
async fn plain(stream: &mut Stream, password: &SecretString) -> Result<(), DialError> {
    let response = [b"\0\0", password.expose_secret().as_bytes()].concat();
    let first = SASLInitialResponse::new(PLAIN.to_owned(), Some(response.into()));
    send_message(stream, &first).await
}

/// SCRAM-SHA-256 (RFC 5802, RFC 7677), bound to the TLS channel where both sides can (RFC 5929).
async fn scram(
    stream: &mut Stream,
    password: &SecretString,
    mechanism: &str,
    binding: ChannelBinding,
) -> Result<(), DialError> {
    let mut scram = ScramSha256::new(password.expose_secret().as_bytes(), binding);
    let first = SASLInitialResponse::new(
        mechanism.to_owned(),
        Some(Bytes::copy_from_slice(scram.message())),
    );
    send_message(stream, &first).await?;
    let challenge = sasl_data(stream, 11).await?;
    // Thousands of rounds of HMAC: not on the thread that moves the bytes of all sessions.
    let scram = tokio::task::spawn_blocking(move || scram.update(&challenge).map(|()| scram)).await;
    let mut scram = scram.map_err(io::Error::other).flatten().map_err(DialError::Scram)?;
    send_message(stream, &SASLResponse::new(Bytes::copy_from_slice(scram.message()))).await?;
    let outcome = sasl_data(stream, 12).await?;
    scram.finish(&outcome).map_err(DialError::Scram)
}

async fn send_message<M: pgwire::messages::Message>(
    stream: &mut Stream,
    message: &M,
) -> Result<(), DialError> {
    let mut out = BytesMut::new();
    put(&mut out, message);
    send(stream, &out).await
}

async fn sasl_data(stream: &mut Stream, wanted: u32) -> Result<Bytes, DialError> {
    match authentication(stream).await? {
        (code, data) if code == wanted => Ok(data),
        _ => Err(WireError::Body('R').into()),
    }
}
