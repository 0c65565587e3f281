//! The bytes under an SSH connection, which can be cut.
//!
//! The protocol runs in tasks of its library. What ends them for sure is the stream that they were
//! given: once it is cut, it reads as ended and takes nothing more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::preamble::{Preamble, Unsafe, farewell};

/// A stream that ends when its token does.
pub(super) struct Wire<S> {
    inner: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    /// What is looked at of a client's first words.
    preamble: Option<Preamble>,
}

impl<S> Wire<S> {
    pub(super) fn new(inner: S, cut: &CancellationToken) -> Self {
        Self { inner, cut: Box::pin(cut.clone().cancelled_owned()), preamble: None }
    }

    /// The same, for a client, whose first words have to be safe to act on.
    pub(super) fn from_client(inner: S, cut: &CancellationToken) -> Self {
        Self { preamble: Some(Preamble::default()), ..Self::new(inner, cut) }
    }

    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        self.cut.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    /// Turns a client away before there are keys. Who doesn't take it at once doesn't get it.
    fn turn_away(&mut self, why: Unsafe, cx: &mut Context<'_>) -> io::Error {
        let _ = Pin::new(&mut self.inner).poll_write(cx, &farewell(why));
        io::Error::other(why)
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
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let read = buffer.filled().get(before..).unwrap_or_default();
        match self.preamble.as_mut().map_or(Ok(()), |preamble| preamble.pass(read)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(why) => Poll::Ready(Err(self.turn_away(why, cx))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_cut(cx) {
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

/// A socket that can be watched while somebody else reads from it.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<TcpStream>);

impl Socket {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    /// Resolves when the peer leaves or says anything at all: to be asked only while nobody reads.
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
            match self.0.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
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
    async fn a_client_that_is_not_safe_is_told_so_and_goes_no_further() {
        let (near, mut far) = tokio::io::duplex(4_096);
        let cut = CancellationToken::new();
        let mut wire = Wire::from_client(near, &cut);
        far.write_all(b"SSH-2.0-x\n\0\0\0\x0c\x04\x02").await.unwrap();
        assert!(wire.read(&mut [0; 64]).await.is_err());
        drop(wire);
        let mut told = Vec::new();
        far.read_to_end(&mut told).await.unwrap();
        assert!(String::from_utf8_lossy(&told).contains("does not begin as the protocol says"));
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
