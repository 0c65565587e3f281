//! The hash chain: each frame's head binds its bytes to every byte before it.
//!
//! The chain starts from the session's id, so that a frame of one recording never fits into
//! another. It keeps 32 bytes of state and allocates nothing.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// The first bytes of every recording: the format and its version.
pub const MAGIC: [u8; 8] = *b"POSTERN1";

/// The largest payload of one frame, in bytes.
pub const MAX_PAYLOAD: usize = 4 * 1024 * 1024;

/// What a session id is prefixed with to make the head before the first frame.
const SEED: &[u8] = b"postern recording v1\0";

/// Bytes of the length field before each payload.
pub(crate) const LENGTH_BYTES: usize = 4;

/// Bytes of a head.
pub(crate) const HEAD_BYTES: usize = 32;

/// A SHA-256 digest, shown as lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; HEAD_BYTES]);

/// The digest that stands for a recording up to and including one frame.
pub type Head = Digest;

/// The text is not 64 hexadecimal digits.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a digest is 64 hexadecimal digits")]
pub struct NotADigest;

/// A payload that can't be a frame.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// A frame has at least one event.
    #[error("a frame can't be empty")]
    Empty,
    /// The payload is larger than [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes is too large")]
    TooLarge(usize),
}

/// The running head of one recording.
#[derive(Debug, Clone)]
pub struct Chain {
    head: Head,
}

impl Chain {
    /// The chain of a recording before its first frame.
    pub fn new(session_id: &str) -> Chain {
        let seed = Sha256::new().chain_update(SEED).chain_update(session_id);
        Chain { head: Digest(seed.finalize().into()) }
    }

    /// The head after the last frame.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Appends `payload` to `out` as a whole frame.
    pub fn seal(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
        let length = frame_length(payload.len())?;
        out.reserve(LENGTH_BYTES + payload.len() + HEAD_BYTES);
        out.extend_from_slice(&length);
        out.extend_from_slice(payload);
        let head = self.advance(length, payload);
        out.extend_from_slice(&head.0);
        Ok(())
    }

    /// Moves the head over one frame and returns it.
    pub(crate) fn advance(&mut self, length: [u8; LENGTH_BYTES], payload: &[u8]) -> Head {
        let next =
            Sha256::new().chain_update(self.head.0).chain_update(length).chain_update(payload);
        self.head = Digest(next.finalize().into());
        self.head
    }
}

/// The length field of a payload of this size.
pub(crate) fn frame_length(size: usize) -> Result<[u8; LENGTH_BYTES], FrameError> {
    match u32::try_from(size) {
        Ok(0) => Err(FrameError::Empty),
        Ok(length) if size <= MAX_PAYLOAD => Ok(length.to_le_bytes()),
        Ok(_) | Err(_) => Err(FrameError::TooLarge(size)),
    }
}

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(hex: &str) -> Result<Digest, NotADigest> {
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        if pairs.len() != HEAD_BYTES || !rest.is_empty() {
            return Err(NotADigest);
        }
        let mut bytes = [0; HEAD_BYTES];
        for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Ok(Digest(bytes))
    }
}

fn nibble(digit: u8) -> Result<u8, NotADigest> {
    let value = char::from(digit).to_digit(16).ok_or(NotADigest)?;
    u8::try_from(value).map_err(|_| NotADigest)
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Digest, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_length_payload_and_the_digest_of_all_before() {
        let mut out = Vec::new();
        let mut chain = Chain::new("s1");
        let start = Digest::of(b"postern recording v1\0s1");
        assert_eq!(chain.head(), start);
        chain.seal(b"{}\n", &mut out).unwrap();
        let mut bound = start.0.to_vec();
        bound.extend_from_slice(b"\x03\0\0\0{}\n");
        assert_eq!(&out[..7], b"\x03\0\0\0{}\n");
        assert_eq!(out[7..], Digest::of(&bound).0);
        assert_eq!(chain.head(), Digest::of(&bound));
    }

    #[test]
    fn a_frame_is_neither_empty_nor_larger_than_the_bound() {
        let mut chain = Chain::new("s1");
        let mut out = Vec::new();
        assert_eq!(chain.seal(b"", &mut out), Err(FrameError::Empty));
        let large = vec![b'x'; MAX_PAYLOAD + 1];
        assert_eq!(chain.seal(&large, &mut out), Err(FrameError::TooLarge(MAX_PAYLOAD + 1)));
        assert!(out.is_empty());
        chain.seal(&large[1..], &mut out).unwrap();
    }

    #[test]
    fn a_digest_reads_what_it_shows() {
        let digest = Digest::of(b"abc");
        assert!(digest.to_string().starts_with("ba7816bf8f01cfea"));
        assert_eq!(digest.to_string().parse(), Ok(digest));
        for bad in
            ["", "ba", "zz", &"a".repeat(63), &"g".repeat(64), &"a".repeat(65), &"é".repeat(32)]
        {
            assert_eq!(bad.parse::<Digest>(), Err(NotADigest), "{bad}");
        }
    }
}
