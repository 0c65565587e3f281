//! The time zones of a feed. A name of the time zone database means what that says; any other name is
//! what the feed's own `VTIMEZONE` says, where that is a clock that is set by the same rule each year.

use std::collections::BTreeMap;

use icalendar::parser::Component;
use jiff::tz::TimeZone;

use crate::sources::icalendar::property::{all, first};

/// How many zones of its own a feed may have.
const MOST_ZONES: usize = 100;

/// What clocks a feed's names of zones mean.
pub(super) struct Zones<'z> {
    ours: &'z TimeZone,
    own: BTreeMap<String, TimeZone>,
}

impl<'z> Zones<'z> {
    pub(super) fn of(calendar: &Component<'_>, ours: &'z TimeZone) -> Self {
        let zones = calendar.components.iter();
        let zones = zones.filter(|it| it.name.as_str().eq_ignore_ascii_case("VTIMEZONE"));
        let own = zones.take(MOST_ZONES).filter_map(|zone| {
            let name = first(zone, "TZID")?.val.as_str();
            Some((name.to_owned(), own_zone(zone)?))
        });
        Self { ours, own: own.collect() }
    }

    /// The organisation's clock, by which times are that name no zone.
    pub(super) fn ours(&self) -> &TimeZone {
        self.ours
    }

    pub(super) fn named(&self, name: &str) -> Option<TimeZone> {
        TimeZone::get(name).ok().or_else(|| self.own.get(name).cloned())
    }
}

/// A `VTIMEZONE` as the POSIX rule that it amounts to now, or as the zone that it says it is.
fn own_zone(zone: &Component<'_>) -> Option<TimeZone> {
    if let Some(place) = first(zone, "X-LIC-LOCATION") {
        return TimeZone::get(place.val.as_str()).ok();
    }
    let standard = observance(zone, "STANDARD")?;
    let daylight = observance(zone, "DAYLIGHT");
    let has_daylight = zone.components.iter().any(|it| is(it, "DAYLIGHT"));
    let posix = match (daylight, has_daylight) {
        (None, false) => format!("<STD>{}", standard.offset),
        (Some(daylight), true) => format!(
            "<STD>{}<DST>{},{},{}",
            standard.offset, daylight.offset, daylight.set?, standard.set?
        ),
        (None, true) | (Some(_), false) => return None,
    };
    TimeZone::posix(&posix).ok()
}

fn is(component: &Component<'_>, name: &str) -> bool {
    component.name.as_str().eq_ignore_ascii_case(name)
}

/// When a clock is set, and to what, in the words of POSIX.
struct Observance {
    offset: String,
    /// None where it is set once and for all.
    set: Option<String>,
}

/// The one of this kind that is in force: of several, the latest whose rule doesn't end.
fn observance(zone: &Component<'_>, kind: &str) -> Option<Observance> {
    let ends = |it: &&Component<'_>| {
        let rule = first(it, "RRULE").map(|rule| rule.val.as_str().to_ascii_uppercase());
        rule.is_some_and(|rule| rule.contains("UNTIL=") || rule.contains("COUNT="))
    };
    let begins = |it: &&Component<'_>| first(it, "DTSTART").map(|it| it.val.as_str().to_owned());
    let in_force = zone.components.iter().filter(|it| is(it, kind)).filter(|it| !ends(it));
    let latest = in_force.max_by_key(begins)?;
    let offset = offset(first(latest, "TZOFFSETTO")?.val.as_str())?;
    let mut rules = all(latest, "RRULE");
    let set = match (rules.next(), rules.next()) {
        (None, _) => None,
        (Some(rule), None) => Some(set_each_year(rule.val.as_str(), &begins(&latest)?)?),
        (Some(_), Some(_)) => return None,
    };
    Some(Observance { offset, set })
}

/// `+0130` as POSIX has it, which counts to the west.
fn offset(text: &str) -> Option<String> {
    let (sign, digits) = text.split_at_checked(1)?;
    let sign = match sign {
        "+" => "-",
        "-" => "+",
        _ => return None,
    };
    let is_time = matches!(digits.len(), 4 | 6) && digits.bytes().all(|it| it.is_ascii_digit());
    is_time.then_some(())?;
    let (hours, minutes) = (digits.get(..2)?, digits.get(2..4)?);
    Some(format!(
        "{sign}{hours}:{minutes}:{}",
        digits.get(4..).filter(|it| !it.is_empty()).unwrap_or("00")
    ))
}

/// `FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU`, from `20071028T030000` on, as `M10.5.0/03:00:00`.
fn set_each_year(rule: &str, begins: &str) -> Option<String> {
    let (mut month, mut day) = (None, None);
    for part in rule.split(';') {
        let (key, value) = part.split_once('=')?;
        match key.to_ascii_uppercase().as_str() {
            "FREQ" if value.eq_ignore_ascii_case("YEARLY") => {}
            "INTERVAL" if value == "1" => {}
            "WKST" => {}
            "BYMONTH" => month = value.parse::<u8>().ok().filter(|it| (1..=12).contains(it)),
            "BYDAY" => day = Some(day_of(value)?),
            _ => return None,
        }
    }
    let (week, day) = day?;
    let time = begins.get(8..)?.strip_prefix('T')?;
    let digits = time.len() == 6 && time.bytes().all(|it| it.is_ascii_digit());
    digits.then_some(())?;
    let (hour, minute, second) = (time.get(..2)?, time.get(2..4)?, time.get(4..)?);
    Some(format!("M{}.{week}.{day}/{hour}:{minute}:{second}", month?))
}

/// `-1SU` as POSIX has it: week 5 is the last, day 0 is Sunday.
fn day_of(text: &str) -> Option<(u8, usize)> {
    let (week, day) = text.split_at_checked(text.len().checked_sub(2)?)?;
    let day = crate::sources::icalendar::property::weekday(day)?;
    let week = match week.strip_prefix('+').unwrap_or(week) {
        "-1" => 5,
        week => week.parse().ok().filter(|it| (1..=4).contains(it))?,
    };
    Some((week, day))
}
