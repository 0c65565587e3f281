//! What the target says: headers are scanned, outcomes noted, and nothing is copied.
//!
//! A message that fits is let through whole, so that a cut falls between messages and the client can
//! still be sent the reason. A larger one streams through.

use audit::Kind;
use tokio::time::Instant;

use super::flight::{Flight, Reply, Step};
use super::wire::{Emit, HEADER, WireError, cstring, field, header};

/// A message up to this size is held until it is whole.
pub(super) const WHOLE: usize = 64 * 1024;
/// As much of an error as has to be here to read its SQLSTATE.
const ERROR_HEAD: usize = 512;
/// Longest tag or status that a target would send.
const SHORT: usize = 1024;

/// How far the bytes were looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Scanned {
    /// So many of them may go on.
    pub(super) clear: usize,
    /// The next message needs so many bytes of room; 0 where that isn't known.
    pub(super) need: usize,
}

/// The scanner of one session's backend messages.
#[derive(Debug, Default)]
pub(super) struct Backend {
    /// Bytes left of a message that streams through.
    passing: usize,
    /// Whether that is data of a COPY.
    copying: bool,
    /// Whether the last error was fatal: the target ends the connection itself.
    pub(super) sent_fatal: bool,
}

impl Backend {
    /// Whether the client's side stands between two messages.
    pub(super) fn at_boundary(&self) -> bool {
        self.passing == 0
    }

    /// Looks at the bytes, and reports outcomes.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        flight: &mut Flight,
        now: Instant,
        emit: &mut impl FnMut(Kind<'_>) -> Result<(), WireError>,
    ) -> Result<Scanned, WireError> {
        let mut clear = self.passing.min(bytes.len());
        self.passing -= clear;
        if self.copying {
            let data = bytes.get(..clear).unwrap_or_default();
            self.copying = self.passing > 0;
            copied(data, !self.copying, flight, emit)?;
        }
        loop {
            let rest = bytes.get(clear..).unwrap_or_default();
            let Some((kind, whole)) = header(rest)? else {
                break Ok(Scanned { clear, need: 0 });
            };
            let wanted = self.wanted(kind, whole)?;
            if rest.len() < wanted {
                break Ok(Scanned { clear, need: wanted });
            }
            let here = whole.min(rest.len());
            let body = rest.get(HEADER..here).unwrap_or_default();
            self.note(kind, body, whole, flight, now, emit)?;
            self.passing = whole - here;
            self.copying = kind == b'd' && self.passing > 0;
            clear += here;
        }
    }

    /// How much of a message has to be here before any of it goes on.
    fn wanted(&self, kind: u8, whole: usize) -> Result<usize, WireError> {
        let wrong = || WireError::Length {
            kind: char::from(kind),
            length: u32::try_from(whole).unwrap_or(u32::MAX),
        };
        match kind {
            b'C' | b'Z' | b'I' | b's' | b'G' | b'H' | b'W' | b'c' | b'1' | b'2' | b'3' | b'n' => {
                if whole <= WHOLE {
                    Ok(whole)
                } else {
                    Err(wrong())
                }
            }
            b'E' if whole > WHOLE => Ok(ERROR_HEAD),
            b'D' | b'd' | b'T' | b't' | b'E' | b'N' | b'A' | b'S' | b'V' => {
                Ok(if whole <= WHOLE { whole } else { HEADER })
            }
            other => Err(WireError::Kind(char::from(other))),
        }
    }

    fn note(
        &mut self,
        kind: u8,
        body: &[u8],
        whole: usize,
        flight: &mut Flight,
        now: Instant,
        emit: &mut impl FnMut(Kind<'_>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        match kind {
            b'D' => flight.carried(whole, emit)?,
            b'd' => {
                flight.carried(whole, emit)?;
                copied(body, body.len() + HEADER == whole, flight, emit)?;
            }
            b'C' => {
                let (tag, _) = cstring(body)
                    .filter(|(tag, _)| tag.len() < SHORT)
                    .ok_or(WireError::Body('C'))?;
                self.done(Reply::Done, tag, flight, now, emit)?;
            }
            b'I' | b's' => self.done(Reply::Done, b"", flight, now, emit)?,
            b'V' => {
                flight.count(whole);
                self.done(Reply::Returned, b"FUNCTION CALL", flight, now, emit)?;
            }
            b'E' => self.failed(body, flight, now, emit)?,
            b'Z' => flight.ready(emit)?,
            b'1' => flight.noted(Reply::Step(Step::Parse), emit)?,
            b'2' => flight.noted(Reply::Step(Step::Bind), emit)?,
            b'3' => flight.noted(Reply::Step(Step::Close), emit)?,
            b'T' | b'n' => flight.noted(Reply::Step(Step::Describe), emit)?,
            b'G' => flight.noted(Reply::CopyIn, emit)?,
            b'H' | b'W' => flight.noted(Reply::More, emit)?,
            b'c' => flight.copies.output.finish(emit)?,
            _ => {}
        }
        Ok(())
    }

