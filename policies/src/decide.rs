//! The decision: may this person have this login on this target, and what does it take?
//!
//! Pure, total, and deny by default. An error while evaluating any rule is a denial.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Entities, Entity, EntityUid, PolicyId, Request,
    RestrictedExpression,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::policy::RuleBook;
use crate::{Approvals, Principal, Resource, StepUpKind, Target, Timestamp, Ttl};

/// What rules may ask about the moment of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Now.
    pub now: Timestamp,
    /// Where the connection comes from, where there is one.
    pub source: Option<IpAddr>,
    /// The kind and age of the youngest step-up that serves here, where there is one.
    pub step_up: Option<(StepUpKind, Ttl)>,
    /// What is unusual about it.
    pub risk: Risk,
}

/// What is unusual about somebody's wish. By default, nothing is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Risk {
    /// They have never come from this network.
    pub new_network: bool,
    /// They have never come with this device.
    pub new_device: bool,
    /// How often somebody failed lately in their name.
    pub failed_attempts: u32,
}

impl Facts {
    /// The facts of a moment and a place, with no step-up and nothing unusual.
    #[must_use]
    pub fn new(now: Timestamp, source: Option<IpAddr>) -> Self {
        Self { now, source, step_up: None, risk: Risk::default() }
    }
}

/// The answer of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, once the terms are met.
    Allow(Terms),
    /// No.
    Deny(Refusal),
}

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
    /// A rule could not be evaluated, and an error is a denial.
    #[error("a rule could not be evaluated: {0}")]
    Faulty(String),
}

impl RuleBook {
    /// Decides. `resource` has been resolved against `target`.
    #[must_use]
    pub fn decide(
        &self,
        principal: &Principal,
        target: &Target,
        resource: &Resource,
        facts: &Facts,
    ) -> Decision {
        let question = Question { book: self, principal, target, resource, facts };
        match question.answer() {
            Ok(terms) => Decision::Allow(terms),
            Err(refusal) => Decision::Deny(refusal),
        }
    }
}

struct Question<'a> {
    book: &'a RuleBook,
    principal: &'a Principal,
    target: &'a Target,
    resource: &'a Resource,
    facts: &'a Facts,
}

impl Question<'_> {
    fn answer(&self) -> Result<Terms, Refusal> {
        let (request, entities) = self.pose().map_err(Refusal::Faulty)?;
        let authorizer = Authorizer::new();
        let permit = authorizer.is_authorized(&request, &self.book.permits, &entities);
        let forbid = authorizer.is_authorized(&request, &self.book.forbids, &entities);
        let errors = permit.diagnostics().errors().chain(forbid.diagnostics().errors());
        if let Some(error) = errors.into_iter().next() {
            return Err(Refusal::Faulty(error.to_string()));
        }
        if permit.decision() != Verdict::Allow {
            return Err(Refusal::NotPermitted);
        }
        self.discharge(forbid.diagnostics().reason())
    }

    /// Adds up what the forbidding rules take; one that takes nothing can't be discharged.
    fn discharge<'i>(
        &self,
        forbidding: impl Iterator<Item = &'i PolicyId>,
    ) -> Result<Terms, Refusal> {
        let mut rules = Vec::new();
        let mut absolute = Vec::new();
        let mut approvals = Approvals::default();
        let mut limits = BTreeSet::new();
        let mut step_ups = BTreeSet::new();
        for id in forbidding {
            let rule = self.book.rules.get(id).ok_or_else(|| Refusal::Faulty(id.to_string()))?;
            rules.push(rule.title.clone());
            if rule.obligations.is_absolute() {
                absolute.push(rule.title.clone());
            }
            approvals = approvals.strictest(rule.obligations.approvals.clone());
            limits.extend(rule.obligations.limit);
            step_ups.extend(rule.obligations.step_up);
        }
        rules.sort();
        absolute.sort();
        if !absolute.is_empty() {
            return Err(Refusal::Forbidden(absolute));
        }
        let (limit, step_up) = (limits.first().copied(), step_ups.first().copied());
        Ok(Terms { approvals, limit, step_up, rules })
    }

    fn pose(&self) -> Result<(Request, Entities), String> {
        let entities =
            Entities::from_entities(self.people()?.chain(self.things()?), Some(&self.book.schema))
                .map_err(|error| error.to_string())?;
        let request = Request::new(
            uid("Person", self.principal.id.as_str())?,
            uid("Action", "connect")?,
            uid(self.target.kind.entity(), self.target.name.as_str())?,
            self.context()?,
            Some(&self.book.schema),
        )
        .map_err(|error| error.to_string())?;
        Ok((request, entities))
    }

    fn context(&self) -> Result<Context, String> {
        let database = self.resource.database.as_ref().map_or("", |database| database.as_str());
        let mut pairs = vec![
            ("login".to_owned(), text(self.resource.login.as_str())),
            ("database".to_owned(), text(database)),
            ("time".to_owned(), instant(self.facts.now)),
        ];
        let Risk { new_network, new_device, failed_attempts } = self.facts.risk;
        pairs.extend([
            ("new_network".to_owned(), RestrictedExpression::new_bool(new_network)),
            ("new_device".to_owned(), RestrictedExpression::new_bool(new_device)),
            ("failed_attempts".to_owned(), RestrictedExpression::new_long(failed_attempts.into())),
        ]);
        if let Some((kind, age)) = self.facts.step_up {
            pairs.push(("step_up".to_owned(), step_up(kind, age)?));
        }
        if let Some(source) = self.facts.source {
            pairs.push(("source".to_owned(), RestrictedExpression::new_ip(source.to_string())));
        }
        Context::from_pairs(pairs).map_err(|error| error.to_string())
    }

    fn people(&self) -> Result<impl Iterator<Item = Entity> + use<>, String> {
        let groups: Result<HashSet<EntityUid>, String> =
            self.principal.groups.iter().map(|group| uid("Group", group.as_str())).collect();
        let groups = groups?;
        let attributes = HashMap::from([("id".to_owned(), text(self.principal.id.as_str()))]);
        let person =
            Entity::new(uid("Person", self.principal.id.as_str())?, attributes, groups.clone())
                .map_err(|error| error.to_string())?;
        Ok(std::iter::once(person).chain(groups.into_iter().map(Entity::with_uid)))
    }

    fn things(&self) -> Result<impl Iterator<Item = Entity> + use<>, String> {
        let environment = self.target.environment.iter().map(|name| uid("Env", name.as_str()));
        let parents: HashSet<EntityUid> = environment.collect::<Result<_, String>>()?;
        let attributes = [("name".to_owned(), text(self.target.name.as_str()))];
        let labels = self.target.labels.iter().map(|(key, value)| (key.clone(), text(value)));
        let thing = Entity::new_with_tags(
            uid(self.target.kind.entity(), self.target.name.as_str())?,
            attributes,
            parents.clone(),
            labels,
        )
        .map_err(|error| error.to_string())?;
        Ok(std::iter::once(thing).chain(parents.into_iter().map(Entity::with_uid)))
    }
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind = kind.parse().map_err(|error| format!("{error}"))?;
    Ok(EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(id)))
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

