//! The organisation's clock: its zone, its working hours and its holidays, and when they change.
//!
//! Windows are read on the clock on the wall. One that ends before it begins goes on past midnight, and
//! belongs to the day on which it began; on a holiday, none begins. Where the clock is set forward, the
//! hour that is left out is never; where it is set back, the hour that comes twice counts both times.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{ToSpan, Zoned};
use thiserror::Error;

use crate::Timestamp;

/// How far ahead the next change is looked for. A week has all windows in it.
const AHEAD: i64 = 9;
const MINUTES: u16 = 24 * 60;

/// A moment by the organisation's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// Whether it is within working hours.
    pub working_hours: bool,
    /// Whether it is a holiday.
    pub holiday: bool,
    /// The day of the week.
    pub day: Day,
    /// The hour, 0 to 23.
    pub hour: i8,
    /// The minute, 0 to 59.
    pub minute: i8,
}

/// How finely rules look at the clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fineness {
    /// At working hours.
    pub working_hours: bool,
    /// At the day, or at holidays.
    pub day: bool,
    /// At the hour.
    pub hour: bool,
    /// At the minute, or at something that is not known from outside.
    pub minute: bool,
}

/// The organisation's clock. By default it is in UTC, and knows no working hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    zone: TimeZone,
    windows: Vec<Window>,
    holidays: BTreeSet<Holiday>,
}

impl Default for Calendar {
    fn default() -> Self {
        Self { zone: TimeZone::UTC, windows: Vec::new(), holidays: BTreeSet::new() }
    }
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Some hours of some days, written `Mon-Fri 09:00-18:00`, `Fri 22:00-06:00` or `Sat,Sun 10:00-24:00`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    days: BTreeSet<Day>,
    /// Minutes of the day.
    from: u16,
    /// Minutes of the day on which it began: beyond midnight, more than a day has.
    until: u16,
}

/// A day off: `2026-12-24`, or `12-25` for every year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holiday {
    year: Option<i16>,
    month: i8,
    day: i8,
}

/// Why a text is no window.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is not a window of working hours: write it as `Mon-Fri 09:00-18:00`, or as \
     `Fri 22:00-06:00` for one past midnight"
)]
pub struct WindowError(String);

/// Why a text is no holiday.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a holiday: write it as `2026-12-24`, or as `12-25` for every year")]
pub struct HolidayError(String);

impl Day {
    /// All, from Monday.
    pub const ALL: [Self; 7] =
        [Self::Mon, Self::Tue, Self::Wed, Self::Thu, Self::Fri, Self::Sat, Self::Sun];

    /// Its name in rules and configurations.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Mon => "Mon",
            Self::Tue => "Tue",
            Self::Wed => "Wed",
            Self::Thu => "Thu",
            Self::Fri => "Fri",
            Self::Sat => "Sat",
            Self::Sun => "Sun",
        }
    }

    fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|day| day.word() == word)
    }

    /// This day, and all up to and with the other, over the end of the week if need be.
    fn to(self, last: Self) -> impl Iterator<Item = Self> {
        let mut over = false;
        let days = Self::ALL.into_iter().cycle().skip_while(move |day| *day != self);
        days.take_while(move |day| {
            let before = over;
            over |= *day == last;
            !before
        })
    }
}

impl From<Weekday> for Day {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        read_window(text).ok_or_else(|| WindowError(text.chars().take(60).collect()))
    }
}

fn read_window(text: &str) -> Option<Window> {
    let (days, hours) = text.trim().split_once(' ')?;
    let mut named = BTreeSet::new();
    for part in days.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        named.extend(Day::named(first)?.to(Day::named(last)?));
    }
    let (from, until) = hours.trim().split_once('-')?;
    let (from, until) = (minutes(from)?, minutes(until)?);
    if from == MINUTES || from == until {
        return None;
    }
    let until = if until < from { until + MINUTES } else { until };
    Some(Window { days: named, from, until })
}

/// `09:30` as minutes; `24:00` is the end of the day.
fn minutes(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let total = u16::from(hours) * 60 + u16::from(minutes);
    (minutes < 60 && total <= MINUTES).then_some(total)
}

