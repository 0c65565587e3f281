//! The command line: one file a group of commands, and one table of exit codes.

mod access;
mod admin;
mod backup;
mod change;
mod confirm;
mod decide;
mod explain;
mod keys;
mod login;
mod logins;
mod notifications;
mod policy;
mod psql;
mod replay;
mod reviews;
mod sessions;
mod set_up;
mod sign;
mod ssh;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use control::{ControlError, StoreError};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::client::{ClientError, Home, HomeError};
use crate::config::Faults;
use crate::demo::DemoError;
use crate::state::StateError;
use crate::telemetry::chain;
use crate::terminal::{self, Paint, plain, plain_lines};
use crate::up::UpError;

const CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  the command line or the configuration is wrong
  3  not signed in
  4  denied
  5  no such thing
  6  the present state does not allow it
  7  the gateway can't be reached, or can't do it right now";

/// An access gateway in front of Postgres and SSH
#[derive(Debug, Parser)]
#[command(name = "postern", version, after_help = CODES, disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(set_up::Up),
    Demo(set_up::Demo),
    Config(set_up::ConfigArgs),
    Doctor(set_up::Doctor),
    Backup(backup::Backup),
    Restore(backup::Restore),
    Policy(policy::Policy),
    Login(login::Login),
    Logout(login::Logout),
    Logins(logins::Logins),
    Ls(access::Ls),
    Explain(explain::Explain),
    Request(access::Request),
    Edit(change::Edit),
    Extend(change::Extend),
    Withdraw(access::Withdraw),
    Done(access::Done),
    Token(access::Token),
    Psql(psql::Psql),
    SshConfig(ssh::SshConfig),
    Keys(keys::Keys),
    Confirm(confirm::Confirm),
    Approve(decide::Approve),
    Deny(decide::Deny),
    Revoke(decide::Revoke),
    Reviews(reviews::Reviews),
    Sessions(sessions::Sessions),
    Replay(replay::Replay),
    Audit(admin::Audit),
    Lock(admin::Lock),
    Unlock(admin::Unlock),
    Locks(admin::Locks),
    Invite(admin::Invite),
    Notifications(notifications::Notifications),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: Shell,
    },
}

/// Whether the result is for a program.
#[derive(Debug, Clone, Copy, clap::Args)]
struct Shape {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why a command failed.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Up(#[from] UpError),
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Conflict(String),
    #[error("{0}")]
    Denied(String),
    #[error("not done")]
    Declined,
    #[error("{0}")]
    Failed(String),
    #[error("can't {action}")]
    Io { action: String, source: io::Error },
    /// Nobody reads on: no failure of ours.
    #[error("the output was closed")]
    Closed,
}

impl From<io::Error> for Failure {
    fn from(source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        let action = "read or write the terminal".into();
        Self::Io { action, source }
    }
}

impl From<HomeError> for Failure {
    fn from(error: HomeError) -> Self {
        Self::Client(error.into())
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Up(faults.into())
    }
}

impl Failure {
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Client(error) => client_code(error),
            Self::Up(UpError::Config(_)) | Self::Usage(_) => 2,
            Self::Denied(_) => 4,
            Self::NotFound(_) => 5,
            Self::Conflict(_)
            | Self::Up(
                UpError::State(StateError::InUse { .. })
                | UpError::Control(ControlError::Store(StoreError::RolledBack(_))),
            ) => 6,
            Self::Up(_) | Self::Demo(_) | Self::Declined | Self::Failed(_) | Self::Io { .. } => 1,
        }
    }

    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Client(error) => error.remedy(),
            Self::Up(UpError::Config(_) | UpError::Nobody(_) | UpError::Broken) => None,
            Self::Up(UpError::State(StateError::InUse { .. })) => None,
            Self::Up(UpError::Control(ControlError::Store(StoreError::RolledBack(_)))) => Some(
                "What was revoked, removed or locked since would come back. Put the newer database back, or \
                 start once with
  `--accept-rollback`: all grants, requests and sign-ins end, known locks \
                 hold, and the log says what to check",
            ),
            Self::Up(_) => {
                Some("`postern doctor` looks for what is wrong, and says how to fix it")
            }
            Self::Closed
            | Self::Demo(_)
            | Self::Usage(_)
            | Self::NotFound(_)
            | Self::Conflict(_)
            | Self::Denied(_)
            | Self::Declined
            | Self::Failed(_)
            | Self::Io { .. } => None,
        }
    }

    fn report(&self) -> ExitCode {
        if !matches!(self, Self::Closed) {
            terminal::note(&format!("postern: {}", plain_lines(&chain(self))));
        }
        if let Some(remedy) = self.remedy() {
            terminal::note(&format!("  {remedy}"));
        }
        ExitCode::from(self.code())
    }
}

