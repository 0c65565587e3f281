//! Rules: Cedar policies, loaded whole or not at all.
//!
//! `permit` says who may have what. `forbid` without obligations is absolute. `forbid` with
//! obligations (see [`Obligations`]) is discharged only by meeting them, so nobody can add a
//! `permit` that gets around it. The two effects are kept as two sets, since both answers are
//! wanted: whether anything permits, and everything that forbids.
//!
//! A fault anywhere refuses the whole book: a syntax error, a policy that the schema doesn't know,
//! an annotation that nobody reads. The book in force stays in force.

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::{
    ActionConstraint, Effect, EntityUid, Policy, PolicyId, PolicySet, Schema, ValidationMode,
    Validator,
};
use serde_json::Value;
use thiserror::Error;

use crate::anatomy::Place;
use crate::lint::Finding;
use crate::reads::Reads;
use crate::{Act, Obligations, Quorum};

/// The Cedar schema, as text, that every policy is checked against.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// What rules call what is unusual.
const RISKS: [&str; 3] = ["new_network", "new_device", "failed_attempts"];

/// A policy file: its name, for messages, and its text.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file's name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// One thing that is wrong with a policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyFault {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// Why a set of policy files is refused: every fault that was found.
#[derive(Debug, Clone, Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct PolicyError(pub Vec<PolicyFault>);

/// One rule as people know it.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// `@id`, or file and line.
    pub(crate) title: String,
    pub(crate) place: Place,
    pub(crate) obligations: Obligations,
    /// The rule in Cedar's JSON form, for those who ask what it speaks of; nothing where it has none.
    pub(crate) json: Value,
}

/// A checked set of rules.
pub struct RuleBook {
    pub(crate) schema: Schema,
    pub(crate) permits: PolicySet,
    /// Those permits that name the emergency: one over any act doesn't permit it.
    pub(crate) break_glass: PolicySet,
    pub(crate) forbids: PolicySet,
    pub(crate) rules: BTreeMap<PolicyId, Rule>,
    /// What all of them read.
    pub(crate) reads: Reads,
    /// What is allowed, but probably a mistake.
    pub(crate) doubts: Vec<Finding>,
}

impl fmt::Debug for RuleBook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleBook").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

impl RuleBook {
    /// Loads and strictly checks the files. No file at all is a valid book that denies everything.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load(sources: &[Source]) -> Result<Self, PolicyError> {
        let (schema, _) =
            Schema::from_cedarschema_str(SCHEMA).map_err(|error| schema_fault(&error))?;
        let mut draft = Draft::new(schema);
        for source in sources {
            draft.read(source);
        }
        draft.finish()
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is no rule; such a book denies everything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether a rule reads what is unusual about a request (its risk): then an answer about one connection says
    /// little about the next.
    #[must_use]
    pub fn reads_risk(&self) -> bool {
        RISKS.iter().any(|fact| self.reads(fact))
    }

    /// Every quorum that a rule asks for, with the rule's title.
    pub fn quorums(&self) -> impl Iterator<Item = (&str, &Quorum)> {
        self.rules.values().flat_map(|rule| {
            let quorums = rule.obligations.approvals.quorums();
            quorums.map(|quorum| (rule.title.as_str(), quorum))
        })
    }
}

/// The schema is ours and its loading is tested, but a refusal is still an answer.
fn schema_fault(error: &dyn fmt::Display) -> PolicyError {
    let (file, message) = ("schema.cedarschema".to_owned(), error.to_string());
    PolicyError(vec![PolicyFault { file, line: 1, column: 1, message }])
}

/// A book in the making.
struct Draft {
    book: RuleBook,
    faults: Vec<PolicyFault>,
}

impl Draft {
    fn new(schema: Schema) -> Self {
        let (permits, forbids) = (PolicySet::new(), PolicySet::new());
        let (break_glass, rules, doubts) = (PolicySet::new(), BTreeMap::new(), Vec::new());
        let reads = Reads::default();
        let book = RuleBook { schema, permits, break_glass, forbids, rules, reads, doubts };
        Self { book, faults: Vec::new() }
    }

    fn finish(self) -> Result<RuleBook, PolicyError> {
        if self.faults.is_empty() { Ok(self.book) } else { Err(PolicyError(self.faults)) }
    }

