//! A stream of bytes as a recording keeps it: whole up to a bound, and beyond it as a digest.
//!
//! What a program without a terminal reads and writes may be of any size, and of any kind. The bytes up to
//! the bound are events of their own. Where the bound is passed the recording says so, and from there on it
//! has the number of bytes and their SHA-256, each counted from the first byte of the stream: whenever the
//! number has doubled, and at the end. So a process that is killed leaves a digest of half the stream at least.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Ssh;
use crate::chain::Digest;
use crate::event::{PART_BYTES, Text, Value};

/// The least number of bytes at which a digest is written down.
const FIRST_DIGEST: u64 = 1024 * 1024;

/// One stream of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// From the client: a program's standard input.
    Input,
    /// To the client: a program's standard output.
    Output,
    /// A program's standard error.
    Stderr,
}

/// What has passed of one stream, and how much of it is kept.
#[derive(Debug)]
pub struct StreamKeeper {
    ch: u32,
    stream: Stream,
    /// How many bytes are kept whole.
    bound: u64,
    /// How many have passed.
    bytes: u64,
    /// Of all that have passed.
    sha256: Sha256,
    /// The number of bytes at which the digest is written down next, once the bound is passed.
    next: Option<u64>,
}

impl Stream {
    /// Its name, as users of a shell know it.
    pub fn word(self) -> &'static str {
        match self {
            Stream::Input => "stdin",
            Stream::Output => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

impl StreamKeeper {
    /// A stream of this channel, of which so many bytes are kept whole.
    pub fn new(ch: u32, stream: Stream, bound: u64) -> StreamKeeper {
        StreamKeeper { ch, stream, bound, bytes: 0, sha256: Sha256::new(), next: None }
    }

    /// Takes the next bytes, and adds what has to be recorded before they go on.
    pub fn pass<'b>(&mut self, bytes: &'b [u8], events: &mut Vec<Ssh<'b>>) {
        self.sha256.update(bytes);
        let room = usize::try_from(self.bound.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
        let (kept, beyond) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        events.extend(kept.chunks(PART_BYTES).map(|piece| self.kept(piece)));
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if !beyond.is_empty() {
            self.pass_beyond(events);
        }
    }

    /// The stream is at its end: what stands for all of it, where it isn't kept whole. Nothing the second time.
    pub fn finish(&mut self) -> Option<Ssh<'static>> {
        self.next.take().map(|_| self.digest(true))
    }

    fn kept<'b>(&self, piece: &'b [u8]) -> Ssh<'b> {
        let ch = self.ch;
        match self.stream {
            Stream::Input => Ssh::Input { ch, data: Value::text(piece) },
            Stream::Output => Ssh::Output { ch, data: Text::from(piece) },
            Stream::Stderr => Ssh::Stderr { ch, data: Text::from(piece) },
        }
    }

    fn pass_beyond(&mut self, events: &mut Vec<Ssh<'_>>) {
        match self.next {
            None => {
                let (ch, stream, kept) = (self.ch, self.stream, self.bound);
                events.push(Ssh::StreamCut { ch, stream, kept });
            }
            Some(next) if self.bytes >= next => events.push(self.digest(false)),
            Some(_) => return,
        }
        self.next = Some(self.bytes.max(FIRST_DIGEST).saturating_mul(2));
    }

    fn digest(&self, last: bool) -> Ssh<'static> {
        let sha256 = Digest(self.sha256.clone().finalize().into());
        Ssh::StreamDigest { ch: self.ch, stream: self.stream, bytes: self.bytes, sha256, last }
    }
}

