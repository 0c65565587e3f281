//! Random rules about random requests: an error denies, no obligation gets lost, and what nobody
//! permits stays denied.

use proptest::prelude::*;

use super::tests::{decided, facts};
use super::*;
use crate::{Approvals, Record};

/// Rules that the schema takes, and that can't be evaluated whenever they are looked at.
const ERRING: [&str; 6] = [
    "9223372036854775807 + 1 == 0",
    "0 - 9223372036854775807 - context.hour < 0",
    "(context.minute + 2) * 9223372036854775807 > 0",
    "context.time.offset(duration(\"9223372036854775807ms\")) > context.time",
    "context.ttl.toMilliseconds() * 9223372036854775807 == 0",
    "!(context.failed_attempts + 9223372036854775807 + 1 > 0)",
];

/// Whom and what a rule is about that looks at alice's request.
const SCOPES: [&str; 4] = [
    "principal, action, resource",
    "principal in Group::\"engineering\", action, resource",
    "principal, action == Action::\"connect\", resource is Database",
    "principal == Person::\"alice\", action, resource in Env::\"prod\"",
];

const CONDITIONS: [&str; 5] = [
    "",
    "when { context.login == \"app_ro\" }",
    "when { context.working_hours } unless { context.on_call }",
    "unless { context has ticket }",
    "when { resource in Label::\"team=shop\" && context.ttl <= duration(\"8h\") }",
];

fn any_rule(heads: &'static [&'static str]) -> impl Strategy<Value = String> {
    let parts = (
        prop::sample::select(heads),
        prop::sample::select(&SCOPES[..]),
        prop::sample::select(&CONDITIONS[..]),
    );
    parts.prop_map(|(head, scope, condition)| {
        let effect = if head.is_empty() { "permit" } else { "forbid" };
        format!("{} {effect} ({scope}) {condition};", head.trim())
    })
}

fn any_permit() -> impl Strategy<Value = String> {
    any_rule(&[""])
}

fn any_forbid() -> impl Strategy<Value = String> {
    any_rule(&[
        "@approvals(\"1 of dba\")",
        "@approvals(\"2 of dba, 1 of leads\") @limit(\"30m\")",
        "@approvals(\"1 of leads then 1 of security\") @step_up(\"5m\")",
        "@limit(\"2h\") @claim_within(\"10m\")",
        "@step_up(\"90s\") @record(\"binds\")",
        "@ticket(\"OPS-[0-9]+\") @reason",
        "@ticket(\"[A-Z]+-1\") @reason(\"30\") @claim_within(\"1h\")",
    ])
}

fn any_facts() -> impl Strategy<Value = Facts> {
    (any::<bool>(), any::<bool>(), 2..40_000_u64).prop_map(|(working_hours, on_call, ttl)| {
        let facts = facts();
        let local = Local { working_hours, ..facts.local };
        Facts { local, on_call, ttl: Some(Ttl::from_secs(ttl)), ..facts }
    })
}

fn any_approvals() -> impl Strategy<Value = Approvals> {
    let texts = [
        "",
        "1 of dba",
        "2 of dba, 1 of leads",
        "1 of leads then 1 of dba",
        "1 of dba then 1 of leads",
        "1 of dba then 2 of leads, 1 of security then 1 of dba",
        "1 of security then 1 of dba then 1 of leads",
    ];
    prop::sample::select(texts.to_vec())
        .prop_map(|text| Approvals::try_from(text.to_owned()).unwrap())
}

fn any_obligations() -> impl Strategy<Value = Obligations> {
    let span = || prop::option::of((1..5_000_u64).prop_map(Ttl::from_secs));
    let tickets = prop::sample::subsequence(vec!["OPS-[0-9]+", "[A-Z]+-1", "INC.*"], 0..=3);
    let record = prop::sample::subsequence(vec![Record::Binds, Record::Data, Record::Input], 0..=3);
    let reason = prop::option::of(1..500_u32);
    (any_approvals(), (span(), span(), span()), tickets, reason, record).prop_map(
        |(approvals, (limit, step_up, claim_within), tickets, reason, record)| Obligations {
            approvals,
            limit,
            step_up,
            tickets: tickets.into_iter().map(|text| text.parse().unwrap()).collect(),
            reason,
            claim_within,
            record: record.into_iter().collect(),
        },
    )
}

