//! What this crate promises of bytes that it didn't make, for `tests/fuzz` to try to break.
//!
//! Each function takes any bytes and fails where a promise does not hold. The inputs in `tests/fuzz/seeds`
//! are tests here.

use std::io::Read as _;

use crate::event::{Event, Kind, Text, Value};
use crate::reader::{Reader, Tail, Verified};
use crate::ssh::echo::{Echo, HELD_MAX};
use crate::ssh::{Ssh, cast};
use crate::statements::{MAX_OUTCOMES, MAX_SHOWN, Statements};
use crate::{Chain, MAGIC, Masker, Writer};

#[cfg(test)]
#[path = "../../tests/fuzz/seeds.rs"]
mod seeds;
pub(crate) mod sql;
#[path = "../../tests/fuzz/steps.rs"]
mod steps;
pub(crate) mod tokens;

use steps::steps;

/// A recording that is cut, damaged or forged never yields what a whole one of its beginning would not, and
/// what was read is the same when it is written and read again.
pub fn recording(bytes: &[u8]) {
    let Some((how, rest)) = bytes.split_first() else { return };
    let file = if how.is_multiple_of(2) { rest.to_vec() } else { forged(rest) };
    let (before, after) = file.split_at(file.len() * usize::from(*how) / 256);
    let (events, verdict) = read(&file);
    let (fewer, _) = read(before);
    assert!(events.starts_with(&fewer), "a cut adds nothing");
    let slowly = Reader::new(before.chain(after)).verify().ok();
    assert_eq!(slowly.as_ref(), Some(&verdict), "it matters not how the bytes come");
    rewritten(&events, &verdict);
}

/// Frames with good digests around pieces of the input; those that begin with 0xfe stand there as they are.
fn forged(bytes: &[u8]) -> Vec<u8> {
    let (mut chain, mut file) = (Chain::new("s1"), MAGIC.to_vec());
    for piece in bytes.split(|byte| *byte == 0xff) {
        match piece.split_first() {
            Some((0xfe, raw)) => file.extend_from_slice(raw),
            Some(_) => assert_eq!(chain.seal(piece, &mut file), Ok(())),
            None => {}
        }
    }
    file
}

fn read(mut file: &[u8]) -> (Vec<Event<'static>>, Verified) {
    let all = file;
    let mut reader = Reader::new(&mut file);
    let events = std::iter::from_fn(|| reader.next_event().ok().flatten()).collect();
    let tail = reader.tail();
    let verdict = Reader::new(all).verify();
    let Ok(verdict) = verdict else { unreachable!("a slice can be read") };
    assert_eq!(tail, Some(verdict.tail));
    (events, verdict)
}

