//! When something begins, as a feed writes it.

use icalendar::parser::Property;
use jiff::Zoned;
use jiff::civil::{Date, DateTime, Time};

use crate::sources::icalendar::property::parameter;
use crate::sources::icalendar::zones::Zones;

/// A moment as it is written: by some zone's clock, by no zone's, or a whole day.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum When {
    At(jiff::Timestamp),
    Clock(DateTime),
    Day(Date),
}

impl When {
    /// When it begins, by the clock of a series where it names no zone.
    pub(super) fn first(&self, series: &Zoned) -> jiff::Timestamp {
        let zoned = |clock: DateTime| clock.to_zoned(series.time_zone().clone());
        match self {
            Self::At(at) => *at,
            Self::Clock(clock) => zoned(*clock).map_or(jiff::Timestamp::MIN, |at| at.timestamp()),
            Self::Day(day) => {
                zoned(day.at(0, 0, 0, 0)).map_or(jiff::Timestamp::MIN, |at| at.timestamp())
            }
        }
    }

    /// The last moment that it still includes: of a day, its end.
    pub(super) fn last(&self, series: &Zoned) -> jiff::Timestamp {
        match self {
            Self::At(_) | Self::Clock(_) => self.first(series),
            Self::Day(day) => Self::Clock(day.to_datetime(Time::MAX)).first(series),
        }
    }
}

/// A moment with the zone by whose clock it is.
pub(super) struct Moment {
    pub(super) when: When,
    pub(super) zoned: Zoned,
}

impl Moment {
    /// `20261120`, `20261120T080000` or `20261120T080000Z`.
    pub(super) fn read(text: &str, tzid: Option<&str>, zones: &Zones<'_>) -> Option<Self> {
        let (clock, is_utc) = match text.strip_suffix(['Z', 'z']) {
            Some(clock) => (clock, true),
            None => (text, false),
        };
        let zone = match (is_utc, tzid) {
            (true, _) => jiff::tz::TimeZone::UTC,
            (false, Some(name)) => zones.named(name)?,
            (false, None) => zones.ours().clone(),
        };
        let is_digit = |(at, byte): (usize, u8)| (at == 8) ^ byte.is_ascii_digit();
        if !clock.bytes().enumerate().all(is_digit) {
            return None;
        }
        let day = Date::strptime("%Y%m%d", clock.get(..8)?).ok()?;
        if clock.len() == 8 {
            let zoned = day.to_zoned(zone).ok()?;
            return (!is_utc).then_some(Self { when: When::Day(day), zoned });
        }
        let time = clock.get(8..).filter(|time| time.len() == 7)?;
        let time = Time::strptime("T%H%M%S", time).ok()?;
        let clock = day.to_datetime(time);
        let zoned = clock.to_zoned(zone).ok()?;
        let when = match is_utc || tzid.is_some() {
            true => When::At(zoned.timestamp()),
            false => When::Clock(clock),
        };
        Some(Self { when, zoned })
    }

    pub(super) fn of(property: &Property<'_>, zones: &Zones<'_>) -> Option<Self> {
        Self::read(property.val.as_str(), parameter(property, "TZID"), zones)
    }

    pub(super) fn is_day(&self) -> bool {
        matches!(self.when, When::Day(_))
    }
}
