//! Signing in with a one-time code, and what a signed-in client needs: a certificate, and who it is.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use policies::{DeviceId, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{Bearer, Caller};
use super::error::{Kind, Problem, Problems};
use super::extract::Body;
use super::front::Front;
use super::guard::Source;
use super::wire;
use crate::http::api::state::Api;
use crate::model::actor::Actor;
use crate::model::login::{LoginKind, LoginSession, Origin, Rank};
use crate::model::settings::{Links, Settings};

/// A one-time code, and what else to give in one go.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    /// The code of the sign-in link.
    #[schema(value_type = String)]
    code: SecretString,
    /// The device that signs in; wanted with `csr`.
    #[schema(value_type = Option<String>)]
    device: Option<DeviceId>,
    /// A certificate signing request in PEM.
    csr: Option<String>,
}

/// A login, with all that a client needs to go on.
#[derive(Serialize, ToSchema)]
pub(crate) struct LoggedIn {
    /// The bearer token of this API.
    token: String,
    expires_at: String,
    #[serde(flatten)]
    me: Me,
    /// The client certificate, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
    /// Certificates of the authority that the gateway's own certificate comes from, in PEM.
    ca_pem: String,
    /// Where the gateway listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<Gateway>,
    targets: Vec<wire::Target>,
}

/// A client certificate.
#[derive(Serialize, ToSchema)]
pub(crate) struct Certificate {
    /// In PEM.
    pem: String,
    not_after: String,
}

/// Where the gateway listens.
#[derive(Serialize, ToSchema)]
pub(crate) struct Gateway {
    host: String,
    port: u16,
}

impl Gateway {
    pub(crate) fn of(settings: &Settings) -> Option<Self> {
        let gateway = settings.gateway.as_ref();
        gateway.map(|gateway| Self { host: gateway.host.clone(), port: gateway.port })
    }
}

/// Who is signed in.
#[derive(Serialize, ToSchema)]
pub(crate) struct Me {
    principal: wire::Person,
    /// Whether they may lock, revoke and invite.
    admin: bool,
    /// Whether they may see everybody's sessions, recordings and the audit log.
    auditor: bool,
}

impl From<&Actor> for Me {
    fn from(actor: &Actor) -> Self {
        Self {
            principal: wire::Person::from(&actor.principal),
            admin: actor.admin,
            auditor: actor.auditor,
        }
    }
}

impl From<certs::Issued> for Certificate {
    fn from(issued: certs::Issued) -> Self {
        Self { pem: issued.pem, not_after: Timestamp::from_millis(issued.not_after).to_string() }
    }
}

/// Signs in with a one-time code.
#[utoipa::path(post, path = "/login", tag = "login", security(()), request_body = Login,
    responses((status = 200, body = LoggedIn), Problems))]
pub(crate) async fn login(
    State(front): State<Front>,
    source: Source,
    headers: HeaderMap,
    Body(login): Body<Login>,
) -> Result<Json<LoggedIn>, Problem> {
    front.bounds.sign_in(source)?;
    let wanted = wanted(login.csr.as_deref(), login.device.as_ref())?;
    certifies(front.settings().sign_in.links, login.csr.is_some())?;
    let origin = origin(LoginKind::Terminal, login.device.clone(), source, &headers);
    let session = front.sign_in(&login.code, origin).await?;
    let certificate = match wanted {
        Some((csr, device)) => Some(front.issue_certificate(&session, csr, device).await?.into()),
        None => None,
    };
    Ok(Json(logged_in(&front, &session, certificate)))
}

/// Where a request comes from, as its login session keeps it.
pub(crate) fn origin(
    kind: LoginKind,
    device: Option<DeviceId>,
    Source(address): Source,
    headers: &HeaderMap,
) -> Origin {
    let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Origin { kind, device, address, agent: agent.unwrap_or_default().to_owned() }
}

