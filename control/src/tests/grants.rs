use policies::{GrantState, Subject, Ttl};

use super::{World, actor};
use crate::model::error::{ControlError, Refusal};

#[tokio::test]
async fn a_grant_ends_by_its_holder_by_revocation_and_by_time() {
    let world = World::new().await;
    let alice = actor("alice");
    let grant = world.read_grant().await;
    let foreign = world.control.access.done(&actor("bob"), &grant.id).await;
    assert!(matches!(foreign, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{foreign:?}");
    let done = world.control.access.done(&alice, &grant.id).await.unwrap();
    assert_eq!(done.value.state.word(), "ended");
    let again = world.control.access.done(&alice, &grant.id).await;
    assert!(matches!(again, Err(ControlError::Refused(Refusal::Conflict(_)))), "{again:?}");

    let grant = world.write_grant().await;
    let own = world.control.access.revoke(&alice, &grant.id, "mine".into()).await;
    assert!(own.unwrap_err().to_string().contains("postern done"));
    let outsider = world.control.access.revoke(&actor("mallory"), &grant.id, String::new()).await;
    assert!(matches!(outsider, Err(ControlError::Refused(Refusal::Forbidden(_)))), "{outsider:?}");
    let revoked =
        world.control.access.revoke(&actor("bob"), &grant.id, "closed".into()).await.unwrap();
    let GrantState::Ended { end, .. } = revoked.value.state else { panic!("{revoked:?}") };
    assert_eq!(end.to_string(), "the grant was revoked: by Bob: closed");

    let grant = world.read_grant().await;
    world.pass(900);
    world.control.access.sweep().await.unwrap();
    let view = world.control.access.grant(&alice, &grant.id).await.unwrap();
    assert_eq!(view.grant.state.word(), "ended");
    assert_eq!(world.control.kernel.feed().live(), 0);
}

#[tokio::test]
async fn a_grant_that_only_time_has_ended_does_not_stand_in_the_way_of_the_next() {
    let world = World::new().await;
    let first = world.read_grant().await;
    world.pass(900);
    let second = world.read_grant().await;
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn a_lock_on_a_person_keeps_them_from_asking_and_approving() {
    let world = World::new().await;
    let asked = world.ask("alice", "app_rw@orders").await.unwrap();
    for who in ["alice", "bob"] {
        let subject = Subject::Principal(who.parse().unwrap());
        let eve = actor("eve");
        world.control.access.lock(&eve, subject, "lost laptop".into(), None).await.unwrap();
    }
    assert_eq!(world.ask("alice", "app_ro@orders").await.unwrap_err().code(), "locked");
    assert_eq!(world.approve("bob", &asked.request.id).await.unwrap_err().code(), "locked");
    let locks = world.control.access.locks(&actor("eve")).await.unwrap();
    for lock in locks {
        world.control.access.unlock(&actor("eve"), &lock.lock.id).await.unwrap();
    }
    world.read_grant().await;
}

#[tokio::test]
async fn a_lock_ends_by_itself_and_nobody_locks_themselves_out() {
    let world = World::new().await;
    let target = || Subject::Target("orders".parse().unwrap());
    let until = Some(world.control.kernel.now().after(Ttl::from_secs(60)));
    let eve = actor("eve");
    world.control.access.lock(&eve, target(), "incident".into(), until).await.unwrap();
    assert_eq!(world.ask("alice", "app_ro@orders").await.unwrap_err().code(), "locked");
    world.pass(60);
    world.read_grant().await;
    world.control.access.sweep().await.unwrap();
    assert!(world.control.kernel.feed().locks().is_empty());
    let own = Subject::Principal("eve".parse().unwrap());
    assert!(world.control.access.lock(&eve, own, String::new(), None).await.is_err());
    assert!(world.control.access.lock(&actor("bob"), target(), String::new(), None).await.is_err());
}
