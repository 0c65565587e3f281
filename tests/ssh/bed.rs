//! A gateway in the test's own process, in front of a real sshd of its own, and what stock `ssh` needs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use control::{AccessRequestInput, Actor, Paging, RequestFilter, Scope, Yes};
use policies::{DeviceId, Grant, PrincipalId, Request, Resource};
use postern::config::Config;
use postern::throwaway::{SshOptions, Sshd};
use postern::up::Gateway;
use secrecy::ExposeSecret;

use crate::support::private_folder;

/// Engineers may have every host; nobody has to be asked.
pub const OPEN: &str = r#"
permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
"#;

/// The same, but a DBA has to say yes.
pub const FOUR_EYES: &str = r#"
permit (principal in Group::"engineering", action == Action::"connect", resource is Host);
@id("four eyes") @approvals("1 of dba") @limit("1h")
forbid (principal, action == Action::"connect", resource);
"#;

/// The one login of the target.
pub const LOGIN: &str = "deploy";

/// What differs from test to test.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// Lines of the section `[targets.web-1]`.
    pub target: &'a str,
    pub rules: &'a str,
    /// Another host key in the configuration than the target's own.
    pub host_key: Option<&'a str>,
    /// Lines of the section `[people.alice]`.
    pub alice: &'a str,
    /// Lines of the section `[ssh]`.
    pub ssh: &'a str,
    /// A further line of the target's `sshd_config`.
    pub sshd: &'a str,
    /// Whole sections at the end of the file.
    pub more: &'a str,
}

impl Default for Setup<'_> {
    fn default() -> Self {
        Self { target: "", rules: OPEN, host_key: None, alice: "", ssh: "", sshd: "", more: "" }
    }
}

/// A gateway and its target `web-1`.
pub struct SshBed {
    pub gateway: Gateway,
    pub sshd: Sshd,
    pub folder: Arc<tempfile::TempDir>,
}

/// Whether any of the lines holds this text.
pub fn kept(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

/// All lines of all recordings below this folder.
pub fn recorded(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("state/recordings")) else {
        return Vec::new();
    };
    let mut lines = Vec::new();
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "rec") {
            let bytes = std::fs::read(path).unwrap();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            lines.extend(text.lines().map(ToOwned::to_owned));
        }
    }
    lines
}

impl SshBed {
    pub async fn start() -> Self {
        Self::made(Setup::default()).await
    }

    /// With these lines of the target's section, and these rules.
    pub async fn with(target: &str, rules: &str) -> Self {
        Self::made(Setup { target, rules, ..Setup::default() }).await
    }

    pub async fn made(setup: Setup<'_>) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = private_folder();
        let state = folder.path().join("state");
        certs::store::create_private_dir(&state).unwrap();
        let authority = certs::SshAuthority::load_or_generate(&state.join("authority")).unwrap();
        let sshd = sshd(authority.logins_line().unwrap(), setup.sshd).await;
        let text = text(&state, &sshd, setup);
        std::fs::create_dir(folder.path().join("policies")).unwrap();
        std::fs::write(folder.path().join("policies/access.cedar"), setup.rules).unwrap();
        let config = folder.path().join("postern.toml");
        std::fs::write(&config, text).unwrap();
        let known = format!("@cert-authority * {}\n", authority.hosts_line().unwrap());
        std::fs::write(folder.path().join("known_hosts"), known).unwrap();
        let loaded = Config::load(&config).unwrap_or_else(|faults| panic!("{faults}"));
        let gateway = Gateway::start(&loaded).await.unwrap_or_else(|error| panic!("{error:?}"));
        Self { gateway, sshd, folder: Arc::new(folder) }
    }

    pub fn port(&self) -> u16 {
        self.gateway.ssh_addrs()[0].port()
    }

