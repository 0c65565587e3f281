//! Races and clocks: what counts once counts once of forty at once, and nothing outlives its end.

use ::link::v1;
use ::link::v1::link_server::Link;
use policies::{GrantState, Ttl};
use tokio::task::JoinSet;

use super::emergencies::{emergency, stand_by};
use super::tickets::{CLOSED, Tickets};
use super::wait::service;
use super::workflow::{digest, used, world};
use super::{World, access_to, actor, inventory};
use crate::access::input::Yes;
use crate::model::error::{ControlError, Refusal, TooMany};
use crate::model::view::Paging;

const TRIES: usize = 40;

/// How many of forty at once were taken.
async fn taken<T: Send + 'static, F>(act: impl Fn(usize) -> F) -> usize
where
    F: Future<Output = Result<T, ControlError>> + Send + 'static,
{
    let tasks: JoinSet<_> = (0..TRIES).map(act).collect();
    tasks.join_all().await.iter().filter(|outcome| outcome.is_ok()).count()
}

async fn count(world: &World, kind: &str) -> usize {
    world.kinds().await.iter().filter(|other| *other == kind).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_persons_yes_forty_times_at_once_is_one_yes() {
    let world = World::new().await;
    let request = world.ask("alice", "app_rw@orders").await.unwrap().request;
    let (control, id, digest) = (&world.control, &request.id, &request.digest());
    let said = taken(|_| {
        let (control, id) = (control.clone(), id.clone());
        let yes = Yes { digest: digest.clone(), shorten: None, step_up: None };
        async move { control.access.approve(&actor("bob"), &id, yes).await }
    });
    assert_eq!(said.await, 1);
    let view = world.control.access.request(&actor("alice"), id).await.unwrap();
    assert!(view.request.is_pending() && view.missing == 1 && view.grants.is_empty());
    assert_eq!(count(&world, "request.approved").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_forty_first_uses_at_once_one_starts_the_clock() {
    let world = World::new().await;
    let grant = world.write_grant().await;
    let tasks: JoinSet<_> = (0..TRIES)
        .map(|number| {
            let (service, clock) = (service(&world), world.clock.clone());
            let begin = v1::BeginRequest {
                grant: grant.id.to_string(),
                session: format!("se-{number}"),
                client: String::new(),
                authn: Some(actor("alice").authn.into()),
            };
            async move {
                clock.advance(Ttl::from_millis(10));
                service.begin(tonic::Request::new(begin)).await.unwrap().into_inner().ends_ms
            }
        })
        .collect();
    let ends: std::collections::BTreeSet<i64> = tasks.join_all().await.into_iter().collect();
    assert_eq!(ends.len(), 1, "all share one end: {ends:?}");
    assert_eq!(count(&world, "grant.used").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tickets_message_forty_times_at_once_counts_once() {
    let tickets = std::sync::Arc::new(Tickets::new().await);
    let now = tickets.world.control.kernel.now();
    let heard = taken(|_| {
        let tickets = std::sync::Arc::clone(&tickets);
        async move { tickets.say("msg-1", now, CLOSED).await }
    });
    assert_eq!(heard.await, 1);
    assert_eq!(count(&tickets.world, "ticket.told").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_forty_signatures_at_once_one_closes_a_review() {
    let world = world().await;
    let asked = emergency(&world, "the shop is down").await.unwrap();
    stand_by(&world, "alice", &asked.request.id).await;
    let open = world.control.access.reviews(&actor("eve"), false, Paging::default()).await.unwrap();
    let review = &open.items[0].review;
    world.control.access.done(&actor("alice"), &review.grant).await.unwrap();
    let signed = taken(|number| {
        let (control, id) = (world.control.clone(), review.id.clone());
        let who = if number % 2 == 0 { "bob" } else { "eve" };
        async move { control.access.sign_review(&actor(who), &id, "read the session".into()).await }
    });
    assert_eq!(signed.await, 1);
    assert_eq!(count(&world, "review.signed").await, 1);
}

/// Extensions, a last connection, a hand-back and time itself, all in a grant's last moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_extension_that_races_the_end_comes_before_it_or_not_at_all() {
    for round in 0..8 {
        let world = world().await;
        let grant = used(&world, "app_ro@orders").await;
        let ends = grant.deadline().unwrap();
        world.pass(3_599);
        let tasks: JoinSet<Option<policies::Timestamp>> = (0..12)
            .map(|number| {
                let (control, clock, id) =
                    (world.control.clone(), world.clock.clone(), grant.id.clone());
                async move {
                    let alice = actor("alice");
                    match (number + round) % 4 {
                        0 => clock.advance(Ttl::from_millis(400)),
                        1 => control.access.sweep().await.unwrap(),
                        2 if round % 2 == 0 => drop(control.access.done(&alice, &id).await),
                        _ => {
                            let more = Some(Ttl::from_secs(60));
                            let longer =
                                control.access.extend(&alice, &id, more, None).await.ok()?;
                            return longer.grant?.deadline();
                        }
                    }
                    None
                }
            })
            .collect();
        let extended = tasks.join_all().await.into_iter().flatten().max();
        assert!(extended.is_none_or(|later| later > ends), "no extension shortens");
        let last = extended.unwrap_or(ends);
        world.clock.advance(world.control.kernel.now().until(last));
        world.control.access.sweep().await.unwrap();
        let view = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
        assert!(matches!(view.grant.state, GrantState::Ended { .. }), "{view:?}");
        assert_eq!(world.control.kernel.feed().live(), 0, "proxies hear of the end");
        let late = world.control.access.extend(&actor("alice"), &grant.id, None, None).await;
        assert!(matches!(late, Err(ControlError::Refused(Refusal::Conflict(_)))), "{late:?}");
    }
}

#[tokio::test]
async fn a_target_that_is_relabelled_takes_what_its_labels_gave_with_it() {
    const LABELLED: &str = r#"
        permit (principal, action == Action::"connect", resource is Database)
        when { resource.hasTag("team") && resource.getTag("team") == "shop" };
    "#;
    let world = World::new().await;
    let labelled = |team: &str| {
        let mut next = inventory(LABELLED);
        for target in next.targets.values_mut() {
            target.labels = [("team".to_owned(), team.to_owned())].into();
        }
        next
    };
    world.control.sources.reload(labelled("shop")).await.unwrap();
    let grant = world.read_grant().await;
    let pending = world.control.sources.reload(labelled("billing")).await.unwrap();
    assert_eq!(pending.revoked, std::slice::from_ref(&grant.id));
    let view = world.control.access.grant(&actor("alice"), &grant.id).await.unwrap();
    let GrantState::Ended { end, .. } = view.grant.state else { panic!("{view:?}") };
    assert_eq!(end.to_string(), "the rules no longer give this access: no rule permits it");
    assert!(world.ask("alice", "app_ro@orders").await.is_err());
}

/// One person asks and withdraws a hundred thousand times; somebody else asks in the middle of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_requests_of_one_person_keep_nobody_else_waiting() {
    let world = World::new().await;
    let alice = actor("alice");
    let (mut taken, mut refused) = (0_u32, 0_u32);
    for number in 0..100_000 {
        match world.control.access.ask(&alice, access_to("app_rw@orders")).await {
            Ok(asked) => {
                world.control.access.withdraw(&alice, &asked.request.id).await.unwrap();
                taken += 1;
            }
            Err(error) => {
                assert!(
                    matches!(error, ControlError::Refused(Refusal::TooMany(TooMany::Requests(60)))),
                    "{error:?}"
                );
                assert!(error.to_string().contains("60 requests a minute"), "{error}");
                refused += 1;
            }
        }
        if number == 50_000 {
            assert!(world.ask("bob", "app_ro@orders").await.unwrap().grant.is_some());
        }
    }
    assert!((300..1_000).contains(&taken) && refused > 99_000, "{taken} were taken");
    assert!(world.ask("carol", "app_rw@orders").await.is_err(), "no rule permits it to her");
    let mut raw = world.raw().await;
    let count: i64 =
        sqlx::query_scalar("SELECT count(*) FROM audit WHERE kind = 'request.throttled'")
            .fetch_one(&mut raw)
            .await
            .unwrap();
    assert_eq!(count, 1, "it is written once, and not once for each");
}

#[tokio::test]
async fn who_asks_too_often_has_nothing_explained_either() {
    let world = World::new().await;
    let alice = actor("alice");
    while world.control.kernel.limit_requests(&alice.principal.id).await.is_ok() {}
    let explained = world.control.access.explain(&alice, None, access_to("app_ro@orders")).await;
    assert!(
        matches!(explained, Err(ControlError::Refused(Refusal::TooMany(TooMany::Requests(_))))),
        "{explained:?}"
    );
    world.control.access.explain(&actor("bob"), None, access_to("app_ro@orders")).await.unwrap();
}

#[tokio::test]
async fn an_approval_of_an_older_text_and_one_after_the_end_give_nothing() {
    let world = world().await;
    let id = world.ask("alice", "app_ro@orders/reporting").await.unwrap().request.id;
    let older = digest(&world, &id).await;
    let reason = Some("order 8".to_owned());
    let changes =
        crate::access::edit::Changes { reason, ..crate::access::edit::Changes::default() };
    world.control.access.edit(&actor("alice"), &id, changes).await.unwrap();
    let yes = Yes { digest: older, shorten: None, step_up: None };
    let stale = world.control.access.approve(&actor("bob"), &id, yes).await;
    assert!(matches!(stale, Err(ControlError::Refused(Refusal::Conflict(_)))), "{stale:?}");
    let grant = world.approve("bob", &id).await.unwrap().unwrap();
    world.control.access.done(&actor("alice"), &grant.id).await.unwrap();
    assert!(matches!(
        world.approve("carol", &id).await,
        Err(ControlError::Refused(Refusal::Conflict(_)))
    ));
    assert_eq!(world.control.kernel.feed().live(), 0);
}
