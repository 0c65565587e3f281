//! Messages too large to be held: recorded piece by piece while they stream through.
//!
//! Nothing executes before its last byte has come, and the last byte goes on only after everything
//! before it was recorded. Statement text is kept whole, in parts. Of a bind value larger than 64 KiB
//! the first bytes, the digest and the length are kept (see [`LongValue`]).

use audit::{IndexSet, Kind, Masker, Mentions, PART_BYTES, Text, Value};

use super::copies::{Form, Keep, LongValue};
use super::values::{is_binary, is_secret, kept};
use super::wire::{Emit, HEADER, WireError};

/// A value up to this size is kept as the target says.
const VALUE: usize = 64 * 1024;
/// The same for the arguments of a FunctionCall, which are recorded in one part.
const ARGUMENT: usize = 16 * 1024;
/// The most arguments that Postgres lets a function have (`FUNC_MAX_ARGS`).
const ARGUMENTS: u16 = 100;
/// Values are recorded in parts of about this size.
const PART: usize = 256 * 1024;
/// The longest name of a statement or portal that makes sense.
const NAME: usize = 1024;

/// The parameters of a prepared statement that are secrets, by its name.
type Secrets<'a> = &'a dyn Fn(&[u8]) -> Option<IndexSet>;

/// A message on its way through.
#[derive(Debug)]
pub(super) struct Large {
    /// Bytes of it that have not come by yet.
    left: usize,
    /// Bytes of the header that have not come by yet.
    header: usize,
    what: What,
}

#[derive(Debug)]
enum What {
    Copy,
    Text(Box<TextStream>),
    Values(Box<ValueStream>),
}

impl Large {
    fn new(whole: usize, what: What) -> Self {
        Self { left: whole, header: HEADER, what }
    }

    pub(super) fn copy(whole: usize) -> Self {
        Self::new(whole, What::Copy)
    }

    pub(super) fn query(whole: usize, n: u64) -> Self {
        Self::new(whole, What::Text(Box::new(TextStream::new(Some(n)))))
    }

    pub(super) fn parse(whole: usize) -> Self {
        Self::new(whole, What::Text(Box::new(TextStream::new(None))))
    }

    pub(super) fn bind(whole: usize, keep: Keep) -> Self {
        Self::new(whole, What::Values(Box::new(ValueStream::new(keep, Stage::Portal))))
    }

    pub(super) fn call(whole: usize, keep: Keep, n: u64) -> Self {
        let stage = Stage::Function { n };
        Self::new(whole, What::Values(Box::new(ValueStream::new(keep, stage))))
    }

    /// The data of a COPY that these bytes begin with, and whether it is the last of its message.
    pub(super) fn copied<'b>(&self, bytes: &'b [u8]) -> Option<(&'b [u8], bool)> {
        if !matches!(self.what, What::Copy) {
            return None;
        }
        let here = bytes.get(..self.left.min(bytes.len())).unwrap_or_default();
        Some((here.get(self.header..).unwrap_or_default(), here.len() == self.left))
    }

    /// Whether the whole message has come by.
    pub(super) fn is_over(&self) -> bool {
        self.left == 0
    }

    /// Takes its part of the bytes, records it, and says how many may go on.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        secrets: Secrets<'_>,
        emit: &mut impl FnMut(Kind<'_>) -> Result<(), WireError>,
    ) -> Result<usize, WireError> {
        let here = bytes.get(..self.left.min(bytes.len())).unwrap_or_default();
        let skipped = self.header.min(here.len());
        let body = here.get(skipped..).unwrap_or_default();
        self.header -= skipped;
        self.left -= here.len();
        let last = self.left == 0;
        match &mut self.what {
            What::Copy => {}
            What::Text(text) => text.feed(body, last, emit)?,
            What::Values(values) => values.feed(body, last, secrets, emit)?,
        }
        Ok(here.len())
    }

    /// What it was, where it was text.
    pub(super) fn into_text(self) -> Option<Passed> {
        let What::Text(mut text) = self.what else { return None };
        let params = text.masker.take_params();
        let name = text.name.filter(|_| text.n.is_none());
        Some(Passed { mentions: text.mentions, parsed: name.map(|name| (name, params)) })
    }
}

/// What a large text was, once it is over.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) mentions: Mentions,
    /// The name of a prepared statement, and which of its parameters are secrets.
    pub(super) parsed: Option<(Vec<u8>, IndexSet)>,
}

/// The text of a simple query, or the name and text of a prepared statement.
#[derive(Debug)]
struct TextStream {
    /// The execution's number; none where a statement is prepared.
    n: Option<u64>,
    name: Option<Vec<u8>>,
    gathered: Vec<u8>,
    masker: Masker,
    mentions: Mentions,
    over: bool,
}

