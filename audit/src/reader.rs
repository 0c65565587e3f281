//! Reading and verifying a recording, frame by frame.
//!
//! The file is hostile until its digests say otherwise, and its grammar still is after that: no
//! length is believed before it is bounded, one frame is held at a time, and no event is handed out
//! before the digest of its frame was compared. Reading ends with a verdict on the file as a whole,
//! [`Tail`].

use std::io::{self, Read};

use crate::chain::{Chain, Digest, HEAD_BYTES, Head, LENGTH_BYTES, MAGIC, MAX_PAYLOAD};
use crate::event::{Event, Kind};

/// The state of a recording, known once it was read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Whole, and its last event is the end of the session.
    Sealed,
    /// Whole so far, without an end: the session lives, or its writer died between two frames.
    Open,
    /// The last frame is incomplete: its writer died. What comes before is good.
    Torn {
        /// Where the incomplete frame starts.
        offset: u64,
        /// How many bytes of it there are.
        bytes: u64,
    },
    /// A digest or the format is violated: the file was tampered with or damaged. What comes before
    /// is consistent.
    Broken {
        /// Where the offending frame starts.
        offset: u64,
    },
}

/// What reading a recording to its end has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The state of the file.
    pub tail: Tail,
    /// The id of the session, where a first event could be read.
    pub session: Option<String>,
    /// The head after the last good frame, where there is one.
    pub head: Option<Head>,
    /// How many good frames there are.
    pub frames: u64,
    /// How many events they hold.
    pub events: u64,
}

/// An iterator over the events of a recording. It is over at the end, the tear or the first
/// violation.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    /// The only session that is accepted; without it, the one that the first event names.
    expected: Option<String>,
    session: Option<String>,
    chain: Option<Chain>,
    head: Option<Head>,
    frames: u64,
    events: u64,
    ended: bool,
    tail: Option<Tail>,
    /// Where the current frame starts.
    frame_at: u64,
    /// Where the next frame starts.
    offset: u64,
    payload: Vec<u8>,
    /// How much of the payload was handed out.
    read: usize,
}

impl<R: Read> Reader<R> {
    /// Reads the recording of whichever session it says it is. Compare [`session`](Reader::session)
    /// with the one you asked for, or use [`for_session`](Reader::for_session).
    pub fn new(input: R) -> Reader<R> {
        Reader {
            input,
            expected: None,
            session: None,
            chain: None,
            head: None,
            frames: 0,
            events: 0,
            ended: false,
            tail: None,
            frame_at: 0,
            offset: 0,
            payload: Vec::new(),
            read: 0,
        }
    }

    /// Reads the recording of this session; that of another is broken from its first frame.
    pub fn for_session(input: R, session_id: &str) -> Reader<R> {
        Reader { expected: Some(session_id.to_owned()), ..Reader::new(input) }
    }

    /// The verdict on the file; `None` while it isn't read to its end.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// The id of the session, once the first frame was read.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The head after the last good frame.
    pub fn head(&self) -> Option<Head> {
        self.head
    }

    /// Reads what is left and says what the file is.
    pub fn verify(mut self) -> io::Result<Verified> {
        loop {
            if self.next_event()?.is_none() {
                let Reader { session, head, frames, events, frame_at, .. } = self;
                let tail = self.tail.unwrap_or(Tail::Broken { offset: frame_at });
                return Ok(Verified { tail, session, head, frames, events });
            }
        }
    }

