use std::collections::BTreeSet;

use super::*;
use crate::other_human::tests::Somebody;
use crate::{GroupName, OtherHuman, Purpose, StepUpError};

pub(super) fn at(secs: i64) -> Timestamp {
    Timestamp::from_millis(secs * 1_000)
}

pub(super) fn person(id: &str, groups: &[&str]) -> Somebody {
    Somebody::known(id, groups, &[])
}

/// Somebody who is known by other names too.
pub(super) fn alias(id: &str, groups: &[&str], also: &[&str]) -> Somebody {
    Somebody::known(id, groups, also)
}

/// The proof that they aren't the one who asked.
pub(super) fn decider(request: &Request, who: &Somebody) -> Result<OtherHuman, RequestError> {
    who.other_than(&request.principal).map_err(|_| RequestError::Own)
}

/// Somebody else than alice, who asks in these tests.
pub(super) fn second(id: &str, groups: &[&str]) -> OtherHuman {
    person(id, groups).other_than(&PrincipalId::new("alice").unwrap()).unwrap()
}

fn wanted() -> Wanted {
    Wanted {
        resource: "app_rw@orders/shop".parse().unwrap(),
        also: Vec::new(),
        ttl: Ttl::from_secs(7_200),
        reason: "fix order 7".into(),
        ticket: None,
        act: Act::Connect,
        starts_at: None,
        extends: None,
    }
}

pub(super) fn asked(approvals: &str) -> Request {
    let terms = Terms {
        approvals: approvals.to_owned().try_into().unwrap(),
        limit: Some(Ttl::from_secs(3_600)),
        ..Terms::default()
    };
    Request::ask(
        RequestId::new("rq-1").unwrap(),
        PrincipalId::new("alice").unwrap(),
        wanted(),
        terms,
        None,
        at(0),
        Ttl::from_secs(600),
    )
}

pub(super) fn approve(request: &Request, by: Somebody) -> Result<Request, RequestError> {
    let by = decider(request, &by)?;
    let digest = request.digest();
    request.apply(RequestEvent::Approve { by, digest, shorten: None, step_up: None }, at(1))
}

#[test]
fn the_limit_of_the_rules_shortens_the_request() {
    assert_eq!(asked("").ttl, Ttl::from_secs(3_600));
}

#[test]
fn nobody_asked_means_granted_at_once() {
    assert_eq!(asked("").state.word(), "granted");
}

#[test]
fn nobody_approves_or_denies_their_own() {
    let request = asked("1 of dba");
    let alice = person("alice", &["dba"]);
    assert_eq!(approve(&request, alice.clone()), Err(RequestError::Own));
    // Being another than somebody else is no proof for this request.
    let dave = PrincipalId::new("dave").unwrap();
    let by = || alice.other_than(&dave).unwrap();
    let deny = RequestEvent::Deny { by: by(), reason: String::new() };
    assert_eq!(request.apply(deny, at(1)), Err(RequestError::Own));
    let digest = request.digest();
    let yes = RequestEvent::Approve { by: by(), digest, shorten: None, step_up: None };
    assert_eq!(request.apply(yes, at(1)), Err(RequestError::Own));
}

#[test]
fn approving_twice_counts_once() {
    let request = approve(&asked("2 of dba"), person("bob", &["dba"])).unwrap();
    assert_eq!(approve(&request, person("bob", &["dba"])), Err(RequestError::Twice));
    let request = approve(&request, person("carol", &["dba"])).unwrap();
    assert_eq!(request.state.word(), "granted");
}

#[test]
fn a_person_in_two_groups_counts_once() {
    let request =
        approve(&asked("1 of dba, 1 of leads"), person("bob", &["dba", "leads"])).unwrap();
    assert!(request.is_pending());
    assert!(!approve(&request, person("carol", &["dba"])).unwrap().is_pending());
}

#[test]
fn an_approval_of_something_else_is_refused() {
    let request = asked("1 of dba");
    let edited = Request { reason: "other".into(), ..request.clone() };
    let event = RequestEvent::Approve {
        by: second("bob", &["dba"]),
        digest: request.digest(),
        shorten: None,
        step_up: None,
    };
    assert_eq!(edited.apply(event, at(1)), Err(RequestError::Changed));
}

#[test]
fn the_ticket_and_the_act_are_part_of_what_is_approved() {
    let request = asked("1 of dba");
    let ticket = Some(Ticket::new("OPS-12").unwrap());
    for edited in
        [Request { ticket, ..request.clone() }, Request { act: Act::BreakGlass, ..request.clone() }]
    {
        assert_ne!(edited.digest(), request.digest());
    }
}

