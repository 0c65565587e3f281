//! What the recording keeps of data that streams through: its first bytes, or all of it, a running
//! SHA-256 and the length.
//!
//! What is kept of each message is masked like a value. A digest begins again behind each piece in which
//! something was masked: against a digest of it, a short secret could be guessed.

use std::borrow::Cow;

use audit::{Digest, Kind, MAX_SECRET, Source, Text, Value, mask_secret, mask_value};
use policies::Binds;
use sha2::{Digest as _, Sha256};

use super::wire::{Emit, WireError};

/// How much of the beginning is kept where not all is.
pub(super) const FIRST: usize = 8 * 1024;
/// Data is recorded in pieces of about this size.
const PIECE: usize = 256 * 1024;

/// How much of values and data the recording keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keep {
    /// Whether values are kept, hashed or left out; the same goes for data.
    pub(super) binds: Binds,
    /// Whether long values and data are kept whole.
    pub(super) whole: bool,
}

impl Keep {
    /// How many bytes of something long are kept, which by default are so many.
    fn most(self, default: usize) -> usize {
        match (self.binds, self.whole) {
            (Binds::Keep, true) => usize::MAX,
            (Binds::Keep, false) => default,
            (Binds::Hash | Binds::Omit, _) => 0,
        }
    }
}

impl From<Binds> for Keep {
    fn from(binds: Binds) -> Self {
        Self { binds, whole: false }
    }
}

/// What is known of a value.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Form {
    pub(super) binary: bool,
    /// Whether it stands in the place of a secret.
    pub(super) secret: bool,
}

/// A running digest, and from where on it is one.
#[derive(Debug, Default)]
struct Running {
    sha256: Option<Sha256>,
    from: u64,
    bytes: u64,
}

impl Running {
    fn add(&mut self, piece: &[u8], binds: Binds) {
        self.bytes += piece.len() as u64;
        if binds != Binds::Omit {
            self.sha256.get_or_insert_default().update(piece);
        }
    }

    /// Passes over bytes that have a secret.
    fn pass_over(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        *self = Self { sha256: None, from: self.bytes, bytes: self.bytes };
    }

    /// Adds bytes that are kept, and returns how.
    fn keep<'b>(&mut self, piece: &'b [u8], form: Form) -> Cow<'b, [u8]> {
        let masked = match form {
            Form { secret: true, .. } => Cow::Owned(mask_secret(piece)),
            Form { binary: true, .. } => Cow::Borrowed(piece),
            Form { .. } => mask_value(piece),
        };
        match masked {
            Cow::Borrowed(_) => self.add(piece, Binds::Keep),
            Cow::Owned(_) => self.pass_over(piece),
        }
        masked
    }

    fn digest(&mut self) -> Option<Digest> {
        self.sha256.take().map(|sha256| Digest(sha256.finalize().into()))
    }
}

/// The data of copies, to the target and from it.
#[derive(Debug)]
pub(super) struct Copies {
    pub(super) input: CopyStream,
    pub(super) output: CopyStream,
}

impl Copies {
    pub(super) fn new(keep: Keep) -> Self {
        Self {
            input: CopyStream::new(Source::CopyIn, keep, keep.most(FIRST)),
            // Rows that come back are counted, and not kept unless a rule says so.
            output: CopyStream::new(Source::CopyOut, keep, keep.most(0)),
        }
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self::new(Binds::Keep.into())
    }
}

/// The data of one COPY at a time, in one direction.
#[derive(Debug)]
pub(super) struct CopyStream {
    of: Source,
    keep: Keep,
    /// How many bytes are kept.
    most: usize,
    /// The execution that it belongs to.
    n: u64,
    /// What is kept of the message that is coming.
    gathered: Vec<u8>,
    /// What is kept of those before it, masked, and not recorded yet.
    masked: Vec<u8>,
    running: Running,
}

impl CopyStream {
    fn new(of: Source, keep: Keep, most: usize) -> Self {
        let (gathered, masked) = (Vec::new(), Vec::new());
        Self { of, keep, most, n: 0, gathered, masked, running: Running::default() }
    }

    /// Whether there was any data.
    fn is_empty(&self) -> bool {
        self.running.bytes == 0 && self.gathered.is_empty()
    }

