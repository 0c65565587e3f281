use std::sync::atomic::{AtomicU32, Ordering};

use ::link::v1;
use ::link::v1::ask_event::Event;
use ::link::v1::link_server::Link;
use policies::{
    Authn, Bound, Digest, Method, Purpose, RequestId, RequestState, StepUp, StepUpId, StepUpKind,
    Ttl,
};
use tonic::Request;

use super::wait::{Events, ask, next, service, waiting};
use super::{World, actor, inventory};
use crate::access::input::{AccessRequestInput, Yes};
use crate::identity::challenge;
use crate::model::error::{ControlError, Refusal, Rejection};
use crate::model::statement;
use crate::model::view::Paging;
use crate::model::waiting_connection::HoldView;
use crate::platform::ids;

pub(super) const TOUCH: &str = r#"
    permit (principal in Group::"engineering", action == Action::"connect", resource is Database);

    @id("all take a touch") @step_up("5m")
    forbid (principal, action, resource) when { context.login != "app_cert" };

    @id("writes take a DBA") @approvals("1 of dba")
    forbid (principal, action, resource) when { context.login == "app_rw" };
"#;
const HERE: &str = "address:10.1.2.3";
const READS: &str = "app_ro@orders/shop";

pub(super) async fn touchy() -> World {
    let world = World::new().await;
    world.control.sources.reload(inventory(TOUCH)).await.unwrap();
    world
}

/// A step-up as it is kept.
async fn give(
    world: &World,
    who: &str,
    (purpose, subject): (Purpose, &str),
    digest: Digest,
    bound: Option<&str>,
) -> StepUpId {
    let mut tx = world.control.kernel.begin().await.unwrap();
    let step_up = StepUp {
        id: ids::fresh("su").unwrap(),
        principal: who.parse().unwrap(),
        kind: StepUpKind::Passkey,
        purpose,
        subject: subject.into(),
        at: tx.now,
        bound: bound.map(|text| text.parse::<Bound>().unwrap()),
        credential: format!("key-of-{who}"),
        digest,
    };
    challenge::keep_step_up(&mut tx, &step_up).await.unwrap();
    tx.commit().await.unwrap();
    step_up.id
}

async fn touch_request(world: &World, who: &str, purpose: Purpose, id: &RequestId) -> StepUpId {
    let request = world.control.access.request(&actor("eve"), id).await.unwrap().request;
    let shown = match purpose {
        Purpose::Ask => statement::of_request(&request, "Alice"),
        Purpose::SignIn | Purpose::Approve | Purpose::Connect | Purpose::Administer => {
            statement::of_approval(&request, "Alice")
        }
    };
    give(world, who, (purpose, &shown.subject), shown.digest(), None).await
}

async fn touch_hold(world: &World, who: &str, view: &HoldView) -> StepUpId {
    let shown = statement::of_hold(view, &actor(who), false);
    let bound = view.place.as_ref().map(ToString::to_string);
    let subject = view.resource.to_string();
    give(world, who, (Purpose::Connect, &subject), shown.digest(), bound.as_deref()).await
}

async fn approve(
    world: &World,
    who: &str,
    id: &RequestId,
    step_up: Option<StepUpId>,
) -> Result<bool, ControlError> {
    let digest = world.control.access.request(&actor("eve"), id).await?.request.digest();
    let yes = Yes { digest, shorten: None, step_up };
    world.control.access.approve(&actor(who), id, yes).await.map(|asked| asked.grant.is_some())
}

async fn held(world: &World, events: &mut Events) -> (String, HoldView) {
    let Event::Confirm(confirm) = next(events).await else { panic!("not held") };
    let view = world.control.gateway.hold_by_code(&actor("alice"), &confirm.code).await.unwrap();
    (confirm.code, view)
}

