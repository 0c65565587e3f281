//! Signing in, and keeping the certificate fresh.
//!
//! The key is made here and stays here; what is sent is a request that proves its possession.

use certs::NewRequest;
use policies::{Database, DeviceId, TargetName};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::Url;

use super::{Client, ClientError, Home, HomeError, Place, Session};

/// A certificate that ends sooner is renewed before it is used.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_mins(10);

/// What somebody signs in with.
#[derive(Debug)]
pub struct Offer {
    /// The gateway's address.
    pub url: Url,
    /// The one-time code.
    pub code: SecretString,
    /// The authority to trust besides those of the system, in PEM.
    pub ca_pem: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct LoggedIn {
    token: SecretString,
    expires_at: String,
    principal: Person,
    certificate: Option<Certificate>,
    ca_pem: String,
    gateway: Option<Place>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Person {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Certificate {
    pem: String,
    not_after: String,
}

#[derive(Deserialize)]
struct Target {
    name: TargetName,
    databases: Vec<Database>,
}

/// Signs in and saves what came of it.
///
/// # Errors
/// Where the gateway can't be reached or says no, or nothing can be saved.
pub async fn login(home: &Home, offer: Offer) -> Result<Session, ClientError> {
    let device = device(home)?;
    let key_request = NewRequest::generate()?;
    let client = Client::anonymous(&offer.url, offer.ca_pem.as_deref())?;
    let code = offer.code.expose_secret();
    let body = json!({ "code": code, "device": device.as_str(), "csr": key_request.csr_pem });
    let answer = client.post(&["login"], &body, None).await?;
    save(home, Fresh { url: offer.url, device, key: key_request.key_pem, answer })
}

/// What a gateway answered to somebody who has just signed in, and the key that they made for it.
pub(super) struct Fresh {
    pub(super) url: Url,
    pub(super) device: DeviceId,
    pub(super) key: SecretString,
    pub(super) answer: serde_json::Value,
}

/// Saves a sign-in: the session last, so that there is none without its files.
pub(super) fn save(home: &Home, fresh: Fresh) -> Result<Session, ClientError> {
    let answer: LoggedIn = understood(fresh.answer)?;
    let gateway = answer.gateway.map(checked).transpose()?;
    home.save_authority(&answer.ca_pem)?;
    if let Some(certificate) = &answer.certificate {
        home.save_certificate(&fresh.key, &certificate.pem)?;
    }
    if let Some(gateway) = &gateway {
        let targets = answer.targets.into_iter().map(|target| (target.name, target.databases));
        home.save_services(gateway, &targets.collect::<Vec<_>>())?;
    }
    let session = Session {
        url: fresh.url,
        token: answer.token,
        expires_at: answer.expires_at,
        principal: answer.principal.id,
        name: answer.principal.name,
        device: fresh.device,
        certificate_until: answer.certificate.map(|certificate| certificate.not_after),
        gateway,
    };
    home.save(&session)?;
    Ok(session)
}

/// Gets a new certificate where the present one ends soon, or there is none.
///
/// # Errors
/// Where the gateway can't be reached or says no.
pub async fn renew(home: &Home, now: jiff::Timestamp) -> Result<Session, ClientError> {
    let session = home.session()?;
    let until = session.certificate_until.as_ref().and_then(|until| until.parse().ok());
    if until.is_some_and(|until: jiff::Timestamp| until.duration_since(now) > SOON) {
        return Ok(session);
    }
    let key_request = NewRequest::generate()?;
    let body = json!({ "csr": key_request.csr_pem, "device": session.device.as_str() });
    let answer = Client::signed_in(home)?.post(&["certificate"], &body, None).await?;
    let certificate: Certificate = understood(answer)?;
    home.save_certificate(&key_request.key_pem, &certificate.pem)?;
    let session = Session { certificate_until: Some(certificate.not_after), ..session };
    home.save(&session)?;
    Ok(session)
}

pub(super) fn understood<T: serde::de::DeserializeOwned>(
    answer: serde_json::Value,
) -> Result<T, ClientError> {
    serde_json::from_value(answer).map_err(|_| ClientError::Strange("an unknown answer"))
}

/// The host goes into files of libpq, where a line break would begin another setting.
pub(super) fn checked(place: Place) -> Result<Place, ClientError> {
    let fits = |letter: char| !letter.is_control() && !letter.is_whitespace();
    if !place.host.is_empty() && place.host.chars().all(fits) {
        Ok(place)
    } else {
        Err(ClientError::Strange("a host name that is none"))
    }
}

/// The name of this machine's key: as before, or the host's name with something to tell two apart.
pub(super) fn device(home: &Home) -> Result<DeviceId, ClientError> {
    match home.session() {
        Ok(session) => return Ok(session.device),
        Err(HomeError::NotSignedIn | HomeError::Unreadable(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host: String =
        host.trim().chars().filter(|letter| letter.is_ascii_graphic()).take(60).collect();
    let host = if host.is_empty() { "device".to_owned() } else { host };
    let name = format!("{host}-{:06x}", rand::random::<u32>() & 0xff_ffff);
    DeviceId::new(&name).map_err(|_| ClientError::Strange("no device name"))
}
