//! Refusals of unauthenticated callers: few rows, and every one of them counted.

use ::link::v1::{self, happening::Happening as What};
use serde_json::Value;

use super::{START, World, actor};
use crate::model::login::Origin;
use crate::model::view::Paging;
use crate::platform::ids;

async fn details(world: &World, kind: &str) -> Vec<Value> {
    let paging = Paging { cursor: None, limit: Some(200) };
    let page = world.control.kernel.audit(&actor("eve"), paging).await.unwrap();
    page.items.into_iter().filter(|event| event.kind == kind).map(|event| event.detail).collect()
}

async fn guess(world: &World, address: &str, times: usize) {
    for _ in 0..times {
        let origin = Origin { address: address.parse().ok(), ..Origin::default() };
        let code = ids::fresh_secret("");
        assert!(world.control.identity.sign_in(&code, origin).await.is_err());
    }
}

#[tokio::test]
async fn what_was_left_out_is_told_once_a_window_with_its_number() {
    let world = World::new().await;
    guess(&world, "203.0.113.9", 30).await;
    guess(&world, "203.0.113.10", 5).await;
    guess(&world, "198.51.100.1", 5).await;
    assert_eq!(details(&world, "link.refused").await.len(), 25);
    world.pass(3_599);
    world.control.access.sweep().await.unwrap();
    assert!(details(&world, "refusals.left-out").await.is_empty());
    world.pass(1);
    world.control.access.sweep().await.unwrap();
    world.control.access.sweep().await.unwrap();
    let message = details(&world, "refusals.left-out").await;
    assert_eq!(message.len(), 1, "{message:?}");
    assert_eq!((&message[0]["kind"], &message[0]["count"]), (&"link.refused".into(), &15.into()));
}

fn denied(nth: usize, identity: Option<v1::Identity>) -> v1::Happening {
    let denied = v1::ConnectionDenied {
        identity,
        target: "orders".into(),
        client: format!("203.0.113.{}:50000", nth % 200),
        reason: "no-grant".into(),
        ..v1::ConnectionDenied::default()
    };
    v1::Happening { id: format!("hp-{nth}"), at_ms: START, happening: Some(What::Denied(denied)) }
}

#[tokio::test]
async fn strangers_who_are_denied_at_a_proxy_fill_no_log_and_people_are_told_each_time() {
    let world = World::new().await;
    let alice = v1::Identity { principal: "alice".into(), ..v1::Identity::default() };
    let strangers = (0..500).map(|nth| denied(nth, None));
    let people = (500..530).map(|nth| denied(nth, Some(alice.clone())));
    let happenings = strangers.chain(people).collect();
    let report = v1::ReportRequest { proxy: "p".into(), happenings };
    world.control.evidence.report(report).await.unwrap();
    let message = details(&world, "connection.denied").await;
    let of_people = message.iter().filter(|detail| detail["principal"] == "alice").count();
    assert_eq!((message.len() - of_people, of_people), (20, 30));
}
