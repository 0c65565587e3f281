//! The events of a recording, as they stand in its frames.
//!
//! Borrowed when written, so that a statement goes from the network buffer into the frame with no
//! copy between; owned when read. Text and values are lossless: bytes that aren't UTF-8 are kept as
//! base64.

use std::borrow::Cow;

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::chain::Digest;
use crate::ssh::Ssh;

/// The most bytes of text in one `query_part` or `parse_part`: whatever they are, escaped they fit
/// into one frame.
pub const PART_BYTES: usize = 512 * 1024;

/// One thing that happened in a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event<'a> {
    /// Microseconds since the session started.
    pub t: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: Kind<'a>,
}

/// What happened: the `e` of an event, and its fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Kind<'a> {
    /// The session began: always the first event.
    Start(Box<Start<'a>>),
    /// A simple query.
    Query {
        /// The number of this execution.
        n: u64,
        /// Its text.
        text: Text<'a>,
    },
    /// A piece of a simple query too large to be held.
    QueryPart {
        /// The number of this execution.
        n: u64,
        /// The piece.
        text: Text<'a>,
        /// Whether this is the last piece.
        last: bool,
    },
    /// A statement was prepared.
    Parse {
        /// Its name; the unnamed statement is empty.
        statement: Text<'a>,
        /// Its text.
        text: Text<'a>,
    },
    /// A piece of a prepared statement too large to be held.
    ParsePart {
        /// Its name.
        statement: Text<'a>,
        /// The piece.
        text: Text<'a>,
        /// Whether this is the last piece.
        last: bool,
    },
    /// A prepared statement was bound to values.
    Bind {
        /// The portal made; the unnamed portal is empty.
        portal: Text<'a>,
        /// The prepared statement.
        statement: Text<'a>,
        /// The values, in order.
        values: Cow<'a, [Value<'a>]>,
    },
    /// Some of the values of a bind too large for one frame.
    BindPart {
        /// The portal made.
        portal: Text<'a>,
        /// The prepared statement.
        statement: Text<'a>,
        /// The next values, in order.
        values: Cow<'a, [Value<'a>]>,
        /// Whether these are the last.
        last: bool,
    },
    /// A portal was executed.
    Execute {
        /// The number of this execution.
        n: u64,
        /// The portal.
        portal: Text<'a>,
        /// The most rows asked for; 0 is all.
        max_rows: u32,
    },
    /// A function was called by its object id (FunctionCall).
    Call {
        /// The number of this execution.
        n: u64,
        /// The object id of the function.
        function: u32,
        /// The arguments, in order.
        values: Cow<'a, [Value<'a>]>,
    },
    /// The client sent data for a `COPY … FROM STDIN`; several add up.
    CopyIn {
        /// The execution it belongs to.
        n: u64,
        /// Bytes of data.
        bytes: u64,
        /// SHA-256 of the data from byte `from` on; none where there is nothing to digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Digest>,
        /// Where the digested part begins: behind the last secret that was masked.
        #[serde(default, skip_serializing_if = "is_zero")]
        from: u64,
    },
    /// The target sent data of a `COPY … TO STDOUT`; several add up.
    CopyOut {
        /// The execution it belongs to; 0 where that isn't known.
        n: u64,
        /// Bytes of data.
        bytes: u64,
        /// SHA-256 of the data from byte `from` on; none where there is nothing to digest.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<Digest>,
        /// Where the digested part begins: behind the last secret that was masked.
        #[serde(default, skip_serializing_if = "is_zero")]
        from: u64,
    },
    /// A piece of data that is kept as it was sent. The pieces of one stream follow each other.
    Data {
        /// What it is a piece of.
        of: Source,
        /// The execution it belongs to; of a value, its place in the `bind_part` or `call` that
        /// comes next, from 1.
        n: u64,
        /// The piece.
        data: Text<'a>,
    },
    /// A statement was answered.
    Done {
        /// The execution it belongs to; 0 where that isn't known (see `unknown`).
        n: u64,
        /// The command tag; empty for an empty query or a portal suspended at its row limit.
        tag: Cow<'a, str>,
        /// Rows returned or changed.
        rows: u64,
        /// Bytes of the answer.
        bytes: u64,
        /// Microseconds from the statement to its answer.
        micros: u64,
    },
    /// A statement was refused by the target.
    Failed {
        /// The execution it belongs to; 0 where it belongs to none, as when a lone Parse is
        /// refused, or where that isn't known (see `unknown`).
        n: u64,
        /// The SQLSTATE.
        sqlstate: Cow<'a, str>,
        /// Bytes of the answer.
        bytes: u64,
        /// Microseconds from the statement to its answer.
        micros: u64,
    },
    /// An answer came that may belong to any of these executions, so their outcomes are not known.
    Unknown {
        /// The first of them.
        from: u64,
        /// The last of them; none where all that follow in this session are meant.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
    },
    /// The target is ready again after a failure: what was sent between the failure and here may have
    /// been skipped.
    Recovered,
    /// Something happened in an SSH session.
    Ssh(Ssh<'a>),
    /// The session ended: always the last event.
    End(End<'a>),
}

/// Who opened the session, to what, by which grant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start<'a> {
    /// The session's id: also the seed of the chain.
    pub session: Cow<'a, str>,
    /// The id of the principal.
    pub principal: Cow<'a, str>,
    /// The principal's name for display.
    pub name: Cow<'a, str>,
    /// How the principal was authenticated.
    pub authn: Cow<'a, str>,
    /// When, in RFC 3339.
    pub authn_at: Cow<'a, str>,
    /// The id of the grant.
    pub grant: Cow<'a, str>,
    /// The name of the target.
    pub target: Cow<'a, str>,
    /// The kind of target: `postgres` or `ssh`.
    pub kind: Cow<'a, str>,
    /// The upstream account.
    pub login: Cow<'a, str>,
    /// The database; empty where the target has none.
    pub database: Cow<'a, str>,
    /// The client's address.
    pub client: Cow<'a, str>,
    /// What the client calls itself.
    pub application: Cow<'a, str>,
    /// When the session began, in RFC 3339.
    pub at: Cow<'a, str>,
    /// The proxy that carried it.
    pub proxy: Cow<'a, str>,
}

