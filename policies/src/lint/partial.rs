//! Whether a rule can apply to somebody who asks for something, whatever the moment brings.
//!
//! A rule is evaluated as far as people, targets and logins decide it; every other fact (time,
//! source, ticket and so on) is unknown, and so is what comes of it (Kleene's three values). What
//! comes out as false is never true, whatever the facts.

use serde_json::Value;

use crate::{Act, Principal, Resource, Target};

/// Somebody who asks for something.
#[derive(Clone, Copy)]
pub(crate) struct AccessRequest<'a> {
    pub(crate) principal: &'a Principal,
    pub(crate) target: &'a Target,
    pub(crate) resource: &'a Resource,
    pub(crate) act: Act,
    pub(crate) certain: Certain,
}

/// What is taken for certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certain {
    /// Who and what there is, with the groups that people are in.
    People,
    /// The same, but whether somebody is in a group that a condition asks for may change: a roster
    /// brings people in and out.
    Things,
}

/// What an expression comes to, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
enum Known<'j> {
    Bool(bool),
    Text(&'j str),
    /// Type and id.
    Entity(&'j str, &'j str),
    Set(Vec<Known<'j>>),
    /// The variable `context`, of which fields are asked.
    Context,
    Nothing,
}

/// Whether the rule, in Cedar's JSON form, applies; nothing where that is up to other facts.
pub(crate) fn applies(rule: &Value, request: AccessRequest<'_>) -> Option<bool> {
    let scope = [
        scope(rule.get("principal"), |kind, id| request.is_person(kind, id)),
        scope(rule.get("action"), |kind, id| kind == "Action" && id == request.act.word()),
        scope(rule.get("resource"), |kind, id| request.is_thing(kind, id)),
    ];
    let kinds = [("principal", "Person"), ("resource", request.target.kind.entity())];
    let kinds = kinds.map(|(part, kind)| {
        let wanted = rule.get(part).and_then(|part| part.get("entity_type"));
        Some(wanted.and_then(Value::as_str).is_none_or(|wanted| wanted == kind))
    });
    let conditions = rule.get("conditions").and_then(Value::as_array);
    let conditions = conditions.into_iter().flatten().map(|condition| {
        let unless = condition.get("kind").and_then(Value::as_str) == Some("unless");
        let holds = condition.get("body").and_then(|body| truth(&request.eval(body)));
        if unless { holds.map(|holds| !holds) } else { holds }
    });
    all(scope.into_iter().chain(kinds).chain(conditions))
}

/// `all`, `==` an entity, `in` one or several, or `is` a type, `in` one.
fn scope<'j>(part: Option<&'j Value>, is_in: impl Fn(&'j str, &'j str) -> bool) -> Option<bool> {
    let part = part?;
    let inner = part.get("in").unwrap_or(part);
    let one = inner.get("entity").into_iter();
    let several = inner.get("entities").and_then(Value::as_array).into_iter().flatten();
    let mut named = one.chain(several).filter_map(entity).peekable();
    Some(named.peek().is_none() || named.any(|(kind, id)| is_in(kind, id)))
}

fn entity(value: &Value) -> Option<(&str, &str)> {
    let inner = value.get("__entity").unwrap_or(value);
    Some((inner.get("type")?.as_str()?, inner.get("id")?.as_str()?))
}

/// False where any is, true where all are.
fn all(parts: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut sum = Some(true);
    for part in parts {
        match part {
            Some(false) => return Some(false),
            Some(true) => {}
            None => sum = None,
        }
    }
    sum
}

fn truth(known: &Known<'_>) -> Option<bool> {
    match known {
        Known::Bool(holds) => Some(*holds),
        Known::Text(_) | Known::Entity(..) | Known::Set(_) | Known::Context | Known::Nothing => {
            None
        }
    }
}

fn known(holds: Option<bool>) -> Known<'static> {
    holds.map_or(Known::Nothing, Known::Bool)
}

impl<'a> AccessRequest<'a> {
    fn is_person(&self, kind: &str, id: &str) -> bool {
        match kind {
            "Person" => self.principal.id.as_str() == id,
            "Group" => self.principal.groups.iter().any(|group| group.as_str() == id),
            _ => false,
        }
    }

    fn is_thing(&self, kind: &str, id: &str) -> bool {
        let target = self.target;
        match kind {
            "Env" => target.environment.as_ref().is_some_and(|name| name.as_str() == id),
            "Label" => target.labels.iter().any(|(key, value)| id == format!("{key}={value}")),
            kind => kind == target.kind.entity() && target.name.as_str() == id,
        }
    }

