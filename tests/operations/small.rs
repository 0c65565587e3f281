//! A gateway without a target to connect to, in a process of its own: for what is about its state folder.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use control::Actor;
use postern::config::Config;
use postern::up::Gateway;
use serde_json::{Value, json};

use crate::support::{OPEN, private_folder, run, until_some};

/// A configuration and its state folder.
pub struct Small {
    pub folder: tempfile::TempDir,
    pub config: PathBuf,
}

impl Small {
    pub fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = private_folder();
        let config = folder.path().join("postern.toml");
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        std::fs::write(folder.path().join("policies/access.cedar"), OPEN).unwrap();
        certs::store::write_private(&folder.path().join("app_rw"), b"canary-password").unwrap();
        std::fs::write(&config, text("state")).unwrap();
        Self { folder, config }
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        self.folder.path().join(inside)
    }

    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The same configuration with another state folder.
    pub fn with_state(&self, name: &str) -> PathBuf {
        let config = self.path(&format!("{name}.toml"));
        std::fs::write(&config, text(name)).unwrap();
        config
    }

    /// The program, with this configuration.
    pub fn postern(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
        command.args(args).env("POSTERN_CONFIG", &self.config).env("NO_COLOR", "1");
        command.env_remove("POSTERN_LOG").stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command that has to succeed, and gives what it printed.
    pub async fn does(&self, args: &[&str]) -> String {
        let (ok, out, errors) = run(self.postern(args)).await;
        assert!(ok, "{args:?}: {out}{errors}");
        out
    }

    /// Runs a command that has to fail with this code, and gives its errors.
    pub async fn fails(&self, code: i32, args: &[&str]) -> String {
        let mut command = self.postern(args);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {errors}");
        errors
    }

    /// Starts the gateway in this process.
    pub async fn start(&self) -> Gateway {
        self.start_with(&self.config).await
    }

    pub async fn start_with(&self, config: &Path) -> Gateway {
        let loaded = Config::load(config).unwrap_or_else(|faults| panic!("{faults}"));
        Gateway::start(&loaded).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Starts it in a process of its own, with a sign-in link for bob.
    pub async fn run(&self) -> Running {
        let log = self.path(&format!("log-{:08x}", rand_number()));
        let mut command = self.postern(&["up", "--invite", "bob"]);
        let mut child = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut running = Running { child, log, token: String::new(), url: String::new() };
        running.url = until_some("the gateway is up", async || running.up_at()).await;
        let code = tokio::task::spawn_blocking(move || {
            let mut lines = out.lines().map(Result::unwrap);
            let code = lines.find_map(|line| Some(line.rsplit_once('#')?.1.to_owned()));
            // Nobody reads on, and the process shall not mind.
            std::thread::spawn(move || lines.for_each(drop));
            code
        });
        let code = code.await.unwrap().unwrap();
        let login = running.post("api/v1/login", &json!({ "code": code })).await.unwrap();
        running.token = login["token"].as_str().unwrap().to_owned();
        running
    }
}

fn rand_number() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let number = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u32::try_from(number & 0xffff_ffff).unwrap()
}

fn text(state: &str) -> String {
    format!(
        r#"
[gateway]
host = "gate.example.com"
public_url = "http://localhost:0"
state = "{state}"
[postgres]
listen = ["127.0.0.1:0"]
[api]
listen = "127.0.0.1:0"
tls = "off"
[sign_in]
links = "sign-in"
[people.alice]
name = "Alice"
groups = ["engineering"]
[people.bob]
name = "Bob"
admin = true
auditor = true
[targets.orders]
address = "127.0.0.1:1"
databases = ["shop"]
tls = "off"
logins.app_rw.password_file = "app_rw"
"#
    )
}

/// A gateway's process, which ends with its test.
pub struct Running {
    child: Child,
    log: PathBuf,
    token: String,
    url: String,
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Where the API is, once it is there.
    fn up_at(&mut self) -> Option<String> {
        let log = self.log();
        let over = self.child.try_wait().unwrap();
        assert!(over.is_none(), "{over:?}: {log}");
        let line = log.lines().find(|line| line.contains("the gateway is up"))?;
        let url = line.split_whitespace().find_map(|word| word.strip_prefix("url="))?;
        Some(url.to_owned())
    }

    /// What the API answers; none where nobody is there any more.
    pub async fn post(&self, path: &str, body: &Value) -> Option<Value> {
        let url = reqwest::Url::parse(&self.url).unwrap().join(path).unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(url).bearer_auth(&self.token).json(body);
        let answer = request.send().await.ok()?;
        let status = answer.status();
        let text = answer.text().await.ok()?;
        assert!(status.is_success(), "{status}: {text}");
        Some(serde_json::from_str(&text).unwrap())
    }

    pub fn kill_9(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has it drain and end.
    pub async fn stop(mut self) {
        let id = self.id().to_string();
        let killed = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(killed.success());
        until_some("it has ended", async || self.child.try_wait().unwrap()).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Signs somebody in.
pub async fn actor(gateway: &Gateway, name: &str) -> Actor {
    let control = gateway.control();
    let invite = control.identity.invite(None, &name.parse().unwrap()).await.unwrap();
    control.identity.sign_in(&invite.code, control::Origin::default()).await.unwrap().actor
}
