//! When a series repeats (RFC 5545, section 3.3.10): expanded by the crate `rrule`, by the clock on the
//! wall.
//!
//! The crate is given a clock without a zone. Which instants its times are, also where a clock is set,
//! and when the last of them is, is decided here, with the same time zones as everything else. It reads
//! some rules otherwise than they are written, and others into huge lists: only what both read alike
//! and is small is handed on.

use chrono::{Datelike, NaiveDate, Timelike};
use jiff::Zoned;
use jiff::civil::DateTime;
use policies::{Timestamp, Ttl};
use rrule::{RRule, Tz, Unvalidated};

use super::zones::Zones;
use crate::sources::icalendar::budget::{Budget, Fault, MOST_REPEATS, TOO_MUCH};
use crate::sources::icalendar::moment::{Moment, When};
use crate::sources::icalendar::property::weekday;

/// The longest rule that is read, in bytes.
const LONGEST: usize = 500;
/// How many times a day it may repeat.
const MOST_A_DAY: usize = 24;
/// Clocks are set by less.
const MARGIN: Ttl = Ttl::from_secs(86_400);
const UNREAD: Fault = "its rule of repetition can't be read";

/// A rule, without its last moment, which is by the clock of its series.
pub(super) struct Rule {
    repeats: RRule<Unvalidated>,
    count: Option<u32>,
    until: Option<When>,
}

impl Rule {
    pub(super) fn read(text: &str, zones: &Zones<'_>) -> Result<Self, Fault> {
        if text.len() > LONGEST {
            return Err(UNREAD);
        }
        let (mut kept, mut until, mut times) = (Vec::new(), None, 1_usize);
        let (mut by_month_or_year, mut has_ordinal) = (false, false);
        let (mut picks, mut has_set) = (false, false);
        for part in text.split(';') {
            let (key, value) = part.split_once('=').ok_or(UNREAD)?;
            let key = key.to_ascii_uppercase();
            picks |= key == "BYSETPOS";
            has_set |= key.starts_with("BY") && key != "BYSETPOS";
            match key.as_str() {
                "UNTIL" => {
                    let moment = Moment::read(value, None, zones).ok_or(UNREAD)?;
                    if until.replace(moment.when).is_some() {
                        return Err(UNREAD);
                    }
                    continue;
                }
                "FREQ" => by_month_or_year = is_by_month_or_year(value)?,
                "BYDAY" => has_ordinal = has_ordinals(value).ok_or(UNREAD)?,
                "BYHOUR" | "BYMINUTE" | "BYSECOND" => {
                    times = times.saturating_mul(numbers(value).ok_or(UNREAD)?);
                }
                "BYMONTH" | "BYMONTHDAY" | "BYYEARDAY" | "BYWEEKNO" | "BYSETPOS" | "COUNT"
                | "INTERVAL" => {
                    numbers(value).ok_or(UNREAD)?;
                }
                "WKST" => drop(weekday(value).ok_or(UNREAD)?),
                _ => return Err(UNREAD),
            }
            kept.push(format!("{key}={value}"));
        }
        if times > MOST_A_DAY {
            return Err(TOO_MUCH);
        }
        let repeats: RRule<Unvalidated> = kept.join(";").parse().map_err(|_| UNREAD)?;
        let count = repeats.get_count();
        let is_odd = repeats.get_interval() == 0
            || count == Some(0)
            || (count.is_some() && until.is_some())
            || (has_ordinal && !by_month_or_year)
            || (picks && !has_set);
        if is_odd { Err(UNREAD) } else { Ok(Self { repeats, count, until }) }
    }

    /// Hands on each start, in the order of time, until an instant.
    pub(super) fn starts(
        &self,
        first: &Zoned,
        end: Timestamp,
        budget: &mut Budget,
        mut take: impl FnMut(&Zoned, &mut Budget) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let last = self.until.as_ref().map(|until| until.last(first));
        let end = last.map_or(end, |last| end.min(millis(last)));
        let stop = end.after(MARGIN);
        let rule = self.repeats.clone().build(chrono_of(first.datetime()).ok_or(UNREAD)?);
        let (mut count, rule) = (0_u32, rule.map_err(|_| UNREAD)?.limit());
        let mut dates = rule.into_iter();
        loop {
            budget.repeat()?;
            let Some(date) = dates.next() else { break };
            count = count.saturating_add(1);
            let start =
                clock_of(&date).and_then(|clock| clock.to_zoned(first.time_zone().clone()).ok());
            let start = start.ok_or(UNREAD)?;
            if millis(start.timestamp()) >= stop {
                return Ok(());
            }
            if count as usize > MOST_REPEATS {
                return Err(TOO_MUCH);
            }
            if last.is_none_or(|last| start.timestamp() <= last) {
                take(&start, budget)?;
            }
        }
        // Where the crate gave up, nobody knows what would have followed.
        if self.count == Some(count) {
            Ok(())
        } else {
            Err("its rule of repetition never comes true")
        }
    }
}

fn is_by_month_or_year(value: &str) -> Result<bool, Fault> {
    match value.to_ascii_uppercase().as_str() {
        "DAILY" | "WEEKLY" => Ok(false),
        "MONTHLY" | "YEARLY" => Ok(true),
        "HOURLY" | "MINUTELY" | "SECONDLY" => Err("it repeats within a day"),
        _ => Err(UNREAD),
    }
}

/// How many numbers such a list has.
fn numbers(list: &str) -> Option<usize> {
    let is_number = |text: &str| {
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    list.split(',').all(is_number).then(|| list.split(',').count())
}

/// Whether some of these days of the week are such as `1MO` or `-1FR`.
fn has_ordinals(list: &str) -> Option<bool> {
    let mut any = false;
    for item in list.split(',') {
        let (ordinal, day) = item.split_at_checked(item.len().checked_sub(2)?)?;
        weekday(day)?;
        if !ordinal.is_empty() {
            numbers(ordinal).filter(|_| ordinal.len() <= 3)?;
            any = true;
        }
    }
    Some(any)
}

fn millis(at: jiff::Timestamp) -> Timestamp {
    Timestamp::from_millis(at.as_millisecond())
}

fn chrono_of(clock: DateTime) -> Option<chrono::DateTime<Tz>> {
    let part = |part: i8| u32::try_from(part).ok();
    let day =
        NaiveDate::from_ymd_opt(i32::from(clock.year()), part(clock.month())?, part(clock.day())?)?;
    let clock =
        day.and_hms_opt(part(clock.hour())?, part(clock.minute())?, part(clock.second())?)?;
    Some(clock.and_utc().with_timezone(&Tz::UTC))
}

fn clock_of(date: &chrono::DateTime<Tz>) -> Option<DateTime> {
    let part = |part: u32| i8::try_from(part).ok();
    DateTime::new(
        i16::try_from(date.year()).ok()?,
        part(date.month())?,
        part(date.day())?,
        part(date.hour())?,
        part(date.minute())?,
        part(date.second())?,
        0,
    )
    .ok()
}