    fn eval<'j>(&self, expression: &'j Value) -> Known<'j>
    where
        'a: 'j,
    {
        let Some((operator, operand)) = expression.as_object().and_then(|all| all.iter().next())
        else {
            return Known::Nothing;
        };
        let side = |name: &str| operand.get(name).map_or(Known::Nothing, |side| self.eval(side));
        match operator.as_str() {
            "Value" => value(operand),
            "Set" => set(operand.as_array().into_iter().flatten().map(|item| self.eval(item))),
            "Var" => self.variable(operand),
            "." => self.field(&side("left"), operand.get("attr").and_then(Value::as_str)),
            "!" => known(truth(&side("arg")).map(|holds| !holds)),
            "&&" => known(all([truth(&side("left")), truth(&side("right"))])),
            "||" => {
                let neither = [truth(&side("left")), truth(&side("right"))];
                known(all(neither.map(|part| part.map(|holds| !holds))).map(|none| !none))
            }
            "==" => known(same(&side("left"), &side("right"))),
            "!=" => known(same(&side("left"), &side("right")).map(|same| !same)),
            "in" => known(self.is_in(&side("left"), &side("right"))),
            "is" => self.is_of_type(&side("left"), operand),
            "contains" => known(contains(&side("left"), &side("right"))),
            "hasTag" => self.has_tag(&side("right")),
            "getTag" => self.tag(&side("right")),
            "if-then-else" => match truth(&side("if")) {
                Some(true) => side("then"),
                Some(false) => side("else"),
                None => Known::Nothing,
            },
            _ => Known::Nothing,
        }
    }

    fn variable<'j>(&self, name: &Value) -> Known<'j>
    where
        'a: 'j,
    {
        match name.as_str() {
            Some("principal") => Known::Entity("Person", self.principal.id.as_str()),
            Some("resource") => Known::Entity(self.target.kind.entity(), self.target.name.as_str()),
            Some("action") => Known::Entity("Action", self.act.word()),
            Some("context") => Known::Context,
            Some(_) | None => Known::Nothing,
        }
    }

    fn field<'j>(&self, of: &Known<'_>, name: Option<&str>) -> Known<'j>
    where
        'a: 'j,
    {
        match (of, name) {
            (Known::Context, Some("login")) => Known::Text(self.resource.login.as_str()),
            (Known::Context, Some("database")) => {
                Known::Text(self.resource.database.as_ref().map_or("", |name| name.as_str()))
            }
            (Known::Context, Some("break_glass")) => Known::Bool(self.act == Act::BreakGlass),
            (Known::Entity("Person", _), Some("id")) => Known::Text(self.principal.id.as_str()),
            (Known::Entity("Database" | "Host" | "Service", _), Some("name")) => {
                Known::Text(self.target.name.as_str())
            }
            (_, _) => Known::Nothing,
        }
    }

    fn is_in(&self, left: &Known<'_>, right: &Known<'_>) -> Option<bool> {
        let Known::Entity(kind, _) = left else { return None };
        let one = |group: &Known<'_>| match group {
            Known::Entity("Group", _) if self.certain == Certain::Things => None,
            Known::Entity(of, id) if *kind == "Person" => Some(self.is_person(of, id)),
            Known::Entity(of, id) if *kind != "Action" => Some(self.is_thing(of, id)),
            Known::Entity(..)
            | Known::Bool(_)
            | Known::Text(_)
            | Known::Set(_)
            | Known::Context
            | Known::Nothing => None,
        };
        match right {
            Known::Set(groups) => all(groups.iter().map(|group| one(group).map(|is_in| !is_in)))
                .map(|in_none| !in_none),
            group @ (Known::Entity(..)
            | Known::Bool(_)
            | Known::Text(_)
            | Known::Context
            | Known::Nothing) => one(group),
        }
    }

    fn is_of_type(&self, left: &Known<'_>, operand: &Value) -> Known<'static> {
        let (Known::Entity(kind, _), Some(wanted)) =
            (left, operand.get("entity_type").and_then(Value::as_str))
        else {
            return Known::Nothing;
        };
        let is_in = operand.get("in").map(|group| self.is_in(left, &self.eval(group)));
        known(all([Some(*kind == wanted), is_in.unwrap_or(Some(true))]))
    }

    fn has_tag(&self, key: &Known<'_>) -> Known<'static> {
        let Known::Text(key) = key else { return Known::Nothing };
        Known::Bool(self.target.labels.contains_key(*key))
    }

    fn tag<'j>(&self, key: &Known<'_>) -> Known<'j>
    where
        'a: 'j,
    {
        let Known::Text(key) = key else { return Known::Nothing };
        self.target.labels.get(*key).map_or(Known::Nothing, |value| Known::Text(value))
    }
}