/// Exactly two digits, without the sign that a number might have.
fn two_digits(text: &str) -> Option<u8> {
    let fits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| fits)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days: Vec<&str> = self.days.iter().map(|day| day.word()).collect();
        let until = if self.until > MINUTES { self.until - MINUTES } else { self.until };
        let clock = |at: u16| format!("{:02}:{:02}", at / 60, at % 60);
        write!(f, "{} {}-{}", days.join(","), clock(self.from), clock(until))
    }
}

impl FromStr for Holiday {
    type Err = HolidayError;

    fn from_str(text: &str) -> Result<Self, HolidayError> {
        read_holiday(text).ok_or_else(|| HolidayError(text.chars().take(40).collect()))
    }
}

fn read_holiday(text: &str) -> Option<Holiday> {
    let (year, rest) = match text.len() {
        5 => (None, text),
        10 => (Some(year(text.get(..4)?)?), text.get(4..)?.strip_prefix('-')?),
        _ => return None,
    };
    let (month, day) = rest.split_once('-')?;
    let (month, day) = (two_digits(month)?.try_into().ok()?, two_digits(day)?.try_into().ok()?);
    // A leap year, where every year is meant.
    Date::new(year.unwrap_or(2024), month, day).ok()?;
    Some(Holiday { year, month, day })
}

/// Four digits, without a sign.
fn year(text: &str) -> Option<i16> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Local {
    /// A moment where no organisation says anything: in UTC, and never within working hours.
    #[must_use]
    pub fn utc(now: Timestamp) -> Self {
        Calendar::default().local(now)
    }
}

impl Calendar {
    /// A clock in this zone, with these working hours and holidays.
    #[must_use]
    pub fn new(
        zone: TimeZone,
        windows: Vec<Window>,
        holidays: impl IntoIterator<Item = Holiday>,
    ) -> Self {
        Self { zone, windows, holidays: holidays.into_iter().collect() }
    }

    /// The zone.
    #[must_use]
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether there are any working hours.
    #[must_use]
    pub fn has_hours(&self) -> bool {
        !self.windows.is_empty()
    }

    /// A moment by this clock.
    #[must_use]
    pub fn local(&self, now: Timestamp) -> Local {
        let civil = self.zoned(now).datetime();
        Local {
            working_hours: self.is_at_work(civil),
            holiday: self.is_off(civil.date()),
            day: civil.weekday().into(),
            hour: civil.hour(),
            minute: civil.minute(),
        }
    }

    /// The next instant at which one of these may be different from now; none where nothing changes
    /// by itself.
    #[must_use]
    pub fn next_change(&self, now: Timestamp, looks: Fineness) -> Option<Timestamp> {
        let zoned = self.zoned(now);
        let civil = zoned.datetime();
        let minute = civil.date().to_datetime(Time::constant(civil.hour(), civil.minute(), 0, 0));
        let hour = civil.date().to_datetime(Time::constant(civil.hour(), 0, 0, 0));
        let day = civil.date().to_datetime(Time::midnight());
        let mut marks: Vec<Option<DateTime>> = Vec::new();
        marks.extend(looks.minute.then(|| minute.checked_add(1.minute()).ok()));
        marks.extend(looks.hour.then(|| hour.checked_add(1.hour()).ok()));
        marks.extend(looks.day.then(|| day.checked_add(1.day()).ok()));
        if looks.working_hours {
            marks.extend(self.edges(civil.date()).map(Some));
        }
        if marks.is_empty() {
            return None;
        }
        let instants = marks.into_iter().flatten().flat_map(|mark| self.instants(mark));
        // Where the clock itself is set, everything may change.
        let set = self.zone.following(zoned.timestamp()).next().map(|set| set.timestamp());
        let all = instants.chain(set).map(|at| Timestamp::from_millis(at.as_millisecond()));
        all.filter(|at| *at > now).min()
    }

    fn zoned(&self, now: Timestamp) -> Zoned {
        let instant = jiff::Timestamp::from_millisecond(now.millis()).unwrap_or_default();
        instant.to_zoned(self.zone.clone())
    }