fn client_code(error: &ClientError) -> u8 {
    match error {
        ClientError::Home(HomeError::NotSignedIn) => 3,
        ClientError::Problem(problem) => match problem.status {
            400 | 413 | 415 => 2,
            401 => 3,
            403 => 4,
            404 => 5,
            409 | 422 => 6,
            429 | 503 | 504 => 7,
            _ => 1,
        },
        ClientError::Unreachable { .. } => 7,
        ClientError::Insecure(_) => 2,
        ClientError::Disowned => 4,
        ClientError::Unanswered => 3,
        ClientError::Home(_)
        | ClientError::Authority(_)
        | ClientError::Setup(_)
        | ClientError::Strange(_)
        | ClientError::Key(_)
        | ClientError::SshKey(_)
        | ClientError::Write(_) => 1,
    }
}

impl Cli {
    /// Does what the command line says.
    #[must_use]
    pub fn run(self) -> ExitCode {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let outcome = match runtime {
            Ok(runtime) => {
                let outcome = runtime.block_on(self.command.run());
                // A read of the terminal may still wait in its thread.
                runtime.shutdown_background();
                outcome
            }
            Err(source) => Err(Failure::Io { action: "start a thread".into(), source }),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => failure.report(),
        }
    }
}

impl Command {
    async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Up(command) => command.run().await,
            Self::Demo(command) => command.run().await,
            Self::Config(command) => command.run(),
            Self::Doctor(command) => command.run().await,
            Self::Backup(command) => command.run().await,
            Self::Restore(command) => command.run().await,
            Self::Policy(command) => command.run().await,
            Self::Login(command) => command.run().await,
            Self::Logout(command) => command.run().await,
            Self::Logins(command) => command.run().await,
            Self::Ls(command) => command.run().await,
            Self::Explain(command) => command.run().await,
            Self::Request(command) => command.run().await,
            Self::Edit(command) => command.run().await,
            Self::Extend(command) => command.run().await,
            Self::Withdraw(command) => command.run().await,
            Self::Done(command) => command.run().await,
            Self::Token(command) => command.run().await,
            Self::Psql(command) => command.run().await,
            Self::SshConfig(command) => command.run().await,
            Self::Keys(command) => command.run().await,
            Self::Confirm(command) => command.run().await,
            Self::Approve(command) => command.run().await,
            Self::Deny(command) => command.run().await,
            Self::Revoke(command) => command.run().await,
            Self::Reviews(command) => command.run().await,
            Self::Sessions(command) => command.run().await,
            Self::Replay(command) => command.run().await,
            Self::Audit(command) => command.run().await,
            Self::Lock(command) => command.run().await,
            Self::Unlock(command) => command.run().await,
            Self::Locks(command) => command.run().await,
            Self::Invite(command) => command.run().await,
            Self::Notifications(command) => command.run().await,
            Self::Completions { shell } => completions(shell),
        }
    }
}

fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "postern", &mut script);
    Ok(terminal::print(&String::from_utf8_lossy(&script))?)
}

/// The client of whoever is signed in.
fn client() -> Result<crate::client::Client, Failure> {
    Ok(crate::client::Client::signed_in(&Home::find()?)?)
}

/// What an answer says, as far as a command shows it.
fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, Failure> {
    let read = T::deserialize(answer);
    Ok(read.map_err(|_| ClientError::Strange("an unknown answer"))?)
}

fn read_all<T: DeserializeOwned>(answers: &[Value]) -> Result<Vec<T>, Failure> {
    answers.iter().map(read).collect()
}

/// Prints a value as JSON, or else what people read.
fn show(
    shape: Shape,
    value: &Value,
    text: impl FnOnce() -> Result<String, Failure>,
) -> Result<(), Failure> {
    note_of(value);
    let text = if shape.json { terminal::json(value) } else { text()? };
    Ok(terminal::print(&text)?)
}

/// Says where something is in force and not yet durable.
fn note_of(answer: &Value) {
    if answer.get("durable").and_then(Value::as_bool) == Some(false)
        && let Some(note) = answer.get("note").and_then(Value::as_str)
    {
        terminal::note(&plain(note));
    }
}

/// A heading and the table below it; nothing where there are no rows.
fn section(title: &str, header: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let title = Paint::for_stdout().bold(title);
    format!("{title}\n{}\n", terminal::table(header, rows))
}

/// What is known, line by line; what isn't is left out.
fn facts(facts: &[(&str, &str)]) -> String {
    let known = facts.iter().filter(|(_, value)| !value.is_empty());
    known.map(|(name, value)| format!("  {name:<10}{}\n", plain(value))).collect()
}

/// Goes on only where the one who asked says yes, here or on the command line.
fn agree(question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !terminal::is_interactive() {
        return Err(Failure::Usage("nobody can be asked here: say `--yes` to agree".into()));
    }
    if terminal::agreed(question)? { Ok(()) } else { Err(Failure::Declined) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Problem;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_refusal_has_its_exit_code() {
        for (status, code) in
            [(400, 2), (401, 3), (403, 4), (404, 5), (409, 6), (429, 7), (500, 1), (503, 7)]
        {
            let (title, detail, error) = (String::new(), String::new(), None);
            let problem = Problem { status, title, detail, error };
            let failure = Failure::from(ClientError::Problem(problem));
            assert_eq!(failure.code(), code, "{status}");
        }
        assert_eq!(Failure::from(HomeError::NotSignedIn).code(), 3);
        assert_eq!(Failure::from(io::Error::from(io::ErrorKind::BrokenPipe)).code(), 0);
    }
}
