//! Who a client is: by a client certificate, a token in the password field or an issuer's access token;
//! or not known yet.
//!
//! The order is the design's: a certificate was verified by TLS and is read here; a token is asked for
//! in clear, which is only ever inside TLS, from clients that are no terminals; a person at a terminal
//! confirms in a browser, later. SCRAM is never offered: there is no password to prove. `OAUTHBEARER`
//! is offered to clients that ask for it and on listeners that are set to it, since most know it not.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use pgwire::messages::startup::{Authentication, NegotiateProtocolVersion};
use policies::{Authn, DeviceId, Method, Resource, Target};
use secrecy::SecretString;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::entry::Arrival;
use super::refuse::Refusal;
use super::sasl::{self, Failure};
use super::startup::{Auth, MINOR, Startup};
use super::wire::{Fatal, HEADER, WireError, cstring, put, read_message};
use crate::core::admission::may_wait;
use crate::core::identity::{Identity, Proof, RedeemError, discover, redeem};
use crate::core::limits::{Slot, WaitingClient};
use crate::core::pending::PendingError;
use crate::core::plane::Plane;

/// The longest password message; a token is much shorter.
const PASSWORD: usize = 4 * 1024;
/// What every token begins with, so that a password typed by mistake never leaves this process.
const TOKEN: &str = "pst_";
/// How long a client may take to get an access token: its person may have to sign in for it.
const TIMEOUT: Duration = Duration::from_secs(600);
/// How long a client may take to acknowledge that its access token isn't taken.
const ACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Why a client isn't identified.
#[derive(Debug)]
pub(super) enum IdentifyError {
    Refused(Refusal),
    /// The client asked where access tokens come from, and will come again with one.
    Discovered(Fatal),
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

/// What is known of a connection before its identity.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientContext<'a> {
    pub(super) resource: &'a Resource,
    pub(super) client: SocketAddr,
    pub(super) slot: &'a Slot,
}

/// Finds out who it is; none where a person will have to confirm.
pub(super) async fn identify(
    plane: &Plane,
    arrival: &mut Arrival,
    target: &Target,
    context: ClientContext<'_>,
) -> Result<Option<Identity>, IdentifyError> {
    negotiate(arrival).await?;
    if let Some(certificate) = &arrival.certificate {
        return by_certificate(plane, certificate).map(Some).map_err(IdentifyError::Refused);
    }
    match way(plane, target, &arrival.startup) {
        Auth::Confirm => Ok(None),
        Auth::Token => by_token(plane, arrival, context).await.map(Some),
        Auth::Oauth => by_bearer(plane, arrival, context).await.map(Some),
    }
}

/// Says which protocol is spoken, where the client asks for a newer one or for extensions. That comes before all else: a
/// client that is asked for a password first takes it for an error.
async fn negotiate(arrival: &mut Arrival) -> Result<(), IdentifyError> {
    let startup = &arrival.startup;
    if startup.minor > MINOR || !startup.extensions.is_empty() {
        let newest = 0x0003_0000 | i32::from(startup.minor.min(MINOR));
        let mut out = BytesMut::new();
        put(&mut out, &NegotiateProtocolVersion::new(newest, startup.extensions.clone()));
        arrival.stream.write_all(&out).await?;
        arrival.stream.flush().await?;
    }
    Ok(())
}

/// How a client without a certificate is asked: as it wants to be, or else as the listener is set.
fn way(plane: &Plane, target: &Target, startup: &Startup) -> Auth {
    match startup.options.auth {
        Some(wanted @ (Auth::Token | Auth::Oauth)) => wanted,
        None if plane.settings.bearer => Auth::Oauth,
        Some(Auth::Confirm) | None if may_wait(target, startup.is_interactive()) => Auth::Confirm,
        Some(Auth::Confirm) | None => Auth::Token,
    }
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
    let device: DeviceId =
        person.device.parse().map_err(|why: policies::NameError| refuse(why.to_string()))?;
    let authn = Authn {
        method: Method::of_certificate(&device),
        at: now,
        evidence: person.serial,
        device: Some(device),
    };
    Ok(Identity { name: person.principal_id, principal, authn })
}

async fn by_token(
    plane: &Plane,
    arrival: &mut Arrival,
    context: ClientContext<'_>,
) -> Result<Identity, IdentifyError> {
    let proof = Proof::Token(ask_for_token(arrival).await?);
    let identity = redeem(&plane.link, &proof, context.resource, context.client).await;
    identity.map_err(|error| IdentifyError::Refused(Refusal::token(&error)))
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

async fn by_bearer(
    plane: &Plane,
    arrival: &mut Arrival,
    context: ClientContext<'_>,
) -> Result<Identity, IdentifyError> {
    // Kept until the token is checked: a client with a bad one takes up a place as long as it stays.
    let place = plane.limits.wait(context.client, WaitingClient::Unauthenticated);
    let many = || Refusal::pending(PendingError::TooMany, context.resource);
    let _place = place.ok_or_else(|| IdentifyError::Refused(many()))?;
    let Some(token) = wait_for_bearer(plane, arrival, context).await? else {
        let place = name_issuer(plane, arrival).await?;
        let fatal = Fatal::new("28000", "no access token was shown");
        let hint = format!("Come again with one, from the issuer of {place}.");
        return Err(IdentifyError::Discovered(fatal.hint(hint)));
    };
    let proof = Proof::Bearer(token);
    match redeem(&plane.link, &proof, context.resource, context.client).await {
        Ok(identity) => Ok(identity),
        Err(error @ RedeemError::Refused(_)) => {
            let place = name_issuer(plane, arrival).await?;
            Err(IdentifyError::Refused(Refusal::bearer(&error, Some(&place))))
        }
        Err(error) => Err(IdentifyError::Refused(Refusal::bearer(&error, None))),
    }
}

/// Asks for an access token. Its person may have to sign in for it, so that the connection counts as
/// one that waits for a person, with the timeout of those; the caller has its place among them.
async fn wait_for_bearer(
    plane: &Plane,
    arrival: &mut Arrival,
    context: ClientContext<'_>,
) -> Result<Option<SecretString>, IdentifyError> {
    let refused = |error| IdentifyError::Refused(Refusal::pending(error, context.resource));
    context.slot.authenticated();
    let response = tokio::select! {
        response = timeout(TIMEOUT, sasl::ask(&mut arrival.stream)) => response,
        () = plane.sessions.drained.cancelled() => return Err(refused(PendingError::Draining)),
    };
    let response = response.map_err(|_| refused(PendingError::Lapsed))??;
    response.map_err(|why| IdentifyError::Refused(Refusal::new("bearer", Fatal::from(&why))))
}

/// Sends a client without a good token the place where to get one.
async fn name_issuer(plane: &Plane, arrival: &mut Arrival) -> Result<String, IdentifyError> {
    let issuer = discover(&plane.link).await;
    let issuer = issuer.map_err(|error| IdentifyError::Refused(Refusal::bearer(&error, None)))?;
    let place = issuer.openid_configuration.clone();
    let failure = Failure::invalid_token(issuer.scope, issuer.openid_configuration);
    match timeout(ACKNOWLEDGED, sasl::fail(&mut arrival.stream, &failure)).await {
        Ok(sent) => sent?,
        Err(_) => tracing::debug!("a client did not acknowledge that its token isn't taken"),
    }
    Ok(place)
}