/// Why and when the session ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End<'a> {
    /// The kind of end: `closed`, `expired`, `revoked`, `done`, `locked`, `policy`, `drained`,
    /// `recorder-failed`, `recording-full`, `upstream-lost`, `protocol-error` …
    pub end: Cow<'a, str>,
    /// The reason in words; may be empty.
    pub reason: Cow<'a, str>,
    /// Bytes from the client.
    pub bytes_in: u64,
    /// Bytes to the client.
    pub bytes_out: u64,
    /// When, in RFC 3339.
    pub at: Cow<'a, str>,
}

/// What kept data is a piece of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Data of the client for a `COPY … FROM STDIN`.
    CopyIn,
    /// Data of the target from a `COPY … TO STDOUT`.
    CopyOut,
    /// A long value of a Bind or FunctionCall.
    Value,
}

/// Text as the client sent it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Text<'a> {
    /// It is UTF-8.
    Utf8(Cow<'a, str>),
    /// It is not.
    Bytes(Cow<'a, [u8]>),
}

/// A value bound to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value<'a> {
    /// SQL NULL.
    Null,
    /// The text of a value.
    Text(Cow<'a, str>),
    /// A value in binary format, or text that is not UTF-8.
    Bytes(Cow<'a, [u8]>),
    /// A value kept as a digest only.
    Hashed {
        /// SHA-256 of its bytes.
        sha256: Digest,
        /// Its length in bytes.
        len: u64,
    },
    /// A long value, of which the first bytes and a digest are kept.
    Cut {
        /// The first bytes, masked.
        first: Text<'a>,
        /// SHA-256 of the value from byte `from` on; none where there is nothing to digest.
        sha256: Option<Digest>,
        /// Where the digested part begins: behind the last secret that was masked.
        from: u64,
        /// Its length in bytes.
        len: u64,
    },
    /// A value left out; its length in bytes.
    Omitted(u64),
}

impl Text<'_> {
    /// The bytes as they were sent.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Utf8(text) => text.as_bytes(),
            Text::Bytes(bytes) => bytes,
        }
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Text<'static> {
        match self {
            Text::Utf8(text) => Text::Utf8(Cow::Owned(text.into_owned())),
            Text::Bytes(bytes) => Text::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }
}

impl<'a> From<&'a [u8]> for Text<'a> {
    fn from(bytes: &'a [u8]) -> Text<'a> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Text::Utf8(Cow::Borrowed(text)),
            Err(_) => Text::Bytes(Cow::Borrowed(bytes)),
        }
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Text<'a> {
        Text::Utf8(Cow::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Text::Utf8(Cow::Owned(text))
    }
}

