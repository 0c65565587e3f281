//! What a case says beside what came of it, line by line.

use std::collections::BTreeSet;
use std::fmt::{self, Display};

use serde::Serialize;

use super::ask::Answer;
use super::form::Case;

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// The line at which the case begins.
    pub line: usize,
    /// What it shows.
    pub says: String,
    /// What was compared; a difference means that it failed.
    pub lines: Vec<Line>,
    /// The rules that had a say.
    pub by: BTreeSet<String>,
}

/// One thing that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Of what, such as `limit`.
    pub name: &'static str,
    /// What the case says; empty where it says nothing.
    pub expected: String,
    /// What came of it.
    pub found: String,
}

impl Line {
    fn differs(&self) -> bool {
        self.expected != self.found
    }
}

impl Outcome {
    /// Whether all is as the case says.
    #[must_use]
    pub fn passed(&self) -> bool {
        !self.lines.iter().any(Line::differs)
    }
}

/// What is the same, and with `-` what the case says, with `+` what came of it.
impl Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Line { name, expected, found } in &self.lines {
            if expected == found {
                writeln!(f, "      {name}: {found}")?;
                continue;
            }
            for (sign, text) in [('-', expected), ('+', found)] {
                if !text.is_empty() {
                    writeln!(f, "    {sign} {name}: {text}")?;
                }
            }
        }
        if self.by.is_empty() {
            return Ok(());
        }
        writeln!(f, "      decided by: {}", list(&self.by))
    }
}

pub(super) fn compare(line: usize, case: &Case, answer: Answer) -> Outcome {
    let mut lines = match (&case.deny, &answer.outcome) {
        (Some(expected), Err(found)) => vec![denied(expected, found)],
        (Some(expected), Ok(terms)) => {
            let expected = format!("denied: {expected}");
            vec![Line { name: "answer", expected, found: policies::summary(terms) }]
        }
        (None, Err(found)) => {
            let (expected, found) = ("allowed".to_owned(), format!("denied: {found}"));
            vec![Line { name: "answer", expected, found }]
        }
        (None, Ok(terms)) => terms_of(case, terms),
    };
    lines.extend(asked_for(case, &answer));
    lines.retain(|line| !(line.expected.is_empty() && line.found.is_empty()));
    Outcome { line, says: case.says.clone(), lines, by: answer.by }
}

/// What the refusal says, where a `…` at the end stands for anything.
fn denied(expected: &str, found: &str) -> Line {
    let fits = expected.strip_suffix('…').is_some_and(|start| found.starts_with(start));
    let found = if fits { expected } else { found };
    let (expected, found) = (format!("denied: {expected}"), format!("denied: {found}"));
    Line { name: "answer", expected, found }
}

/// All terms: what a case leaves out has to be absent.
fn terms_of(case: &Case, terms: &policies::Terms) -> Vec<Line> {
    let expected = case.approvals.as_ref().map(super::form::Wanted::text);
    let expected = expected.unwrap_or_else(|| "nobody's".to_owned());
    let found = Some(terms.approvals.to_string()).filter(|text| !text.is_empty());
    let found = found.unwrap_or_else(|| "nobody's".to_owned());
    let tickets: BTreeSet<String> = terms.tickets.iter().map(ToString::to_string).collect();
    vec![
        Line { name: "approvals", expected, found },
        line("limit", case.limit, terms.limit),
        line("step_up", case.step_up, terms.step_up),
        Line { name: "tickets", expected: list(&case.tickets), found: list(&tickets) },
        line("reason_of", case.reason_of, terms.reason),
        line("claim_within", case.claim_within, terms.claim_within),
        Line { name: "record", expected: list(&case.record), found: list(&terms.record) },
    ]
}

/// What only some cases ask for.
fn asked_for(case: &Case, answer: &Answer) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |name, expected: Option<String>, found: String| {
        lines.extend(expected.map(|expected| Line { name, expected, found }));
    };
    add("by", case.by.as_ref().map(list), list(&answer.by));
    add("missing", case.missing.map(|many| many.to_string()), answer.missing.to_string());
    add("approvers", case.approvers.as_ref().map(list), list(&answer.approvers));
    add("lacks", case.lacks.clone(), answer.lacks.to_owned());
    add("ends", case.ends.clone(), answer.ends.clone());
    lines
}

fn line<T: Display>(name: &'static str, expected: Option<T>, found: Option<T>) -> Line {
    let text = |value: Option<T>| value.map(|value| value.to_string()).unwrap_or_default();
    Line { name, expected: text(expected), found: text(found) }
}

fn list<T: Display>(items: &BTreeSet<T>) -> String {
    let texts: Vec<String> = items.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