    /// Parses one file, checks it against the schema, and takes its rules in.
    fn read(&mut self, source: &Source) {
        let set: PolicySet = match source.text.parse() {
            Ok(set) => set,
            Err(errors) => return self.syntax(source, &errors),
        };
        if set.templates().next().is_some() {
            self.fault(source, 0, "templates (`?principal`, `?resource`) are not supported".into());
        }
        let validator = Validator::new(self.book.schema.clone());
        let verdict = validator.validate(&set, ValidationMode::Strict);
        for error in verdict.validation_errors() {
            let at = error.policy_id();
            let offset = set.policy(at).map_or(0, |policy| offset_of(source, policy));
            let message = of_all_kinds(without_number(&error.to_string()));
            self.fault(source, miette_offset(error).unwrap_or(offset), message);
        }
        for policy in set.policies() {
            self.take(source, policy);
        }
        let doubts = verdict.validation_warnings().map(|warning| {
            let id = PolicyId::new(format!("{}#{}", source.name, warning.policy_id()));
            (self.book.rules.get(&id), warning.to_string())
        });
        let doubts: Vec<Finding> =
            doubts.filter_map(|(rule, warning)| Some(Finding::doubt(rule?, &warning))).collect();
        self.book.doubts.extend(doubts);
    }

    fn syntax(&mut self, source: &Source, errors: &cedar_policy::ParseErrors) {
        for error in errors.iter() {
            self.fault(source, miette_offset(error).unwrap_or(0), error.to_string());
        }
    }

    /// Takes one rule in, under an id that is unique over all files.
    fn take(&mut self, source: &Source, policy: &Policy) {
        let offset = offset_of(source, policy);
        let (line, column) = position(&source.text, offset);
        let obligations = match Obligations::of(policy) {
            Ok(obligations) => obligations,
            Err(message) => return self.fault(source, offset, message),
        };
        if !obligations.approvals.is_empty() && is_only_break_glass(policy) {
            let refusal = "`@approvals` on a rule about emergencies alone would hold nobody: in an emergency \
                        nobody is asked";
            return self.fault(source, offset, refusal.to_owned());
        }
        let json = policy.to_json().unwrap_or(Value::Null);
        self.book.reads.add(&Reads::of(&json));
        let place = Place { file: source.name.clone(), line, column };
        let named = policy.annotation("id").filter(|id| !id.is_empty());
        let title = named.map_or_else(|| place.to_string(), str::to_owned);
        let id = PolicyId::new(format!("{}#{}", source.name, policy.id()));
        if let Err(error) = self.add(policy.new_id(id.clone())) {
            return self.fault(source, offset, error);
        }
        self.book.rules.insert(id, Rule { title, place, obligations, json });
    }

    fn add(&mut self, policy: Policy) -> Result<(), String> {
        if policy.effect() == Effect::Permit && names_break_glass(&policy) {
            self.book.break_glass.add(policy.clone()).map_err(|error| error.to_string())?;
        }
        let set = match policy.effect() {
            Effect::Permit => &mut self.book.permits,
            Effect::Forbid => &mut self.book.forbids,
        };
        set.add(policy).map_err(|error| error.to_string())
    }

    /// Takes a fault down, once: the library finds it again for each action and kind of target that
    /// the rule is about.
    fn fault(&mut self, source: &Source, offset: usize, message: String) {
        let (line, column) = position(&source.text, offset);
        let fault = PolicyFault { file: source.name.clone(), line, column, message };
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// The same of every action and kind of target: the schema says the same of all of them.
fn of_all_kinds(message: &str) -> String {
    let acts =
        [Act::Connect, Act::BreakGlass].map(|act| format!(" for Action::\"{}\"", act.word()));
    let kinds = ["Database", "Host", "Service"].map(|kind| format!(" on entity type `{kind}`"));
    let parts = acts.iter().chain(&kinds);
    parts.fold(message.to_owned(), |message, part| message.replace(part.as_str(), ""))
}

/// What the library says of a rule, without the number of its own that it names it by.
pub(crate) fn without_number(message: &str) -> &str {
    let named = message.split_once("`, ").filter(|(lead, _)| lead.starts_with("for policy `"));
    named.map_or(message, |(_, rest)| rest)
}

/// Whether a policy speaks of emergencies by name, so that nobody permits them by accident.
pub(crate) fn names_break_glass(policy: &Policy) -> bool {
    match policy.action_constraint() {
        ActionConstraint::Any => false,
        ActionConstraint::Eq(action) => is_break_glass(&action),
        ActionConstraint::In(actions) => actions.iter().any(is_break_glass),
    }
}

fn is_only_break_glass(policy: &Policy) -> bool {
    match policy.action_constraint() {
        ActionConstraint::Any => false,
        ActionConstraint::Eq(action) => is_break_glass(&action),
        ActionConstraint::In(actions) => actions.iter().all(is_break_glass),
    }
}

fn is_break_glass(action: &EntityUid) -> bool {
    action.id().unescaped() == Act::BreakGlass.word()
}

fn miette_offset(error: &dyn miette::Diagnostic) -> Option<usize> {
    error.labels()?.next().map(|label| label.offset())
}

/// Where a policy begins in its file.
fn offset_of(source: &Source, policy: &Policy) -> usize {
    let text = policy.to_string();
    source.text.find(text.trim()).unwrap_or(0)
}

/// Line and column, from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<RuleBook, PolicyError> {
        RuleBook::load(&[Source { name: "access.cedar".into(), text: text.into() }])
    }