impl From<Vec<u8>> for Text<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Text::Utf8(Cow::Owned(text)),
            Err(not_utf8) => Text::Bytes(Cow::Owned(not_utf8.into_bytes())),
        }
    }
}

impl<'a> Value<'a> {
    /// A value in text format.
    pub fn text(bytes: &'a [u8]) -> Value<'a> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(Cow::Borrowed(text)),
            Err(_) => Value::Bytes(Cow::Borrowed(bytes)),
        }
    }

    /// A value in binary format.
    pub fn binary(bytes: &'a [u8]) -> Value<'a> {
        Value::Bytes(Cow::Borrowed(bytes))
    }

    /// A value of which only the digest and the length are kept. A value that can be guessed can be
    /// recognised.
    pub fn hashed(bytes: &[u8]) -> Value<'static> {
        Value::Hashed { sha256: Digest::of(bytes), len: len(bytes) }
    }

    /// A value of which only the length is kept.
    pub fn omitted(bytes: &[u8]) -> Value<'static> {
        Value::Omitted(len(bytes))
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Text(text) => Value::Text(text.into_owned().into()),
            Value::Bytes(bytes) => Value::Bytes(bytes.into_owned().into()),
            Value::Hashed { sha256, len } => Value::Hashed { sha256, len },
            Value::Cut { first, sha256, from, len } => {
                Value::Cut { first: first.into_owned(), sha256, from, len }
            }
            Value::Omitted(len) => Value::Omitted(len),
        }
    }
}

/// For serde, which hands out references.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Serialize for Text<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Text::Utf8(text) => serializer.serialize_str(text),
            Text::Bytes(bytes) => base64(bytes, serializer),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => base64(bytes, serializer),
            Value::Hashed { sha256, len } => {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("sha256", sha256)?;
                map.serialize_entry("len", len)?;
                map.end()
            }
            Value::Cut { first, sha256, from, len } => {
                let mut map = serializer.serialize_map(None)?;
                map.serialize_entry("first", first)?;
                if let Some(sha256) = sha256 {
                    map.serialize_entry("sha256", sha256)?;
                }
                if *from > 0 {
                    map.serialize_entry("from", from)?;
                }
                map.serialize_entry("len", len)?;
                map.end()
            }
            Value::Omitted(len) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("omitted", len)?;
                map.end()
            }
        }
    }
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(1))?;
    map.serialize_entry("base64", &AsBase64(bytes))?;
    map.end()
}

/// Bytes that serialise as base64 with no string between.
struct AsBase64<'a>(&'a [u8]);

impl Serialize for AsBase64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}

/// Text or a value as JSON has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    Null(()),
    Text(String),
    Bytes { base64: String },
    Cut(StoredCut),
    Hashed { sha256: Digest, len: u64 },
    Omitted { omitted: u64 },
}

/// A long value as JSON has it.
#[derive(Deserialize)]
struct StoredCut {
    first: Text<'static>,
    #[serde(default)]
    sha256: Option<Digest>,
    #[serde(default)]
    from: u64,
    len: u64,
}

