use std::collections::BTreeMap;

use policies::{Partition, Term};
use proptest::collection::vec;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::core::testing::{LONG, at, claim, key, lease, lock, snapshot, target};

fn leases(list: Vec<Lease>) -> Leases {
    let leases = Leases::new(Clock::paused(at(0)));
    leases.apply_snapshot(7, LONG, snapshot(list, Partition::Cut));
    leases
}

fn admit(leases: &Leases) -> Result<Pass, Denial> {
    let key = key("alice", "app@orders/shop");
    leases.admit(&AdmissionQuery { key: &key, device: None, credential: None })
}

fn active(grant: &str) -> Lease {
    lease(grant, Term::Until(at(600)))
}

fn gone(grant: &str, end: End) -> Delta {
    Delta { gone: vec![(grant.parse().unwrap(), end)], ..Delta::default() }
}

#[tokio::test(start_paused = true)]
async fn before_the_first_snapshot_nobody_is_admitted() {
    let leases = Leases::new(Clock::paused(at(0)));
    assert_eq!(admit(&leases).unwrap_err(), Denial::Stale);
    let nothing = leases.apply_delta(1, LONG, Delta::default());
    assert_eq!(nothing, Err(LeaseError::NoSnapshot));
    assert_eq!(leases.apply_heartbeat(0, LONG), Err(LeaseError::NoSnapshot));
}

