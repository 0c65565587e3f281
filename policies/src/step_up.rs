//! A step-up: fresh, stronger proof by one person for one act (RFC 9470).
//!
//! It belongs to a person, a purpose, a thing, and, at the moment of use, to the certificate or address
//! of one connection. A step-up for one of them serves no other, however fresh it is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{CredentialId, Digest, PrincipalId, StepUpId, Timestamp, Ttl};

/// What was proved with, the weaker first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepUpKind {
    /// A code of an authenticator app (RFC 6238).
    Totp,
    /// A passkey, with user verification.
    Passkey,
}

/// What somebody proves themselves for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// To sign in.
    SignIn,
    /// To ask for access.
    Ask,
    /// To approve somebody's request.
    Approve,
    /// To let one's own waiting connection go on.
    Connect,
    /// To change what protects an account or the gateway.
    Administer,
}

/// Where a step-up is good, written `certificate:5f3a` or `address:203.0.113.9`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Bound {
    /// For whoever holds the key of one certificate, by its serial. A device's name would not do: it
    /// is chosen by whoever asks for a certificate.
    Certificate(CredentialId),
    /// From one address, where the connection has no certificate.
    Address(IpAddr),
}

/// One proof, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUp {
    /// Its name.
    pub id: StepUpId,
    /// Who.
    pub principal: PrincipalId,
    /// With what.
    pub kind: StepUpKind,
    /// What for.
    pub purpose: Purpose,
    /// The resource or the request that it was for, as text.
    pub subject: String,
    /// When.
    pub at: Timestamp,
    /// Where it is good, for connections.
    pub bound: Option<Bound>,
    /// The public id of the authenticator; never a secret.
    pub credential: String,
    /// The digest of the statement that was shown and agreed to.
    pub digest: Digest,
}

/// The step-up that an act takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need<'a> {
    /// Whose.
    pub principal: &'a PrincipalId,
    /// What for.
    pub purpose: Purpose,
    /// The resource or the request.
    pub subject: &'a str,
    /// Where the connection is; a connection that is nowhere is served by nothing.
    pub bound: Option<&'a Bound>,
    /// How old it may be.
    pub within: Ttl,
}

/// Why a step-up doesn't serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StepUpError {
    /// It is somebody else's.
    #[error("it was given by another person")]
    AnotherPerson,
    /// It was for another act.
    #[error("it was given for another purpose")]
    AnotherPurpose,
    /// It was for another thing.
    #[error("it was given for something else")]
    AnotherSubject,
    /// It was for a connection elsewhere.
    #[error("it was given for another certificate or address")]
    Elsewhere,
    /// It is too old, or of a time to come.
    #[error("it is not fresh enough")]
    Stale,
}

impl StepUp {
    /// Whether it serves for this.
    ///
    /// # Errors
    /// The first thing that doesn't fit.
    pub fn serves(&self, need: &Need<'_>, now: Timestamp) -> Result<(), StepUpError> {
        let checks = [
            (self.principal == *need.principal, StepUpError::AnotherPerson),
            (self.purpose.covers(need.purpose), StepUpError::AnotherPurpose),
            (self.subject == need.subject, StepUpError::AnotherSubject),
            (self.is_here(need), StepUpError::Elsewhere),
            // A clock that was set back must not make it last longer.
            (self.at <= now && now < self.at.after(need.within), StepUpError::Stale),
        ];
        checks.into_iter().find(|(fits, _)| !fits).map_or(Ok(()), |(_, why)| Err(why))
    }

    /// How old it is.
    #[must_use]
    pub fn age(&self, now: Timestamp) -> Ttl {
        self.at.until(now)
    }

    fn is_here(&self, need: &Need<'_>) -> bool {
        match need.purpose {
            Purpose::Connect => self.bound.is_some() && self.bound.as_ref() == need.bound,
            Purpose::SignIn | Purpose::Ask | Purpose::Approve | Purpose::Administer => true,
        }
    }
}

impl Purpose {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::SignIn => "sign-in",
            Self::Ask => "ask",
            Self::Approve => "approve",
            Self::Connect => "connect",
            Self::Administer => "administer",
        }
    }

    /// A step-up for a connection counts for the request for it, too.
    fn covers(self, wanted: Self) -> bool {
        self == wanted || (self == Self::Connect && wanted == Self::Ask)
    }
}

impl StepUpKind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Totp => "totp",
            Self::Passkey => "passkey",
        }
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Purpose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::SignIn, Self::Ask, Self::Approve, Self::Connect, Self::Administer];
        let found = all.into_iter().find(|purpose| purpose.word() == text);
        found.ok_or_else(|| format!("`{text}` is no purpose of a step-up"))
    }
}

impl fmt::Display for StepUpKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for StepUpKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = [Self::Totp, Self::Passkey].into_iter().find(|kind| kind.word() == text);
        found.ok_or_else(|| format!("`{text}` is no kind of step-up"))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(serial) => write!(f, "certificate:{serial}"),
            Self::Address(address) => write!(f, "address:{address}"),
        }
    }
}

