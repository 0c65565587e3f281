//! Serving the connections of one listener.
//!
//! Every worker thread has listeners of its own on the same addresses (SO_REUSEPORT), so that a
//! connection stays on the thread that the kernel chose for it.

use std::net::SocketAddr;
use std::sync::Arc;

use policies::Kind;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{Slot, Stranger};
use crate::plane::Plane;
use crate::{postgres, ssh};

/// Accepts and serves until the listener is stopped; what is being served goes on.
pub(crate) async fn run(
    plane: Arc<Plane>,
    (kind, listener): (Kind, TcpListener),
    sessions: TaskTracker,
    stop: CancellationToken,
) {
    let each = |stream, peer| take(&plane, kind, &sessions, (stream, peer));
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept::accept_all(&listener, each) => {}
    }
}

/// Serves one connection in a task of its own, where there is a place for it.
fn take(
    plane: &Arc<Plane>,
    kind: Kind,
    sessions: &TaskTracker,
    (stream, peer): (TcpStream, SocketAddr),
) {
    let Some(slot) = plane.limits.enter(peer) else {
        return;
    };
    if let Err(error) = accept::prepare(&stream) {
        tracing::debug!(%error, "the connection was gone before it began");
        return;
    }
    sessions.spawn(serve(Arc::clone(plane), kind, stream, peer, slot));
}

/// Serves, unless the connection is put out while it is a stranger's.
async fn serve(plane: Arc<Plane>, kind: Kind, stream: TcpStream, peer: SocketAddr, slot: Slot) {
    let put_out = put_out(Arc::clone(&plane), slot.stranger());
    let serving = async {
        match kind {
            // Boxed, since a connection of the one kind should not take up the other's memory.
            Kind::Postgres => {
                Box::pin(postgres::serve(Arc::clone(&plane), stream, peer, slot)).await
            }
            Kind::Ssh => Box::pin(ssh::serve(Arc::clone(&plane), stream, peer, slot)).await,
        }
    };
    tokio::select! {
        () = serving => {}
        why = put_out => plane.metrics.connection(kind.word(), why),
    }
}

/// Resolves, with the reason, when a stranger has to go; never once it is none.
async fn put_out(plane: Arc<Plane>, stranger: Stranger) -> &'static str {
    let late = async {
        tokio::time::sleep(plane.settings.limits.handshake).await;
        stranger.remains().await;
    };
    let drained = async {
        plane.sessions.drained.cancelled().await;
        stranger.remains().await;
    };
    tokio::select! {
        () = stranger.evicted() => "evicted",
        () = late => "late",
        () = drained => "drained",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::settings::LimitSettings;
    use crate::testing::{Rig, at};

    #[tokio::test]
    async fn connections_are_served_and_their_places_freed() {
        let limits = LimitSettings { connections: 2, per_address: 2, ..LimitSettings::default() };
        let rig = Rig::with(limits);
        let listener = accept::bind("127.0.0.1:0".parse().unwrap(), 2).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let (sessions, stop) = (TaskTracker::new(), CancellationToken::new());
        let listener = (Kind::Postgres, listener);
        let running = run(Arc::clone(&rig.plane), listener, sessions.clone(), stop.clone());
        let running = tokio::spawn(running);
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
    }

    /// What becomes of a connection that says nothing, in how many seconds.
    async fn silent(rig: &Rig, known: bool) -> Option<(&'static str, i64)> {
        let slot = rig.plane.limits.enter("192.0.2.7:5555".parse().unwrap()).unwrap();
        let put_out = put_out(Arc::clone(&rig.plane), slot.stranger());
        if known {
            slot.authenticated();
        }
        let why = tokio::time::timeout(Duration::from_secs(3_600), put_out).await;
        why.ok().map(|why| (why, (rig.plane.clock.now().millis() - at(0).millis()) / 1_000))
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_has_one_deadline_and_who_is_known_has_none() {
        assert_eq!(silent(&Rig::new(), false).await, Some(("late", 15)));
        assert_eq!(silent(&Rig::new(), true).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_puts_strangers_out_at_once_and_leaves_sessions_to_their_guard() {
        let rig = Rig::new();
        rig.plane.sessions.drain();
        assert_eq!(silent(&rig, false).await, Some(("drained", 0)));
        assert_eq!(silent(&rig, true).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_makes_room_for_another() {
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
