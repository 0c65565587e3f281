//! Reading who is on call from an iCalendar feed (RFC 5545): events with a beginning and an end, and
//! whom they name.
//!
//! What a roster needs is read: times in UTC, in a named zone, or by the organisation's clock; whole
//! days; durations; exceptions, and repetition by day or week. An event that repeats in another way is
//! left out and counted, so that nobody is on call by a guess.

use std::collections::BTreeSet;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan, Zoned};
use policies::Timestamp;

/// How many events of one feed are read, and how often one may repeat in the time that matters.
const MOST_EVENTS: usize = 10_000;
const MOST_TURNS: usize = 2_000;
/// How often all events of a feed together may name somebody.
const MOST_NAMED: usize = 200_000;
/// The longest name that is looked at, in bytes: no person has a longer one.
const LONGEST_NAME: usize = 255;

/// A turn as the feed has it: whom it names, since when, until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) names: Vec<String>,
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// What a feed holds, and how many of its events can't be understood.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Feed {
    pub(crate) turns: Vec<Turn>,
    pub(crate) unread: usize,
}

/// Reads all turns that overlap a span of time; none where it is no calendar.
pub(crate) fn read(
    text: &str,
    zone: &TimeZone,
    (since, until): (Timestamp, Timestamp),
) -> Option<Feed> {
    let lines = unfolded(text);
    // A line may be folded behind a space: what stands at its end is known only now.
    let mut lines = lines.iter().map(|line| line.trim_end());
    lines.next().filter(|line| line.eq_ignore_ascii_case("BEGIN:VCALENDAR"))?;
    let mut feed = Feed::default();
    let mut event: Option<Vec<Property<'_>>> = None;
    let (mut inner, mut ended, mut events) = (0_usize, false, 0_usize);
    let mut left = MOST_NAMED;
    for line in lines {
        match (line, &mut event) {
            ("BEGIN:VEVENT", _) => event = Some(Vec::new()),
            ("END:VEVENT", _) => {
                events += 1;
                let read =
                    event.take().map(|fields| turns(&fields, zone, (since, until), &mut left));
                match read.flatten().filter(|_| events <= MOST_EVENTS) {
                    Some(turns) => feed.turns.extend(turns),
                    None => feed.unread += 1,
                }
            }
            ("END:VCALENDAR", _) => ended = true,
            // An alarm within an event has properties of its own.
            (line, Some(_)) if line.starts_with("BEGIN:") => inner += 1,
            (line, Some(_)) if line.starts_with("END:") => inner = inner.saturating_sub(1),
            (line, Some(fields)) if inner == 0 => fields.extend(property(line)),
            (_, _) => {}
        }
    }
    ended.then_some(feed)
}

/// Lines, with those that were folded put together again.
fn unfolded(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some(before)) => before.push_str(rest),
            (Some(_) | None, _) => lines.push(line.to_owned()),
        }
    }
    lines
}

/// `NAME;PARAMETER=VALUE:value`.
struct Property<'l> {
    name: &'l str,
    parameters: Vec<(&'l str, &'l str)>,
    value: &'l str,
}

fn property(line: &str) -> Option<Property<'_>> {
    let mut quoted = false;
    let colon = line.char_indices().find(|(_, letter)| {
        quoted ^= *letter == '"';
        *letter == ':' && !quoted
    });
    let (head, value) = line.split_at(colon?.0);
    let mut parts = head.split(';');
    let name = parts.next()?;
    let parameters = parts.filter_map(|part| part.split_once('='));
    let parameters = parameters.map(|(key, value)| (key, value.trim_matches('"'))).collect();
    Some(Property { name, parameters, value: value.get(1..)? })
}

impl Property<'_> {
    fn parameter(&self, key: &str) -> Option<&str> {
        let mut all = self.parameters.iter();
        all.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| *value)
    }

    /// A moment by some clock, or a whole day.
    fn moment(&self, zone: &TimeZone) -> Option<Zoned> {
        moment(self.value, self.parameter("TZID"), zone)
    }
}