/// Lets a held connection go on with a touch.
pub(super) async fn touch_and_go(world: &World, events: &mut Events) {
    let (code, view) = held(world, events).await;
    let given = touch_hold(world, "alice", &view).await;
    let digest = view.digest.clone();
    world.control.gateway.confirm(&actor("alice"), &code, digest, Some(given)).await.unwrap();
    assert!(matches!(next(events).await, Event::Confirmed(_)));
}

pub(super) async fn granted(events: &mut Events) -> String {
    match next(events).await {
        Event::Granted(granted) => granted.grant,
        other @ (Event::Confirm(_) | Event::Confirmed(_) | Event::Asked(_) | Event::Refused(_)) => {
            panic!("{other:?}")
        }
    }
}

async fn begin(world: &World, grant: &str, client: &str) -> v1::BeginReply {
    begin_by(world, grant, client, Method::Link, "se-login").await
}

/// Begins a session of its own from a device that is always called the same.
pub(super) async fn begin_by(
    world: &World,
    grant: &str,
    client: &str,
    method: Method,
    evidence: &str,
) -> v1::BeginReply {
    static SESSIONS: AtomicU32 = AtomicU32::new(1);
    let session = format!("se-{}", SESSIONS.fetch_add(1, Ordering::Relaxed));
    begin_in(world, &session, (grant, client), (method, evidence)).await
}

pub(super) async fn begin_in(
    world: &World,
    session: &str,
    (grant, client): (&str, &str),
    (method, evidence): (Method, &str),
) -> v1::BeginReply {
    let device = Some("laptop-7".parse().unwrap());
    let authn = Authn { method, evidence: evidence.into(), device, ..actor("alice").authn };
    let request = v1::BeginRequest {
        grant: grant.into(),
        session: session.into(),
        client: client.into(),
        authn: Some(authn.into()),
    };
    service(world).begin(Request::new(request)).await.unwrap().into_inner()
}

pub(super) fn needs_touch(reply: &v1::BeginReply) -> bool {
    assert_eq!(reply.step_up_needed.is_some(), reply.credential.is_none());
    reply.step_up_needed.is_some()
}

#[tokio::test]
async fn nobody_is_asked_before_the_one_who_asks_has_touched() {
    let world = touchy().await;
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    let early = touch_request(&world, "bob", Purpose::Approve, &id).await;
    let early = approve(&world, "bob", &id, Some(early)).await;
    assert!(matches!(early, Err(ControlError::Refused(Refusal::Conflict(_)))), "{early:?}");
    let own = touch_request(&world, "alice", Purpose::Ask, &id).await;
    let theirs = world.control.access.stand_by(&actor("bob"), &id, &own).await;
    assert!(matches!(theirs, Err(ControlError::Refused(Refusal::Unfit { .. }))), "{theirs:?}");
    let next = world.control.access.stand_by(&actor("alice"), &id, &own).await.unwrap();
    assert_eq!(next.step_up, Some(own));
    let yes = touch_request(&world, "bob", Purpose::Approve, &id).await;
    assert!(approve(&world, "bob", &id, Some(yes)).await.unwrap());
}

#[tokio::test]
async fn a_request_that_takes_a_step_up_alone_is_given_with_it() {
    let world = touchy().await;
    let asked = world.ask("alice", "app_ro@orders").await.unwrap();
    assert!(asked.grant.is_none() && asked.request.is_pending());
    let own = touch_request(&world, "alice", Purpose::Ask, &asked.request.id).await;
    world.control.access.stand_by(&actor("alice"), &asked.request.id, &own).await.unwrap();
    assert!(world.ask("alice", "app_ro@orders").await.unwrap().grant.is_some());
}

