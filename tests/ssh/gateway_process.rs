//! A gateway in a process of its own, on the state of one that has given a grant: to be killed, and starved.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use postern::throwaway::{Sshd, free_port};

use crate::bed::{LOGIN, SshBed, recorded, stock};
use crate::support;

/// What a gateway in a process of its own has.
pub struct GatewayProcess {
    pub sshd: Sshd,
    pub folder: Arc<tempfile::TempDir>,
    pub config: PathBuf,
    port: u16,
    key: PathBuf,
}

/// A process that ends with its test.
pub struct Killed(pub Child);

impl Killed {
    pub fn kill_9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl GatewayProcess {
    /// Of a gateway in this process, which ends; alice has a grant.
    pub async fn of(bed: SshBed) -> Self {
        bed.grant("30m").await;
        let key = bed.identity("alice").await;
        let port = free_port().unwrap();
        let SshBed { gateway, sshd, folder } = bed;
        gateway.shutdown(Duration::from_secs(10)).await;
        let config = folder.path().join("postern.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let listen = "[ssh]\nlisten = [\"127.0.0.1:";
        let (any, one) = (format!("{listen}0\""), format!("{listen}{port}\""));
        std::fs::write(&config, text.replace(&any, &one)).unwrap();
        Self { sshd, folder, config, port, key }
    }

    /// Starts it after these words of a shell, and waits until it serves.
    pub async fn start(&self, before: &str) -> Killed {
        let child = Command::new("sh")
            .args(["-c", &format!("{before}exec \"$@\""), "sh"])
            .arg(env!("CARGO_BIN_EXE_postern"))
            .args(["up", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(self.log()).unwrap())
            .spawn()
            .unwrap();
        let child = Killed(child);
        support::until_some("the gateway serves", async || {
            support::run(self.ssh(&["true"])).await.0.then_some(())
        })
        .await;
        child
    }

    /// `ssh` as alice.
    pub fn ssh(&self, words: &[&str]) -> Command {
        let mut command = stock("ssh", self.folder.path(), self.port);
        command.args(["-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=20", "-i"]).arg(&self.key);
        command.arg(format!("{LOGIN}@web-1@127.0.0.1")).args(words);
        command
    }

    /// What the gateway says of itself.
    pub fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn events(&self) -> Vec<String> {
        recorded(self.folder.path())
    }

    pub fn newest_recording(&self) -> PathBuf {
        newest(&self.folder.path().join("state/recordings"))
    }
}

fn newest(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.max_by_key(|path| path.metadata().unwrap().created().unwrap()).unwrap()
}
