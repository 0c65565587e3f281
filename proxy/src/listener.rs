//! Accepting connections, for ever: errors back off and never end the loop.
//!
//! Every worker thread has listeners of its own on the same addresses (SO_REUSEPORT), so that a
//! connection stays on the thread that the kernel chose for it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use policies::Kind;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::limits::{Slot, Stranger};
use crate::plane::Plane;
use crate::{postgres, ssh};

/// How many connections the kernel keeps for us.
const BACKLOG: i32 = 1_024;
/// The first probe of a silent peer, and the span between probes.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));
/// How long sent bytes may go unacknowledged. The kernel counts a closed window as such, too, and a
/// person may look at a page of rows for minutes.
const USER_TIMEOUT: Duration = Duration::from_secs(300);
/// The waits after errors of accept, such as having no file descriptors left.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Listeners on this address, one for each worker. Port 0 is any, the same for all.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    // Another process may share our port, too: one that isn't shared shows that there is none.
    let alone = listen(address, false)?;
    let address = alone.local_addr()?;
    drop(alone);
    (0..workers).map(|_| listen(address, true)).collect()
}

fn listen(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

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
        () = accept_all(|cx| listener.poll_accept(cx), each) => {}
    }
}

/// Accepts for ever.
async fn accept_all(
    mut accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>>,
    each: impl Fn(TcpStream, SocketAddr),
) {
    let mut wait = BACK_OFF.0;
    loop {
        match poll_fn(&mut accept).await {
            Ok((stream, peer)) => {
                wait = BACK_OFF.0;
                each(stream, peer);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, ?wait, "accept failed");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACK_OFF.1);
            }
        }
    }
}

/// Whether only the connection failed that was about to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted].contains(&error.kind())
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
    if let Err(error) = prepare(&stream) {
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

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let (first, between) = KEEPALIVE;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(first).with_interval(between))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::settings::LimitSettings;
    use crate::testing::{Rig, at};

    fn failure(code: i32) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        Poll::Ready(Err(io::Error::from_raw_os_error(code)))
    }

    #[tokio::test(start_paused = true)]
    async fn accept_backs_off_and_never_ends() {
        const EMFILE: i32 = 24;
        const ECONNABORTED: i32 = 103;
        let began = tokio::time::Instant::now();
        let calls = Cell::new(0);
        let first_success = Cell::new(Duration::ZERO);
        let accept = |_: &mut Context<'_>| {
            calls.set(calls.get() + 1);
            match calls.get() {
                1..=20 => failure(EMFILE),
                21..=40 => failure(ECONNABORTED),
                _ => {
                    first_success.set(began.elapsed());
                    Poll::Pending
                }
            }
        };
        let forever = accept_all(accept, |_, _| {});
        tokio::select! {
            biased;
            () = forever => {}
            () = tokio::time::sleep(Duration::from_secs(15)) => {}
        }
        // 10 ms, doubled up to 1 s, and no wait where one connection was aborted.
        assert!(first_success.get() >= Duration::from_millis(14_270), "{first_success:?}");
        assert!(calls.get() > 40);
    }

    #[tokio::test]
    async fn connections_are_served_and_their_places_freed() {
        let limits = LimitSettings { connections: 2, per_address: 2, ..LimitSettings::default() };
        let rig = Rig::with(limits);
        let listener = bind("127.0.0.1:0".parse().unwrap(), 2).unwrap().remove(0);
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

    #[test]
    fn workers_share_an_address_and_nobody_else_does() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert!(listeners.iter().all(|other| other.local_addr().unwrap() == address));
        let taken = bind(address, 3).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