#[tokio::test]
async fn an_approval_takes_a_fresh_touch_of_that_person_for_that_request() {
    let world = touchy().await;
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    let own = touch_request(&world, "alice", Purpose::Ask, &id).await;
    world.control.access.stand_by(&actor("alice"), &id, &own).await.unwrap();
    let stale = touch_request(&world, "bob", Purpose::Approve, &id).await;
    world.pass(300);
    let none = approve(&world, "bob", &id, None).await.unwrap_err();
    assert!(
        matches!(&none, ControlError::Refused(Refusal::StepUpNeeded { url, .. })
        if *url == format!("https://gate.example.com/r/{id}")),
        "{none:?}"
    );
    let digest = || String::from("another statement").into();
    for (wrong, why) in [
        (stale, "not fresh enough"),
        (touch_request(&world, "carol", Purpose::Approve, &id).await, "another person"),
        (touch_request(&world, "bob", Purpose::Ask, &id).await, "another purpose"),
        (
            give(&world, "bob", (Purpose::Approve, "rq-other"), digest(), None).await,
            "something else",
        ),
        (give(&world, "bob", (Purpose::Approve, id.as_str()), digest(), None).await, "otherwise"),
        ("su-unknown".parse().unwrap(), "none of that name"),
    ] {
        let refused = approve(&world, "bob", &id, Some(wrong)).await.unwrap_err();
        assert!(refused.to_string().contains(why), "{refused}");
    }
    let refusals = world.kinds().await.iter().filter(|kind| *kind == "step-up.refused").count();
    assert_eq!(refusals, 6, "each refusal is audited");
    let right = touch_request(&world, "bob", Purpose::Approve, &id).await;
    assert!(approve(&world, "bob", &id, Some(right.clone())).await.unwrap());
    let again = approve(&world, "bob", &id, Some(right)).await;
    assert!(matches!(again, Err(ControlError::Refused(Refusal::Conflict(_)))), "{again:?}");
    let page = world.control.kernel.audit(&actor("eve"), Paging::default()).await.unwrap();
    let yes = page.items.iter().find(|event| event.kind == "request.approved").unwrap();
    assert!(yes.detail.to_string().contains("key-of-bob"), "{}", yes.detail);
}

#[tokio::test]
async fn a_known_persons_connection_is_held_for_their_touch_alone() {
    let world = touchy().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_ro@orders")).await;
    let (code, view) = held(&world, &mut events).await;
    assert_eq!(view.principal.as_ref().map(|who| who.as_str()), Some("alice"));
    let bobs = world.control.gateway.hold_by_code(&actor("bob"), &code).await;
    assert!(matches!(bobs, Err(ControlError::Refused(Refusal::NotFound(_)))), "{bobs:?}");
    let bobs = touch_hold(&world, "bob", &view).await;
    let confirm = |who, given| {
        let (control, code, digest) = (world.control.clone(), code.clone(), view.digest.clone());
        async move { control.gateway.confirm(&actor(who), &code, digest, given).await }
    };
    let refused = confirm("bob", Some(bobs.clone())).await.unwrap_err();
    assert!(matches!(refused, ControlError::Refused(Refusal::NotFound(_))), "{refused}");
    let refused = confirm("alice", Some(bobs)).await.unwrap_err();
    assert!(matches!(refused, ControlError::Refused(Refusal::Unfit { .. })), "{refused}");
    let none = confirm("alice", None).await.unwrap_err();
    assert!(
        matches!(&none, ControlError::Refused(Refusal::StepUpNeeded { url, .. })
        if *url == format!("https://gate.example.com/c/{}", view.id)),
        "{none}"
    );
    let shown = statement::of_hold(&view, &actor("alice"), false).digest();
    for (purpose, subject, bound) in [
        (Purpose::Ask, READS, HERE),
        (Purpose::Connect, "app_cert@orders/shop", HERE),
        (Purpose::Connect, READS, "address:10.1.2.4"),
        (Purpose::Connect, READS, "certificate:5f3a"),
    ] {
        let wrong = give(&world, "alice", (purpose, subject), shown.clone(), Some(bound)).await;
        let refused = confirm("alice", Some(wrong)).await.unwrap_err();
        assert!(
            matches!(refused, ControlError::Refused(Refusal::Unfit { .. })),
            "{purpose} {subject} {bound}"
        );
    }
    let right = touch_hold(&world, "alice", &view).await;
    confirm("alice", Some(right)).await.unwrap();
    let Event::Confirmed(identity) = next(&mut events).await else { panic!() };
    assert_eq!(identity.authn.unwrap().method, "link", "it stays who it was, as it was known");
    granted(&mut events).await;
}

