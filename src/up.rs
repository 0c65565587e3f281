//! `postern up`: control and proxy in one process.
//!
//! Control, its listeners and the link run on a runtime of their own; the proxy's connections run on
//! its worker threads. The two talk over the same gRPC service as they would across a network, on a
//! pipe in memory. [`Gateway::start`] builds all of it or nothing, [`Gateway::reload`] replaces
//! people, targets, rules and secrets as a whole, and [`Gateway::shutdown`] drains.

mod http;
mod identity;
mod metrics;
mod run;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use control::{Clock, Control, ControlError, Reloaded};
use prometheus::Registry;
use proxy::{LimitSettings, Proxy, ProxyError};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::{Config, Faults, PostgresAuth};
use crate::state::{StateError, StateFolder};
use identity::Tls;

pub(crate) use run::Signals;
pub use run::{Start, read, run};

/// The name of the proxy that lives in this process.
const PROXY: &str = "local";
/// Threads of control: enough that a slow query of one request doesn't stop another.
const THREADS: usize = 2;
/// For how long the proxy may admit without hearing from control.
const FEED_FRESH: policies::Ttl = policies::Ttl::from_secs(30);

/// Why a gateway can't start, or can't take a new inventory.
#[derive(Debug, Error)]
pub enum UpError {
    /// Something is wrong with the configuration or with what it names.
    #[error("{0}")]
    Config(#[from] Faults),
    /// The authority can't be loaded or made.
    #[error("the authority can't be used")]
    Authority(#[from] certs::AuthorityError),
    /// The SSH authority can't be loaded or made.
    #[error("the SSH authority can't be used")]
    Ssh(#[from] certs::SshError),
    /// The listeners' certificate can't be issued.
    #[error("the gateway's certificate can't be issued")]
    Issue(#[from] certs::IssueError),
    /// The listeners' certificate can't be used.
    #[error("the gateway's certificate can't be used")]
    Tls(#[from] certs::TlsError),
    /// A listener can't be had.
    #[error("can't listen on `{address}` for {what}")]
    Listen {
        /// For what.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The state folder can't be used, as where another process uses it.
    #[error(transparent)]
    State(#[from] StateError),
    /// Control can't start or refuses the inventory.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// A link is wanted for somebody who isn't there.
    #[error("there is nobody `{0}` to make a link for: write [people.{0}] into the configuration")]
    Nobody(policies::PrincipalId),
    /// The proxy can't start.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A series of the metrics can't be made.
    #[error("can't set up the metrics")]
    Metrics(#[from] prometheus::Error),
    /// A thread or a runtime can't be had.
    #[error("can't start the threads of control")]
    Threads(#[source] io::Error),
    /// The work broke off.
    #[error("starting the gateway broke off")]
    Broken,
}

/// A gateway that runs. Dropped, it stops at once; [`Gateway::shutdown`] stops it well.
pub struct Gateway {
    control: Control,
    proxy: Option<Proxy>,
    api_url: Url,
    api_addr: SocketAddr,
    postgres: Vec<SocketAddr>,
    ssh: Vec<SocketAddr>,
    metrics: Option<SocketAddr>,
    stop: CancellationToken,
    tasks: TaskTracker,
    runtime: Option<Runtime>,
    /// The last to be dropped: whoever waits for the folder gets it once nothing here runs any more.
    _state: StateFolder,
}

impl Gateway {
    /// Starts everything that the configuration says, and returns once connections are decided on.
    ///
    /// # Errors
    /// Whatever stands in the way; nothing then runs.
    pub async fn start(config: &Config) -> Result<Self, UpError> {
        Self::start_as(config, false).await
    }

    /// The same; where `accept_rollback` says so, with a store that went back in time.
    ///
    /// # Errors
    /// Whatever stands in the way; nothing then runs.
    pub async fn start_as(config: &Config, accept_rollback: bool) -> Result<Self, UpError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("postern-control")
            .enable_all()
            .build()
            .map_err(UpError::Threads)?;
        // On a thread of the runtime, since the compiler can't tell that `begin` may move between threads
        // (rust-lang/rust#102211).
        let (handle, config) = (runtime.handle().clone(), config.clone());
        let building =
            runtime.spawn_blocking(move || handle.block_on(begin(config, accept_rollback)));
        let built = building.await.unwrap_or(Err(UpError::Broken));
        match built {
            Ok(mut gateway) => {
                gateway.runtime = Some(runtime);
                Ok(gateway)
            }
            Err(error) => {
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Where people reach pages and API.
    #[must_use]
    pub fn api_url(&self) -> &Url {
        &self.api_url
    }

    /// Where pages and API listen.
    #[must_use]
    pub fn api_addr(&self) -> SocketAddr {
        self.api_addr
    }

    /// Where Postgres clients are listened to, in the order of the configuration.
    #[must_use]
    pub fn postgres_addrs(&self) -> &[SocketAddr] {
        &self.postgres
    }

    /// The first place where Postgres clients are listened to.
    #[must_use]
    pub fn postgres_addr(&self) -> Option<SocketAddr> {
        self.postgres.first().copied()
    }

    /// Where SSH clients are listened to, in the order of the configuration.
    #[must_use]
    pub fn ssh_addrs(&self) -> &[SocketAddr] {
        &self.ssh
    }

    /// Where Prometheus is listened to, where it is.
    #[must_use]
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The control plane, with the rights of whoever runs this process.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Takes people, targets, rules and secrets of this configuration, all or nothing. Then the
    /// quotas of recordings, which are counted again.
    ///
    /// # Errors
    /// Everything that is wrong with them; what was in force then stays in force.
    pub async fn reload(&self, config: &Config) -> Result<Reloaded, UpError> {
        let (config, recording) = (config.clone(), config.recording);
        let inventory = tokio::task::spawn_blocking(move || config.inventory());
        let inventory = inventory.await.map_err(|_| UpError::Broken)??;
        let reloaded = self.control.sources.reload(inventory).await?;
        if let Some(proxy) = &self.proxy {
            proxy.set_recording(recording);
        }
        Ok(reloaded)
    }

    /// Stops: ends all sessions, waits for them for at most so long, then stops the rest.
    pub async fn shutdown(mut self, limit: Duration) {
        let (proxy, stop, tasks) = (self.proxy.take(), self.stop.clone(), self.tasks.clone());
        let ending = async move {
            if let Some(proxy) = proxy {
                proxy.drain(limit).await;
            }
            stop.cancel();
            tasks.close();
            if tokio::time::timeout(limit, tasks.wait()).await.is_err() {
                tracing::warn!("some tasks did not end in time");
            }
        };
        if let Some(runtime) = &self.runtime {
            // It can only break off with the runtime, which is what it is for.
            let _ = runtime.spawn(ending).await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
        drop(self.proxy.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("api", &self.api_addr)
            .field("postgres", &self.postgres)
            .field("metrics", &self.metrics)
            .finish_non_exhaustive()
    }
}

/// Builds everything, on the runtime that it will live on.
async fn begin(config: Config, accept_rollback: bool) -> Result<Gateway, UpError> {
    let clock = Clock::system();
    let prepared = Prepared::load(config, &clock).await?;
    let Prepared { config, inventory, state, tls, attestation, ssh } = prepared;
    let api = bind("pages and API", config.api.listen.value).await?;
    let (api_listener, api_addr) = api;
    let metrics_listener = match &config.metrics {
        Some(metrics) => Some(bind("metrics", metrics.listen.value).await?),
        None => None,
    };
    let metrics = metrics_listener.as_ref().map(|(_, address)| *address);

    let registry = Registry::new();
    let (channel, connections) = link::pipe();
    let proxy =
        Proxy::start(proxy_settings(&config, &tls, ssh.as_ref()), channel, &registry).await?;
    let postgres = proxy.addresses().to_vec();
    let api_url = with_real_port(&config.gateway.public_url, api_addr);
    let ssh_addrs = proxy.ssh_addresses().to_vec();
    let ssh =
        ssh.map(|authority| control::Ssh { authority, gateway: reached_at(&config, &ssh_addrs) });
    let settings = control::Settings {
        accept_rollback,
        ..control_settings(&config, &tls, attestation, ssh, &api_url, &postgres)
    };
    let control = Control::open(settings, inventory, clock).await?;
    control.kernel.metrics(&registry);
    control.watch_room(proxy.has_room());

    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let link = tonic::transport::Server::builder().add_service(control.link_service());
    let link = link.serve_with_incoming_shutdown(connections, stop.clone().cancelled_owned());
    tasks.spawn(async move {
        if let Err(error) = link.await {
            tracing::error!(error = %crate::telemetry::chain(&error), "the link broke");
        }
    });
    tasks.spawn(sweep(control.clone(), stop.clone()));
    let limits = http::limits("api", http::api_bounds(&config.limits), &registry)?;
    let router = control.api().into_make_service_with_connect_info::<SocketAddr>();
    let api = http::Server { listener: api_listener, tls: tls.api, limits };
    tasks.spawn(api.serve(router, stop.clone()));
    if let Some((listener, _)) = metrics_listener {
        tasks.spawn(metrics::serve(listener, registry, stop.clone())?);
    }
    proxy.ready().await;
    let (proxy, runtime) = (Some(proxy), None);
    Ok(Gateway {
        control,
        proxy,
        api_url,
        api_addr,
        postgres,
        ssh: ssh_addrs,
        metrics,
        stop,
        tasks,
        runtime,
        _state: state,
    })
}

async fn sweep(control: Control, stop: CancellationToken) {
    control.run(stop).await;
}

/// What is read from files before anything listens.
struct Prepared {
    config: Config,
    inventory: control::Inventory,
    state: StateFolder,
    tls: Tls,
    attestation: Option<control::AttestationRoots>,
    ssh: Option<Arc<certs::SshAuthority>>,
}

impl Prepared {
    async fn load(config: Config, clock: &Clock) -> Result<Self, UpError> {
        let clock = clock.clone();
        let reading = tokio::task::spawn_blocking(move || Self::read(config, &clock));
        reading.await.map_err(|_| UpError::Broken)?
    }

    fn read(config: Config, clock: &Clock) -> Result<Self, UpError> {
        let inventory = config.inventory()?;
        let identities = config.identities()?;
        let state = StateFolder::take(&config.gateway.state)?;
        let tls = Tls::load(&config, identities, clock)?;
        let attestation = config.attestation_roots()?;
        let folder = config.gateway.authority();
        let load = |_| certs::SshAuthority::load_or_generate(&folder).map(Arc::new);
        let ssh = config.ssh.as_ref().map(load).transpose()?;
        Ok(Self { config, inventory, state, tls, attestation, ssh })
    }
}

async fn bind(
    what: &'static str,
    address: SocketAddr,
) -> Result<(TcpListener, SocketAddr), UpError> {
    let failed = |source| UpError::Listen { what, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Port 0 in the configuration stands for the one that was given.
fn with_real_port(url: &Url, bound: SocketAddr) -> Url {
    let mut url = url.clone();
    // Only a URL without a host can't take a port, and no public URL is one.
    if url.port() == Some(0) {
        let _ = url.set_port(Some(bound.port()));
    }
    url
}

fn proxy_settings(
    config: &Config,
    tls: &Tls,
    authority: Option<&Arc<certs::SshAuthority>>,
) -> proxy::Settings {
    let ssh = config.ssh.iter().flat_map(|ssh| &ssh.listen).map(|listener| listener.value);
    let ssh = authority.map(|authority| proxy::SshSettings {
        listen: ssh.collect(),
        authority: Arc::clone(authority),
        banner: config.ssh.as_ref().and_then(|ssh| ssh.banner.clone()),
    });
    let limits = &config.limits;
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let connections = count(limits.connections);
    let unbounded = LimitSettings::default();
    proxy::Settings {
        name: PROXY.to_owned(),
        postgres: config.postgres.listen.iter().map(|listener| listener.value).collect(),
        ssh,
        host_names: vec![config.gateway.host.clone()],
        tls: Arc::clone(&tls.postgres),
        bearer: config.postgres.auth == PostgresAuth::Oauth,
        recordings: config.gateway.recordings.clone(),
        state: Some(config.gateway.state.clone()),
        recording: config.recording,
        workers: 0,
        limits: LimitSettings {
            connections,
            unauthenticated: unbounded.unauthenticated.min(connections),
            per_address: count(limits.per_address),
            per_network: unbounded.per_network.max(count(limits.per_address)),
            handshake: limits.handshake.duration(),
            keepalive: limits.keepalive.duration(),
            ..unbounded
        },
    }
}

fn control_settings(
    config: &Config,
    tls: &Tls,
    attestation: Option<control::AttestationRoots>,
    ssh: Option<control::Ssh>,
    public_url: &Url,
    postgres: &[SocketAddr],
) -> control::Settings {
    control::Settings {
        database: config.gateway.database(),
        accept_rollback: false,
        public_url: public_url.clone(),
        gateway: reached_at(config, postgres),
        recordings: config.gateway.recordings.clone(),
        grants: config.grants,
        hold_patience: config.limits.hold,
        sign_in: config.sign_in,
        attestation,
        totp: config.totp.enabled,
        feed_fresh: FEED_FRESH,
        authority: Arc::clone(&tls.authority),
        ssh,
    }
}

/// Where people's clients reach these listeners.
fn reached_at(config: &Config, listeners: &[SocketAddr]) -> Option<control::Gateway> {
    let port = listeners.first()?.port();
    Some(control::Gateway { host: config.gateway.host.clone(), port })
}