impl FromStr for Bound {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = match text.split_once(':') {
            Some(("certificate", serial)) => serial.parse().map(Self::Certificate).ok(),
            Some(("address", address)) => address.parse().map(Self::Address).ok(),
            Some(_) | None => None,
        };
        parsed
            .ok_or_else(|| format!("`{text}` is no place: write certificate:SERIAL or address:IP"))
    }
}

impl TryFrom<String> for Bound {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Bound> for String {
    fn from(bound: Bound) -> Self {
        bound.to_string()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use rstest::rstest;

    use super::*;

    pub(crate) fn step_up(by: &str, purpose: Purpose, subject: &str, at: Timestamp) -> StepUp {
        StepUp {
            id: StepUpId::new("su-1").unwrap(),
            principal: PrincipalId::new(by).unwrap(),
            kind: StepUpKind::Passkey,
            purpose,
            subject: subject.into(),
            at,
            bound: Some("certificate:5f3a".parse().unwrap()),
            credential: "key-1".into(),
            digest: String::from("d").into(),
        }
    }

    #[rstest]
    #[case("alice", Purpose::Connect, "a@o", "certificate:5f3a", 299, Ok(()))]
    #[case("alice", Purpose::Ask, "a@o", "certificate:5f3a", 299, Ok(()))]
    #[case("alice", Purpose::Ask, "a@o", "certificate:07", 299, Ok(()))]
    #[case("bob", Purpose::Connect, "a@o", "certificate:5f3a", 1, Err(StepUpError::AnotherPerson))]
    #[case(
        "alice",
        Purpose::Approve,
        "a@o",
        "certificate:5f3a",
        1,
        Err(StepUpError::AnotherPurpose)
    )]
    #[case(
        "alice",
        Purpose::Administer,
        "a@o",
        "certificate:5f3a",
        1,
        Err(StepUpError::AnotherPurpose)
    )]
    #[case(
        "alice",
        Purpose::Connect,
        "b@o",
        "certificate:5f3a",
        1,
        Err(StepUpError::AnotherSubject)
    )]
    #[case("alice", Purpose::Connect, "a@o", "certificate:5f3b", 1, Err(StepUpError::Elsewhere))]
    #[case("alice", Purpose::Connect, "a@o", "address:203.0.113.9", 1, Err(StepUpError::Elsewhere))]
    #[case("alice", Purpose::Connect, "a@o", "certificate:5f3a", 300, Err(StepUpError::Stale))]
    #[case("alice", Purpose::Connect, "a@o", "certificate:5f3a", -1, Err(StepUpError::Stale))]
    fn a_touch_serves_one_person_one_act_one_thing_one_place_and_not_for_long(
        #[case] who: &str,
        #[case] purpose: Purpose,
        #[case] subject: &str,
        #[case] bound: &str,
        #[case] later: i64,
        #[case] expected: Result<(), StepUpError>,
    ) {
        let at = Timestamp::from_millis(1_000_000);
        let given = step_up("alice", Purpose::Connect, "a@o", at);
        let (principal, bound) = (PrincipalId::new(who).unwrap(), bound.parse().unwrap());
        let within = Ttl::from_secs(300);
        let need = Need { principal: &principal, purpose, subject, bound: Some(&bound), within };
        let now = Timestamp::from_millis(1_000_000 + later * 1_000);
        assert_eq!(given.serves(&need, now), expected);
    }

    #[test]
    fn a_connection_that_is_nowhere_is_served_by_nothing() {
        let at = Timestamp::from_millis(0);
        let given = StepUp { bound: None, ..step_up("alice", Purpose::Connect, "a@o", at) };
        let principal = PrincipalId::new("alice").unwrap();
        let need = Need {
            principal: &principal,
            purpose: Purpose::Connect,
            subject: "a@o",
            bound: None,
            within: Ttl::from_secs(300),
        };
        assert_eq!(given.serves(&need, at), Err(StepUpError::Elsewhere));
    }

    #[test]
    fn places_and_words_are_written_and_read() {
        for text in ["certificate:5f3a", "address:203.0.113.9", "address:2001:db8::1"] {
            assert_eq!(text.parse::<Bound>().unwrap().to_string(), text);
        }
        for text in ["laptop-7", "address:here", "certificate:", "cookie:1"] {
            assert!(text.parse::<Bound>().is_err(), "{text}");
        }
        for word in ["sign-in", "ask", "approve", "connect", "administer"] {
            assert_eq!(word.parse::<Purpose>().unwrap().to_string(), word);
        }
        for word in ["totp", "passkey"] {
            assert_eq!(word.parse::<StepUpKind>().unwrap().to_string(), word);
        }
        assert!("touch".parse::<Purpose>().is_err() && "sms".parse::<StepUpKind>().is_err());
    }
}
