use ::link::v1;
use ::link::v1::ask_event::Event;
use ::link::v1::happening::Happening as What;
use policies::{Authn, GrantState, Method, Risk};
use rstest::rstest;
use serde_json::Value;

use super::step_up::{begin_by, granted, needs_touch, touch_and_go};
use super::wait::{ask, next, waiting};
use super::{START, World, access_to, actor, inventory};
use crate::access::input::AccessRequestInput;
use crate::gateway::pending_connections::Said;
use crate::identity::logins;
use crate::model::actor::Asker;
use crate::model::carrier::Carrier;
use crate::model::error::{ControlError, Refusal};
use crate::model::login::{LoginKind, LoginSession, NewLogin, Origin, Rank};
use crate::model::view::Paging;
use crate::policy::risk;

const STRANGE: &str = r#"
    permit (principal in Group::"engineering", action == Action::"connect", resource is Database);

    @id("strange networks take a touch") @step_up("5m")
    forbid (principal, action, resource) when { context.new_network };

    @id("strange devices take a touch for writes") @step_up("5m")
    forbid (principal, action, resource) when { context.new_device && context.login == "app_rw" };

    @id("nobody after five failures")
    forbid (principal, action, resource) when { context.failed_attempts >= 5 };
"#;

const FREE: &str = "permit (principal, action, resource);";

async fn strange() -> World {
    let world = World::new().await;
    world.control.sources.reload(inventory(STRANGE)).await.unwrap();
    world
}

fn by(method: Method, device: Option<&str>) -> Authn {
    Authn { method, device: device.map(|name| name.parse().unwrap()), ..actor("alice").authn }
}

async fn risk(world: &World, authn: &Authn, source: Option<&str>) -> Risk {
    let source = source.map(|text| text.parse().unwrap());
    let asker = Asker::connected(&"alice".parse().unwrap(), authn, source);
    let mut tx = world.control.kernel.begin().await.unwrap();
    risk::assess_risk(&mut tx, &asker, source).await.unwrap().risk
}

async fn learn(world: &World, who: &str, source: Option<&str>, device: Option<&str>) {
    let mut tx = world.control.kernel.begin().await.unwrap();
    let device = device.map(|name| name.parse().unwrap());
    let source = source.map(|text| text.parse().unwrap());
    risk::learn_place(&mut tx, &who.parse().unwrap(), source, device.as_ref()).await.unwrap();
    tx.commit().await.unwrap();
}

async fn details(world: &World, kind: &str) -> Vec<Value> {
    let paging = Paging { cursor: None, limit: Some(200) };
    let page = world.control.kernel.audit(&actor("eve"), paging).await.unwrap();
    page.items.into_iter().filter(|event| event.kind == kind).map(|event| event.detail).collect()
}

#[rstest]
#[case(Method::Certificate, Some("laptop-7"), Some("203.0.113.200"), false, false)]
#[case(Method::Certificate, Some("laptop-7"), Some("203.0.114.9"), true, false)]
#[case(Method::Certificate, Some("laptop-8"), Some("203.0.113.9"), false, true)]
#[case(Method::Certificate, None, Some("203.0.113.9"), false, true)]
#[case(Method::Token, Some("laptop-8"), Some("::ffff:203.0.113.9"), false, true)]
#[case(Method::Token, None, Some("203.0.113.9"), false, false)]
#[case(Method::Bearer, None, Some("203.0.113.9"), false, true)]
#[case(Method::Confirmed, None, Some("203.0.113.9"), false, false)]
#[case(Method::Confirmed, Some("laptop-8"), Some("198.51.100.1"), true, false)]
#[case(Method::Certificate, Some("laptop-7"), None, false, false)]
#[tokio::test]
async fn what_is_new_is_what_nobody_has_proved(
    #[case] method: Method,
    #[case] device: Option<&str>,
    #[case] source: Option<&str>,
    #[case] new_network: bool,
    #[case] new_device: bool,
) {
    let world = World::new().await;
    learn(&world, "alice", Some("203.0.113.9"), Some("laptop-7")).await;
    learn(&world, "bob", Some("198.51.100.1"), Some("laptop-8")).await;
    let expected = Risk { new_network, new_device, failed_attempts: 0 };
    assert_eq!(risk(&world, &by(method, device), source).await, expected);
}