#[tokio::test]
async fn a_touch_for_one_connection_confirms_no_other() {
    let world = touchy().await;
    let (mut one, mut two) = (
        ask(&world, waiting(Some("alice"), "app_ro@orders")).await,
        ask(&world, waiting(Some("alice"), "app_ro@orders")).await,
    );
    let (_, first) = held(&world, &mut one).await;
    let (code, second) = held(&world, &mut two).await;
    let given = touch_hold(&world, "alice", &first).await;
    let reused =
        world.control.gateway.confirm(&actor("alice"), &code, second.digest, Some(given)).await;
    assert!(matches!(reused, Err(ControlError::Refused(Refusal::Unfit { .. }))), "{reused:?}");
}

#[tokio::test]
async fn a_touch_serves_its_address_for_its_time_and_no_other() {
    let world = touchy().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_ro@orders")).await;
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await;
    let first = begin(&world, &grant, "10.1.2.3:50001").await;
    assert!(!needs_touch(&first) && !first.keep, "and its credential serves once");
    assert!(needs_touch(&begin(&world, &grant, "10.1.2.4:50001").await));
    let by_certificate = begin_by(&world, &grant, "10.1.2.3:1", Method::Certificate, "5f3a").await;
    assert!(needs_touch(&by_certificate));
    world.pass(299);
    assert!(!needs_touch(&begin(&world, &grant, "10.1.2.3:50002").await));
    world.pass(1);
    let stale = begin(&world, &grant, "10.1.2.3:50002").await;
    let needed = stale.step_up_needed.unwrap();
    assert!(needed.hint.contains("https://gate.example.com/"), "{needed:?}");
    assert!(world.kinds().await.contains(&"session.proved".to_owned()));
}

/// A client that shows a certificate or a token of alice's, on a device of her laptop's name.
fn shows(method: Method, evidence: &str, client: &str) -> v1::AskRequest {
    let mut request = waiting(Some("alice"), "app_ro@orders");
    let device = Some("laptop-7".parse().unwrap());
    let authn = Authn { method, evidence: evidence.into(), device, ..actor("alice").authn };
    request.identity.as_mut().unwrap().authn = Some(authn.into());
    v1::AskRequest { client: client.into(), ..request }
}

#[tokio::test]
async fn a_touch_for_one_certificate_serves_no_other_of_the_same_device_name() {
    let world = touchy().await;
    let laptop = shows(Method::Certificate, "5f3a", "10.1.2.3:50001");
    let mut events = ask(&world, laptop).await;
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await;
    let begun = async |method, evidence| {
        needs_touch(&begin_by(&world, &grant, "10.1.2.3:50002", method, evidence).await)
    };
    assert!(!begun(Method::Certificate, "5f3a").await);
    assert!(
        begun(Method::Certificate, "5f3b").await,
        "the name of a device is anybody's to choose"
    );
    assert!(begun(Method::Certificate, "not a serial").await);
    assert!(begun(Method::Token, "5f3a").await);
}

#[tokio::test]
async fn a_touch_for_a_token_serves_no_copy_of_it_elsewhere() {
    let world = touchy().await;
    let mut events = ask(&world, shows(Method::Token, "tk-1", "10.1.2.3:50001")).await;
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await;
    let begun =
        async |client| needs_touch(&begin_by(&world, &grant, client, Method::Token, "tk-1").await);
    assert!(!begun("10.1.2.3:50002").await);
    assert!(begun("10.1.2.4:50002").await);
}

#[tokio::test]
async fn a_begin_that_lacks_a_touch_starts_no_clock() {
    let world = touchy().await;
    let id = world.ask("alice", "app_ro@orders").await.unwrap().request.id;
    let own = touch_request(&world, "alice", Purpose::Ask, &id).await;
    world.control.access.stand_by(&actor("alice"), &id, &own).await.unwrap();
    let grant = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    assert!(needs_touch(&begin(&world, grant.id.as_str(), "10.1.2.3:1").await));
    let view = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
    assert_eq!(view.grant.state.word(), "granted");
}

