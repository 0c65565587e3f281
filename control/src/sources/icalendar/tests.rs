use jiff::civil::{Date, DateTime, Weekday};
use jiff::{ToSpan, Zoned};
use proptest::prelude::*;

use policies::Timestamp;

use super::budget::{MOST_NAMED, MOST_REPEATS_IN_ALL, TOO_MUCH};
use super::*;

fn at(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn november() -> Span {
    (at("2026-11-01T00:00:00Z"), at("2026-12-01T00:00:00Z"))
}

fn berlin() -> TimeZone {
    TimeZone::get("Europe/Berlin").unwrap()
}

fn calendar(components: &str) -> String {
    format!("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n{components}END:VCALENDAR\r\n")
}

fn feed(components: &str) -> Feed {
    read(&calendar(components), &berlin(), november()).unwrap()
}

fn event(fields: &str) -> String {
    event_of("1", fields)
}

fn event_of(uid: &str, fields: &str) -> String {
    format!("BEGIN:VEVENT\r\nUID:{uid}\r\n{fields}\r\nEND:VEVENT\r\n")
}

fn to_lines(feed: &Feed) -> Vec<String> {
    let turns = feed.turns.iter();
    let lines = turns.map(|turn| format!("{} {} {}", turn.names.join("+"), turn.from, turn.until));
    let mut lines: Vec<String> = lines.map(|line| line.replace(":00.000Z", "")).collect();
    lines.sort();
    lines
}

/// Alice's every day at 08:00 in Berlin, for eight hours, from the 20th on, four times.
const DAILY: &str = "SUMMARY:alice\r\nDTSTART;TZID=Europe/Berlin:20261120T080000\r\n\
    DTEND;TZID=Europe/Berlin:20261120T160000\r\nRRULE:FREQ=DAILY;COUNT=4";

#[test]
fn turns_are_read_in_their_zones() {
    let on_call = to_lines(&feed(&[
        event("SUMMARY:alice\r\nDTSTART:20261120T080000Z\r\nDTEND:20261120T200000Z"),
        event("SUMMARY:on call\r\nATTENDEE;CN=\"Bob: B\":mailto:bob@exam\r\n ple.com\r\nDTSTART;TZID=America/New_York:20261120T080000\r\nDURATION:PT12H"),
        event("SUMMARY:carol\r\nDTSTART;VALUE=DATE:20261121\r\nDTEND;VALUE=DATE:20261122"),
        event("SUMMARY:dave\r\nSTATUS:CANCELLED\r\nDTSTART:20261120T080000Z\r\nDTEND:20261120T200000Z"),
        event("SUMMARY:erin\r\nDTSTART:20261125T080000\r\nDURATION:P1D"),
    ].concat()));
    assert_eq!(
        on_call,
        [
            "alice 2026-11-20T08:00 2026-11-20T20:00",
            "bob@example.com 2026-11-20T13:00 2026-11-21T01:00",
            "carol 2026-11-20T23:00 2026-11-21T23:00",
            "erin 2026-11-25T07:00 2026-11-26T07:00",
        ]
    );
}

#[test]
fn a_name_may_be_folded_behind_a_space() {
    let fields =
        "SUMMARY:Carol \r\n Jones\\, MD\r\nDTSTART:20261120T080000Z\r\nDTEND:20261120T200000Z";
    assert_eq!(
        to_lines(&feed(&event(fields))),
        ["Carol Jones, MD 2026-11-20T08:00 2026-11-20T20:00"]
    );
}

#[test]
fn turns_that_repeat_by_day_or_week_are_read_with_their_exceptions() {
    let on_call = to_lines(&feed(&event(
        "SUMMARY:alice\r\nDTSTART;TZID=Europe/Berlin:20261019T220000\r\n\
         DTEND;TZID=Europe/Berlin:20261020T060000\r\nRRULE:FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE;COUNT=6\r\n\
         EXDATE;TZID=Europe/Berlin:20261104T220000",
    )));
    assert_eq!(
        on_call,
        [
            "alice 2026-11-02T21:00 2026-11-03T05:00",
            "alice 2026-11-16T21:00 2026-11-17T05:00",
            "alice 2026-11-18T21:00 2026-11-19T05:00",
        ]
    );
}

#[test]
fn rules_of_months_and_years_and_weeks_that_begin_otherwise_are_read() {
    for (start, rule, expected) in [
        ("20260831", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", vec![30]),
        ("20200101", "FREQ=YEARLY;BYMONTH=11;BYDAY=4TH", vec![26]),
        ("20260131", "FREQ=MONTHLY;BYMONTHDAY=-1,15", vec![15, 30]),
        ("20260131", "FREQ=MONTHLY", vec![]),
        ("20260101", "FREQ=YEARLY;BYYEARDAY=310", vec![6]),
        ("20260101", "FREQ=YEARLY;BYWEEKNO=46;BYDAY=MO", vec![9]),
        ("20261103", "FREQ=WEEKLY;INTERVAL=2;WKST=MO;BYDAY=TU,SU;COUNT=4", vec![3, 8, 17, 22]),
        ("20261103", "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=TU,SU;COUNT=4", vec![3, 15, 17, 29]),
        ("20261101", "FREQ=DAILY;INTERVAL=7;UNTIL=20261115", vec![1, 8, 15]),
        ("20261101", "freq=daily;interval=10;until=20261121T110000Z", vec![1, 11, 21]),
        ("20261101", "FREQ=DAILY;INTERVAL=10;UNTIL=20261121T105959Z", vec![1, 11]),
    ] {
        let fields = format!(
            "SUMMARY:a\r\nDTSTART;TZID=Europe/Berlin:{start}T120000\r\nDURATION:PT1H\r\nRRULE:{rule}"
        );
        let feed = feed(&event(&fields));
        let expected: Vec<String> =
            expected.iter().map(|day| format!("2026-11-{day:02}")).collect();
        let found = to_lines(&feed).into_iter().map(|line| line["a ".len()..][..10].to_owned());
        assert_eq!((found.collect::<Vec<_>>(), feed.unread), (expected, 0), "{rule}");
    }
}

#[test]
fn whoever_was_swapped_out_is_not_on_call_and_whoever_came_in_is() {
    for (id, why) in [
        ("RECURRENCE-ID;TZID=Europe/Berlin:20261121T080000", "by the clock of the series"),
        ("RECURRENCE-ID:20261121T070000Z", "in UTC"),
        ("RECURRENCE-ID;TZID=America/New_York:20261121T020000", "by another clock"),
        ("RECURRENCE-ID:20261121T080000", "by no zone's clock"),
        ("RECURRENCE-ID;VALUE=DATE:20261121", "as a day"),
    ] {
        let swapped = event(&format!(
            "{id}\r\nSUMMARY:bob\r\nDTSTART;TZID=Europe/Berlin:20261121T080000\r\nDURATION:PT8H"
        ));
        for events in [event(DAILY) + &swapped, swapped.clone() + &event(DAILY)] {
            let feed = feed(&events);
            let expected = [
                "alice 2026-11-20T07:00 2026-11-20T15:00",
                "alice 2026-11-22T07:00 2026-11-22T15:00",
                "alice 2026-11-23T07:00 2026-11-23T15:00",
                "bob 2026-11-21T07:00 2026-11-21T15:00",
            ];
            assert_eq!(
                (to_lines(&feed).as_slice(), feed.unread),
                (&expected.map(String::from)[..], 0),
                "{why}"
            );
        }
    }
}

/// A change of Alice's turn of the 21st.
fn changed(fields: &str) -> String {
    event(&format!("RECURRENCE-ID;TZID=Europe/Berlin:20261121T080000\r\n{fields}"))
}

#[test]
fn a_turn_that_was_moved_or_cancelled_does_not_count_where_it_was() {
    let alone = |fields: &str| to_lines(&feed(&(event(DAILY) + &changed(fields)))).len();
    let bob = "SUMMARY:bob\r\nDURATION:PT1H\r\nDTSTART:";
    assert_eq!(alone("STATUS:CANCELLED"), 3);
    assert_eq!(alone(&format!("{bob}20261215T080000Z")), 3, "out of the time that is asked about");
    assert_eq!(alone(&format!("{bob}20261121T200000Z")), 4);
    let moved_in =
        "SUMMARY:alice\r\nDTSTART:20260101T080000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;COUNT=2";
    let into = "RECURRENCE-ID:20260102T080000Z\r\nSUMMARY:bob\r\nDTSTART:20261105T080000Z\r\nDURATION:PT1H";
    let on_call = to_lines(&feed(&(event(moved_in) + &event(into))));
    assert_eq!(on_call, ["bob 2026-11-05T08:00 2026-11-05T09:00"]);
}

#[test]
fn the_newest_of_several_revisions_counts() {
    let bob = "DTSTART:20261121T080000Z\r\nDURATION:PT1H\r\nSUMMARY:bob";
    let carol = "DTSTART:20261121T080000Z\r\nDURATION:PT1H\r\nSUMMARY:carol";
    let (old, new) = (changed(bob), changed(&format!("{carol}\r\nSEQUENCE:2")));
    for changes in [old.clone() + &new, new + &old] {
        let on_call = to_lines(&feed(&(event(DAILY) + &changes)));
        assert_eq!(on_call.len(), 4);
        assert!(on_call.iter().any(|it| it.starts_with("carol")), "{on_call:?}");
    }
    let cancelled = format!("{DAILY}\r\nSEQUENCE:3\r\nSTATUS:CANCELLED");
    assert_eq!(to_lines(&feed(&(event(DAILY) + &event(&cancelled) + &changed(bob)))), [""; 0]);
    let alone = to_lines(&feed(&changed(bob)));
    assert_eq!(alone, ["bob 2026-11-21T08:00 2026-11-21T09:00"], "a change without its series");
}

#[test]
fn a_change_that_can_not_be_read_leaves_nobody_on_call_by_a_guess() {
    let feed_of = |tx: &str| feed(&(event(DAILY) + tx));
    let unreadable = feed_of(&changed("SUMMARY:bob\r\nDTSTART:tomorrow\r\nDURATION:PT1H"));
    assert_eq!((unreadable.turns.len(), unreadable.unread), (3, 1), "its turn is open");
    for id in [
        "RECURRENCE-ID:tomorrow",
        "RECURRENCE-ID;TZID=Nowhere/Else:20261121T080000",
        "RECURRENCE-ID;RANGE=THISANDPRIOR:20261121T070000Z",
    ] {
        let lost = feed_of(&event(&format!(
            "{id}\r\nSUMMARY:bob\r\nDTSTART:20261121T080000Z\r\nDURATION:PT1H"
        )));
        assert_eq!((lost.turns.len(), lost.unread), (0, 2), "any turn of it may have changed");
    }
    let split = "RECURRENCE-ID;RANGE=THISANDFUTURE;TZID=Europe/Berlin:20261122T080000\r\n\
        SUMMARY:bob\r\nDTSTART:20261122T080000Z\r\nDURATION:PT1H";
    let split = feed_of(&event(split));
    assert_eq!((split.turns.len(), split.unread), (2, 1), "those before stay");
    assert_eq!(split.reasons, ["1: RANGE=THISANDFUTURE is not supported"]);
}

#[test]
fn dates_one_by_one_and_periods_are_added_and_taken_away() {
    let read = feed(&event(
        "SUMMARY:alice\r\nDTSTART:20261102T080000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY;COUNT=2\r\n\
         RDATE:20261103T080000Z,20261110T080000Z\r\n\
         RDATE;VALUE=PERIOD:20261111T080000Z/PT3H,20261112T080000Z/20261112T100000Z\r\n\
         EXDATE:20261102T080000Z",
    ));
    let expected = [
        "alice 2026-11-03T08:00 2026-11-03T09:00",
        "alice 2026-11-10T08:00 2026-11-10T09:00",
        "alice 2026-11-11T08:00 2026-11-11T11:00",
        "alice 2026-11-12T08:00 2026-11-12T10:00",
    ];
    assert_eq!((to_lines(&read).as_slice(), read.unread), (&expected.map(String::from)[..], 0));
    let days = to_lines(&feed(&event(
        "SUMMARY:bob\r\nDTSTART;VALUE=DATE:20261105\r\nRDATE;VALUE=DATE:20261107\r\nEXDATE;VALUE=DATE:20261105",
    )));
    assert_eq!(days, ["bob 2026-11-06T23:00 2026-11-07T23:00"]);
}

/// Outlook's clock of Berlin.
const OUTLOOK: &str = "BEGIN:VTIMEZONE\r\nTZID:W. Europe Standard Time\r\n\
    BEGIN:STANDARD\r\nDTSTART:16010101T030000\r\nTZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\n\
    RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10\r\nEND:STANDARD\r\n\
    BEGIN:DAYLIGHT\r\nDTSTART:16010101T020000\r\nTZOFFSETFROM:+0100\r\nTZOFFSETTO:+0200\r\n\
    RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=3\r\nEND:DAYLIGHT\r\nEND:VTIMEZONE\r\n";

fn start_in(zones: &str, start: &str) -> Vec<String> {
    let zone = berlin();
    let fields = format!("SUMMARY:a\r\nDTSTART;{start}\r\nDURATION:PT1H");
    let span = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    let read = read(&calendar(&(zones.to_owned() + &event(&fields))), &zone, span).unwrap();
    read.turns.iter().map(|turn| turn.from.to_string()).collect()
}

#[test]
fn zones_are_those_of_the_database_or_of_the_feed_itself() {
    let fixed = "BEGIN:VTIMEZONE\r\nTZID:Office\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n\
        TZOFFSETFROM:+0530\r\nTZOFFSETTO:+0530\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n";
    let placed = "BEGIN:VTIMEZONE\r\nTZID:Duty\r\nX-LIC-LOCATION:Asia/Tokyo\r\nEND:VTIMEZONE\r\n";
    let lying = "BEGIN:VTIMEZONE\r\nTZID:Asia/Tokyo\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\n\
        TZOFFSETFROM:+0000\r\nTZOFFSETTO:+0000\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n";
    for (zones, start, expected) in [
        (OUTLOOK, "TZID=W. Europe Standard Time:20261101T080000", "2026-11-01T07:00:00.000Z"),
        (OUTLOOK, "TZID=\"W. Europe Standard Time\":20260701T080000", "2026-07-01T06:00:00.000Z"),
        (OUTLOOK, "TZID=W. Europe Standard Time:20261025T010000", "2026-10-24T23:00:00.000Z"),
        (OUTLOOK, "TZID=W. Europe Standard Time:20261025T033000", "2026-10-25T02:30:00.000Z"),
        (fixed, "TZID=Office:20260701T080000", "2026-07-01T02:30:00.000Z"),
        (placed, "TZID=Duty:20260701T080000", "2026-06-30T23:00:00.000Z"),
        (lying, "TZID=Asia/Tokyo:20260701T080000", "2026-06-30T23:00:00.000Z"),
        ("", "VALUE=DATE-TIME:20260701T080000Z", "2026-07-01T08:00:00.000Z"),
    ] {
        assert_eq!(start_in(zones, start), [expected], "{start}");
    }
    let ended = OUTLOOK.replace("INTERVAL=1;BYDAY=-1SU;BYMONTH=3", "UNTIL=20200101T000000Z");
    for zones in
        ["", ended.as_str(), &OUTLOOK.replace("-1SU", "5SU"), &OUTLOOK.replace("+0100", "1")]
    {
        assert_eq!(start_in(zones, "TZID=W. Europe Standard Time:20261101T080000"), [""; 0]);
    }
}

#[test]
fn nobody_is_on_call_by_a_guess() {
    let hour = "SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDURATION:PT1H";
    let rules = [
        "FREQ=HOURLY",
        "FREQ=MINUTELY;COUNT=1000000",
        "FREQ=SECONDLY",
        "FREQ=DAILY;COUNT=99999999999",
        "FREQ=DAILY;COUNT=0",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;COUNT=3;UNTIL=20261125T000000Z",
        "FREQ=DAILY;UNTIL=20261125T000000Z;UNTIL=20271125T000000Z",
        "FREQ=DAILY;BYDAY=1MO",
        "FREQ=WEEKLY;BYDAY=2MO",
        "FREQ=WEEKLY;BYDAY=everyMO",
        "FREQ=WEEKLY;BYDAY=é",
        "FREQ=WEEKLY;BYDAY=éa",
        "FREQ=DAILY;BYSETPOS=1",
        "FREQ=DAILY;BYEASTER=1",
        "FREQ=DAILY;X-MINE=1",
        "FREQ=DAILY;",
        "FREQ=DAILY;BYHOUR=1,2,3,4,5;BYMINUTE=1,2,3,4,5",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "FREQ=YEARLY;BYDAY=99MO",
    ];
    let rules = rules.map(|rule| format!("{hour}\r\nRRULE:{rule}"));
    let others = [
        "SUMMARY:a\r\nDTSTART:20261120T080000Z".to_owned(),
        "SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDURATION:-PT1H".to_owned(),
        "SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDURATION:1 hour".to_owned(),
        "SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDTEND:20261120T070000Z".to_owned(),
        "SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDTEND;VALUE=DATE:20261121".to_owned(),
        "SUMMARY:a\r\nDTSTART:2026-11-20\r\nDTEND:20261121T080000Z".to_owned(),
        "SUMMARY:a\r\nDTSTART:20261320T080000Z\r\nDURATION:PT1H".to_owned(),
        "SUMMARY:a\r\nDTSTART;TZID=Nowhere/Else:20261120T080000\r\nDURATION:PT1H".to_owned(),
        format!("{hour}\r\nRDATE:tomorrow"),
        format!("{hour}\r\nEXDATE:tomorrow"),
        format!("{hour}\r\nEXRULE:FREQ=DAILY"),
        format!("{hour}\r\nRRULE:FREQ=DAILY\r\nRRULE:FREQ=WEEKLY"),
        format!("{hour}\r\nRRULE:FREQ=DAILY;BYMONTHDAY={}", ["1"; 300].join(",")),
    ];
    for fields in rules.iter().chain(&others) {
        let feed = feed(&event(fields));
        assert_eq!((feed.turns.len(), feed.unread), (0, 1), "{fields}");
        assert_eq!(feed.reasons.len(), 1, "{fields}");
    }
    let lost = "BEGIN:VEVENT\r\nRECURRENCE-ID:20261120T080000Z\r\nSUMMARY:a\r\n\
        DTSTART:20261120T080000Z\r\nDURATION:PT1H\r\nEND:VEVENT\r\n";
    assert_eq!(feed(lost).reasons, ["(no UID): a change of one turn has no UID"]);
}

#[test]
fn what_is_no_calendar_is_refused_and_a_line_that_is_none_is_counted() {
    for text in [
        "",
        "{}",
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\n",
        "BEGIN:VEVENT\nEND:VEVENT\n",
        "BEGIN:VCALENDAR\nBEGIN:VEVENT\nEND:VCALENDAR\nEND:VEVENT\n",
        "BEGIN:VCALENDAR\nEND:VCALENDAR\nBEGIN:VCALENDAR\nEND:VCALENDAR\n",
    ] {
        assert!(read(text, &TimeZone::UTC, november()).is_err(), "{text:?}");
    }
    let fields = "DESCRIPTION;X=\"open:first\r\nand a second\r\nATTENDEE;CN=Bob\r\nSUMMARY:alice\r\n\
        DTSTART:20261120T080000Z\r\nDURATION:PT1H";
    let feed = feed(&event(fields));
    assert_eq!(to_lines(&feed), ["alice 2026-11-20T08:00 2026-11-20T09:00"]);
    assert_eq!(feed.unread, 3);
}

#[test]
fn a_hostile_calendar_stalls_nothing() {
    let deep = "BEGIN:VEVENT\r\n".repeat(30_000);
    assert!(read(&calendar(&deep), &berlin(), november()).is_err(), "no stack overflows");
    let many = event("DTSTART:20261120T080000Z\r\nDURATION:PT1H").repeat(MOST_EVENTS + 1);
    assert!(read(&calendar(&many), &berlin(), november()).is_err());
    let no_ends_of_lines = calendar("X-A:b\r\n").replace("\r\n", "\n").replacen(
        "X-A:b\n",
        &"X-A:b\n".repeat(80_000),
        1,
    );
    assert!(read(&no_ends_of_lines, &berlin(), november()).is_ok());
    let never = "SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30";
    let never = calendar(&event(never).repeat(50));
    let read = read_within(&never, &berlin(), november(), Duration::ZERO).unwrap();
    assert_eq!((read.turns.len(), read.unread), (0, 50), "what there is no time for is left out");
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
    let dates = vec!["20261120T080000Z"; MOST_REPEATS_IN_ALL / 40 + 1].join(",");
    let listed =
        event(&format!("SUMMARY:a\r\nDTSTART:20261120T080000Z\r\nDURATION:PT1H\r\nRDATE:{dates}"));
    assert_eq!(feed(&listed).turns.len(), 1, "each start counts once");
    let ancient =
        event("SUMMARY:a\r\nDTSTART:10000101T080000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY");
    assert_eq!(feed(&ancient).reasons, [format!("1: {TOO_MUCH}")]);
}

/// A rule, with what it means said in another way: whether a day is one of its days.
#[derive(Debug, Clone)]
enum Common {
    Daily,
    Weekly(Vec<Weekday>),
    OnDayOfMonth(i8),
    OnWeekdayOfMonth(i8, Weekday),
    Yearly,
}

const DAYS: [(&str, Weekday); 7] = [
    ("MO", Weekday::Monday),
    ("TU", Weekday::Tuesday),
    ("WE", Weekday::Wednesday),
    ("TH", Weekday::Thursday),
    ("FR", Weekday::Friday),
    ("SA", Weekday::Saturday),
    ("SU", Weekday::Sunday),
];

fn word(day: Weekday) -> &'static str {
    DAYS.iter().find(|(_, it)| *it == day).unwrap().0
}

impl Common {
    fn rule(&self) -> String {
        match self {
            Self::Daily => "FREQ=DAILY".into(),
            Self::Weekly(days) => {
                let days: Vec<&str> = days.iter().map(|day| word(*day)).collect();
                format!("FREQ=WEEKLY;BYDAY={}", days.join(","))
            }
            Self::OnDayOfMonth(day) => format!("FREQ=MONTHLY;BYMONTHDAY={day}"),
            Self::OnWeekdayOfMonth(week, day) => {
                format!("FREQ=MONTHLY;BYDAY={week}{}", word(*day))
            }
            Self::Yearly => "FREQ=YEARLY".into(),
        }
    }

    /// Whether its turn has come on this day, and if so in which round since the first day.
    fn round(&self, first: Date, day: Date) -> Option<i32> {
        let monday = |day: Date| day - i64::from(day.weekday().to_monday_zero_offset()).days();
        let days = |from: Date, to: Date| (to - from).get_days();
        let months = |it: Date| i32::from(it.year()) * 12 + i32::from(it.month());
        let from_end = day.days_in_month() - day.day();
        match self {
            Self::Daily => Some(days(first, day)),
            Self::Weekly(on) => {
                on.contains(&day.weekday()).then(|| days(monday(first), monday(day)) / 7)
            }
            Self::OnDayOfMonth(on) => {
                let is_on = if *on > 0 { day.day() == *on } else { from_end == -on - 1 };
                is_on.then(|| months(day) - months(first))
            }
            Self::OnWeekdayOfMonth(week, on) => {
                let nth = if *week > 0 { (day.day() - 1) / 7 + 1 } else { -(from_end / 7 + 1) };
                (day.weekday() == *on && nth == *week).then(|| months(day) - months(first))
            }
            Self::Yearly => (day.month() == first.month() && day.day() == first.day())
                .then(|| i32::from(day.year()) - i32::from(first.year())),
        }
    }

    /// All its days up to the end of 2027, by looking at every single one.
    fn days(&self, first: Date, every: i32) -> Vec<Date> {
        let days = first.series(1.day()).take_while(|day| day.year() < 2028);
        let turn = |day: &Date| self.round(first, *day).is_some_and(|round| round % every == 0);
        days.filter(turn).collect()
    }
}

fn common() -> impl Strategy<Value = Common> {
    let day = || prop::sample::select(DAYS.map(|(_, day)| day).to_vec());
    let week = prop_oneof![1_i8..=4, Just(-1_i8), Just(-2)];
    prop_oneof![
        Just(Common::Daily),
        prop::collection::vec(day(), 1..4).prop_map(Common::Weekly),
        prop_oneof![1_i8..=31, -3_i8..=-1].prop_map(Common::OnDayOfMonth),
        (week, day()).prop_map(|(week, day)| Common::OnWeekdayOfMonth(week, day)),
        Just(Common::Yearly),
    ]
}

#[derive(Debug, Clone)]
enum Last {
    Open,
    Count(usize),
    Until(Date),
}

fn last() -> impl Strategy<Value = Last> {
    let until = (0_i64..500).prop_map(|days| Last::Until(day_of_2026(days)));
    prop_oneof![Just(Last::Open), (1_usize..60).prop_map(Last::Count), until]
}

fn day_of_2026(days: i64) -> Date {
    jiff::civil::date(2026, 1, 1) + days.days()
}

fn clock(at: DateTime) -> String {
    at.strftime("%Y%m%dT%H%M%S").to_string()
}

proptest! {
    /// The crate's expansion against one that looks at every day: the same turns, also over the two
    /// nights in which the clock is set.
    #[test]
    fn common_rules_mean_what_a_calendar_on_the_wall_says(
        common in common(),
        every in 1_i32..4,
        last in last(),
        (start, hour) in (0_i64..400, 0_i8..24),
        (out, moved) in (0_usize..20, 0_usize..20),
    ) {
        let (first, zone) = (day_of_2026(start), berlin());
        let days = common.days(first, every);
        let days: Vec<Date> = match last {
            Last::Open => days,
            Last::Count(count) => days.into_iter().take(count).collect(),
            Last::Until(until) => days.into_iter().filter(|day| *day <= until).collect(),
        };
        let until = match last {
            Last::Open => String::new(),
            Last::Count(count) => format!(";COUNT={count}"),
            Last::Until(until) => format!(";UNTIL={}", clock(until.at(23, 59, 59, 0))),
        };
        let (out, moved) = (days.get(out).copied(), days.get(moved).copied());
        let starts = |day: Date| day.at(hour, 30, 0, 0);
        let mut text = event(&format!(
            "SUMMARY:alice\r\nDTSTART;TZID=Europe/Berlin:{}\r\nDURATION:PT8H\r\n\
             RRULE:{};INTERVAL={every}{until}{}",
            clock(starts(first)),
            common.rule(),
            out.map(|day| format!("\r\nEXDATE;TZID=Europe/Berlin:{}", clock(starts(day)))).unwrap_or_default(),
        ));
        if let Some(day) = moved {
            text += &event(&format!(
                "SUMMARY:bob\r\nRECURRENCE-ID;TZID=Europe/Berlin:{}\r\nDTSTART:20260101T000000Z\r\nDURATION:PT1H",
                clock(starts(day)),
            ));
        }
        let span = (at("2026-02-01T00:00:00Z"), at("2027-12-01T00:00:00Z"));
        let read = read(&calendar(&text), &zone, span).unwrap();
        let instant = |at: &Zoned| Timestamp::from_millis(at.timestamp().as_millisecond());
        let expected = days.iter().filter(|day| Some(**day) != out && Some(**day) != moved);
        let expected = expected.filter_map(|day| {
            let from = starts(*day).to_zoned(zone.clone()).unwrap();
            let until = instant(&(&from + 8.hours()));
            let from = instant(&from);
            (from < span.1 && until > span.0).then_some((from, until))
        });
        let found: Vec<_> = read.turns.iter().map(|turn| (turn.from, turn.until)).collect();
        prop_assert_eq!(found, expected.collect::<Vec<_>>());
        prop_assert_eq!(read.unread, 0, "{:?}", read.reasons);
    }

    #[test]
    fn no_text_panics(
        text in "(BEGIN:VEVENT\n|END:VEVENT\n|UID:[ab]\n|DTSTART:[0-9TZ]{0,16}\n|DTSTART:2026110[1-9]\n|DTEND:[0-9TZ]{0,16}\n|RECURRENCE-ID:2026110[1-9]\n|RRULE:FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY);[A-Z=;,0-9-]{0,30}\n|[ A-Z:;=\"é]{0,20}\n){0,12}"
    ) {
        for text in [format!("BEGIN:VCALENDAR\n{text}END:VCALENDAR"), text] {
            let _ = read(&text, &TimeZone::UTC, november());
        }
    }

    #[test]
    fn no_rule_panics(rule in "FREQ=(DAILY|WEEKLY|MONTHLY|YEARLY)(;(BYDAY=-?[0-9]{0,2}(MO|SU)|BYMONTHDAY=-?[0-9]{1,2}|BYYEARDAY=-?[0-9]{1,3}|BYWEEKNO=-?[0-9]{1,2}|BYMONTH=[0-9]{1,2}|BYSETPOS=-?[0-9]{1,3}|INTERVAL=[0-9]{1,5}|COUNT=[0-9]{1,4}|BYHOUR=[0-9]{1,2}|WKST=(SU|TH))){0,3}", year in 1600_i16..9999) {
        let fields = format!("SUMMARY:a\r\nDTSTART:{year:04}0131T080000Z\r\nDURATION:PT1H\r\nRRULE:{rule}");
        let _ = read_within(&calendar(&event(&fields)), &TimeZone::UTC, november(), Duration::from_millis(50));
    }
}
