//! Keeping secrets out of recordings, logs and notifications: masking of SQL text and bind values.
//!
//! The content of a secret is replaced by `***`; its quotes stay. What is executed is never hidden, so
//! only **literals** are masked (`'…'`, `E'…'`, `U&'…'`, `N'…'`, `$$…$$`), never a name, a keyword or
//! an operator, in quotes or not. Masked are
//!
//! - literals in places of SQL's grammar that hold secrets (`grammar.rs` lists them): `PASSWORD '…'`
//!   of a role, the value of a column, setting, option, argument or JSON key whose name is that of a
//!   secret (`vocabulary.rs` lists the names), keys of pgcrypto's functions;
//! - within connection strings (`CONNECTION '…'`, dblink): their passwords, by libpq's rules;
//! - within other literals, comments and values: `password=x`, `"token": "x"`, `user:x@` of URIs,
//!   `Bearer x`, well-known tokens (`ghp_…`), as long as the secret is one word (`content.rs`).
//!
//! A literal that is executed stays visible: the body of DO or of a function, the SQL of EXECUTE, of
//! `format`, of `query_to_xml` and of dblink. It is read by the same rules, up to three deep, so that
//! `ALTER ROLE x PASSWORD '…'` within a body loses just that inner literal. What follows PROGRAM, and
//! TO and FROM of COPY, stays as it is.
//!
//! Text is followed with bounded memory however long it is. Evidence comes before secrecy, so a
//! secret may show
//!
//! - from the first place on that the target may read in another way: a backslash before a quote, a
//!   tag beyond ASCII, and in SQL within a literal any escape of more than one character;
//! - behind 1 KiB of one secret, and in parentheses more than 128 deep;
//! - in a body in another language than SQL and PL/pgSQL, or one where that isn't known within 64 KiB,
//!   by `LANGUAGE` or by the end of the statement;
//! - as the argument of a function that isn't known, which may run it;
//! - as the value of a variable of PL/pgSQL, which EXECUTE may run;
//! - in SQL that is put together from parts other than literals, `quote_literal` and `quote_ident`;
//! - where nothing says that it is one: a literal without the name of a secret before it (`INSERT`
//!   without columns, `'x' = password`, `'x' AS password`), the data of a COPY, the arguments of
//!   `EXECUTE name (…)`, a name spelled with numeric escapes.
//!
//! What a masked literal holds is hidden wherever the statement sends it: a trigger, a function of
//! that name, or later SQL that reads the column may run it.

use std::borrow::Cow;

mod chars;
mod content;
mod grammar;
mod index_set;
mod layer;
mod masker;
mod vocabulary;

pub use index_set::IndexSet;
pub use masker::Masker;

use chars::Char;
use content::{Content, MASKED};
use vocabulary::is_suspicious;

/// The most bytes that are left out as one secret: no password is longer, so what follows is not
/// lost.
pub const MAX_SECRET: usize = 1024;

/// A statement without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked<'a> {
    /// The text; borrowed where there are no secrets in it.
    pub text: Cow<'a, [u8]>,
    /// The numbers of the parameters (`$1` …) that stand in the place of secrets.
    pub params: IndexSet,
}

/// SQL text without its secrets.
pub fn mask(text: &[u8]) -> Masked<'_> {
    if !is_suspicious(text) && !is_suspicious(&without_backslashes(text)) {
        return Masked { text: Cow::Borrowed(text), params: IndexSet::default() };
    }
    let mut out = Vec::with_capacity(text.len());
    let mut masker = Masker::default();
    masker.feed(text, true, &mut out);
    Masked { text: unchanged_or(text, out), params: masker.take_params() }
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
        content.step(Char::plain(*byte), &mut out);
    }
    content.end(&mut out);
    unchanged_or(value, out)
}

/// A bind value, in any format, that is a secret: as of a literal, what is beyond 1 KiB stays.
pub fn mask_secret(value: &[u8]) -> Vec<u8> {
    [MASKED, value.get(MAX_SECRET..).unwrap_or_default()].concat()
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

#[cfg(test)]
#[path = "mask_properties.rs"]
mod properties;
#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