#[tokio::test]
async fn a_grant_outlives_the_touch_that_opened_it() {
    let world = touchy().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_ro@orders")).await;
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await.parse().unwrap();
    begin(&world, &format!("{grant}"), "10.1.2.3:50001").await;
    world.pass(1_800);
    world.control.access.sweep().await.unwrap();
    let reloaded = world.control.sources.reload(inventory(TOUCH)).await.unwrap();
    assert_eq!(reloaded.revoked, []);
    let view = world.control.access.grant(&actor("alice"), &grant).await.unwrap();
    assert_eq!(view.grant.state.word(), "active");
    world.pass(1_800);
    world.control.access.sweep().await.unwrap();
    let view = world.control.access.grant(&actor("alice"), &grant).await.unwrap();
    assert_eq!(view.grant.state.word(), "ended", "and dies with its own time");
}

#[tokio::test]
async fn a_session_that_was_touched_for_is_not_asked_again_and_others_are() {
    let world = touchy().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_ro@orders")).await;
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await;
    let again = async |session: &str, client: &str| {
        let by = (Method::Link, "se-login");
        needs_touch(&begin_in(&world, session, (&grant, client), by).await)
    };
    assert!(!again("se-mine", "10.1.2.3:50001").await);
    world.pass(1_200);
    assert!(!again("se-mine", "10.1.2.3:50001").await, "what it opens later");
    assert!(again("se-other", "10.1.2.3:50002").await);
}

#[tokio::test]
async fn rules_that_begin_to_want_a_touch_end_what_was_given_without() {
    let world = World::new().await;
    let grant = world.read_grant().await;
    let reloaded = world.control.sources.reload(inventory(TOUCH)).await.unwrap();
    assert_eq!(reloaded.revoked, [grant.id]);
}

#[tokio::test]
async fn a_touch_that_went_stale_while_others_decided_is_asked_for_again() {
    let world = touchy().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
    touch_and_go(&world, &mut events).await;
    let Event::Asked(asked) = next(&mut events).await else { panic!() };
    world.pass(400);
    let id = asked.request.parse().unwrap();
    let yes = touch_request(&world, "bob", Purpose::Approve, &id).await;
    assert!(approve(&world, "bob", &id, Some(yes)).await.unwrap());
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await;
    assert!(!needs_touch(&begin(&world, &grant, "10.1.2.3:50001").await));
}

#[tokio::test]
async fn a_stranger_confirms_with_a_touch_and_needs_no_second_one() {
    let world = touchy().await;
    let mut events = ask(&world, waiting(None, "app_ro@orders")).await;
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await;
    assert!(!needs_touch(&begin(&world, &grant, "10.1.2.3:50000").await));
}

#[tokio::test]
async fn who_does_not_wait_is_told_how_to_touch() {
    let world = touchy().await;
    let at_once = v1::AskRequest { wait: false, ..waiting(Some("alice"), "app_ro@orders") };
    let mut events = ask(&world, at_once).await;
    let Event::Refused(refused) = next(&mut events).await else { panic!() };
    assert_eq!(refused.code, "step-up-needed");
    assert!(refused.hint.contains("https://gate.example.com/"), "{refused:?}");
}

#[tokio::test]
async fn a_person_who_is_shut_out_during_a_hold_gets_no_connection() {
    let world = touchy().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_ro@orders")).await;
    let (code, view) = held(&world, &mut events).await;
    let given = touch_hold(&world, "alice", &view).await;
    let mut without = inventory(TOUCH);
    without.people.get_mut(&"alice".parse().unwrap()).unwrap().disabled = true;
    world.control.sources.reload(without).await.unwrap();
    let refused =
        world.control.gateway.confirm(&actor("alice"), &code, view.digest, Some(given)).await;
    assert!(
        matches!(refused, Err(ControlError::Refused(Refusal::Rejected(Rejection::Disabled)))),
        "{refused:?}"
    );
    let mut events = ask(&world, waiting(Some("alice"), "app_ro@orders")).await;
    let Event::Refused(refused) = next(&mut events).await else { panic!() };
    assert_eq!(refused.code, "disabled");
}

