//! `postern demo`: a whole gateway with a real Postgres and a real sshd behind it, in one private
//! temporary folder.
//!
//! [`interactive`] sets the scene and prints lines to paste, until Ctrl-C. [`script`] sets the same
//! scene and plays the story by itself, with the real psql and ssh and this very program as child processes,
//! and fails at the first step that isn't as told. Both remove everything at their end.

mod lines;
mod player;
mod scene;
mod story;

use std::io;
use std::pin::pin;

use thiserror::Error;

use crate::client::{ClientError, HomeError};
use crate::config::{Faults, LogFormat};
use crate::up::{Signals, UpError};
use crate::{telemetry, terminal, throwaway};
use scene::Scene;

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
    /// A step of the story is not as told.
    #[error("not as told: {step}\n  expected: {expected}\n  came:     {came}")]
    Story {
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

/// Sets the scene, prints what to paste, and waits for Ctrl-C.
///
/// # Errors
/// Whatever keeps the scene from standing.
pub async fn interactive() -> Result<(), DemoError> {
    terminal::note("starting a Postgres, a host and a gateway in front of them …");
    let (scene, mut signals) = set().await?;
    let links = [scene.link("alice").await?, scene.link("bob").await?];
    // Where nobody reads the lines any more, the gateway is still there to be used.
    let _ = terminal::print(&lines::to_paste(&scene, &links));
    signals.stop().await;
    terminal::note("\nending; everything is removed");
    scene.strike().await;
    Ok(())
}

/// Sets the scene and plays the story.
///
/// # Errors
/// The first step that isn't as told, or whatever keeps the scene from standing.
pub async fn script() -> Result<(), DemoError> {
    let (scene, mut signals) = set().await?;
    let outcome = tokio::select! {
        outcome = story::play(&scene) => outcome,
        () = signals.stop() => Err(DemoError::Broken),
    };
    scene.strike().await;
    outcome
}

/// Sets the scene. A signal meanwhile lets it stand first, so that it can be taken down whole.
async fn set() -> Result<(Scene, Signals), DemoError> {
    telemetry::start(LogFormat::Text, "error");
    let mut signals = Signals::listen().map_err(DemoError::io("listen for signals"))?;
    let mut setting = pin!(Scene::set());
    tokio::select! {
        scene = &mut setting => Ok((scene?, signals)),
        () = signals.stop() => {
            setting.await?.strike().await;
            Err(DemoError::Broken)
        }
    }
}
