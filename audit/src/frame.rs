//! Writing a recording: events go straight into the frame that will carry them.
//!
//! A [`Writer`] does no I/O. It serialises each event into one buffer behind a place for the
//! length; sealing fills in the length and appends the head. The finished bytes are the caller's to
//! store, and only then to forget:
//!
//! ```
//! use audit::{Event, Kind, Writer};
//!
//! let mut writer = Writer::new("session-1");
//! writer.push(&Event { t: 0, kind: Kind::Query { n: 1, text: "select 1".into() } })?;
//! let stored = writer.seal().to_vec();
//! writer.clear();
//! assert_eq!(stored.get(..8), Some(&b"POSTERN1"[..]));
//! # Ok::<(), audit::WriteError>(())
//! ```

use std::io;

use thiserror::Error;

use crate::chain::{Chain, Head, LENGTH_BYTES, MAGIC, MAX_PAYLOAD, frame_length};
use crate::event::Event;

/// What an emptied buffer may keep, so that an idle session holds little.
const KEPT_CAPACITY: usize = 16 * 1024;

/// An event that can't be recorded.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The event is larger than a frame: it has to come in parts.
    #[error("an event of more than {MAX_PAYLOAD} bytes is too large to record")]
    TooLarge,
    /// The event has no JSON form.
    #[error("the event can't be encoded")]
    Encode(#[source] serde_json::Error),
}

/// The writer of one recording.
#[derive(Debug)]
pub struct Writer {
    chain: Chain,
    /// The chain over what is stored: where a rewind goes back to.
    stored: Chain,
    /// The finished bytes, then the open frame with its length still to be filled in.
    buf: Vec<u8>,
    /// How many bytes of `buf` are finished.
    sealed: usize,
}

impl Writer {
    /// A writer whose finished bytes begin with those of a recording.
    pub fn new(session_id: &str) -> Writer {
        let chain = Chain::new(session_id);
        Writer { stored: chain.clone(), chain, buf: MAGIC.to_vec(), sealed: MAGIC.len() }
    }

    /// Adds an event to the open frame, or to a new one where that is full. On error the event is
    /// not added.
    pub fn push(&mut self, event: &Event<'_>) -> Result<(), WriteError> {
        match self.append(event) {
            Err(WriteError::TooLarge) if self.pending() > 0 => {
                self.close_frame();
                self.append(event)
            }
            other => other,
        }
    }

    /// Whether there is nothing to store: no finished byte and no event.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Bytes of events that are not yet sealed.
    pub fn pending(&self) -> usize {
        self.buf.len().saturating_sub(self.sealed + LENGTH_BYTES)
    }

    /// Closes the open frame and returns all finished bytes since the last
    /// [`clear`](Writer::clear).
    pub fn seal(&mut self) -> &[u8] {
        self.close_frame();
        &self.buf
    }

    /// Forgets the finished bytes. Events that are not yet sealed stay.
    pub fn clear(&mut self) {
        self.buf.drain(..self.sealed);
        self.sealed = 0;
        self.stored = self.chain.clone();
        if self.buf.capacity() > KEPT_CAPACITY {
            self.buf.shrink_to(KEPT_CAPACITY);
        }
    }

    /// Takes back all events since the last [`clear`](Writer::clear): they could not be stored. What
    /// is added next follows what is stored. Before the first `clear` it does nothing.
    pub fn rewind(&mut self) {
        if self.buf.starts_with(&MAGIC) {
            return;
        }
        self.chain = self.stored.clone();
        self.buf.clear();
        self.sealed = 0;
    }

    /// Closes the open frame and moves all finished bytes out.
    pub fn take(&mut self) -> Vec<u8> {
        self.close_frame();
        self.sealed = 0;
        self.stored = self.chain.clone();
        std::mem::take(&mut self.buf)
    }

    /// The head after the last closed frame.
    pub fn head(&self) -> Head {
        self.chain.head()
    }

    fn append(&mut self, event: &Event<'_>) -> Result<(), WriteError> {
        let before = self.buf.len();
        if before == self.sealed {
            self.buf.extend_from_slice(&[0; LENGTH_BYTES]);
        }
        let limit = self.sealed + LENGTH_BYTES + MAX_PAYLOAD;
        let mut out = Bounded { buf: &mut self.buf, limit };
        let written = serde_json::to_writer(&mut out, event).and_then(|()| out.line_feed());
        written.map_err(|error| {
            self.buf.truncate(before);
            if error.is_io() { WriteError::TooLarge } else { WriteError::Encode(error) }
        })
    }

