//! The text of a feed: unfolded, bounded, and read by the crate.
//!
//! The crate reads by recursion, takes a parameter without an end over to the next line, and looks for
//! each CRLF to the end of the text. So it gets one content line on each line, all of which end alike,
//! and few components within each other.

use icalendar::parser::{Component, read_calendar_simple, unfold};

use crate::sources::icalendar::budget::Fault;

/// How deep components may lie within each other: an alarm of an event of a calendar is at 3.
const DEEPEST: usize = 8;

/// One content line on each line, and how many others there were.
pub(super) fn plain(text: &str) -> Result<(String, usize), Fault> {
    let unfolded = unfold(&text.replace("\r\n", "\n"));
    let mut plain = String::with_capacity(unfolded.len() + unfolded.len() / 16);
    let (mut junk, mut depth) = (0, 0_usize);
    for line in unfolded.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some(name) = name(line) else {
            junk += 1;
            continue;
        };
        if name.eq_ignore_ascii_case("BEGIN") {
            depth += 1;
        } else if name.eq_ignore_ascii_case("END") {
            depth = depth.saturating_sub(1);
        }
        if depth > DEEPEST {
            return Err("its components lie too deep within each other");
        }
        plain.push_str(line);
        plain.push_str("\r\n");
    }
    Ok((plain, junk))
}

/// The name of a content line: `NAME;PARAMETER=VALUE:value`. None where it is no content line.
fn name(line: &str) -> Option<&str> {
    let (name, rest) = line.split_at(line.find([';', ':'])?);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let mut quoted = false;
    let has_value = rest.chars().any(|letter| {
        quoted ^= letter == '"';
        letter == ':' && !quoted
    });
    (!name.is_empty() && name.bytes().all(fits) && has_value).then_some(name)
}

/// The calendar, where the text is one from its beginning to its end.
pub(super) fn parse(plain: &str) -> Result<Component<'_>, Fault> {
    const NONE: Fault = "it is not one whole VCALENDAR";
    let mut roots = read_calendar_simple(plain).map_err(|_| NONE)?;
    let root = roots.pop().filter(|root| root.name.as_str().eq_ignore_ascii_case("VCALENDAR"));
    root.ok_or(NONE)
}
