//! How a recording is shown: for people, or as one JSON object.

use audit::{
    Alternative, Copied, Digest, End, Head, Outcome, Start, Statement, Tail, Text, Value as Bound,
};
use serde_json::{Value, json};

use crate::terminal::{self, Paint, moment, plain, plain_lines};

/// Longer values are cut where people read them.
const SHOWN: usize = 200;

/// For whom.
#[derive(Debug, Clone, Copy)]
pub(super) enum Style {
    Text(Paint),
    Json,
}

/// What a session is a list of.
#[derive(Debug, Clone, Copy)]
pub(super) enum List {
    /// Statements of Postgres.
    Statements,
    /// Events of SSH.
    Events,
}

/// What is known once a recording was read to its end.
#[derive(Debug)]
pub(super) struct Closing<'a> {
    pub(super) end: Option<End<'a>>,
    pub(super) tail: Tail,
    pub(super) head: Option<Head>,
    /// How many statements or events there were.
    pub(super) shown: u64,
    /// What they are called.
    pub(super) list: List,
}

impl Style {
    /// Before everything.
    pub(super) fn opening(self) -> String {
        match self {
            Self::Text(_) => String::new(),
            Self::Json => "{\n".into(),
        }
    }

    /// What the session was.
    pub(super) fn start(self, start: &Start<'_>) -> String {
        match self {
            Self::Text(paint) => heading(paint, start),
            Self::Json => format!("\"start\": {},\n", terminal::json(&json!(start)).trim_end()),
        }
    }

    /// One statement.
    pub(super) fn statement(self, statement: &Statement, first: bool) -> String {
        match self {
            Self::Text(paint) => statement_text(paint, statement),
            Self::Json => List::Statements.item(&as_json(statement), first),
        }
    }

    /// How the session ended, and what the file is.
    pub(super) fn closing(self, closing: &Closing<'_>) -> String {
        match self {
            Self::Text(paint) => {
                ended(closing.end.as_ref()) + &verdict(paint, closing.tail, closing.head)
            }
            Self::Json => closing.json(),
        }
    }
}

fn heading(paint: Paint, start: &Start<'_>) -> String {
    let title = paint.bold(&format!("session {}", plain(&start.session)));
    let database =
        if start.database.is_empty() { String::new() } else { format!("/{}", start.database) };
    let what = format!("{}@{}{database}", start.login, start.target);
    format!(
        "{title}\n{} as {}, by grant {}\nfrom {} {}, known by {}\nbegan {}\n\n",
        plain(&who(start)),
        plain(&what),
        plain(&start.grant),
        plain(&start.client),
        plain(&start.application),
        plain(proof(&start.authn)),
        moment(&start.at)
    )
}

/// The name and the key, where they differ.
fn who(start: &Start<'_>) -> String {
    if start.name == start.principal {
        return start.name.to_string();
    }
    format!("{} ({})", start.name, start.principal)
}

/// By what somebody was known, in words; a way that this version doesn't know is named as it is.
pub(crate) fn proof(method: &str) -> &str {
    match method {
        "certificate" => "a client certificate",
        "token" => "a token",
        "confirmed" => "confirming the connection's code",
        "link" => "a one-time link",
        "passkey" => "a passkey",
        "oidc" => "signing in with an issuer",
        "bearer" => "an issuer's access token",
        "key" => "a registered SSH key",
        "workload" => "a workload's certificate",
        other => other,
    }
}

fn statement_text(paint: Paint, statement: &Statement) -> String {
    let mut line = format!("#{} +{}", statement.n, duration(statement.at_micros));
    for outcome in &statement.outcomes {
        line += &format!("  {}", outcome_text(paint, outcome));
    }
    if statement.more_outcomes > 0 {
        line += &format!("  and {} more", statement.more_outcomes);
    }
    if statement.bytes_in > 0 {
        line += &format!("  {} B sent", statement.bytes_in);
    }
    if statement.unknown {
        line += &format!("  {}", paint.bad("outcome unknown"));
    } else if !statement.complete {
        line += "  not answered";
    }
    let text = statement.text.as_deref().unwrap_or("(not known)");
    let mut lines = format!("{}\n{}", paint.dim(&line), indented(text));
    for other in &statement.otherwise {
        lines += &alternative(other);
    }
    if !statement.values.is_empty() {
        lines += &format!("    with {}\n", bound(&statement.values));
    }
    for copy in &statement.copies {
        lines += &copied(copy);
    }
    if statement.truncated {
        lines += "    (the recording has more of this)\n";
    }
    lines
}

