//! Tables of what rules decide.

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

    @id("laptops step up") @step_up("5m")
    forbid (principal in Group::"laptops", action, resource);

    @id("laptops step up soon") @step_up("90s")
    forbid (principal in Group::"laptops", action, resource)
    unless { context has step_up && context.step_up.kind == "passkey" && context.step_up.age < 60 };

    @id("nobody who failed three times")
    forbid (principal, action, resource)
    when { context.failed_attempts >= 3 || (context.new_network && context.new_device) };

    @id("contractors never see reporting")
    forbid (principal in Group::"contractors", action, resource) when { context.database == "reporting" };
"#;

fn decide(groups: &str, resource: &str, source: Option<&str>) -> Decision {
    let now = Timestamp::from_millis(1_790_000_000_000);
    decide_by(groups, resource, &Facts::new(now, source.map(|ip| ip.parse().unwrap())))
}

fn decide_by(groups: &str, resource: &str, facts: &Facts) -> Decision {
    let book = RuleBook::load(&[Source { name: "a.cedar".into(), text: RULES.into() }]).unwrap();
    let principal = Principal {
        id: PrincipalId::new("alice").unwrap(),
        name: "Alice".into(),
        groups: groups.split_whitespace().map(|name| GroupName::new(name).unwrap()).collect(),
    };
    let resource: Resource = resource.parse().unwrap();
    let target = orders();
    book.decide(&principal, &target, &resource, facts)
}

/// What rules say of alice, in these groups, who wants to read.
pub(super) fn decided(groups: &str, rules: &str, facts: &Facts) -> Decision {
    let source = Source { name: "a.cedar".into(), text: rules.into() };
    let book = RuleBook::load(&[source]).unwrap();
    let principal = Principal {
        id: PrincipalId::new("alice").unwrap(),
        name: "Alice".into(),
        groups: groups.split_whitespace().map(|name| GroupName::new(name).unwrap()).collect(),
    };
    book.decide(&principal, &orders(), &"app_ro@orders/shop".parse().unwrap(), facts)
}

/// Facts of which every number can be reckoned with, and is over nothing.
pub(super) fn facts() -> Facts {
    let facts = Facts::new(Timestamp::from_millis(1_790_000_000_000), None);
    let local = Local { hour: 3, minute: 4, ..facts.local };
    let risk = Risk { failed_attempts: 1, ..Risk::default() };
    Facts { local, risk, ttl: Some(Ttl::from_secs(3_600)), ..facts }
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
#[case("engineering", "app_ro@orders/shop", Some("203.0.113.9"), "forbidden by never from outside")]
#[case("engineering", "app_ro@orders/shop", Some("2001:db8::1"), "forbidden by never from outside")]
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
    #[case] resource: &str,
    #[case] source: Option<&str>,
    #[case] expected: &str,
) {
    let outcome = match decide(groups, resource, source) {
        Decision::Deny(refusal) => refusal.to_string(),
        Decision::Allow(terms) => {
            let limit = terms.limit.map(|limit| format!(" {limit}")).unwrap_or_default();
            format!("allow [{}]{limit}", terms.approvals)
        }
    };
    assert_eq!(outcome, expected);
}

#[test]
fn an_erring_forbid_denies_instead_of_being_skipped() {
    let overflow = "permit (principal, action, resource);\n\
         forbid (principal, action, resource) when { 9223372036854775807 + 1 == 0 };";
    let book = RuleBook::load(&[Source { name: "a.cedar".into(), text: overflow.into() }]).unwrap();
    let principal = Principal {
        id: PrincipalId::new("alice").unwrap(),
        name: "Alice".into(),
        groups: BTreeSet::new(),
    };
    let facts = Facts::new(Timestamp::from_millis(0), None);
    let resource = "app_ro@orders/shop".parse().unwrap();
    let decision = book.decide(&principal, &orders(), &resource, &facts);
    assert!(matches!(decision, Decision::Deny(Refusal::Faulty(_))), "{decision:?}");
}

fn alice(book: &str, facts: &Facts) -> Decision {
    alice_at(book, &orders(), facts)
}

fn alice_at(book: &str, target: &Target, facts: &Facts) -> Decision {
    let book = RuleBook::load(&[Source { name: "a.cedar".into(), text: book.into() }]).unwrap();
    let id = PrincipalId::new("alice").unwrap();
    let principal = Principal { id, name: "Alice".into(), groups: BTreeSet::new() };
    book.decide(&principal, target, &"app_ro@orders/shop".parse().unwrap(), facts)
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
    let message = why.to_string();
    assert!(message.contains("`input`") && message.contains("watched"), "{message}");
}

#[test]
fn data_is_not_promised_of_a_target_that_keeps_no_values() {
    let facts = Facts::new(Timestamp::from_millis(0), None);
    let recorded = |record: &str, binds| {
        let rules = format!(
            "permit (principal, action, resource);\n\
             @id(\"watched\") @record(\"{record}\") forbid (principal, action, resource);"
        );
        let target = Target { recording: crate::Recording { binds }, ..orders() };
        alice_at(&rules, &target, &facts)
    };
    assert!(matches!(recorded("data", crate::Binds::Keep), Decision::Allow(_)));
    assert!(matches!(recorded("data, binds", crate::Binds::Omit), Decision::Allow(_)));
    for binds in [crate::Binds::Omit, crate::Binds::Hash] {
        let Decision::Deny(why) = recorded("data", binds) else { panic!("allowed") };
        assert!(why.to_string().contains("`data`"), "{why}");
    }
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
    let resource = "app_ro@orders/shop".parse().unwrap();
    let decision = book.decide(&principal, &orders(), &resource, &facts);
    assert_eq!(decision, Decision::Deny(Refusal::NotPermitted));
}

#[rstest]
#[case("when { context.ticket == \"OPS-1\" }", "ticket")]
#[case("when { context.source.isLoopback() }", "source")]
#[case("when { context.step_up.kind == \"passkey\" }", "step_up")]
#[case("when { resource.getTag(\"tier\") == \"1\" }", "tag")]
#[case("when { context.shoe_size > 40 }", "shoe_size")]
#[case("when { ip(context.login).isLoopback() }", "extension")]
fn what_may_be_missing_is_asked_for_first_or_refused_at_load(
    #[case] condition: &str,
    #[case] expected: &str,
) {
    for effect in ["permit", "forbid"] {
        let text = format!("{effect} (principal, action, resource) {condition};");
        let refused = RuleBook::load(&[Source { name: "a.cedar".into(), text }]).unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
        assert_eq!(refused.0.len(), 1, "one fault is reported once: {refused}");
    }
}
