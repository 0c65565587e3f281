//! Sizes in bytes, as configurations write them, and shares of a whole.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A number of bytes, written as `512B`, `256KiB`, `64MiB`, `2GiB` or `1TiB`. It is never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Size(u64);

/// Why a text is not a size.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{}` is not a size: write it as `512B`, `256KiB`, `64MiB`, `2GiB` or `1TiB`", .0.escape_debug())]
pub struct SizeError(String);

const UNITS: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];
const LARGEST: u64 = 1 << 60;
/// The most characters of a wrong text that its error repeats.
const SHOWN: usize = 40;

impl Size {
    /// A size of so many bytes; 0 becomes 1, since a size is never zero.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(if bytes == 0 { 1 } else { bytes })
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        let wrong = || SizeError(text.chars().take(SHOWN).collect());
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let bytes = number.checked_mul(*factor).filter(|bytes| (1..=LARGEST).contains(bytes));
        bytes.map(Self).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Size {
    type Error = SizeError;
    fn try_from(text: String) -> Result<Self, SizeError> {
        text.parse()
    }
}

impl From<Size> for String {
    fn from(size: Size) -> Self {
        size.to_string()
    }
}

impl fmt::Display for Size {
    /// The exact spelling with the largest unit: `2GiB`, `1536MiB`, `1000B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = |(_, factor): &&(&str, u64)| self.0.is_multiple_of(*factor);
        let (unit, factor) = UNITS.iter().rev().find(exact).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// A size, or a share of a whole in per cent, written as `5%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Amount {
    /// So many bytes.
    Size(Size),
    /// From 1 to 100 per cent.
    Percent(u8),
}

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{}` is neither a size nor a share: write it as `64MiB`, `2GiB`, `5%` or at most `100%`",
    .0.escape_debug()
)]
pub struct AmountError(String);

impl Amount {
    /// The bytes that this is of a whole.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Size(size) => size.bytes(),
            // A hundredth first, so that no whole overflows.
            Self::Percent(percent) => {
                let percent = u64::from(percent);
                (whole / 100) * percent + (whole % 100) * percent / 100
            }
        }
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let wrong = || AmountError(text.chars().take(SHOWN).collect());
        if let Some(number) = text.strip_suffix('%') {
            let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
            let percent = number.parse().ok().filter(|percent| (1..=100).contains(percent));
            return percent.filter(|_| is_number).map(Self::Percent).ok_or_else(wrong);
        }
        text.parse().map(Self::Size).map_err(|_| wrong())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size(size) => size.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A number of bytes for people: with two or three digits and the unit that fits, `1.4GiB`.
#[derive(Debug, Clone, Copy)]
pub struct Rounded(pub u64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, factor): &&(&str, u64)| self.0 >= *factor;
        let (unit, factor) = UNITS.iter().rev().find(fits).unwrap_or(&("B", 1));
        let (whole, rest) = (self.0 / factor, self.0 % factor);
        // INVARIANT: a remainder is below 2^40, so that ten times as much fits.
        match rest * 10 / factor {
            tenth if whole < 10 && tenth > 0 => write!(f, "{whole}.{tenth}{unit}"),
            _ => write!(f, "{whole}{unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, again) in [
            ("1B", 1, "1B"),
            ("1000B", 1_000, "1000B"),
            ("1024B", 1_024, "1KiB"),
            ("1536KiB", 1_536 << 10, "1536KiB"),
            ("64MiB", 64 << 20, "64MiB"),
            ("2GiB", 2 << 30, "2GiB"),
            ("2048GiB", 2 << 40, "2TiB"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, again));
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in
            ["", "0MiB", "5", "MiB", "-1MiB", "1.5GiB", "2GB", "2gib", "1 GiB", "99999999TiB"]
        {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn amounts_are_sizes_or_shares() {
        assert_eq!("5%".parse::<Amount>().unwrap().of(1_000), 50);
        assert_eq!("100%".parse::<Amount>().unwrap().of(u64::MAX), u64::MAX);
        assert_eq!("1KiB".parse::<Amount>().unwrap().of(7), 1_024);
        for text in ["0%", "101%", "%", "+5%", "5 %", "5"] {
            assert!(text.parse::<Amount>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn people_read_few_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1_536, "1.5KiB"),
            (12 << 20, "12MiB"),
            ((3 << 30) + (1 << 29), "3.5GiB"),
            (u64::MAX, "16777215TiB"),
        ] {
            assert_eq!(Rounded(bytes).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn every_size_survives_its_text(bytes in 1..=LARGEST) {
            let size = Size::from_bytes(bytes);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
        }

        #[test]
        fn a_share_is_never_more_than_the_whole(percent in 1..=100_u8, whole: u64) {
            prop_assert!(Amount::Percent(percent).of(whole) <= whole);
        }
    }
}