/// Age is in whole seconds: a step-up of this moment is 0 old.
fn step_up(kind: StepUpKind, age: Ttl) -> Result<RestrictedExpression, String> {
    let fields = [
        ("kind".to_owned(), text(kind.word())),
        ("age".to_owned(), RestrictedExpression::new_long(age.millis() / 1_000)),
    ];
    RestrictedExpression::new_record(fields).map_err(|error| error.to_string())
}

fn instant(at: Timestamp) -> RestrictedExpression {
    RestrictedExpression::new_datetime(at.to_string())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::policy::Source;
    use crate::target::orders;
    use crate::{GroupName, PrincipalId};

    const RULES: &str = r#"
        @id("engineers ask")
        permit (principal in Group::"engineering", action == Action::"connect", resource is Database)
        when { ["app_ro", "app_rw"].contains(context.login) };

        @id("prod writes take two DBAs") @approvals("2 of dba") @limit("1h")
        forbid (principal, action == Action::"connect", resource in Env::"prod")
        when { context.login == "app_rw" };

        @id("the shop is watched") @approvals("1 of dba, 1 of leads") @limit("2h")
        forbid (principal, action, resource) when { resource.hasTag("team") && resource.getTag("team") == "shop" && context.login == "app_rw" };

        @id("never from outside")
        forbid (principal, action, resource)
        when { context has source && !context.source.isInRange(ip("10.0.0.0/8")) };

        @id("laptops touch") @step_up("5m")
        forbid (principal in Group::"laptops", action, resource);

        @id("laptops touch soon") @step_up("90s")
        forbid (principal in Group::"laptops", action, resource)
        unless { context has step_up && context.step_up.kind == "passkey" && context.step_up.age < 60 };

        @id("nobody who failed three times")
        forbid (principal, action, resource)
        when { context.failed_attempts >= 3 || (context.new_network && context.new_device) };

        @id("contractors never see reporting")
        forbid (principal in Group::"contractors", action, resource) when { context.database == "reporting" };
    "#;

    fn decide(groups: &str, wish: &str, source: Option<&str>) -> Decision {
        let now = Timestamp::from_millis(1_790_000_000_000);
        decide_by(groups, wish, &Facts::new(now, source.map(|ip| ip.parse().unwrap())))
    }

    fn decide_by(groups: &str, wish: &str, facts: &Facts) -> Decision {
        let book =
            RuleBook::load(&[Source { name: "a.cedar".into(), text: RULES.into() }]).unwrap();
        let principal = Principal {
            id: PrincipalId::new("alice").unwrap(),
            name: "Alice".into(),
            groups: groups.split_whitespace().map(|name| GroupName::new(name).unwrap()).collect(),
        };
        let wish: Resource = wish.parse().unwrap();
        let target = orders();
        book.decide(&principal, &target, &wish, facts)
    }

    #[rstest]
    #[case(None, Some(90))]
    #[case(Some((StepUpKind::Totp, 1)), Some(90))]
    #[case(Some((StepUpKind::Passkey, 61)), Some(90))]
    #[case(Some((StepUpKind::Passkey, 59)), Some(300))]
    fn the_youngest_step_up_that_any_rule_wants_is_wanted(
        #[case] given: Option<(StepUpKind, u64)>,
        #[case] within: Option<u64>,
    ) {
        let now = Timestamp::from_millis(0);
        let step_up = given.map(|(kind, age)| (kind, Ttl::from_secs(age)));
        let facts = Facts { step_up, ..Facts::new(now, None) };
        let Decision::Allow(terms) = decide_by("engineering laptops", "app_ro@orders/shop", &facts)
        else {
            panic!("denied");
        };
        assert_eq!(terms.step_up, within.map(Ttl::from_secs));
    }

    #[test]
    fn rules_can_ask_what_is_unusual() {
        let unusual = [
            Risk { failed_attempts: 3, ..Risk::default() },
            Risk { new_network: true, new_device: true, failed_attempts: 0 },
        ];
        for risk in unusual {
            let facts = Facts { risk, ..Facts::new(Timestamp::from_millis(0), None) };
            let decision = decide_by("engineering", "app_ro@orders/shop", &facts);
            assert!(matches!(decision, Decision::Deny(Refusal::Forbidden(_))), "{decision:?}");
        }
    }

    #[rstest]
    #[case("engineering", "app_ro@orders/shop", None, "allow []")]
    #[case("engineering", "app_ro@orders/shop", Some("10.1.2.3"), "allow []")]
    #[case(
        "engineering",
        "app_ro@orders/shop",
        Some("203.0.113.9"),
        "forbidden by never from outside"
    )]
    #[case(
        "engineering",
        "app_ro@orders/shop",
        Some("2001:db8::1"),
        "forbidden by never from outside"
    )]
    #[case("engineering", "app_rw@orders/shop", None, "allow [2 of dba, 1 of leads] 1h")]
    #[case("engineering", "postgres@orders/shop", None, "no rule permits it")]
    #[case("", "app_ro@orders/shop", None, "no rule permits it")]
    #[case("Engineering", "app_ro@orders/shop", None, "no rule permits it")]
    #[case(
        "engineering contractors",
        "app_ro@orders/reporting",
        None,
        "forbidden by contractors never see reporting"
    )]
    #[case("engineering contractors", "app_ro@orders/shop", None, "allow []")]
    fn the_rules_decide(
        #[case] groups: &str,
        #[case] wish: &str,
        #[case] source: Option<&str>,
        #[case] expected: &str,
    ) {
        let told = match decide(groups, wish, source) {
            Decision::Deny(refusal) => refusal.to_string(),
            Decision::Allow(terms) => {
                let limit = terms.limit.map(|limit| format!(" {limit}")).unwrap_or_default();
                format!("allow [{}]{limit}", terms.approvals)
            }
        };
        assert_eq!(told, expected);
    }

    #[test]
    fn an_erring_forbid_denies_instead_of_being_skipped() {
        let overflow = "permit (principal, action, resource);\n\
             forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };";
        let book =
            RuleBook::load(&[Source { name: "a.cedar".into(), text: overflow.into() }]).unwrap();
        let principal = Principal {
            id: PrincipalId::new("alice").unwrap(),
            name: "Alice".into(),
            groups: BTreeSet::new(),
        };
        let facts = Facts::new(Timestamp::from_millis(0), None);
        let wish = "app_ro@orders/shop".parse().unwrap();
        let decision = book.decide(&principal, &orders(), &wish, &facts);
        assert!(matches!(decision, Decision::Deny(Refusal::Faulty(_))), "{decision:?}");
    }

    #[test]
    fn no_rule_denies() {
        let book = RuleBook::load(&[]).unwrap();
        let principal = Principal {
            id: PrincipalId::new("alice").unwrap(),
            name: "Alice".into(),
            groups: BTreeSet::new(),
        };
        let facts = Facts::new(Timestamp::from_millis(0), None);
        let wish = "app_ro@orders/shop".parse().unwrap();
        let decision = book.decide(&principal, &orders(), &wish, &facts);
        assert_eq!(decision, Decision::Deny(Refusal::NotPermitted));
    }
}
