use policies::Ttl;

use super::{World, access_to, actor};
use crate::access::input::AccessRequestInput;
use crate::model::error::{ControlError, Refusal, StoreError};
use crate::model::view::{Paging, RequestFilter, Scope};

#[tokio::test]
async fn a_request_takes_its_approvals_and_becomes_a_grant() {
    let world = World::new().await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap();
    assert!(asked.grant.is_none() && asked.request.is_pending());
    assert_eq!(asked.request.resource.to_string(), "app_rw@orders/shop");
    assert!(world.approve("bob", &asked.request.id).await.unwrap().is_none());
    let grant = world.approve("carol", &asked.request.id).await.unwrap().unwrap();
    assert_eq!((grant.principal.as_str(), grant.ttl), ("alice", Ttl::from_secs(3_600)));
    let expected = ["request.asked", "request.approved", "request.approved", "grant.given"];
    assert_eq!(world.kinds().await[2..], expected);
}

#[tokio::test]
async fn what_nobody_has_to_approve_is_given_at_once_and_reused() {
    let world = World::new().await;
    let first = world.read_grant().await;
    let again = world.ask("alice", "app_ro@orders/shop").await.unwrap();
    assert_eq!(again.grant, Some(first));
}

#[tokio::test]
async fn a_second_ask_joins_the_pending_request_and_another_one_is_told_of_it() {
    let world = World::new().await;
    let first = world.ask("alice", "app_rw@orders").await.unwrap();
    let again = world.ask("alice", "app_rw@orders").await.unwrap();
    assert_eq!(again.request.id, first.request.id);
    let other = AccessRequestInput { reason: "order 7".into(), ..access_to("app_rw@orders") };
    let refused = world.control.access.ask(&actor("alice"), other).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Conflict(_)))), "{refused:?}");
}

#[tokio::test]
async fn what_no_rule_permits_is_refused_and_leaves_no_trace() {
    let world = World::new().await;
    let before = world.kinds().await.len();
    for (who, what, code) in [
        ("mallory", "app_ro@orders", "not-permitted"),
        ("alice", "postgres@orders", "no-resource"),
        ("alice", "app_ro@orders/Shop", "no-resource"),
        ("alice", "app_ro@nowhere", "no-target"),
    ] {
        assert_eq!(world.ask(who, what).await.unwrap_err().code(), code, "{who} {what}");
    }
    let outside = AccessRequestInput {
        source: Some("203.0.113.9".parse().unwrap()),
        ..access_to("app_ro@orders")
    };
    let refused = world.control.access.ask(&actor("alice"), outside).await.unwrap_err();
    assert!(refused.to_string().contains("never from outside"), "{refused}");
    assert_eq!(world.kinds().await.len(), before);
}

#[tokio::test]
async fn nobody_approves_their_own_request() {
    let world = World::new().await;
    let asked = world.ask("bob", "app_rw@orders").await.unwrap();
    let refused = world.approve("bob", &asked.request.id).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
    let refused = world.approve("alice", &asked.request.id).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{refused:?}");
}

#[tokio::test]
async fn approving_twice_or_something_else_or_too_late_is_refused() {
    let world = World::new().await;
    let id = world.ask("alice", "app_rw@orders").await.unwrap().request.id;
    let other = "0".repeat(64).into();
    let refused = world
        .control
        .access
        .approve(
            &actor("bob"),
            &id,
            crate::access::input::Yes { digest: other, shorten: None, step_up: None },
        )
        .await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Conflict(_)))), "{refused:?}");
    world.approve("bob", &id).await.unwrap();
    let refused = world.approve("bob", &id).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Conflict(_)))), "{refused:?}");
    world.pass(1_800);
    let refused = world.approve("carol", &id).await;
    assert!(matches!(refused, Err(ControlError::Refused(Refusal::Conflict(_)))), "{refused:?}");
    world.control.access.sweep().await.unwrap();
    let view = world.control.access.request(&actor("alice"), &id).await.unwrap();
    assert_eq!(view.request.state.word(), "lapsed");
}

