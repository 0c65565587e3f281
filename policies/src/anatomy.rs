//! The anatomy of rules: where each stands, what it takes, and which names it speaks of.
//!
//! This is for those who write rules or read the audit log; decisions never look at it.

use std::collections::BTreeSet;
use std::fmt;

use cedar_policy::{Effect, Policy, PolicyId};
use serde::Serialize;
use serde_json::Value;

use crate::policy::{Rule, names_break_glass};
use crate::{GroupName, Obligations, RuleBook};

/// Where a rule begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// A rule as those see it who write rules.
#[derive(Debug, Clone, Copy)]
pub struct RuleView<'b> {
    pub(crate) id: &'b PolicyId,
    pub(crate) rule: &'b Rule,
    pub(crate) policy: &'b Policy,
}

/// A name that a rule speaks of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mention {
    /// An entity: its type, such as `Group`, and its id.
    Entity(String, String),
    /// A text that a fact is compared with: the fact, such as `login` or `step_up.kind`, and the text.
    Fact(String, String),
    /// A label that is asked for by its key, and its value where one is compared.
    Label(String, Option<String>),
    /// A network, as `ip("10.0.0.0/8")`.
    Network(String),
    /// A span, as `duration("4h")`.
    Span(String),
}

impl<'b> RuleView<'b> {
    /// Its `@id`, or file and line.
    #[must_use]
    pub fn title(&self) -> &'b str {
        &self.rule.title
    }

    /// Where it begins.
    #[must_use]
    pub fn place(&self) -> &'b Place {
        &self.rule.place
    }

    /// Its `@description`, where it has one.
    #[must_use]
    pub fn description(&self) -> Option<&'b str> {
        self.policy.annotation("description").filter(|text| !text.is_empty())
    }

    /// Whether it permits; otherwise it forbids.
    #[must_use]
    pub fn permits(&self) -> bool {
        self.policy.effect() == Effect::Permit
    }

    /// Whether it forbids, and nothing discharges it.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        !self.permits() && self.rule.obligations.is_absolute()
    }

    /// Whether it speaks of emergencies by name.
    pub(crate) fn names_break_glass(&self) -> bool {
        names_break_glass(self.policy)
    }

    /// What it takes to discharge it.
    #[must_use]
    pub fn obligations(&self) -> &'b Obligations {
        &self.rule.obligations
    }

    /// The rule in Cedar's JSON form; nothing where it has none.
    pub(crate) fn json(&self) -> &'b Value {
        &self.rule.json
    }

    /// Every name that it speaks of.
    #[must_use]
    pub fn mentions(&self) -> BTreeSet<Mention> {
        let mut found = BTreeSet::new();
        walk(self.json(), &mut |part| spoken(part, &mut found));
        found
    }

    /// The groups that it speaks of.
    pub(crate) fn groups(&self) -> BTreeSet<GroupName> {
        let spoken = self.mentions().into_iter().filter_map(|spoken| match spoken {
            Mention::Entity(kind, id) if kind == "Group" => GroupName::new(&id).ok(),
            Mention::Entity(..)
            | Mention::Fact(..)
            | Mention::Label(..)
            | Mention::Network(_)
            | Mention::Span(_) => None,
        });
        spoken.collect()
    }

    /// The facts that it asks for, such as `working_hours`.
    #[must_use]
    pub fn asks_for(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        walk(self.json(), &mut |part| found.extend(asked(part)));
        found
    }
}

impl RuleBook {
    /// All rules, in the order of files and lines.
    #[must_use]
    pub fn views(&self) -> Vec<RuleView<'_>> {
        let sets = [&self.permits, &self.forbids];
        let views = sets.into_iter().flat_map(|set| {
            set.policies().filter_map(|policy| {
                let (id, rule) = self.rules.get_key_value(policy.id())?;
                Some(RuleView { id, rule, policy })
            })
        });
        let mut views: Vec<_> = views.collect();
        views.sort_by(|one, other| (one.place(), one.id).cmp(&(other.place(), other.id)));
        views
    }

    /// Every name that any rule speaks of.
    #[must_use]
    pub fn mentions(&self) -> BTreeSet<Mention> {
        self.views().iter().flat_map(RuleView::mentions).collect()
    }

    /// The facts that any rule asks for.
    #[must_use]
    pub fn asks_for(&self) -> BTreeSet<String> {
        self.views().iter().flat_map(RuleView::asks_for).collect()
    }
}