    fn refusal(text: &str) -> String {
        load(text).unwrap_err().to_string()
    }

    #[test]
    fn no_rule_is_a_book_that_denies() {
        assert!(RuleBook::load(&[]).unwrap().is_empty());
        assert!(load("// nothing yet\n").unwrap().is_empty());
    }

    #[test]
    fn a_fault_is_reported_with_file_line_and_column() {
        let text = "permit (principal, action, resource);\npermit (principal, action, resource";
        assert!(refusal(text).starts_with("access.cedar:2:"), "{}", refusal(text));
    }

    #[test]
    fn all_faults_are_reported_together() {
        let text = "permit (principal in Crew::\"a\", action, resource);\n\
                    @approval(\"1 of dba\")\nforbid (principal, action, resource);\n";
        let message = refusal(text);
        assert!(message.contains("Crew") && message.contains("@approval"), "{message}");
    }

    #[test]
    fn what_the_schema_does_not_know_is_refused() {
        for text in [
            "permit (principal, action == Action::\"conect\", resource);",
            "permit (principal, action == Action::\"connect\", resource) when { context.logn == \"a\" };",
            "permit (principal, action == Action::\"connect\", resource) when { context.login == 1 };",
            "permit (principal, action == Action::\"connect\", resource) when { context.source.isLoopback() };",
            "permit (principal == ?principal, action, resource);",
        ] {
            assert!(load(text).is_err(), "{text}");
        }
    }

    #[test]
    fn obligations_are_read_and_misspelt_ones_refused() {
        let book = load(
            "@id(\"four-eyes\") @approvals(\"2 of dba, 1 of leads\") @limit(\"1h\")\n\
             forbid (principal, action, resource);",
        )
        .unwrap();
        let rule = book.rules.values().next().unwrap();
        assert_eq!(
            (rule.title.as_str(), rule.obligations.approvals.quorums().count()),
            ("four-eyes", 2)
        );
        for bad in [
            "@approvals(\"dba\")",
            "@limit(\"soon\")",
            "@step_up(\"\")",
            "@step_up(\"passkey\")",
            "@stepup(\"5m\")",
            "@aproval(\"1 of dba\")",
            "@approvals(\"\")",
            "@ticket(\"OPS-[\")",
            "@ticket(\"a) | (b\")",
            "@ticket(\"\")",
            "@reason(\"long\")",
            "@reason(\"0\")",
            "@reason(\"501\")",
            "@claim_within(\"0s\")",
            "@record(\"\")",
            "@record(\"everything\")",
        ] {
            let text = format!("{bad}\nforbid (principal, action, resource);");
            assert!(load(&text).is_err(), "{bad}");
        }
        let permit = "@approvals(\"1 of dba\") permit (principal, action, resource);";
        assert!(refusal(permit).contains("on a permit"));
    }

    #[test]
    fn approvals_that_an_emergency_would_drop_are_refused() {
        let asked = |action: &str| {
            format!("@approvals(\"1 of dba\") forbid (principal, {action}, resource);")
        };
        for alone in ["action == Action::\"break-glass\"", "action in [Action::\"break-glass\"]"] {
            assert!(refusal(&asked(alone)).contains("nobody is asked"), "{alone}");
        }
        for also in ["action", "action in [Action::\"break-glass\", Action::\"connect\"]"] {
            assert!(load(&asked(also)).is_ok(), "{also}");
        }
    }

    #[test]
    fn a_book_knows_whether_it_reads_the_risk() {
        let plain = "permit (principal, action, resource);";
        assert!(!load(plain).unwrap().reads_risk());
        for name in RISKS {
            let says = if name == "failed_attempts" { " > 3" } else { "" };
            let rule =
                format!("forbid (principal, action, resource) when {{ context.{name}{says} }};");
            assert!(load(&rule).unwrap().reads_risk(), "{name}");
        }
    }

    #[test]
    fn rules_of_two_files_do_not_collide() {
        let file = |name: &str| Source {
            name: name.into(),
            text: "permit (principal, action, resource);".into(),
        };
        assert_eq!(RuleBook::load(&[file("a.cedar"), file("b.cedar")]).unwrap().len(), 2);
    }
}