#[test]
fn an_approver_can_shorten_but_not_lengthen() {
    let request = asked("1 of dba");
    for (shorter, got) in [(60, 60), (99_999, 3_600)] {
        let event = RequestEvent::Approve {
            by: second("bob", &["dba"]),
            digest: request.digest(),
            shorten: Some(Ttl::from_secs(shorter)),
            step_up: None,
        };
        assert_eq!(request.apply(event, at(1)).unwrap().lasts(), Ttl::from_secs(got));
    }
}

#[test]
fn what_has_lapsed_stays_lapsed() {
    let request = asked("1 of dba");
    assert_eq!(request.apply(RequestEvent::Tick, at(599)).unwrap(), request);
    let late = RequestEvent::Withdraw { by: request.principal.clone() };
    assert_eq!(request.apply(late, at(600)), Err(RequestError::Lapsed));
    let lapsed = request.apply(RequestEvent::Tick, at(600)).unwrap();
    assert_eq!(approve(&lapsed, person("bob", &["dba"])), Err(RequestError::Over("lapsed")));
}

#[test]
fn rules_that_ask_for_less_give_what_lacks_nothing_and_leave_the_rest_waiting() {
    let request = approve(&asked("2 of dba"), person("bob", &["dba"])).unwrap();
    let relax = |approvals: &str, step_up: Option<u64>| {
        let terms = Terms {
            approvals: approvals.to_owned().try_into().unwrap(),
            step_up: step_up.map(Ttl::from_secs),
            ..Terms::default()
        };
        request.apply(RequestEvent::Relax { terms }, at(2))
    };
    for (approvals, step_up) in
        [("2 of dba", None), ("1 of leads", None), ("", Some(60)), ("1 of dba", Some(60))]
    {
        assert_eq!(relax(approvals, step_up), Err(RequestError::Lacking), "{approvals}");
    }
    for approvals in ["1 of dba", ""] {
        let given = relax(approvals, None).unwrap();
        assert_eq!(given.state.word(), "granted");
        assert_eq!(given.took().approvals.to_string(), approvals);
        assert_eq!(given.digest(), request.digest(), "what was read stays");
    }
    let late = RequestEvent::Relax { terms: Terms::default() };
    assert_eq!(request.apply(late, at(600)), Err(RequestError::Lapsed));
}

#[test]
fn an_edit_begins_the_wait_anew() {
    let request = asked("1 of dba");
    let edit =
        Edit { ttl: request.ttl, reason: "fix order 8".into(), ticket: None, starts_at: None };
    let (by, terms) = (request.principal.clone(), request.terms.clone());
    let event = RequestEvent::Edit { by, edit, terms, timeout: Ttl::from_secs(600) };
    let edited = request.apply(event.clone(), at(500)).unwrap();
    assert_eq!(edited.lapses_at, at(1_100));
    assert_eq!(request.apply(event, at(600)), Err(RequestError::Lapsed));
}

#[test]
fn only_the_one_who_asked_withdraws() {
    let request = asked("1 of dba");
    let by = |id: &str| RequestEvent::Withdraw { by: PrincipalId::new(id).unwrap() };
    assert_eq!(request.apply(by("bob"), at(1)), Err(RequestError::NotTheirs));
    assert_eq!(request.apply(by("alice"), at(1)).unwrap().state.word(), "withdrawn");
}

pub(super) fn stepped(approvals: &str) -> Request {
    let request = asked("9 of nobody");
    let terms = Terms {
        approvals: approvals.to_owned().try_into().unwrap(),
        step_up: Some(Ttl::from_secs(60)),
        ..request.terms
    };
    let wanted = Wanted { ttl: request.ttl, ..wanted() };
    Request::ask(request.id, request.principal, wanted, terms, None, at(0), Ttl::from_secs(600))
}

pub(super) fn step_up(by: &str, purpose: Purpose, subject: &str, secs: i64) -> StepUp {
    crate::step_up::tests::step_up(by, purpose, subject, at(secs))
}

#[test]
fn nobody_is_asked_before_the_one_who_asks_has_proved_themselves() {
    let request = stepped("1 of dba");
    assert_eq!((&request.state, request.is_pending()), (&RequestState::NeedsStepUp, true));
    assert_eq!(approve(&request, person("bob", &["dba"])), Err(RequestError::TooEarly));
    let prove = |step_up| request.apply(RequestEvent::StepUp { step_up }, at(10));
    let resource = "app_rw@orders/shop";
    for (wrong, why) in [
        (step_up("bob", Purpose::Ask, resource, 9), StepUpError::AnotherPerson),
        (step_up("alice", Purpose::Approve, resource, 9), StepUpError::AnotherPurpose),
        (step_up("alice", Purpose::Ask, "app_ro@orders/shop", 9), StepUpError::AnotherSubject),
        (step_up("alice", Purpose::Ask, resource, -50), StepUpError::Stale),
    ] {
        assert_eq!(prove(wrong), Err(RequestError::Unfit(why)));
    }
    let proved = prove(step_up("alice", Purpose::Connect, resource, 9)).unwrap();
    assert_eq!(proved.state, RequestState::NeedsApproval { approvals: vec![] });
    assert_eq!(proved.step_up.as_ref().map(StepUpId::as_str), Some("su-1"));
    assert_eq!(proved.digest(), request.digest());
}

