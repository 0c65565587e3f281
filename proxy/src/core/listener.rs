//! Serving the connections of one listener, whatever they speak.
//!
//! Every worker thread has listeners of its own on the same addresses (SO_REUSEPORT), so that a
//! connection stays on the thread that the kernel chose for it.

use std::net::SocketAddr;
use std::sync::Arc;

use policies::Kind;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::core::limits::{Slot, Unauthenticated};
use crate::core::plane::Plane;

/// How a connection ended, as a metric's label.
pub(crate) type ConnectionOutcome = &'static str;

/// A connection that was accepted and has its place among all.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) slot: Arc<Slot>,
}

/// A protocol that the gateway serves.
pub(crate) trait Protocol: Send + Sync + 'static {
    /// What its targets are.
    const KIND: Kind;

    /// Serves one connection from its first byte to its end.
    fn serve(&self, accepted: Accepted) -> impl Future<Output = ConnectionOutcome> + Send;
}

/// The connections of one protocol, on one worker thread.
#[derive(Debug)]
pub(crate) struct Server<P> {
    pub(crate) plane: Arc<Plane>,
    pub(crate) protocol: Arc<P>,
    /// Has every connection while it is served.
    pub(crate) sessions: TaskTracker,
}

impl<P: Protocol> Server<P> {
    /// Accepts and serves until the listener is stopped; what is being served goes on.
    pub(crate) async fn run(self, listener: TcpListener, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = accept::accept_all(&listener, |stream, peer| self.take(stream, peer)) => {}
        }
    }

    /// Serves one connection in a task of its own, where there is a place for it.
    fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let Some(slot) = self.plane.limits.enter(peer) else {
            return;
        };
        if let Err(error) = accept::keep_alive(&stream, self.plane.settings.limits.keepalive) {
            tracing::debug!(%error, "the connection was gone before it began");
            return;
        }
        let accepted = Accepted { stream, peer, slot: Arc::new(slot) };
        let serving = serve(Arc::clone(&self.plane), Arc::clone(&self.protocol), accepted);
        self.sessions.spawn(serving);
    }
}

/// Serves, unless the connection is closed while its client is unauthenticated.
async fn serve<P: Protocol>(plane: Arc<Plane>, protocol: Arc<P>, accepted: Accepted) {
    let closed = closed(Arc::clone(&plane), accepted.slot.unauthenticated());
    let outcome = tokio::select! {
        outcome = Box::pin(protocol.serve(accepted)) => outcome,
        reason = closed => reason,
    };
    plane.metrics.connection(P::KIND.word(), outcome);
}

/// Resolves, with the reason, when an unauthenticated client has to go; never once it is authenticated.
async fn closed(plane: Arc<Plane>, unauthenticated: Unauthenticated) -> ConnectionOutcome {
    let late = async {
        tokio::time::sleep(plane.settings.limits.handshake).await;
        unauthenticated.remains().await;
    };
    let drained = async {
        plane.sessions.drained.cancelled().await;
        unauthenticated.remains().await;
    };
    tokio::select! {
        () = unauthenticated.evicted() => "evicted",
        () = late => "late",
        () = drained => "drained",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::core::settings::LimitSettings;
    use crate::core::testing::{Rig, at};

    /// A protocol in which the client says nothing and closes.
    struct Silence;

    impl Protocol for Silence {
        const KIND: Kind = Kind::Postgres;

        async fn serve(&self, mut accepted: Accepted) -> ConnectionOutcome {
            let read = accepted.stream.read(&mut [0; 1]).await;
            if matches!(read, Ok(0)) { "closed" } else { "nonsense" }
        }
    }

    #[tokio::test]
    async fn connections_are_served_and_their_places_freed() {
        let limits = LimitSettings { connections: 2, per_address: 2, ..LimitSettings::default() };
        let rig = Rig::with(limits);
        let listener = accept::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let (sessions, stop) = (TaskTracker::new(), CancellationToken::new());
        let (plane, protocol) = (Arc::clone(&rig.plane), Arc::new(Silence));
        let server = Server { plane, protocol, sessions: sessions.clone() };
        let running = tokio::spawn(server.run(listener, stop.clone()));
        for _ in 0..5 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.shutdown().await.unwrap();
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
        stop.cancel();
        running.await.unwrap();
        sessions.close();
        sessions.wait().await;
        assert!(sessions.is_empty());
        assert_eq!(rig.plane.metrics.connections("postgres", "closed"), 5);
    }

    /// What becomes of a connection that sends nothing, in how many seconds.
    async fn silent(rig: &Rig, authenticated: bool) -> Option<(ConnectionOutcome, i64)> {
        let slot = rig.plane.limits.enter("192.0.2.7:5555".parse().unwrap()).unwrap();
        let closed = closed(Arc::clone(&rig.plane), slot.unauthenticated());
        if authenticated {
            slot.authenticated();
        }
        let why = tokio::time::timeout(Duration::from_secs(3_600), closed).await;
        why.ok().map(|why| (why, (rig.plane.clock.now().millis() - at(0).millis()) / 1_000))
    }

    #[tokio::test(start_paused = true)]
    async fn an_unauthenticated_client_has_one_deadline_and_an_authenticated_one_has_none() {
        assert_eq!(silent(&Rig::new(), false).await, Some(("late", 15)));
        assert_eq!(silent(&Rig::new(), true).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_closes_unauthenticated_clients_at_once_and_leaves_sessions_to_their_guard() {
        let rig = Rig::new();
        rig.plane.sessions.drain();
        assert_eq!(silent(&rig, false).await, Some(("drained", 0)));
        assert_eq!(silent(&rig, true).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_unauthenticated_client_makes_room_for_another() {
        let rig = Rig::with(LimitSettings { per_address: 1, ..LimitSettings::default() });
        let first = silent(&rig, false);
        let second = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            rig.plane.limits.enter("192.0.2.7:5555".parse().unwrap())
        };
        let (first, second) = tokio::join!(first, second);
        assert_eq!(first, Some(("evicted", 2)));
        assert!(second.is_some());
    }
}
