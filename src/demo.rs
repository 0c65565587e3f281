//! `postern demo`: a whole gateway with a real Postgres and a real sshd behind it, in one private
//! temporary folder.
//!
//! [`interactive`] starts the sandbox and prints lines to paste, until Ctrl-C. [`script`] starts the same
//! sandbox and runs the steps by itself, with the real psql and ssh and this very program as child processes,
//! and fails at the first step that fails. Both remove everything at their end.

mod command_line;
mod lines;
mod sandbox;
mod steps;

use std::io;
use std::pin::pin;

use thiserror::Error;

use crate::client::{ClientError, HomeError};
use crate::config::{Faults, LogFormat};
use crate::up::{Signals, UpError};
use crate::{telemetry, terminal, throwaway};
use sandbox::Sandbox;

/// Why the demo can't go on.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The Postgres or the sshd behind the gateway can't be had.
    #[error("a server of the demo can't be started")]
    Server(#[from] throwaway::Error),
    /// The authority that the sshd trusts can't be made.
    #[error("the demo's SSH authority can't be made")]
    Ssh(#[from] certs::SshError),
    /// The gateway can't start.
    #[error("the demo's gateway can't be started")]
    Up(#[from] UpError),
    /// The demo's own configuration is wrong.
    #[error("{0}")]
    Config(#[from] Faults),
    /// A person can't be invited.
    #[error("the demo's people can't be invited")]
    Invite(#[from] control::ControlError),
    /// A person can't sign in.
    #[error("the demo's people can't sign in")]
    SignIn(#[from] ClientError),
    /// A folder can't be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A file or a child process can't be had.
    #[error("can't {action}")]
    Io {
        /// What was being done.
        action: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file can't be written.
    #[error(transparent)]
    Store(#[from] certs::store::StoreError),
    /// A signal came, or a task died.
    #[error("the demo broke off")]
    Broken,
    /// The gateway listens nowhere.
    #[error("the demo's gateway listens nowhere for Postgres clients")]
    Nowhere,
    /// A step of the demo failed.
    #[error("step failed: {step}\n  expected: {expected}\n  came:     {came}")]
    Step {
        /// Which step.
        step: String,
        /// What should have come.
        expected: String,
        /// What came instead.
        came: String,
    },
}

impl DemoError {
    fn io(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }
}

/// Starts the sandbox, prints what to paste, and waits for Ctrl-C.
///
/// # Errors
/// Whatever keeps the sandbox from starting.
pub async fn interactive() -> Result<(), DemoError> {
    terminal::note("starting a Postgres, a host and a gateway in front of them …");
    let (sandbox, mut signals) = start().await?;
    let links = [sandbox.link("alice").await?, sandbox.link("bob").await?];
    // Where nobody reads the lines any more, the gateway is still there to be used.
    let _ = terminal::print(&lines::to_paste(&sandbox, &links));
    signals.stop().await;
    terminal::note("\nending; everything is removed");
    sandbox.remove().await;
    Ok(())
}

/// Starts the sandbox and runs the steps.
///
/// # Errors
/// The first step that failed, or whatever keeps the sandbox from starting.
pub async fn script() -> Result<(), DemoError> {
    let (sandbox, mut signals) = start().await?;
    let outcome = tokio::select! {
        outcome = steps::run(&sandbox) => outcome,
        () = signals.stop() => Err(DemoError::Broken),
    };
    sandbox.remove().await;
    outcome
}

/// Sets the sandbox. A signal meanwhile lets it stand first, so that it can be taken down whole.
async fn start() -> Result<(Sandbox, Signals), DemoError> {
    telemetry::start(LogFormat::Text, "error");
    let mut signals = Signals::listen().map_err(DemoError::io("listen for signals"))?;
    let mut setting = pin!(Sandbox::start());
    tokio::select! {
        sandbox = &mut setting => Ok((sandbox?, signals)),
        () = signals.stop() => {
            setting.await?.remove().await;
            Err(DemoError::Broken)
        }
    }
}
