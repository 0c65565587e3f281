//! What the client says: statements are recorded whole before any byte of them goes on.
//!
//! A message that executes something is held until it is complete and recorded; one too large to be
//! held is recorded piece by piece, and its last byte goes on last (see [`Large`]). COPY data streams
//! through; what is kept of it is recorded first (see [`copies`](super::copies)).

use std::borrow::Cow;

use audit::{IndexSet, Kind, Masked, Mentions, Text, Value, mask};
use policies::Binds;
use tokio::time::Instant;

use super::backend::Scanned;
use super::copies::Keep;
use super::flight::{Awaited, Flight, Step};
use super::large::Large;
use super::prepared::Prepared;
use super::values::{formats, is_binary, is_secret, kept};
use super::wire::{HEADER, WireError, cstring, header};

/// A message up to this size is held and recorded in one piece.
pub(super) const WHOLE: usize = 256 * 1024;

/// The scanner of one session's frontend messages.
#[derive(Debug)]
pub(super) struct Frontend {
    keep: Keep,
    prepared: Prepared,
    /// The rest of a message that streams through.
    passing: Option<Large>,
    /// The client has ended the connection.
    pub(super) said_goodbye: bool,
}

impl Frontend {
    pub(super) fn new(keep: Keep) -> Self {
        Self { keep, prepared: Prepared::default(), passing: None, said_goodbye: false }
    }

    /// Whether the target's side stands between two messages.
    pub(super) fn at_boundary(&self) -> bool {
        self.passing.is_none()
    }

    /// Looks at the bytes and records what they execute. What it clears may go on once the recording
    /// stands.
    pub(super) fn scan(
        &mut self,
        bytes: &[u8],
        flight: &mut Flight,
        now: Instant,
        emit: &mut impl FnMut(Kind<'_>) -> Result<(), WireError>,
    ) -> Result<Scanned, WireError> {
        let scanned = self.scan_messages(bytes, flight, now, emit)?;
        flight.copies.input.flush(emit)?;
        Ok(scanned)
    }

    fn scan_messages(
        &mut self,
        bytes: &[u8],
        flight: &mut Flight,
        now: Instant,
        emit: &mut impl FnMut(Kind<'_>) -> Result<(), WireError>,
    ) -> Result<Scanned, WireError> {
        let mut clear = 0;
        self.prepared.settle(flight);
        loop {
            let rest = bytes.get(clear..).unwrap_or_default();
            if let Some(large) = &mut self.passing {
                if let Some((data, last)) = large.copied(rest) {
                    let n = flight.sent();
                    flight.copies.input.take(n, data, last, emit)?;
                }
                let prepared = &self.prepared;
                let secrets = |name: &[u8]| prepared.secrets(name, flight).cloned();
                clear += large.feed(rest, &secrets, emit)?;
                if !large.is_over() {
                    return Ok(Scanned { clear, need: 0 });
                }
                if let Some(text) = self.passing.take().and_then(Large::into_text) {
                    self.prepared.mentions(&text.mentions);
                    if let Some((name, params)) = text.parsed {
                        self.prepared.parsed(&name, params, flight);
                    }
                }
                continue;
            }
            if flight.is_full(emit)? {
                return Ok(Scanned { clear, need: 0 });
            }
            let Some((kind, whole)) = header(rest)? else {
                return Ok(Scanned { clear, need: 0 });
            };
            if kind != b'd' {
                // Data stands in the recording before what comes behind it.
                flight.copies.input.flush(emit)?;
            }
            if let Some(large) = self.begin(kind, whole, flight, now)? {
                self.passing = Some(large);
                continue;
            }
            let Some(message) = rest.get(..whole) else {
                return Ok(Scanned { clear, need: whole });
            };
            self.record(kind, message.get(HEADER..).unwrap_or_default(), flight, now, emit)?;
            clear += whole;
        }
    }

    /// Begins a message that isn't held: COPY data, or one beyond the limit.
    fn begin(
        &mut self,
        kind: u8,
        whole: usize,
        flight: &mut Flight,
        now: Instant,
    ) -> Result<Option<Large>, WireError> {
        Ok(match kind {
            b'd' => Some(Large::copy(whole)),
            _ if whole <= WHOLE => None,
            b'Q' => Some(Large::query(whole, flight.send(Awaited::Query, now))),
            b'P' => {
                flight.send(Awaited::Step(Step::Parse), now);
                Some(Large::parse(whole))
            }
            b'B' => {
                flight.send(Awaited::Step(Step::Bind), now);
                Some(Large::bind(whole, self.keep))
            }
            b'F' => Some(Large::call(whole, self.keep, flight.send(Awaited::Call, now))),
            kind => {
                let length = u32::try_from(whole).unwrap_or(u32::MAX);
                return Err(WireError::Length { kind: char::from(kind), length });
            }
        })
    }

    /// Records what executes something, or prepares it.
    fn record(
        &mut self,
        kind: u8,
        body: &[u8],
        flight: &mut Flight,
        now: Instant,
        emit: &mut impl FnMut(Kind<'_>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        let event = match kind {
            b'Q' => query(body, &mut self.prepared, flight, now),
            b'P' => parse(body, &mut self.prepared, flight, now),
            b'B' => bind(body, self.keep.binds, &self.prepared, flight, now),
            b'E' => execute(body, flight, now),
            b'F' => call(body, self.keep.binds, flight, now),
            _ => return self.follow(kind, body, flight, now, emit),
        };
        emit(event.ok_or(WireError::Body(char::from(kind)))?)
    }

    /// Follows what executes nothing itself.
    fn follow(
        &mut self,
        kind: u8,
        body: &[u8],
        flight: &mut Flight,
        now: Instant,
        emit: &mut impl FnMut(Kind<'_>) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        if let (b'C', [b'S', name @ .., 0]) = (kind, body) {
            self.prepared.closed(name);
        }
        let awaited = match kind {
            b'D' => Awaited::Step(Step::Describe),
            b'C' => Awaited::Step(Step::Close),
            b'c' => Awaited::CopyDone,
            b'f' => Awaited::CopyFail,
            b'S' | b'H' | b'X' if !body.is_empty() => {
                return Err(WireError::Body(char::from(kind)));
            }
            b'S' => Awaited::Sync,
            b'H' => return Ok(()),
            b'X' => {
                self.said_goodbye = true;
                return Ok(());
            }
            other => return Err(WireError::Kind(char::from(other))),
        };
        let n = flight.send(awaited, now);
        if awaited.ends_copy() { flight.copies.input.end(n, emit) } else { Ok(()) }
    }
}

fn query<'b>(
    body: &'b [u8],
    prepared: &mut Prepared,
    flight: &mut Flight,
    now: Instant,
) -> Option<Kind<'b>> {
    let (text, _) = cstring(body).filter(|(_, rest)| rest.is_empty())?;
    prepared.mentions(&Mentions::of(text));
    Some(Kind::Query { n: flight.send(Awaited::Query, now), text: masked(mask(text).text) })
}

