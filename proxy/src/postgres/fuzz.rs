//! What the Postgres plane promises of bytes that it didn't make, for `tests/fuzz` to try to break.
//!
//! Each function takes any bytes and fails where a promise does not hold. The inputs in `tests/fuzz/seeds`
//! are tests here.

use audit::Kind;
use policies::Binds;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::backend::Backend;
use super::flight::Flight;
use super::frontend::{self, Frontend};
use super::startup::Startup;
use super::wire::{cstring, field, header};
use super::{sasl, startup};
use crate::fuzz::steps::steps;

/// A start-up packet has one reading, and only whole; what was read means the same when it is written plainly.
pub fn startup(bytes: &[u8]) {
    let Ok(read) = Startup::parse(bytes) else { return };
    assert!(Startup::parse(&[bytes, b"\0"].concat()).is_err());
    assert!(Startup::parse(bytes.split_last().map_or(bytes, |(_, rest)| rest)).is_err());
    let changes_identity = |name: &String| matches!(&**name, "role" | "session_authorization");
    assert!(!read.settings.keys().any(changes_identity));
    let _ = read.target_name(None);
    let options = startup::Options::default();
    let plain = Startup { options, ..read };
    assert_eq!(Startup::parse(&packet(&plain)).as_ref(), Ok(&plain));
}

fn packet(startup: &Startup) -> Vec<u8> {
    let mut packet = [0, 3].to_vec();
    packet.extend(startup.minor.to_be_bytes());
    let mut put = |key: &str, value: &str| packet.extend(format!("{key}\0{value}\0").bytes());
    put("user", startup.login.as_str());
    startup.database.iter().for_each(|name| put("database", name));
    startup.replication.iter().for_each(|mode| put("replication", mode));
    startup.settings.iter().for_each(|(key, value)| put(key, value));
    startup.extensions.iter().for_each(|name| put(name, ""));
    packet.push(0);
    packet
}

/// Whatever a client says, nothing goes on unrecorded, and it matters not how the bytes come.
pub fn frontend(bytes: &[u8]) {
    let Some((how, sent)) = bytes.split_first() else { return };
    relayed(*how, &[(true, sent)]);
}

/// The same for both sides, each of which may say anything at any time.
pub fn backend(bytes: &[u8]) {
    let Some((how, sent)) = bytes.split_first() else { return };
    let sent: Vec<_> =
        steps(sent).into_iter().map(|(who, sent)| (who.is_multiple_of(2), sent)).collect();
    relayed(*how, &sent);
    for kind in *b"CMSV" {
        let value = field(bytes, kind).unwrap_or_default();
        assert!(!value.contains(&0));
        assert!(value.is_empty() || bytes.windows(value.len()).any(|at| at == value));
    }
    let text = cstring(bytes).map(|(text, rest)| [text, b"\0", rest].concat());
    assert!(text.is_none_or(|text| text == bytes));
}

fn relayed(how: u8, sent: &[(bool, &[u8])]) {
    let binds = match how % 3 {
        0 => Binds::Keep,
        1 => Binds::Hash,
        _ => Binds::Omit,
    };
    let whole = Relayed::of(binds, sent, usize::MAX);
    let pieces = Relayed::of(binds, sent, usize::from(how / 3 % 16) + 1);
    assert_eq!(whole.noted, pieces.noted);
    assert_eq!(whole.broken, pieces.broken);
    if !whole.broken {
        assert!(whole.up.passed == pieces.up.passed && whole.down.passed == pieces.down.passed);
    }
    for (side, clients) in [(&whole.up, true), (&whole.down, false)] {
        let all: Vec<u8> = of(sent, clients).concat();
        assert!(all.starts_with(&side.passed), "nothing is invented");
    }
    if !whole.broken {
        assert_eq!(executing(&whole.up.passed), whole.recorded, "nothing goes on unrecorded");
    }
}

fn of<'a>(sent: &[(bool, &'a [u8])], clients: bool) -> Vec<&'a [u8]> {
    sent.iter().filter(|(who, _)| *who == clients).map(|(_, sent)| *sent).collect()
}

