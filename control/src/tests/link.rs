use ::link::v1::{self, ask_event::Event, credential::Credential, link_server::Link};
use policies::{Method, Ttl};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status};

use super::{START, World, actor};
use crate::{ControlError, LinkService, Paging, Scope, SessionFilter};

fn service(world: &World) -> LinkService {
    LinkService::new(world.control.clone())
}

fn resource(text: &str) -> Option<v1::Resource> {
    let resource: policies::Resource = text.parse().unwrap();
    Some(resource.into())
}

fn identity(id: &str) -> v1::Identity {
    v1::Identity {
        principal: id.into(),
        name: id.into(),
        authn: Some(actor(id).authn.into()),
    }
}

fn waiting(who: Option<&str>, what: &str) -> v1::AskRequest {
    v1::AskRequest {
        identity: who.map(identity),
        resource: resource(what),
        client: "10.1.2.3:50000".into(),
        application: "psql".into(),
        ttl_ms: None,
        reason: String::new(),
        wait: true,
        patience_ms: 0,
    }
}

type Events = ReceiverStream<Result<v1::AskEvent, Status>>;

async fn ask(world: &World, request: v1::AskRequest) -> Events {
    service(world)
        .ask(Request::new(request))
        .await
        .unwrap()
        .into_inner()
}

async fn next(events: &mut Events) -> Event {
    events.next().await.unwrap().unwrap().event.unwrap()
}

async fn confirm_code(events: &mut Events) -> String {
    match next(events).await {
        Event::Confirm(confirm) => {
            assert!(
                confirm.url.starts_with("https://gate.example.com/c/ho-"),
                "{confirm:?}"
            );
            confirm.code
        }
        other => panic!("{other:?}"),
    }
}

async fn confirm(world: &World, who: &str, code: &str) -> Result<(), ControlError> {
    let view = world.control.hold_by_code(&actor(who), code).await?;
    world
        .control
        .confirm(&actor(who), code, view.digest)
        .await
        .map(drop)
}

#[tokio::test]
async fn a_connection_is_confirmed_approved_and_granted() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(None, "app_rw@orders")).await;
    let code = confirm_code(&mut events).await;
    confirm(&world, "alice", &code.to_lowercase())
        .await
        .unwrap();
    let Event::Confirmed(identity) = next(&mut events).await else {
        panic!()
    };
    let authn = policies::Authn::try_from(identity.authn.unwrap()).unwrap();
    assert_eq!(
        (identity.name.as_str(), authn.method),
        ("Alice", Method::Confirmed)
    );
    let Event::Asked(asked) = next(&mut events).await else {
        panic!()
    };
    assert_eq!(asked.needs, ["2 of dba"]);
    let id = asked.request.parse().unwrap();
    let view = world.control.request(&actor("bob"), &id).await.unwrap();
    assert_eq!(view.source, Some("10.1.2.3".parse().unwrap()));
    world.approve("bob", &id).await.unwrap();
    let grant = world.approve("carol", &id).await.unwrap().unwrap();
    let Event::Granted(granted) = next(&mut events).await else {
        panic!()
    };
    assert_eq!(granted.grant, grant.id.as_str());
    assert_eq!(granted.approved_by, ["Bob", "Carol"]);
    assert_eq!(granted.revision, world.control.0.feed.revision());
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn one_confirmation_wins() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(None, "app_ro@orders")).await;
    let code = confirm_code(&mut events).await;
    let view = world
        .control
        .hold_by_code(&actor("alice"), &code)
        .await
        .unwrap();
    let wrong = world
        .control
        .confirm(&actor("alice"), &code, "0".repeat(64).into())
        .await;
    assert!(matches!(wrong, Err(ControlError::Conflict(_))), "{wrong:?}");
    let mut tasks = tokio::task::JoinSet::new();
    for who in ["alice", "bob", "carol", "eve"] {
        let (control, code, digest) = (world.control.clone(), code.clone(), view.digest.clone());
        tasks.spawn(async move { control.confirm(&actor(who), &code, digest).await });
    }
    let won = tasks
        .join_all()
        .await
        .into_iter()
        .filter(Result::is_ok)
        .count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn the_code_of_a_connection_that_left_is_dead() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(None, "app_rw@orders")).await;
    let code = confirm_code(&mut events).await;
    let view = world
        .control
        .hold_by_code(&actor("alice"), &code)
        .await
        .unwrap();
    drop(events);
    while world.control.hold_waits(&view.id) {
        tokio::task::yield_now().await;
    }
    let late = world
        .control
        .confirm(&actor("alice"), &code, view.digest)
        .await;
    assert!(matches!(late, Err(ControlError::NotFound(_))), "{late:?}");
    assert_eq!(world.control.0.counts.holds.get(), 0);
    assert!(
        !world
            .kinds()
            .await
            .iter()
            .any(|kind| kind.starts_with("request"))
    );
}