fn parse<'b>(
    body: &'b [u8],
    prepared: &mut Prepared,
    flight: &mut Flight,
    now: Instant,
) -> Option<Kind<'b>> {
    let (statement, rest) = cstring(body)?;
    let (text, _) = cstring(rest)?;
    flight.send(Awaited::Step(Step::Parse), now);
    let Masked { text: shown, params } = mask(text);
    prepared.mentions(&Mentions::of(text));
    prepared.parsed(statement, params, flight);
    Some(Kind::Parse { statement: statement.into(), text: masked(shown) })
}

fn bind<'b>(
    body: &'b [u8],
    binds: Binds,
    prepared: &Prepared,
    flight: &mut Flight,
    now: Instant,
) -> Option<Kind<'b>> {
    let (portal, rest) = cstring(body)?;
    let (statement, rest) = cstring(rest)?;
    let (values, _) = values(rest, binds, prepared.secrets(statement, flight))?;
    flight.send(Awaited::Step(Step::Bind), now);
    Some(Kind::Bind { portal: portal.into(), statement: statement.into(), values: values.into() })
}

fn execute<'b>(body: &'b [u8], flight: &mut Flight, now: Instant) -> Option<Kind<'b>> {
    let (portal, rest) = cstring(body)?;
    let max_rows = u32::from_be_bytes(rest.try_into().ok()?);
    let n = flight.send(Awaited::Execute, now);
    Some(Kind::Execute { n, portal: portal.into(), max_rows })
}

fn call<'b>(body: &'b [u8], binds: Binds, flight: &mut Flight, now: Instant) -> Option<Kind<'b>> {
    let (function, rest) = body.split_first_chunk::<4>()?;
    let (values, _) = values(rest, binds, None)?;
    let n = flight.send(Awaited::Call, now);
    Some(Kind::Call { n, function: u32::from_be_bytes(*function), values: values.into() })
}