#[test]
fn an_approval_takes_a_touch_for_this_very_request() {
    let proof = step_up("alice", Purpose::Ask, "app_rw@orders/shop", 0);
    let event = RequestEvent::StepUp { step_up: proof };
    let request = stepped("1 of dba").apply(event, at(1)).unwrap();
    let say = |step_up| {
        let (by, digest) = (second("bob", &["dba"]), request.digest());
        request.apply(RequestEvent::Approve { by, digest, shorten: None, step_up }, at(70))
    };
    assert_eq!(say(None), Err(RequestError::NeedsStepUp));
    for (who, purpose, subject, secs) in [
        ("carol", Purpose::Approve, "rq-1", 69),
        ("bob", Purpose::Connect, "rq-1", 69),
        ("bob", Purpose::Approve, "rq-2", 69),
        ("bob", Purpose::Approve, "rq-1", 10),
    ] {
        let given = Some(step_up(who, purpose, subject, secs));
        assert!(matches!(say(given), Err(RequestError::Unfit(_))), "{who} {purpose} {subject}");
    }
    let granted = say(Some(step_up("bob", Purpose::Approve, "rq-1", 69))).unwrap();
    assert_eq!(granted.state.word(), "granted");
}

#[test]
fn a_request_that_takes_only_a_step_up_is_granted_by_it() {
    let request = stepped("");
    assert!(request.is_pending());
    let step_up = step_up("alice", Purpose::Ask, "app_rw@orders/shop", 0);
    let granted = request.apply(RequestEvent::StepUp { step_up }, at(1)).unwrap();
    assert_eq!(granted.state.word(), "granted");
}

#[test]
fn what_one_shortens_is_still_what_the_next_has_read() {
    let request = asked("2 of dba");
    let digest = request.digest();
    let yes = |by, shorten| RequestEvent::Approve {
        by: second(by, &["dba"]),
        digest: digest.clone(),
        shorten,
        step_up: None,
    };
    let first = request.apply(yes("bob", Some(Ttl::from_secs(60))), at(1)).unwrap();
    let granted = first.apply(yes("carol", Some(Ttl::from_secs(90))), at(2)).unwrap();
    assert_eq!(granted.lasts(), Ttl::from_secs(60));
    assert!(granted.state.approvals().iter().all(|yes| yes.digest == granted.digest()));
}

#[test]
fn nobody_approves_under_another_name() {
    let request = asked("2 of dba");
    let also = alias("alice-admin", &["dba"], &["alice"]);
    assert_eq!(approve(&request, also), Err(RequestError::Own));
    let request = approve(&request, person("bob", &["dba"])).unwrap();
    let other = alias("bob-admin", &["dba"], &["bob"]);
    assert_eq!(approve(&request, other), Err(RequestError::Twice));
}

#[test]
fn a_stage_waits_for_the_one_before() {
    let request = asked("1 of leads then 1 of dba");
    let (lead, dba) = (person("dave", &["leads"]), person("bob", &["dba"]));
    assert_eq!(approve(&request, dba.clone()), Err(RequestError::NotYet("1 of leads".into())));
    let waits =
        |request: &Request, who: &Somebody| request.waits_for(&decider(request, who).unwrap());
    assert!(waits(&request, &lead) && !waits(&request, &dba));
    let next = approve(&request, lead).unwrap();
    assert!(waits(&next, &dba));
    assert_eq!(approve(&next, dba).unwrap().state.word(), "granted");
}

#[test]
fn who_is_asked_later_may_say_no_at_once() {
    let request = asked("1 of leads then 1 of dba");
    let deny = RequestEvent::Deny { by: second("bob", &["dba"]), reason: "no".into() };
    assert_eq!(request.apply(deny, at(1)).unwrap().state.word(), "denied");
}

fn edit(reason: &str, terms: &Terms) -> RequestEvent {
    let edit =
        Edit { ttl: Ttl::from_secs(3_600), reason: reason.into(), ticket: None, starts_at: None };
    let (by, timeout) = (PrincipalId::new("alice").unwrap(), Ttl::from_secs(600));
    RequestEvent::Edit { by, edit, terms: terms.clone(), timeout }
}

