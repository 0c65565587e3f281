//! A small HTTP/1.1 server, for the API and for metrics.
//!
//! It stands behind the same limits as the listeners of Postgres and SSH (the crate `accept`): so many
//! connections of one address, of one network and in all, of which one makes room for a new one. A
//! request carries its connection's place in its extensions, so that whoever knows who is signed in
//! keeps it. A handshake and the head of each request have a deadline and a bound; how fast a body has to
//! arrive is decided where bodies are read.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use accept::{Bounds, Limits, Slot};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{IntCounterVec, Opts, Registry};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt};

use crate::config;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection may be idle before it.
const HEAD: Duration = Duration::from_secs(15);
/// The most bytes of a request's head. The library takes at most a hundred header lines.
const HEAD_MAX: usize = 16 * 1_024;
/// The most that is read ahead.
const BUFFER: usize = 64 * 1_024;
/// How long requests at work may take once the listener has to stop.
const LEAVE: Duration = Duration::from_secs(5);
/// How long a client may take to read that it was too slow.
const FAREWELL: Duration = Duration::from_secs(1);
/// What a client reads whose request head didn't arrive in time.
const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The places of the API: half of them for people who are signed in.
pub(super) fn api_bounds(limits: &config::Limits) -> Bounds {
    Bounds {
        connections: 4_096,
        unauthenticated: 2_048,
        per_address: usize::try_from(limits.per_address).unwrap_or(usize::MAX).min(512),
        per_network: 1_024,
        per_person: 64,
    }
}

/// The places of the metrics, where nobody signs in.
pub(super) const METRICS_BOUNDS: Bounds = Bounds {
    connections: 128,
    unauthenticated: 128,
    per_address: 32,
    per_network: 64,
    per_person: 1,
};

/// Limits that count what they refuse under this listener's name.
pub(super) fn limits(
    listener: &str,
    bounds: Bounds,
    registry: &Registry,
) -> prometheus::Result<Limits> {
    let options = Opts::new(
        "postern_accept_refused_total",
        "Connections dropped before authentication, by reason.",
    );
    let refused = IntCounterVec::new(options.const_label("listener", listener), &["reason"])?;
    registry.register(Box::new(refused.clone()))?;
    Ok(Limits::new(bounds, move |why| refused.with_label_values(&[why.word()]).inc()))
}

/// A listener that speaks HTTP.
pub(super) struct Server {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Arc<rustls::ServerConfig>>,
    pub(super) limits: Limits,
}

impl Server {
    /// Serves until it has to stop, then lets the requests at work end.
    ///
    /// `make` makes the service of one connection, from the address of its other end.
    pub(super) async fn serve<M, S, B>(self, make: M, stop: CancellationToken)
    where
        M: Service<SocketAddr, Response = S, Error = Infallible> + Clone + Send + Sync + 'static,
        M::Future: Send,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let tls = self.tls.map(TlsAcceptor::from);
        let connections = TaskTracker::new();
        let each = |stream, peer| {
            let Some(slot) = self.limits.enter(peer) else { return };
            if let Err(error) = accept::prepare(&stream) {
                tracing::debug!(%error, "the connection was gone before it began");
                return;
            }
            let connection = Connection { slot: Arc::new(slot), peer, stop: stop.clone() };
            connections.spawn(connection.begin(stream, tls.clone(), make.clone()));
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept::accept_all(&self.listener, each) => {}
        }
        drop(self.listener);
        connections.close();
        if tokio::time::timeout(LEAVE, connections.wait()).await.is_err() {
            tracing::warn!("some HTTP connections did not end in time");
        }
    }
}

/// A connection that was accepted.
struct Connection {
    slot: Arc<Slot>,
    peer: SocketAddr,
    stop: CancellationToken,
}

impl Connection {
    /// Serves it, unless it has to make room for another.
    async fn begin<M, S, B>(self, stream: TcpStream, tls: Option<TlsAcceptor>, make: M)
    where
        M: Service<SocketAddr, Response = S, Error = Infallible>,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let place = self.slot.unauthenticated();
        let serving = async {
            let Some(tls) = tls else {
                return self.run(stream, make).await;
            };
            match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.run(stream, make).await,
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        };
        tokio::select! {
            () = serving => {}
            () = place.evicted() => tracing::debug!("an HTTP connection made room for another"),
        }
    }

    async fn run<I, M, S, B>(&self, mut stream: I, make: M)
    where
        I: AsyncRead + AsyncWrite + Unpin,
        M: Service<SocketAddr, Response = S, Error = Infallible>,
        S: Service<Request<Incoming>, Response = Response<B>> + Clone,
        S::Error: Into<Box<dyn Error + Send + Sync>>,
        B: Body + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Ok(service) = make.oneshot(self.peer).await;
        let heard = AtomicBool::new(false);
        let served = {
            let io = TokioIo::new(Heard { io: &mut stream, heard: &heard });
            let heard_by = &heard;
            let answer = service_fn(move |request| self.answer(service.clone(), request, heard_by));
            let mut connection = pin!(
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD)
                    .max_header_size(HEAD_MAX)
                    .max_buf_size(BUFFER)
                    .serve_connection(io, answer)
            );
            tokio::select! {
                served = &mut connection => served,
                () = self.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        let Err(error) = served else { return };
        tracing::debug!(%error, "an HTTP connection broke");
        // A connection that was idle, as a browser keeps them, just closes.
        if error.is_timeout() && heard.load(Ordering::Relaxed) {
            let farewell = async {
                stream.write_all(TOO_SLOW).await?;
                stream.shutdown().await
            };
            // Whoever is too slow may be gone as well.
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
    }

    /// Has one request answered, which keeps its place meanwhile.
    async fn answer<S, B>(
        &self,
        service: S,
        mut request: Request<Incoming>,
        heard: &AtomicBool,
    ) -> Result<Response<B>, S::Error>
    where
        S: Service<Request<Incoming>, Response = Response<B>>,
    {
        let _work = self.slot.at_work();
        request.extensions_mut().insert(Arc::clone(&self.slot));
        let answered = service.oneshot(request).await;
        heard.store(false, Ordering::Relaxed);
        answered
    }
}

/// A stream that tells whether it brought anything.
struct Heard<'a, I> {
    io: &'a mut I,
    heard: &'a AtomicBool,
}

impl<I: AsyncRead + Unpin> AsyncRead for Heard<'_, I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut *self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.heard.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Heard<'_, I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
