//! Listening sockets, and what every accepted one is set to.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

/// How many connections the kernel keeps for us.
const BACKLOG: i32 = 1_024;
/// The first probe of a silent peer, and the span between probes.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(15));
/// How long sent bytes may go unacknowledged. The kernel counts a closed window as such, too, and a
/// person may look at a page of rows for minutes.
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

/// Sets a connection that was accepted: no delay of small messages, and an end where the other side is
/// gone.
///
/// # Errors
/// Where the connection is gone by now.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    let (first, between) = KEEPALIVE;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(first).with_interval(between))?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_share_an_address_and_nobody_else_does() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert!(listeners.iter().all(|other| other.local_addr().unwrap() == address));
        let taken = bind(address, 3).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    }
}
