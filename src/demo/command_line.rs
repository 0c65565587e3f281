//! The child processes of the steps: the real psql, and this program as its people use it.
//!
//! Their output is printed as it comes, and read line by line, so that a step waits for what it
//! wants to see and for nothing else.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::DemoError;
use super::sandbox::Sandbox;
use crate::client::Home;
use crate::terminal::{self, Paint, plain, plain_lines};

/// The longest that a step may take; none needs a tenth of it.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What is run, and how it is shown.
#[derive(Debug)]
pub(super) struct CommandLine {
    shown: String,
    command: Command,
}

/// A child process at work.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    errors: Lines<BufReader<ChildStderr>>,
    output: JoinHandle<std::io::Result<String>>,
    /// What it wrote to standard error so far.
    messages: String,
}

/// What a child process left.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code; none where a signal ended it.
    pub(super) code: Option<i32>,
    /// What it printed.
    pub(super) output: String,
    /// What it complained of.
    pub(super) errors: String,
}

impl CommandLine {
    /// psql as somebody, or as nobody yet, with these options of ours, running one statement.
    pub(super) fn psql(sandbox: &Sandbox, who: Option<&Home>, connection: &str, sql: &str) -> Self {
        let mut command = Command::new(&sandbox.psql);
        command.env_clear();
        for name in ["PATH", "TMPDIR"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        // No settings of whoever runs the demo play a part.
        command.env("HOME", sandbox.folder()).env("LC_ALL", "C.UTF-8");
        let (name, connection) = match who {
            Some(home) => {
                command.env("PGSERVICEFILE", home.services());
                (name(home), format!("service=orders {connection}"))
            }
            None => {
                let (port, authority) = (sandbox.postgres.port(), sandbox.alice.authority());
                let verified = format!("sslmode=verify-full sslrootcert={}", authority.display());
                command.env("PGHOST", "localhost").env("PGPORT", port.to_string());
                ("somebody".into(), format!("dbname=orders {verified} {connection}"))
            }
        };
        command.args(["-X", "-v", "VERBOSITY=verbose", "-c", sql, "-d", &connection]);
        Self { shown: format!("{name}$ psql \"{connection}\" -c \"{sql}\""), command }
    }

    /// psql that names itself as something that nobody types into.
    pub(super) fn unattended(mut self) -> Self {
        self.command.env("PGAPPNAME", "report");
        self.shown = self.shown.replacen("$ psql", "$ PGAPPNAME=report psql", 1);
        self
    }

    /// `ssh` or `sftp` as Alice, who has a block of `postern ssh-config`.
    pub(super) fn ssh(sandbox: &Sandbox, program: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.env_clear().envs(std::env::var_os("PATH").map(|value| ("PATH", value)));
        command.env("HOME", sandbox.folder()).env("LC_ALL", "C.UTF-8");
        command.current_dir(sandbox.folder()).arg("-F").arg(&sandbox.ssh_config).args(arguments);
        let shown = arguments.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
        Self { shown: format!("{}$ {program} {shown}", name(&sandbox.alice)), command }
    }

    /// This program as somebody.
    pub(super) fn postern(who: &Home, arguments: &[&str]) -> Result<Self, DemoError> {
        let program = std::env::current_exe().map_err(DemoError::io("find this program"))?;
        let mut command = Command::new(program);
        command.env("POSTERN_HOME", who.folder()).env("NO_COLOR", "1").args(arguments);
        Ok(Self { shown: format!("{}$ postern {}", name(who), arguments.join(" ")), command })
    }

    /// Starts it.
    pub(super) fn start(mut self) -> Result<Running, DemoError> {
        say(&Paint::for_stdout().command(&plain(&self.shown)));
        self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.kill_on_drop(true).spawn();
        let mut child = child.map_err(DemoError::io(format!("run `{}`", self.shown)))?;
        let (Some(mut output), Some(errors)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(DemoError::Broken);
        };
        let output = tokio::spawn(async move {
            let mut text = String::new();
            output.read_to_string(&mut text).await.map(|_| text)
        });
        let errors = BufReader::new(errors).lines();
        Ok(Running { child, errors, output, messages: String::new() })
    }

    /// Runs it to its end.
    pub(super) async fn run(self) -> Result<Ended, DemoError> {
        self.start()?.end().await
    }

    /// Runs it to its end without a word.
    pub(super) async fn quietly(mut self) -> Result<String, DemoError> {
        let output = timeout(TIMEOUT, self.command.kill_on_drop(true).output()).await;
        let output = output.map_err(|_| late(&self.shown))?;
        let output = output.map_err(DemoError::io(format!("run `{}`", self.shown)))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Running {
    /// Waits for a line of complaint that holds this text, and gives what follows it there.
    pub(super) async fn hears(&mut self, step: &str, wanted: &str) -> Result<String, DemoError> {
        let wait = async {
            while let Some(line) = self.line().await? {
                if let Some((_, rest)) = line.split_once(wanted) {
                    return Ok(Some(rest.to_owned()));
                }
            }
            Ok(None)
        };
        match timeout(TIMEOUT, wait).await {
            Ok(Ok(Some(rest))) => Ok(rest),
            Ok(Err(error)) => Err(error),
            Ok(Ok(None)) | Err(_) => Err(DemoError::Step {
                step: step.into(),
                expected: format!("a line with {wanted:?}"),
                came: format!("{:?}", self.messages),
            }),
        }
    }

    /// Waits for its end.
    pub(super) async fn end(mut self) -> Result<Ended, DemoError> {
        let wait = async {
            while self.line().await?.is_some() {}
            let output = (&mut self.output).await.map_err(|_| DemoError::Broken)?;
            let output = output.map_err(DemoError::io("read what a program printed"))?;
            let status = self.child.wait().await.map_err(DemoError::io("wait for a program"))?;
            Ok::<_, DemoError>((output, status.code()))
        };
        let (output, code) = timeout(TIMEOUT, wait).await.map_err(|_| late(&self.messages))??;
        let paint = Paint::for_stdout();
        output.lines().for_each(|line| say(&format!("  {}", paint.dim(&plain_lines(line)))));
        Ok(Ended { code, output, errors: self.messages })
    }

    async fn line(&mut self) -> Result<Option<String>, DemoError> {
        let line = self.errors.next_line().await;
        let line = line.map_err(DemoError::io("read what a program said"))?;
        if let Some(line) = &line {
            say(&format!("  {}", Paint::for_stdout().dim(&plain(line))));
            self.messages += line;
            self.messages.push('\n');
        }
        Ok(line)
    }
}

/// A word as somebody would type it.
fn quoted(word: &str) -> String {
    if word.contains([' ', ';', '$']) { format!("'{word}'") } else { word.to_owned() }
}

fn name(home: &Home) -> String {
    home.folder().file_name().map_or_else(String::new, |name| Path::new(name).display().to_string())
}

fn late(what: &str) -> DemoError {
    DemoError::Step {
        step: "a program ends".into(),
        expected: format!("within {} s", TIMEOUT.as_secs()),
        came: format!("it still runs: {what:?}"),
    }
}

/// A line of the transcript. Where nobody reads it, the exit code still tells.
pub(super) fn say(line: &str) {
    let _ = terminal::print(&format!("{line}\n"));
}
