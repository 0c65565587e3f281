//! The token endpoint of workloads (RFC 8693), with the errors of RFC 6749.
//!
//! What comes in is a form, and what goes out as the issued token is a client certificate in PEM.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use certs::Csr;
use policies::Timestamp;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::{Problem, Problems};
use super::extract::Filled;
use super::front::Front;
use super::guard::Source;
use super::wire;
use crate::identity::workloads::{ExchangeError, Exchanged, TokenExchangeInput};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const SUBJECTS: [&str; 2] =
    ["urn:ietf:params:oauth:token-type:jwt", "urn:ietf:params:oauth:token-type:id_token"];
/// What is issued: no token that RFC 8693 has a name for.
const CERTIFICATE: &str = "urn:postern:token-type:client-certificate";

/// A workload's token, and the key that it wants a certificate for.
#[derive(Deserialize, ToSchema)]
pub(crate) struct Exchange {
    /// `urn:ietf:params:oauth:grant-type:token-exchange`
    grant_type: String,
    /// The token of the workload's issuer.
    #[schema(value_type = String)]
    subject_token: SecretString,
    /// `urn:ietf:params:oauth:token-type:jwt` or `…:id_token`
    subject_token_type: String,
    /// `urn:postern:token-type:client-certificate`, which is also what an absent one means.
    requested_token_type: Option<String>,
    /// Nobody acts for a workload: it is refused.
    #[schema(value_type = Option<String>)]
    actor_token: Option<SecretString>,
    /// The workload, by its name in the gateway's configuration.
    workload: String,
    /// A certificate signing request in PEM.
    csr: String,
}

/// A client certificate as the token that was issued.
#[derive(Serialize, ToSchema)]
pub(crate) struct Issued {
    /// The certificate in PEM.
    access_token: String,
    /// `urn:postern:token-type:client-certificate`
    issued_token_type: &'static str,
    /// `N_A`: it is shown in TLS, not in a header.
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
    not_after: String,
    principal: wire::Person,
    /// Certificates of the authority that the gateway's own certificate comes from, in PEM.
    ca_pem: String,
    /// Where the gateway listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<super::login::Gateway>,
    targets: Vec<wire::Target>,
}

/// An error of a token endpoint (RFC 6749, section 5.2).
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OauthError {
    #[serde(skip)]
    status: StatusCode,
    /// `invalid_request`, `invalid_grant`, `unsupported_grant_type` or `temporarily_unavailable`.
    error: &'static str,
    error_description: String,
}

/// Exchanges a workload's token for a client certificate.
#[utoipa::path(post, path = "/token-exchange", tag = "login", security(()),
    request_body(content = Exchange, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = Issued), Problems))]
pub(crate) async fn exchange(
    State(front): State<Front>,
    source: Source,
    form: Result<Filled<Exchange>, Problem>,
) -> Result<Json<Issued>, OauthError> {
    let Filled(form) = form.map_err(|problem| OauthError::of(&problem))?;
    front.bounds.sign_in(source).map_err(|problem| OauthError::of(&problem))?;
    let requested = input(form, source)?;
    let exchanged = front.exchange(requested).await?;
    Ok(Json(issued(&front, exchanged)))
}

fn input(form: Exchange, source: Source) -> Result<TokenExchangeInput, OauthError> {
    let invalid = |why: String| OauthError::new(StatusCode::BAD_REQUEST, "invalid_request", &why);
    if form.grant_type != GRANT {
        let why = format!("`grant_type` has to be {GRANT}");
        return Err(OauthError::new(StatusCode::BAD_REQUEST, "unsupported_grant_type", &why));
    }
    if !SUBJECTS.contains(&form.subject_token_type.as_str()) {
        return Err(invalid(format!("`subject_token_type` has to be {}", SUBJECTS.join(" or "))));
    }
    if form.requested_token_type.is_some_and(|wanted| wanted != CERTIFICATE) {
        return Err(invalid(format!("`requested_token_type` has to be {CERTIFICATE}")));
    }
    if form.actor_token.is_some() {
        return Err(invalid("nobody acts for a workload: leave `actor_token` out".to_owned()));
    }
    let csr = Csr::from_pem(&form.csr).map_err(|fault| invalid(format!("`csr`: {fault}")))?;
    let Exchange { workload, subject_token: token, .. } = form;
    Ok(TokenExchangeInput { workload, token, csr, source: source.0 })
}

fn issued(front: &Front, exchanged: Exchanged) -> Issued {
    let Exchanged { issued, principal, asker, lasts } = exchanged;
    Issued {
        access_token: issued.pem,
        issued_token_type: CERTIFICATE,
        token_type: "N_A",
        expires_in: lasts.millis().unsigned_abs() / 1_000,
        not_after: Timestamp::from_millis(issued.not_after).to_string(),
        principal: wire::Person::from(&principal),
        ca_pem: front.settings().authority.ca_pem().to_owned(),
        gateway: super::login::Gateway::of(front.settings()),
        targets: front.targets_of(&asker).iter().map(wire::Target::from).collect(),
    }
}

impl OauthError {
    fn new(status: StatusCode, error: &'static str, why: &str) -> Self {
        // RFC 6749 allows neither quotes nor backslashes nor anything beyond ASCII.
        let plain = |letter: char| match letter {
            '"' | '\\' => '\'',
            ' '..='~' => letter,
            _ => '?',
        };
        let error_description = why.chars().map(plain).take(500).collect();
        Self { status, error, error_description }
    }

    /// A problem of the API in the words of a token endpoint.
    fn of(problem: &Problem) -> Self {
        let status = problem.status();
        let error = match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::INTERNAL_SERVER_ERROR => "temporarily_unavailable",
            _ => "invalid_request",
        };
        Self::new(status, error, problem.detail())
    }
}

impl From<ExchangeError> for OauthError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Refused(why) => {
                Self::new(StatusCode::BAD_REQUEST, "invalid_grant", &why.to_string())
            }
            ExchangeError::Failed(error) => Self::of(&Problem::from(error)),
        }
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        let status = self.status;
        let mut response = (status, Json(self)).into_response();
        if [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE].contains(&status) {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