    /// What is asked for, as `ssh` takes it.
    pub fn place(&self) -> String {
        format!("{LOGIN}@web-1@127.0.0.1")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub async fn actor(&self, name: &str) -> Actor {
        let control = self.gateway.control();
        let invite = control.identity.invite(None, &PrincipalId::new(name).unwrap()).await.unwrap();
        control.identity.sign_in(&invite.code, control::Origin::default()).await.unwrap().actor
    }

    /// A live grant for alice.
    pub async fn grant(&self, ttl: &str) -> Grant {
        let resource: Resource = format!("{LOGIN}@web-1").parse().unwrap();
        let ttl = Some(ttl.parse().unwrap());
        let input = AccessRequestInput {
            ttl,
            reason: "a test".to_owned(),
            ..AccessRequestInput::new(resource)
        };
        let actor = self.actor("alice").await;
        let asked = self.gateway.control().access.ask(&actor, input).await.unwrap();
        asked.grant.expect("the rules ask for nobody")
    }

    pub async fn revoke(&self, grant: &Grant, why: &str) {
        let bob = self.actor("bob").await;
        self.gateway.control().access.revoke(&bob, &grant.id, why.to_owned()).await.unwrap();
    }

    pub async fn confirm(&self, name: &str, code: &str) {
        let actor = self.actor(name).await;
        let control = self.gateway.control();
        let seen = control.gateway.hold_by_code(&actor, code).await.unwrap();
        control.gateway.confirm(&actor, code, seen.digest.clone(), None).await.unwrap();
    }

    /// Approves the one request that waits.
    pub async fn approve(&self, name: &str) {
        let (actor, request) = self.waiting(name).await;
        let yes = Yes { digest: request.digest(), shorten: None, step_up: None };
        self.gateway.control().access.approve(&actor, &request.id, yes).await.unwrap();
    }

    /// Denies it.
    pub async fn deny(&self, name: &str, why: &str) {
        let (actor, request) = self.waiting(name).await;
        let control = self.gateway.control();
        control.access.deny(&actor, &request.id, why.to_owned()).await.unwrap();
    }

    /// Somebody, and the one request that waits for them.
    async fn waiting(&self, name: &str) -> (Actor, Request) {
        let actor = self.actor(name).await;
        let filter = RequestFilter { scope: Scope::Inbox, ..Default::default() };
        let page = self
            .gateway
            .control()
            .access
            .requests(&actor, filter, Paging::default())
            .await
            .unwrap();
        let request = page.items.into_iter().next().expect("somebody asked").request;
        (actor, request)
    }

    /// How many connections to the target this process has.
    pub fn connections(&self) -> usize {
        let (target, table) = (self.sshd.port(), std::fs::read_to_string("/proc/self/net/tcp"));
        let there = format!(" 0100007F:{target:04X} 01 ");
        table.unwrap().lines().filter(|line| line.contains(&there)).count()
    }

    /// What the target has logged.
    pub fn target_log(&self) -> String {
        self.sshd.log().unwrap()
    }

    /// A file in the home folder of the target's login.
    pub fn at_home(&self, name: &str) -> PathBuf {
        self.sshd.home().join(name)
    }

    /// `ssh` as this person, with a certificate as `postern login` writes it. Without words for the
    /// target, the place is still to be named.
    pub async fn ssh(&self, name: &str, words: &[&str]) -> Command {
        let mut command = self.bare("ssh");
        self.with_identity(&mut command, name).await;
        if !words.is_empty() {
            command.arg(self.place()).args(words);
        }
        command
    }

    /// `ssh` with nobody's certificate.
    pub fn ssh_as(&self, key: Option<&Path>, words: &[&str]) -> Command {
        let mut command = self.bare("ssh");
        match key {
            Some(key) => command.arg("-i").arg(key),
            None => command.args(["-o", "PubkeyAuthentication=no"]),
        };
        command.arg(self.place()).args(words);
        command
    }

    /// `ssh` that offers what this agent holds.
    pub fn ssh_agent(&self, socket: &Path) -> Command {
        let mut command = self.bare("ssh");
        command.args(["-o", "IdentitiesOnly=no"]).env("SSH_AUTH_SOCK", socket);
        command
    }

    /// `ssh` that offers these keys.
    pub fn ssh_keys(&self, keys: &[PathBuf]) -> Command {
        let mut command = self.bare("ssh");
        command.args(["-o", "IdentitiesOnly=yes"]);
        for key in keys {
            command.arg("-i").arg(key);
        }
        command
    }

    pub async fn with_identity(&self, command: &mut Command, name: &str) {
        command.args(["-o", "IdentitiesOnly=yes", "-i"]).arg(self.identity(name).await);
    }

    /// A key that opens the target without the gateway.
    pub fn direct_key(&self) -> PathBuf {
        let path = self.file("direct");
        if !path.exists() {
            self.stray_key("direct");
            let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
            let file = self.sshd.folder().join("authorized_keys");
            std::fs::write(file, format!("{public}\n")).unwrap();
        }
        path
    }

    /// `ssh` to the target itself.
    pub fn direct(&self) -> Command {
        let known = format!("[127.0.0.1]:{} {}\n", self.sshd.port(), self.sshd.host_key());
        std::fs::write(self.file("known_target"), known).unwrap();
        let mut command = Command::new("ssh");
        command.args(["-F", "none", "-o", "GlobalKnownHostsFile=/dev/null", "-o"]);
        command.arg(format!("UserKnownHostsFile={}", self.file("known_target").display()));
        command.args(["-o", "IdentitiesOnly=yes", "-p", &self.sshd.port().to_string(), "-i"]);
        command.arg(self.direct_key());
        quiet(&mut command);
        command
    }

    /// `scp` with these options; with `-O` it is a command on the target, else the subsystem.
    pub async fn scp(&self, name: &str, options: &[&str], from: &Path, to: &str) -> Command {
        let mut command = self.bare("scp");
        self.with_identity(&mut command, name).await;
        command.args(options).arg(from).arg(to);
        command
    }

    pub fn remote(&self, path: &Path) -> String {
        format!("{}:{}", self.place(), path.display())
    }

    /// `ssh -J gate` to this name.
    pub async fn jump(&self, name: &str, host: &str, command_line: &str) -> Command {
        let key = self.identity(name).await.display().to_string();
        let known = format!("IdentityFile {key}\n    IdentitiesOnly yes\n    BatchMode yes");
        self.jump_with(&known, host, command_line)
    }

    /// The same with these lines of `ssh_config` for both connections.
    pub fn jump_with(&self, who: &str, host: &str, command_line: &str) -> Command {
        let text = format!(
            "Host gate\n    HostName 127.0.0.1\n    Port {}\n    HostKeyAlias gate.example.com\n\
             Host *\n    {who}\n    UserKnownHostsFile {}\n    \
             GlobalKnownHostsFile /dev/null\n    StrictHostKeyChecking yes\n",
            self.port(),
            self.file("known_hosts").display(),
        );
        let file = self.file("ssh_config");
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new("ssh");
        command.arg("-F").arg(file).args(["-J", "alice@gate"]);
        command.arg(format!("{LOGIN}@{host}")).arg(command_line);
        quiet(&mut command);
        command
    }

    /// A key that nobody has heard of.
    pub fn stray_key(&self, name: &str) -> PathBuf {
        stray_key(&self.file(name))
    }

    /// The file of a certified key of this person.
    pub async fn identity(&self, name: &str) -> PathBuf {
        self.identity_on(name, "laptop").await
    }

    /// The same, on another device.
    pub async fn identity_on(&self, name: &str, device: &str) -> PathBuf {
        let path = self.file(&format!("id-{name}-{device}"));
        if path.exists() {
            return path;
        }
        let (key, public) = certs::new_ssh_key().unwrap();
        let (actor, device) = (self.actor(name).await, DeviceId::new(device).unwrap());
        let control = self.gateway.control();
        let issued =
            control.identity.issue_ssh_certificate(&actor, &public, &device).await.unwrap();
        certs::store::write_private(&path, key.expose_secret().as_bytes()).unwrap();
        let mut certificate = path.clone().into_os_string();
        certificate.push("-cert.pub");
        std::fs::write(certificate, format!("{}\n", issued.unwrap().line)).unwrap();
        path
    }

    /// The exit status of a command.
    pub async fn status(&self, mut command: Command) -> Option<i32> {
        tokio::task::spawn_blocking(move || command.status()).await.unwrap().unwrap().code()
    }

    /// All lines of all recordings.
    pub fn events(&self) -> Vec<String> {
        recorded(self.folder.path())
    }

    fn bare(&self, program: &str) -> Command {
        stock(program, self.folder.path(), self.port())
    }
}

/// A stock client of the gateway at this port, which knows its authority by the file of this folder.
pub fn stock(program: &str, folder: &Path, port: u16) -> Command {
    let known = format!("UserKnownHostsFile={}", folder.join("known_hosts").display());
    let port = format!("Port={port}");
    let mut command = Command::new(program);
    // What is said first counts: callers say the rest.
    command.args(["-F", "none", "-o", &known, "-o", &port]);
    for option in [
        "HostKeyAlias=gate.example.com",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "NumberOfPasswordPrompts=1",
    ] {
        command.args(["-o", option]);
    }
    quiet(&mut command);
    command
}

/// A new key in this file, and its public half beside it.
pub fn stray_key(path: &Path) -> PathBuf {
    let (key, public) = certs::new_ssh_key().unwrap();
    certs::store::write_private(path, key.expose_secret().as_bytes()).unwrap();
    std::fs::write(path.with_extension("pub"), public).unwrap();
    path.to_owned()
}

fn quiet(command: &mut Command) {
    use std::process::Stdio;
    command.env_remove("SSH_AUTH_SOCK").env_remove("SSH_ASKPASS").env_remove("DISPLAY");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
}

/// A real sshd that trusts this authority.
async fn sshd(user_ca: String, setting: &str) -> Sshd {
    let settings = [setting, "AcceptEnv SECRET_* BASH_ENV LD_*", "X11Forwarding yes"];
    let settings = settings.map(str::to_owned).into();
    let options = SshOptions { user_ca, settings, ..SshOptions::default() };
    let started = tokio::task::spawn_blocking(move || Sshd::start(&options)).await.unwrap();
    started.unwrap_or_else(|error| panic!("{error}"))
}

fn text(state: &Path, sshd: &Sshd, setup: Setup<'_>) -> String {
    let Setup { target, host_key, alice, ssh, more, .. } = setup;
    let (state, port, host_key) =
        (state.display(), sshd.port(), host_key.unwrap_or(sshd.host_key()));
    format!(
        r#"
[gateway]
host = "gate.example.com"
public_url = "http://localhost:0"
state = "{state}"
[postgres]
listen = ["127.0.0.1:0"]
[ssh]
listen = ["127.0.0.1:0"]
{ssh}
[api]
listen = "127.0.0.1:0"
tls = "off"
[sign_in]
links = "sign-in"
[people.alice]
name = "Alice"
groups = ["engineering"]
{alice}
[people.bob]
name = "Bob"
groups = ["dba"]
admin = true
auditor = true
[targets.web-1]
kind = "ssh"
address = "127.0.0.1:{port}"
environment = "prod"
host_keys = ["{host_key}"]
{target}
[targets.web-1.logins.{LOGIN}]
certificate = true
{more}
"#
    )
}