#[tokio::test(start_paused = true)]
async fn what_a_snapshot_leaves_out_is_revoked() {
    let leases = leases(vec![active("gr-1")]);
    let pass = admit(&leases).unwrap();
    assert!(pass.held.is_live(at(1)));
    leases.apply_snapshot(8, LONG, snapshot(vec![], Partition::Cut));
    assert!(!pass.held.is_live(at(1)));
    let why = End::Revoked("no longer granted".into());
    assert_eq!(pass.held.over().unwrap().end, why);
    assert_eq!(admit(&leases).unwrap_err(), Denial::NoGrant);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_says_why_something_is_gone_and_what_had_run_out_has_expired() {
    let all = leases(vec![active("gr-1"), lease("gr-2", Term::Until(at(5)))]);
    let first = admit(&all).unwrap();
    let second = Arc::clone(&all.write().held[&"gr-2".parse::<GrantId>().unwrap()]);
    tokio::time::advance(Duration::from_secs(5)).await;
    let why = vec![(first.grant().clone(), End::Done)];
    let snapshot = Snapshot { gone: why, ..snapshot(vec![], Partition::Cut) };
    all.apply_snapshot(8, LONG, snapshot);
    assert_eq!(first.held.over().unwrap().end, End::Done);
    assert_eq!(second.over().unwrap().end, End::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_stays_in_a_snapshot_stays_the_same() {
    let leases = leases(vec![active("gr-1")]);
    let pass = admit(&leases).unwrap();
    let longer = lease("gr-1", Term::Until(at(900)));
    leases.apply_snapshot(3, LONG, snapshot(vec![longer], Partition::Cut));
    assert_eq!(pass.held.term(), Term::Until(at(900)));
    assert!(Arc::ptr_eq(&pass.held, &admit(&leases).unwrap().held));
    assert_eq!(leases.revision(), Some(3), "a snapshot may begin to count again");
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_an_error_and_what_was_applied_is_ignored() {
    let leases = leases(vec![active("gr-1")]);
    let end = || gone("gr-1", End::Done);
    assert_eq!(leases.apply_delta(9, LONG, end()), Err(LeaseError::Gap { from: 7, to: 9 }));
    assert_eq!(leases.apply_heartbeat(8, LONG), Err(LeaseError::Gap { from: 7, to: 8 }));
    assert_eq!(leases.apply_delta(7, LONG, end()), Ok(()));
    assert!(admit(&leases).is_ok());
    assert_eq!(leases.apply_delta(8, LONG, end()), Ok(()));
    assert_eq!(admit(&leases).unwrap_err(), Denial::NoGrant);
}

#[tokio::test(start_paused = true)]
async fn without_news_nobody_new_is_admitted() {
    let leases = leases(vec![active("gr-1")]);
    leases.apply_heartbeat(7, Ttl::from_secs(10)).unwrap();
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(admit(&leases).is_ok());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(admit(&leases).unwrap_err(), Denial::Stale);
    leases.apply_heartbeat(7, Ttl::from_secs(10)).unwrap();
    assert!(admit(&leases).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_neither_ends_nor_stretches_freshness() {
    let leases = leases(vec![lease("gr-1", Term::Until(at(100_000)))]);
    leases.clock.step(3_600_000);
    leases.apply_heartbeat(7, Ttl::from_secs(10)).unwrap();
    leases.clock.step(-3_600_000);
    tokio::time::advance(Duration::from_secs(9)).await;
    leases.clock.step(7_200_000);
    assert!(admit(&leases).is_ok());
    leases.clock.step(-7_200_000);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!leases.is_fresh());
    assert_eq!(admit(&leases).unwrap_err(), Denial::Stale);
    leases.apply_heartbeat(7, Ttl::from_millis(u64::MAX)).unwrap();
    assert!(admit(&leases).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_first_use_starts_the_clock_and_nothing_stops_it() {
    let leases = leases(vec![lease("gr-1", claim(60, 600))]);
    let held = admit(&leases).unwrap().held;
    assert_eq!(held.ttl(at(0)), Ttl::from_secs(600));
    held.begin(at(600));
    assert_eq!(held.term(), Term::Until(at(600)));
    let late = Delta { leases: vec![lease("gr-1", claim(60, 600))], ..Delta::default() };
    leases.apply_delta(8, LONG, late).unwrap();
    assert_eq!(held.term(), Term::Until(at(600)));
    let shorter = Delta { leases: vec![lease("gr-1", Term::Until(at(300)))], ..Delta::default() };
    leases.apply_delta(9, LONG, shorter).unwrap();
    held.begin(at(600));
    assert_eq!(held.term(), Term::Until(at(300)), "the feed's word is later");
}

#[tokio::test(start_paused = true)]
async fn what_has_ended_does_not_come_back() {
    let leases = leases(vec![lease("gr-1", claim(60, 600))]);
    let held = admit(&leases).unwrap().held;
    leases.apply_delta(8, LONG, gone("gr-1", End::Done)).unwrap();
    held.begin(at(600));
    held.renew(Term::Until(at(600)));
    assert!(!held.is_live(at(0)));
}

#[tokio::test(start_paused = true)]
async fn what_came_and_ended_in_the_same_news_is_gone() {
    for before in [vec![], vec![lease("gr-1", claim(60, 600))]] {
        let leases = leases(before);
        let held = admit(&leases).ok().map(|pass| pass.held);
        let news = Delta { leases: vec![active("gr-1")], ..gone("gr-1", End::Done) };
        leases.apply_delta(8, LONG, news).unwrap();
        assert!(admit(&leases).is_err());
        assert!(held.is_none_or(|held| !held.is_live(at(0))));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_grants_the_one_in_use_is_used_and_the_other_remains() {
    let leases = leases(vec![lease("gr-1", claim(900, 900)), active("gr-2")]);
    let first = admit(&leases).unwrap();
    assert_eq!(first.grant().as_str(), "gr-2");
    leases.apply_delta(8, LONG, gone("gr-2", End::Done)).unwrap();
    assert_eq!(admit(&leases).unwrap().grant().as_str(), "gr-1");
    leases.apply_delta(9, LONG, gone("gr-1", End::Done)).unwrap();
    assert!(leases.by_key.is_empty());
}

#[rstest]
#[case("alice", "app@orders/shop", true)]
#[case("bob", "app@orders/shop", false)]
#[case("alic", "app@orders/shop", false)]
#[case("ALICE", "app@orders/shop", false)]
#[case("alice", "app_ro@orders/shop", false)]
#[case("alice", "app@orders", false)]
#[case("alice", "app@orders/sho", false)]
#[case("alice", "app@orders/reporting", false)]
#[case("alice", "app@billing/shop", false)]
#[tokio::test(start_paused = true)]
async fn a_lease_lets_in_who_and_what_it_is_for_to_the_byte(
    #[case] who: &str,
    #[case] what: &str,
    #[case] is_let_in: bool,
) {
    let leases = leases(vec![active("gr-1")]);
    let key = key(who, what);
    let decision =
        leases.admit(&AdmissionQuery { key: &key, device: None, credential: None }).map(|_| ());
    assert_eq!(decision, if is_let_in { Ok(()) } else { Err(Denial::NoGrant) });
}

#[tokio::test(start_paused = true)]
async fn locks_come_and_go_with_deltas() {
    let leases = leases(vec![active("gr-1")]);
    let locked = Delta { locks: vec![lock("principal:alice")], ..Delta::default() };
    leases.apply_delta(8, LONG, locked).unwrap();
    assert_eq!(admit(&leases).unwrap_err(), Denial::Locked("incident 7".into()));
    let lifted = Delta { unlocked: vec!["lk-1".parse().unwrap()], ..Delta::default() };
    leases.apply_delta(9, LONG, lifted).unwrap();
    assert!(admit(&leases).is_ok());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_revision_ends_with_it_or_with_the_deadline() {
    let leases = Arc::new(leases(vec![]));
    let deadline = leases.clock.instant() + Duration::from_secs(5);
    assert!(leases.reached(7, deadline).await);
    assert!(!leases.reached(8, deadline).await);
    let waiting = Arc::clone(&leases);
    let later = deadline + Duration::from_secs(5);
    let waiting = tokio::spawn(async move { waiting.reached(8, later).await });
    tokio::task::yield_now().await;
    leases.apply_delta(8, LONG, Delta::default()).unwrap();
    assert!(waiting.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn targets_are_those_of_the_last_snapshot() {
    let leases = leases(vec![]);
    let name = "orders".parse().unwrap();
    assert_eq!(*leases.target(&name).unwrap(), target(Partition::Cut));
    assert_eq!(&*leases.public_url(), "https://gate.example.com");
    leases.apply_snapshot(8, LONG, Snapshot::default());
    assert!(leases.target(&name).is_none());
}

/// What a random feed does.
#[derive(Debug, Clone)]
enum Act {
    Snapshot(Vec<(u8, u8, bool)>),
    /// By how much the revision moves, what comes, what goes.
    Delta(i8, Vec<(u8, u8, bool)>, Vec<u8>),
    Heartbeat(i8),
}

fn acts() -> impl Strategy<Value = Act> {
    let lease = || (0..6_u8, 0..3_u8, any::<bool>());
    prop_oneof![
        1 => vec(lease(), 0..5).prop_map(Act::Snapshot),
        4 => (-1..3_i8, vec(lease(), 0..3), vec(0..6_u8, 0..3))
            .prop_map(|(step, come, go)| Act::Delta(step, come, go)),
        1 => (-1..2_i8).prop_map(Act::Heartbeat),
    ]
}

/// Every grant belongs to one person; its term moves between a claim and two ends.
fn made((grant, term, _): (u8, u8, bool)) -> Lease {
    let term = match term {
        0 => claim(60, 600),
        other => Term::Until(at(100 * i64::from(other))),
    };
    let key = key(&format!("person-{}", grant % 3), "app@orders/shop");
    Lease {
        grant: format!("gr-{grant}").parse().unwrap(),
        key,
        name: "A".into(),
        term,
        record: Default::default(),
    }
}

/// The table as a map, applied by the letter of the contract.
#[derive(Default)]
struct Model {
    revision: Option<u64>,
    leases: BTreeMap<String, Lease>,
}

impl Model {
    fn put(&mut self, lease: Lease) {
        let entry = self.leases.entry(lease.grant.to_string()).or_insert_with(|| lease.clone());
        if !(matches!(entry.term, Term::Until(_)) && matches!(lease.term, Term::Claim { .. })) {
            entry.term = lease.term;
        }
    }

    fn delta(&mut self, to: u64, come: Vec<Lease>, go: &[GrantId]) -> bool {
        let Some(from) = self.revision else {
            return false;
        };
        if to != from + 1 {
            return to <= from;
        }
        come.into_iter().for_each(|lease| self.put(lease));
        self.leases.retain(|grant, _| go.iter().all(|gone| gone.as_str() != grant));
        self.revision = Some(to);
        true
    }

    fn snapshot(&mut self, to: u64, all: Vec<Lease>) {
        self.leases.retain(|grant, _| all.iter().any(|lease| lease.grant.as_str() == grant));
        all.into_iter().for_each(|lease| self.put(lease));
        self.revision = Some(to);
    }
}

proptest! {
    #[test]
    fn the_table_is_what_the_contract_says_after_any_feed(acts in vec(acts(), 1..30)) {
        let leases = Leases::new(Clock::paused(at(0)));
        let mut model = Model::default();
        let mut seen: Vec<Pass> = Vec::new();
        for act in acts {
            let base = model.revision.unwrap_or(10);
            match act {
                Act::Snapshot(all) => {
                    let all: Vec<Lease> = all.into_iter().map(made).collect();
                    let newer = snapshot(all.clone(), Partition::Cut);
                    leases.apply_snapshot(base + 1, LONG, newer);
                    model.snapshot(base + 1, all);
                }
                Act::Delta(step, come, go) => {
                    let to = base.saturating_add_signed(i64::from(step));
                    let come: Vec<Lease> = come.into_iter().map(made).collect();
                    let go: Vec<GrantId> = go.iter().map(|n| format!("gr-{n}").parse().unwrap()).collect();
                    let gone = go.iter().map(|grant| (grant.clone(), End::Done)).collect();
                    let delta = Delta { leases: come.clone(), gone, ..Delta::default() };
                    let applied = leases.apply_delta(to, LONG, delta).is_ok();
                    prop_assert_eq!(applied, model.delta(to, come, &go));
                }
                Act::Heartbeat(step) => {
                    let to = base.saturating_add_signed(i64::from(step));
                    let heard = leases.apply_heartbeat(to, LONG).is_ok();
                    prop_assert_eq!(heard, model.revision == Some(to));
                }
            }
            prop_assert_eq!(leases.revision(), model.revision);
            for person in 0..3 {
                let key = key(&format!("person-{person}"), "app@orders/shop");
                let of_person = model.leases.values().filter(|lease| lease.key == key);
                let rank = |lease: &&Lease| {
                    (matches!(lease.term, Term::Until(_)), lease.term.deadline())
                };
                let best = of_person.max_by_key(rank);
                let pass = leases.admit(&AdmissionQuery { key: &key, device: None, credential: None }).ok();
                prop_assert_eq!(
                    pass.as_ref().map(|pass| pass.admission.term()),
                    best.map(|lease| lease.term)
                );
                seen.extend(pass);
            }
            for pass in &seen {
                let listed = leases.write().held.get(pass.grant()).cloned();
                let is_listed = listed.is_some_and(|held| Arc::ptr_eq(&held, &pass.held));
                prop_assert_eq!(pass.held.is_live(at(1)), is_listed);
                prop_assert_eq!(pass.held.over().is_none(), is_listed);
            }
        }
        let listed: usize = leases.by_key.iter().map(|leased| leased.all().count()).sum();
        prop_assert_eq!(listed, model.leases.len());
    }
}
