//! Accepting for ever: errors back off and never end the loop.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// The waits after errors of accept, such as having no file descriptors left.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// Hands every connection on, and never returns. `each` must not wait.
pub async fn accept_all(listener: &TcpListener, each: impl Fn(TcpStream, SocketAddr)) {
    accept_by(|cx| listener.poll_accept(cx), each).await;
}

async fn accept_by(
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

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
        let forever = accept_by(accept, |_, _| {});
        tokio::select! {
            biased;
            () = forever => {}
            () = tokio::time::sleep(Duration::from_secs(15)) => {}
        }
        // 10 ms, doubled up to 1 s, and no wait where one connection was aborted.
        assert!(first_success.get() >= Duration::from_millis(14_270), "{first_success:?}");
        assert!(calls.get() > 40);
    }
}