#[tokio::test]
async fn a_person_who_is_shut_out_while_others_decide_gets_no_connection() {
    let world = touchy().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
    touch_and_go(&world, &mut events).await;
    assert!(matches!(next(&mut events).await, Event::Asked(_)));
    let mut without = inventory(TOUCH);
    without.people.remove(&"alice".parse().unwrap());
    world.control.sources.reload(without).await.unwrap();
    let Event::Refused(refused) = next(&mut events).await else { panic!() };
    assert_eq!(refused.code, "withdrawn");
}

async fn stolen(world: &World, ttl: u64, reason: &str) -> crate::model::view::Asked {
    let requested = AccessRequestInput {
        ttl: Some(Ttl::from_secs(ttl)),
        reason: reason.into(),
        ..AccessRequestInput::new(READS.parse().unwrap())
    };
    world.control.access.ask(&actor("alice"), requested).await.unwrap()
}

#[tokio::test]
async fn a_touch_that_stood_by_one_request_counts_for_no_other() {
    let world = touchy().await;
    let id = stolen(&world, 600, "ticket 7").await.request.id;
    let own = touch_request(&world, "alice", Purpose::Ask, &id).await;
    world.control.access.stand_by(&actor("alice"), &id, &own).await.unwrap();
    let grant = stolen(&world, 600, "ticket 7").await.grant.unwrap();
    world.control.access.revoke(&actor("eve"), &grant.id, "enough".into()).await.unwrap();
    let longer = stolen(&world, 1_200, "anything").await;
    assert!(longer.grant.is_none() && longer.request.state == RequestState::NeedsStepUp);
    let refused = world.control.access.stand_by(&actor("alice"), &longer.request.id, &own).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Unfit { .. }))), "{refused:?}");
}

#[tokio::test]
async fn a_touch_for_a_connection_asks_for_that_connection_alone() {
    let world = touchy().await;
    let planted = stolen(&world, 1_800, "").await.request.id;
    let short = || v1::AskRequest {
        ttl_ms: Some(600_000),
        reason: "ticket 7".into(),
        ..waiting(Some("alice"), "app_ro@orders")
    };
    let mut events = ask(&world, short()).await;
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await.parse().unwrap();
    let view = world.control.access.grant(&actor("alice"), &grant).await.unwrap();
    assert_eq!(view.grant.ttl, Ttl::from_secs(600), "as it was touched for");
    let planted = world.control.access.request(&actor("eve"), &planted).await.unwrap().request;
    assert!(matches!(planted.state, RequestState::Withdrawn { .. }), "{planted:?}");
    world.control.access.revoke(&actor("eve"), &grant, "enough".into()).await.unwrap();
    let asked = stolen(&world, 1_200, "anything").await;
    assert!(asked.grant.is_none(), "by the API nothing was stood by");
    let mut events = ask(&world, short()).await;
    touch_and_go(&world, &mut events).await;
    granted(&mut events).await;
}

#[tokio::test]
async fn what_the_rules_give_for_a_touch_is_asked_about_at_each_connection() {
    let world = World::new().await;
    let rules = TOUCH.replace(
        r#"when { context.login != "app_cert" }"#,
        r#"when { context.login != "app_cert" && !(context has step_up) }"#,
    );
    world.control.sources.reload(inventory(&rules)).await.unwrap();
    let mut events = ask(&world, waiting(Some("alice"), "app_ro@orders")).await;
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await;
    let begun = begin(&world, &grant, "10.1.2.3:50001").await;
    assert!(!needs_touch(&begun) && !begun.keep);
}
