//! Names, parsed once at the edge and compared byte for byte ever after.
//!
//! Two names that look alike (`app`, `APP`, `app `, a look-alike in Unicode) are two names: nothing
//! here folds case, trims or normalises. Copies are cheap, since a name is a shared string.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not a name of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind} {text:?} is not valid: {rule}")]
pub struct NameError {
    kind: &'static str,
    text: String,
    rule: &'static str,
}

/// Longest identifier that Postgres keeps, in bytes (NAMEDATALEN - 1).
const IDENTIFIER_MAX: usize = 63;

/// An upstream identifier: what Postgres would store, and nothing that could split a line.
fn identifier(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > IDENTIFIER_MAX {
        return Err("1 to 63 bytes are wanted");
    }
    if text.chars().any(char::is_control) {
        return Err("control characters are not allowed");
    }
    Ok(())
}

/// A DNS label, so that a target can be a host name below the gateway's.
fn label(text: &str) -> Result<(), &'static str> {
    const RULE: &str = "1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit";
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
    let bytes = text.as_bytes();
    let fits = bytes.len() <= IDENTIFIER_MAX && bytes.iter().all(|byte| inner(*byte));
    if fits && edge(bytes.first()) && edge(bytes.last()) { Ok(()) } else { Err(RULE) }
}

/// A key of a person or group: printable, without spaces at its ends.
fn key(text: &str) -> Result<(), &'static str> {
    if text.is_empty() || text.len() > 255 {
        return Err("1 to 255 bytes are wanted");
    }
    if text.chars().any(char::is_control) || text.trim() != text {
        return Err("control characters and surrounding spaces are not allowed");
    }
    Ok(())
}

/// An identifier that Postern made: a short prefix, a dash, and letters and digits.
fn id(text: &str) -> Result<(), &'static str> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (4..=64).contains(&text.len()) && text.bytes().all(fits) {
        Ok(())
    } else {
        Err("4 to 64 of a-z, 0-9 and - are wanted")
    }
}

/// A ticket as its tracker names it, such as `OPS-12` or `shop/orders#7`. It becomes part of addresses
/// and lines of text, so it is plain.
fn ticket(text: &str) -> Result<(), &'static str> {
    const RULE: &str = "1 to 64 of letters, digits and -_.:/#, beginning with a letter or digit";
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/#".contains(&byte);
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && text.len() <= 64 && text.bytes().all(fits) { Ok(()) } else { Err(RULE) }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $kind:literal, $rule:path;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses the text.
            ///
            /// # Errors
            /// Where the text breaks the rule for such names.
            pub fn new(text: &str) -> Result<Self, NameError> {
                match $rule(text) {
                    Ok(()) => Ok(Self(text.into())),
                    Err(rule) => Err(NameError { kind: $kind, text: text.into(), rule }),
                }
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }
    )*};
}

names! {
    /// Who a person or workload is, for ever: a configuration key, or an issuer and subject.
    PrincipalId, "principal", key;
    /// A group of people, as the configuration or the issuer names it.
    GroupName, "group", key;
    /// The device that holds a client certificate.
    DeviceId, "device", key;
    /// A service behind the gateway; also a host name label below the gateway's own name.
    TargetName, "target", label;
    /// An identity provider, as the configuration names it; also a part of its pages' paths.
    IssuerName, "issuer", label;
    /// An environment such as `prod`, which rules speak of.
    Environment, "environment", label;
    /// An upstream account.
    Login, "login", identifier;
    /// An upstream database.
    Database, "database", identifier;
    /// An access request.
    RequestId, "request", id;
    /// The review of an emergency.
    ReviewId, "review", id;
    /// A grant.
    GrantId, "grant", id;
    /// A session.
    SessionId, "session", id;
    /// A lock.
    LockId, "lock", id;
    /// A step-up.
    StepUpId, "step-up", id;
    /// One proof of identity: the serial of a certificate, or the public part of a token.
    CredentialId, "credential", key;
    /// A person's login session with control.
    LoginId, "login session", id;
    /// A ticket of the organisation's tracker.
    Ticket, "ticket", ticket;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_by_case_space_or_form_are_different() {
        let app = Login::new("app").unwrap();
        for other in ["APP", "app ", " app", "\u{ff41}pp", "app\u{301}"] {
            assert_ne!(app, Login::new(other).unwrap(), "{other:?}");
        }
    }

    #[test]
    fn what_could_split_a_line_or_a_message_is_no_name() {
        for text in ["", "a\0b", "a\nb", "a\u{1b}[31m", &"x".repeat(64)] {
            assert!(Login::new(text).is_err(), "{text:?}");
            assert!(Database::new(text).is_err(), "{text:?}");
            assert!(TargetName::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_target_is_a_dns_label() {
        for text in ["orders", "o", "web-1", "0-9"] {
            assert!(TargetName::new(text).is_ok(), "{text}");
        }
        for text in ["-a", "a-", "Orders", "a.b", "a_b", "bücher"] {
            assert!(TargetName::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_ticket_is_plain() {
        for text in ["OPS-12", "INC0012345", "shop/orders#7", "a"] {
            assert!(Ticket::new(text).is_ok(), "{text}");
        }
        for text in ["", "#7", "../x", "OPS 12", "OPS-12\n", "OPS-\u{661}", &"x".repeat(65)] {
            assert!(Ticket::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_error_says_what_was_wrong_with_what() {
        let error = TargetName::new("Orders").unwrap_err().to_string();
        assert!(error.contains("target \"Orders\" is not valid"), "{error}");
    }
}
