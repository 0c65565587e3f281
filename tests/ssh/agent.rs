//! A key agent of a test's own.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::support::{run, until};

/// A real `ssh-agent`, which ends with this value.
pub struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    pub async fn start(socket: PathBuf) -> Self {
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a"]).arg(&socket).stdout(Stdio::null());
        let agent = Self { child: command.spawn().unwrap(), socket };
        until("the agent listens", || UnixStream::connect(&agent.socket).is_ok()).await;
        agent
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Takes up the key in this file.
    pub async fn takes(&self, key: &Path) {
        let mut command = Command::new("ssh-add");
        command.arg("-q").arg(key).env("SSH_AUTH_SOCK", &self.socket);
        let (ok, _, errors) = run(command).await;
        assert!(ok, "{errors}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
