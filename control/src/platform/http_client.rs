//! Asking issuers over HTTP: no redirects, a deadline on everything, and no answer beyond a bound.
//!
//! The addresses come from the configuration and from what a configured issuer publishes. An answer
//! is read piece by piece, so that one that never ends costs no more than its bound.

use std::pin::Pin;
use std::time::Duration;

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, http as wire};
use reqwest::{Certificate, Client, Method, Request, StatusCode, header, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use thiserror::Error;
use url::{Host, Url};

const CONNECT: Duration = Duration::from_secs(5);
/// From the first byte sent to the last one read.
const ANSWER: Duration = Duration::from_secs(10);
/// The longest answer that is held in memory.
const LONGEST: usize = 512 << 10;

/// Why an issuer's answer can't be had.
#[derive(Debug, Error)]
pub enum HttpError {
    /// No connection, no answer, or none in time.
    #[error("no answer within {} s, or none at all", ANSWER.as_secs())]
    Unreachable(#[source] reqwest::Error),
    /// Another status than 200.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// More than a bound.
    #[error("its answer is longer than {} KiB", LONGEST >> 10)]
    TooLong,
    /// Not the JSON that is wanted.
    #[error("its answer is not the JSON that is wanted")]
    Malformed(#[source] serde_json::Error),
    /// The request can't be sent as it is.
    #[error("the request can't be made")]
    Unsendable(#[source] reqwest::Error),
    /// No client can be made on this machine.
    #[error("no HTTP client can be made here")]
    Setup(#[source] reqwest::Error),
}

/// A client that issuers are asked with.
pub(crate) struct Http {
    outside: Client,
    /// What is on loopback is asked directly, whatever proxy stands in front of the rest.
    inside: Client,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: Option<wire::HeaderValue>,
    pub(crate) body: Vec<u8>,
}

impl Http {
    /// A client that trusts these certificates in PEM alone, or else what this machine trusts.
    pub(crate) fn trusting(roots: Option<&str>) -> Result<Self, HttpError> {
        let roots = roots.map(|pem| Certificate::from_pem_bundle(pem.as_bytes()));
        let roots = roots.transpose().map_err(HttpError::Setup)?;
        let bounded = || {
            let client = Client::builder()
                .redirect(redirect::Policy::none())
                .connect_timeout(CONNECT)
                .timeout(ANSWER)
                .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")));
            match roots.clone() {
                Some(roots) => client.tls_certs_only(roots),
                None => client,
            }
        };
        let outside = bounded().build().map_err(HttpError::Setup)?;
        let inside = bounded().no_proxy().build().map_err(HttpError::Setup)?;
        Ok(Self { outside, inside })
    }

    /// Reads a JSON document.
    pub(crate) async fn json<T: DeserializeOwned>(&self, url: &Url) -> Result<T, HttpError> {
        let request = Request::new(reqwest::Method::GET, url.clone());
        let answer = self.send(request).await?;
        if answer.status != StatusCode::OK {
            return Err(HttpError::Status(answer.status));
        }
        serde_json::from_slice(&answer.body).map_err(HttpError::Malformed)
    }

    async fn relay(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.send(request.try_into().map_err(HttpError::Unsendable)?).await?;
        // Whatever it says besides, it can't just now.
        if answer.status.is_server_error() || answer.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(HttpError::Status(answer.status));
        }
        let mut response = wire::Response::new(answer.body);
        *response.status_mut() = answer.status;
        if let Some(kind) = answer.content_type {
            response.headers_mut().insert(wire::header::CONTENT_TYPE, kind);
        }
        Ok(response)
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, HttpError> {
        let client = if is_loopback(request.url()) { &self.inside } else { &self.outside };
        // An address may hold what is nobody's business, such as a hint of who signs out.
        let unreachable = |error: reqwest::Error| HttpError::Unreachable(error.without_url());
        let mut response = client.execute(request).await.map_err(unreachable)?;
        let status = response.status();
        let content_type = response.headers().get(wire::header::CONTENT_TYPE).cloned();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(unreachable)? {
            if body.len() + piece.len() > LONGEST {
                return Err(HttpError::TooLong);
            }
            body.extend_from_slice(&piece);
        }
        Ok(Answer { status, content_type, body })
    }
}

/// What `openidconnect` sends its requests with.
impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.relay(request))
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// A question with a bearer token, where there is one that fits into a header.
pub(crate) fn get(url: &Url, bearer: Option<&SecretString>) -> Request {
    let mut request = Request::new(Method::GET, url.clone());
    let shown = bearer.map(|bearer| format!("Bearer {}", bearer.expose_secret()));
    if let Some(mut value) = shown.and_then(|shown| header::HeaderValue::try_from(shown).ok()) {
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    request
}