    fn done(
        &mut self,
        reply: Reply,
        tag: &[u8],
        flight: &mut Flight,
        now: Instant,
        emit: &mut impl FnMut(Kind<'_>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        flight.copies.output.finish(emit)?;
        flight.done(reply, String::from_utf8_lossy(tag), rows(tag), now, emit)
    }

    fn failed(
        &mut self,
        body: &[u8],
        flight: &mut Flight,
        now: Instant,
        emit: &mut impl FnMut(Kind<'_>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let severity = field(body, b'V').or_else(|| field(body, b'S'));
        self.sent_fatal = matches!(severity, Some(b"FATAL" | b"PANIC"));
        // An error without SQLSTATE comes from things that only look like Postgres.
        let sqlstate = field(body, b'C')
            .and_then(|code| std::str::from_utf8(code).ok())
            .filter(|code| code.len() == 5);
        flight.copies.output.finish(emit)?;
        flight.failed(sqlstate.unwrap_or("XX000"), self.sent_fatal, now, emit)
    }
}

/// Data of a COPY came from the target: the last of a message, or a part of one.
fn copied(data: &[u8], last: bool, flight: &mut Flight, emit: Emit<'_>) -> Result<(), WireError> {
    let n = flight.current();
    flight.copies.output.take(n, data, last, emit)
}

/// The last word of a command tag, where it is a number: `INSERT 0 5`, `SELECT 3`, `COPY 9`.
fn rows(tag: &[u8]) -> u64 {
    let last =
        tag.rsplit(|byte| *byte == b' ').next().and_then(|word| std::str::from_utf8(word).ok());
    last.and_then(|word| word.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::flight::Awaited;
    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    /// Scans all bytes in pieces as a relay would, and returns what went on and what was noted.
    fn run(bytes: &[u8], piece: usize) -> Result<(Vec<u8>, Vec<String>), WireError> {
        let (mut backend, mut flight, now) =
            (Backend::default(), Flight::default(), Instant::now());
        flight.send(Awaited::Query, now);
        let (mut held, mut passed, mut noted) = (Vec::new(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            held.extend_from_slice(piece);
            let scanned = backend.scan(&held, &mut flight, now, &mut |kind| {
                noted.push(if let Kind::Done { tag, rows, bytes, .. } = &kind {
                    format!("{tag}/{rows}/{bytes}")
                } else if let Kind::Failed { sqlstate, .. } = &kind {
                    sqlstate.to_string()
                } else {
                    format!("{kind:?}")
                });
                Ok(())
            })?;
            passed.extend(held.drain(..scanned.clear));
        }
        Ok((passed, noted))
    }

    fn result_set(row: usize) -> Vec<u8> {
        [
            message(b'T', &[0; 30]),
            message(b'D', &vec![7; row]),
            message(b'D', &vec![8; row]),
            message(b'C', b"SELECT 2\0"),
            message(b'E', b"SERROR\0VERROR\0C57014\0Mcancelled\0\0"),
            message(b'Z', b"I"),
        ]
        .concat()
    }

    #[tokio::test]
    async fn outcomes_are_noted_however_the_bytes_come() {
        for row in [10, 70_000] {
            let bytes = result_set(row);
            let rows = format!("SELECT 2/2/{}", 2 * (row + 5));
            let noted = vec![rows, "57014".to_owned(), "Recovered".to_owned()];
            for piece in [1, 2, 7, 4096, bytes.len()] {
                assert_eq!(
                    run(&bytes, piece).unwrap(),
                    (bytes.clone(), noted.clone()),
                    "{row} {piece}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_small_message_is_never_let_through_in_part() {
        let row = message(b'D', &[1; 100]);
        let (passed, _) = run(&row[..row.len() - 1], 13).unwrap();
        assert!(passed.is_empty());
    }

    #[tokio::test]
    async fn what_no_target_sends_is_refused() {
        for bytes in [
            message(b'K', &[0; 8]),
            message(b'R', &[0; 4]),
            message(b'?', b""),
            message(b'C', &vec![b'x'; 70_000]),
            b"D\0\0\0\x03".to_vec(),
            b"D\x7f\xff\xff\xff".to_vec(),
        ] {
            assert!(run(&bytes, 9).is_err(), "{:?}", &bytes[..5]);
        }
    }

    #[tokio::test]
    async fn an_error_without_sqlstate_is_still_an_error() {
        let (_, noted) = run(&message(b'E', b"Moops\0\0"), 99).unwrap();
        assert_eq!(noted, ["XX000"]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_nothing_is_invented(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            piece in 1..50_usize,
        ) {
            if let Ok((passed, _)) = run(&bytes, piece) {
                prop_assert!(bytes.starts_with(&passed));
            }
        }
    }
}
