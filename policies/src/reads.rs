//! What rules read: which facts they speak of, and how finely they look at the clock.
//!
//! It is read off a policy's JSON form. What can't be understood from outside counts as looking at
//! every minute, so that no change is ever missed.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{Calendar, Fineness, RuleBook, Timestamp, Ttl};

/// Operators whose outcome changes where one side passes the other, and nowhere else.
const COMPARES: [&str; 6] = ["<", "<=", ">", ">=", "==", "!="];
/// The fact that is the moment itself.
const TIME: &str = "time";

/// What a rule, or a whole book, reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Names of facts.
    pub(crate) facts: BTreeSet<String>,
    /// Instants that the moment is compared with.
    dates: BTreeSet<Timestamp>,
    /// Whether the moment is used in a way that is not known from outside.
    computes_time: bool,
}

impl Reads {
    /// What a rule reads, by its JSON form.
    pub(crate) fn of(rule: &Value) -> Self {
        let mut reads = Self::default();
        if rule.is_null() {
            // A policy that was read can be written; but if not, it may look at anything.
            reads.computes_time = true;
        }
        rule.get("conditions").into_iter().for_each(|at| reads.walk(at));
        reads
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.facts.extend(other.facts.iter().cloned());
        self.dates.extend(&other.dates);
        self.computes_time |= other.computes_time;
    }

    fn walk(&mut self, json: &Value) {
        match json {
            Value::Object(fields) => {
                for (operator, operands) in fields {
                    if self.compares_time(operator, operands) {
                        continue;
                    }
                    if let Some(fact) = fact(operator, operands) {
                        self.facts.insert(fact.to_owned());
                        self.computes_time |= operator == "." && fact == TIME;
                    }
                    self.walk(operands);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// Whether this compares the moment with a date that stands there, which is taken down.
    fn compares_time(&mut self, operator: &str, operands: &Value) -> bool {
        if !COMPARES.contains(&operator) {
            return false;
        }
        let (Some(left), Some(right)) = (operands.get("left"), operands.get("right")) else {
            return false;
        };
        let other = if is_time(left) {
            right
        } else if is_time(right) {
            left
        } else {
            return false;
        };
        let Some(date) = date(other) else { return false };
        self.facts.insert(TIME.to_owned());
        // Some operators turn at the date, and some just after it.
        self.dates.extend([date, date.after(Ttl::from_millis(1))]);
        true
    }

    fn looks(&self) -> Fineness {
        let reads = |fact: &str| self.facts.contains(fact);
        Fineness {
            working_hours: reads("working_hours"),
            day: reads("day") || reads("holiday"),
            hour: reads("hour"),
            minute: reads("minute") || self.computes_time,
        }
    }
}

/// The fact that `context.fact` or `context has fact` speaks of.
fn fact<'j>(operator: &str, operands: &'j Value) -> Option<&'j str> {
    let of_context = operands.get("left")?.get("Var")?.as_str()? == "context";
    let named = operands.get("attr")?.as_str();
    named.filter(|_| of_context && matches!(operator, "." | "has"))
}

fn is_time(json: &Value) -> bool {
    json.get(".").and_then(|operands| fact(".", operands)) == Some(TIME)
}

/// The instant that `datetime("…")` stands for.
fn date(json: &Value) -> Option<Timestamp> {
    let text = json.get("datetime")?.get(0)?.get("Value")?.as_str()?;
    let day = || {
        let day: jiff::civil::Date = text.parse().ok()?;
        let midnight = day.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(midnight.timestamp())
    };
    let instant = text.parse::<jiff::Timestamp>().ok().or_else(day)?;
    Some(Timestamp::from_millis(instant.as_millisecond()))
}

impl RuleBook {
    /// Whether some rule speaks of this fact.
    #[must_use]
    pub fn reads(&self, fact: &str) -> bool {
        self.reads.facts.contains(fact)
    }

    /// The next instant at which these rules may decide differently by the clock alone; none where no
    /// rule looks at it, or nothing is left to change.
    #[must_use]
    pub fn next_change(&self, calendar: &Calendar, now: Timestamp) -> Option<Timestamp> {
        let dates = self.reads.dates.iter().copied().find(|date| *date > now);
        let clock = calendar.next_change(now, self.reads.looks());
        dates.into_iter().chain(clock).min()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::Source;

    fn book(condition: &str) -> RuleBook {
        let text = format!("forbid (principal, action, resource) when {{ {condition} }};");
        RuleBook::load(&[Source { name: "a.cedar".into(), text }]).unwrap()
    }

    #[rstest]
    #[case("context.login == \"time\"", None)]
    #[case("context.day == \"Mon\"", Some(86_400))]
    #[case("context.hour >= 9", Some(3_600))]
    #[case("context.hour >= 9 && context.minute < 30", Some(60))]
    #[case("context.time < datetime(\"1970-01-01T00:30:00Z\")", Some(1_800))]
    #[case("datetime(\"1970-01-01T01:30:00+0100\") <= context.time", Some(1_800))]
    #[case("context.time != datetime(\"1970-01-02\")", Some(86_400))]
    #[case("context.time < datetime(\"1969-01-01\")", None)]
    #[case("context.time.toTime() < duration(\"9h\")", Some(60))]
    #[case("context.time < datetime(\"1970-01-02\").offset(duration(\"1h\"))", Some(60))]
    #[case("context.working_hours", None)]
    fn the_clock_is_looked_at_as_finely_as_rules_do(
        #[case] condition: &str,
        #[case] next: Option<i64>,
    ) {
        let now = Timestamp::from_millis(0);
        let found = book(condition).next_change(&Calendar::default(), now);
        assert_eq!(found, next.map(|secs| Timestamp::from_millis(secs * 1_000)));
    }

    #[test]
    fn the_facts_of_a_rule_are_known() {
        let book = book("context has ticket && context.ticket like \"OPS*\" || context.on_call");
        assert!(book.reads("ticket") && book.reads("on_call") && !book.reads("login"));
    }
}
