//! The bytes under an SSH connection, which can be cut.
//!
//! The protocol runs in tasks of its library. What ends them for sure is the stream that they were
//! given: once it is cut, it reads as ended and takes nothing more. The library reads the length of each
//! packet by itself, so what follows it is read ahead, and the room for that is given back when all is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::ssh::packet_bound::PacketBound;
use crate::ssh::preamble::{Preamble, Unsafe, disconnect};

/// How much is read ahead at once.
const AHEAD: usize = 64 * 1024;

/// A stream that ends when its token does.
pub(super) struct Wire<S> {
    inner: S,
    ahead: BytesMut,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Set when it may not send any more, at once and without waking a task.
    mute: Arc<AtomicBool>,
    /// What is looked at of a client that isn't authenticated.
    entry: Option<Entry>,
}

/// What a client sends before it is authenticated.
#[derive(Default)]
struct Entry {
    preamble: Preamble,
    bound: PacketBound,
    /// Set once the client is authenticated.
    over: Arc<AtomicBool>,
}

impl Entry {
    fn pass(&mut self, bytes: &[u8]) -> Result<(), Rejected> {
        let rejected = |is_shown| move |why| Rejected { why, is_shown };
        self.preamble.pass(bytes).map_err(rejected(true))?;
        self.bound.pass(bytes).map_err(rejected(false))
    }
}

/// Why a client is rejected away, and whether it can be shown that before its connection ends.
struct Rejected {
    why: Unsafe,
    is_shown: bool,
}