fn copied(copy: &Copied) -> String {
    let way = if copy.out { "data received" } else { "data sent" };
    let (bytes, first) = (copy.bytes, cut(&plain(&String::from_utf8_lossy(&copy.first))));
    let first = if first.is_empty() { first } else { format!(" '{first}'") };
    let whole =
        if copy.ended { digest(copy.sha256, copy.from) } else { ", no end recorded".into() };
    format!("    {way}:{first} ({bytes} B{whole})\n")
}

/// The digest of something long, and what it covers.
fn digest(sha256: Option<Digest>, from: u64) -> String {
    match (sha256, from) {
        (None, _) => ", no digest".into(),
        (Some(sha256), 0) => format!(", sha256 {sha256}"),
        (Some(sha256), from) => format!(", sha256 {sha256} from byte {from} on"),
    }
}

fn alternative(other: &Alternative) -> String {
    let text = indented(other.text.as_deref().unwrap_or("(not known)"));
    let mut lines = format!("  or else, as what came in between leaves open:\n{text}");
    if !other.values.is_empty() {
        lines += &format!("    with {}\n", bound(&other.values));
    }
    lines
}

fn indented(text: &str) -> String {
    plain_lines(text).lines().map(|line| format!("    {line}\n")).collect()
}

fn outcome_text(paint: Paint, outcome: &Outcome) -> String {
    let took = duration(outcome.micros);
    match &outcome.sqlstate {
        Some(sqlstate) => paint.bad(&format!("ERROR {} after {took}", plain(sqlstate))),
        None => {
            let tag = if outcome.tag.is_empty() { "(empty)".into() } else { plain(&outcome.tag) };
            let rows = if outcome.rows == 1 { "row" } else { "rows" };
            format!("{tag}: {} {rows}, {} B, {took}", outcome.rows, outcome.bytes)
        }
    }
}