/// Fifty approvers and one who withdraws, all at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_fifty_verdicts_at_once_there_is_one_outcome() {
    for round in 0..3 {
        let world = World::new().await;
        let request = world.ask("alice", "app_rw@orders").await.unwrap().request;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..50 {
            let (control, id, digest) =
                (world.control.clone(), request.id.clone(), request.digest());
            tasks.spawn(async move {
                if number == 5 + round * 20 {
                    control.access.withdraw(&actor("alice"), &id).await.map(|_| None)
                } else {
                    let by = actor(&format!("dba-{number}"));
                    control
                        .access
                        .approve(
                            &by,
                            &id,
                            crate::access::input::Yes { digest, shorten: None, step_up: None },
                        )
                        .await
                        .map(|asked| asked.grant)
                }
            });
        }
        let outcomes = tasks.join_all().await;
        let grants = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Some(_)))).count();
        let view = world.control.access.request(&actor("alice"), &request.id).await.unwrap();
        let (state, given) = (view.request.state.word(), !view.grants.is_empty());
        assert!(matches!((state, given, grants), ("granted", true, 1) | ("withdrawn", false, 0)));
        let published = world.control.kernel.feed().live();
        assert_eq!(published, grants, "what is published is what was committed");
        let kinds = world.kinds().await;
        let count = |kind: &str| kinds.iter().filter(|other| *other == kind).count();
        assert_eq!(count("grant.given"), grants);
        assert_eq!(count("grant.given") + count("request.withdrawn"), 1);
    }
}

#[tokio::test]
async fn a_change_whose_audit_event_fails_has_never_been() {
    let world = World::new().await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap();
    world.approve("bob", &asked.request.id).await.unwrap();
    let revision = world.control.kernel.feed().revision();
    let mut raw = world.raw().await;
    let trigger = "CREATE TRIGGER broken BEFORE INSERT ON audit WHEN NEW.kind = 'grant.given' \
                   BEGIN SELECT RAISE (ABORT, 'disk is gone'); END";
    sqlx::query(trigger).execute(&mut raw).await.unwrap();
    let failed = world.approve("carol", &asked.request.id).await;
    assert!(matches!(failed, Err(ControlError::Store(StoreError::Sql(_)))), "{failed:?}");
    let view = world.control.access.request(&actor("alice"), &asked.request.id).await.unwrap();
    assert!(view.request.is_pending() && view.grants.is_empty() && view.missing == 1);
    assert_eq!(world.control.kernel.feed().revision(), revision);
    assert_eq!(world.control.kernel.feed().live(), 0);
    sqlx::query("DROP TRIGGER broken").execute(&mut raw).await.unwrap();
    assert!(world.approve("carol", &asked.request.id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_change_runs_to_its_end_when_its_caller_leaves() {
    let world = World::new().await;
    let turn = world.control.kernel.store().turn().await;
    let leaving = world.ask("alice", "app_ro@orders");
    let left = tokio::time::timeout(std::time::Duration::from_millis(50), leaving).await;
    assert!(left.is_err());
    drop(turn);
    world.control.kernel.close().await;
    assert_eq!(world.control.kernel.feed().live(), 1, "committed, and published");
}

#[tokio::test]
async fn an_inbox_shows_what_waits_for_its_reader_page_by_page() {
    let world = World::new().await;
    world.ask("alice", "app_rw@orders").await.unwrap();
    world.ask("alice", "app_rw@orders/reporting").await.unwrap();
    world.ask("bob", "app_rw@orders").await.unwrap();
    let inbox = RequestFilter { scope: Scope::Inbox, state: None };
    let first = Paging { cursor: None, limit: Some(1) };
    let page = world.control.access.requests(&actor("bob"), inbox, first).await.unwrap();
    assert_eq!(page.items[0].request.resource.to_string(), "app_rw@orders/reporting");
    let rest = Paging { cursor: page.next, limit: Some(5) };
    let page = world.control.access.requests(&actor("bob"), inbox, rest).await.unwrap();
    assert_eq!((page.items.len(), page.next), (1, None));
    assert!(page.items.iter().all(|view| view.may_decide && view.name == "Alice"));
    let all = RequestFilter { scope: Scope::All, state: None };
    assert!(world.control.access.requests(&actor("bob"), all, Paging::default()).await.is_err());
    let page = world.control.access.requests(&actor("eve"), all, Paging::default()).await.unwrap();
    assert_eq!(page.items.len(), 3);
}
