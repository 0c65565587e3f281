//! The annotations that a rule may have: one table for messages, checks and the reference.

/// An annotation, written `@name("value")` in front of a rule.
#[derive(Debug, Clone, Copy)]
pub struct Annotation {
    /// Its name.
    pub name: &'static str,
    /// A value that it may have.
    pub example: &'static str,
    /// Whether it is an obligation: on a `forbid` alone, which stands aside once it is met.
    pub obliges: bool,
    /// What it does.
    pub meaning: &'static str,
}

/// All of them.
pub const ANNOTATIONS: [Annotation; 9] = [
    Annotation {
        name: "id",
        example: "writes-need-approval",
        obliges: false,
        meaning: "Names the rule in answers, messages and the audit log. Without it, file and line do.",
    },
    Annotation {
        name: "description",
        example: "Writing takes two people.",
        obliges: false,
        meaning: "Says in a sentence what the rule does. `explain` shows it.",
    },
    Annotation {
        name: "approvals",
        example: "1 of leads then 2 of dba",
        obliges: true,
        meaning: "Wants the approval of so many distinct people of each group. A comma wants both at once, \
                  `then` one stage after the other. One person fills one place, and never the one who asks.",
    },
    Annotation {
        name: "step_up",
        example: "5m",
        obliges: true,
        meaning: "Wants a fresh proof by passkey or authenticator app that is at most so old. A workload \
                  can't give one.",
    },
    Annotation {
        name: "ticket",
        example: "OPS-[0-9]+",
        obliges: true,
        meaning: "Wants a ticket whose whole name matches the regular expression.",
    },
    Annotation {
        name: "reason",
        example: "20",
        obliges: true,
        meaning: "Wants a reason of at least so many characters, from 1 to 500; 10 where the value is empty.",
    },
    Annotation {
        name: "limit",
        example: "1h",
        obliges: true,
        meaning: "Ends the grant at the latest so long after its first use.",
    },
    Annotation {
        name: "claim_within",
        example: "10m",
        obliges: true,
        meaning: "Lets the grant lapse where it isn't used within so long.",
    },
    Annotation {
        name: "record",
        example: "binds, data",
        obliges: true,
        meaning: "Keeps more in the recording: `binds` the values of statements, `data` all data of COPY and \
                  long values (Postgres); `input` what programs get from the client (SSH).",
    },
];

/// The names of all, for a message about one that is none of them.
pub(crate) fn known() -> String {
    let names = ANNOTATIONS.map(|annotation| format!("@{}", annotation.name));
    match names.split_last() {
        Some((last, others)) => format!("known are {} and {last}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RuleBook, Source};

    #[test]
    fn every_annotation_is_taken_where_it_belongs() {
        for Annotation { name, example, obliges, .. } in ANNOTATIONS {
            for (effect, fits) in [("forbid", true), ("permit", !obliges)] {
                let text =
                    format!("@{name}(\"{example}\") {effect} (principal, action, resource);");
                let loaded = RuleBook::load(&[Source { name: "a.cedar".into(), text }]);
                assert_eq!(loaded.is_ok(), fits, "{effect}: {loaded:?}");
            }
        }
        assert_eq!(known().matches('@').count(), ANNOTATIONS.len());
    }
}
