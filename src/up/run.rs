//! The life of `postern up`: start, reload at SIGHUP, drain at SIGTERM or Ctrl-C.

use std::path::PathBuf;
use std::time::Duration;

use control::{ControlError, Links};
use policies::PrincipalId;
use secrecy::ExposeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Gateway, UpError};
use crate::config::Config;
use crate::telemetry::{self, chain};
use crate::terminal;

/// How long sessions and requests may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the command line says beyond the configuration.
#[derive(Debug)]
pub struct Start {
    /// The configuration's file.
    pub file: PathBuf,
    /// Who gets a sign-in link at this start.
    pub invite: Vec<PrincipalId>,
    /// Whose account is recovered at this start.
    pub recover: Vec<PrincipalId>,
}

/// Runs a gateway until a signal ends it. The log runs already.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(start: Start, config: Config) -> Result<(), UpError> {
    let mut signals = Signals::listen().map_err(UpError::Threads)?;
    raise_descriptor_limit();
    let gateway = Gateway::start(&config).await?;
    tracing::info!(
        url = %gateway.api_url(), postgres = ?gateway.postgres_addrs(),
        metrics = ?gateway.metrics_addr(), "the gateway is up"
    );
    for warning in config.inventory().iter().flat_map(|inventory| config.warnings(inventory)) {
        tracing::warn!("{warning}");
    }
    invite(&gateway, &config, &start).await?;
    while signals.next().await == Told::Reload {
        reload(&gateway, &start.file, &config).await;
    }
    tracing::info!("draining; a second signal ends the process at once");
    tokio::select! {
        () = gateway.shutdown(PATIENCE) => tracing::info!("the gateway is down"),
        () = signals.stop() => tracing::warn!("ended at once, before all sessions had ended"),
    }
    Ok(())
}

/// Takes as many file descriptors as this process may have: a session needs three, and the limit that
/// a shell sets by default is a thousand.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of file descriptors can't be raised");
    }
}

/// Prints one-time links: for the admins until somebody has signed in, and for whoever is named.
async fn invite(gateway: &Gateway, config: &Config, start: &Start) -> Result<(), UpError> {
    let admins = config.people.iter().filter(|(_, person)| person.admin && !person.disabled);
    let nobody_yet = !gateway.control().anybody_signed_in().await?;
    let admins = admins.map(|(id, _)| id).filter(|_| nobody_yet);
    let recovered = start.recover.iter().map(|id| (id, true));
    for (id, lost) in admins.chain(&start.invite).map(|id| (id, false)).chain(recovered) {
        let control = gateway.control();
        let invite = match lost {
            true => control.recover_at_console(id).await,
            false => control.invite(None, id).await,
        };
        let nobody = |error: &ControlError| matches!(error, ControlError::NotFound(_));
        let invite = invite.map_err(|error| match nobody(&error) {
            true => UpError::Nobody(id.clone()),
            false => error.into(),
        })?;
        let (until, url) = (invite.expires_at, invite.url.expose_secret());
        let opens = match config.sign_in.links {
            Links::Enrol => "registers a passkey",
            Links::SignIn => "signs in",
        };
        let line = format!("link that {opens} for {id}, good once, until {until}:\n    {url}\n");
        // Where nobody reads standard output any more, `--invite` makes another one later.
        let _ = terminal::print(&line);
    }
    Ok(())
}

async fn reload(gateway: &Gateway, file: &std::path::Path, running: &Config) {
    match reloaded(gateway, file, running).await {
        Ok(changed) => tracing::info!(
            revoked = changed.revoked.len(),
            withdrawn = changed.withdrawn.len(),
            "people, targets and rules were reloaded"
        ),
        Err(UpError::Config(faults)) => {
            for fault in faults.all() {
                tracing::error!("{fault}");
            }
            tracing::error!("nothing was reloaded: what was in force stays in force");
        }
        Err(error) => tracing::error!(
            error = %chain(&error), "nothing was reloaded: what was in force stays in force"
        ),
    }
}

async fn reloaded(
    gateway: &Gateway,
    file: &std::path::Path,
    running: &Config,
) -> Result<control::Reloaded, UpError> {
    let file = file.to_owned();
    let reading = tokio::task::spawn_blocking(move || Config::load(&file));
    let newer = reading.await.map_err(|_| UpError::Broken)??;
    let sections = running.needs_restart(&newer);
    if !sections.is_empty() {
        tracing::warn!(?sections, "changes to these take effect at the next start only");
    }
    let reloaded = gateway.reload(&newer).await?;
    for warning in newer.inventory().iter().flat_map(|inventory| newer.warnings(inventory)) {
        tracing::warn!("{warning}");
    }
    Ok(reloaded)
}

/// What a signal told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Reload,
    Stop,
}

/// The signals that the process listens to.
pub(crate) struct Signals {
    hang_up: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(crate) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hang_up.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
        }
    }

    /// Waits for SIGTERM or Ctrl-C.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Reads the configuration and starts the log as it says.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn read(
    file: &std::path::Path,
    format: Option<crate::config::LogFormat>,
) -> Result<Config, UpError> {
    let config = Config::load(file)?;
    telemetry::start(format.unwrap_or(config.log.format), &config.log.filter);
    Ok(config)
}