/// A code is good once, so what else was sent is looked at before it is spent.
fn wanted<'a>(
    csr: Option<&'a str>,
    device: Option<&'a DeviceId>,
) -> Result<Option<(&'a str, &'a DeviceId)>, Problem> {
    let Some(csr) = csr else { return Ok(None) };
    let invalid = |detail: String| Problem::new(Kind::Invalid, detail);
    certs::Csr::from_pem(csr).map_err(|fault| invalid(fault.to_string()))?;
    let device = device.ok_or_else(|| invalid("`csr` wants `device` beside it".into()))?;
    Ok(Some((csr, device)))
}

/// Where links only let a passkey be registered, none brings a certificate.
fn certifies(links: Links, csr: bool) -> Result<(), Problem> {
    match (links, csr) {
        (Links::SignIn, _) | (Links::Enrol, false) => Ok(()),
        (Links::Enrol, true) => {
            let detail = "a sign-in link brings no certificate here: open it in a browser and \
                          register a passkey, then sign this terminal in with `postern login`; \
                          the link has not been used up";
            Err(Problem::new(Kind::Forbidden, detail))
        }
    }
}

pub(crate) fn logged_in(
    front: &Front,
    session: &LoginSession,
    certificate: Option<Certificate>,
) -> LoggedIn {
    let settings = front.settings();
    front.expect(session);
    let targets = match session.rank {
        Rank::Full => front.targets(&session.actor),
        Rank::Enrolling => Vec::new(),
    };
    LoggedIn {
        token: session.token.expose_secret().to_owned(),
        expires_at: session.expires_at.to_string(),
        me: Me::from(&session.actor),
        certificate,
        ca_pem: settings.authority.ca_pem().to_owned(),
        gateway: Gateway::of(settings),
        targets: targets.iter().map(wire::Target::from).collect(),
    }
}

/// Ends the login that the request was sent with.
#[utoipa::path(post, path = "/logout", tag = "login",
    responses((status = 204, description = "The token is no longer good"),
        (status = 202, description = "In force, and not yet written: `durable` is false"), Problems))]
pub(crate) async fn logout(
    State(api): State<Api>,
    _: Caller,
    Bearer(token): Bearer,
) -> Result<wire::Gone, Problem> {
    Ok(wire::Gone(api.control.identity.sign_out(&token, LoginKind::Terminal).await?))
}

/// A certificate signing request.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Signing {
    /// In PEM.
    csr: String,
    /// The device that holds the key.
    #[schema(value_type = String)]
    device: DeviceId,
}

/// A client certificate, and whom it trusts.
#[derive(Serialize, ToSchema)]
pub(crate) struct Signed {
    #[serde(flatten)]
    certificate: Certificate,
    ca_pem: String,
}

/// Issues a client certificate for this person and device.
#[utoipa::path(post, path = "/certificate", tag = "login", request_body = Signing,
    responses((status = 200, body = Signed), Problems))]
pub(crate) async fn certificate(
    State(api): State<Api>,
    Caller(actor): Caller,
    Body(requested): Body<Signing>,
) -> Result<Json<Signed>, Problem> {
    wanted(Some(&requested.csr), Some(&requested.device))?;
    let issued =
        api.control.identity.issue_certificate(&actor, &requested.csr, &requested.device).await?;
    let ca_pem = api.control.kernel.settings().authority.ca_pem().to_owned();
    let certificate = issued.into();
    Ok(Json(Signed { certificate, ca_pem }))
}

/// Says who is signed in.
#[utoipa::path(get, path = "/me", tag = "login",
    responses((status = 200, body = Me), Problems))]
pub(crate) async fn me(Caller(actor): Caller) -> Json<Me> {
    Json(Me::from(&actor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_only_enrols_is_not_spent_on_a_certificate() {
        assert!(certifies(Links::Enrol, true).is_err());
        assert!(certifies(Links::Enrol, false).is_ok());
        assert!(certifies(Links::SignIn, true).is_ok());
    }
}