fn moment(text: &str, named: Option<&str>, zone: &TimeZone) -> Option<Zoned> {
    let zone = match (text.strip_suffix('Z'), named) {
        (Some(_), _) => TimeZone::UTC,
        (None, Some(name)) => TimeZone::get(name).ok()?,
        (None, None) => zone.clone(),
    };
    let text = text.trim_end_matches('Z');
    let civil = match text.len() {
        8 => Date::strptime("%Y%m%d", text).ok()?.to_datetime(jiff::civil::Time::midnight()),
        _ => DateTime::strptime("%Y%m%dT%H%M%S", text).ok()?,
    };
    civil.to_zoned(zone).ok()
}

/// The turns of one event; none where it can't be understood, or names more than is left to be named.
fn turns(
    fields: &[Property<'_>],
    zone: &TimeZone,
    (since, until): (Timestamp, Timestamp),
    left: &mut usize,
) -> Option<Vec<Turn>> {
    let find = |name: &str| fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
    if find("STATUS").is_some_and(|status| status.value.eq_ignore_ascii_case("CANCELLED")) {
        return Some(Vec::new());
    }
    // A changed turn of a series, and dates one by one, are beyond what is read here.
    if find("RECURRENCE-ID").is_some() || find("RDATE").is_some() {
        return None;
    }
    let from = find("DTSTART")?.moment(zone)?;
    let length = length(&from, find("DTEND"), find("DURATION"), (find("DTSTART")?, zone))?;
    let names = names(fields);
    let but: BTreeSet<jiff::Timestamp> = excepted(fields, zone)?;
    let starts = match find("RRULE") {
        Some(rule) => {
            let most = MOST_TURNS.min(*left / names.len().max(1));
            Repeats::read(rule.value, &from, zone)?.starts(&from, until, most)?
        }
        None => vec![from],
    };
    *left = left.checked_sub(starts.len() * names.len().max(1))?;
    let starts = starts.into_iter().filter(|start| !but.contains(&start.timestamp()));
    let turns = starts.filter_map(|start| {
        let from = Timestamp::from_millis(start.timestamp().as_millisecond());
        let end = start.checked_add(length).ok()?;
        let end = Timestamp::from_millis(end.timestamp().as_millisecond());
        (from < end && end > since && from < until).then(|| Turn {
            names: names.clone(),
            from,
            until: end,
        })
    });
    Some(turns.collect())
}

fn length(
    from: &Zoned,
    end: Option<&Property<'_>>,
    duration: Option<&Property<'_>>,
    (start, zone): (&Property<'_>, &TimeZone),
) -> Option<Span> {
    match (end, duration) {
        (Some(end), _) => {
            // Whole days stay whole where a clock is set between them.
            let end = end.moment(zone)?.with_time_zone(from.time_zone().clone());
            let unit = if start.value.len() == 8 { jiff::Unit::Day } else { jiff::Unit::Hour };
            from.until((unit, &end)).ok()
        }
        (None, Some(duration)) => duration.value.parse().ok(),
        (None, None) if start.value.len() == 8 => Some(1.day()),
        (None, None) => None,
    }
}

/// Whom an event names: those who attend, else what it is called.
fn names(fields: &[Property<'_>]) -> Vec<String> {
    let all = |name: &'static str| {
        fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name))
    };
    let address = |value: &str| match value.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("mailto:") => {
            value.get(7..).unwrap_or_default().to_owned()
        }
        Some(_) | None => value.to_owned(),
    };
    let attend: Vec<String> = all("ATTENDEE").map(|field| address(field.value)).collect();
    let plain = |value: &str| value.replace("\\,", ",").replace("\\;", ";").trim().to_owned();
    let called = || all("SUMMARY").map(|field| plain(field.value)).collect();
    let mut names = if attend.is_empty() { called() } else { attend };
    names.retain(|name| name.len() <= LONGEST_NAME);
    names
}

