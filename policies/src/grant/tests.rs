use proptest::prelude::*;

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1_000)
}

fn granted() -> Grant {
    Grant {
        id: GrantId::new("gr-1").unwrap(),
        request: RequestId::new("rq-1").unwrap(),
        principal: PrincipalId::new("alice").unwrap(),
        name: "Alice".into(),
        resource: "app_rw@orders/shop".parse().unwrap(),
        ttl: Ttl::from_secs(100),
        act: Act::Connect,
        extensions: Vec::new(),
        record: BTreeSet::new(),
        granted_at: at(0),
        state: GrantState::Granted { claim_by: at(1_000) },
    }
}

#[test]
fn an_approvers_delay_does_not_eat_the_grant() {
    let active = granted().apply(GrantEvent::Use, at(900)).unwrap();
    assert_eq!(active.deadline(), Some(at(1_000)));
    assert!(active.is_live(at(999)) && !active.is_live(at(1_000)));
}

#[test]
fn a_second_connect_does_not_extend_it() {
    let active = granted().apply(GrantEvent::Use, at(10)).unwrap();
    assert_eq!(active.apply(GrantEvent::Use, at(100)).unwrap(), active);
    assert_eq!(active.apply(GrantEvent::Use, at(110)), Err(GrantError::Over(End::Expired)));
}

#[test]
fn what_nobody_claims_lapses() {
    let lapsed = granted().apply(GrantEvent::Tick, at(1_000)).unwrap();
    assert_eq!(lapsed.state.word(), "ended");
    assert_eq!(lapsed.lease(), None);
}

#[test]
fn an_end_comes_once() {
    let done = granted().apply(GrantEvent::End(End::Done), at(5)).unwrap();
    let again = done.apply(GrantEvent::End(End::Revoked("bob".into())), at(6));
    assert_eq!(again, Err(GrantError::Over(End::Done)));
}

#[test]
fn a_state_survives_its_json() {
    let revoked = GrantEvent::End(End::Revoked("by bob".into()));
    let used = granted().apply(GrantEvent::Use, at(10)).unwrap();
    for grant in [granted(), used.clone(), used.apply(revoked, at(11)).unwrap()] {
        let json = serde_json::to_string(&grant).unwrap();
        assert_eq!(serde_json::from_str::<Grant>(&json).unwrap(), grant, "{json}");
    }
}

fn extend(by: u64, limit: Option<u64>) -> GrantEvent {
    GrantEvent::Extend {
        request: RequestId::new("rq-2").unwrap(),
        by: Ttl::from_secs(by),
        limit: limit.map(Ttl::from_secs),
    }
}

#[test]
fn an_extension_makes_it_last_longer_within_the_limit_from_now() {
    let active = granted().apply(GrantEvent::Use, at(0)).unwrap();
    for (now, by, limit, ends) in [
        (50, 30, None, 130),
        (50, 30, Some(100), 130),
        (90, 100, Some(100), 190),
        (20, 90, Some(90), 110),
    ] {
        let longer = active.apply(extend(by, limit), at(now)).unwrap();
        assert_eq!((longer.deadline(), longer.extensions.len()), (Some(at(ends)), 1));
    }
    let longest = GrantError::Longest(Ttl::from_secs(60));
    assert_eq!(active.apply(extend(60, Some(60)), at(40)), Err(longest));
}

#[test]
fn an_extension_comes_before_the_end_or_not_at_all() {
    assert_eq!(granted().apply(extend(60, None), at(1)), Err(GrantError::Unused));
    let active = granted().apply(GrantEvent::Use, at(0)).unwrap();
    let over = Err(GrantError::Over(End::Expired));
    assert!(active.apply(extend(60, None), at(99)).is_ok());
    assert_eq!(active.apply(extend(60, None), at(100)), over);
    let done = active.apply(GrantEvent::End(End::Done), at(5)).unwrap();
    assert_eq!(done.apply(extend(60, None), at(6)), Err(GrantError::Over(End::Done)));
}

#[test]
fn what_begins_later_opens_nothing_before() {
    let (opens, claim_within) = (at(500), Ttl::from_secs(200));
    let state = GrantState::Scheduled { opens, claim_within };
    let later = Grant { state, ..granted() };
    assert_eq!((later.lease(), later.is_live(at(499))), (None, false));
    assert_eq!(later.apply(GrantEvent::Use, at(499)), Err(GrantError::NotYet(opens)));
    assert_eq!(later.apply(GrantEvent::Tick, at(499)).unwrap(), later);
    let open = later.apply(GrantEvent::Tick, at(500)).unwrap();
    assert_eq!(open.state, GrantState::Granted { claim_by: at(700) });
    let used = later.apply(GrantEvent::Use, at(650)).unwrap();
    assert_eq!(used.deadline(), Some(at(750)));
    assert_eq!(later.apply(GrantEvent::Tick, at(700)).unwrap().state.word(), "ended");
    let end = GrantEvent::End(End::Done);
    assert_eq!(later.apply(end, at(1)).unwrap().state.word(), "ended");
}

proptest! {
    #[test]
    fn no_order_of_events_carries_a_grant_beyond_its_end(
        events in prop::collection::vec((0..6_u8, 0..120_i64, 1..90_u64), 0..24)
    ) {
        let mut grant = granted();
        let (mut now, mut ends) = (0, None);
        for (kind, step, span) in events {
            now += step;
            let event = match kind {
                0 | 1 => GrantEvent::Use,
                2 => GrantEvent::Tick,
                3 | 4 => extend(span, Some(100)),
                _ => GrantEvent::End(End::Done),
            };
            let before = grant.clone();
            if let Ok(next) = grant.apply(event.clone(), at(now)) {
                match event {
                    GrantEvent::Use => {
                        ends.get_or_insert(now + 100);
                    }
                    GrantEvent::Extend { .. } => {
                        let (old, span) = (ends.unwrap(), i64::try_from(span).unwrap());
                        prop_assert!(now < old, "an extension comes before the end");
                        ends = Some((old + span).min(now + 100));
                        prop_assert!(ends > Some(old));
                    }
                    GrantEvent::End(_) | GrantEvent::Tick => {}
                }
                grant = next;
            } else {
                prop_assert_eq!(&before, &grant);
            }
            let last = ends.unwrap_or(1_000);
            prop_assert!(now < last || !grant.is_live(at(now)));
            prop_assert!(grant.deadline().is_none_or(|deadline| deadline == at(last)));
        }
    }
}