fn rewritten(events: &[Event<'static>], verdict: &Verified) {
    assert_eq!(u64::try_from(events.len()), Ok(verdict.events));
    let Some(session) = verdict.session.as_deref().filter(|_| !events.is_empty()) else { return };
    let mut writer = Writer::new(session);
    for event in events {
        assert!(writer.push(event).is_ok(), "what was read can be written");
        writer.seal();
    }
    let (again, verdict) = read(&writer.take());
    assert_eq!(again, events);
    let ended = events.last().is_some_and(|last| matches!(last.kind, Kind::End(_)));
    assert_eq!(verdict.tail, if ended { Tail::Sealed } else { Tail::Open });
}

/// Whatever events stand in a recording, each execution becomes one statement, in order and within bounds.
pub fn statements(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n');
    let events: Vec<Event<'static>> =
        lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let mut parts = false;
    let mut sent = Vec::new();
    for event in &events {
        if let Kind::Query { n, .. } | Kind::Execute { n, .. } | Kind::Call { n, .. } = &event.kind
        {
            sent.push(*n);
        }
        parts |= matches!(event.kind, Kind::QueryPart { .. });
    }
    let folded = Statements::new(events.into_iter().map(Ok::<_, ()>));
    let folded: Vec<_> = folded.filter_map(Result::ok).collect();
    for statement in &folded {
        // What is no UTF-8 is shown as a character of three bytes.
        let shown = statement.text.as_ref().map_or(0, |text| text.len());
        assert!(shown <= 3 * MAX_SHOWN && statement.outcomes.len() <= MAX_OUTCOMES);
        assert!(statement.complete || statement.outcomes.is_empty());
    }
    let numbers: Vec<u64> = folded.iter().map(|statement| statement.n).collect();
    assert!(parts || numbers == sent, "{numbers:?} of {sent:?}");
}

/// The masked text is the same however it comes in pieces; it has what stood there and stars, nothing else; and
/// outside of literals and comments nothing is different.
pub fn mask(bytes: &[u8]) {
    let Some((size, text)) = bytes.split_first() else { return };
    let whole = masked(text, usize::MAX);
    assert_eq!(masked(text, usize::from(size % 16).max(1)), whole);
    assert_eq!(&crate::mask(text).text[..], whole, "the quick look misses nothing");
    assert_eq!(tokens::skeleton(&whole), tokens::skeleton(text));
    for out in [whole, crate::mask_value(text).into_owned()] {
        let mut rest = text.iter();
        let kept = out.iter().all(|byte| *byte == b'*' || rest.any(|next| next == byte));
        assert!(kept && out.len() <= 4 * text.len(), "{}", String::from_utf8_lossy(&out));
    }
}

/// No secret of a statement shows, all else does, outside of literals nothing is different, and to mask it again
/// changes nothing.
pub fn mask_sql(bytes: &[u8]) {
    let sql::Sample { text, secrets, shown } = sql::sample(bytes);
    let out = masked(text.as_bytes(), usize::MAX);
    let size = usize::from(bytes.first().copied().unwrap_or_default() % 16).max(1);
    assert_eq!(masked(text.as_bytes(), size), out);
    assert_eq!(masked(&out, usize::MAX), out, "{text}");
    assert_eq!(tokens::skeleton(&out), tokens::skeleton(text.as_bytes()), "{text}");
    let out = String::from_utf8_lossy(&out);
    for secret in secrets {
        assert!(!out.contains(&secret), "{secret} shows: {out}\n{text}");
    }
    for shown in shown {
        assert!(out.contains(&shown), "{shown} is hidden: {out}\n{text}");
    }
}

fn masked(text: &[u8], size: usize) -> Vec<u8> {
    let (mut masker, mut out) = (Masker::default(), Vec::new());
    text.chunks(size).for_each(|chunk| masker.feed(chunk, false, &mut out));
    masker.feed(b"", true, &mut out);
    out
}

/// Every byte that was typed is accounted for, those that are kept were shown, and little is held.
pub fn echo(bytes: &[u8]) {
    let mut echo = Echo::default();
    let (mut typed, mut shown, mut decided) = (Vec::new(), Vec::new(), Vec::new());
    for (what, piece) in steps(bytes) {
        // A paste, or the output of a program, is longer than a step.
        let piece = piece.repeat(if what & 2 == 0 { 1 } else { 256 });
        if what & 1 == 0 {
            typed.extend_from_slice(&piece);
            decided.extend(echo.typed(&piece));
        } else {
            shown.extend_from_slice(&piece);
            decided.extend(echo.wrote(&piece));
        }
        assert!(echo.held() <= HELD_MAX);
    }
    decided.extend(echo.finish());
    let mut rest = &typed[..];
    for value in &decided {
        let length = match value {
            Value::Omitted(bytes) => usize::try_from(*bytes).unwrap_or(usize::MAX),
            Value::Text(text) => kept(text.as_bytes(), rest, &shown),
            Value::Bytes(bytes) => kept(bytes, rest, &shown),
            Value::Null | Value::Hashed { .. } | Value::Cut { .. } => {
                unreachable!("there is no other kind")
            }
        };
        rest = rest.get(length..).unwrap_or_default();
    }
    let weights = decided.iter().map(weight).sum::<usize>();
    assert_eq!(weights, typed.len());
}

/// A line that is kept is the next that was typed, and the target showed it.
fn kept(line: &[u8], typed: &[u8], shown: &[u8]) -> usize {
    assert!(typed.starts_with(line));
    let content = line.strip_suffix(b"\r").or_else(|| line.strip_suffix(b"\n"));
    let content = content.unwrap_or_default();
    assert!(content.is_empty() || shown.windows(content.len()).any(|at| at == content));
    line.len()
}

fn weight(value: &Value<'_>) -> usize {
    match value {
        Value::Omitted(bytes) => usize::try_from(*bytes).unwrap_or(usize::MAX),
        Value::Text(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        Value::Null | Value::Hashed { .. } | Value::Cut { .. } => 0,
    }
}

/// A terminal becomes lines of JSON behind one header, with all that was shown, wherever it is cut.
pub fn cast(bytes: &[u8]) {
    let mut cast = cast::Cast::new(1, "deploy@web-1", Some(1_700_000_000));
    let (mut lines, mut shown, mut since) = (String::new(), String::new(), Vec::new());
    for (t, (what, piece)) in (0..).zip(steps(bytes)) {
        let data = Text::from(piece);
        let ssh = match what {
            0 => Ssh::Terminal { ch: 1, term: data, columns: 80, rows: 24 },
            1 => Ssh::Resize { ch: 1, columns: 100, rows: 30 },
            2 => Ssh::Input { ch: 1, data: Value::text(piece) },
            3 => Ssh::Stderr { ch: 1, data },
            4 => Ssh::Closed { ch: 1, bytes_in: 0, bytes_out: 0 },
            5 => Ssh::Output { ch: 2, data },
            _ => Ssh::Output { ch: 1, data },
        };
        if matches!(ssh, Ssh::Stderr { .. } | Ssh::Output { ch: 1, .. }) {
            since.extend_from_slice(piece);
        } else if what == 4 {
            shown += &String::from_utf8_lossy(&std::mem::take(&mut since));
        }
        lines += &cast.lines(&Event { t: t * 1000, kind: Kind::Ssh(ssh) });
    }
    let closed = Ssh::Closed { ch: 1, bytes_in: 0, bytes_out: 0 };
    lines += &cast.lines(&Event { t: u64::MAX, kind: Kind::Ssh(closed) });
    shown += &String::from_utf8_lossy(&since);
    assert_eq!(output_of(&lines), shown);
}

/// The output in an export, after a look at its form.
fn output_of(lines: &str) -> String {
    let mut output = String::new();
    for (at, line) in lines.lines().enumerate() {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(line) else {
            unreachable!("a line is JSON: {line}")
        };
        assert_eq!(line.is_object(), at == 0, "the header comes first and once");
        let field = |at: usize| line.get(at).and_then(serde_json::Value::as_str);
        if field(1) == Some("o") {
            output += field(2).unwrap_or_default();
        }
    }
    output
}

#[cfg(test)]
mod tests {
    use super::seeds;

    #[test]
    fn every_seed_holds() {
        seeds::each("recording", super::recording);
        seeds::each("statements", super::statements);
        seeds::each("mask", super::mask);
        seeds::each("mask_sql", super::mask_sql);
        seeds::each("echo", super::echo);
        seeds::each("cast", super::cast);
    }
}