fn excepted(fields: &[Property<'_>], zone: &TimeZone) -> Option<BTreeSet<jiff::Timestamp>> {
    let all = fields.iter().filter(|field| field.name.eq_ignore_ascii_case("EXDATE"));
    let dates = all.flat_map(|field| {
        let each = field.value.split(',');
        each.map(|date| moment(date, field.parameter("TZID"), zone).map(|at| at.timestamp()))
    });
    dates.collect()
}

/// `FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,TU;UNTIL=…` or `COUNT=…`.
struct Repeats {
    weekly: bool,
    interval: i64,
    days: BTreeSet<i8>,
    count: usize,
    until: Option<jiff::Timestamp>,
}

impl Repeats {
    fn read(text: &str, from: &Zoned, zone: &TimeZone) -> Option<Self> {
        let (mut weekly, mut interval, mut count, mut until) = (None, 1, usize::MAX, None);
        let mut days = BTreeSet::new();
        for part in text.split(';') {
            let (key, value) = part.split_once('=')?;
            match key {
                "FREQ" => {
                    weekly = Some(match value {
                        "WEEKLY" => true,
                        "DAILY" => false,
                        _ => return None,
                    })
                }
                "INTERVAL" => {
                    interval = value.parse().ok().filter(|every| (1..=520).contains(every))?
                }
                "COUNT" => count = value.parse().ok()?,
                "UNTIL" => {
                    until = Some(moment(value, from.time_zone().iana_name(), zone)?.timestamp())
                }
                "BYDAY" => days = value.split(',').map(weekday).collect::<Option<_>>()?,
                "WKST" if value == "MO" => {}
                _ => return None,
            }
        }
        let weekly = weekly?;
        // By weekday is read within weeks only.
        if !weekly && !days.is_empty() {
            return None;
        }
        if days.is_empty() {
            days.insert(from.weekday().to_monday_zero_offset());
        }
        Some(Self { weekly, interval, days, count, until })
    }

    /// When it begins each time, up to an instant; none where that is too often.
    fn starts(&self, from: &Zoned, until: Timestamp, most: usize) -> Option<Vec<Zoned>> {
        let mut starts = Vec::new();
        let week =
            from.checked_sub(i64::from(from.weekday().to_monday_zero_offset()).days()).ok()?;
        for round in 0_i64.. {
            let ahead = round.checked_mul(self.interval)?;
            let each: Vec<Zoned> = if self.weekly {
                let monday = week.checked_add((ahead * 7).days()).ok()?;
                let days = self.days.iter().map(|day| monday.checked_add(i64::from(*day).days()));
                days.collect::<Result<_, _>>().ok()?
            } else {
                vec![from.checked_add(ahead.days()).ok()?]
            };
            for start in each.into_iter().filter(|start| start >= from) {
                let late = start.timestamp().as_millisecond() >= until.millis()
                    || self.until.is_some_and(|last| start.timestamp() > last);
                if late || starts.len() >= self.count {
                    return Some(starts);
                }
                if starts.len() >= most {
                    return None;
                }
                starts.push(start);
            }
        }
        None
    }
}

fn weekday(word: &str) -> Option<i8> {
    let day = match word {
        "MO" => Weekday::Monday,
        "TU" => Weekday::Tuesday,
        "WE" => Weekday::Wednesday,
        "TH" => Weekday::Thursday,
        "FR" => Weekday::Friday,
        "SA" => Weekday::Saturday,
        "SU" => Weekday::Sunday,
        _ => return None,
    };
    Some(day.to_monday_zero_offset())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn feed(events: &str) -> Feed {
        let text = format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{events}END:VCALENDAR\r\n");
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let span = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        read(&text, &zone, span).unwrap()
    }

    fn event(fields: &str) -> String {
        format!("BEGIN:VEVENT\r\nUID:1\r\n{fields}\r\nEND:VEVENT\r\n")
    }

    fn told(feed: &Feed) -> Vec<String> {
        let turns = feed.turns.iter();
        turns.map(|turn| format!("{} {} {}", turn.names.join("+"), turn.from, turn.until)).collect()
    }

    #[test]
    fn turns_are_read_in_their_zones() {
        let told = told(&feed(&[
            event("SUMMARY:alice\r\nDTSTART:20261120T080000Z\r\nDTEND:20261120T200000Z"),
            event("SUMMARY:on call\r\nATTENDEE;CN=\"Bob: B\":mailto:bob@exam\r\n ple.com\r\nDTSTART;TZID=America/New_York:20261120T080000\r\nDURATION:PT12H"),
            event("SUMMARY:carol\r\nDTSTART;VALUE=DATE:20261121\r\nDTEND;VALUE=DATE:20261122"),
            event("SUMMARY:dave\r\nSTATUS:CANCELLED\r\nDTSTART:20261120T080000Z\r\nDTEND:20261120T200000Z"),
        ].concat()));
        assert_eq!(
            told,
            [
                "alice 2026-11-20T08:00:00.000Z 2026-11-20T20:00:00.000Z",
                "bob@example.com 2026-11-20T13:00:00.000Z 2026-11-21T01:00:00.000Z",
                "carol 2026-11-20T23:00:00.000Z 2026-11-21T23:00:00.000Z",
            ]
        );
    }

    #[test]
    fn a_name_may_be_folded_behind_a_space() {
        let fields =
            "SUMMARY:Carol \r\n Jones\r\nDTSTART:20261120T080000Z\r\nDTEND:20261120T200000Z";
        let read = told(&feed(&event(fields)));
        assert_eq!(read, ["Carol Jones 2026-11-20T08:00:00.000Z 2026-11-20T20:00:00.000Z"]);
    }

    #[test]
    fn a_calendar_that_names_too_many_too_often_is_read_in_part() {
        let attendees = "ATTENDEE:mailto:bob@example.com\r\n".repeat(100);
        let busy = event(&format!(
            "{attendees}DTSTART:20260101T080000Z\r\nDURATION:P1000D\r\nRRULE:FREQ=DAILY"
        ));
        let read = feed(&busy.repeat(10));
        let named: usize = read.turns.iter().map(|turn| turn.names.len()).sum();
        assert!(named <= MOST_NAMED && read.unread > 0, "{named} {}", read.unread);
    }

    #[test]
    fn turns_that_repeat_by_day_or_week_are_read_with_their_exceptions() {
        let told = told(&feed(&event(
            "SUMMARY:alice\r\nDTSTART;TZID=Europe/Berlin:20261019T220000\r\n\
             DTEND;TZID=Europe/Berlin:20261020T060000\r\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE;COUNT=6\r\n\
             EXDATE;TZID=Europe/Berlin:20261104T220000",
        )));
        assert_eq!(
            told,
            [
                "alice 2026-11-02T21:00:00.000Z 2026-11-03T05:00:00.000Z",
                "alice 2026-11-16T21:00:00.000Z 2026-11-17T05:00:00.000Z",
                "alice 2026-11-18T21:00:00.000Z 2026-11-19T05:00:00.000Z",
            ]
        );
    }

    #[test]
    fn nobody_is_on_call_by_a_guess() {
        for fields in [
            "SUMMARY:a\r\nDTSTART:20261120T080000Z",
            "SUMMARY:a\r\nDTSTART:2026-11-20\r\nDTEND:20261121T080000Z",
            "SUMMARY:a\r\nDTSTART;TZID=Nowhere/Else:20261120T080000\r\nDURATION:PT1H",
            "SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=MONTHLY;BYDAY=1MO",
            "SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDURATION:PT1H\r\nRDATE:20261121T080000Z",
            "SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDURATION:PT1H\r\nRECURRENCE-ID:20261121T080000Z",
            "SUMMARY:a\r\nDTSTART:20201120T080000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;BYSETPOS=1",
        ] {
            let feed = feed(&event(fields));
            assert_eq!((feed.turns.len(), feed.unread), (0, 1), "{fields}");
        }
        let span = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
        for text in ["", "{}", "BEGIN:VCALENDAR\nBEGIN:VEVENT\n"] {
            assert_eq!(read(text, &TimeZone::UTC, span), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(
            text in "(BEGIN:VEVENT\n|END:VEVENT\n|DTSTART:[0-9TZ]{0,16}\n|DTEND:[0-9TZ]{0,16}\n|RRULE:[A-Z=;0-9]{0,30}\n|[ A-Z:;=\"é]{0,20}\n){0,12}"
        ) {
            let text = format!("BEGIN:VCALENDAR\n{text}END:VCALENDAR");
            let span = (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"));
            let _ = read(&text, &TimeZone::UTC, span);
        }
    }
}