/// Whether this takes at least what that takes, in every respect.
fn takes_at_least(this: &Obligations, that: &Obligations) -> bool {
    let short = |one: Option<Ttl>, other: Option<Ttl>| {
        other.is_none_or(|other| one.is_some_and(|one| one <= other))
    };
    this.approvals.covers(&that.approvals)
        && short(this.limit, that.limit)
        && short(this.step_up, that.step_up)
        && short(this.claim_within, that.claim_within)
        && this.tickets.is_superset(&that.tickets)
        && this.record.is_superset(&that.record)
        && this.reason >= that.reason
}

fn obligations(terms: Terms) -> Obligations {
    let Terms { approvals, limit, step_up, tickets, reason, claim_within, record, rules: _ } =
        terms;
    Obligations { approvals, limit, step_up, tickets, reason, claim_within, record }
}

proptest! {
    // Each case reads its rules again, schema and all.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_rule_that_errs_denies_whatever_else_permits(
        mut rules in prop::collection::vec(any_permit(), 1..4),
        more in prop::collection::vec(any_forbid(), 0..3),
        (effect, scope) in (prop::sample::select(vec!["permit", "forbid", "@limit(\"1h\") forbid"]),
            prop::sample::select(&SCOPES[..])),
        condition in prop::sample::select(&ERRING[..]),
        (at, facts) in (0..8_usize, any_facts()),
    ) {
        rules.extend(more);
        let erring = format!("{effect} ({scope}) when {{ {condition} }};");
        rules.insert(at % (rules.len() + 1), erring);
        let decision = decided("engineering", &rules.join("\n"), &facts);
        prop_assert!(matches!(decision, Decision::Deny(Refusal::Faulty(_))), "{decision:?}");
    }

    #[test]
    fn no_rules_permit_nothing(facts in any_facts(), forbids in prop::collection::vec(any_forbid(), 0..4)) {
        prop_assert_eq!(decided("engineering", "", &facts), Decision::Deny(Refusal::NotPermitted));
        let decision = decided("engineering", &forbids.join("\n"), &facts);
        prop_assert_eq!(decision, Decision::Deny(Refusal::NotPermitted));
    }

    #[test]
    fn whoever_and_whatever_no_rule_knows_gets_nothing(
        facts in any_facts(), group in "[a-z]{1,8}", name in "[a-z]{1,8}"
    ) {
        let rules = format!(
            "permit (principal in Group::\"x-{group}\", action, resource);\n\
             permit (principal == Person::\"x-{name}\", action, resource);\n\
             permit (principal, action, resource in Env::\"x-{name}\");\n\
             permit (principal, action, resource in Label::\"x-{group}=1\");\n\
             permit (principal, action, resource == Database::\"x-{name}\");\n\
             permit (principal, action, resource is Host);"
        );
        prop_assert_eq!(decided(&group, &rules, &facts), Decision::Deny(Refusal::NotPermitted));
    }

    #[test]
    fn one_more_forbid_never_weakens_what_it_takes(
        permits in prop::collection::vec(any_permit(), 1..3),
        forbids in prop::collection::vec(any_forbid(), 0..4),
        (another, facts) in (any_forbid(), any_facts()),
    ) {
        let without = [permits.clone(), forbids.clone()].concat();
        let with = [without.clone(), vec![another.clone()]].concat();
        let more = decided("engineering", &with.join("\n"), &facts);
        match decided("engineering", &without.join("\n"), &facts) {
            Decision::Deny(_) => prop_assert!(matches!(more, Decision::Deny(_)), "{more:?}"),
            Decision::Allow(_) => {
                let Decision::Allow(more) = more else { return Ok(()) };
                let more = obligations(more);
                // Each rule alone is met by whoever meets the sum, the new one too.
                for rule in forbids.iter().chain([&another]) {
                    let alone = format!("permit (principal, action, resource);\n{rule}");
                    let Decision::Allow(alone) = decided("engineering", &alone, &facts) else {
                        return Err(TestCaseError::fail("denied alone"));
                    };
                    prop_assert!(takes_at_least(&more, &obligations(alone)), "{more:?} {rule}");
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn obligations_add_up_to_the_strictest_in_any_order(one in any_obligations(), other in any_obligations()) {
        let both = one.clone().and(&other);
        prop_assert!(takes_at_least(&both, &one) && takes_at_least(&both, &other));
        prop_assert_eq!(&both, &other.clone().and(&one), "the order makes no difference");
        prop_assert_eq!(&one.clone().and(&one), &one, "the same twice is the same");
        prop_assert_eq!(&one.clone().and(&Obligations::default()), &one, "nothing adds nothing");
        let terms = |sum| Terms::of(sum, Vec::new(), Act::Connect);
        let sum = terms(one).and(terms(other));
        prop_assert_eq!(obligations(sum), both, "what several things take adds up the same way");
    }
}
