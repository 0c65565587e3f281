//! A gateway in a process of its own, on the state of one that has given grants.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use postern::throwaway::{Cluster, free_port};
use secrecy::ExposeSecret;

use super::{Bed, Files, Setup, psql, raw, run, until_some};

/// What the process works with; it is started by [`GatewayProcess::start`].
pub struct GatewayProcess {
    pub cluster: Cluster,
    pub folder: tempfile::TempDir,
    pub config: PathBuf,
    pub conninfo: String,
    /// Where its pages and API are.
    pub url: String,
    /// A link that signs bob in, good once.
    pub bob: String,
    port: u16,
    files: Files,
    ca_pem: String,
}

impl GatewayProcess {
    /// Grants these to alice, which the rules give without asking anybody.
    pub async fn new(setup: Setup, granted: &[&str]) -> Self {
        let bed = Bed::with(setup).await;
        for resource in granted {
            bed.grant(resource, "30m").await;
        }
        let files = bed.files("alice").await;
        let ca_pem = bed.ca_pem();
        let port = free_port().unwrap();
        let old = bed.port().to_string();
        let id = policies::PrincipalId::new("bob").unwrap();
        let bob = bed.gateway.control().identity.invite(None, &id).await.unwrap();
        let api = free_port().unwrap();
        let (old_url, url) =
            (bed.gateway.api_url().to_string(), format!("http://localhost:{api}/"));
        let bob = bob.url.expose_secret().replace(&old_url, &url);
        let login = granted.first().and_then(|resource| resource.split_once('@')).unwrap().0;
        let conninfo = bed.conninfo(&files, login, "orders").replace(&old, &port.to_string());
        let Bed { gateway, cluster, folder, config } = bed;
        gateway.shutdown(Duration::from_secs(10)).await;
        let text = std::fs::read_to_string(&config).unwrap();
        let listen = "[postgres]\nlisten = [\"127.0.0.1:";
        let fixed = text.replace(&format!("{listen}0\""), &format!("{listen}{port}\""));
        let listen = "[api]\nlisten = \"127.0.0.1:";
        let fixed = fixed.replace(&format!("{listen}0\""), &format!("{listen}{api}\""));
        let fixed = fixed.replace("\"http://localhost:0\"", &format!("\"{url}\""));
        std::fs::write(&config, fixed).unwrap();
        Self { cluster, folder, config, conninfo, url, bob, port, files, ca_pem }
    }

    /// Puts the recordings outside of the state's folder, on another disk than that may be on.
    pub fn recordings_elsewhere(&mut self) {
        let text = std::fs::read_to_string(&self.config).unwrap();
        let folder = self.folder.path().join("recordings");
        let line = format!("[gateway]\nrecordings = {:?}\n", folder.display().to_string());
        std::fs::write(&self.config, text.replacen("[gateway]\n", &line, 1)).unwrap();
    }

    /// The sessions that there are recordings of, where those are elsewhere.
    pub fn recordings(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("recordings")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let recordings =
            paths.filter(|path| path.extension().is_some_and(|ending| ending == "rec"));
        recordings.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect()
    }

    /// Starts it, and waits until it serves.
    pub async fn start(&self) -> Killed {
        self.start_with("", &[]).await
    }

    /// Starts it after these words of a shell and with these arguments. What it prints is in `out`.
    pub async fn start_with(&self, before: &str, more: &[&str]) -> Killed {
        let child = Command::new("sh")
            .args(["-c", &format!("{before}exec \"$@\""), "sh"])
            .arg(env!("CARGO_BIN_EXE_postern"))
            .args(["up", "--config"])
            .arg(&self.config)
            .args(more)
            .env_remove("POSTERN_LOG")
            .stdin(Stdio::null())
            .stdout(File::create(self.folder.path().join("out")).unwrap())
            .stderr(File::create(self.folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut child = Killed(child);
        until_some("the gateway serves", async || {
            let over = child.0.try_wait().unwrap();
            assert!(over.is_none(), "{over:?}: {}", self.log());
            let mut command = psql(&self.conninfo);
            command.args(["-c", "select 1"]);
            run(command).await.0.then_some(())
        })
        .await;
        child
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub async fn session(&self, login: &str) -> raw::Tls {
        raw::session_at(self.port, &self.ca_pem, &self.files, login, "orders").await
    }

    pub fn upstream_sessions(&self) -> String {
        let seen = "select count(*) from pg_stat_activity where application_name like 'postern:%'";
        self.cluster.psql(seen).unwrap().trim().to_owned()
    }
}

/// A process that ends with its test.
pub struct Killed(Child);

impl Killed {
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn kill_9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// Sends it this signal, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let killed =
            Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status();
        assert!(killed.unwrap().success());
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
