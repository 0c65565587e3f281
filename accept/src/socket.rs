//! Listening sockets, and what every accepted one is set to.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// How many connections the kernel keeps for us.
const BACKLOG: i32 = 1_024;
/// When a silent peer gets its first probe.
pub const KEEPALIVE: Duration = Duration::from_secs(60);
/// So many probes without an answer, each a quarter of that later, show that the peer is gone.
const PROBES: u32 = 4;
/// How long bytes of HTTP that were sent may go unacknowledged. The kernel counts a closed window as such, too.
const USER_TIMEOUT: Duration = Duration::from_secs(300);

/// Listeners on this address, one for each worker. Port 0 is any, the same for all.
///
/// # Errors
/// Where the address can't be had, or somebody else listens there.
pub fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
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

/// Sets a connection of HTTP that was accepted: it ends where the other side is gone, or reads nothing.
///
/// # Errors
/// Where the connection is gone by now.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    keep_alive(stream, KEEPALIVE)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// Sets a connection of a session, at either side of it: no delay of small messages, and an end where the other side
/// is gone, which is first asked after this time. One that is there and doesn't read keeps its connection.
///
/// # Errors
/// Where the connection is gone by now.
pub fn keep_alive(stream: &TcpStream, first: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let between = (first / PROBES).max(Duration::from_secs(1));
    let keepalive = TcpKeepalive::new().with_time(first.max(between)).with_interval(between);
    SockRef::from(stream).set_tcp_keepalive(&keepalive.with_retries(PROBES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_session_has_probes_and_no_bound_on_how_long_its_peer_reads_nothing() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        keep_alive(&stream, Duration::from_secs(80)).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(80));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(20));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), PROBES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        prepare(&stream).unwrap();
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
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