#[tokio::test]
async fn places_are_forgotten_when_nobody_comes_by_for_ninety_days() {
    let world = World::new().await;
    let laptop = by(Method::Certificate, Some("laptop-7"));
    learn(&world, "alice", Some("203.0.113.9"), Some("laptop-7")).await;
    world.pass(89 * 86_400);
    learn(&world, "alice", Some("203.0.113.10"), None).await;
    world.pass(86_400);
    let left = risk(&world, &laptop, Some("203.0.113.9")).await;
    assert_eq!((left.new_network, left.new_device), (false, true));
    let mut tx = world.control.kernel.begin().await.unwrap();
    risk::forget_risks(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM seen")
        .fetch_one(&mut world.raw().await)
        .await
        .unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn what_is_kept_of_one_person_is_bounded() {
    let world = World::new().await;
    let mut tx = world.control.kernel.begin().await.unwrap();
    let alice = "alice".parse().unwrap();
    for network in 0..200 {
        tx.now = policies::Timestamp::from_millis(START + network);
        let address = format!("203.0.{network}.1").parse().unwrap();
        risk::learn_place(&mut tx, &alice, Some(address), None).await.unwrap();
        risk::failed(&mut tx, &alice, "link").await.unwrap();
    }
    tx.commit().await.unwrap();
    let mut raw = world.raw().await;
    let kept: Vec<String> =
        sqlx::query_scalar("SELECT what FROM seen").fetch_all(&mut raw).await.unwrap();
    assert_eq!(kept.len(), 64);
    assert!(kept.contains(&"203.0.199.0/24".to_owned()), "the latest stay");
    let laptop = by(Method::Certificate, None);
    assert_eq!(risk(&world, &laptop, None).await.failed_attempts, 100);
    world.pass(3_601);
    assert_eq!(risk(&world, &laptop, None).await.failed_attempts, 0);
}

#[rstest]
#[case(Rank::Full, false, false)]
#[case(Rank::Full, true, true)]
#[case(Rank::Enrolling, false, true)]
#[tokio::test]
async fn a_sign_in_teaches_its_network_unless_it_may_only_enrol_or_another_let_it_in(
    #[case] rank: Rank,
    #[case] let_in: bool,
    #[case] new_network: bool,
) {
    let world = World::new().await;
    let first = sign_in(&world, Rank::Full, None, "198.51.100.1").await;
    let by = let_in.then(|| first.actor.login.clone());
    let session = sign_in(&world, rank, by, "203.0.113.9").await;
    let laptop = self::by(Method::Certificate, Some("laptop-7"));
    let found = risk(&world, &laptop, Some("203.0.113.7")).await;
    assert_eq!((found.new_network, found.new_device), (new_network, true));
    let mut tx = world.control.kernel.begin().await.unwrap();
    let raised = Some((Rank::Full, Method::Passkey));
    logins::rotate(&mut tx, &session.actor.login, raised).await.unwrap();
    tx.commit().await.unwrap();
    assert!(!risk(&world, &laptop, Some("203.0.113.7")).await.new_network, "a passkey is a proof");
}

async fn sign_in(
    world: &World,
    rank: Rank,
    by: Option<policies::LoginId>,
    address: &str,
) -> LoginSession {
    let origin = Origin {
        kind: LoginKind::Browser,
        device: Some("laptop-7".parse().unwrap()),
        address: Some(address.parse().unwrap()),
        agent: String::new(),
    };
    let (principal, method) = ("alice".parse().unwrap(), Method::Link);
    let mut tx = world.control.kernel.begin().await.unwrap();
    let new = NewLogin { principal, method, rank, issuer: None, by, origin };
    let session = logins::open_login(&mut tx, new).await.unwrap();
    tx.commit().await.unwrap();
    session
}

/// A client of alice's that shows a certificate of that serial and device.
fn shows(login: &str, device: &str, client: &str) -> v1::AskRequest {
    let mut request = waiting(Some("alice"), login);
    let authn = Authn { evidence: "5f3a".into(), ..by(Method::Certificate, Some(device)) };
    request.identity.as_mut().unwrap().authn = Some(authn.into());
    v1::AskRequest { client: client.into(), ..request }
}

#[tokio::test]
async fn a_strange_network_takes_a_touch_once_and_is_known_from_then_on() {
    let world = strange().await;
    let mut events = ask(&world, shows("app_ro@orders", "laptop-7", "203.0.113.9:50001")).await;
    touch_and_go(&world, &mut events).await;
    let grant = granted(&mut events).await;
    let begun = async |client| begin_by(&world, &grant, client, Method::Certificate, "5f3a").await;
    let first = begun("203.0.113.9:50001").await;
    assert!(!needs_touch(&first) && !first.keep, "what hangs on what is usual is not kept");
    world.pass(600);
    assert!(!needs_touch(&begun("203.0.113.77:50001").await), "the network is known by now");
    let elsewhere = begun("198.51.100.1:50001").await;
    let text = elsewhere.step_up_needed.unwrap().message;
    assert!(text.contains("network 198.51.100.0/24 is new for alice"), "{text}");
    assert!(needs_touch(&begun("198.51.100.1:50001").await), "asking teaches nothing");

    let mut again = ask(&world, shows("app_ro@orders", "laptop-7", "203.0.113.9:50002")).await;
    assert!(matches!(next(&mut again).await, Event::Granted(_)));
    let wanted = details(&world, "step-up.wanted").await;
    assert_eq!(wanted.len(), 1, "{wanted:?}");
    let text = wanted[0]["told"].as_str().unwrap();
    assert_eq!(text, "step-up asked because network 203.0.113.0/24 is new for alice");
}

#[tokio::test]
async fn a_strange_device_is_told_from_a_known_one_by_the_same_certificate_holder() {
    let world = strange().await;
    learn(&world, "alice", Some("203.0.113.9"), Some("laptop-7")).await;
    let mut known = ask(&world, shows("app_rw@orders", "laptop-7", "203.0.113.9:1")).await;
    assert!(matches!(next(&mut known).await, Event::Granted(_)));
    let mut strange = ask(&world, shows("app_rw@orders", "laptop-8", "203.0.113.9:1")).await;
    assert!(matches!(next(&mut strange).await, Event::Confirm(_)));
    let wanted = details(&world, "step-up.wanted").await;
    assert!(wanted[0]["told"].as_str().unwrap().contains("device `laptop-8` is new for alice"));
}

#[tokio::test]
async fn what_opens_without_a_proof_teaches_nothing() {
    let world = World::new().await;
    world.control.sources.reload(inventory(FREE)).await.unwrap();
    let grant = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    let begun = begin_by(&world, grant.id.as_str(), "203.0.113.9:1", Method::Certificate, "5f3a");
    assert!(begun.await.keep, "no rule weighs what is unusual");
    let found = risk(&world, &by(Method::Certificate, Some("laptop-7")), Some("203.0.113.9")).await;
    assert!(found.new_network && found.new_device);
}

#[tokio::test]
async fn a_confirmed_connection_teaches_its_network() {
    let world = World::new().await;
    world.control.sources.reload(inventory(FREE)).await.unwrap();
    let grant = world.ask("alice", "app_ro@orders").await.unwrap().grant.unwrap();
    begin_by(&world, grant.id.as_str(), "203.0.113.9:1", Method::Confirmed, "ho-1").await;
    assert!(!risk(&world, &by(Method::Certificate, None), Some("203.0.113.9")).await.new_network);
}

#[tokio::test]
async fn an_approved_connection_teaches_where_it_was_asked_from_and_nowhere_else() {
    let world = World::new().await;
    let source = Some("10.1.2.3".parse().unwrap());
    let asked = world
        .control
        .access
        .ask(&actor("alice"), AccessRequestInput { source, ..access_to("app_rw@orders") })
        .await;
    let id = asked.unwrap().request.id;
    world.approve("bob", &id).await.unwrap();
    let grant = world.approve("carol", &id).await.unwrap().unwrap();
    let begun = async |client| {
        begin_by(&world, grant.id.as_str(), client, Method::Certificate, "5f3a").await
    };
    begun("10.1.3.1:1").await;
    assert!(risk(&world, &by(Method::Certificate, None), Some("10.1.3.1")).await.new_network);
    begun("10.1.2.77:1").await;
    assert!(!risk(&world, &by(Method::Certificate, None), Some("10.1.2.3")).await.new_network);
}

#[tokio::test]
async fn a_live_grant_is_judged_by_what_was_unusual_when_it_was_asked_for() {
    let world = strange().await;
    learn(&world, "alice", Some("203.0.113.9"), None).await;
    let source = Some("203.0.113.9".parse().unwrap());
    let asked = world
        .control
        .access
        .ask(&actor("alice"), AccessRequestInput { source, ..access_to("app_ro@orders") })
        .await;
    let grant = asked.unwrap().grant.unwrap();
    sqlx::query("DELETE FROM seen").execute(&mut world.raw().await).await.unwrap();
    let mut tx = world.control.kernel.begin().await.unwrap();
    for _ in 0..10 {
        risk::failed(&mut tx, &"alice".parse().unwrap(), "link").await.unwrap();
    }
    tx.commit().await.unwrap();
    assert_eq!(world.control.sources.reload(inventory(STRANGE)).await.unwrap().revoked, []);
    let view = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
    assert!(matches!(view.grant.state, GrantState::Granted { .. }));
    let refused = world.ask("alice", "app_ro@orders").await.unwrap_err();
    assert!(refused.to_string().contains("nobody after five failures"), "{refused}");
}

#[tokio::test]
async fn a_request_says_what_was_unusual_about_it() {
    let world = World::new().await;
    let source = Some("10.1.2.3".parse().unwrap());
    let requested = AccessRequestInput { source, ..access_to("app_rw@orders") };
    world.control.access.ask(&actor("alice"), requested).await.unwrap();
    let asked = details(&world, "request.asked").await;
    assert_eq!(asked[0]["unusual"][0], "network 10.1.2.0/24 is new for alice");
}

async fn failures(world: &World, who: &str) -> u32 {
    let asker = actor(who).asker();
    let mut tx = world.control.kernel.begin().await.unwrap();
    risk::assess_risk(&mut tx, &asker, None).await.unwrap().risk.failed_attempts
}

#[tokio::test]
async fn a_name_alone_raises_nobodys_failures() {
    let world = World::new().await;
    let guess = crate::platform::ids::fresh_secret("");
    for _ in 0..20 {
        let tried = world.control.identity.sign_in(&guess, Origin::default()).await;
        assert!(matches!(tried, Err(ControlError::Refused(Refusal::Unauthenticated))), "{tried:?}");
        let challenge = world.control.identity.sign_in_challenge().unwrap();
        let tried =
            world.control.identity.sign_in_with_passkey(&challenge.id, "{}", Origin::default());
        assert!(tried.await.is_err());
    }
    let resource = "app_ro@orders".parse().unwrap();
    let alice = world.signed_in("alice").await.actor;
    let minted = world.control.identity.mint_token(&alice, &resource, None, None).await.unwrap();
    let wrong = format!("pst_{}_{}", minted.id, "a".repeat(52)).into();
    assert!(world.control.identity.redeem(&wrong, &resource).await.is_err());
    assert_eq!(failures(&world, "alice").await, 0);
}

#[tokio::test]
async fn what_is_real_and_of_no_use_any_more_counts_as_a_failure() {
    let world = World::new().await;
    let invite = world.control.identity.invite(None, &"alice".parse().unwrap()).await.unwrap();
    world.control.identity.sign_in(&invite.code, Origin::default()).await.unwrap();
    assert!(world.control.identity.sign_in(&invite.code, Origin::default()).await.is_err());
    assert_eq!(failures(&world, "alice").await, 1, "a used link");
    let resource = "app_ro@orders".parse().unwrap();
    let alice = world.signed_in("alice").await.actor;
    let minted = world.control.identity.mint_token(&alice, &resource, None, Some(1)).await.unwrap();
    world.control.identity.redeem(&minted.token, &resource).await.unwrap();
    assert!(world.control.identity.redeem(&minted.token, &resource).await.is_err());
    assert_eq!(failures(&world, "alice").await, 2, "a token that is used up");
    let credential = "credential:5f3a".parse().unwrap();
    let reason = "lost".to_owned();
    world.control.access.lock(&actor("eve"), credential, reason, None).await.unwrap();
    denied(&world, "5f3a").await;
    denied(&world, "07").await;
    assert_eq!(failures(&world, "alice").await, 3, "a certificate that was taken back");
    assert_eq!(failures(&world, "bob").await, 0);
}

/// A proxy tells that it denied a connection with this certificate of alice's.
async fn denied(world: &World, serial: &str) {
    let authn = Authn { evidence: serial.into(), ..by(Method::Certificate, Some("laptop-7")) };
    let identity =
        v1::Identity { principal: "alice".into(), name: "Alice".into(), authn: Some(authn.into()) };
    let denied = v1::ConnectionDenied {
        identity: Some(identity),
        target: "orders".into(),
        reason: "locked".into(),
        ..v1::ConnectionDenied::default()
    };
    let id = format!("hp-{serial}");
    let happening = v1::Happening { id, at_ms: START, happening: Some(What::Denied(denied)) };
    let report = v1::ReportRequest { proxy: "p".into(), happenings: vec![happening] };
    world.control.evidence.report(report).await.unwrap();
}

#[test]
fn what_stands_for_a_connection_is_its_device_or_the_session_that_vouches_for_it() {
    let device = |name: &str| Carrier::Device(name.parse().unwrap());
    for (authn, expected) in [
        (by(Method::Certificate, Some("laptop-7")), device("laptop-7")),
        (by(Method::Workload, Some("workload:ci")), device("workload:ci")),
        (by(Method::Token, Some("laptop-7")), device("laptop-7")),
        (by(Method::Token, None), Carrier::Session),
        (by(Method::Confirmed, Some("laptop-7")), Carrier::Session),
        (by(Method::Bearer, None), Carrier::Unnamed),
    ] {
        assert_eq!(Carrier::of(&authn), expected, "{authn:?}");
    }
}

#[tokio::test]
async fn codes_and_links_that_are_no_good_are_told_of_and_guessers_do_not_fill_the_log() {
    let world = World::new().await;
    let mallory = actor("mallory");
    for _ in 0..15 {
        assert!(world.control.gateway.hold_by_code(&mallory, "AAAA-AAAA").await.is_err());
    }
    assert!(world.control.identity.device_by_code(&actor("bob"), "no code").await.is_err());
    let (carol, digest) = (actor("carol"), policies::Digest::from("0".repeat(64)));
    assert!(
        world.control.gateway.confirm(&carol, "AAAA-AAAA", digest.clone(), None).await.is_err()
    );
    assert!(
        world.control.gateway.say(&carol, "AAAA-AAAA", &digest, Said::default()).await.is_err()
    );
    let refused = details(&world, "code.refused").await;
    assert_eq!(refused.len(), 13, "ten of mallory's, one of bob's, two of carol's");
    assert_eq!(refused[2]["left_out"], 5);
    assert_eq!(failures(&world, "carol").await, 2);
    assert_eq!((failures(&world, "mallory").await, failures(&world, "alice").await), (15, 0));
    let guess = crate::platform::ids::fresh_secret("");
    let address = Some("203.0.113.9".parse().unwrap());
    for _ in 0..25 {
        let origin = Origin { address, ..Origin::default() };
        assert!(world.control.identity.sign_in(&guess, origin).await.is_err());
    }
    let refused = details(&world, "link.refused").await;
    assert_eq!(refused.len(), 20);
    assert_eq!(
        (&refused[0]["why"], &refused[0]["address"]),
        (&"unknown".into(), &"203.0.113.9".into())
    );
}
