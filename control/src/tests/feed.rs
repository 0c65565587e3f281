use std::collections::BTreeSet;

use ::link::v1::{self, feed_event::Event, link_server::Link};
use policies::{Subject, Ttl};
use tokio_stream::StreamExt;

use super::{World, actor};
use crate::gateway::link::LinkService;

/// What a proxy would hold after these events, as the contract says.
#[derive(Default)]
struct Held {
    revision: u64,
    leases: BTreeSet<String>,
    locks: BTreeSet<String>,
    gone: Vec<(String, String)>,
    snapshots: usize,
}

impl Held {
    fn hear(&mut self, event: v1::FeedEvent) {
        assert!(event.fresh_ms <= 30_000, "{}", event.fresh_ms);
        assert_eq!(event.silence_ms, 30_000);
        match event.event.unwrap() {
            Event::Snapshot(all) => {
                self.snapshots += 1;
                self.leases = all.leases.into_iter().map(|lease| lease.grant).collect();
                self.locks = all.locks.into_iter().map(|lock| lock.id).collect();
                self.gone = all.gone.into_iter().map(|gone| (gone.grant, gone.end)).collect();
            }
            Event::Delta(delta) => {
                assert_eq!(event.revision, self.revision + 1, "no gap, no repetition");
                self.leases.extend(delta.leases.into_iter().map(|lease| lease.grant));
                self.locks.extend(delta.locks.into_iter().map(|lock| lock.id));
                for gone in delta.gone {
                    self.leases.remove(&gone.grant);
                    self.gone.push((gone.grant, gone.end));
                }
                for id in delta.unlocked {
                    self.locks.remove(&id);
                }
            }
            Event::Heartbeat(_) => assert_eq!(event.revision, self.revision),
        }
        self.revision = event.revision;
    }
}

async fn follow(world: &World) -> impl StreamExt<Item = v1::FeedEvent> + Unpin + use<> {
    let service = LinkService::new(world.control.gateway.clone());
    let request =
        tonic::Request::new(v1::FeedRequest { proxy: "gate-1".into(), unsettled: Vec::new() });
    let stream = service.feed(request).await.unwrap().into_inner();
    stream.map(Result::unwrap)
}

#[tokio::test]
async fn a_snapshot_comes_first_and_deltas_follow_in_order() {
    let world = World::new().await;
    let before = world.read_grant().await;
    let mut feed = follow(&world).await;
    let mut held = Held::default();
    held.hear(feed.next().await.unwrap());
    assert_eq!(held.leases, BTreeSet::from([before.id.to_string()]));

    let write = world.write_grant().await;
    held.hear(feed.next().await.unwrap());
    assert!(held.leases.contains(write.id.as_str()));

    let subject = Subject::Target("orders".parse().unwrap());
    let lock = world.control.access.lock(&actor("eve"), subject, "incident".into(), None).await;
    let lock = lock.unwrap().value;
    held.hear(feed.next().await.unwrap());
    assert_eq!(held.locks, BTreeSet::from([lock.id.to_string()]));
    world.control.access.unlock(&actor("eve"), &lock.id).await.unwrap();
    held.hear(feed.next().await.unwrap());
    assert!(held.locks.is_empty());

    world.control.access.revoke(&actor("eve"), &write.id, "closed".into()).await.unwrap();
    held.hear(feed.next().await.unwrap());
    assert_eq!(held.gone, [(write.id.to_string(), "revoked".to_owned())]);
    assert_eq!(held.snapshots, 1);
}

#[tokio::test]
async fn a_snapshot_leaves_out_what_has_ended_and_says_why_for_a_while() {
    let world = World::new().await;
    let grant = world.read_grant().await;
    world.control.access.done(&actor("alice"), &grant.id).await.unwrap();
    let mut held = Held::default();
    held.hear(follow(&world).await.next().await.unwrap());
    assert!(held.leases.is_empty());
    assert_eq!(held.gone, [(grant.id.to_string(), "done".to_owned())]);
    world.pass(601);
    world.control.access.sweep().await.unwrap();
    held.hear(follow(&world).await.next().await.unwrap());
    assert!(held.gone.is_empty());
}

/// Subscribers come while others write: each ends up with what is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_change_falls_between_a_snapshot_and_its_deltas() {
    let world = World::new().await;
    let writer = {
        let control = world.control.clone();
        tokio::spawn(async move {
            for _ in 0..40 {
                let asked = control
                    .access
                    .ask(&actor("alice"), super::access_to("app_ro@orders"))
                    .await
                    .unwrap();
                control.access.done(&actor("alice"), &asked.grant.unwrap().id).await.unwrap();
            }
            control
                .access
                .ask(&actor("alice"), super::access_to("app_ro@orders"))
                .await
                .unwrap()
                .revision
        })
    };
    let mut feeds = Vec::new();
    while !writer.is_finished() {
        feeds.push(follow(&world).await);
        tokio::time::sleep(std::time::Duration::from_millis(3)).await;
    }
    let last = writer.await.unwrap();
    for mut feed in feeds {
        let mut held = Held::default();
        while held.revision < last {
            held.hear(feed.next().await.unwrap());
        }
        assert_eq!((held.leases.len(), held.snapshots), (1, 1));
    }
}

#[tokio::test]
async fn a_proxy_that_lags_gets_a_new_snapshot() {
    let world = World::new().await;
    let mut feed = follow(&world).await;
    let mut held = Held::default();
    held.hear(feed.next().await.unwrap());
    let now = world.control.kernel.now();
    for _ in 0..2_000 {
        let news = crate::kernel::feed::News {
            unlocked: vec!["lk-none".parse().unwrap()],
            ..Default::default()
        };
        let revision = world.control.kernel.feed().revision() + 1;
        world.control.kernel.feed().publish(news, revision, now);
    }
    let last = world.control.kernel.feed().revision();
    while held.revision < last {
        let event = feed.next().await.unwrap();
        if matches!(event.event, Some(Event::Snapshot(_))) {
            held.revision = event.revision;
        }
        held.hear(event);
    }
    assert_eq!(held.snapshots, 2);
}

#[test]
fn a_quiet_feed_beats_three_times_while_it_is_fresh() {
    let (mirror, fresh) = (crate::kernel::feed::Mirror::default(), Ttl::from_secs(30));
    let feed = crate::kernel::feed::Feed::new(mirror, "https://gate.example.com", fresh, 3);
    assert_eq!(feed.beat(), Ttl::from_secs(10));
    let beat = feed.heartbeat(7);
    assert!((1..=30_000).contains(&beat.fresh_ms), "{beat:?}");
    assert_eq!((beat.revision, beat.epoch), (7, 3));
}

#[tokio::test]
async fn streams_end_when_control_stops() {
    let world = World::new().await;
    let mut feed = follow(&world).await;
    feed.next().await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    world.control.run(stop).await;
    assert!(feed.next().await.is_none());
}