#[test]
fn an_edit_kills_approvals() {
    let request = asked("2 of dba");
    let seen = request.digest();
    let approved = approve(&request, person("bob", &["dba"])).unwrap();
    let edited = approved.apply(edit("fix order 8", &approved.terms), at(2)).unwrap();
    assert_eq!(edited.state, RequestState::NeedsApproval { approvals: Vec::new() });
    let yes = RequestEvent::Approve {
        by: second("carol", &["dba"]),
        digest: seen.clone(),
        shorten: None,
        step_up: None,
    };
    assert_eq!(edited.apply(yes.clone(), at(3)), Err(RequestError::Changed));
    let back = edited.apply(edit("fix order 7", &edited.terms), at(4)).unwrap();
    assert_eq!(back.apply(yes, at(5)), Err(RequestError::Changed), "another version, read again");
    assert!(
        !approve(&approve(&back, person("carol", &["dba"])).unwrap(), person("bob", &["dba"]))
            .unwrap()
            .is_pending()
    );
}

#[test]
fn an_edit_takes_another_touch_and_changes_something() {
    let proof = step_up("alice", Purpose::Ask, "app_rw@orders/shop", 0);
    let event = RequestEvent::StepUp { step_up: proof };
    let request = stepped("1 of dba").apply(event, at(1)).unwrap();
    let edited = request.apply(edit("fix order 8", &request.terms), at(2)).unwrap();
    assert_eq!((&edited.state, &edited.step_up), (&RequestState::NeedsStepUp, &None));
    assert_eq!(edited.apply(edit("fix order 8", &edited.terms), at(3)), Err(RequestError::Same));
    let RequestEvent::Edit { edit, terms, .. } = edit("other", &request.terms) else { panic!() };
    let by = PrincipalId::new("bob").unwrap();
    let timeout = Ttl::from_secs(600);
    let theirs = RequestEvent::Edit { by, edit, terms, timeout };
    assert_eq!(edited.apply(theirs, at(3)), Err(RequestError::NotTheirs));
}

#[test]
fn after_a_time_another_group_may_stand_in() {
    let to = BTreeMap::from(
        [("dba", "leads"), ("security", "ops")]
            .map(|(from, to)| (GroupName::new(from).unwrap(), GroupName::new(to).unwrap())),
    );
    let request = asked("2 of dba");
    let after = Ttl::from_secs(60);
    assert_eq!(request.escalates_at(after, &to), Some(at(60)));
    let lead = || person("dave", &["leads"]);
    assert!(matches!(approve(&request, lead()), Err(RequestError::NotAsked(_))));
    let waiting = approve(&request, person("bob", &["dba"])).unwrap();
    assert_eq!(waiting.escalates_at(after, &to), Some(at(61)), "each yes begins the wait again");
    let event = || RequestEvent::Escalate { to: to.clone() };
    let escalated = waiting.apply(event(), at(61)).unwrap();
    assert_eq!((escalated.escalated.len(), escalated.escalates_at(after, &to)), (1, None));
    assert_eq!(escalated.digest(), request.digest());
    assert_eq!(escalated.apply(event(), at(62)), Err(RequestError::Nobody));
    let granted = approve(&escalated, lead()).unwrap();
    let stood_in: BTreeSet<GroupName> = [GroupName::new("dba").unwrap()].into();
    assert_eq!(granted.state.approvals()[1].stood_in, stood_in);
    assert_eq!(granted.state.word(), "granted");
}

#[test]
fn who_stands_in_for_a_group_is_still_another_person() {
    let to = BTreeMap::from([(GroupName::new("dba").unwrap(), GroupName::new("leads").unwrap())]);
    let request = asked("1 of dba, 1 of leads");
    let request = request.apply(RequestEvent::Escalate { to }, at(1)).unwrap();
    let once = approve(&request, person("dave", &["leads"])).unwrap();
    assert_eq!(approve(&once, person("dave", &["leads"])), Err(RequestError::Twice));
    assert_eq!(approve(&once, person("carol", &["leads"])).unwrap().state.word(), "granted");
}

#[test]
fn a_bundle_is_read_and_approved_as_one() {
    let one = asked("1 of dba");
    let both = Request { also: vec!["app_ro@billing/shop".parse().unwrap()], ..one.clone() };
    assert_ne!(one.digest(), both.digest());
    assert_eq!(both.subject(), "app_rw@orders/shop + app_ro@billing/shop");
    assert_eq!(both.resources().count(), 2);
}

#[test]
fn a_request_survives_its_json() {
    let request = Request {
        starts_at: Some(at(90)),
        ..approve(&asked("2 of dba"), person("bob", &["dba"])).unwrap()
    };
    let json = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<Request>(&json).unwrap(), request, "{json}");
}
