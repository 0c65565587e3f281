//! Instants and spans: milliseconds of wall time, whose reading is the caller's business.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// An instant, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The instant at so many milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// The instant a span later; at the end of time it stays there.
    #[must_use]
    pub const fn after(self, span: Ttl) -> Self {
        Self(self.0.saturating_add(span.millis()))
    }

    /// The span from here to a later instant; zero where that has passed.
    #[must_use]
    pub fn until(self, later: Self) -> Ttl {
        Ttl(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// Why a text is not an instant.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not an instant: write it as `2026-03-01T22:00:00Z`, with its zone")]
pub struct TimestampError(String);

impl FromStr for Timestamp {
    type Err = TimestampError;

    /// RFC 3339, with a zone.
    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let read = text.parse::<jiff::Timestamp>();
        let read = read.map_err(|_| TimestampError(text.chars().take(40).collect()))?;
        Ok(Self(read.as_millisecond()))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC, to the millisecond.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

/// A duration, in milliseconds, written as `90s`, `15m`, `1h30m` or `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Ttl(u64);

/// Why a text is not a span.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a duration: write it as `90s`, `15m`, `1h30m` or `2d`, of at most 366 days")]
pub struct TtlError(String);

const UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const LONGEST: u64 = 366 * 86_400_000;

impl Ttl {
    /// A span of so many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A span of so many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000))
    }

    /// The span in milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        // 366 days fit; a larger span, from arithmetic only, saturates.
        if self.0 > i64::MAX as u64 { i64::MAX } else { self.0.cast_signed() }
    }

    /// The span for the standard library's timers.
    #[must_use]
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0)
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Ttl {
    type Err = TtlError;

    fn from_str(text: &str) -> Result<Self, TtlError> {
        let wrong = || TtlError(text.chars().take(40).collect());
        let mut rest = text;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let (number, tail) = rest.split_at(digits);
            let letters =
                tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
            let (unit, tail) = tail.split_at(letters);
            let number: u64 = number.parse().map_err(|_| wrong())?;
            let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            let part = number.checked_mul(*factor).ok_or_else(wrong)?;
            total = total.checked_add(part).ok_or_else(wrong)?;
            rest = tail;
        }
        if total == 0 || total > LONGEST { Err(wrong()) } else { Ok(Self(total)) }
    }
}

impl TryFrom<String> for Ttl {
    type Error = TtlError;
    fn try_from(text: String) -> Result<Self, TtlError> {
        text.parse()
    }
}

impl From<Ttl> for String {
    fn from(ttl: Ttl) -> Self {
        ttl.to_string()
    }
}

impl fmt::Display for Ttl {
    /// The shortest exact spelling: `1h30m`, `90s` becomes `1m30s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (unit, factor) in UNITS.iter().rev() {
            let count = rest / factor;
            rest %= factor;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        for (text, millis, again) in [
            ("90s", 90_000, "1m30s"),
            ("15m", 900_000, "15m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("2d", 172_800_000, "2d"),
            ("250ms", 250, "250ms"),
        ] {
            let ttl: Ttl = text.parse().unwrap();
            assert_eq!((ttl.millis(), ttl.to_string().as_str()), (millis, again));
        }
    }

    #[test]
    fn what_is_not_a_span_is_refused() {
        for text in
            ["", "0s", "5", "m", "-1m", "1w", "1.5h", "1h ", "400d", "99999999999999999999d"]
        {
            assert!(text.parse::<Ttl>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn instants_are_written_in_utc() {
        assert_eq!(Timestamp::from_millis(0).to_string(), "1970-01-01T00:00:00.000Z");
        assert!(Timestamp::from_millis(i64::MAX).to_string().contains("ms since 1970"));
    }

    #[test]
    fn instants_are_read_with_their_zone() {
        for text in ["1970-01-01T01:00:00+01:00", "1970-01-01T00:00:00.000Z"] {
            assert_eq!(text.parse(), Ok(Timestamp::from_millis(0)), "{text}");
        }
        for text in ["", "1970-01-01", "1970-01-01T00:00:00", "22:00", "now"] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_span_reads_back(millis in 1_u64..LONGEST) {
            let ttl = Ttl::from_millis(millis);
            prop_assert_eq!(ttl.to_string().parse::<Ttl>().unwrap(), ttl);
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = text.parse::<Ttl>();
        }
    }
}