#[cfg(test)]
#[allow(clippy::wildcard_enum_match_arm, reason = "a test looks for its own events alone")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is recorded of these pieces.
    fn recorded(stream: Stream, bound: u64, pieces: &[&[u8]]) -> Vec<Ssh<'static>> {
        let mut keeper = StreamKeeper::new(7, stream, bound);
        let mut all = Vec::new();
        for piece in pieces {
            let mut events = Vec::new();
            keeper.pass(piece, &mut events);
            let json = serde_json::to_string(&events).unwrap();
            all.extend(serde_json::from_str::<Vec<Ssh<'static>>>(&json).unwrap());
        }
        all.extend(keeper.finish());
        assert_eq!(keeper.finish(), None, "a stream ends once");
        all
    }

    #[test]
    fn a_stream_within_its_bound_is_kept_whole_and_leaves_no_digest() {
        let kept = recorded(Stream::Output, 8, &[b"one ", b"", b"\xfftwo"]);
        let want = [
            Ssh::Output { ch: 7, data: "one ".into() },
            Ssh::Output { ch: 7, data: Text::from(&b"\xfftwo"[..]) },
        ];
        assert_eq!(kept, want);
    }

    #[test]
    fn beyond_its_bound_a_stream_leaves_its_length_and_the_digest_of_all_of_it() {
        let kept = recorded(Stream::Input, 3, &[b"ab", b"cdef", b"gh"]);
        let want = [
            Ssh::Input { ch: 7, data: Value::Text("ab".into()) },
            Ssh::Input { ch: 7, data: Value::Text("c".into()) },
            Ssh::StreamCut { ch: 7, stream: Stream::Input, kept: 3 },
            Ssh::StreamDigest {
                ch: 7,
                stream: Stream::Input,
                bytes: 8,
                sha256: Digest::of(b"abcdefgh"),
                last: true,
            },
        ];
        assert_eq!(kept, want);
    }

    #[test]
    fn a_long_stream_leaves_a_digest_whenever_it_has_doubled() {
        let piece = vec![7; 1024 * 1024];
        let pieces: Vec<&[u8]> = (0..20).map(|_| &piece[..]).collect();
        let kept = recorded(Stream::Stderr, 0, &pieces);
        let digests: Vec<(u64, bool)> = kept
            .iter()
            .filter_map(|event| match event {
                Ssh::StreamDigest { bytes, last, .. } => Some((*bytes >> 20, *last)),
                _ => None,
            })
            .collect();
        assert_eq!(digests, [(2, false), (4, false), (8, false), (16, false), (20, true)]);
        assert!(matches!(kept[0], Ssh::StreamCut { kept: 0, .. }));
    }

    #[test]
    fn a_piece_that_is_larger_than_a_frame_comes_in_parts() {
        let piece = vec![0; 3 * PART_BYTES + 1];
        let kept = recorded(Stream::Input, u64::MAX, &[&piece]);
        assert_eq!(kept.len(), 4);
        let mut writer = crate::Writer::new("s1");
        for ssh in kept {
            writer.push(&crate::Event { t: 0, kind: crate::Kind::Ssh(ssh) }).unwrap();
        }
    }

    proptest! {
        #[test]
        fn every_byte_is_kept_or_digested(
            bound in 0u64..40,
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..8),
        ) {
            let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &piece[..]).collect();
            let all = pieces.concat();
            let (mut kept, mut digest) = (Vec::new(), None);
            for event in recorded(Stream::Output, bound, &pieces) {
                match event {
                    Ssh::Output { data, .. } => {
                        prop_assert!(digest.is_none());
                        kept.extend_from_slice(data.as_bytes());
                    }
                    Ssh::StreamCut { kept: said, .. } => prop_assert_eq!(said, kept.len() as u64),
                    Ssh::StreamDigest { bytes, sha256, last: true, .. } => digest = Some((bytes, sha256)),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            prop_assert!(all.starts_with(&kept));
            let whole = all.len() as u64 <= bound;
            let want = (!whole).then(|| (all.len() as u64, Digest::of(&all)));
            prop_assert_eq!(digest, want);
            prop_assert_eq!(kept.len() as u64, bound.min(all.len() as u64));
        }
    }
}