    /// Data of this execution came: the last of a message, or a part of one. Only of a whole message
    /// the target may make anything.
    pub(super) fn take(
        &mut self,
        n: u64,
        mut data: &[u8],
        last: bool,
        emit: Emit<'_>,
    ) -> Result<(), WireError> {
        if self.n != n && !self.is_empty() {
            self.finish(emit)?;
        }
        self.n = n;
        while !data.is_empty() {
            let before = usize::try_from(self.running.bytes).unwrap_or(usize::MAX);
            let room = self.most.saturating_sub(before.saturating_add(self.gathered.len()));
            if room == 0 {
                self.message_ends();
                self.running.add(data, self.keep.binds);
                break;
            }
            let room = room.min(PIECE - self.gathered.len());
            let (kept, rest) = data.split_at(room.min(data.len()));
            self.gathered.extend_from_slice(kept);
            data = rest;
            if self.gathered.len() == PIECE {
                self.message_ends();
                self.flush(emit)?;
            }
        }
        if last {
            self.message_ends();
        }
        Ok(())
    }

    fn message_ends(&mut self) {
        if !self.gathered.is_empty() {
            let masked = self.running.keep(&self.gathered, Form::default());
            self.masked.extend_from_slice(&masked);
            self.gathered.clear();
        }
    }

    /// Records what is kept of whole messages.
    pub(super) fn flush(&mut self, emit: Emit<'_>) -> Result<(), WireError> {
        for piece in self.masked.chunks(PIECE) {
            emit(Kind::Data { of: self.of, n: self.n, data: piece.into() })?;
        }
        self.masked = Vec::new();
        Ok(())
    }

    /// Records what there was, where there was something.
    pub(super) fn finish(&mut self, emit: Emit<'_>) -> Result<(), WireError> {
        if self.is_empty() { Ok(()) } else { self.end(self.n, emit) }
    }

    /// Records what there was, as data of this execution.
    pub(super) fn end(&mut self, n: u64, emit: Emit<'_>) -> Result<(), WireError> {
        self.n = n;
        self.message_ends();
        self.flush(emit)?;
        self.gathered = Vec::new();
        let sha256 = self.running.digest();
        let Running { from, bytes, .. } = std::mem::take(&mut self.running);
        emit(match self.of {
            Source::CopyOut => Kind::CopyOut { n, bytes, sha256, from },
            Source::CopyIn | Source::Value => Kind::CopyIn { n, bytes, sha256, from },
        })
    }
}

/// A value too long to be gathered: its first bytes are, and the rest is digested as it comes.
#[derive(Debug)]
pub(super) struct LongValue {
    keep: Keep,
    form: Form,
    /// Its place among the values, from 1.
    place: u64,
    /// The first bytes, as they came.
    first: Vec<u8>,
    /// The same as they are kept, once they are all here.
    shown: Option<Text<'static>>,
    running: Running,
}

impl LongValue {
    pub(super) fn new(keep: Keep, form: Form, place: u64) -> Self {
        let (first, running) = (Vec::new(), Running::default());
        Self { keep, form, place, first, shown: None, running }
    }

    /// The next piece. What is kept beyond the first bytes is recorded at once.
    pub(super) fn take(&mut self, piece: &[u8], emit: Emit<'_>) -> Result<(), WireError> {
        let room = self.most_first().saturating_sub(self.first.len());
        let (first, rest) = piece.split_at(room.min(piece.len()));
        self.first.extend_from_slice(first);
        if rest.is_empty() {
            return Ok(());
        }
        self.show();
        if self.keep.most(FIRST) <= FIRST {
            self.running.add(rest, self.keep.binds);
            return Ok(());
        }
        // What comes behind the first bytes is too long for a secret.
        let data = self.running.keep(rest, Form { secret: false, ..self.form });
        emit(Kind::Data { of: Source::Value, n: self.place, data: text(data) })
    }

    /// How many of the first bytes are gathered. No digest covers what may be a secret.
    fn most_first(&self) -> usize {
        if self.is_hashed_secret() { MAX_SECRET } else { self.keep.most(FIRST).min(FIRST) }
    }

    fn is_hashed_secret(&self) -> bool {
        self.keep.binds == Binds::Hash && self.form.secret
    }

    fn show(&mut self) {
        if self.shown.is_none() {
            let shown = self.running.keep(&self.first, self.form);
            self.shown = Some(text(shown).into_owned());
        }
    }

