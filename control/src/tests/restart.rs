use policies::Ttl;

use super::link::{opened, report};
use super::{World, actor};
use crate::access::{issue_grant, load, transitions};
use crate::model::audit_kind::AuditKind;
use crate::model::view::{Paging, Scope, SessionFilter};

#[tokio::test]
async fn a_restart_keeps_what_was_acknowledged() {
    let world = World::new().await;
    let (read, write) = (world.read_grant().await, world.write_grant().await);
    let pending = world.ask("bob", "app_rw@orders").await.unwrap().request;
    let done = world.control.access.done(&actor("alice"), &read.id).await.unwrap();
    let invite = world.control.identity.invite(None, &"alice".parse().unwrap()).await.unwrap();
    let session = world
        .control
        .identity
        .sign_in(&invite.code, crate::model::login::Origin::default())
        .await
        .unwrap();
    let revision = world.control.kernel.feed().revision();

    let world = world.reopened().await;
    assert!(world.control.kernel.feed().revision() > revision, "it never goes back");
    let eve = actor("eve");
    assert_eq!(world.control.access.grant(&eve, &write.id).await.unwrap().grant, write);
    assert_eq!(world.control.access.grant(&eve, &read.id).await.unwrap().grant, done.value);
    assert_eq!(world.control.access.request(&eve, &pending.id).await.unwrap().request, pending);
    assert!(world.control.identity.authenticate(&session.token, session.kind).await.is_ok());
    assert_eq!(world.control.kernel.feed().live(), 1);
    let (snapshot, _) = world.control.kernel.feed().subscribe();
    let Some(link::v1::feed_event::Event::Snapshot(snapshot)) = snapshot.event else { panic!() };
    assert_eq!(snapshot.gone[0].grant, read.id.as_str());
    assert!(world.approve("carol", &pending.id).await.unwrap().is_none());
}

#[tokio::test]
async fn what_expired_while_nothing_ran_is_over_after_a_restart() {
    let world = World::new().await;
    let (grant, pending) = (world.read_grant().await, world.ask("bob", "app_rw@orders").await);
    world.pass(1_800);
    let world = world.reopened().await;
    let eve = actor("eve");
    let view = world.control.access.grant(&eve, &grant.id).await.unwrap();
    assert_eq!(view.grant.state.word(), "ended");
    let view = world.control.access.request(&eve, &pending.unwrap().request.id).await.unwrap();
    assert_eq!(view.request.state.word(), "lapsed");
    assert_eq!(world.control.kernel.feed().live(), 0);
}

#[tokio::test]
async fn no_session_stays_live_for_ever() {
    let world = World::new().await;
    report(&world, vec![("h-1", opened("se-1"))]).await;
    world.clock.advance(Ttl::from_secs(5));
    let world = world.reopened().await;
    let filter = SessionFilter { scope: Scope::All, ..Default::default() };
    let page =
        world.control.evidence.sessions(&actor("eve"), filter, Paging::default()).await.unwrap();
    let end = page.items[0].ended.clone().unwrap();
    assert_eq!(end.detail, "the gateway stopped without saying so");

    let report_of_end = link::v1::happening::Happening::Ended(link::v1::SessionEnded {
        session: "se-1".into(),
        end: "expired".into(),
        ..Default::default()
    });
    report(&world, vec![("h-2", report_of_end)]).await;
    let session =
        world.control.evidence.session(&actor("alice"), &"se-1".parse().unwrap()).await.unwrap();
    assert_eq!(session.ended.unwrap().end, "expired", "the proxy knows better");
}

/// A process that is killed between any two statements of a change leaves the transaction open.
#[tokio::test]
async fn a_change_that_was_cut_short_is_pending_or_granted_but_never_both() {
    let world = World::new().await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap().request;
    world.approve("bob", &asked.id).await.unwrap();
    {
        let mut tx = world.control.kernel.begin().await.unwrap();
        let request = load::stored(&mut tx, &asked.id).await.unwrap().request;
        let approve = policies::RequestEvent::Approve {
            by: tx.inventory.decider(&actor("carol").principal, &request).unwrap(),
            digest: request.digest(),
            shorten: None,
            step_up: None,
        };
        let next = request.apply(approve, tx.now).unwrap();
        let by = &actor("carol");
        transitions::put_request(
            &mut tx,
            &next,
            by,
            AuditKind::RequestApproved,
            serde_json::json!({}),
        )
        .await
        .unwrap();
        issue_grant::issue(&mut tx, &next).await.unwrap();
    }
    assert_eq!(world.control.kernel.feed().live(), 0, "nothing is published before the commit");
    let world = world.reopened().await;
    let view = world.control.access.request(&actor("eve"), &asked.id).await.unwrap();
    assert!(view.request.is_pending() && view.grants.is_empty());
    assert_eq!(world.control.kernel.feed().live(), 0);
}
