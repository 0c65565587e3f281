//! The organisation's clock: its zone, its working hours and its holidays.

use crate::Timestamp;

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
}

impl From<jiff::civil::Weekday> for Day {
    fn from(day: jiff::civil::Weekday) -> Self {
        match day {
            jiff::civil::Weekday::Monday => Self::Mon,
            jiff::civil::Weekday::Tuesday => Self::Tue,
            jiff::civil::Weekday::Wednesday => Self::Wed,
            jiff::civil::Weekday::Thursday => Self::Thu,
            jiff::civil::Weekday::Friday => Self::Fri,
            jiff::civil::Weekday::Saturday => Self::Sat,
            jiff::civil::Weekday::Sunday => Self::Sun,
        }
    }
}

impl Local {
    /// A moment where no organisation says anything: in UTC, and never within working hours.
    #[must_use]
    pub fn utc(now: Timestamp) -> Self {
        let instant = jiff::Timestamp::from_millisecond(now.millis()).unwrap_or_default();
        let civil = instant.to_zoned(jiff::tz::TimeZone::UTC).datetime();
        Self {
            working_hours: false,
            holiday: false,
            day: civil.weekday().into(),
            hour: civil.hour(),
            minute: civil.minute(),
        }
    }
}
