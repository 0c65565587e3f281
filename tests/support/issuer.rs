//! A certified OpenID provider in a process of its own, and a browser as far as signing in takes one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Response, StatusCode, redirect};
use secrecy::ExposeSecret;
use serde_json::Value;
use url::Url;

pub const SECRET: &str = "canary-client-secret-of-the-gateway";

/// The provider. It ends with this value.
pub struct Provider {
    child: Child,
    pub url: String,
    http: Client,
}

impl Provider {
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(variables: &[(&str, &str)]) -> Self {
        let variables: Vec<(String, String)> =
            variables.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        let starting = tokio::task::spawn_blocking(move || {
            let root = env!("CARGO_MANIFEST_DIR");
            let library = format!("{root}/.cache/node/node_modules/oidc-provider/lib/index.js");
            let mut child = Command::new("node")
                .arg(format!("{root}/tests/support/issuer.mjs"))
                .env("OIDC_PROVIDER", library)
                .envs(variables)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("node is installed");
            let mut url = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
            (child, url.trim().to_owned())
        });
        let (child, url) = starting.await.unwrap();
        assert!(url.starts_with("http"), "the provider doesn't start: see above");
        Self { child, url, http: plain() }
    }

    /// Lines of the gateway's configuration.
    pub fn section(&self, name: &str, more: &str) -> String {
        let url = &self.url;
        format!(
            "[issuers.{name}]\nurl = \"{url}\"\nclient_id = \"postern\"\n\
             client_secret_file = \"issuer-secret\"\n{more}\n"
        )
    }

    /// Sets the provider up.
    pub async fn set(&self, what: &str, value: &str) {
        let mut url = Url::parse(&format!("{}/_rig", self.url)).unwrap();
        url.query_pairs_mut().append_pair(what, value);
        let answer = self.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{what} = {value}");
    }
}

impl Provider {
    /// An access token for a service, as a program on a person's machine gets one.
    pub async fn access_token(&self, service: &str) -> String {
        // The example of RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        let done = Url::parse("http://localhost/done").unwrap();
        let mut start = Url::parse(&format!("{}/auth", self.url)).unwrap();
        start.query_pairs_mut().extend_pairs([
            ("client_id", "psql"),
            ("response_type", "code"),
            ("redirect_uri", done.as_str()),
            ("scope", "openid postern"),
            ("resource", service),
            ("code_challenge", challenge),
            ("code_challenge_method", "S256"),
        ]);
        let back = Browser::default().pass(&done, start).await;
        let code = back.query_pairs().find(|(name, _)| name == "code").expect("a code").1;
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", "psql"),
            ("redirect_uri", done.as_str()),
            ("resource", service),
            ("code_verifier", verifier),
            ("code", &code),
        ];
        let answer = self.http.post(format!("{}/token", self.url)).form(&form).send().await;
        let answer: Value = answer.unwrap().json().await.unwrap();
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The one of an authority, at an address whose certificate it has issued.
    pub async fn behind(authority: &certs::Authority, folder: &Path) -> Self {
        let now = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
        let issued = authority.issue_server(&["localhost"], Duration::from_secs(3_600), now);
        let issued = issued.unwrap();
        let (cert, key) = (folder.join("issuer.crt"), folder.join("issuer.key"));
        std::fs::write(&cert, issued.certificate.pem).unwrap();
        std::fs::write(&key, issued.key_pem.expose_secret()).unwrap();
        let text = |path: &Path| path.display().to_string();
        Self::with(&[("TLS_CERT", &text(&cert)), ("TLS_KEY", &text(&key))]).await
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn plain() -> Client {
    let client = Client::builder().redirect(redirect::Policy::none()).no_proxy();
    client.tls_danger_accept_invalid_certs(true).build().unwrap()
}

/// A browser: cookies by origin, and no redirect that isn't looked at.
pub struct Browser {
    http: Client,
    cookies: BTreeMap<String, BTreeMap<String, String>>,
}

/// A page, or a redirect.
#[derive(Debug)]
pub struct Seen {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn location(&self) -> Option<String> {
        Some(self.headers.get(LOCATION)?.to_str().unwrap().to_owned())
    }

    /// Why somebody was refused, as the page says.
    pub fn reason(&self) -> String {
        let tail = self.body.split("Reason: <code>").nth(1).unwrap_or(&self.body);
        tail.split('<').next().unwrap().to_owned()
    }
}

impl Default for Browser {
    fn default() -> Self {
        Self { http: plain(), cookies: BTreeMap::new() }
    }
}

impl Browser {
    pub async fn get(&mut self, url: &Url) -> Seen {
        let request = self.http.get(url.clone()).header(COOKIE, self.line(url));
        let answer = request.send().await.unwrap();
        self.keep(url, answer).await
    }

    /// Sends a form as a page of the same site would.
    pub async fn post(&mut self, url: &Url, form: &[(&str, &str)]) -> Seen {
        let request = self.http.post(url.clone()).header(COOKIE, self.line(url));
        let answer = request.header("sec-fetch-site", "same-origin").form(form).send().await;
        self.keep(url, answer.unwrap()).await
    }

    /// The value of a cookie that an origin has set.
    pub fn cookie(&self, url: &Url, name: &str) -> Option<String> {
        self.cookies.get(&origin(url))?.get(name).cloned()
    }

    /// Presses an issuer's button: the address at the issuer.
    pub async fn set_out(&mut self, gate: &Url, issuer: &str) -> Url {
        let button = gate.join(&format!("/oidc/{issuer}/login")).unwrap();
        let page = self.post(&button, &[("next", "/")]).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        let onward = page.headers.get("refresh").unwrap().to_str().unwrap();
        Url::parse(onward.strip_prefix("0; url=").unwrap()).unwrap()
    }

    /// Follows the issuer's redirects up to the one that leads back.
    pub async fn pass(&mut self, gate: &Url, start: Url) -> Url {
        let mut url = start;
        for _ in 0..12 {
            let seen = self.get(&url).await;
            let next = seen.location().unwrap_or_else(|| panic!("no way on: {seen:?}"));
            url = url.join(&next).unwrap();
            if origin(&url) == origin(gate) {
                return url;
            }
        }
        panic!("the issuer leads in a circle")
    }

    /// Signs in from the button to the last redirect.
    pub async fn sign_in(&mut self, gate: &Url, issuer: &str) -> Seen {
        let there = self.set_out(gate, issuer).await;
        let back = self.pass(gate, there).await;
        self.get(&back).await
    }

    fn line(&self, url: &Url) -> String {
        let kept = self.cookies.get(&origin(url)).into_iter().flatten();
        kept.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    async fn keep(&mut self, url: &Url, answer: Response) -> Seen {
        let jar = self.cookies.entry(origin(url)).or_default();
        for line in answer.headers().get_all(SET_COOKIE) {
            let pair = line.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        Seen { status, headers, body: answer.text().await.unwrap() }
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
