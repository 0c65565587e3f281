//! Debian's Chromium with a virtual authenticator, driven through `browser.js`.

use std::path::Path;
use std::process::Stdio;

use postern::up::Gateway;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use url::Url;

use super::Bed;

/// A browser, closed when it is dropped.
pub struct Browser {
    says: Lines<BufReader<ChildStdout>>,
    acts: ChildStdin,
    _child: Child,
}

/// How the page stands after an act.
#[derive(Debug)]
pub struct Seen {
    pub url: String,
    pub title: String,
    pub text: String,
}

impl Browser {
    /// Opens one whose authenticator verifies its person.
    pub async fn open() -> Self {
        Self::run(&mut Command::new("node")).await
    }

    /// The same, of an account with this home folder: it trusts the authorities that are named there.
    pub async fn open_at_home(home: &Path) -> Self {
        Self::run(Command::new("node").env("HOME", home)).await
    }

    async fn run(node: &mut Command) -> Self {
        let root = env!("CARGO_MANIFEST_DIR");
        let mut child = node
            .arg(format!("{root}/tests/support/browser.js"))
            .env("NODE_PATH", format!("{root}/.cache/node/node_modules"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node is installed");
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut browser = Self { says, acts: child.stdin.take().unwrap(), _child: child };
        browser.act(json!({ "act": "key", "verified": true })).await;
        browser
    }

    pub async fn act(&mut self, act: Value) -> Seen {
        self.acts.write_all(format!("{act}\n").as_bytes()).await.unwrap();
        let line = self.says.next_line().await.unwrap().expect("the browser has stopped");
        let seen: Value = serde_json::from_str(&line).unwrap();
        assert!(seen["failed"].is_null(), "{act}: {seen}");
        let text = |name: &str| seen[name].as_str().unwrap().to_owned();
        Seen { url: text("url"), title: text("title"), text: text("text") }
    }

    pub async fn go(&mut self, url: &str) -> Seen {
        self.act(json!({ "act": "open", "url": url })).await
    }

    pub async fn fill(&mut self, label: &str, text: &str) {
        self.act(json!({ "act": "fill", "label": label, "text": text })).await;
    }

    /// Presses a button, and waits for the page that comes, or for the script's word that none does.
    pub async fn press(&mut self, button: &str) -> Seen {
        self.act(json!({ "act": "press", "button": button })).await
    }

    /// Signs somebody in by a link, and registers a passkey.
    pub async fn register(&mut self, bed: &Bed, who: &str) {
        self.register_at(&bed.gateway, who).await;
    }

    /// The same, at any gateway.
    pub async fn register_at(&mut self, gateway: &Gateway, who: &str) {
        let invite = gateway.control().identity.invite(None, &who.parse().unwrap()).await.unwrap();
        let code = invite.code.expose_secret();
        self.register_by(&format!("{}login?code={code}", gateway.api_url())).await;
    }

    /// The same, by the link that its person was given.
    pub async fn register_by(&mut self, link: &str) {
        self.go(link).await;
        let seen = self.press("Sign in").await;
        let keys = Url::parse(&seen.url).unwrap().join("/keys").unwrap();
        self.go(keys.as_str()).await;
        let seen = self.press("Add a passkey").await;
        assert!(seen.title.starts_with("A new passkey"), "{seen:?}");
        self.fill("What to call it", "blue key").await;
        let seen = self.press("Make the passkey").await;
        assert!(seen.url.ends_with("/keys") && seen.text.contains("blue key"), "{seen:?}");
    }

    pub async fn say(&mut self, act: &str) -> Seen {
        self.act(json!({ "act": act })).await
    }
}