fn value(value: &Value) -> Known<'_> {
    match value {
        Value::Bool(holds) => Known::Bool(*holds),
        Value::String(text) => Known::Text(text),
        Value::Array(items) => set(items.iter().map(self::value)),
        Value::Object(_) => {
            entity(value).map_or(Known::Nothing, |(kind, id)| Known::Entity(kind, id))
        }
        Value::Null | Value::Number(_) => Known::Nothing,
    }
}

fn set<'j>(items: impl Iterator<Item = Known<'j>>) -> Known<'j> {
    Known::Set(items.collect())
}

fn same(left: &Known<'_>, right: &Known<'_>) -> Option<bool> {
    let comparable =
        |side: &Known<'_>| matches!(side, Known::Bool(_) | Known::Text(_) | Known::Entity(..));
    (comparable(left) && comparable(right)).then(|| left == right)
}

fn contains(set: &Known<'_>, item: &Known<'_>) -> Option<bool> {
    let Known::Set(items) = set else { return None };
    all(items.iter().map(|other| same(other, item).map(|same| !same))).map(|in_none| !in_none)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rstest::rstest;

    use super::*;
    use crate::target::orders;
    use crate::{GroupName, PrincipalId, RuleBook, Source};

    /// What is known of a condition, for alice of engineering who wants app_rw@orders/shop.
    #[rstest]
    #[case(r#"context.login == "app_rw""#, Some(true))]
    #[case(r#"["app_ro"].contains(context.login)"#, Some(false))]
    #[case(r#"context.database != "shop""#, Some(false))]
    #[case(r#"context.working_hours"#, None)]
    #[case(r#"context.working_hours && context.login == "app_ro""#, Some(false))]
    #[case(r#"context.working_hours || context.login == "app_rw""#, Some(true))]
    #[case(r#"context.working_hours || context.login == "app_ro""#, None)]
    #[case(r#"!(context.login == "app_ro")"#, Some(true))]
    #[case(r#"principal in Group::"engineering""#, Some(true))]
    #[case(r#"principal in Group::"dba""#, Some(false))]
    #[case(r#"principal in [Group::"dba", Group::"engineering"]"#, Some(true))]
    #[case(r#"principal == Person::"alice" && principal.id == "alice""#, Some(true))]
    #[case(r#"resource in Env::"prod""#, Some(true))]
    #[case(r#"resource in Label::"team=shop""#, Some(true))]
    #[case(r#"resource in Label::"team=billing""#, Some(false))]
    #[case(r#"resource is Database in Env::"prod""#, Some(true))]
    #[case(r#"resource is Host"#, Some(false))]
    #[case(r#"resource == Database::"orders""#, Some(true))]
    #[case(r#"resource.hasTag("team") && resource.getTag("team") == "shop""#, Some(true))]
    #[case(r#"resource.hasTag("tier") && resource.getTag("tier") == "1""#, Some(false))]
    #[case(r#"context.login like "app_*""#, None)]
    #[case(
        r#"if context.login == "app_rw" then context.break_glass else context.on_call"#,
        Some(false)
    )]
    #[case(r#"context has ticket"#, None)]
    fn what_people_and_targets_decide_is_known(
        #[case] condition: &str,
        #[case] known: Option<bool>,
    ) {
        let text = format!(
            "permit (principal, action == Action::\"connect\", resource) when {{ {condition} }};\n"
        );
        let book = RuleBook::load(&[Source { name: "a.cedar".into(), text }]).unwrap();
        let principal = Principal {
            id: PrincipalId::new("alice").unwrap(),
            name: "Alice".into(),
            groups: BTreeSet::from([GroupName::new("engineering").unwrap()]),
        };
        let (target, resource) = (orders(), "app_rw@orders/shop".parse().unwrap());
        let (principal, target, resource) = (&principal, &target, &resource);
        let json = book.views()[0].json();
        let certain = Certain::People;
        let request = |act| AccessRequest { principal, target, resource, act, certain };
        assert_eq!(applies(json, request(Act::Connect)), known, "{json}");
        assert_eq!(applies(json, request(Act::BreakGlass)), Some(false), "another act");
    }
}
