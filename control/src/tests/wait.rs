use ::link::v1;
use ::link::v1::ask_event::Event;
use ::link::v1::link_server::Link;
use policies::Method;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Status};

use super::{World, actor};
use crate::gateway::link::LinkService;
use crate::model::error::{ControlError, Refusal, TooMany};

pub(super) fn service(world: &World) -> LinkService {
    LinkService::new(world.control.gateway.clone())
}

pub(super) fn resource(text: &str) -> Option<v1::Resource> {
    let resource: policies::Resource = text.parse().unwrap();
    Some(resource.into())
}

pub(super) fn identity(id: &str) -> v1::Identity {
    v1::Identity { principal: id.into(), name: id.into(), authn: Some(actor(id).authn.into()) }
}

pub(super) fn waiting(who: Option<&str>, what: &str) -> v1::AskRequest {
    v1::AskRequest {
        identity: who.map(identity),
        resource: resource(what),
        client: "10.1.2.3:50000".into(),
        application: "psql".into(),
        ttl_ms: None,
        reason: String::new(),
        wait: true,
        patience_ms: 0,
        ticket: None,
    }
}

pub(super) type Events = ReceiverStream<Result<v1::AskEvent, Status>>;

pub(super) async fn ask(world: &World, request: v1::AskRequest) -> Events {
    service(world).ask(Request::new(request)).await.unwrap().into_inner()
}

pub(super) async fn next(events: &mut Events) -> Event {
    events.next().await.unwrap().unwrap().event.unwrap()
}

async fn confirm_code(events: &mut Events) -> String {
    let Event::Confirm(confirm) = next(events).await else { panic!() };
    assert!(confirm.url.starts_with("https://gate.example.com/c/ho-"), "{confirm:?}");
    confirm.code
}

pub(super) async fn confirm(world: &World, who: &str, code: &str) -> Result<(), ControlError> {
    let view = world.control.gateway.hold_by_code(&actor(who), code).await?;
    world.control.gateway.confirm(&actor(who), code, view.digest, None).await.map(drop)
}

#[tokio::test]
async fn a_connection_is_confirmed_approved_and_granted() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(None, "app_rw@orders")).await;
    let code = confirm_code(&mut events).await;
    confirm(&world, "alice", &code.to_lowercase()).await.unwrap();
    let Event::Confirmed(identity) = next(&mut events).await else { panic!() };
    let authn = policies::Authn::try_from(identity.authn.unwrap()).unwrap();
    assert_eq!((identity.name.as_str(), authn.method), ("Alice", Method::Confirmed));
    let Event::Asked(asked) = next(&mut events).await else { panic!() };
    assert_eq!(asked.needs, ["2 of dba"]);
    let id = asked.request.parse().unwrap();
    let view = world.control.access.request(&actor("bob"), &id).await.unwrap();
    assert_eq!(view.source, Some("10.1.2.3".parse().unwrap()));
    world.approve("bob", &id).await.unwrap();
    let grant = world.approve("carol", &id).await.unwrap().unwrap();
    let Event::Granted(granted) = next(&mut events).await else { panic!() };
    assert_eq!(granted.grant, grant.id.as_str());
    assert_eq!(granted.approved_by, ["Bob", "Carol"]);
    assert_eq!(granted.revision, world.control.kernel.feed().revision());
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn one_confirmation_wins() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(None, "app_ro@orders")).await;
    let code = confirm_code(&mut events).await;
    let view = world.control.gateway.hold_by_code(&actor("alice"), &code).await.unwrap();
    let wrong =
        world.control.gateway.confirm(&actor("alice"), &code, "0".repeat(64).into(), None).await;
    assert!(matches!(wrong, Err(ControlError::Refused(Refusal::Conflict(_)))), "{wrong:?}");
    let mut tasks = tokio::task::JoinSet::new();
    for who in ["alice", "bob", "carol", "eve"] {
        let (control, code, digest) = (world.control.clone(), code.clone(), view.digest.clone());
        tasks.spawn(async move { control.gateway.confirm(&actor(who), &code, digest, None).await });
    }
    let won = tasks.join_all().await.into_iter().filter(Result::is_ok).count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn the_code_of_a_connection_that_left_is_dead() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(None, "app_rw@orders")).await;
    let code = confirm_code(&mut events).await;
    let view = world.control.gateway.hold_by_code(&actor("alice"), &code).await.unwrap();
    drop(events);
    while world.control.gateway.hold_waits(&view.id) {
        tokio::task::yield_now().await;
    }
    let late = world.control.gateway.confirm(&actor("alice"), &code, view.digest, None).await;
    assert!(matches!(late, Err(ControlError::Refused(Refusal::NotFound(_)))), "{late:?}");
    assert_eq!(world.control.kernel.counts().holds.get(), 0);
    assert!(!world.kinds().await.iter().any(|kind| kind.starts_with("request")));
}

#[tokio::test]
async fn nothing_starts_by_itself_when_the_client_left_before_the_approval() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
    let Event::Asked(asked) = next(&mut events).await else { panic!() };
    drop(events);
    let id = asked.request.parse().unwrap();
    world.approve("bob", &id).await.unwrap();
    let grant = world.approve("carol", &id).await.unwrap().unwrap();
    assert_eq!(grant.state.word(), "granted", "it waits for its claim");
    world.pass(900);
    world.control.access.sweep().await.unwrap();
    let view = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
    assert_eq!(view.grant.state.word(), "ended", "and lapses");
}

