//! The values of statements: how they are encoded, which are secrets, and what the recording keeps of them.

use std::borrow::Cow;

use audit::{IndexSet, MAX_SECRET, Value, mask_secret, mask_value};
use policies::Binds;

/// The format codes, and what follows them.
pub(super) fn formats(bytes: &[u8]) -> Option<(Vec<bool>, &[u8])> {
    let (count, rest) = bytes.split_first_chunk::<2>()?;
    let (codes, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*count)) * 2)?;
    Some((codes.chunks_exact(2).map(|code| code != [0, 0]).collect(), rest))
}

/// No code means text for all; one means the same for all.
pub(super) fn is_binary(formats: &[bool], index: usize) -> bool {
    match formats {
        [] => false,
        [all] => *all,
        each => each.get(index).copied().unwrap_or(false),
    }
}

/// Whether the value of this index, from 0, is a secret.
pub(super) fn is_secret(secrets: Option<&IndexSet>, index: usize) -> bool {
    let number = index.checked_add(1).and_then(|number| u16::try_from(number).ok());
    secrets.zip(number).is_some_and(|(secrets, number)| secrets.contains(number))
}

/// What the recording keeps of a value. One that is too long for a secret has its digest still.
pub(super) fn kept(value: &[u8], binary: bool, secret: bool, binds: Binds) -> Value<'_> {
    match binds {
        Binds::Hash if !secret || value.len() > MAX_SECRET => Value::hashed(value),
        Binds::Omit => Value::omitted(value),
        Binds::Hash | Binds::Keep if secret => match String::from_utf8(mask_secret(value)) {
            Ok(masked) => Value::Text(masked.into()),
            Err(bytes) => Value::Bytes(bytes.into_bytes().into()),
        },
        Binds::Hash => Value::hashed(value),
        Binds::Keep if binary => Value::binary(value),
        Binds::Keep => match mask_value(value) {
            Cow::Borrowed(value) => Value::text(value),
            Cow::Owned(masked) => Value::Text(String::from_utf8_lossy(&masked).into_owned().into()),
        },
    }
}