impl<S> Wire<S> {
    fn new(inner: S, cut: &CancellationToken) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
            cut: Box::pin(cut.clone().cancelled_owned()),
            mute: Arc::default(),
            entry: None,
        }
    }

    /// The same, to a target, which hears nothing any more once it is mute.
    pub(super) fn to_target(inner: S, cut: &CancellationToken, mute: Arc<AtomicBool>) -> Self {
        Self { mute, ..Self::new(inner, cut) }
    }

    /// The same, for a client: what it sends has to be safe to act on until it is `authenticated`.
    pub(super) fn from_client(
        inner: S,
        cut: &CancellationToken,
        authenticated: Arc<AtomicBool>,
    ) -> Self {
        let entry = Entry { over: authenticated, ..Entry::default() };
        Self { entry: Some(entry), ..Self::new(inner, cut) }
    }

    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        self.cut.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Reads what there is, with nothing left of what was read before.
    fn read_ahead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { inner, ahead, entry, .. } = self;
        ahead.reserve(AHEAD);
        let read = poll_read_buf(Pin::new(inner), cx, ahead);
        if read.is_pending() {
            // Nothing is kept for a client that sends nothing.
            *ahead = BytesMut::new();
        }
        ready!(read)?;
        if entry.as_ref().is_some_and(|entry| entry.over.load(Ordering::Relaxed)) {
            *entry = None;
        }
        match entry.as_mut().map_or(Ok(()), |entry| entry.pass(ahead)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(rejected) => Poll::Ready(Err(self.turn_away(&rejected, cx))),
        }
    }

    /// Turns a client away, with the reason where there are no keys yet. A client that doesn't take it at once doesn't get
    /// them.
    fn turn_away(&mut self, rejected: &Rejected, cx: &mut Context<'_>) -> io::Error {
        if rejected.is_shown {
            let _ = Pin::new(&mut self.inner).poll_write(cx, &disconnect(rejected.why));
        }
        io::Error::other(rejected.why)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut(cx) {
            return Poll::Ready(Ok(()));
        }
        if self.ahead.is_empty() {
            ready!(self.read_ahead(cx))?;
        }
        let count = self.ahead.len().min(buffer.remaining());
        buffer.put_slice(self.ahead.get(..count).unwrap_or_default());
        self.ahead.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.mute.load(Ordering::Relaxed) || self.is_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A socket that can be watched while another task reads from it.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<TcpStream>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// Resolves when the peer leaves or sends anything at all: to be asked only while no task reads.
    pub(super) async fn stirred(&self) {
        let _ = self.0.peek(&mut [0; 1]).await;
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buffer) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.0).shutdown(std::net::Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_client_that_is_not_safe_reads_so_and_goes_no_further() {
        let (near, mut far) = tokio::io::duplex(4_096);
        let cut = CancellationToken::new();
        let mut wire = Wire::from_client(near, &cut, Arc::default());
        far.write_all(b"SSH-2.0-x\n\0\0\0\x0c\x04\x02").await.unwrap();
        assert!(wire.read(&mut [0; 64]).await.is_err());
        drop(wire);
        let mut read = Vec::new();
        far.read_to_end(&mut read).await.unwrap();
        assert!(String::from_utf8_lossy(&read).contains("does not begin as the protocol says"));
    }

    #[tokio::test]
    async fn long_packets_are_for_clients_that_are_authenticated() {
        let mut begun = b"SSH-2.0-x\n".to_vec();
        let methods = b"kex-strict-c-v00@openssh.com";
        let offer = [&[4, 20][..], &[7; 16], &[0, 0, 0, 28], methods, &[0; 60]].concat();
        begun.extend(u32::try_from(offer.len()).unwrap().to_be_bytes());
        begun.extend(offer);
        let long = [&200_000_u32.to_be_bytes()[..], &[4, 94]].concat();
        for authenticated in [false, true] {
            let (near, mut far) = tokio::io::duplex(4_096);
            let flag = Arc::new(AtomicBool::new(false));
            let mut wire = Wire::from_client(near, &CancellationToken::new(), Arc::clone(&flag));
            far.write_all(&begun).await.unwrap();
            wire.read_exact(&mut vec![0; begun.len()]).await.unwrap();
            flag.store(authenticated, Ordering::Relaxed);
            far.write_all(&long).await.unwrap();
            assert_eq!(wire.read_exact(&mut [0; 6]).await.is_ok(), authenticated);
        }
    }

    #[tokio::test]
    async fn what_is_read_ahead_comes_out_as_it_came_and_its_room_is_given_back() {
        let (near, mut far) = tokio::io::duplex(8 * AHEAD);
        let mut wire = Wire::new(near, &CancellationToken::new());
        let sent: Vec<u8> = (0..5 * AHEAD).map(|n| (n % 251) as u8).collect();
        far.write_all(&sent).await.unwrap();
        let mut read = vec![0; sent.len()];
        let mut rest = read.as_mut_slice();
        for size in [4, 32_768, 4, 2 * AHEAD, 1].into_iter().cycle() {
            let (piece, after) = rest.split_at_mut(size.min(rest.len()));
            wire.read_exact(piece).await.unwrap();
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        assert!(read == sent);
        let nothing = std::future::poll_fn(|cx| {
            let mut byte = [0; 1];
            Poll::Ready(
                Pin::new(&mut wire).poll_read(cx, &mut ReadBuf::new(&mut byte)).is_pending(),
            )
        });
        assert!(nothing.await);
        assert_eq!(wire.ahead.capacity(), 0);
    }

    #[tokio::test]
    async fn a_target_hears_nothing_once_its_connection_is_mute() {
        let (near, mut far) = tokio::io::duplex(64);
        let mute = Arc::<AtomicBool>::default();
        let mut wire = Wire::to_target(near, &CancellationToken::new(), Arc::clone(&mute));
        wire.write_all(b"before").await.unwrap();
        mute.store(true, Ordering::Relaxed);
        assert!(wire.write_all(b"after").await.is_err());
        drop(wire);
        let mut heard = String::new();
        far.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "before");
    }

    #[tokio::test]
    async fn what_is_cut_ends_for_its_reader_and_takes_nothing_more() {
        let (near, mut far) = tokio::io::duplex(64);
        let cut = CancellationToken::new();
        let mut wire = Wire::new(near, &cut);
        far.write_all(b"before").await.unwrap();
        let mut read = [0; 6];
        wire.read_exact(&mut read).await.unwrap();
        let waiting = tokio::spawn(async move { (wire.read(&mut [0; 1]).await, wire) });
        cut.cancel();
        let (read, mut wire) = waiting.await.unwrap();
        assert_eq!(read.unwrap(), 0);
        assert!(wire.write_all(b"after").await.is_err());
    }
}