#[tokio::test]
async fn a_second_wait_of_the_same_person_joins_the_first() {
    let world = World::new().await;
    let mut both = Vec::new();
    for _ in 0..2 {
        let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
        let Event::Asked(asked) = next(&mut events).await else { panic!() };
        both.push((events, asked.request));
    }
    assert_eq!(both[0].1, both[1].1);
    let id = both[0].1.parse().unwrap();
    world.control.access.deny(&actor("bob"), &id, "not today".into()).await.unwrap();
    for (mut events, _) in both {
        let Event::Refused(refused) = next(&mut events).await else { panic!() };
        assert_eq!(refused.message, "denied by Bob: not today");
    }
}

#[tokio::test]
async fn who_does_not_wait_gets_a_grant_or_a_remedy_and_asks_nobody() {
    let world = World::new().await;
    let at_once = |who, what| v1::AskRequest { wait: false, ..waiting(who, what) };
    let mut free = ask(&world, at_once(Some("alice"), "app_ro@orders")).await;
    assert!(matches!(next(&mut free).await, Event::Granted(_)));
    let mut asking = ask(&world, at_once(Some("alice"), "app_rw@orders")).await;
    let Event::Refused(refused) = next(&mut asking).await else { panic!() };
    assert_eq!(refused.code, "no-grant");
    assert!(refused.hint.contains("postern request app_rw@orders --reason"), "{refused:?}");
    assert!(refused.hint.contains("https://gate.example.com/"), "{refused:?}");
    let mut nobody = ask(&world, at_once(None, "app_ro@orders")).await;
    let Event::Refused(refused) = next(&mut nobody).await else { panic!() };
    assert_eq!(refused.code, "no-identity");
    let view = world.kinds().await;
    assert_eq!(view.iter().filter(|kind| *kind == "request.asked").count(), 1);
}

#[tokio::test]
async fn waiting_connections_of_one_address_are_bounded() {
    let world = World::new().await;
    let mut held = Vec::new();
    for _ in 0..100 {
        let mut events = ask(&world, waiting(None, "app_ro@orders")).await;
        confirm_code(&mut events).await;
        held.push(events);
    }
    let mut events = ask(&world, waiting(None, "app_ro@orders")).await;
    let Event::Refused(refused) = next(&mut events).await else { panic!() };
    assert_eq!(refused.code, "busy");
    let other = v1::AskRequest { client: "10.9.9.9:1".into(), ..waiting(None, "app_ro@orders") };
    confirm_code(&mut ask(&world, other).await).await;
}

#[tokio::test]
async fn nobody_waits_longer_than_they_said() {
    let world = World::new().await;
    let brief = |who| v1::AskRequest { patience_ms: 20, ..waiting(who, "app_rw@orders") };
    let mut events = ask(&world, brief(None)).await;
    confirm_code(&mut events).await;
    let Event::Refused(refused) = next(&mut events).await else { panic!() };
    assert_eq!(refused.code, "unconfirmed");
    let mut events = ask(&world, brief(Some("alice"))).await;
    assert!(matches!(next(&mut events).await, Event::Asked(_)));
    let Event::Refused(refused) = next(&mut events).await else { panic!() };
    assert_eq!(refused.code, "unanswered");
}

#[tokio::test]
async fn guessing_codes_is_bounded_for_each_and_does_not_hinder_others() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(None, "app_ro@orders")).await;
    let code = confirm_code(&mut events).await;
    let mut limited = 0;
    for number in 0..40 {
        let guess = format!("0000-00{number:02}");
        match world.control.gateway.hold_by_code(&actor("mallory"), &guess).await {
            Err(ControlError::Refused(Refusal::TooMany(TooMany::Tries))) => limited += 1,
            Err(ControlError::Refused(Refusal::NotFound(_))) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(limited >= 15, "{limited}");
    let even_the_right_one = world.control.gateway.hold_by_code(&actor("mallory"), &code).await;
    assert!(matches!(
        even_the_right_one,
        Err(ControlError::Refused(Refusal::TooMany(TooMany::Tries)))
    ));
    confirm(&world, "alice", &code).await.unwrap();
}

#[tokio::test]
async fn a_connections_code_is_of_no_use_in_another_login_session_than_the_first_that_read_it() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(None, "app_ro@orders")).await;
    let code = confirm_code(&mut events).await;
    let view = world.control.gateway.hold_by_code(&actor("alice"), &code).await.unwrap();
    let login = "ls-bbbbbbbbbbbb".parse().unwrap();
    let elsewhere = crate::model::actor::Actor { login, ..actor("alice") };
    let read = world.control.gateway.hold_by_code(&elsewhere, &code).await;
    assert!(matches!(read, Err(ControlError::Refused(Refusal::NotFound(_)))), "{read:?}");
    let stolen = world.control.gateway.confirm(&elsewhere, &code, view.digest.clone(), None).await;
    assert!(matches!(stolen, Err(ControlError::Refused(Refusal::NotFound(_)))), "{stolen:?}");
    world.control.gateway.confirm(&actor("alice"), &code, view.digest, None).await.unwrap();
}
