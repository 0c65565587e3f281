//! Grounds: which rules had a say in what was given, and the facts that these looked at.
//!
//! They are for the audit log of what nobody was asked about. Three kinds of rules have a say: what
//! permits it, what forbids it but was met, and what would have forbidden it or asked for something,
//! had the moment or somebody's groups been others: that one stood aside. A rule about another login,
//! environment or act has no say.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Value, json};

use crate::anatomy::RuleView;
use crate::lint::partial::{AccessRequest, Certain, applies};
use crate::{Act, Facts, GroupName, Principal, Refusal, Resource, RuleBook, Target};

/// The rules that had a say, and what they looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Grounds {
    /// What permits it.
    pub permitted_by: Vec<Named>,
    /// What it took, and was met.
    pub met: Vec<Named>,
    /// What would have forbidden it or asked for something, but stood aside.
    pub stood_aside: Vec<Named>,
    /// The facts that these rules look at, by the names that rules call them by.
    pub facts: BTreeMap<String, Value>,
    /// Those of the person's groups that these rules speak of.
    pub groups: BTreeSet<GroupName>,
}

/// A rule by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// Its title.
    pub rule: String,
    /// File and line.
    pub at: String,
}

impl Named {
    fn all<'v, 'b: 'v>(views: impl IntoIterator<Item = &'v RuleView<'b>>) -> Vec<Self> {
        let named = |view: &RuleView<'_>| Self {
            rule: view.title().to_owned(),
            at: view.place().to_string(),
        };
        views.into_iter().map(named).collect()
    }
}