#[tokio::test]
async fn nothing_starts_by_itself_when_the_client_left_before_the_approval() {
    let world = World::new().await;
    let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
    let Event::Asked(asked) = next(&mut events).await else {
        panic!()
    };
    drop(events);
    let id = asked.request.parse().unwrap();
    world.approve("bob", &id).await.unwrap();
    let grant = world.approve("carol", &id).await.unwrap().unwrap();
    assert_eq!(grant.state.word(), "granted", "it waits for its claim");
    world.pass(900);
    world.control.sweep().await.unwrap();
    let view = world
        .control
        .grant(&actor("alice"), &grant.id)
        .await
        .unwrap();
    assert_eq!(view.grant.state.word(), "ended", "and lapses");
}

#[tokio::test]
async fn a_second_wait_of_the_same_person_joins_the_first() {
    let world = World::new().await;
    let mut both = Vec::new();
    for _ in 0..2 {
        let mut events = ask(&world, waiting(Some("alice"), "app_rw@orders")).await;
        let Event::Asked(asked) = next(&mut events).await else {
            panic!()
        };
        both.push((events, asked.request));
    }
    assert_eq!(both[0].1, both[1].1);
    let id = both[0].1.parse().unwrap();
    world
        .control
        .deny(&actor("bob"), &id, "not today".into())
        .await
        .unwrap();
    for (mut events, _) in both {
        let Event::Refused(refused) = next(&mut events).await else {
            panic!()
        };
        assert_eq!(refused.message, "denied by Bob: not today");
    }
}

#[tokio::test]
async fn who_does_not_wait_gets_a_grant_or_a_remedy_and_asks_nobody() {
    let world = World::new().await;
    let at_once = |who, what| v1::AskRequest {
        wait: false,
        ..waiting(who, what)
    };
    let mut free = ask(&world, at_once(Some("alice"), "app_ro@orders")).await;
    assert!(matches!(next(&mut free).await, Event::Granted(_)));
    let mut asking = ask(&world, at_once(Some("alice"), "app_rw@orders")).await;
    let Event::Refused(refused) = next(&mut asking).await else {
        panic!()
    };
    assert_eq!(refused.code, "no-grant");
    assert!(
        refused
            .hint
            .contains("postern request app_rw@orders --reason"),
        "{refused:?}"
    );
    assert!(
        refused.hint.contains("https://gate.example.com/"),
        "{refused:?}"
    );
    let mut nobody = ask(&world, at_once(None, "app_ro@orders")).await;
    let Event::Refused(refused) = next(&mut nobody).await else {
        panic!()
    };
    assert_eq!(refused.code, "no-identity");
    let view = world.kinds().await;
    assert_eq!(
        view.iter().filter(|kind| *kind == "request.asked").count(),
        1
    );
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
    let Event::Refused(refused) = next(&mut events).await else {
        panic!()
    };
    assert_eq!(refused.code, "busy");
    let other = v1::AskRequest {
        client: "10.9.9.9:1".into(),
        ..waiting(None, "app_ro@orders")
    };
    confirm_code(&mut ask(&world, other).await).await;
}

