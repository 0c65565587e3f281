//! Keeping secrets out of recordings, logs and notifications: masking of SQL text and bind values.
//!
//! The content of a secret is replaced by `***`; its quotes stay. Masked are
//!
//! - the literal behind the name of a secret (`PASSWORD 'x'`, `IDENTIFIED BY 'x'`, `password =
//!   crypt('x', …)`, `OPTIONS (password 'x')`), also in bodies of code, with comments between, in
//!   any spelling of a literal;
//! - within literals and comments: `password=x` and `password = 'x'` of connection strings,
//!   `"password": "x"` of JSON, `user:x@` and `password=x` of URIs, and `PASSWORD ''x''` of SQL in
//!   SQL;
//! - the further literals of a call, where one names a secret without its value (`format('…
//!   PASSWORD %L', 'x')`).
//!
//! Which literal is a secret is guessed generously; where one ends never is. From the first place on
//! that the target may read in another way (a backslash before a quote, a tag beyond ASCII), and
//! behind 1 KiB of one secret, all is kept: evidence comes before secrecy, so a secret with such
//! bytes may show.
//!
//! Not masked is what only the target can know to be a secret: a value whose name says nothing, the
//! columns of a COPY, a name spelled with numeric escapes (`E'p\x61ssword=x'`).
//!
//! Masked is what bears a secret's name though it is run later: a string of SQL, as in `DO $$ …
//! password := 'drop table x'; execute password; … $$` or `dblink_exec('password', 'drop table x')`,
//! and code in bodies of other languages than SQL where it looks like that. The recording then shows
//! that it was run and how it was named, but not the string.

use std::borrow::Cow;

mod content;
mod dollar;
mod lexer;
mod words;

pub use lexer::Masker;

use content::{Content, Spelling};

/// What any name of a secret, or a URI with one, contains; lower case.
const SUSPICIOUS: [&[u8]; 8] =
    [b"pass", b"pw", b"identified", b"secret", b"access_key", b"api_key", b"apikey", b"://"];

/// SQL text without its secrets; borrowed where there are none.
pub fn mask(text: &[u8]) -> Cow<'_, [u8]> {
    if !is_suspicious(text) && !is_suspicious(&without_backslashes(text)) {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    Masker::default().feed(text, true, &mut out);
    unchanged_or(text, out)
}

/// A bind value, in text format, without the secrets of a connection string or URI; borrowed where
/// there are none.
pub fn mask_value(value: &[u8]) -> Cow<'_, [u8]> {
    if !is_suspicious(value) {
        return Cow::Borrowed(value);
    }
    let mut out = Vec::with_capacity(value.len());
    let mut content = Content::default();
    for byte in value {
        content.step(*byte, Spelling::plain(*byte), &mut out);
    }
    content.end(&mut out);
    unchanged_or(value, out)
}

fn unchanged_or(text: &[u8], out: Vec<u8>) -> Cow<'_, [u8]> {
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// A name of a secret may be spelled with backslashes that mean nothing: `E'pa\ssword=x'`.
fn without_backslashes(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'\\') {
        return Cow::Borrowed(&[]);
    }
    Cow::Owned(text.iter().copied().filter(|byte| *byte != b'\\').collect())
}

/// Whether there may be a secret: a quick look for what every rule needs.
fn is_suspicious(text: &[u8]) -> bool {
    let mut pairs = text.windows(2).enumerate();
    pairs.any(|(at, pair)| may_begin(pair) && text.get(at..).is_some_and(begins_suspicious))
}

/// Whether a word of [`SUSPICIOUS`] may begin with these two bytes: most text never asks more.
fn may_begin(pair: &[u8]) -> bool {
    let &[first, second] = pair else { return false };
    // The bit that makes a letter lower case is set in `:` and `/` already.
    matches!(
        (first | 0x20, second | 0x20),
        (b'p', b'a' | b'w') | (b'i', b'd') | (b's', b'e') | (b'a', b'c' | b'p') | (b':', b'/')
    )
}

fn begins_suspicious(text: &[u8]) -> bool {
    SUSPICIOUS.iter().any(|word| starts_with(text, word))
}

fn starts_with(text: &[u8], word: &[u8]) -> bool {
    text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word))
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
