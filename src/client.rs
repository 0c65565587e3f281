//! The client of the HTTP API, for every command that isn't a gateway itself.
//!
//! A [`Home`] keeps what a sign-in gave; a [`Client`] sends the token to that address and nowhere
//! else: over TLS, or over loopback, and never after a redirect.

mod device;
mod error;
mod home;
mod login;
mod ssh;
mod workload;

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use reqwest::{Certificate, Method, RequestBuilder, Response, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::{Host, Url};

pub use device::{Waiting, begin};
pub use error::{ClientError, Problem};
pub(crate) use home::database_name;
pub use home::{Home, HomeError, Place, Session};
pub use login::{Offer, login, renew};
pub use ssh::certify;
pub use workload::{Proof, exchange};

const CONNECT: Duration = Duration::from_secs(10);
/// Longer than the API takes at most to give up by itself.
const ANSWER: Duration = Duration::from_secs(40);
/// The longest answer that is held in memory.
const LONGEST: usize = 16 << 20;

/// A client of one gateway.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<SecretString>,
}

impl Client {
    /// The client of whoever is signed in.
    ///
    /// # Errors
    /// Where nobody is.
    pub fn signed_in(home: &Home) -> Result<Self, ClientError> {
        let session = home.session()?;
        let mut client = Self::anonymous(&session.url, home.ca()?.as_deref())?;
        client.token = Some(session.token);
        Ok(client)
    }

    /// A client without a token, which trusts this authority besides those of the system.
    ///
    /// # Errors
    /// Where the address would show secrets to others on the way.
    pub fn anonymous(base: &Url, ca_pem: Option<&[u8]>) -> Result<Self, ClientError> {
        let is_local = is_loopback(base);
        if base.scheme() != "https" && !(base.scheme() == "http" && is_local) {
            return Err(ClientError::Insecure(base.to_string()));
        }
        let mut http = reqwest::Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(ANSWER)
            .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")));
        if is_local {
            http = http.no_proxy();
        }
        if let Some(pem) = ca_pem {
            let authorities = Certificate::from_pem_bundle(pem).map_err(ClientError::Authority)?;
            http = http.tls_certs_merge(authorities);
        }
        let http = http.build().map_err(ClientError::Setup)?;
        let (base, token) = (base.clone(), None);
        Ok(Self { http, base, token })
    }

    /// Reads.
    ///
    /// # Errors
    /// Where the gateway can't be reached or says no.
    pub async fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, ClientError> {
        let request = self.request(Method::GET, path, query);
        self.answer(request).await
    }

    /// Reads a list, page by page, up to so many items.
    ///
    /// # Errors
    /// Where the gateway can't be reached or says no.
    pub async fn list(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        most: usize,
    ) -> Result<Vec<Value>, ClientError> {
        let mut items = Vec::new();
        let mut cursor = None::<String>;
        while items.len() < most {
            let limit = (most - items.len()).min(200).to_string();
            let mut wanted = query.to_vec();
            wanted.push(("limit", &limit));
            wanted.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let mut page = self.get(path, &wanted).await?;
            let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) else {
                return Err(ClientError::Strange("a list without items"));
            };
            items.extend(more);
            cursor = page.get("next").and_then(Value::as_str).map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        Ok(items)
    }

    /// Acts. With a `key`, sending it again does nothing more.
    ///
    /// # Errors
    /// Where the gateway can't be reached or says no.
    pub async fn post(
        &self,
        path: &[&str],
        body: &Value,
        key: Option<&str>,
    ) -> Result<Value, ClientError> {
        let mut request = self.request(Method::POST, path, &[]).json(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.answer(request).await
    }

    /// Sends a form.
    ///
    /// # Errors
    /// Where the gateway can't be reached or says no.
    pub async fn send_form(
        &self,
        path: &[&str],
        fields: &[(&str, &str)],
    ) -> Result<Value, ClientError> {
        const FORM: &str = "application/x-www-form-urlencoded";
        let body =
            url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.request(Method::POST, path, &[]);
        self.answer(request.header("content-type", FORM).body(body)).await
    }

    /// Takes away.
    ///
    /// # Errors
    /// Where the gateway can't be reached or says no.
    pub async fn delete(&self, path: &[&str]) -> Result<Value, ClientError> {
        let request = self.request(Method::DELETE, path, &[]);
        self.answer(request).await
    }

    /// Writes what is there into a file, of whatever length it is.
    ///
    /// # Errors
    /// Where the gateway can't be reached or says no, or the file can't be written.
    pub async fn download(&self, path: &[&str], file: &mut File) -> Result<(), ClientError> {
        let mut response = self.send(self.request(Method::GET, path, &[])).await?;
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(e))? {
            file.write_all(&chunk).map_err(ClientError::Write)?;
        }
        Ok(())
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Value, ClientError> {
        let response = self.send(request).await?;
        let bytes = self.body(response).await?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes)
            .map_err(|_| ClientError::Strange("an answer that is no JSON"))
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let response = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = self.body(response).await?;
        Err(ClientError::Problem(Problem::read(status.as_u16(), &bytes)))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(e))? {
            if bytes.len() + chunk.len() > LONGEST {
                return Err(ClientError::Strange("an answer of more than 16 MiB"));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// The cause may hold the address with its query; the message has the origin alone.
    fn unreachable(&self, error: reqwest::Error) -> ClientError {
        let url = self.base.origin().ascii_serialization();
        ClientError::Unreachable { url, source: error.without_url() }
    }
}

/// Whether what is sent there stays on this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_over_tls_or_loopback_only() {
        for (url, fits) in [
            ("https://gate.example.com", true),
            ("http://127.0.0.1:7080", true),
            ("http://localhost:7080", true),
            ("http://[::1]:7080", true),
            ("http://gate.example.com", false),
            ("http://localhost.example.com", false),
            ("ftp://localhost", false),
        ] {
            let url = Url::parse(url).unwrap();
            assert_eq!(Client::anonymous(&url, None).is_ok(), fits, "{url}");
        }
    }

    #[test]
    fn an_id_stays_within_its_path_segment() {
        let base = Url::parse("https://gate.example.com/postern/").unwrap();
        let client = Client::anonymous(&base, None).unwrap();
        let request = client.request(Method::GET, &["requests", "../locks?a=b"], &[("q", "x y")]);
        let url = request.build().unwrap().url().to_string();
        let wanted = "https://gate.example.com/postern/api/v1/requests/..%2Flocks%3Fa=b?q=x+y";
        assert_eq!(url, wanted);
    }
}
