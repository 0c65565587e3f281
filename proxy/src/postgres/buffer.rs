//! The buffer of one direction: small when idle, large when bytes flow, never copied through.
//!
//! Bytes are read into it, looked at where they lie, and written from where they lie.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::backend::Scanned;
use super::wire::HEADER;

/// What an idle direction holds.
const IDLE: usize = 1024;
/// What a direction grows to, step by step, while reads fill it.
const STEPS: [usize; 3] = [IDLE, 16 * 1024, 256 * 1024];

/// Bytes on their way: `start..clear` may go on, `clear..end` is held.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    data: Vec<u8>,
    start: usize,
    clear: usize,
    end: usize,
    /// Whether the last read left no room: more is probably there.
    filled: bool,
    /// Bytes that went on, ever.
    pub(super) passed: u64,
    /// As many of them as were counted before.
    counted: u64,
}

impl Buffer {
    /// A buffer with bytes that may go on at once.
    pub(super) fn with(bytes: &[u8]) -> Self {
        let (clear, end) = (bytes.len(), bytes.len());
        Self { data: bytes.to_vec(), clear, end, ..Self::default() }
    }

    /// Bytes that went on since this was asked last.
    pub(super) fn newly_passed(&mut self) -> u64 {
        self.passed - std::mem::replace(&mut self.counted, self.passed)
    }

    /// Whether bytes wait to go on.
    pub(super) fn has_cleared(&self) -> bool {
        self.start < self.clear
    }

    /// What was read and not cleared yet.
    pub(super) fn held(&self) -> &[u8] {
        self.data.get(self.clear..self.end).unwrap_or_default()
    }

    /// Clears what the scanner let through, and makes room for what it needs.
    pub(super) fn release(&mut self, scanned: Scanned) {
        self.clear += scanned.clear;
        self.grow(scanned.need);
    }

    /// Puts bytes of our own behind what is cleared. The caller knows that a message ends there.
    pub(super) fn interject(&mut self, bytes: &[u8]) {
        let held = self.held().to_vec();
        self.data.truncate(self.clear);
        self.data.extend_from_slice(bytes);
        self.clear = self.data.len();
        self.data.extend_from_slice(&held);
        self.end = self.data.len();
    }

    /// Drops what isn't cleared: after a cut nothing new passes.
    pub(super) fn discard_held(&mut self) {
        self.end = self.clear;
    }

    /// Writes what is cleared, as far as the other side takes it.
    pub(super) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut S,
    ) -> Poll<std::io::Result<()>> {
        while self.start < self.clear {
            let bytes = self.data.get(self.start..self.clear).unwrap_or_default();
            let count = ready!(Pin::new(&mut *into).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.start += count;
            self.passed += count as u64;
        }
        if self.start == self.end {
            (self.start, self.clear, self.end) = (0, 0, 0);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what is there, and says how much; nothing at the end of the stream.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut S,
    ) -> Poll<std::io::Result<usize>> {
        self.make_room();
        let room = self.data.get_mut(self.end..).unwrap_or_default();
        let size = room.len();
        let mut into = ReadBuf::new(room);
        ready!(Pin::new(from).poll_read(cx, &mut into))?;
        let count = into.filled().len();
        self.end += count;
        self.filled = count == size;
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self) {
        if self.filled {
            let next = STEPS.iter().find(|step| **step > self.data.len());
            self.resize(next.copied().unwrap_or(self.data.len()));
            self.filled = false;
        }
        if self.data.is_empty() {
            self.resize(IDLE);
        }
        if self.data.len() - self.end < HEADER || self.end == self.data.len() {
            self.compact();
        }
        if self.end == self.data.len() {
            self.resize(self.data.len() * 2);
        }
    }

    /// Room for a message of so many bytes, of which the held bytes are the beginning.
    fn grow(&mut self, need: usize) {
        if need > self.data.len() - self.clear {
            self.compact();
            let step = STEPS.iter().find(|step| **step >= self.clear + need);
            self.resize(step.copied().unwrap_or(self.clear + need));
        }
    }

    fn resize(&mut self, size: usize) {
        if size > self.data.len() {
            self.data.resize(size, 0);
        }
    }

    fn compact(&mut self) {
        if self.start > 0 {
            self.data.copy_within(self.start..self.end, 0);
            self.clear -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// Gives the memory back where nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.end == 0 && self.data.len() > IDLE {
            self.data = Vec::new();
            self.filled = false;
        }
    }

    /// Whether there is memory to give back.
    pub(super) fn is_large(&self) -> bool {
        self.data.len() > IDLE
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::task::noop_waker;
    use proptest::prelude::*;

    use super::*;

    /// Reads and writes in the given portions; nothing more once they are used up.
    struct Portions(Vec<usize>, Vec<u8>);

    impl AsyncRead for Portions {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let Some(portion) = self.0.pop() else {
                return Poll::Pending;
            };
            let count = portion.min(into.remaining()).min(self.1.len());
            let bytes: Vec<u8> = self.1.drain(..count).collect();
            into.put_slice(&bytes);
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Portions {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let Some(portion) = self.0.pop() else {
                return Poll::Pending;
            };
            let count = portion.min(bytes.len());
            self.1.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn bytes_pass_whole_and_in_order(
            sent in prop::collection::vec(any::<u8>(), 0..5_000),
            reads in prop::collection::vec(1..2_000_usize, 1..40),
            writes in prop::collection::vec(1..2_000_usize, 1..40),
            clears in prop::collection::vec((0..3_000_usize, 0..4_000_usize), 1..40),
        ) {
            let waker = noop_waker();
            let mut cx = Context::from_waker(&waker);
            let (mut from, mut into) = (Portions(reads, sent.clone()), Portions(writes, Vec::new()));
            let mut buffer = Buffer::default();
            for (clear, need) in clears {
                let _ = buffer.poll_read(&mut cx, &mut from);
                let clear = clear.min(buffer.held().len());
                buffer.release(Scanned { clear, need });
                let _ = buffer.poll_write(&mut cx, &mut into);
            }
            let rest = [buffer.data[buffer.start..buffer.end].to_vec(), from.1].concat();
            prop_assert_eq!([into.1, rest].concat(), sent);
        }
    }
}