#[tokio::test]
async fn nobody_waits_longer_than_they_said() {
    let world = World::new().await;
    let brief = |who| v1::AskRequest {
        patience_ms: 20,
        ..waiting(who, "app_rw@orders")
    };
    let mut events = ask(&world, brief(None)).await;
    confirm_code(&mut events).await;
    let Event::Refused(refused) = next(&mut events).await else {
        panic!()
    };
    assert_eq!(refused.code, "unconfirmed");
    let mut events = ask(&world, brief(Some("alice"))).await;
    assert!(matches!(next(&mut events).await, Event::Asked(_)));
    let Event::Refused(refused) = next(&mut events).await else {
        panic!()
    };
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
        match world.control.hold_by_code(&actor("mallory"), &guess).await {
            Err(ControlError::RateLimited) => limited += 1,
            Err(ControlError::NotFound(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(limited >= 15, "{limited}");
    let even_the_right_one = world.control.hold_by_code(&actor("mallory"), &code).await;
    assert!(matches!(even_the_right_one, Err(ControlError::RateLimited)));
    confirm(&world, "alice", &code).await.unwrap();
}

fn begin(grant: &policies::Grant, client: &str) -> Request<v1::BeginRequest> {
    Request::new(v1::BeginRequest {
        grant: grant.id.to_string(),
        session: "se-1".into(),
        client: client.into(),
    })
}

#[tokio::test]
async fn the_first_use_starts_the_clock_and_the_next_ones_change_nothing() {
    let world = World::new().await;
    let grant = world.write_grant().await;
    world.pass(600);
    let first = service(&world)
        .begin(begin(&grant, ""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.ends_ms, START + 600_000 + 3_600_000);
    let password = first.credential.unwrap().credential.unwrap();
    assert_eq!(
        password,
        Credential::Password("canary-upstream-password".into())
    );
    let (revision, events) = (world.control.0.feed.revision(), world.kinds().await.len());
    world.pass(60);
    let again = service(&world)
        .begin(begin(&grant, ""))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again.ends_ms, first.ends_ms);
    assert_eq!(world.control.0.feed.revision(), revision);
    assert_eq!(world.kinds().await.len(), events);
    world.pass(3_540);
    let over = service(&world).begin(begin(&grant, "")).await.unwrap_err();
    assert_eq!(over.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_certificate_login_gets_a_fresh_certificate() {
    let world = World::new().await;
    let grant = world
        .ask("alice", "app_cert@orders")
        .await
        .unwrap()
        .grant
        .unwrap();
    let reply = service(&world)
        .begin(begin(&grant, "10.0.0.1:5"))
        .await
        .unwrap()
        .into_inner();
    let Some(Credential::Certificate(certificate)) = reply.credential.unwrap().credential else {
        panic!()
    };
    assert!(certificate.chain_pem.contains("BEGIN CERTIFICATE"));
    assert!(certificate.key_pem.contains("PRIVATE KEY"));
}

#[tokio::test]
async fn the_rules_are_asked_again_with_where_the_connection_comes_from() {
    let world = World::new().await;
    let grant = world.read_grant().await;
    let outside = service(&world)
        .begin(begin(&grant, "203.0.113.9:5"))
        .await
        .unwrap_err();
    assert_eq!(outside.code(), Code::PermissionDenied);
    let view = world
        .control
        .grant(&actor("alice"), &grant.id)
        .await
        .unwrap();
    assert_eq!(
        view.grant.state.word(),
        "granted",
        "its clock hasn't started"
    );
    service(&world)
        .begin(begin(&grant, "10.0.0.1:5"))
        .await
        .unwrap();
}

fn happening(id: &str, what: v1::happening::Happening) -> v1::Happening {
    v1::Happening {
        id: id.into(),
        at_ms: START,
        happening: Some(what),
    }
}

pub(super) fn opened(session: &str) -> v1::happening::Happening {
    v1::happening::Happening::Opened(v1::SessionOpened {
        session: session.into(),
        grant: "gr-none".into(),
        identity: Some(identity("alice")),
        resource: resource("app_ro@orders/shop"),
        client: "10.1.2.3:50000".into(),
        application: "psql\u{1b}[31m".into(),
    })
}

pub(super) async fn report(world: &World, happenings: Vec<(&str, v1::happening::Happening)>) {
    let happenings = happenings
        .into_iter()
        .map(|(id, what)| happening(id, what))
        .collect();
    let request = v1::ReportRequest {
        proxy: "gate-1".into(),
        happenings,
    };
    service(world).report(Request::new(request)).await.unwrap();
}

#[tokio::test]
async fn a_report_counts_once_and_a_strangers_text_stays_text() {
    let world = World::new().await;
    let ended = v1::happening::Happening::Ended(v1::SessionEnded {
        session: "se-1".into(),
        end: "revoked".into(),
        detail: "by bob".into(),
        bytes_in: 5,
        bytes_out: u64::MAX,
        statements: 2,
        head: "ab".repeat(32),
    });
    let denied = v1::happening::Happening::Denied(v1::ConnectionDenied {
        login: "x\n".repeat(5_000),
        reason: "no-grant".into(),
        ..Default::default()
    });
    let nonsense = v1::happening::Happening::Opened(v1::SessionOpened::default());
    for _ in 0..3 {
        let all = vec![
            ("h-1", opened("se-1")),
            ("h-2", ended.clone()),
            ("h-3", denied.clone()),
            ("h-4", nonsense.clone()),
        ];
        report(&world, all).await;
    }
    let filter = SessionFilter {
        scope: Scope::All,
        ..Default::default()
    };
    let page = world
        .control
        .sessions(&actor("eve"), filter, Paging::default())
        .await
        .unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].application, "psql [31m");
    let end = page.items[0].ended.as_ref().unwrap();
    assert_eq!((end.end.as_str(), end.statements), ("revoked", 2));
    let log = world
        .control
        .audit(&actor("eve"), Paging::default())
        .await
        .unwrap();
    let denials: Vec<_> = log
        .items
        .iter()
        .filter(|event| event.kind == "connection.denied")
        .collect();
    assert_eq!(denials.len(), 1);
    let login = denials[0].detail["login"].as_str().unwrap();
    assert!(login.len() == 256 && !login.contains('\n'));
}

#[tokio::test]
async fn sessions_are_seen_by_their_own_and_by_those_who_oversee() {
    let world = World::new().await;
    report(&world, vec![("h-1", opened("se-1"))]).await;
    let id = "se-1".parse().unwrap();
    assert!(world.control.session(&actor("alice"), &id).await.is_ok());
    assert!(world.control.session(&actor("bob"), &id).await.is_err());
    assert!(world.control.recording(&actor("alice"), &id).await.is_err());
    let path = world.control.recording(&actor("eve"), &id).await.unwrap();
    assert!(path.ends_with("recordings/se-1.rec"), "{path:?}");
    assert_eq!(world.kinds().await.last().unwrap(), "recording.read");
}

#[tokio::test]
async fn what_a_proxy_says_is_parsed_or_refused() {
    let world = World::new().await;
    let (service, good) = (service(&world), waiting(Some("alice"), "app_ro@orders"));
    for bad in [
        v1::AskRequest {
            resource: None,
            ..good.clone()
        },
        v1::AskRequest {
            ttl_ms: Some(0),
            ..good.clone()
        },
        v1::AskRequest {
            identity: Some(v1::Identity::default()),
            ..good.clone()
        },
    ] {
        let status = service.ask(Request::new(bad)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let long = v1::AskRequest {
        ttl_ms: Some(u64::MAX),
        ..good
    };
    let mut events = service.ask(Request::new(long)).await.unwrap().into_inner();
    let Event::Granted(granted) = next(&mut events).await else {
        panic!()
    };
    assert_eq!(
        granted.ttl_ms,
        Ttl::from_secs(366 * 86_400).millis().cast_unsigned()
    );
}
