//! The values of statements: how they are encoded, which are secrets, and what the recording keeps of them.

use std::borrow::Cow;

use audit::{Digest, IndexSet, MAX_SECRET, Value, mask_secret, mask_value};
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

/// What the recording keeps of a value. No digest covers what may be a secret.
pub(super) fn kept(value: &[u8], binary: bool, secret: bool, binds: Binds) -> Value<'_> {
    match binds {
        Binds::Omit => Value::omitted(value),
        Binds::Hash if secret => hashed_secret(value),
        Binds::Hash => Value::hashed(value),
        Binds::Keep if secret => masked_secret(value),
        Binds::Keep if binary => Value::binary(value),
        Binds::Keep => match mask_value(value) {
            Cow::Borrowed(value) => Value::text(value),
            Cow::Owned(masked) => Value::Text(String::from_utf8_lossy(&masked).into_owned().into()),
        },
    }
}

fn masked_secret(value: &[u8]) -> Value<'static> {
    match String::from_utf8(mask_secret(value)) {
        Ok(masked) => Value::Text(masked.into()),
        Err(bytes) => Value::Bytes(bytes.into_bytes().into()),
    }
}

/// What is beyond the longest secret has a digest still.
fn hashed_secret(value: &[u8]) -> Value<'static> {
    match value.split_at_checked(MAX_SECRET) {
        Some((secret, beyond)) if !beyond.is_empty() => Value::Cut {
            first: mask_secret(secret).into(),
            sha256: Some(Digest::of(beyond)),
            from: secret.len() as u64,
            len: value.len() as u64,
        },
        _ => masked_secret(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_digest_covers_a_value_in_the_place_of_a_secret() {
        let secret =
            |length: usize| kept(&[b'x'; 3_000][..length], false, true, Binds::Hash).into_owned();
        for length in [0, 7, MAX_SECRET] {
            assert_eq!(secret(length), Value::Text("***".into()), "{length}");
        }
        for length in [MAX_SECRET + 1, 3_000] {
            let expected = Value::Cut {
                first: "***".into(),
                sha256: Some(Digest::of(&vec![b'x'; length - MAX_SECRET])),
                from: MAX_SECRET as u64,
                len: length as u64,
            };
            assert_eq!(secret(length), expected);
        }
    }
}