    fn is_at_work(&self, civil: DateTime) -> bool {
        let (today, yesterday) = (civil.date(), civil.date().yesterday().ok());
        let minute = u16::try_from(i16::from(civil.hour()) * 60 + i16::from(civil.minute()));
        let minute = minute.unwrap_or_default();
        self.windows.iter().any(|window| {
            let began = |date: Date, minute: u16| {
                let open = (window.from..window.until).contains(&minute);
                open && window.days.contains(&date.weekday().into()) && !self.is_off(date)
            };
            began(today, minute) || yesterday.is_some_and(|date| began(date, minute + MINUTES))
        })
    }

    fn is_off(&self, date: Date) -> bool {
        self.holidays.iter().any(|off| {
            (off.month, off.day) == (date.month(), date.day())
                && off.year.is_none_or(|year| year == date.year())
        })
    }

    /// Where windows begin and end, around and after a day.
    fn edges(&self, date: Date) -> impl Iterator<Item = DateTime> {
        let days = (-1..AHEAD).filter_map(move |ahead| date.checked_add(ahead.days()).ok());
        days.flat_map(|date| {
            let midnight = date.to_datetime(Time::midnight());
            let edges = self.windows.iter().flat_map(|window| [window.from, window.until]);
            edges.filter_map(move |minute| midnight.checked_add(i64::from(minute).minutes()).ok())
        })
    }