impl<'de> Deserialize<'de> for Text<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Stored::deserialize(deserializer)? {
            Stored::Text(text) => Ok(Text::Utf8(Cow::Owned(text))),
            Stored::Bytes { base64 } => decode(&base64).map(Text::from),
            Stored::Null(()) | Stored::Cut(_) | Stored::Hashed { .. } | Stored::Omitted { .. } => {
                Err(de::Error::custom("text is a string or base64"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Stored::deserialize(deserializer)? {
            Stored::Null(()) => Value::Null,
            Stored::Text(text) => Value::Text(Cow::Owned(text)),
            Stored::Bytes { base64 } => Value::Bytes(Cow::Owned(decode(&base64)?)),
            Stored::Cut(StoredCut { first, sha256, from, len }) => {
                Value::Cut { first, sha256, from, len }
            }
            Stored::Hashed { sha256, len } => Value::Hashed { sha256, len },
            Stored::Omitted { omitted } => Value::Omitted(omitted),
        })
    }
}

fn decode<E: de::Error>(base64: &str) -> Result<Vec<u8>, E> {
    STANDARD.decode(base64).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: Kind<'_>) -> Event<'_> {
        Event { t: 7, kind }
    }

    #[test]
    fn events_have_the_json_that_the_format_promises() {
        let values = [
            Value::Null,
            Value::text(b"it's"),
            Value::binary(&[0, 255]),
            Value::Hashed { sha256: Digest([0xab; 32]), len: 3 },
            Value::omitted(b"four"),
            Value::Cut { first: "begin".into(), sha256: Some(Digest([0xab; 32])), from: 5, len: 9 },
            Value::Cut { first: Text::from(&b"\xff"[..]), sha256: None, from: 0, len: 1 },
        ];
        let bind =
            Kind::Bind { portal: "".into(), statement: "s".into(), values: Cow::Borrowed(&values) };
        let hex = "ab".repeat(32);
        let cases = [
            (
                Kind::Query { n: 1, text: "select\n1".into() },
                r#"{"t":7,"e":"query","n":1,"text":"select\n1"}"#.to_owned(),
            ),
            (
                Kind::QueryPart { n: 1, text: Text::from(&b"\xff"[..]), last: true },
                r#"{"t":7,"e":"query_part","n":1,"text":{"base64":"/w=="},"last":true}"#.to_owned(),
            ),
            (
                bind,
                format!(
                    r#"{{"t":7,"e":"bind","portal":"","statement":"s","values":[null,"it's",{{"base64":"AP8="}},{{"sha256":"{hex}","len":3}},{{"omitted":4}},{{"first":"begin","sha256":"{hex}","from":5,"len":9}},{{"first":{{"base64":"/w=="}},"len":1}}]}}"#
                ),
            ),
            (
                Kind::Failed { n: 0, sqlstate: "42601".into(), bytes: 9, micros: 5 },
                r#"{"t":7,"e":"failed","n":0,"sqlstate":"42601","bytes":9,"micros":5}"#.to_owned(),
            ),
            (Kind::Recovered, r#"{"t":7,"e":"recovered"}"#.to_owned()),
            (
                Kind::CopyIn { n: 1, bytes: 2, sha256: None, from: 0 },
                r#"{"t":7,"e":"copy_in","n":1,"bytes":2}"#.to_owned(),
            ),
            (
                Kind::CopyOut { n: 1, bytes: 2, sha256: Some(Digest([0xab; 32])), from: 1 },
                format!(r#"{{"t":7,"e":"copy_out","n":1,"bytes":2,"sha256":"{hex}","from":1}}"#),
            ),
            (
                Kind::Data { of: Source::CopyIn, n: 1, data: "a\tb".into() },
                r#"{"t":7,"e":"data","of":"copy_in","n":1,"data":"a\tb"}"#.to_owned(),
            ),
            (
                Kind::Unknown { from: 2, to: Some(3) },
                r#"{"t":7,"e":"unknown","from":2,"to":3}"#.to_owned(),
            ),
            (Kind::Unknown { from: 2, to: None }, r#"{"t":7,"e":"unknown","from":2}"#.to_owned()),
        ];
        for (kind, json) in cases {
            let event = event(kind);
            assert_eq!(serde_json::to_string(&event).unwrap(), json);
            assert_eq!(serde_json::from_str::<Event<'_>>(&json).unwrap(), event);
        }
    }

    #[test]
    fn start_and_end_carry_their_fields_beside_the_kind() {
        let start =
            event(Kind::Start(Box::new(Start { session: "s1".into(), ..Start::default() })));
        let json = serde_json::to_string(&start).unwrap();
        assert!(json.starts_with(r#"{"t":7,"e":"start","session":"s1","principal":"""#), "{json}");
        assert_eq!(serde_json::from_str::<Event<'static>>(&json).unwrap(), start);
        let end = event(Kind::End(End { end: "closed".into(), ..End::default() }));
        let json = serde_json::to_string(&end).unwrap();
        assert_eq!(
            json,
            r#"{"t":7,"e":"end","end":"closed","reason":"","bytes_in":0,"bytes_out":0,"at":""}"#
        );
        assert_eq!(serde_json::from_str::<Event<'static>>(&json).unwrap(), end);
    }

    #[test]
    fn unknown_fields_are_ignored_and_unknown_kinds_are_not() {
        let known = r#"{"t":1,"e":"copy_in","n":1,"bytes":2,"later":[1]}"#;
        assert!(serde_json::from_str::<Event<'static>>(known).is_ok());
        assert!(serde_json::from_str::<Event<'static>>(r#"{"t":1,"e":"later"}"#).is_err());
    }
}