/// Every object inside a value, from the outside in.
fn walk(value: &Value, look: &mut impl FnMut(&Value)) {
    match value {
        Value::Object(fields) => {
            look(value);
            fields.values().for_each(|field| walk(field, look));
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn spoken(part: &Value, found: &mut BTreeSet<Mention>) {
    let text = |key: &str| part.get(key).and_then(Value::as_str).map(str::to_owned);
    if let (Some(kind), Some(id)) = (text("type"), text("id")) {
        found.insert(Mention::Entity(kind, id));
    }
    for (function, name) in
        [("ip", Mention::Network as fn(String) -> Mention), ("duration", Mention::Span)]
    {
        let argument = part.get(function).and_then(|arguments| arguments.get(0));
        found.extend(argument.and_then(literal).map(name));
    }
    for operator in ["==", "!=", "contains"] {
        let sides = part.get(operator).and_then(|sides| sides.get("left").zip(sides.get("right")));
        if let Some((left, right)) = sides {
            found.extend(compared(left, right));
            found.extend(compared(right, left));
        }
    }
    if let Some(key) = part.get("hasTag").and_then(|sides| sides.get("right")).and_then(literal) {
        found.insert(Mention::Label(key, None));
    }
}

/// What is compared, where one side is a fact or a label and the other side has texts.
fn compared(asked: &Value, with: &Value) -> Vec<Mention> {
    let tag = asked.get("getTag").and_then(|sides| sides.get("right")).and_then(literal);
    let of = |text: String| match (&tag, path(asked)) {
        (Some(key), _) => Some(Mention::Label(key.clone(), Some(text))),
        (None, Some(fact)) => Some(Mention::Fact(fact, text)),
        (None, None) => None,
    };
    texts(with).into_iter().filter_map(of).collect()
}

/// The texts of a literal, or of a set of them.
fn texts(value: &Value) -> Vec<String> {
    let items = value.get("Set").or_else(|| value.get("Value")).and_then(Value::as_array);
    match items {
        Some(items) => items
            .iter()
            .filter_map(|item| literal(item).or_else(|| item.as_str().map(str::to_owned)))
            .collect(),
        None => literal(value).into_iter().collect(),
    }
}

fn literal(value: &Value) -> Option<String> {
    value.get("Value").and_then(Value::as_str).map(str::to_owned)
}

/// `step_up.kind` of `context.step_up.kind`; nothing where it isn't a fact.
fn path(value: &Value) -> Option<String> {
    let access = value.get(".")?;
    let (left, name) = (access.get("left")?, access.get("attr")?.as_str()?);
    match left.get("Var").and_then(Value::as_str) {
        Some("context") => Some(name.to_owned()),
        Some(_) => None,
        None => Some(format!("{}.{name}", path(left)?)),
    }
}

fn asked(part: &Value) -> Option<String> {
    let access = part.get(".").or_else(|| part.get("has"))?;
    let is_context = access.get("left")?.get("Var")?.as_str()? == "context";
    match access.get("attr").filter(|_| is_context)? {
        Value::String(name) => Some(name.clone()),
        Value::Array(names) => names.first()?.as_str().map(str::to_owned),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Source;

    fn book(text: &str) -> RuleBook {
        RuleBook::load(&[Source { name: "a.cedar".into(), text: text.into() }]).unwrap()
    }

    #[test]
    fn a_rule_knows_its_place_and_what_it_says() {
        let book = book(
            "// A comment.\npermit (principal, action, resource);\n\n  @id(\"four eyes\")\n  \
             @description(\"two look\") @approvals(\"2 of dba\")\n  forbid (principal, action, resource);",
        );
        let found: Vec<_> = book
            .views()
            .iter()
            .map(|view| format!("{} {} {:?}", view.place(), view.title(), view.description()))
            .collect();
        assert_eq!(found, ["a.cedar:2 a.cedar:2 None", "a.cedar:4 four eyes Some(\"two look\")"]);
        let views = book.views();
        assert!(views[0].permits() && !views[1].permits() && !views[1].is_absolute());
    }

    #[test]
    fn every_name_is_found_that_a_rule_speaks_of() {
        let book = book(
            r#"forbid (principal in Group::"dba", action == Action::"connect", resource in Env::"prod")
               when {
                 ["app_ro", "app_rw"].contains(context.login) && context.database != "shop"
                   && (resource.hasTag("team") && resource.getTag("team") == "shop")
                   && resource in Label::"tier=1"
               }
               unless {
                 context has step_up && context.step_up.kind == "passkey"
                   || context has source && context.source.isInRange(ip("10.0.0.0/8"))
                   || context.ttl <= duration("4h") || context.working_hours
               };"#,
        );
        let entity = |kind: &str, id: &str| Mention::Entity(kind.into(), id.into());
        let fact = |name: &str, text: &str| Mention::Fact(name.into(), text.into());
        let expected = BTreeSet::from([
            entity("Group", "dba"),
            entity("Action", "connect"),
            entity("Env", "prod"),
            entity("Label", "tier=1"),
            fact("login", "app_ro"),
            fact("login", "app_rw"),
            fact("database", "shop"),
            fact("step_up.kind", "passkey"),
            Mention::Label("team".into(), None),
            Mention::Label("team".into(), Some("shop".into())),
            Mention::Network("10.0.0.0/8".into()),
            Mention::Span("4h".into()),
        ]);
        assert_eq!(book.mentions(), expected);
        let asked: Vec<_> = book.asks_for().into_iter().collect();
        assert_eq!(asked, ["database", "login", "source", "step_up", "ttl", "working_hours"]);
    }
}
