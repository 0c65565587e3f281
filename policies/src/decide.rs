//! The decision: may this person have this login on this target, and what does it take?
//!
//! Pure, total, and deny by default. An error while evaluating any rule is a denial.

use std::collections::{BTreeSet, HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision as Verdict, Entities, Entity, EntityUid, PolicyId, PolicySet,
    Request, RestrictedExpression,
};

use crate::anatomy::RuleView;
use crate::policy::RuleBook;
use crate::{
    Act, Facts, Local, Obligations, Principal, Refusal, Resource, Risk, StepUpKind, Target, Terms,
    Timestamp, Ttl,
};

/// The answer of the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, once the terms are met.
    Allow(Terms),
    /// No.
    Deny(Refusal),
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

    /// The rules that apply: those that permit it, and those that forbid it or oblige to something.
    /// One that can't be evaluated isn't among them.
    ///
    /// # Errors
    /// Where the question can't be asked at all.
    pub(crate) fn applying(
        &self,
        principal: &Principal,
        target: &Target,
        resource: &Resource,
        facts: &Facts,
    ) -> Result<Vec<RuleView<'_>>, String> {
        let question = Question { book: self, principal, target, resource, facts };
        let (request, entities) = question.pose()?;
        let authorizer = Authorizer::new();
        let views = self.views();
        let mut found = Vec::new();
        for set in [question.permits(), &self.forbids] {
            let response = authorizer.is_authorized(&request, set, &entities);
            for id in response.diagnostics().reason() {
                found.extend(views.iter().filter(|view| view.id == id).copied());
            }
        }
        Ok(found)
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
        let permit = authorizer.is_authorized(&request, self.permits(), &entities);
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

    /// The permits that count for this act.
    fn permits(&self) -> &PolicySet {
        match self.facts.act {
            Act::Connect => &self.book.permits,
            Act::BreakGlass => &self.book.break_glass,
        }
    }

    /// Adds up what the forbidding rules take; one that takes nothing can't be discharged.
    fn discharge<'i>(
        &self,
        forbidding: impl Iterator<Item = &'i PolicyId>,
    ) -> Result<Terms, Refusal> {
        let mut rules = Vec::new();
        let mut absolute = Vec::new();
        let mut sum = Obligations::default();
        // In one order, so that the same rules come to the same terms.
        let forbidding: BTreeSet<_> = forbidding.collect();
        for id in forbidding {
            let rule = self.book.rules.get(id).ok_or_else(|| Refusal::Faulty(id.to_string()))?;
            rules.push(rule.title.clone());
            if rule.obligations.is_absolute() {
                absolute.push(rule.title.clone());
            }
            sum = sum.and(&rule.obligations);
        }
        rules.sort();
        absolute.sort();
        if !absolute.is_empty() {
            return Err(Refusal::Forbidden(absolute));
        }
        Terms::of(sum, rules, self.facts.act).recordable(self.target)
    }

    fn pose(&self) -> Result<(Request, Entities), String> {
        let entities =
            Entities::from_entities(self.people()?.chain(self.things()?), Some(&self.book.schema))
                .map_err(|error| error.to_string())?;
        let request = Request::new(
            uid("Person", self.principal.id.as_str())?,
            uid("Action", self.facts.act.word())?,
            uid(self.target.kind.entity(), self.target.name.as_str())?,
            self.context()?,
            Some(&self.book.schema),
        )
        .map_err(|error| error.to_string())?;
        Ok((request, entities))
    }

    fn context(&self) -> Result<Context, String> {
        let facts = self.facts;
        let database = self.resource.database.as_ref().map_or("", |database| database.as_str());
        let Local { working_hours, holiday, day, hour, minute } = facts.local;
        let Risk { new_network, new_device, failed_attempts } = facts.risk;
        let mut pairs = vec![
            ("login", text(self.resource.login.as_str())),
            ("database", text(database)),
            ("time", instant(facts.now)),
            ("working_hours", RestrictedExpression::new_bool(working_hours)),
            ("holiday", RestrictedExpression::new_bool(holiday)),
            ("day", text(day.word())),
            ("hour", RestrictedExpression::new_long(hour.into())),
            ("minute", RestrictedExpression::new_long(minute.into())),
            ("on_call", RestrictedExpression::new_bool(facts.on_call)),
            ("break_glass", RestrictedExpression::new_bool(facts.act == Act::BreakGlass)),
            ("ttl", span(facts.ttl.unwrap_or(self.target.default_ttl))),
            ("new_network", RestrictedExpression::new_bool(new_network)),
            ("new_device", RestrictedExpression::new_bool(new_device)),
            ("failed_attempts", RestrictedExpression::new_long(failed_attempts.into())),
        ];
        if let Some((kind, age)) = facts.step_up {
            pairs.push(("step_up", step_up(kind, age)?));
        }
        pairs.extend(facts.channel.map(|channel| ("channel", text(channel.word()))));
        // An IPv4 address that came over an IPv6 socket is compared as the IPv4 address it is.
        let source = facts.source.map(|source| source.to_canonical().to_string());
        pairs.extend(source.map(|source| ("source", RestrictedExpression::new_ip(source))));
        pairs.extend(facts.ticket.iter().map(|ticket| ("ticket", text(ticket.as_str()))));
        pairs.extend(facts.ticket_state.iter().map(|state| ("ticket_state", text(state))));
        let reason = Some(facts.reason.as_str()).filter(|reason| !reason.is_empty());
        pairs.extend(reason.map(|reason| ("reason", text(reason))));
        let pairs = pairs.into_iter().map(|(name, value)| (name.to_owned(), value));
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
        let labels = self.target.labels.iter();
        let labels = labels.map(|(key, value)| uid("Label", &format!("{key}={value}")));
        let parents: HashSet<EntityUid> =
            environment.chain(labels).collect::<Result<_, String>>()?;
        let attributes = [("name".to_owned(), text(self.target.name.as_str()))];
        let tags = self.target.labels.iter().map(|(key, value)| (key.clone(), text(value)));
        let thing = Entity::new_with_tags(
            uid(self.target.kind.entity(), self.target.name.as_str())?,
            attributes,
            parents.clone(),
            tags,
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

fn span(span: Ttl) -> RestrictedExpression {
    RestrictedExpression::new_duration(span.to_string())
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
    #[case("engineering", "app_ro@orders/shop", Some("::ffff:10.1.2.3"), "allow []")]
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

    fn alice(book: &str, facts: &Facts) -> Decision {
        let book = RuleBook::load(&[Source { name: "a.cedar".into(), text: book.into() }]).unwrap();
        let id = PrincipalId::new("alice").unwrap();
        let principal = Principal { id, name: "Alice".into(), groups: BTreeSet::new() };
        book.decide(&principal, &orders(), &"app_ro@orders/shop".parse().unwrap(), facts)
    }

    #[rstest]
    #[case("context.working_hours")]
    #[case("context.holiday")]
    #[case("context.on_call")]
    #[case("context.break_glass")]
    #[case("context has ticket")]
    #[case("context has ticket_state")]
    #[case("context has reason")]
    #[case("context has channel")]
    #[case("context.day != \"Thu\" || context.hour != 0 || context.minute != 0")]
    #[case("context.ttl != duration(\"1h\")")]
    #[case("!(resource in Label::\"team=shop\")")]
    fn a_fact_that_nobody_knows_is_absent_or_unfavourable(#[case] condition: &str) {
        let book = format!("permit (principal, action, resource) when {{ {condition} }};");
        let facts = Facts::new(Timestamp::from_millis(0), None);
        assert_eq!(alice(&book, &facts), Decision::Deny(Refusal::NotPermitted));
    }

    #[test]
    fn a_rule_about_one_kind_of_channel_says_nothing_of_the_connection_or_of_others() {
        let book = "permit (principal, action == Action::\"connect\", resource);
            forbid (principal, action, resource)
            when { context has channel && context.channel == \"shell\" };";
        let facts = Facts::new(Timestamp::from_millis(0), None);
        assert!(matches!(alice(book, &facts), Decision::Allow(_)));
        for channel in crate::Channel::ALL {
            let decision = alice(book, &facts.clone().on(channel));
            let shut = matches!(decision, Decision::Deny(Refusal::Forbidden(_)));
            assert_eq!(shut, channel == crate::Channel::Shell, "{channel}: {decision:?}");
        }
    }

    const EMERGENCY: &str = r#"
        permit (principal, action == Action::"break-glass", resource);
        @approvals("2 of dba") @limit("1h") @step_up("1h") forbid (principal, action, resource);
    "#;

    #[test]
    fn an_emergency_waits_for_nobody_but_takes_a_fresh_touch() {
        let facts = Facts::new(Timestamp::from_millis(0), None);
        assert_eq!(alice(EMERGENCY, &facts), Decision::Deny(Refusal::NotPermitted));
        let facts = Facts { act: Act::BreakGlass, ..facts };
        let Decision::Allow(terms) = alice(EMERGENCY, &facts) else { panic!("denied") };
        assert!(terms.approvals.is_empty());
        assert_eq!(terms.step_up, Some(Ttl::from_secs(300)));
        assert_eq!(terms.limit, Some(Ttl::from_secs(3_600)));
    }

    #[test]
    fn a_permit_over_any_act_permits_no_emergency() {
        let facts = Facts::new(Timestamp::from_millis(0), None);
        let facts = Facts { act: Act::BreakGlass, ..facts };
        let book = "permit (principal, action, resource);";
        assert_eq!(alice(book, &facts), Decision::Deny(Refusal::NotPermitted));
    }

    #[test]
    fn what_a_target_cannot_have_recorded_is_denied() {
        let facts = Facts::new(Timestamp::from_millis(0), None);
        let book = |what: &str| {
            format!(
                "permit (principal, action, resource);\n\
                 @id(\"watched\") @record(\"{what}\") forbid (principal, action, resource);"
            )
        };
        let Decision::Allow(terms) = alice(&book("binds"), &facts) else { panic!("denied") };
        assert_eq!(terms.record, BTreeSet::from([crate::Record::Binds]));
        let Decision::Deny(why) = alice(&book("binds, input"), &facts) else { panic!("allowed") };
        let told = why.to_string();
        assert!(told.contains("`input`") && told.contains("watched"), "{told}");
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