    /// What is kept of it, now that it is over.
    pub(super) fn value(mut self) -> Value<'static> {
        if self.keep.binds == Binds::Omit {
            return Value::Omitted(self.running.bytes);
        }
        let is_cut = self.keep.binds == Binds::Keep || self.is_hashed_secret();
        if is_cut {
            self.show();
        }
        let sha256 = self.running.digest();
        let Running { from, bytes: len, .. } = self.running;
        match sha256 {
            sha256 if is_cut => {
                let first = self.shown.unwrap_or_else(|| "".into());
                Value::Cut { first, sha256, from, len }
            }
            Some(sha256) => Value::Hashed { sha256, len },
            None => Value::Omitted(len),
        }
    }
}

fn text(bytes: Cow<'_, [u8]>) -> Text<'_> {
    match bytes {
        Cow::Borrowed(bytes) => bytes.into(),
        Cow::Owned(bytes) => bytes.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(kind: &Kind<'_>) -> String {
        serde_json::to_string(kind).unwrap()
    }

    /// What a stream records of these pieces, and its events' JSON.
    fn stream(keep: Keep, pieces: &[&[u8]]) -> Vec<String> {
        let (mut noted, mut input) = (Vec::new(), Copies::new(keep).input);
        let mut emit = |kind: Kind<'_>| {
            noted.push(json(&kind));
            Ok(())
        };
        for piece in pieces {
            input.take(1, piece, true, &mut emit).unwrap();
            input.flush(&mut emit).unwrap();
        }
        input.end(1, &mut emit).unwrap();
        noted
    }

    fn digest(bytes: &[u8]) -> String {
        Digest::of(bytes).to_string()
    }

    #[test]
    fn of_data_the_first_bytes_the_length_and_the_digest_are_kept() {
        let data = b"0123456789\n".repeat(2_000);
        for piece in [7, 8192, 22_000] {
            let pieces: Vec<&[u8]> = data.chunks(piece).collect();
            let noted = stream(Binds::Keep.into(), &pieces);
            let recorded: Vec<serde_json::Value> =
                noted.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
            let (end, kept) = recorded.split_last().unwrap();
            let kept: String = kept.iter().map(|event| event["data"].as_str().unwrap()).collect();
            assert_eq!(kept.as_bytes(), &data[..FIRST]);
            assert_eq!(end["sha256"], digest(&data));
            assert_eq!(end["bytes"], 22_000);
        }
    }

    #[test]
    fn all_of_it_is_kept_where_a_rule_says_so() {
        let data = b"x".repeat(3 * PIECE);
        let noted = stream(Keep { binds: Binds::Keep, whole: true }, &[&data[..9], &data[9..]]);
        let kept: usize = noted.iter().map(|event| event.matches('x').count()).sum();
        assert_eq!(kept, data.len());
        assert!(noted.last().unwrap().contains(&digest(&data)));
    }

    #[test]
    fn a_target_that_hashes_or_leaves_out_values_keeps_no_data() {
        for whole in [false, true] {
            let hashed = stream(Keep { binds: Binds::Hash, whole }, &[b"secret", b" data"]);
            let recorded = format!(
                r#"{{"e":"copy_in","n":1,"bytes":11,"sha256":"{}"}}"#,
                digest(b"secret data")
            );
            assert_eq!(hashed, [recorded]);
            let omitted = stream(Keep { binds: Binds::Omit, whole }, &[b"secret", b" data"]);
            assert_eq!(omitted, [r#"{"e":"copy_in","n":1,"bytes":11}"#]);
        }
    }

    #[test]
    fn no_digest_covers_a_secret_that_was_masked() {
        let noted = stream(Binds::Keep.into(), &[b"host=x password=hunter2"]);
        assert!(!noted[0].contains("hunter2") && noted[0].contains("***"), "{noted:?}");
        assert_eq!(noted[1], r#"{"e":"copy_in","n":1,"bytes":23,"from":23}"#);
        let mut long = b"host=x password=hunter2 ".to_vec();
        long.extend(b"y".repeat(FIRST));
        let noted = stream(Binds::Keep.into(), &[&long]);
        let recorded = format!(
            r#""bytes":{},"sha256":"{}","from":{FIRST}"#,
            long.len(),
            digest(&long[FIRST..])
        );
        assert!(noted.last().unwrap().contains(&recorded), "{noted:?}");
    }

    #[test]
    fn a_secret_is_masked_however_the_bytes_of_its_message_come() {
        let (mut noted, mut input) = (Vec::new(), Copies::default().input);
        let mut emit = |kind: Kind<'_>| {
            noted.push(json(&kind));
            Ok(())
        };
        for byte in b"password=hunter2" {
            input.take(1, &[*byte], false, &mut emit).unwrap();
            input.flush(&mut emit).unwrap();
        }
        input.end(1, &mut emit).unwrap();
        assert_eq!(noted[0], r#"{"e":"data","of":"copy_in","n":1,"data":"password=***"}"#);
        assert_eq!(noted[1], r#"{"e":"copy_in","n":1,"bytes":16,"from":16}"#);
    }

    #[test]
    fn data_of_another_execution_is_another_stream() {
        let (mut noted, mut input) = (Vec::new(), Copies::default().input);
        let mut emit = |kind: Kind<'_>| {
            noted.push(json(&kind));
            Ok(())
        };
        input.take(1, b"one", true, &mut emit).unwrap();
        input.take(2, b"two", true, &mut emit).unwrap();
        input.finish(&mut emit).unwrap();
        input.finish(&mut emit).unwrap();
        assert_eq!(noted.len(), 4, "{noted:?}");
        assert!(noted[1].contains(&digest(b"one")) && noted[3].contains(&digest(b"two")));
    }

    fn long(keep: Keep, form: Form, value: &[u8], piece: usize) -> (Value<'static>, Vec<u8>) {
        let (mut kept, mut long) = (Vec::new(), LongValue::new(keep, form, 2));
        for piece in value.chunks(piece) {
            let taken = long.take(piece, &mut |kind| {
                if let Kind::Data { of: Source::Value, n: 2, data } = kind {
                    kept.extend_from_slice(data.as_bytes());
                }
                Ok(())
            });
            taken.unwrap();
        }
        (long.value(), kept)
    }

    #[test]
    fn of_a_long_value_the_first_bytes_and_the_digest_are_kept_or_all_of_it() {
        let value = b"0123456789".repeat(10_000);
        let (first, rest) = value.split_at(FIRST);
        let cut = Value::Cut {
            first: Text::from(first).into_owned(),
            sha256: Some(Digest::of(&value)),
            from: 0,
            len: 100_000,
        };
        for piece in [999, 100_000] {
            let (kept, more) = long(Binds::Keep.into(), Form::default(), &value, piece);
            assert_eq!((kept, more.len()), (cut.clone(), 0));
            let whole = Keep { binds: Binds::Keep, whole: true };
            assert_eq!(
                long(whole, Form { binary: true, secret: false }, &value, piece),
                (cut.clone(), rest.to_vec())
            );
        }
        let hashed = Value::Hashed { sha256: Digest::of(&value), len: 100_000 };
        assert_eq!(long(Binds::Hash.into(), Form::default(), &value, 999).0, hashed);
        assert_eq!(
            long(Binds::Omit.into(), Form::default(), &value, 999).0,
            Value::Omitted(100_000)
        );
    }

    #[test]
    fn the_digest_of_a_long_value_begins_behind_a_secret() {
        let value = [b"postgres://u:hunter2@h/d ".to_vec(), b"z".repeat(100_000)].concat();
        let (kept, _) = long(Binds::Keep.into(), Form::default(), &value, 5_000);
        let Value::Cut { first, sha256, from, len } = kept else { panic!("{kept:?}") };
        assert!(!String::from_utf8_lossy(first.as_bytes()).contains("hunter2"));
        assert_eq!((from, len), (FIRST as u64, value.len() as u64));
        assert_eq!(sha256, Some(Digest::of(&value[FIRST..])));
        let form = Form { binary: true, secret: true };
        let (kept, _) = long(Binds::Keep.into(), form, &[7; 100_000], 5_000);
        let Value::Cut { first, from, .. } = kept else { panic!("{kept:?}") };
        assert!(first.as_bytes().starts_with(b"***") && from == FIRST as u64, "{first:?}");
        let cut = Value::Cut {
            first: "***".into(),
            sha256: Some(Digest::of(&[7; 100_000 - MAX_SECRET])),
            from: MAX_SECRET as u64,
            len: 100_000,
        };
        for piece in [1, 1_000, 5_000, 100_000] {
            let (kept, more) = long(Binds::Hash.into(), form, &[7; 100_000], piece);
            assert_eq!((kept, more.len()), (cut.clone(), 0), "{piece}");
        }
    }
}