impl TextStream {
    fn new(n: Option<u64>) -> Self {
        let name = n.map(|_| Vec::new());
        let (masker, mentions) = (Masker::default(), Mentions::default());
        Self { n, name, gathered: Vec::new(), masker, mentions, over: false }
    }

    fn feed(&mut self, mut body: &[u8], last: bool, emit: Emit<'_>) -> Result<(), WireError> {
        if self.name.is_none() {
            body = match take_name(&mut self.gathered, body)? {
                Some((name, rest)) => {
                    self.name = Some(name);
                    rest
                }
                None => {
                    return if last { Err(WireError::Body('P')) } else { Ok(()) };
                }
            };
        }
        if self.over {
            return Ok(());
        }
        let end = body.iter().position(|byte| *byte == 0);
        let text = body.get(..end.unwrap_or(body.len())).unwrap_or_default();
        self.over = end.is_some();
        self.mentions.look(text);
        let mut masked = Vec::with_capacity(text.len());
        self.masker.feed(text, self.over || last, &mut masked);
        self.emit(&masked, self.over || last, emit)
    }

    fn emit(&self, text: &[u8], over: bool, emit: Emit<'_>) -> Result<(), WireError> {
        let mut parts = text.chunks(PART_BYTES).peekable();
        loop {
            let part = parts.next().unwrap_or_default();
            let last = over && parts.peek().is_none();
            if part.is_empty() && !last {
                return Ok(());
            }
            let statement = Text::from(self.name.as_deref().unwrap_or_default());
            emit(match self.n {
                Some(n) => Kind::QueryPart { n, text: part.into(), last },
                None => Kind::ParsePart { statement, text: part.into(), last },
            })?;
            if parts.peek().is_none() {
                return Ok(());
            }
        }
    }
}

/// Gathers a name up to its NUL; none while that hasn't come.
#[expect(clippy::type_complexity, reason = "a name and the rest, or not yet")]
fn take_name<'b>(
    gathered: &mut Vec<u8>,
    body: &'b [u8],
) -> Result<Option<(Vec<u8>, &'b [u8])>, WireError> {
    let end = body.iter().position(|byte| *byte == 0);
    let piece = body.get(..end.unwrap_or(body.len())).unwrap_or_default();
    if gathered.len() + piece.len() > NAME {
        return Err(WireError::Body('P'));
    }
    gathered.extend_from_slice(piece);
    Ok(end.map(|end| (std::mem::take(gathered), body.get(end + 1..).unwrap_or_default())))
}

/// Where in a Bind or FunctionCall the bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Portal,
    Statement,
    Function { n: u64 },
    FormatCount,
    Formats { left: u16 },
    Count,
    Length { left: u16 },
    Value { left: u16, bytes: usize },
    Over,
}

/// The values of a Bind or FunctionCall.
#[derive(Debug)]
struct ValueStream {
    keep: Keep,
    stage: Stage,
    portal: Vec<u8>,
    statement: Vec<u8>,
    /// The execution and the function, of a FunctionCall.
    call: Option<(u64, u32)>,
    formats: Vec<bool>,
    secrets: Option<IndexSet>,
    /// Bytes of the unit that is being read: a name, a word, or a value that is small enough.
    gathered: Vec<u8>,
    /// A value that is too large to be gathered.
    long: Option<LongValue>,
    index: usize,
    values: Vec<Value<'static>>,
    held: usize,
}

impl ValueStream {
    fn new(keep: Keep, stage: Stage) -> Self {
        Self {
            keep,
            stage,
            portal: Vec::new(),
            statement: Vec::new(),
            call: None,
            formats: Vec::new(),
            secrets: None,
            gathered: Vec::new(),
            long: None,
            index: 0,
            values: Vec::new(),
            held: 0,
        }
    }

    fn feed(
        &mut self,
        mut body: &[u8],
        last: bool,
        secrets: Secrets<'_>,
        emit: Emit<'_>,
    ) -> Result<(), WireError> {
        while self.stage != Stage::Over && (!body.is_empty() || self.is_instant()) {
            body = self.step(body, secrets, emit)?;
            if self.held > PART && self.call.is_none() && self.stage != Stage::Over {
                self.emit(false, emit)?;
            }
        }
        match (last, self.stage) {
            (false, _) => Ok(()),
            (true, Stage::Over) => self.emit(true, emit),
            (true, _) => Err(WireError::Body('B')),
        }
    }

    /// Stages that need no byte to be left.
    fn is_instant(&self) -> bool {
        matches!(
            self.stage,
            Stage::Formats { left: 0 } | Stage::Length { left: 0 } | Stage::Value { bytes: 0, .. }
        )
    }

