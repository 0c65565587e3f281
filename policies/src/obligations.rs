//! Obligations: what a `forbid` takes to be discharged, as its annotations say.
//!
//! Several rules add up to the strictest: [`Obligations::and`] never takes less than either.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use cedar_policy::{Effect, Policy};
use regex::Regex;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::annotation::known;
use crate::{Approvals, Ticket, Ttl};

/// How long a reason has to be where a rule only says that there has to be one.
const REASON: u32 = 10;
/// The longest reason that a rule may want.
const REASON_MOST: u32 = 500;

/// What a `forbid` takes. Nothing at all means that nothing discharges it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Obligations {
    /// Whose approval, and how many.
    pub approvals: Approvals,
    /// The longest that the grant may last.
    pub limit: Option<Ttl>,
    /// How old a step-up may be.
    pub step_up: Option<Ttl>,
    /// What the ticket has to look like: all of these.
    pub tickets: BTreeSet<TicketPattern>,
    /// How many characters the reason has to have.
    pub reason: Option<u32>,
    /// How soon after it was given the grant has to be used.
    pub claim_within: Option<Ttl>,
    /// What the recording has to keep.
    pub record: BTreeSet<Record>,
}

/// What a rule can want a recording to keep, beyond what every recording has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Record {
    /// The values that statements are bound to, whatever the target says: Postgres.
    Binds,
    /// All data of COPY, and long values whole, as far as the target's own settings keep any: Postgres.
    Data,
    /// What programs get from the client: standard input whole, and what is typed into a terminal, as far as
    /// the target shows it: SSH.
    Input,
}

/// A word that names nothing that can be recorded.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "`{0}` is nothing that can be recorded: known are `binds` and `data` (Postgres), and `input` (SSH); \
     rows that come back are counted, and never kept"
)]
pub struct UnknownRecord(String);

impl Record {
    /// Its name in rules and on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Binds => "binds",
            Self::Data => "data",
            Self::Input => "input",
        }
    }

    /// What is kept, in words for the people whom it is about.
    pub(crate) fn describe(self) -> &'static str {
        match self {
            Self::Binds => "`binds` recorded",
            Self::Data => "`data` recorded (all data of COPY, and long values whole)",
            Self::Input => {
                "`input` recorded (what is typed, as far as the terminal shows it, and all of the standard \
                 input of programs without a terminal)"
            }
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Record {
    type Err = UnknownRecord;

    fn from_str(text: &str) -> Result<Self, UnknownRecord> {
        match text {
            "binds" => Ok(Self::Binds),
            "data" => Ok(Self::Data),
            "input" => Ok(Self::Input),
            other => Err(UnknownRecord(other.chars().take(40).collect())),
        }
    }
}

/// What a ticket has to look like: a regular expression that has to match all of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TicketPattern {
    text: String,
    regex: Regex,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a regular expression: {why}")]
pub struct PatternError {
    text: String,
    why: String,
}

impl TicketPattern {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether all of the ticket's name matches.
    #[must_use]
    pub fn fits(&self, ticket: &Ticket) -> bool {
        self.regex.is_match(ticket.as_str())
    }
}

impl FromStr for TicketPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let wrong = |why: String| PatternError { text: text.chars().take(80).collect(), why };
        if text.is_empty() {
            return Err(wrong("it is empty".to_owned()));
        }
        // Alone first, so that a parenthesis too many can't end the group that anchors it.
        Regex::new(text).map_err(|error| wrong(last_line(&error)))?;
        let anchored = regex::RegexBuilder::new(&format!(r"\A(?:{text})\z")).build();
        let regex = anchored.map_err(|error| wrong(last_line(&error)))?;
        Ok(Self { text: text.to_owned(), regex })
    }
}

/// The library draws where the fault is; what it is stands last.
fn last_line(error: &regex::Error) -> String {
    let message = error.to_string();
    message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

impl TryFrom<String> for TicketPattern {
    type Error = PatternError;
    fn try_from(text: String) -> Result<Self, PatternError> {
        text.parse()
    }
}

impl From<TicketPattern> for String {
    fn from(pattern: TicketPattern) -> Self {
        pattern.text
    }
}

impl PartialEq for TicketPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for TicketPattern {}

impl PartialOrd for TicketPattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for TicketPattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl fmt::Debug for TicketPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TicketPattern").field(&self.text).finish()
    }
}

impl fmt::Display for TicketPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Obligations {
    /// Whether there are none, so that nothing discharges the rule.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        *self == Self::default()
    }

    /// Both together: the strictest of each.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.tickets.extend(other.tickets.iter().cloned());
        self.record.extend(&other.record);
        Self {
            approvals: self.approvals.strictest(other.approvals.clone()),
            limit: shorter(self.limit, other.limit),
            step_up: shorter(self.step_up, other.step_up),
            tickets: self.tickets,
            reason: self.reason.max(other.reason),
            claim_within: shorter(self.claim_within, other.claim_within),
            record: self.record,
        }
    }

    /// Reads the annotations of a policy. An unknown one is a fault: a misspelt obligation must not
    /// become nothing.
    pub(crate) fn of(policy: &Policy) -> Result<Self, String> {
        let mut found = Self::default();
        for (key, value) in policy.annotations() {
            if matches!(key, "id" | "description") {
                continue;
            }
            found.take(key, value)?;
            if policy.effect() == Effect::Permit {
                return Err(format!("`@{key}` on a permit would bind nobody: put it on a forbid"));
            }
        }
        Ok(found)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "approvals" => self.approvals = read(key, value)?,
            "limit" => self.limit = Some(read(key, value)?),
            "step_up" => self.step_up = Some(read(key, value)?),
            "claim_within" => self.claim_within = Some(read(key, value)?),
            "ticket" => drop(self.tickets.insert(read(key, value)?)),
            "reason" => self.reason = Some(reason(value)?),
            "record" => self.record = records(value)?,
            other => return Err(format!("unknown annotation `@{other}`: {}", known())),
        }
        Ok(())
    }
}

fn shorter(one: Option<Ttl>, other: Option<Ttl>) -> Option<Ttl> {
    [one, other].into_iter().flatten().min()
}

fn read<T: FromStr>(key: &str, text: &str) -> Result<T, String>
where
    T::Err: fmt::Display,
{
    text.parse().map_err(|error| format!("@{key}: {error}"))
}

fn reason(text: &str) -> Result<u32, String> {
    if text.is_empty() {
        return Ok(REASON);
    }
    let long = text.parse().ok().filter(|long| (1..=REASON_MOST).contains(long));
    long.ok_or_else(|| {
        let text: String = text.chars().take(40).collect();
        format!("@reason: `{text}` is not a number of characters from 1 to {REASON_MOST}")
    })
}

fn records(text: &str) -> Result<BTreeSet<Record>, String> {
    text.split(',').map(|word| read("record", word.trim())).collect()
}