    fn close_frame(&mut self) {
        let Some((length, payload)) =
            self.buf.get_mut(self.sealed..).and_then(<[u8]>::split_first_chunk_mut)
        else {
            return;
        };
        // INVARIANT: `append` keeps a frame within the bound, and rolls back to no frame rather
        // than an empty one.
        if let Ok(size) = frame_length(payload.len()) {
            *length = size;
            let head = self.chain.advance(size, payload);
            self.buf.extend_from_slice(&head.0);
            self.sealed = self.buf.len();
        }
    }
}

/// The open frame as something to write into, up to its bound.
struct Bounded<'a> {
    buf: &'a mut Vec<u8>,
    limit: usize,
}

impl Bounded<'_> {
    fn line_feed(&mut self) -> Result<(), serde_json::Error> {
        io::Write::write_all(self, b"\n").map_err(serde_json::Error::io)
    }
}

impl io::Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buf.len() + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.buf.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Kind;

    fn query(text: &str) -> Event<'_> {
        Event { t: 0, kind: Kind::Query { n: 1, text: text.into() } }
    }

    #[test]
    fn frames_written_in_place_equal_frames_sealed_from_their_payload() {
        let mut writer = Writer::new("s1");
        writer.push(&query("a")).unwrap();
        writer.push(&query("b")).unwrap();
        let mut got = writer.seal().to_vec();
        writer.clear();
        assert!(writer.is_empty());
        writer.push(&query("c")).unwrap();
        got.extend(writer.take());

        let line = |text| serde_json::to_string(&query(text)).unwrap() + "\n";
        let mut chain = Chain::new("s1");
        let mut want = MAGIC.to_vec();
        chain.seal((line("a") + &line("b")).as_bytes(), &mut want).unwrap();
        chain.seal(line("c").as_bytes(), &mut want).unwrap();
        assert_eq!(got, want);
        assert_eq!(writer.head(), chain.head());
    }

    #[test]
    fn sealing_without_an_event_adds_no_frame() {
        let mut writer = Writer::new("s1");
        assert_eq!(writer.seal(), MAGIC);
        writer.clear();
        assert!(writer.seal().is_empty());
        writer.push(&query("a")).unwrap();
        let once = writer.seal().to_vec();
        assert_eq!(writer.seal(), once);
    }

    #[test]
    fn a_full_frame_is_followed_by_another_and_an_event_too_large_changes_nothing() {
        let mut writer = Writer::new("s1");
        let half = "x".repeat(MAX_PAYLOAD / 2);
        writer.push(&query(&half)).unwrap();
        writer.push(&query(&half)).unwrap();
        assert!(writer.pending() < MAX_PAYLOAD / 2 + 100);
        assert!(matches!(writer.push(&query(&half.repeat(3))), Err(WriteError::TooLarge)));
        assert_eq!(writer.pending(), 0, "the frame before it is closed, with all that it had");

        let payload = serde_json::to_string(&query(&half)).unwrap() + "\n";
        let mut chain = Chain::new("s1");
        let mut want = MAGIC.to_vec();
        chain.seal(payload.as_bytes(), &mut want).unwrap();
        chain.seal(payload.as_bytes(), &mut want).unwrap();
        assert!(writer.take() == want);
    }

    #[test]
    fn after_a_rewind_what_is_added_follows_what_is_stored() {
        let mut writer = Writer::new("s1");
        writer.push(&query("a")).unwrap();
        let mut stored = writer.seal().to_vec();
        writer.clear();
        writer.push(&query("lost")).unwrap();
        writer.seal();
        writer.push(&query("lost as well")).unwrap();
        writer.rewind();
        assert!(writer.is_empty());
        writer.push(&query("b")).unwrap();
        stored.extend_from_slice(writer.seal());

        let mut whole = Writer::new("s1");
        whole.push(&query("a")).unwrap();
        let mut want = whole.seal().to_vec();
        whole.clear();
        whole.push(&query("b")).unwrap();
        want.extend_from_slice(whole.seal());
        assert_eq!(stored, want);
        assert_eq!(writer.head(), whole.head());
    }

    #[test]
    fn clearing_keeps_what_is_not_sealed() {
        let mut writer = Writer::new("s1");
        writer.push(&query("a")).unwrap();
        writer.clear();
        assert!(writer.pending() > 0);
        let mut want = Vec::new();
        let payload = serde_json::to_string(&query("a")).unwrap() + "\n";
        Chain::new("s1").seal(payload.as_bytes(), &mut want).unwrap();
        assert_eq!(writer.seal(), want);
    }
}
