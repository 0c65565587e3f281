//! The supervisor of a throwaway server, and the pipe that it hangs on.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;

use super::layout::Account;
use super::{END_POLLS, Error, POLL, START_POLLS, programs};

/// A running supervisor, which ends its server and removes the folder when this value is dropped or its
/// process dies.
#[derive(Debug)]
pub(super) struct Supervisor {
    process: Child,
    /// The end of this pipe is the supervisor's order to stop.
    pipe: Option<ChildStdin>,
}

impl Supervisor {
    /// Starts a supervisor in a process group of its own, so that a Ctrl-C at the terminal reaches only us.
    pub(super) fn start(
        script: &str,
        folder: &Path,
        programs: &Path,
        account: Option<Account>,
    ) -> Result<Self, Error> {
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "postern-throwaway"])
            .args([folder, programs])
            .env_clear()
            .env("PATH", programs::search_path())
            .envs([("LC_ALL", "C"), ("TZ", "UTC")])
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0);
        if let Some(account) = account {
            // Dropping root this way drops its supplementary groups too.
            command.uid(account.uid).gid(account.gid);
        }
        let mut supervisor = command.spawn().map_err(Error::io("start the supervisor"))?;
        let pipe = supervisor.stdin.take();
        Ok(Self { process: supervisor, pipe })
    }

    /// Waits until the server `is_ready`; the error is made of what the supervisor said at its end.
    pub(super) fn wait(
        &mut self,
        is_ready: impl Fn() -> bool,
        ended: impl FnOnce(String) -> Error,
    ) -> Result<(), Error> {
        for _ in 0..START_POLLS {
            if is_ready() {
                return Ok(());
            }
            if self.has_ended() {
                return Err(ended(self.last_words()));
            }
            thread::sleep(POLL);
        }
        Err(Error::Slow)
    }

    fn has_ended(&mut self) -> bool {
        !matches!(self.process.try_wait(), Ok(None))
    }

    /// What the supervisor said at its end: the tail of the server's log, whose file is gone by then.
    fn last_words(&mut self) -> String {
        let mut words = String::new();
        match self.process.stderr.take().map(|mut stderr| stderr.read_to_string(&mut words)) {
            Some(Ok(_)) | None => words.trim().to_owned(),
            Some(Err(error)) => format!("(its log could not be read: {error})"),
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        drop(self.pipe.take());
        for _ in 0..END_POLLS {
            if self.has_ended() {
                return;
            }
            thread::sleep(POLL);
        }
        // The supervisor kills a server that does not stop; if it hangs itself, it must not hang us.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
