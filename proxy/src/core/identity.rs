//! Who is at the other side of a connection: asking control whose token or key this is.

use std::net::SocketAddr;
use std::time::Duration;

use link::{Malformed, v1};
use policies::{Authn, PrincipalId, Resource};
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tonic::{Code, Response, Status};

use crate::core::feed::LinkClient;

/// The longest that control may take over an answer that needs no person.
const ANSWER: Duration = Duration::from_secs(10);

/// Who is at the other side of a connection, and how we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) principal: PrincipalId,
    pub(crate) name: String,
    pub(crate) authn: Authn,
}

/// What a client offers as a proof of who it is.
#[derive(Debug)]
pub(crate) enum Proof {
    /// A token of ours, from the password field.
    Token(SecretString),
    /// An access token of an issuer.
    Bearer(SecretString),
}

/// Why a token or a key identifies no principal.
#[derive(Debug, Error)]
pub(crate) enum RedeemError {
    #[error("{0}")]
    Refused(String),
    #[error("control is out of reach")]
    Unreachable(#[source] Status),
    #[error("control did not answer in time")]
    Late,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Exchanges a proof for the principal whose it is.
pub(crate) async fn redeem(
    link: &LinkClient,
    proof: &Proof,
    resource: &Resource,
    client: SocketAddr,
) -> Result<Identity, RedeemError> {
    let (kind, token) = match proof {
        Proof::Token(token) => ("token", token),
        Proof::Bearer(token) => ("oauth", token),
    };
    let request = v1::RedeemRequest {
        token: token.expose_secret().to_owned(),
        resource: Some(resource.clone().into()),
        client: client.to_string(),
        kind: kind.to_owned(),
    };
    let mut link = link.clone();
    let identity = answered(timeout(ANSWER, link.redeem(request)).await)?;
    Ok(identity.try_into()?)
}

/// The principal whose registered key this is: a line as OpenSSH writes one, proved by the client.
pub(crate) async fn redeem_key(
    link: &LinkClient,
    line: String,
    client: SocketAddr,
) -> Result<Identity, RedeemError> {
    let (kind, client) = ("ssh-key".to_owned(), client.to_string());
    let request = v1::RedeemRequest { token: line, resource: None, client, kind };
    let mut link = link.clone();
    let identity = answered(timeout(ANSWER, link.redeem(request)).await)?;
    Ok(identity.try_into()?)
}

/// Where a client gets an access token that control accepts.
pub(crate) async fn discover(link: &LinkClient) -> Result<v1::Discovery, RedeemError> {
    let mut link = link.clone();
    answered(timeout(ANSWER, link.discover(v1::DiscoverRequest {})).await)
}

fn answered<T>(answer: Result<Result<Response<T>, Status>, Elapsed>) -> Result<T, RedeemError> {
    match answer {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) if is_decision(&status) => {
            Err(RedeemError::Refused(status.message().to_owned()))
        }
        Ok(Err(status)) => Err(RedeemError::Unreachable(status)),
        Err(_) => Err(RedeemError::Late),
    }
}

/// Whether control decided, rather than failed.
pub(crate) fn is_decision(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::InvalidArgument
    )
}

impl From<Identity> for v1::Identity {
    fn from(identity: Identity) -> Self {
        Self {
            principal: identity.principal.into(),
            name: identity.name,
            authn: Some(identity.authn.into()),
        }
    }
}

impl TryFrom<v1::Identity> for Identity {
    type Error = Malformed;

    fn try_from(wire: v1::Identity) -> Result<Self, Malformed> {
        let (principal, name, authn) = wire.parts()?;
        Ok(Self { principal, name, authn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::testing::{Rig, alice};

    #[tokio::test(start_paused = true)]
    async fn a_token_identifies_a_person_or_no_user() {
        let rig = Rig::new();
        let (resource, client) = ("app@orders/shop".parse().unwrap(), "192.0.2.7:5555");
        let client = client.parse().unwrap();
        let redeem = async |token: &str| {
            let proof = Proof::Token(SecretString::from(token));
            redeem(&rig.plane.link, &proof, &resource, client).await
        };
        assert_eq!(redeem("good").await.unwrap(), alice());
        let refused = redeem("bad").await.unwrap_err();
        assert_eq!(refused.to_string(), "no such token");
        let failed = redeem("broken").await.unwrap_err();
        assert_eq!(failed.to_string(), "control is out of reach");
    }
}
