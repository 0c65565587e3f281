//! Starting and stopping a proxy.
//!
//! The feed, the reports and the housekeeping run on the caller's runtime; connections run on worker
//! threads with a runtime each, so that neither can starve the other.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::Duration;

use policies::Kind;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tonic::transport::Channel;

use crate::core::clock::Clock;
use crate::core::credential::Credentials;
use crate::core::feed::{self, Follower};
use crate::core::handshakes::Handshakes;
use crate::core::leases::Leases;
use crate::core::limits::Limits;
use crate::core::listener::{Protocol, Server};
use crate::core::metrics::Metrics;
use crate::core::plane::Plane;
use crate::core::report::{Reporter, Reports};
use crate::core::session::Sessions;
use crate::core::settings::{RecordingSettings, Settings};
use crate::core::spool::Spool;
use crate::postgres::Postgres;
use crate::ssh::SshServer;

/// How often clocks and credentials are looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How long a start waits for recordings to be counted.
const COUNTED: Duration = Duration::from_secs(10);
/// How long sessions that did not end by themselves may take to be torn down.
const TEAR_DOWN: Duration = Duration::from_secs(2);

/// Why a proxy can't start.
#[derive(Debug, Error)]
pub enum ProxyError {
    /// An address can't be listened on.
    #[error("can't listen on `{address}`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The folder of recordings can't be used.
    #[error("can't keep recordings in `{}`", folder.display())]
    Recordings {
        /// The folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A worker thread can't be started.
    #[error("can't start a worker")]
    Worker(#[source] io::Error),
    /// The metrics can't be registered.
    #[error("can't register metrics")]
    Metrics(#[from] prometheus::Error),
}

/// A proxy that runs. Dropped, it stops at once; [`Proxy::drain`] stops it well.
#[derive(Debug)]
pub struct Proxy {
    plane: Arc<Plane>,
    addresses: Vec<SocketAddr>,
    ssh_addresses: Vec<SocketAddr>,
    sessions: TaskTracker,
    workers: Vec<JoinHandle<()>>,
    stop: Stop,
    tasks: Tasks,
}

/// What stops the workers: first accepting, then everything.
#[derive(Debug)]
struct Stop {
    accepting: DropGuard,
    all: DropGuard,
}

/// Tasks on the caller's runtime that end with the proxy.
#[derive(Debug, Default)]
struct Tasks(Vec<AbortHandle>);

impl Drop for Tasks {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

impl Proxy {
    /// Starts listening, following the feed and reporting.
    ///
    /// # Errors
    /// Where an address, the folder of recordings, a thread or a metric can't be had.
    pub async fn start(
        settings: Settings,
        link: Channel,
        registry: &prometheus::Registry,
    ) -> Result<Self, ProxyError> {
        let mut by_worker: Vec<_> = (0..workers(&settings)).map(|_| Vec::new()).collect();
        let ssh = settings.ssh.as_ref().map_or(&[][..], |ssh| &ssh.listen);
        let addresses = listen(Kind::Postgres, &settings.postgres, &mut by_worker)?;
        let ssh_addresses = listen(Kind::Ssh, ssh, &mut by_worker)?;
        let (plane, reporter) = furnish(settings, link, registry)?;
        // Quotas count what is there already. Where that takes long, sessions begin meanwhile: free
        // space is measured from the first moment.
        if tokio::time::timeout(COUNTED, plane.spool.counted()).await.is_err() {
            tracing::warn!("the recordings are still being counted; quotas hold once they are");
        }
        let tasks = start_tasks(&plane, reporter);
        let sessions = TaskTracker::new();
        let (accepting, all) = (CancellationToken::new(), CancellationToken::new());
        let protocols = Protocols {
            postgres: Arc::new(Postgres::new(Arc::clone(&plane))),
            ssh: Arc::new(SshServer::new(Arc::clone(&plane))),
        };
        let stop =
            Stop { accepting: accepting.clone().drop_guard(), all: all.clone().drop_guard() };
        let mut workers = Vec::new();
        for (number, listeners) in by_worker.into_iter().enumerate() {
            let worker = Worker {
                plane: Arc::clone(&plane),
                protocols: protocols.clone(),
                listeners,
                sessions: sessions.clone(),
                accepting: accepting.clone(),
                all: all.clone(),
            };
            workers.push(worker.start(number).map_err(ProxyError::Worker)?);
        }
        Ok(Self { plane, addresses, ssh_addresses, sessions, workers, stop, tasks })
    }

    /// Where it listens for SSH clients, in the order of the settings.
    #[must_use]
    pub fn ssh_addresses(&self) -> &[SocketAddr] {
        &self.ssh_addresses
    }

    /// Where it listens for Postgres clients, in the order of the settings.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Takes other quotas and another reserve, and counts the recordings again.
    pub fn set_recording(&self, settings: RecordingSettings) {
        self.plane.spool.set(settings);
    }

    /// Whether there is room for another recording: measured once a second.
    #[must_use]
    pub fn has_room(&self) -> Arc<AtomicBool> {
        self.plane.spool.has_room()
    }

    /// Waits until the first snapshot came.
    pub async fn ready(&self) {
        self.plane.leases.synced().await;
    }

    /// Stops: accepts no connection, ends all sessions, and waits for them and for the delivery of their
    /// reports, each for at most so long.
    pub async fn drain(self, timeout: Duration) {
        let Self { plane, sessions, workers, stop, tasks, .. } = self;
        drop(stop.accepting);
        plane.sessions.drain();
        sessions.close();
        if tokio::time::timeout(timeout, sessions.wait()).await.is_err() {
            tracing::warn!(left = sessions.len(), "some sessions did not end in time");
        }
        // What is left is torn down with its runtime, and is reported all the same.
        drop(stop.all);
        let spool = plane.spool.clone();
        let ended = tokio::task::spawn_blocking(move || {
            for worker in workers {
                if worker.join().is_err() {
                    tracing::error!("a worker had panicked");
                }
            }
            spool.close();
        });
        if tokio::time::timeout(TEAR_DOWN.max(timeout), ended).await.is_err() {
            tracing::warn!("workers did not end in time");
        }
        if tokio::time::timeout(timeout, plane.reports.flush()).await.is_err() {
            tracing::warn!("some reports were not delivered");
        }
        drop(tasks);
    }
}

/// The listeners of one worker.
type Listeners = Vec<(Kind, std::net::TcpListener)>;

/// Listens, with every worker, and says where.
fn listen(
    kind: Kind,
    wanted: &[SocketAddr],
    by_worker: &mut [Listeners],
) -> Result<Vec<SocketAddr>, ProxyError> {
    let mut addresses = Vec::new();
    for address in wanted {
        let failed = |source| ProxyError::Listen { address: *address, source };
        let shared = accept::bind(*address, by_worker.len()).map_err(failed)?;
        let first = shared.first().map(std::net::TcpListener::local_addr).transpose();
        addresses.extend(first.map_err(failed)?);
        for (own, listener) in by_worker.iter_mut().zip(shared) {
            own.push((kind, listener));
        }
    }
    Ok(addresses)
}

fn workers(settings: &Settings) -> usize {
    match settings.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

fn furnish(
    settings: Settings,
    link: Channel,
    registry: &prometheus::Registry,
) -> Result<(Arc<Plane>, Reporter), ProxyError> {
    let metrics = Arc::new(Metrics::new(registry)?);
    let clock = Clock::system();
    let spool = Spool::open(&settings, clock.clone(), Arc::clone(&metrics));
    let spool = spool
        .map_err(|source| ProxyError::Recordings { folder: settings.recordings.clone(), source })?;
    // Every session may have its start and its end waiting, and its successor, too.
    let waiting = settings.limits.connections.saturating_mul(3);
    let (reports, reporter) = Reports::new(waiting, Arc::clone(&metrics), clock.instant());
    let leases = Arc::new(Leases::new(clock.clone()));
    let link = feed::client(link);
    let sessions = Sessions {
        clock: clock.clone(),
        leases: Arc::clone(&leases),
        metrics: Arc::clone(&metrics),
        reports: reports.clone(),
        spool: spool.clone(),
        drained: CancellationToken::new(),
    };
    let plane = Plane {
        handshakes: Handshakes::default(),
        limits: Limits::new(settings.limits.clone(), Arc::clone(&metrics)),
        credentials: Credentials::new(clock.clone(), link.clone()),
        settings,
        clock,
        leases,
        link,
        sessions,
        spool,
        metrics,
        reports,
    };
    Ok((Arc::new(plane), reporter))
}

fn start_tasks(plane: &Arc<Plane>, reporter: Reporter) -> Tasks {
    let follower = Follower {
        proxy: plane.settings.name.clone(),
        link: plane.link.clone(),
        leases: Arc::clone(&plane.leases),
        metrics: Arc::clone(&plane.metrics),
    };
    let tasks = [
        tokio::spawn(follower.run()),
        tokio::spawn(reporter.run(plane.settings.name.clone(), plane.link.clone())),
        tokio::spawn(keep_house(Arc::clone(plane))),
    ];
    Tasks(tasks.iter().map(tokio::task::JoinHandle::abort_handle).collect())
}

/// Looks at the clocks, forgets credentials, and measures the feed's freshness.
async fn keep_house(plane: Arc<Plane>) {
    let mut tick = tokio::time::interval(HOUSEKEEPING);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut alarm = plane.leases.alarm();
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // What is kept for a locked principal is dropped at once.
            _ = alarm.changed() => {}
        }
        if let Some(jump) = plane.clock.jump() {
            tracing::warn!(jump_ms = jump, "the wall clock was set");
            plane.reports.clock_jumped(plane.clock.now(), jump);
            plane.leases.wake_all();
        }
        plane.credentials.sweep(&plane.leases);
        let fresh = plane.leases.fresh_until().saturating_duration_since(plane.clock.instant());
        plane.metrics.feed_lease.set(fresh.as_secs_f64());
    }
}

/// What is served. A copy leads to the same.
#[derive(Debug, Clone)]
struct Protocols {
    postgres: Arc<Postgres>,
    ssh: Arc<SshServer>,
}

/// One thread that serves connections.
struct Worker {
    plane: Arc<Plane>,
    protocols: Protocols,
    listeners: Listeners,
    sessions: TaskTracker,
    accepting: CancellationToken,
    all: CancellationToken,
}

impl Worker {
    fn start(self, number: usize) -> io::Result<JoinHandle<()>> {
        // What other threads wake comes first: a cut must not queue behind the traffic of others.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .global_queue_interval(1)
            .enable_all()
            .build()?;
        let thread = std::thread::Builder::new().name(format!("postern-worker-{number}"));
        thread.spawn(move || runtime.block_on(self.run()))
    }

    /// Serves until everything has to stop; dropping the runtime then drops what is left.
    async fn run(mut self) {
        for (kind, listener) in std::mem::take(&mut self.listeners) {
            match kind {
                Kind::Postgres => self.listen(&self.protocols.postgres, listener),
                Kind::Ssh => self.listen(&self.protocols.ssh, listener),
            }
        }
        self.all.cancelled().await;
    }

    /// Serves the connections of one listener, in a task of its own.
    fn listen<P: Protocol>(&self, protocol: &Arc<P>, listener: std::net::TcpListener) {
        match TcpListener::from_std(listener) {
            Ok(listener) => {
                let (plane, protocol) = (Arc::clone(&self.plane), Arc::clone(protocol));
                let server = Server { plane, protocol, sessions: self.sessions.clone() };
                tokio::spawn(server.run(listener, self.accepting.clone()));
            }
            Err(error) => tracing::error!(%error, "a worker can't listen"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::core::settings::LimitSettings;
    use crate::core::testing::{Control, settings};

    async fn proxy(folder: &std::path::Path) -> (Proxy, Arc<Control>) {
        let (channel, control) = Control::serve();
        let settings = settings(folder.join("recordings"), LimitSettings::default());
        let proxy = Proxy::start(settings, channel, &prometheus::Registry::new()).await.unwrap();
        (proxy, control)
    }

    #[tokio::test]
    async fn a_proxy_is_ready_with_its_first_snapshot_and_drains() {
        let folder = tempfile::TempDir::new().unwrap();
        let (proxy, control) = proxy(folder.path()).await;
        let early = tokio::time::timeout(Duration::from_millis(50), proxy.ready()).await;
        assert!(early.is_err());
        let snapshot = link::v1::feed_event::Event::Snapshot(link::v1::Snapshot::default());
        let event = link::v1::FeedEvent {
            revision: 1,
            fresh_ms: 10_000,
            silence_ms: 0,
            epoch: 1,
            event: Some(snapshot),
        };
        control.next_feed().send(Ok(event)).await.unwrap();
        proxy.ready().await;
        let address = proxy.addresses()[0];
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"\0").await.unwrap();
        proxy.drain(Duration::from_millis(200)).await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_named() {
        let folder = tempfile::TempDir::new().unwrap();
        let (first, _control) = proxy(folder.path()).await;
        let (channel, _) = Control::serve();
        let mut taken = settings(folder.path().join("other"), LimitSettings::default());
        taken.postgres = first.addresses().to_vec();
        let error = Proxy::start(taken, channel, &prometheus::Registry::new()).await.unwrap_err();
        let expected = format!("can't listen on `{}`", first.addresses()[0]);
        assert_eq!(error.to_string(), expected);
    }
}