    fn step<'b>(
        &mut self,
        body: &'b [u8],
        secrets: Secrets<'_>,
        emit: Emit<'_>,
    ) -> Result<&'b [u8], WireError> {
        match self.stage {
            Stage::Portal | Stage::Statement => self.name(body, secrets),
            Stage::Formats { left: 0 } => {
                self.stage = Stage::Count;
                Ok(body)
            }
            Stage::Length { left: 0 } | Stage::Over => {
                self.stage = Stage::Over;
                Ok(body)
            }
            Stage::Value { left, bytes } => self.value(body, left, bytes, emit),
            Stage::Function { .. } | Stage::Length { .. } => self.word::<4>(body),
            Stage::FormatCount | Stage::Formats { .. } | Stage::Count => self.word::<2>(body),
        }
    }

    fn name<'b>(&mut self, body: &'b [u8], secrets: Secrets<'_>) -> Result<&'b [u8], WireError> {
        let Some((name, rest)) = take_name(&mut self.gathered, body)? else {
            return Ok(&[]);
        };
        if self.stage == Stage::Portal {
            (self.portal, self.stage) = (name, Stage::Statement);
        } else {
            self.secrets = secrets(&name);
            (self.statement, self.stage) = (name, Stage::FormatCount);
        }
        Ok(rest)
    }

    /// A word of two or four bytes, which may come in pieces.
    fn word<'b, const N: usize>(&mut self, body: &'b [u8]) -> Result<&'b [u8], WireError> {
        let (piece, rest) = body.split_at((N - self.gathered.len().min(N)).min(body.len()));
        self.gathered.extend_from_slice(piece);
        if self.gathered.len() < N {
            return Ok(rest);
        }
        let word = self.gathered.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
        self.gathered.clear();
        let short = u16::try_from(word & 0xffff).unwrap_or(u16::MAX);
        self.stage = match self.stage {
            Stage::Function { n } => {
                self.call = Some((n, word));
                Stage::FormatCount
            }
            Stage::FormatCount => Stage::Formats { left: short },
            Stage::Formats { left } => {
                self.formats.push(word != 0);
                Stage::Formats { left: left.saturating_sub(1) }
            }
            Stage::Count if self.call.is_some() && short > ARGUMENTS => {
                return Err(WireError::Body('F'));
            }
            Stage::Count => Stage::Length { left: short },
            Stage::Length { left } => match usize::try_from(word.cast_signed()) {
                Ok(bytes) => Stage::Value { left, bytes },
                Err(_) => self.keep(Value::Null, 0, left),
            },
            stage @ (Stage::Portal | Stage::Statement | Stage::Value { .. } | Stage::Over) => stage,
        };
        Ok(rest)
    }

    /// A piece of a value: gathered where it is small, kept in part where it is not.
    fn value<'b>(
        &mut self,
        body: &'b [u8],
        left: u16,
        bytes: usize,
        emit: Emit<'_>,
    ) -> Result<&'b [u8], WireError> {
        let (piece, rest) = body.split_at(bytes.min(body.len()));
        let most = if self.call.is_some() { ARGUMENT } else { VALUE };
        if self.gathered.is_empty() && self.long.is_none() && bytes > most {
            let form = self.form();
            self.long = Some(LongValue::new(self.keep, form, self.index as u64 + 1));
        }
        match &mut self.long {
            Some(long) => long.take(piece, emit)?,
            None => self.gathered.extend_from_slice(piece),
        }
        let bytes = bytes - piece.len();
        self.stage = if bytes > 0 { Stage::Value { left, bytes } } else { self.whole_value(left) };
        Ok(rest)
    }

    fn form(&self) -> Form {
        let binary = is_binary(&self.formats, self.index);
        Form { binary, secret: is_secret(self.secrets.as_ref(), self.index) }
    }

    fn whole_value(&mut self, left: u16) -> Stage {
        let gathered = std::mem::take(&mut self.gathered);
        let value = match self.long.take() {
            Some(long) => long.value(),
            None => {
                let Form { binary, secret } = self.form();
                kept(&gathered, binary, secret, self.keep.binds).into_owned()
            }
        };
        let first = if let Value::Cut { first, .. } = &value { first.as_bytes().len() } else { 0 };
        self.keep(value, gathered.len() + first, left)
    }

    fn keep(&mut self, value: Value<'static>, bytes: usize, left: u16) -> Stage {
        self.values.push(value);
        self.held += bytes + 8;
        self.index += 1;
        Stage::Length { left: left.saturating_sub(1) }
    }

    fn emit(&mut self, last: bool, emit: Emit<'_>) -> Result<(), WireError> {
        self.held = 0;
        let values = std::mem::take(&mut self.values).into();
        match self.call {
            Some((n, function)) => emit(Kind::Call { n, function, values }),
            None => {
                let (portal, statement) = (Text::from(&*self.portal), Text::from(&*self.statement));
                emit(Kind::BindPart { portal, statement, values, last })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use audit::Digest;
    use policies::Binds;

    use super::super::copies::FIRST;
    use super::*;

    fn feed(mut large: Large, bytes: &[u8], piece: usize) -> Result<Vec<String>, WireError> {
        let mut noted = Vec::new();
        for piece in bytes.chunks(piece) {
            let taken = large.feed(piece, &|_| None, &mut |kind| {
                noted.push(serde_json::to_string(&kind).unwrap());
                Ok(())
            })?;
            assert_eq!(taken, piece.len());
        }
        assert!(large.is_over());
        Ok(noted)
    }

    fn message(body: &[u8]) -> Vec<u8> {
        [&[0; HEADER], body].concat()
    }

    #[test]
    fn a_large_statement_is_recorded_in_parts_and_masked_across_them() {
        let text = format!("{}alter role a password 'secret'", "-- x\n".repeat(60_000));
        let bytes = message(&[text.as_bytes(), b"\0"].concat());
        for piece in [7, 65_536, bytes.len()] {
            let noted = feed(Large::query(bytes.len(), 3), &bytes, piece).unwrap();
            let parts: Vec<serde_json::Value> =
                noted.iter().map(|part| serde_json::from_str(part).unwrap()).collect();
            let all: String = parts.iter().map(|part| part["text"].as_str().unwrap()).collect();
            assert!(all.ends_with("alter role a password '***'"), "{piece}");
            assert!(noted.last().unwrap().contains(r#""last":true"#));
            assert_eq!(noted.iter().filter(|part| part.contains(r#""last":true"#)).count(), 1);
        }
    }

    #[test]
    fn a_large_prepared_statement_keeps_its_name() {
        let body =
            [b"stmt\0select 1", " ".repeat(300_000).as_bytes(), b"\0\0\x01\0\0\0\x17"].concat();
        let bytes = message(&body);
        let noted = feed(Large::parse(bytes.len()), &bytes, 1000).unwrap();
        assert!(noted[0].contains(r#""statement":"stmt""#), "{}", noted[0]);
        assert!(noted.last().unwrap().contains(r#""last":true"#));
    }

    fn bind(values: &[&[u8]]) -> Vec<u8> {
        let mut body = b"p\0s\0\0\x01\0\x01".to_vec();
        body.extend(u16::try_from(values.len() + 1).unwrap().to_be_bytes());
        for value in values {
            body.extend(u32::try_from(value.len()).unwrap().to_be_bytes());
            body.extend(*value);
        }
        body.extend([0xff; 4]);
        body.extend([0, 0]);
        message(&body)
    }

    #[test]
    fn of_a_large_value_the_first_bytes_and_the_digest_are_kept() {
        let value = vec![9; 300_000];
        let bytes = bind(&[b"small", &value, b""]);
        for piece in [1, 4096, bytes.len()] {
            let noted = feed(Large::bind(bytes.len(), Binds::Keep.into()), &bytes, piece).unwrap();
            let expected = format!(
                r#"[{{"base64":"c21hbGw="}},{{"first":"{}","sha256":"{}","len":300000}},{{"base64":""}},null]"#,
                "\\t".repeat(FIRST),
                Digest::of(&value)
            );
            assert_eq!(noted.len(), 1);
            assert!(noted[0].contains(&expected), "{}", noted[0]);
        }
    }

    #[test]
    fn many_values_come_in_parts_and_none_is_lost() {
        let value = [5_u8; 1000];
        let bytes = bind(&vec![&value[..]; 1000]);
        let noted = feed(Large::bind(bytes.len(), Binds::Hash.into()), &bytes, 8192).unwrap();
        let kept: usize = noted.iter().map(|part| part.matches("sha256").count()).sum();
        assert!(noted.len() > 2);
        assert_eq!(kept, 1000);
    }

    #[test]
    fn a_value_that_claims_more_than_there_is_is_refused() {
        let mut bytes = bind(&[&[1; 1000]]);
        let at = bytes.len() - 6 - 1004;
        bytes[at..at + 4].copy_from_slice(&0x7fff_ffff_u32.to_be_bytes());
        assert!(feed(Large::bind(bytes.len(), Binds::Keep.into()), &bytes, 100).is_err());
    }

    #[test]
    fn names_without_end_are_refused() {
        let bytes = message(&vec![b'x'; 300_000]);
        assert!(feed(Large::parse(bytes.len()), &bytes, 4096).is_err());
        assert!(feed(Large::bind(bytes.len(), Binds::Keep.into()), &bytes, 4096).is_err());
    }
}
