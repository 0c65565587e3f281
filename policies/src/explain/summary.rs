//! Terms in plain words.

use crate::{Obligations, Terms};

/// Whether whoever asks gets it at once.
pub(super) fn is_free(terms: &Terms) -> bool {
    terms.approvals.is_empty()
        && terms.step_up.is_none()
        && terms.tickets.is_empty()
        && terms.reason.is_none()
}

/// What it takes on one line: `2 of dba must approve, 1h at most`.
#[must_use]
pub fn summary(terms: &Terms) -> String {
    let takes = takes(terms).join(", ");
    if !terms.approvals.is_empty() {
        takes
    } else if takes.is_empty() {
        "nobody has to be asked".to_owned()
    } else {
        format!("nobody has to be asked, {takes}")
    }
}

/// What it takes, one thing each.
pub(super) fn takes(terms: &Terms) -> Vec<String> {
    let Terms { approvals, limit, step_up, tickets, reason, claim_within, record, rules: _ } =
        terms.clone();
    let obligations =
        Obligations { approvals, limit, step_up, tickets, reason, claim_within, record };
    parts(&obligations)
}

/// What a rule takes.
pub(super) fn obliges(obligations: &Obligations) -> String {
    format!("takes this: {}", parts(obligations).join(", "))
}

fn parts(obligations: &Obligations) -> Vec<String> {
    let Obligations { approvals, limit, step_up, tickets, reason, claim_within, record } =
        obligations;
    let approvals = Some(approvals).filter(|approvals| !approvals.is_empty());
    let approvals = approvals.map(|approvals| format!("{approvals} must approve"));
    let step_up = step_up.map(|within| format!("a step-up within the last {within}"));
    let tickets = tickets.iter().map(|pattern| format!("a ticket like `{pattern}`"));
    let reason = reason.map(|most| format!("a reason of at least {most} characters"));
    let claim = claim_within.map(|within| format!("first used within {within}"));
    let record = record.iter().map(|what| what.describe().to_owned());
    let limit = limit.map(|limit| format!("{limit} at most"));
    let required = approvals.into_iter().chain(step_up).chain(tickets).chain(reason);
    required.chain(claim).chain(record).chain(limit).collect()
}