/// How many messages of those that went on whole execute something, or prepare it.
fn executing(mut passed: &[u8]) -> usize {
    let mut count = 0;
    while let Ok(Some((kind, whole))) = header(passed) {
        let held = whole <= frontend::WHOLE && kind != b'd';
        count += usize::from(held && matches!(kind, b'Q' | b'P' | b'B' | b'E' | b'F'));
        passed = passed.get(whole..).unwrap_or_default();
    }
    count
}

#[derive(Default)]
struct Side {
    held: Vec<u8>,
    passed: Vec<u8>,
}

/// A conversation as a relay leaves it.
#[derive(Default)]
struct Relayed {
    up: Side,
    down: Side,
    noted: Vec<Noted>,
    /// How many messages were recorded whole.
    recorded: usize,
    broken: bool,
}

/// An event, without the places where a text was cut into parts.
#[derive(Debug, PartialEq, Eq)]
struct Noted {
    what: String,
    part: Vec<u8>,
}

impl Relayed {
    /// What comes of this where each side's bytes come in pieces of this size.
    fn of(binds: Binds, sent: &[(bool, &[u8])], size: usize) -> Self {
        let (mut frontend, mut backend) = (Frontend::new(binds.into()), Backend::default());
        let (mut flight, now) = (Flight::default(), Instant::now());
        let mut it = Self::default();
        let pieces = sent.iter().flat_map(|(who, sent)| sent.chunks(size).map(|it| (*who, it)));
        for (client, piece) in pieces {
            let (noted, recorded) = (&mut it.noted, &mut it.recorded);
            let mut emit = |kind: Kind<'_>| {
                *recorded += usize::from(is_whole(&kind));
                note(noted, &kind);
                Ok(())
            };
            let side = if client { &mut it.up } else { &mut it.down };
            side.held.extend_from_slice(piece);
            let scanned = if client {
                frontend.scan(&side.held, &mut flight, now, &mut emit)
            } else {
                backend.scan(&side.held, &mut flight, now, &mut emit)
            };
            let Ok(scanned) = scanned else {
                it.broken = true;
                return it;
            };
            side.passed.extend(side.held.drain(..scanned.clear));
            assert!(scanned.need == 0 || scanned.need > side.held.len());
        }
        it
    }
}

fn is_whole(kind: &Kind<'_>) -> bool {
    matches!(
        kind,
        Kind::Query { .. }
            | Kind::Parse { .. }
            | Kind::Bind { .. }
            | Kind::Execute { .. }
            | Kind::Call { .. }
    )
}

fn note(noted: &mut Vec<Noted>, kind: &Kind<'_>) {
    let (what, part) = if let Kind::QueryPart { n, text, .. } = kind {
        (format!("query {n}"), Some(text))
    } else if let Kind::ParsePart { statement, text, .. } = kind {
        (format!("parse {statement:?}"), Some(text))
    } else if let Kind::Data { of, n, data } = kind {
        (format!("data {of:?} {n}"), Some(data))
    } else {
        (format!("{kind:?}"), None)
    };
    let bytes = part.map(|text| text.as_bytes().to_vec()).unwrap_or_default();
    match noted.last_mut().filter(|last| part.is_some() && last.what == what) {
        Some(last) => last.part.extend(bytes),
        None => noted.push(Noted { what, part: bytes }),
    }
}

/// An outcome in the recording is that of its statement, or unknown.
pub fn outcomes(bytes: &[u8]) {
    super::flight::differential::outcomes(bytes);
}

/// A response has one token, or none, which it says in full.
pub fn sasl(bytes: &[u8]) {
    let Ok(Some(token)) = sasl::read(bytes) else { return };
    let token = token.expose_secret().as_bytes();
    assert!(!token.is_empty() && token.iter().all(u8::is_ascii_graphic));
    let sent = [b" ", token, b"\x01"].concat();
    assert!(bytes.windows(sent.len()).any(|at| at == sent));
}

#[cfg(test)]
mod tests {
    use crate::fuzz::seeds;

    #[test]
    fn every_seed_holds() {
        seeds::each("startup", super::startup);
        seeds::each("frontend", super::frontend);
        seeds::each("backend", super::backend);
        seeds::each("outcomes", super::outcomes);
        seeds::each("sasl", super::sasl);
    }
}
