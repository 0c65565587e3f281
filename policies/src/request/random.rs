//! Random events of several actors: whatever their order, what has to hold holds.

use proptest::prelude::*;

use super::tests::{alias, asked, at, decider, second, step_up, stepped};
use super::*;
use crate::other_human::tests::Somebody;
use crate::{Purpose, StepUp};

/// Two stages, two groups, and a third that may stand in.
const APPROVALS: &str = "1 of leads then 1 of dba, 1 of leads";

fn anybody() -> impl Strategy<Value = Somebody> {
    let people = prop::sample::select(vec!["alice", "bob", "carol", "dave", "erin"]);
    let groups = prop::sample::subsequence(vec!["dba", "leads", "ops"], 0..=3);
    (people, groups, 0..4_u8).prop_map(|(id, groups, second)| match (second, id) {
        (0, "alice") => alias("alice-admin", &groups, &["alice"]),
        (0, "bob") => alias("bob-admin", &groups, &["bob"]),
        _ => alias(id, &groups, &[&format!("{id}-admin")]),
    })
}

#[derive(Debug, Clone)]
enum Move {
    /// A yes to what is there now, or to what was there at first.
    Yes {
        by: Somebody,
        stale: bool,
        shorten: Option<u64>,
    },
    No(Somebody),
    Withdraw(Somebody),
    Edit {
        by: Somebody,
        ttl: u64,
    },
    /// The rules ask for less, or for as much, by now.
    Relax(&'static str),
    Escalate,
    Tick,
}

fn any_move() -> impl Strategy<Value = Move> {
    let shorten = prop::option::of(1..7_200_u64);
    let yes = (anybody(), prop::bool::weighted(0.2), shorten);
    prop_oneof![
        12 => yes.prop_map(|(by, stale, shorten)| Move::Yes { by, stale, shorten }),
        1 => anybody().prop_map(Move::No),
        1 => anybody().prop_map(Move::Withdraw),
        2 => (anybody(), 1..7_200_u64).prop_map(|(by, ttl)| Move::Edit { by, ttl }),
        1 => prop::sample::select(vec!["1 of dba", "1 of leads then 1 of dba", APPROVALS])
            .prop_map(Move::Relax),
        1 => Just(Move::Escalate),
        2 => Just(Move::Tick),
    ]
}

impl Move {
    /// None where it takes a second person, and this is the first one.
    fn on(self, request: &Request, first: &Digest) -> Option<RequestEvent> {
        let group = |name: &str| GroupName::new(name).unwrap();
        Some(match self {
            Self::Yes { by, stale, shorten } => RequestEvent::Approve {
                by: decider(request, &by).ok()?,
                digest: if stale { first.clone() } else { request.digest() },
                shorten: shorten.map(Ttl::from_secs),
                step_up: None,
            },
            Self::No(by) => {
                RequestEvent::Deny { by: decider(request, &by).ok()?, reason: "no".into() }
            }
            Self::Withdraw(by) => RequestEvent::Withdraw { by: by.principal.id },
            Self::Edit { by, ttl } => RequestEvent::Edit {
                by: by.principal.id,
                edit: Edit {
                    ttl: Ttl::from_secs(ttl),
                    reason: request.reason.clone(),
                    ticket: None,
                    starts_at: None,
                },
                terms: request.terms.clone(),
                timeout: Ttl::from_secs(600),
            },
            Self::Relax(approvals) => RequestEvent::Relax {
                terms: Terms { approvals: approvals.parse().unwrap(), ..request.terms.clone() },
            },
            Self::Escalate => RequestEvent::Escalate {
                to: BTreeMap::from([(group("dba"), group("ops")), (group("leads"), group("ops"))]),
            },
            Self::Tick => RequestEvent::Tick,
        })
    }
}

/// One name for both identities of a person.
fn human(id: &PrincipalId) -> &str {
    id.as_str().trim_end_matches("-admin")
}

fn holds(before: &Request, event: &RequestEvent, next: &Request) -> Result<(), TestCaseError> {
    prop_assert!(before.is_pending(), "nothing follows an end");
    let edited = matches!(event, RequestEvent::Edit { .. });
    prop_assert_eq!(next.digest() != before.digest(), edited, "only an edit makes another text");
    if edited {
        prop_assert!(next.state.approvals().is_empty(), "an edit kills approvals");
    }
    for yes in next.state.approvals() {
        prop_assert_eq!(&yes.digest, &next.digest());
        prop_assert_ne!(human(&yes.by), "alice", "no self-approval");
    }
    prop_assert!(next.lasts() <= next.ttl);
    Ok(())
}

fn any_step_up() -> impl Strategy<Value = Option<StepUp>> {
    let people = prop::sample::select(vec!["alice", "bob", "carol"]);
    let purposes = prop::sample::select(vec![Purpose::Ask, Purpose::Approve, Purpose::Connect]);
    let subjects = prop::sample::select(vec!["rq-1", "app_rw@orders/shop", "rq-2"]);
    let step_up = (people, purposes, subjects, 0..120_i64)
        .prop_map(|(who, purpose, subject, secs)| step_up(who, purpose, subject, secs));
    prop::option::of(step_up)
}

fn any_step_up_event() -> impl Strategy<Value = RequestEvent> {
    let people = prop::sample::select(vec!["alice", "bob", "carol"]);
    (people, any_step_up(), 0..3_u8).prop_map(|(who, given, kind)| match (given, kind) {
        (Some(step_up), 0) => RequestEvent::StepUp { step_up },
        (step_up, 0 | 1) if who != "alice" => RequestEvent::Approve {
            by: second(who, &["dba"]),
            digest: stepped("1 of dba").digest(),
            shorten: None,
            step_up,
        },
        (_, _) => RequestEvent::Tick,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_order_of_events_grants_without_its_approvals(
        moves in prop::collection::vec((any_move(), 0..300_i64), 0..24)
    ) {
        let mut request = asked(APPROVALS);
        let (first, mut now) = (request.digest(), 0);
        for (chosen, step) in moves {
            now += step / 10;
            let Some(event) = chosen.on(&request, &first) else { continue };
            if let Ok(next) = request.apply(event.clone(), at(now)) {
                holds(&request, &event, &next)?;
                request = next;
            }
        }
        if let RequestState::Granted { approvals, at } = &request.state {
            let people: std::collections::BTreeSet<&str> =
                approvals.iter().map(|yes| human(&yes.by)).collect();
            prop_assert_eq!(people.len(), approvals.len(), "each person counts once");
            let met = Request { terms: request.took().clone(), ..request.clone() };
            prop_assert_eq!(met.missing(approvals), 0);
            if request.met.is_none() {
                prop_assert_eq!(approvals.len(), 3);
            }
            prop_assert!(*at < request.lapses_at);
        }
    }

    #[test]
    fn no_order_of_events_grants_without_its_step_ups(
        events in prop::collection::vec((any_step_up_event(), 0..300_i64), 0..16)
    ) {
        let (mut request, mut now) = (stepped("1 of dba"), 0);
        for (event, step) in events {
            now += step / 10;
            request = request.apply(event, at(now)).unwrap_or(request);
        }
        if let RequestState::Granted { approvals, .. } = &request.state {
            prop_assert!(request.step_up.is_some());
            prop_assert!(approvals.iter().all(|yes| yes.step_up.is_some()));
        }
    }
}