impl RuleBook {
    /// On what grounds this is given; `resource` has been resolved against `target`.
    ///
    /// # Errors
    /// Where the question can't be asked at all.
    pub fn grounds(
        &self,
        principal: &Principal,
        target: &Target,
        resource: &Resource,
        facts: &Facts,
    ) -> Result<Grounds, Refusal> {
        let applying = self.applying(principal, target, resource, facts);
        let applying = applying.map_err(Refusal::Faulty)?;
        let request =
            AccessRequest { principal, target, resource, act: facts.act, certain: Certain::Things };
        let aside: Vec<RuleView<'_>> = self
            .views()
            .into_iter()
            .filter(|view| !view.permits() && !applying.iter().any(|other| other.id == view.id))
            .filter(|view| applies(view.json(), request) != Some(false))
            .collect();
        let (permits, met): (Vec<&RuleView<'_>>, Vec<_>) =
            applying.iter().partition(|view| view.permits());
        let all = || applying.iter().chain(&aside);
        let asked: BTreeSet<String> = all().flat_map(RuleView::asks_for).collect();
        let known = asked.into_iter().filter_map(|name| {
            let value = value(&name, target, resource, facts)?;
            Some((name, value))
        });
        let spoken: BTreeSet<GroupName> = all().flat_map(RuleView::groups).collect();
        Ok(Grounds {
            permitted_by: Named::all(permits),
            met: Named::all(met),
            stood_aside: Named::all(&aside),
            facts: known.collect(),
            groups: spoken.intersection(&principal.groups).cloned().collect(),
        })
    }
}

/// A fact as the audit log writes it; what is absent is null.
fn value(name: &str, target: &Target, resource: &Resource, facts: &Facts) -> Option<Value> {
    let Facts { local, risk, .. } = facts;
    Some(match name {
        "login" => json!(resource.login),
        "database" => json!(resource.database),
        "ttl" => json!(facts.ttl.unwrap_or(target.default_ttl)),
        "break_glass" => json!(facts.act == Act::BreakGlass),
        "time" => json!(facts.now.to_string()),
        "working_hours" => json!(local.working_hours),
        "holiday" => json!(local.holiday),
        "day" => json!(local.day.word()),
        "hour" => json!(local.hour),
        "minute" => json!(local.minute),
        "source" => json!(facts.source.map(|source| source.to_canonical())),
        "step_up" => {
            let to_json = |(kind, age): (crate::StepUpKind, crate::Ttl)| json!({ "kind": kind.word(), "age": age });
            facts.step_up.map_or(Value::Null, to_json)
        }
        "channel" => json!(facts.channel.map(|channel| channel.word())),
        "on_call" => json!(facts.on_call),
        "ticket" => json!(facts.ticket),
        "ticket_state" => json!(facts.ticket_state),
        "reason" => json!(facts.reason),
        "new_network" => json!(risk.new_network),
        "new_device" => json!(risk.new_device),
        "failed_attempts" => json!(risk.failed_attempts),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::target::orders;
    use crate::{PrincipalId, SCHEMA, Source, Timestamp, Ttl};

    const RULES: &str = r#"
        @id("engineers ask")
        permit (principal in Group::"engineering", action == Action::"connect", resource is Database);

        @id("a lead out of hours") @approvals("1 of leads")
        forbid (principal, action == Action::"connect", resource in Env::"prod")
        unless { context.working_hours || principal in Group::"on-call" };

        @id("an hour") @limit("1h")
        forbid (principal, action, resource) when { context.ttl > duration("10m") };

        @id("writes take a ticket") @approvals("1 of dba")
        forbid (principal, action, resource)
        when { context.login == "app_rw" && !(context has ticket_state && context.ticket_state == "open") };

        @id("elsewhere") @approvals("1 of dba")
        forbid (principal, action, resource in Env::"staging") unless { context.on_call };

        @id("contractors") @approvals("1 of dba")
        forbid (principal in Group::"contractors", action, resource) unless { context.on_call };
    "#;

    fn grounds(groups: &str, resource: &str, facts: &Facts) -> Grounds {
        let source = Source { name: "a.cedar".into(), text: RULES.into() };
        let book = RuleBook::load(&[source]).unwrap();
        let principal = Principal {
            id: PrincipalId::new("alice").unwrap(),
            name: "Alice".into(),
            groups: groups.split_whitespace().map(|name| GroupName::new(name).unwrap()).collect(),
        };
        book.grounds(&principal, &orders(), &resource.parse().unwrap(), facts).unwrap()
    }

    fn facts() -> Facts {
        let facts = Facts::new(Timestamp::from_millis(0), None);
        let local = crate::Local { working_hours: true, ..facts.local };
        Facts { local, ttl: Some(Ttl::from_secs(300)), ..facts }
    }

    fn titles(named: &[Named]) -> Vec<&str> {
        named.iter().map(|named| named.rule.as_str()).collect()
    }

    #[rstest]
    #[case("engineering", "app_ro@orders/shop", &["working_hours", "ttl"], "engineering")]
    #[case("engineering on-call", "app_ro@orders/shop", &["working_hours", "ttl"], "engineering on-call")]
    #[case("engineering", "app_rw@orders/shop", &["working_hours", "ttl", "login"], "engineering")]
    fn rules_that_decided_are_listed_with_the_facts_that_they_read(
        #[case] groups: &str,
        #[case] resource: &str,
        #[case] asked: &[&str],
        #[case] named: &str,
    ) {
        let found = grounds(groups, resource, &facts());
        assert_eq!(titles(&found.permitted_by), ["engineers ask"]);
        assert_eq!(found.permitted_by[0].at, "a.cedar:2");
        assert!(asked.iter().all(|fact| found.facts.contains_key(*fact)), "{found:?}");
        assert_eq!(
            (&found.facts["working_hours"], &found.facts["ttl"]),
            (&json!(true), &json!("5m"))
        );
        let named: BTreeSet<_> =
            named.split_whitespace().map(|name| GroupName::new(name).unwrap()).collect();
        assert_eq!(found.groups, named);
        let aside = titles(&found.stood_aside);
        assert!(aside.contains(&"a lead out of hours") && aside.contains(&"an hour"), "{aside:?}");
        assert!(!aside.contains(&"elsewhere") && !aside.contains(&"contractors"), "{aside:?}");
    }

    #[test]
    fn what_was_met_differs_from_what_stood_aside() {
        let ticket = crate::Ticket::new("OPS-1").ok();
        let facts = Facts {
            ttl: Some(Ttl::from_secs(900)),
            ticket,
            ticket_state: Some("open".into()),
            ..facts()
        };
        let found = grounds("engineering", "app_rw@orders/shop", &facts);
        assert_eq!(titles(&found.met), ["an hour"]);
        assert_eq!(titles(&found.stood_aside), ["a lead out of hours", "writes take a ticket"]);
        assert_eq!(found.facts["ticket_state"], json!("open"));
        let other = grounds("engineering", "app_ro@orders/shop", &facts);
        assert!(
            !other.facts.contains_key("ticket_state"),
            "a rule about app_rw has no say: {other:?}"
        );
    }

    #[test]
    fn every_fact_of_the_schema_has_a_value() {
        let fields = SCHEMA.split_once("type Facts = {").unwrap().1.split_once("\n};").unwrap().0;
        let lines = fields.lines().map(str::trim).filter(|line| !line.starts_with("//"));
        let names: Vec<&str> = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name.trim_end_matches('?'))
            .collect();
        assert!(names.len() >= 19, "{names:?}");
        let resource: Resource = "app_ro@orders/shop".parse().unwrap();
        for name in names {
            assert!(value(name, &orders(), &resource, &facts()).is_some(), "{name}");
        }
    }
}