    /// When the clock shows this: never, once, or twice; around the gap where it never does.
    fn instants(&self, civil: DateTime) -> impl Iterator<Item = jiff::Timestamp> {
        let ambiguous = || self.zone.to_ambiguous_timestamp(civil);
        [ambiguous().earlier(), ambiguous().later()].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn berlin(windows: &[&str], holidays: &[&str]) -> Calendar {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let windows = windows.iter().map(|text| text.parse().unwrap()).collect();
        Calendar::new(zone, windows, holidays.iter().map(|text| text.parse().unwrap()))
    }

    fn at(text: &str) -> Timestamp {
        let civil: DateTime = text.parse().unwrap();
        let zoned = civil.to_zoned(TimeZone::get("Europe/Berlin").unwrap()).unwrap();
        Timestamp::from_millis(zoned.timestamp().as_millisecond())
    }

    #[rstest]
    #[case("2026-11-20T08:59:59", false)]
    #[case("2026-11-20T09:00", true)]
    #[case("2026-11-20T17:59:59.999", true)]
    #[case("2026-11-20T18:00", false)]
    #[case("2026-11-21T10:00", false)]
    #[case("2026-12-24T10:00", false)]
    #[case("2027-12-24T10:00", true)]
    #[case("2026-12-25T10:00", false)]
    #[case("2028-12-25T10:00", false)]
    fn working_hours_are_read_in_the_organisations_zone(#[case] when: &str, #[case] open: bool) {
        let calendar = berlin(&["Mon-Fri 09:00-18:00"], &["2026-12-24", "12-25"]);
        assert_eq!(calendar.local(at(when)).working_hours, open);
    }

    #[rstest]
    #[case("2026-11-20T21:59", false)]
    #[case("2026-11-20T22:00", true)]
    #[case("2026-11-21T00:00", true)]
    #[case("2026-11-21T05:59", true)]
    #[case("2026-11-21T06:00", false)]
    #[case("2026-11-21T23:00", false)]
    #[case("2026-11-20T03:00", false)]
    #[case("2026-12-25T23:00", false)]
    #[case("2026-12-26T03:00", false)]
    #[case("2026-12-19T03:00", true)]
    fn windows_across_midnight_work(#[case] when: &str, #[case] open: bool) {
        let calendar = berlin(&["Fri 22:00-06:00"], &["2026-12-25"]);
        assert_eq!(calendar.local(at(when)).working_hours, open);
    }

    #[test]
    fn an_hour_that_comes_twice_counts_twice_and_one_left_out_never() {
        let calendar = berlin(&["Sun 02:00-03:00"], &[]);
        let looks = Fineness { working_hours: true, ..Fineness::default() };
        let open = |hours: u64| crate::Ttl::from_secs(hours * 3_600);
        // Set back on 25 October 2026 at 03:00.
        let begins = at("2026-10-25T02:00");
        assert!(calendar.local(begins).working_hours);
        assert!(calendar.local(begins.after(open(1))).working_hours);
        assert!(!calendar.local(begins.after(open(2))).working_hours);
        // Set forward on 29 March 2026 at 02:00.
        let before = at("2026-03-29T01:59");
        let gap = calendar.next_change(before, looks).unwrap();
        assert!(!calendar.local(gap).working_hours);
    }

    #[test]
    fn windows_and_holidays_are_read_and_the_rest_refused() {
        for (text, again) in [
            ("Mon-Fri 09:00-18:00", "Mon,Tue,Wed,Thu,Fri 09:00-18:00"),
            ("Sat,Sun 10:00-24:00", "Sat,Sun 10:00-24:00"),
            ("Sat-Mon 22:00-06:00", "Mon,Sat,Sun 22:00-06:00"),
            ("Mon-Sun 00:00-24:00", "Mon,Tue,Wed,Thu,Fri,Sat,Sun 00:00-24:00"),
        ] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), again);
        }
        for text in [
            "",
            "Mon",
            "09:00-18:00",
            "mon 09:00-18:00",
            "Mon 9:00-18:00",
            "Mon 09:00-25:00",
            "Mon 65535:00-09:00",
            "Mon 09:00-09:00",
            "Mon 24:00-06:00",
            "Mon- 09:00-18:00",
            "Mon 09:60-18:00",
            "Mon 09:00",
            "Mon +9:00-18:00",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text:?}");
        }
        for text in [
            "",
            "12-32",
            "13-01",
            "2026-02-29",
            "26-12-24",
            "2026/12/24",
            "12-2é",
            "+1-+1",
            "+026-12-24",
        ] {
            assert!(text.parse::<Holiday>().is_err(), "{text:?}");
        }
        assert!("02-29".parse::<Holiday>().is_ok());
    }

    #[test]
    fn what_nobody_looks_at_never_changes() {
        let calendar = berlin(&["Mon-Fri 09:00-18:00"], &[]);
        assert_eq!(calendar.next_change(at("2026-11-20T10:00"), Fineness::default()), None);
        let looks = Fineness { hour: true, ..Fineness::default() };
        let next = calendar.next_change(at("2026-11-20T10:30"), looks);
        assert_eq!(next, Some(at("2026-11-20T11:00")));
    }

    fn any_fineness() -> impl Strategy<Value = Fineness> {
        any::<[bool; 4]>().prop_map(|[working_hours, day, hour, minute]| Fineness {
            working_hours,
            day,
            hour,
            minute,
        })
    }

    /// What rules that look so finely can see.
    fn seen(local: Local, looks: Fineness) -> [Option<i8>; 5] {
        let Local { working_hours, holiday, day, hour, minute } = local;
        [
            looks.working_hours.then_some(i8::from(working_hours)),
            looks.day.then_some(day as i8),
            looks.day.then_some(i8::from(holiday)),
            looks.hour.then_some(hour),
            looks.minute.then_some(minute),
        ]
    }

    proptest! {
        #[test]
        fn nothing_changes_before_the_next_change(
            now in 1_760_000_000_000_i64..1_830_000_000_000,
            looks in any_fineness(),
            parts in prop::collection::vec(0.0..1.0_f64, 8),
        ) {
            let calendar =
                berlin(&["Mon-Fri 09:00-18:00", "Fri 22:00-06:00", "Sun 01:30-02:30"], &["12-25"]);
            let now = Timestamp::from_millis(now);
            let before = seen(calendar.local(now), looks);
            let week = now.after(crate::Ttl::from_secs(7 * 86_400));
            let next = calendar.next_change(now, looks).unwrap_or(week);
            prop_assert!(next > now);
            #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a part")]
            for part in parts {
                let ahead = ((next.millis() - now.millis() - 1) as f64 * part) as i64;
                let then = Timestamp::from_millis(now.millis() + ahead);
                prop_assert_eq!(seen(calendar.local(then), looks), before, "at {}", then);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = (text.parse::<Window>(), text.parse::<Holiday>());
        }
    }
}
