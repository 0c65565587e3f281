//! The life of `postern up`: start, reload at SIGHUP, drain at SIGTERM or Ctrl-C.

use std::path::PathBuf;
use std::time::Duration;

use control::{ControlError, Links, Refusal};
use policies::PrincipalId;
use secrecy::ExposeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Gateway, UpError};
use crate::config::Config;
use crate::hardening::raise_descriptor_limit;
use crate::telemetry::{self, chain};
use crate::terminal;

/// How long sessions and requests may take to end.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the command line says beyond the configuration.
#[derive(Debug)]
pub struct Start {
    /// The configuration's file.
    pub file: PathBuf,
    /// Who gets a sign-in link at this start.
    pub invite: Vec<PrincipalId>,
    /// Whose account is recovered at this start.
    pub recover: Vec<PrincipalId>,
    /// Whether a store that went back in time is taken.
    pub accept_rollback: bool,
}

/// Runs a gateway until a signal ends it. The log runs already.
///
/// # Errors
/// Whatever keeps it from starting.
pub async fn run(start: Start, config: Config) -> Result<(), UpError> {
    let mut signals = Signals::listen().map_err(UpError::Threads)?;
    raise_descriptor_limit();
    let gateway = Gateway::start_as(&config, start.accept_rollback).await?;
    tracing::info!(
        url = %gateway.api_url(), postgres = ?gateway.postgres_addrs(),
        metrics = ?gateway.metrics_addr(), "the gateway is up"
    );
    report_rollback(&gateway, start.accept_rollback);
    for warning in config.inventory().iter().flat_map(|inventory| config.warnings(inventory)) {
        tracing::warn!("{warning}");
    }
    invite(&gateway, &config, &start).await?;
    while signals.next().await == SignalRequest::Reload {
        reload(&gateway, &start.file, &config).await;
    }
    tracing::info!("draining; a second signal ends the process at once");
    tokio::select! {
        () = gateway.shutdown(TIMEOUT) => tracing::info!("the gateway is down"),
        () = signals.stop() => tracing::warn!("ended at once, before all sessions had ended"),
    }
    Ok(())
}

/// Says what was done about an older store, and what only people can check.
fn report_rollback(gateway: &Gateway, asked_for: bool) {
    let Some(accepted) = gateway.control().access.accepted_rollback() else {
        if asked_for {
            tracing::warn!("the store did not go back in time: `--accept-rollback` did nothing");
        }
        return;
    };
    let since =
        accepted.known_until.map_or_else(|| "its beginning".to_owned(), |at| at.to_string());
    tracing::warn!(
        why = %accepted.why, epoch = accepted.epoch, grants = accepted.grants.len(),
        requests = accepted.requests.len(), sign_ins = accepted.logins.len(),
        locks_put_back = accepted.locks.len(), keys_removed_again = accepted.keys,
        "an older store was accepted: its grants, requests and sign-ins ended"
    );
    for check in [
        "locks: `postern locks` lists those that hold; set again what was set since",
        "keys: /keys of each person; remove again what was lost or stolen since, or recover the account",
        "reviews: what was given in an emergency since has no review here; its recording is there",
        "recordings and messages that were sent since tell what the audit log has lost",
    ] {
        tracing::warn!(%since, "check what happened since: {check}");
    }
}

/// Prints one-time links: for the admins until somebody has signed in, and for whoever is named.
async fn invite(gateway: &Gateway, config: &Config, start: &Start) -> Result<(), UpError> {
    let admins = config.people.iter().filter(|(_, person)| person.admin && !person.disabled);
    let nobody_yet = !gateway.control().identity.anybody_signed_in().await?;
    let admins = admins.map(|(id, _)| id).filter(|_| nobody_yet);
    let recovered = start.recover.iter().map(|id| (id, true));
    for (id, lost) in admins.chain(&start.invite).map(|id| (id, false)).chain(recovered) {
        let control = gateway.control();
        let invite = match lost {
            true => control.identity.recover_at_console(id).await,
            false => control.identity.invite(None, id).await,
        };
        let nobody =
            |error: &ControlError| matches!(error, ControlError::Refused(Refusal::NotFound(_)));
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

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SignalRequest {
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

    async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.hang_up.recv() => SignalRequest::Reload,
            _ = self.terminate.recv() => SignalRequest::Stop,
            _ = self.interrupt.recv() => SignalRequest::Stop,
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
