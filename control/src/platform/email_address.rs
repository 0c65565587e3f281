//! Addresses of people's mail.

use std::fmt;
use std::str::FromStr;

use lettre::Address;
use thiserror::Error;

/// What RFC 5321 lets an address be long.
const LONGEST: usize = 254;

/// An e-mail address in plain ASCII. It is where somebody is notified, and never who they are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(String);

/// Why a text is not an e-mail address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not an e-mail address: write it as `alice@example.com`")]
pub struct EmailError(String);

impl Email {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether mail to both arrives at one place, as mail systems commonly read addresses: without
    /// regard to case.
    #[must_use]
    pub fn reaches_same(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }

    /// What names the mailbox, as mail systems commonly read addresses: without regard to case, or to
    /// what follows a `+`.
    #[must_use]
    pub(crate) fn mailbox(&self) -> String {
        let lower = self.0.to_ascii_lowercase();
        let parts = lower.split_once('@').map(|(name, domain)| {
            let name = name.split_once('+').map_or(name, |(before, _)| before);
            format!("{name}@{domain}")
        });
        parts.unwrap_or(lower)
    }

    pub(crate) fn address(&self) -> Result<Address, EmailError> {
        self.0.parse().map_err(|_| refused(&self.0))
    }
}

fn refused(text: &str) -> EmailError {
    EmailError(text.chars().take(80).flat_map(char::escape_debug).collect())
}

impl FromStr for Email {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        // What needs quotes in a header or on the wire is left to others.
        let odd = |byte: u8| !byte.is_ascii_graphic() || b"\"\\<>()[],;:".contains(&byte);
        if text.len() > LONGEST || text.bytes().any(odd) || text.matches('@').count() != 1 {
            return Err(refused(text));
        }
        let address: Result<Address, _> = text.parse();
        address.map_err(|_| refused(text))?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_fits_a_header_and_the_wire_as_it_stands() {
        for text in ["alice@example.com", "a.b+c@sub.example.com", "o'neil@example.com"] {
            assert_eq!(text.parse::<Email>().unwrap().as_str(), text);
        }
        for text in [
            "",
            "alice",
            "@example.com",
            "alice@",
            "alice@example.com\r\nBcc: all@example.com",
            "alice@example.com>",
            "Alice <alice@example.com>",
            "\"a b\"@example.com",
            "alice@@example.com",
            "alice@exa mple.com",
            "älice@example.com",
            &format!("{}@example.com", "a".repeat(300)),
        ] {
            assert!(text.parse::<Email>().is_err(), "{text}");
        }
    }

    #[test]
    fn case_makes_no_other_mailbox() {
        let [a, b]: [Email; 2] =
            ["Alice@Example.com", "alice@example.com"].map(|t| t.parse().unwrap());
        assert!(a.reaches_same(&b) && a != b);
    }
}
