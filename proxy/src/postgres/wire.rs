//! Postgres messages (PostgreSQL documentation, chapter "Frontend/Backend Protocol").
//!
//! What we make is encoded by `pgwire`. What comes in is only looked at: a message is a type byte, a
//! length that counts itself, and a body that is read where it lies. A length is bounded before
//! it is believed.

use std::borrow::Cow;

use audit::Kind;
use bytes::{BufMut, Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::response::{ErrorResponse, NoticeResponse};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Where the events of a recording go.
pub(super) type Emit<'a> = &'a mut dyn FnMut(Kind<'_>) -> Result<(), WireError>;

/// Bytes of a message's type and length.
pub(super) const HEADER: usize = 5;
/// The largest message that Postgres itself would make or take: one gigabyte.
const LARGEST: u32 = 0x4000_0000;

/// Why bytes are no message.
#[derive(Debug, Error)]
pub(super) enum WireError {
    /// The length contradicts the protocol, or what is sensible here.
    #[error("a message of type {kind:?} claims {length} bytes")]
    Length { kind: char, length: u32 },
    /// A message of that type has no place here.
    #[error("a message of type {0:?} has no place here")]
    Kind(char),
    /// The body is not what its type promises.
    #[error("a message of type {0:?} is malformed")]
    Body(char),
    /// The other side is gone, or the connection broke.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Type and whole length, header included, of the message that begins here; none where the header
/// isn't complete.
pub(super) fn header(bytes: &[u8]) -> Result<Option<(u8, usize)>, WireError> {
    let Some((head, _)) = bytes.split_first_chunk::<HEADER>() else {
        return Ok(None);
    };
    let [kind, a, b, c, d] = *head;
    let length = u32::from_be_bytes([a, b, c, d]);
    if !(4..=LARGEST).contains(&length) {
        return Err(WireError::Length { kind: char::from(kind), length });
    }
    Ok(Some((kind, length as usize + 1)))
}

/// Reads one message, of at most `limit` bytes, with its header.
pub(super) async fn read_message<S: AsyncRead + Unpin>(
    stream: &mut S,
    limit: usize,
) -> Result<Bytes, WireError> {
    let mut head = [0; HEADER];
    stream.read_exact(&mut head).await?;
    let kind = char::from(head[0]);
    let (_, whole) = header(&head)?.ok_or(WireError::Body(kind))?;
    if whole > limit {
        let length = u32::try_from(whole).unwrap_or(u32::MAX);
        return Err(WireError::Length { kind, length });
    }
    let mut message = BytesMut::zeroed(whole);
    let (front, body) = message.split_at_mut(HEADER);
    front.copy_from_slice(&head);
    stream.read_exact(body).await?;
    Ok(message.freeze())
}

/// The text up to the first NUL, and what follows it.
pub(super) fn cstring(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (text, rest) = bytes.split_at(end);
    Some((text, rest.get(1..)?))
}

/// The field of an ErrorResponse or NoticeResponse body, as far as the body is here.
pub(super) fn field(mut body: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some((&kind, rest)) = body.split_first().filter(|(kind, _)| **kind != 0) {
        let (value, rest) = cstring(rest)?;
        if kind == wanted {
            return Some(value);
        }
        body = rest;
    }
    None
}

/// Appends a message that we make. Ours can't fail to encode; if one did, it would be left out.
pub(super) fn put<M: Message>(out: &mut BytesMut, message: &M) {
    let before = out.len();
    if let Err(error) = message.encode(out) {
        tracing::error!(%error, "a message of ours could not be encoded");
        out.truncate(before);
    }
}

/// A refusal or a cut, as Postgres says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fatal {
    pub(super) sqlstate: Cow<'static, str>,
    pub(super) message: String,
    pub(super) detail: Option<String>,
    pub(super) hint: Option<String>,
}

impl Fatal {
    pub(super) fn new(sqlstate: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { sqlstate: sqlstate.into(), message: message.into(), detail: None, hint: None }
    }

    pub(super) fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into()).filter(|detail: &String| !detail.is_empty());
        self
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint: &String| !hint.is_empty());
        self
    }

    /// Appends it as an ErrorResponse of severity FATAL.
    pub(super) fn put(&self, out: &mut BytesMut) {
        let mut fields = vec![
            (b'S', "FATAL".to_owned()),
            (b'V', "FATAL".to_owned()),
            (b'C', self.sqlstate.clone().into_owned()),
            (b'M', printable(&format!("postern: {}", self.message))),
        ];
        fields.extend(self.detail.iter().map(|detail| (b'D', printable(detail))));
        fields.extend(self.hint.iter().map(|hint| (b'H', printable(hint))));
        put(out, &ErrorResponse::new(fields));
    }
}

/// Appends a notice, which psql prints at once.
pub(super) fn put_notice(out: &mut BytesMut, text: &str) {
    let fields = vec![
        (b'S', "NOTICE".to_owned()),
        (b'V', "NOTICE".to_owned()),
        (b'C', "00000".to_owned()),
        (b'M', printable(&format!("postern: {text}"))),
    ];
    put(out, &NoticeResponse::new(fields));
}

/// Text for a terminal: control characters could end the field or drive the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Appends a raw message.
pub(super) fn put_raw(out: &mut BytesMut, kind: u8, body: &[u8]) {
    out.put_u8(kind);
    out.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    out.put_slice(body);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_length_is_bounded_before_it_is_believed() {
        for length in [0, 3, 0x4000_0001, 0x7fff_ffff, 0xffff_ffff_u32] {
            let mut bytes = vec![b'Q'];
            bytes.extend(length.to_be_bytes());
            assert!(header(&bytes).is_err(), "{length}");
        }
        assert_eq!(header(b"Q\0\0\0\x04").unwrap(), Some((b'Q', 5)));
        assert_eq!(header(b"Q\0\0\0").unwrap(), None);
    }

    #[tokio::test]
    async fn a_message_beyond_the_limit_is_refused_from_its_header_alone() {
        let mut stream: &[u8] = b"p\0\x01\0\0";
        assert!(matches!(read_message(&mut stream, 1000).await, Err(WireError::Length { .. })));
    }

    #[test]
    fn a_fatal_carries_its_fields_and_no_control_characters() {
        let mut out = BytesMut::new();
        Fatal::new("57P01", "revoked\u{1b}[2J\0").detail("why").hint("ask").put(&mut out);
        let body = &out[HEADER..];
        assert_eq!(field(body, b'C'), Some(&b"57P01"[..]));
        assert_eq!(field(body, b'H'), Some(&b"ask"[..]));
        let message = String::from_utf8(field(body, b'M').unwrap().to_vec()).unwrap();
        assert_eq!(message, "postern: revoked\u{fffd}[2J\u{fffd}");
        assert_eq!(header(&out).unwrap(), Some((b'E', out.len())));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), wanted in any::<u8>()) {
            let _ = header(&bytes);
            let _ = field(&bytes, wanted);
            let _ = cstring(&bytes);
        }
    }
}
