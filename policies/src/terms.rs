//! Terms: what the rules take, and why they refuse.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{Act, Approvals, Binds, Kind, Obligations, Record, Target, Ticket, TicketPattern, Ttl};

/// How old a step-up may be in an emergency, where no rule says less.
const EMERGENCY: Ttl = Ttl::from_secs(300);

/// What it takes: the strictest of all obligations that apply.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Whose approval, and how many; none means that nobody has to be asked.
    pub approvals: Approvals,
    /// The longest that the grant may last.
    pub limit: Option<Ttl>,
    /// How old a step-up may be when somebody asks, approves or connects; none where none is wanted.
    #[serde(default)]
    pub step_up: Option<Ttl>,
    /// What the ticket has to look like, all of these; none where no ticket is wanted.
    #[serde(default)]
    pub tickets: BTreeSet<TicketPattern>,
    /// How many characters the reason has to have; none where no reason is wanted.
    #[serde(default)]
    pub reason: Option<u32>,
    /// How soon after it was given the grant has to be used; none where it is up to the gateway.
    #[serde(default)]
    pub claim_within: Option<Ttl>,
    /// What the recording has to keep beyond what every recording has.
    #[serde(default)]
    pub record: BTreeSet<Record>,
    /// The rules that say so, by their titles.
    pub rules: Vec<String>,
}

/// Why the rules say no.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(tag = "refusal", content = "of", rename_all = "kebab-case")]
pub enum Refusal {
    /// Nothing permits it.
    #[error("no rule permits it")]
    NotPermitted,
    /// Absolute rules forbid it.
    #[error("forbidden by {}", .0.join(", "))]
    Forbidden(Vec<String>),
    /// A rule wants something recorded that a session on this target hasn't got.
    #[error("a rule wants `{0}` recorded, which there is none of on a target of kind {1}: {2}")]
    Unrecordable(Record, String, String),
    /// A rule could not be evaluated, and an error is a denial.
    #[error("a rule could not be evaluated: {0}")]
    Faulty(String),
}

/// What the one who asks has to say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequiredInput {
    /// What the ticket has to look like, all of these; none where no ticket is wanted.
    pub tickets: BTreeSet<TicketPattern>,
    /// How many characters the reason has at least; none where no reason is wanted.
    pub reason: Option<u32>,
}

/// Something that the one who asks has to say, and didn't.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum MissingInput {
    /// No ticket, or none that looks as it has to.
    #[error(
        "{}: name one with `postern request --ticket`, or `-c postern.ticket=…` in the connection's \
         options",
        self.wanted()
    )]
    Ticket {
        /// The patterns.
        wanted: String,
        /// What was named, in words.
        given: String,
    },
    /// No reason, or too short a one.
    #[error(
        "{}: give one with `postern request --reason`, or `-c postern.reason=…` in the connection's \
         options",
        self.wanted()
    )]
    Reason {
        /// How many characters.
        wanted: u32,
        /// How many there are.
        given: usize,
    },
}

impl Terms {
    /// The terms of an act. In an emergency nobody is asked, but a fresh step-up is always wanted.
    pub(crate) fn of(sum: Obligations, rules: Vec<String>, act: Act) -> Self {
        let (approvals, step_up) = match act {
            Act::Connect => (sum.approvals, sum.step_up),
            Act::BreakGlass => {
                let step_up = sum.step_up.map_or(EMERGENCY, |within| within.min(EMERGENCY));
                (Approvals::default(), Some(step_up))
            }
        };
        Self {
            approvals,
            limit: sum.limit,
            step_up,
            tickets: sum.tickets,
            reason: sum.reason,
            claim_within: sum.claim_within,
            record: sum.record,
            rules,
        }
    }

    /// The same, unless something is to be recorded that this target hasn't got.
    pub(crate) fn recordable(self, target: &Target) -> Result<Self, Refusal> {
        let alien = self.record.iter().find(|record| record.kind() != target.kind);
        if let Some(record) = alien {
            let (kind, rules) = (target.kind.word().to_owned(), self.rules.join(", "));
            return Err(Refusal::Unrecordable(*record, kind, rules));
        }
        // What a target hashes or leaves out stays so, unless a rule wants just that kept.
        let values = self.record.contains(&Record::Binds);
        if self.record.contains(&Record::Data) && !values && target.recording.binds != Binds::Keep {
            let kind = format!("{} that keeps no values (its `binds`)", target.kind.word());
            return Err(Refusal::Unrecordable(Record::Data, kind, self.rules.join(", ")));
        }
        Ok(self)
    }