fn bound(values: &[Bound<'_>]) -> String {
    let values = values.iter().enumerate();
    let text = values.map(|(place, value)| format!("${} = {}", place + 1, value_text(value)));
    text.collect::<Vec<_>>().join(", ")
}

fn value_text(value: &Bound<'_>) -> String {
    match value {
        Bound::Null => "NULL".into(),
        Bound::Text(text) => format!("'{}'", cut(&plain(text))),
        Bound::Bytes(bytes) => {
            let hex: String =
                bytes.iter().take(SHOWN / 2).map(|byte| format!("{byte:02x}")).collect();
            format!("\\x{hex}{}", if bytes.len() > SHOWN / 2 { "…" } else { "" })
        }
        Bound::Hashed { sha256, len } => format!("sha256 {sha256} ({len} B)"),
        Bound::Cut { first, sha256, from, len } => {
            let first = cut(&plain(&String::from_utf8_lossy(first.as_bytes())));
            format!("'{first}' ({len} B{})", digest(*sha256, *from))
        }
        Bound::Omitted(len) => format!("left out ({len} B)"),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

pub(super) fn duration(micros: u64) -> String {
    let span = std::time::Duration::from_micros(micros);
    match micros {
        0..1_000 => format!("{micros}us"),
        1_000..1_000_000 => format!("{:.1}ms", span.as_secs_f64() * 1_000.0),
        _ => format!("{:.1}s", span.as_secs_f64()),
    }
}

fn ended(end: Option<&End<'_>>) -> String {
    let Some(end) = end else {
        return "\nno end yet\n".into();
    };
    let reason =
        if end.reason.is_empty() { String::new() } else { format!(": {}", plain(&end.reason)) };
    let (code, at) = (plain(&end.end), moment(&end.at));
    format!("\nended {at}, {code}{reason} ({} B in, {} B out)\n", end.bytes_in, end.bytes_out)
}

fn verdict(paint: Paint, tail: Tail, head: Option<Head>) -> String {
    let head = head.map(|head| format!(", head {head}")).unwrap_or_default();
    let text = match tail {
        Tail::Sealed => paint.good(&format!("the recording is whole and sealed{head}")),
        Tail::Open => format!("the recording is whole so far{head}"),
        Tail::Torn { offset, bytes } => paint.bad(&format!(
            "the recording is torn at byte {offset}: the last frame has only {bytes} bytes; \
             what stands before it is whole{head}"
        )),
        Tail::Broken { offset } => paint.bad(&format!(
            "the recording is broken at byte {offset}: what stands before it is consistent{head}"
        )),
    };
    text + "\n"
}

fn as_json(statement: &Statement) -> Value {
    let outcomes = statement.outcomes.iter().map(|outcome| {
        json!({
            "tag": outcome.tag, "rows": outcome.rows, "bytes": outcome.bytes,
            "micros": outcome.micros, "sqlstate": outcome.sqlstate,
        })
    });
    let otherwise = statement.otherwise.iter();
    let otherwise = otherwise
        .map(|other| json!({ "text": other.text.as_deref(), "values": other.values.as_ref() }));
    let copies = statement.copies.iter().map(|copy| {
        json!({
            "way": if copy.out { "out" } else { "in" }, "bytes": copy.bytes, "ended": copy.ended,
            "sha256": copy.sha256, "from": copy.from, "first": Text::from(&copy.first[..]),
        })
    });
    json!({
        "n": statement.n,
        "at_micros": statement.at_micros,
        "text": statement.text.as_deref(),
        "otherwise": otherwise.collect::<Vec<_>>(),
        "truncated": statement.truncated,
        "values": statement.values.as_ref(),
        "bytes_in": statement.bytes_in,
        "copies": copies.collect::<Vec<_>>(),
        "outcomes": outcomes.collect::<Vec<_>>(),
        "more_outcomes": statement.more_outcomes,
        "unknown": statement.unknown,
        "complete": statement.complete,
    })
}

fn recording_json(tail: Tail, head: Option<Head>) -> Value {
    let head = head.map(|head| head.to_string());
    match tail {
        Tail::Sealed => json!({ "state": "sealed", "head": head }),
        Tail::Open => json!({ "state": "open", "head": head }),
        Tail::Torn { offset, bytes } => {
            json!({ "state": "torn", "offset": offset, "bytes": bytes, "head": head })
        }
        Tail::Broken { offset } => json!({ "state": "broken", "offset": offset, "head": head }),
    }
}

impl List {
    /// The list that an event of this session begins with.
    pub(super) fn of(start: &Start<'_>) -> Self {
        if start.kind == "ssh" { Self::Events } else { Self::Statements }
    }

    fn opening(self) -> String {
        let name = match self {
            Self::Statements => "statements",
            Self::Events => "events",
        };
        format!("\"{name}\": [")
    }

    /// One of the list.
    pub(super) fn item(self, value: &Value, first: bool) -> String {
        let before = if first { self.opening() } else { ",".to_owned() };
        format!("{before}\n{}", terminal::json(value).trim_end())
    }
}

impl Closing<'_> {
    /// What follows the statements.
    fn json(&self) -> String {
        let opened = if self.shown > 0 { String::new() } else { self.list.opening() };
        let end = self.end.as_ref();
        let end = end.map(|end| format!("\"end\": {},\n", terminal::json(&json!(end)).trim_end()));
        let recording = recording_json(self.tail, self.head);
        format!(
            "{opened}\n],\n{}\"recording\": {}\n}}\n",
            end.unwrap_or_default(),
            terminal::json(&recording).trim_end()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_values_are_short() {
        assert_eq!(duration(12), "12us");
        assert_eq!(duration(1_500), "1.5ms");
        assert_eq!(duration(61_000_000), "61.0s");
        assert_eq!(cut(&"ü".repeat(300)).chars().count(), SHOWN + 1);
        assert_eq!(value_text(&Bound::Bytes(vec![1, 255].into())), "\\x01ff");
        assert_eq!(value_text(&Bound::Text("a\u{1b}".into())), "'a\\u{1b}'");
    }
}
