//! What time makes worth telling.

use std::collections::BTreeMap;

use policies::GrantState;
use serde_json::json;

use super::emergencies::{emergency, stand_by};
use super::notify::{Receiver, hook, mail, pairs_of, secret};
use super::workflow::{rules, used};
use super::{World, actor};
use crate::model::channel::Channel;
use crate::model::topic::Topic;
use crate::model::view::Paging;

#[tokio::test]
async fn an_access_that_ends_soon_is_announced_once() {
    let world = World::told_by(vec![mail()]).await;
    let grant = world.write_grant().await;
    let before = world.notified().await.len();
    let visit = crate::access::grants::Visit {
        session: "se-aaaaaaaaaaaa".parse().unwrap(),
        authn: None,
        source: None,
    };
    world.control.access.begin(&grant.id, visit).await.unwrap();
    world.control.notifier.remind().await.unwrap();
    assert_eq!(world.notified().await.len(), before, "too early");
    world.pass(3_600 - 600);
    for _ in 0..3 {
        world.control.notifier.remind().await.unwrap();
    }
    assert_eq!(world.notified().await[before..], pairs_of(&[(Topic::GrantEnding, "alice")]));
    let view = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
    assert!(matches!(view.grant.state, GrantState::Active { .. }));
}

#[tokio::test]
async fn the_end_of_an_access_is_told_while_it_still_runs() {
    let (mut receiver, secret) = (Receiver::start().await, secret());
    let ending = Channel {
        topics: Topic::matching("grant.ending").unwrap(),
        ..hook("ops", &receiver.url(), &secret)
    };
    let world = World::told_by(vec![ending]).await;
    world.read_grant().await;
    let grant = used(&world, "app_ro@orders").await;
    world.pass(3_600 - 600);
    world.control.notifier.remind().await.unwrap();
    world.control.notifier.send_due().await;
    let came = receiver.came();
    assert_eq!(came.len(), 1);
    let body = came[0].json();
    assert_eq!((&body["type"], &body["data"]["to"]), (&json!("grant.ending"), &json!(["alice"])));
    let ends: policies::Timestamp = body["data"]["ends"].as_str().unwrap().parse().unwrap();
    assert_eq!(Some(ends), grant.deadline());
    assert!(world.control.kernel.now() < ends, "it came in time");
}

#[tokio::test]
async fn an_open_review_is_reminded_of_each_day_until_somebody_signs_it() {
    const DAY: u64 = 86_400;
    let world = World::told_by(Vec::new()).await;
    let mut next = rules();
    let due = Channel { topics: Topic::matching("review.due").unwrap(), ..mail() };
    next.channels = BTreeMap::from([(due.name.clone(), due)]).into();
    world.control.sources.reload(next).await.unwrap();
    let asked = emergency(&world, "the shop is down").await.unwrap();
    stand_by(&world, "alice", &asked.request.id).await;
    let open = world.control.access.reviews(&actor("eve"), false, Paging::default()).await.unwrap();
    let review = open.items[0].review.clone();
    world.control.access.done(&actor("alice"), &review.grant).await.unwrap();
    let mut heard = Vec::new();
    for (wait, rounds) in [(DAY - 1, 0), (1, 1), (DAY - 1, 1), (1, 2), (3 * DAY, 3)] {
        world.pass(wait);
        for _ in 0..2 {
            world.control.notifier.remind().await.unwrap();
        }
        heard = world.notified().await;
        let bob = heard.iter().filter(|(_, who)| who == "bob").count();
        assert_eq!(bob, rounds, "one reminder a day, and not one for each day that nobody looked");
    }
    assert!(heard.iter().all(|(topic, who)| *topic == Topic::ReviewDue && who != "alice"));
    world.control.access.sign_review(&actor("bob"), &review.id, "read it".into()).await.unwrap();
    world.pass(2 * DAY);
    world.control.notifier.remind().await.unwrap();
    assert_eq!(world.notified().await.len(), heard.len(), "what is signed is no news");
}
