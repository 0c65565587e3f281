//! What is promised of calendars that others keep, for `tests/fuzz` to try to break. The inputs in
//! `tests/fuzz/seeds` are tests here.

use std::time::Duration;

use jiff::tz::TimeZone;
use policies::Timestamp;

use crate::sources::icalendar;

#[cfg(test)]
#[path = "../../tests/fuzz/seeds.rs"]
mod seeds;

/// November of 2026.
const SPAN: (Timestamp, Timestamp) =
    (Timestamp::from_millis(1_793_491_200_000), Timestamp::from_millis(1_796_083_200_000));

/// Time enough for every input, so that none is read by halves.
const AMPLE: Duration = Duration::from_secs(3_600);

/// Whatever a calendar says, turns are within the time that was asked for, and folding means nothing.
pub(crate) fn calendar(bytes: &[u8]) {
    let Some((at, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let zone = TimeZone::get("Europe/Berlin").unwrap_or(TimeZone::UTC);
    let read = |text: &str| icalendar::read_within(text, &zone, SPAN, AMPLE);
    let feed = read(text);
    for turn in feed.iter().flat_map(|feed| &feed.turns) {
        assert!(turn.from < turn.until && turn.from < SPAN.1 && turn.until > SPAN.0, "{turn:?}");
    }
    let named = feed.iter().flat_map(|feed| &feed.turns).map(|turn| turn.names.len());
    assert!(named.sum::<usize>() <= icalendar::budget::MOST_NAMED);
    let mut places = text.char_indices().map(|(at, _)| at).cycle();
    let Some((before, after)) = places.nth(usize::from(*at) * 7).map(|at| text.split_at(at)) else {
        return;
    };
    if before.ends_with(|it| !matches!(it, '\r' | '\n')) {
        let folded = [before, "\r\n ", after].concat();
        assert_eq!(read(&folded), feed, "folded at {}", before.len());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_seed_holds() {
        super::seeds::each("calendar", super::calendar);
    }
}
