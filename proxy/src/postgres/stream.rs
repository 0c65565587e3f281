//! The two connections of a session: TCP, mostly with TLS on top.
//!
//! rustls reads four kilobytes a call, whatever is there. Under a bulk transfer that is most of the
//! cost, so [`ReadAhead`] sits below it: a read that fills what was asked for is followed by one of
//! 64 KiB, and an idle connection holds no buffer at all.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

/// Bytes read at once while a transfer runs.
const AHEAD: usize = 64 * 1024;
/// Where to read what is not wanted any more: small, since one end may cut a thousand sessions.
pub(super) const SINK: usize = 4 * 1024;

/// A TCP stream that reads ahead while more comes than is asked for.
#[derive(Debug)]
pub(super) struct ReadAhead {
    tcp: TcpStream,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    bulk: bool,
}

impl ReadAhead {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Self { tcp, buffer: Box::default(), start: 0, end: 0, bulk: false }
    }

    fn take(&mut self, into: &mut ReadBuf<'_>) {
        let held = self.buffer.get(self.start..self.end).unwrap_or_default();
        let count = held.len().min(into.remaining());
        into.put_slice(held.get(..count).unwrap_or_default());
        self.start += count;
    }
}

impl AsyncRead for ReadAhead {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.start < this.end {
            this.take(into);
            return Poll::Ready(Ok(()));
        }
        if !this.bulk || into.remaining() >= AHEAD {
            let wanted = into.remaining();
            ready!(Pin::new(&mut this.tcp).poll_read(cx, into))?;
            this.bulk = into.remaining() == 0 && wanted > 0;
            return Poll::Ready(Ok(()));
        }
        if this.buffer.is_empty() {
            this.buffer = vec![0; AHEAD].into_boxed_slice();
        }
        let mut ahead = ReadBuf::new(&mut this.buffer);
        let polled = Pin::new(&mut this.tcp).poll_read(cx, &mut ahead);
        (this.start, this.end) = (0, ahead.filled().len());
        if polled.is_pending() {
            this.buffer = Box::default();
            this.bulk = false;
        }
        ready!(polled)?;
        this.take(into);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ReadAhead {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// A connection, with or without TLS, of either side.
#[derive(Debug)]
pub(super) enum Stream {
    /// Without TLS: an upstream whose target says so.
    Plain(ReadAhead),
    /// A client's.
    Accepted(Box<server::TlsStream<ReadAhead>>),
    /// An upstream's.
    Dialed(Box<client::TlsStream<ReadAhead>>),
}

/// Runs the same call on whatever is inside.
macro_rules! inner {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream.get_mut() {
            Stream::Plain($inner) => $call,
            Stream::Accepted($inner) => {
                let $inner = &mut **$inner;
                $call
            }
            Stream::Dialed($inner) => {
                let $inner = &mut **$inner;
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        inner!(self, stream => Pin::new(stream).poll_read(cx, into))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        inner!(self, stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, ReadAhead) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, ReadAhead::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn bytes_come_whole_and_in_order_in_bulk() {
        let (mut near, mut far) = pair().await;
        let sent: Vec<u8> =
            (0..1_000_000_u32).map(|i| i.to_le_bytes()[1] ^ i.to_le_bytes()[0]).collect();
        let copy = sent.clone();
        let writer = tokio::spawn(async move {
            near.write_all(&copy).await.unwrap();
            near.shutdown().await.unwrap();
        });
        let (mut got, mut piece) = (Vec::new(), [0; 4096]);
        loop {
            let count = far.read(&mut piece).await.unwrap();
            if count == 0 {
                break;
            }
            got.extend_from_slice(&piece[..count]);
        }
        writer.await.unwrap();
        assert!(got == sent);
    }

    #[tokio::test]
    async fn an_idle_stream_holds_no_buffer() {
        let (mut near, mut far) = pair().await;
        near.write_all(&[7; 100_000]).await.unwrap();
        let mut got = vec![0; 100_000];
        let mut filled = 0;
        while filled < got.len() {
            let end = got.len().min(filled + 4096);
            filled += far.read(&mut got[filled..end]).await.unwrap();
        }
        let (bytes, idle) = tokio::join!(async { near.write_all(b"x").await }, async {
            let mut one = [0; 4096];
            far.read(&mut one).await.unwrap()
        });
        bytes.unwrap();
        assert_eq!(idle, 1);
        let mut one = [0; 4096];
        let mut buf = ReadBuf::new(&mut one);
        let waker = futures_util::task::noop_waker();
        let polled = Pin::new(&mut far).poll_read(&mut Context::from_waker(&waker), &mut buf);
        assert!(polled.is_pending() && far.buffer.is_empty());
    }
}
