//! A small HTTP/1.1 server, for the API and for metrics.
//!
//! What a stranger can hold is bounded: so many connections at once, so long for a handshake, so long
//! for the head of a request, and as long again for the next one. Beyond that a stranger waits to be
//! accepted. A failure to accept pauses, and never ends, the listener.

use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceExt};

const CONNECTIONS: usize = 1_024;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(100);
/// How long requests at work may take once the listener has to stop.
const LEAVE: Duration = Duration::from_secs(5);

/// Serves until it has to stop, then lets the requests at work end.
///
/// `make` makes the service of one connection, from the address of its other end.
pub(super) async fn serve<M, S, B>(
    listener: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    make: M,
    stop: CancellationToken,
) where
    M: Service<SocketAddr, Response = S, Error = Infallible> + Clone + Send + 'static,
    M::Future: Send,
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let tls = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = GracefulShutdown::new();
    while let Some((place, stream, peer)) = accept(&listener, &places, &stop).await {
        let connection = Connection { place, peer, watcher: connections.watcher() };
        tokio::spawn(connection.begin(stream, tls.clone(), make.clone()));
    }
    drop(listener);
    if tokio::time::timeout(LEAVE, connections.shutdown()).await.is_err() {
        tracing::warn!("some HTTP connections did not end in time");
    }
}

/// The next connection and its place among the bounded number; none once it is time to stop.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(OwnedSemaphorePermit, TcpStream, SocketAddr)> {
    let next = async {
        let place = Arc::clone(places).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => return Some((place, stream, peer)),
                Err(error) => {
                    tracing::warn!(%error, "can't accept an HTTP connection");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    stop.run_until_cancelled(next).await.flatten()
}

/// A connection that was accepted.
struct Connection {
    place: OwnedSemaphorePermit,
    peer: SocketAddr,
    watcher: Watcher,
}

impl Connection {
    async fn begin<M, S, B>(self, stream: TcpStream, tls: Option<TlsAcceptor>, make: M)
    where
        M: Service<SocketAddr, Response = S, Error = Infallible>,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        // Without it small answers would wait for more; nothing breaks where it can't be set.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return self.run(stream, make).await;
        };
        match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.run(stream, make).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    async fn run<I, M, S, B>(self, stream: I, make: M)
    where
        I: AsyncRead + AsyncWrite + Unpin + 'static,
        M: Service<SocketAddr, Response = S, Error = Infallible>,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Ok(service) = make.oneshot(self.peer).await;
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
        if let Err(error) = self.watcher.watch(connection).await {
            tracing::debug!(%error, "an HTTP connection broke");
        }
        drop(self.place);
    }
}
