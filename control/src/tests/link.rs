use ::link::v1::{self, ask_event::Event, credential::Credential, link_server::Link};
use policies::Ttl;
use tonic::{Code, Request};

use super::wait::{identity, next, resource, service, waiting};
use super::{START, World, actor};
use crate::model::view::{Paging, Scope, SessionFilter};

pub(super) fn begin(grant: &policies::Grant, client: &str) -> Request<v1::BeginRequest> {
    Request::new(v1::BeginRequest {
        grant: grant.id.to_string(),
        session: "se-1".into(),
        client: client.into(),
        authn: Some(actor("alice").authn.into()),
    })
}

#[tokio::test]
async fn the_first_use_starts_the_clock_and_the_next_ones_change_nothing() {
    let world = World::new().await;
    let grant = world.write_grant().await;
    world.pass(600);
    let first = service(&world).begin(begin(&grant, "")).await.unwrap().into_inner();
    assert_eq!(first.ends_ms, START + 600_000 + 3_600_000);
    let password = first.credential.unwrap().credential.unwrap();
    assert_eq!(password, Credential::Password("canary-upstream-password".into()));
    let (revision, events) = (world.control.kernel.feed().revision(), world.kinds().await.len());
    world.pass(60);
    let again = service(&world).begin(begin(&grant, "")).await.unwrap().into_inner();
    assert_eq!(again.ends_ms, first.ends_ms);
    assert_eq!(world.control.kernel.feed().revision(), revision);
    assert_eq!(world.kinds().await.len(), events);
    world.pass(3_540);
    let over = service(&world).begin(begin(&grant, "")).await.unwrap_err();
    assert_eq!(over.code(), Code::FailedPrecondition);
}

#[tokio::test]
async fn a_certificate_login_gets_a_fresh_certificate() {
    let world = World::new().await;
    let grant = world.ask("alice", "app_cert@orders").await.unwrap().grant.unwrap();
    let reply = service(&world).begin(begin(&grant, "10.0.0.1:5")).await.unwrap().into_inner();
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
    let outside = service(&world).begin(begin(&grant, "203.0.113.9:5")).await.unwrap_err();
    assert_eq!(outside.code(), Code::PermissionDenied);
    let view = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
    assert_eq!(view.grant.state.word(), "granted", "its clock hasn't started");
    service(&world).begin(begin(&grant, "10.0.0.1:5")).await.unwrap();
}

pub(super) fn happening(id: &str, what: v1::happening::Happening) -> v1::Happening {
    v1::Happening { id: id.into(), at_ms: START, happening: Some(what) }
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
    let happenings = happenings.into_iter().map(|(id, what)| happening(id, what)).collect();
    let request = v1::ReportRequest { proxy: "gate-1".into(), happenings };
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
    let filter = SessionFilter { scope: Scope::All, ..Default::default() };
    let page =
        world.control.evidence.sessions(&actor("eve"), filter, Paging::default()).await.unwrap();
    assert_eq!(page.items.len(), 1);
    assert_eq!(page.items[0].application, "psql [31m");
    let end = page.items[0].ended.as_ref().unwrap();
    assert_eq!((end.end.as_str(), end.statements), ("revoked", 2));
    let log = world.control.kernel.audit(&actor("eve"), Paging::default()).await.unwrap();
    let denials: Vec<_> =
        log.items.iter().filter(|event| event.kind == "connection.denied").collect();
    assert_eq!(denials.len(), 1);
    let login = denials[0].detail["login"].as_str().unwrap();
    assert!(login.len() == 256 && !login.contains('\n'));
}

#[tokio::test]
async fn sessions_are_seen_by_their_own_and_by_those_who_oversee() {
    let world = World::new().await;
    report(&world, vec![("h-1", opened("se-1"))]).await;
    let id = "se-1".parse().unwrap();
    assert!(world.control.evidence.session(&actor("alice"), &id).await.is_ok());
    assert!(world.control.evidence.session(&actor("bob"), &id).await.is_err());
    assert!(world.control.evidence.recording(&actor("alice"), &id).await.is_err());
    let path = world.control.evidence.recording(&actor("eve"), &id).await.unwrap();
    assert!(path.ends_with("recordings/se-1.rec"), "{path:?}");
    assert_eq!(world.kinds().await.last().unwrap(), "recording.read");
}

#[tokio::test]
async fn what_a_proxy_says_is_parsed_or_refused() {
    let world = World::new().await;
    let (service, good) = (service(&world), waiting(Some("alice"), "app_ro@orders"));
    for bad in [
        v1::AskRequest { resource: None, ..good.clone() },
        v1::AskRequest { ttl_ms: Some(0), ..good.clone() },
        v1::AskRequest { identity: Some(v1::Identity::default()), ..good.clone() },
    ] {
        let status = service.ask(Request::new(bad)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
    let long = v1::AskRequest { ttl_ms: Some(u64::MAX), ..good };
    let mut events = service.ask(Request::new(long)).await.unwrap().into_inner();
    let Event::Granted(granted) = next(&mut events).await else { panic!() };
    assert_eq!(granted.ttl_ms, Ttl::from_secs(366 * 86_400).millis().cast_unsigned());
}
