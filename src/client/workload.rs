//! The sign-in of a program: its issuer's token is exchanged for a client certificate (RFC 8693).
//!
//! It leaves the files that libpq needs, and no session: a workload doesn't ask or approve by the API.
//! The key is kept from one time to the next, since a token works for one key only.

use certs::NewRequest;
use certs::store;
use policies::{Database, TargetName};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use url::Url;

use super::login::{checked, understood};
use super::{Client, ClientError, Home, HomeError, Place};

/// What a workload shows.
#[derive(Debug)]
pub struct Proof {
    /// The gateway's address.
    pub url: Url,
    /// The name that the gateway's configuration has for it.
    pub workload: String,
    /// The token of its issuer.
    pub token: SecretString,
    /// An authority to trust besides those of the system.
    pub ca_pem: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Issued {
    access_token: String,
    not_after: String,
    ca_pem: String,
    gateway: Option<Place>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: TargetName,
    databases: Vec<Database>,
}

/// Exchanges a token and saves the certificate: until when it is good.
///
/// # Errors
/// Where the gateway can't be reached or says no, or nothing can be saved.
pub async fn exchange(home: &Home, proof: &Proof) -> Result<String, ClientError> {
    let new_key = request(home)?;
    let client = Client::anonymous(&proof.url, proof.ca_pem.as_deref())?;
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", proof.token.expose_secret()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("requested_token_type", "urn:postern:token-type:client-certificate"),
        ("workload", &proof.workload),
        ("csr", &new_key.csr_pem),
    ];
    let issued: Issued = understood(client.send_form(&["token-exchange"], &fields).await?)?;
    let gateway = issued.gateway.map(checked).transpose()?;
    home.save_authority(&issued.ca_pem)?;
    home.save_certificate(&new_key.key_pem, &issued.access_token)?;
    if let Some(gateway) = &gateway {
        let targets = issued.targets.into_iter().map(|target| (target.name, target.databases));
        home.save_services(gateway, &targets.collect::<Vec<_>>())?;
    }
    Ok(issued.not_after)
}

/// A request for the key that is there, or for a new one.
fn request(home: &Home) -> Result<NewRequest, ClientError> {
    let path = home.key();
    if !path.exists() {
        return Ok(NewRequest::generate()?);
    }
    let bytes = store::read_private(&path).map_err(HomeError::from)?;
    let text = std::str::from_utf8(bytes.expose_secret());
    let text = text.map_err(|_| HomeError::Unreadable(path))?;
    Ok(NewRequest::again(&SecretString::from(text))?)
}