    /// What it takes to have both: the strictest of each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let shorter = |one: Option<Ttl>, other: Option<Ttl>| one.into_iter().chain(other).min();
        let rules: BTreeSet<String> = self.rules.into_iter().chain(other.rules).collect();
        Self {
            approvals: self.approvals.strictest(other.approvals),
            limit: shorter(self.limit, other.limit),
            step_up: shorter(self.step_up, other.step_up),
            tickets: self.tickets.into_iter().chain(other.tickets).collect(),
            reason: self.reason.max(other.reason),
            claim_within: shorter(self.claim_within, other.claim_within),
            record: self.record.into_iter().chain(other.record).collect(),
            rules: rules.into_iter().collect(),
        }
    }

    /// What the one who asks has to say.
    #[must_use]
    pub fn required_input(&self) -> RequiredInput {
        RequiredInput { tickets: self.tickets.clone(), reason: self.reason }
    }

    /// Whether the one who asks has said all that they have to.
    ///
    /// # Errors
    /// What is missing, and how it is given.
    pub fn check_input(&self, ticket: Option<&Ticket>, reason: &str) -> Result<(), MissingInput> {
        let fits = |ticket: &Ticket| self.tickets.iter().all(|pattern| pattern.fits(ticket));
        if !self.tickets.is_empty() && !ticket.is_some_and(fits) {
            let patterns = self.tickets.iter().map(|pattern| format!("`{pattern}`"));
            let wanted = patterns.collect::<Vec<_>>().join(" and ");
            let given =
                ticket.map_or_else(|| "none was named".to_owned(), |it| format!("`{it}` doesn't"));
            return Err(MissingInput::Ticket { wanted, given });
        }
        let given = reason.trim().chars().count();
        match self.reason.filter(|wanted| usize::try_from(*wanted).is_ok_and(|most| given < most)) {
            Some(wanted) => Err(MissingInput::Reason { wanted, given }),
            None => Ok(()),
        }
    }
}

impl MissingInput {
    /// What is wanted and what was given, for who has a form before them.
    #[must_use]
    pub fn wanted(&self) -> String {
        match self {
            Self::Ticket { wanted, given } => {
                format!("a ticket is wanted here that looks like {wanted}, and {given}")
            }
            Self::Reason { wanted, given } => format!(
                "a reason of at least {wanted} characters is wanted here, and this has {given}"
            ),
        }
    }
}

impl RequiredInput {
    /// Whether nothing has to be said.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tickets.is_empty() && self.reason.is_none()
    }

    /// What the ticket has to look like, for people; nothing where no ticket is wanted.
    #[must_use]
    pub fn ticket(&self) -> Option<String> {
        let patterns: Vec<&str> = self.tickets.iter().map(TicketPattern::as_str).collect();
        (!patterns.is_empty()).then(|| patterns.join(" and "))
    }
}

impl Record {
    /// The kind of target that has such a thing.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self {
            Self::Binds | Self::Data => Kind::Postgres,
            Self::Input => Kind::Ssh,
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(&[], None, None, "", "")]
    #[case(&["OPS-[0-9]+"], None, None, "", "none was named")]
    #[case(&["OPS-[0-9]+"], None, Some("OPS-12"), "", "")]
    #[case(&["OPS-[0-9]+"], None, Some("XOPS-12"), "", "`XOPS-12` doesn't")]
    #[case(&["OPS-[0-9]+"], None, Some("OPS-12a"), "", "`OPS-12a` doesn't")]
    #[case(&["OPS|INC", "INC"], None, Some("OPS"), "", "`INC` and `OPS|INC`")]
    #[case(&[], Some(10), None, "         x", "at least 10 characters is wanted here, and this has 1")]
    #[case(&[], Some(10), None, "überprüfen", "")]
    #[case(&[], Some(10), None, "prüfen äöü", "")]
    fn what_is_left_unsaid_is_told(
        #[case] tickets: &[&str],
        #[case] reason: Option<u32>,
        #[case] ticket: Option<&str>,
        #[case] given: &str,
        #[case] expected: &str,
    ) {
        let tickets = tickets.iter().map(|text| text.parse().unwrap()).collect();
        let terms = Terms { tickets, reason, ..Terms::default() };
        let ticket = ticket.map(|text| Ticket::new(text).unwrap());
        match terms.check_input(ticket.as_ref(), given) {
            Ok(()) => assert_eq!(expected, ""),
            Err(unsaid) => {
                let unsaid = unsaid.to_string();
                assert!(!expected.is_empty() && unsaid.contains(expected), "{unsaid}");
                assert!(unsaid.contains("postern request --") && unsaid.contains("-c postern."));
            }
        }
    }
}