    /// The next event; `None` at the end of the file or of what is good in it.
    pub fn next_event(&mut self) -> io::Result<Option<Event<'static>>> {
        while self.tail.is_none() {
            if let Some(line) = next_line(&self.payload, self.read) {
                self.read += line.len();
                let event =
                    serde_json::from_slice(line).ok().filter(|event| self.is_in_place(event));
                if let Some(event) = event {
                    self.note(&event);
                    return Ok(Some(event));
                }
                self.tail = Some(Tail::Broken { offset: self.frame_at });
            } else if let Err(tail) = self.next_frame()? {
                self.tail = Some(tail);
            }
        }
        Ok(None)
    }

    /// A `start` comes first and only then, and nothing comes after an `end`.
    fn is_in_place(&self, event: &Event<'_>) -> bool {
        match &event.kind {
            Kind::Start(start) => self.events == 0 && Some(&*start.session) == self.session(),
            Kind::Query { .. }
            | Kind::QueryPart { .. }
            | Kind::Parse { .. }
            | Kind::ParsePart { .. }
            | Kind::Bind { .. }
            | Kind::BindPart { .. }
            | Kind::Execute { .. }
            | Kind::Call { .. }
            | Kind::CopyIn { .. }
            | Kind::CopyOut { .. }
            | Kind::Data { .. }
            | Kind::Unknown { .. }
            | Kind::Done { .. }
            | Kind::Failed { .. }
            | Kind::Recovered
            | Kind::Ssh(_)
            | Kind::End(_) => self.events > 0 && !self.ended,
        }
    }

    fn note(&mut self, event: &Event<'_>) {
        self.events += 1;
        self.ended = matches!(event.kind, Kind::End(_));
    }

    /// Reads one frame and checks its digest, or says in what state the file ends.
    fn next_frame(&mut self) -> io::Result<Result<(), Tail>> {
        if self.offset == 0
            && let Err(tail) = self.read_magic()?
        {
            return Ok(Err(tail));
        }
        self.frame_at = self.offset;
        self.payload.clear();
        self.read = 0;

        let mut length = [0; LENGTH_BYTES];
        let got = read_up_to(&mut self.input, &mut length)?;
        if got == 0 {
            return Ok(Err(if self.ended { Tail::Sealed } else { Tail::Open }));
        }
        if got < LENGTH_BYTES {
            return Ok(Err(self.torn(got)));
        }
        let size = u32::from_le_bytes(length);
        if size == 0 || u64::from(size) > MAX_PAYLOAD as u64 {
            return Ok(Err(self.broken()));
        }

        // Grows with what is there, not with what the length claims.
        let read = self.input.by_ref().take(u64::from(size)).read_to_end(&mut self.payload)?;
        let mut head = [0; HEAD_BYTES];
        let closed = if read as u64 == u64::from(size) {
            read_up_to(&mut self.input, &mut head)?
        } else {
            0
        };
        if closed < HEAD_BYTES {
            return Ok(Err(self.torn(LENGTH_BYTES + read + closed)));
        }
        if !self.advance(length, Digest(head)) {
            return Ok(Err(self.broken()));
        }
        self.offset += (LENGTH_BYTES + read + HEAD_BYTES) as u64;
        Ok(Ok(()))
    }

    fn read_magic(&mut self) -> io::Result<Result<(), Tail>> {
        let mut magic = [0; MAGIC.len()];
        let got = read_up_to(&mut self.input, &mut magic)?;
        if !magic.iter().zip(MAGIC).take(got).all(|(byte, want)| *byte == want) {
            return Ok(Err(self.broken()));
        }
        if got < MAGIC.len() {
            return Ok(Err(self.torn(got)));
        }
        self.offset = MAGIC.len() as u64;
        Ok(Ok(()))
    }

    /// Whether this head is the one of this payload, in this place of this session.
    fn advance(&mut self, length: [u8; LENGTH_BYTES], head: Head) -> bool {
        if self.chain.is_none() {
            self.session = self.expected.take().or_else(|| named_session(&self.payload));
            self.chain = self.session.as_deref().map(Chain::new);
        }
        let Some(chain) = &mut self.chain else {
            return false;
        };
        let good = chain.advance(length, &self.payload) == head && self.payload.ends_with(b"\n");
        if good {
            self.head = Some(head);
            self.frames += 1;
        }
        good
    }

    fn torn(&self, bytes: usize) -> Tail {
        Tail::Torn { offset: self.frame_at, bytes: bytes as u64 }
    }

    fn broken(&self) -> Tail {
        Tail::Broken { offset: self.frame_at }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = io::Result<Event<'static>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_event().transpose()
    }
}

/// The session that the first event of the first frame names.
fn named_session(payload: &[u8]) -> Option<String> {
    let event: Event<'static> = serde_json::from_slice(next_line(payload, 0)?).ok()?;
    if let Kind::Start(start) = event.kind { Some(start.session.into_owned()) } else { None }
}

/// The line that begins at `from`, with its line feed.
fn next_line(payload: &[u8], from: usize) -> Option<&[u8]> {
    payload.get(from..)?.split_inclusive(|byte| *byte == b'\n').next()
}

/// Fills `buf` as far as the input goes.
fn read_up_to(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = buf.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(more) => got += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(got)
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