fn masked(text: Cow<'_, [u8]>) -> Text<'_> {
    match text {
        Cow::Borrowed(text) => text.into(),
        Cow::Owned(text) => text.into(),
    }
}

/// Format codes, then values: the part that Bind and FunctionCall share. What follows is returned.
fn values<'b>(
    bytes: &'b [u8],
    binds: Binds,
    secrets: Option<&IndexSet>,
) -> Option<(Vec<Value<'b>>, &'b [u8])> {
    let (formats, mut rest) = formats(bytes)?;
    let (count, tail) = rest.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_be_bytes(*count));
    rest = tail;
    // A count is worth four bytes of what is there at least.
    let mut values = Vec::with_capacity(count.min(rest.len() / 4));
    for index in 0..count {
        let (length, tail) = rest.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            values.push(Value::Null);
            rest = tail;
            continue;
        };
        let (value, tail) = tail.split_at_checked(length)?;
        let secret = is_secret(secrets, index);
        values.push(kept(value, is_binary(&formats, index), secret, binds));
        rest = tail;
    }
    Some((values, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    fn bind(values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = b"portal\0stmt\0\0\0".to_vec();
        body.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap());
            body.extend(length.to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        body.extend([0, 0]);
        message(b'B', &body)
    }

    /// Scans all bytes in pieces as a relay would. No byte goes on before what it is part of was
    /// recorded: noted by the events' JSON in order.
    fn run(bytes: &[u8], piece: usize, binds: Binds) -> Result<(Vec<u8>, Vec<String>), WireError> {
        let (mut frontend, mut flight, now) =
            (Frontend::new(binds.into()), Flight::default(), Instant::now());
        let (mut held, mut passed, mut noted) = (Vec::new(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            held.extend_from_slice(piece);
            let scanned = frontend.scan(&held, &mut flight, now, &mut |kind| {
                noted.push(serde_json::to_string(&kind).unwrap());
                Ok(())
            })?;
            passed.extend(held.drain(..scanned.clear));
        }
        Ok((passed, noted))
    }

    #[tokio::test]
    async fn statements_are_recorded_however_the_bytes_come() {
        let bytes = [
            message(b'Q', b"select 1\0"),
            message(b'P', b"stmt\0select $1\0\0\0"),
            bind(&[Some(b"one"), None, Some(b"password=secret host=x")]),
            message(b'D', b"Pportal\0"),
            message(b'E', b"portal\0\0\0\0\x07"),
            message(b'S', b""),
            message(b'd', b"1\tone\n"),
            message(b'c', b""),
            message(b'Q', b"alter role app password 'secret'\0"),
            message(b'X', b""),
        ]
        .concat();
        let expected = [
            r#"{"e":"query","n":1,"text":"select 1"}"#,
            r#"{"e":"parse","statement":"stmt","text":"select $1"}"#,
            r#"{"e":"bind","portal":"portal","statement":"stmt","values":["one",null,"password=*** host=x"]}"#,
            r#"{"e":"execute","n":2,"portal":"portal","max_rows":7}"#,
            r#"{"e":"data","of":"copy_in","n":2,"data":"1\tone\n"}"#,
            r#"{"e":"copy_in","n":2,"bytes":6,"sha256":"SHA"}"#,
            r#"{"e":"query","n":3,"text":"alter role app password '***'"}"#,
        ];
        for piece in [1, 2, 3, 100, bytes.len()] {
            let (passed, noted) = run(&bytes, piece, Binds::Keep).unwrap();
            let sha256 = audit::Digest::of(b"1\tone\n").to_string();
            let expected = expected.map(|event| event.replace("SHA", &sha256)).to_vec();
            assert_eq!((passed, noted), (bytes.clone(), expected));
        }
    }

    #[tokio::test]
    async fn values_are_hashed_or_left_out_as_the_target_says() {
        let bytes = bind(&[Some(b"secret")]);
        for (binds, expected) in [(Binds::Hash, "sha256"), (Binds::Omit, r#""omitted":6"#)] {
            let (_, noted) = run(&bytes, 9, binds).unwrap();
            assert!(noted[0].contains(expected) && !noted[0].contains("secret"), "{noted:?}");
        }
    }

    #[tokio::test]
    async fn an_incomplete_statement_does_not_go_on() {
        let query = message(b'Q', &[b'x'; 5000]);
        let (passed, noted) = run(&query[..5000], 999, Binds::Keep).unwrap();
        assert!(passed.is_empty() && noted.is_empty());
    }

    #[tokio::test]
    async fn what_no_client_sends_is_refused() {
        for bytes in [
            message(b'p', b"secret\0"),
            message(b'?', b""),
            message(b'Q', b"no end"),
            message(b'Q', b"one\0two\0"),
            message(b'E', b"portal\0\0"),
            message(b'B', b"p\0s\0\0\0\0\x05"),
            message(b'C', &vec![b'x'; WHOLE]),
            message(b'S', b"x"),
            message(b'H', b"x"),
            message(b'X', b"x"),
            b"Q\0\0\0\0".to_vec(),
            b"Q\x7f\xff\xff\xff".to_vec(),
        ] {
            assert!(run(&bytes, 11, Binds::Keep).is_err(), "{:?}", &bytes[..5]);
        }
    }

    #[tokio::test]
    async fn sixty_five_thousand_values_are_recorded() {
        let bytes = bind(&vec![Some(&b"1"[..]); 65_535]);
        let (passed, noted) = run(&bytes, 8192, Binds::Keep).unwrap();
        let kept: usize = noted.iter().map(|event| event.matches("\"1\"").count()).sum();
        assert_eq!((passed == bytes, kept), (true, 65_535));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_nothing_is_invented(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            piece in 1..60_usize,
        ) {
            if let Ok((passed, _)) = run(&bytes, piece, Binds::Keep) {
                prop_assert!(bytes.starts_with(&passed));
            }
        }

        #[test]
        fn no_bind_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = run(&message(b'B', &body), 50, Binds::Hash);
            let _ = run(&message(b'F', &body), 50, Binds::Keep);
        }
    }
}
