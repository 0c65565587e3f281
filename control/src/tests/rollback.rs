//! A store that went back in time: refused, or accepted without what was taken away since.

use std::path::{Path, PathBuf};

use policies::{CredentialId, Method, Subject};

use super::ssh_keys::{fresh, world as ssh_world};
use super::{World, actor, inventory, settings};
use crate::Control;
use crate::kernel::backup::{copy_store, read_copy};
use crate::kernel::high_water::begin_high_water;
use crate::model::error::{ControlError, Refusal, StoreError};
use crate::model::high_water::{HIGH_WATER_FILE, Rollback};
use crate::model::login::Origin;
use crate::model::settings::Settings;

/// A copy of the store and of its mark, each of one moment.
struct Copies {
    store: PathBuf,
    mark: PathBuf,
}

impl World {
    async fn copies(&self, name: &str) -> Copies {
        let folder = self.folder.path().join(format!("copy-{name}"));
        std::fs::create_dir(&folder).unwrap();
        let copies = Copies { store: folder.join("postern.db"), mark: folder.join("mark") };
        std::fs::write(&copies.store, "").unwrap();
        copy_store(&self.folder.path().join("postern.db"), &copies.store).await.unwrap();
        std::fs::copy(self.folder.path().join(HIGH_WATER_FILE), &copies.mark).unwrap();
        copies
    }

    /// Puts a database in the place of the one that is there, as an operator with `cp` would.
    fn put(&self, store: &Path) {
        for name in ["postern.db-wal", "postern.db-shm", "postern.db"] {
            let _ = std::fs::remove_file(self.folder.path().join(name));
        }
        std::fs::copy(store, self.folder.path().join("postern.db")).unwrap();
    }

    fn put_mark(&self, mark: &Path) {
        std::fs::copy(mark, self.folder.path().join(HIGH_WATER_FILE)).unwrap();
    }

    /// Starts again on what is in the folder now, as after a kill.
    async fn restarted(&self, tx: impl FnOnce(&mut Settings)) -> Result<Control, ControlError> {
        let mut settings = settings(&self.folder, &self.authority);
        tx(&mut settings);
        Control::open(settings, inventory(super::RULES), self.clock.clone()).await
    }

    async fn why_refused(&self) -> Rollback {
        match self.restarted(|_| ()).await {
            Err(ControlError::Store(StoreError::RolledBack(why))) => why,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it started"),
        }
    }

    async fn accepted(self) -> Self {
        let control = self.restarted(|settings| settings.accept_rollback = true).await.unwrap();
        Self { control, ..self }
    }
}

#[tokio::test]
async fn an_older_store_is_refused_and_accepted_without_what_was_taken_away() {
    let world = ssh_world().await;
    let (grant, eve) = (world.read_grant().await, actor("eve"));
    let session = world.signed_in("alice").await;
    let unused = world.control.identity.invite(None, &"bob".parse().unwrap()).await.unwrap();
    let (kept, removed) = (fresh(), fresh());
    world.register(&session.actor, &kept).await.unwrap();
    let key = world.register(&session.actor, &removed).await.unwrap();
    let pending = world.ask("bob", "app_rw@orders").await.unwrap().request;
    let before = world.copies("before").await;

    // What the older store knows nothing of.
    world.control.access.revoke(&eve, &grant.id, "incident".into()).await.unwrap();
    world.control.identity.remove_ssh_key(&session.actor, &key.id).await.unwrap();
    let subject = Subject::Principal("alice".parse().unwrap());
    let lock = world.control.access.lock(&eve, subject, "stolen laptop".into(), None).await;
    let lock = lock.unwrap().value;
    let later = world.signed_in("carol").await.actor;
    let device = "laptop".parse().unwrap();
    let request = certs::NewRequest::generate().unwrap();
    let issued =
        world.control.identity.issue_certificate(&later, &request.csr_pem, &device).await.unwrap();

    world.put(&before.store);
    let why = world.why_refused().await;
    assert!(matches!(why, Rollback::Older { .. }), "{why}");
    assert!(matches!(world.why_refused().await, Rollback::Older { .. }), "trying changes nothing");

    let world = world.accepted().await;
    let accepted = world.control.access.accepted_rollback().unwrap().clone();
    assert_eq!(
        (&accepted.grants, &accepted.requests),
        (&vec![grant.id.clone()], &vec![pending.id.clone()])
    );
    assert!(accepted.locks.contains(&lock.id), "{accepted:?}");
    assert_eq!((accepted.keys, accepted.epoch), (1, 2));
    let view = world.control.access.grant(&eve, &grant.id).await.unwrap();
    assert_eq!(view.grant.state.word(), "ended");
    assert_eq!(world.control.kernel.feed().live(), 0);
    let view = world.control.access.request(&eve, &pending.id).await.unwrap();
    assert_eq!(view.request.state.word(), "withdrawn");
    let ended = world.control.identity.authenticate(&session.token, session.kind).await;
    assert!(matches!(ended, Err(ControlError::Refused(Refusal::Unauthenticated))), "{ended:?}");
    assert!(
        world.control.identity.sign_in(&unused.code, Origin::default()).await.is_err(),
        "links are dead"
    );
    let locks = world.control.kernel.feed().locks();
    assert!(locks.contains(&lock), "{locks:?}");
    let certificate = Subject::Credential(CredentialId::new(&issued.serial).unwrap());
    assert!(locks.iter().any(|lock| lock.subject == certificate), "{locks:?}");
    assert_eq!(world.holder(&removed).await, None, "a removed key stays removed");
    assert_eq!(world.holder(&kept).await.as_deref(), Some("alice"));
    assert!(world.kinds().await.contains(&"store.rolled-back".to_owned()));

    // From now on all is as ever, and neither database of before is taken.
    let world = world.reopened().await;
    assert!(world.control.access.accepted_rollback().is_none());
    assert!(world.control.kernel.feed().locks().contains(&lock));
    world.put(&before.store);
    assert!(matches!(world.why_refused().await, Rollback::Epoch { found: 1, known: 2 }));
}

#[tokio::test]
async fn a_passkey_and_an_app_that_were_removed_do_not_come_back() {
    let world = World::new().await;
    let (bob, _) = world.enrolled("bob").await;
    let before = world.copies("before").await;
    let kept = world.control.identity.passkeys(&bob).await.unwrap();
    assert_eq!(kept.len(), 1);
    world.control.identity.recover_at_console(&"bob".parse().unwrap()).await.unwrap();
    world.put(&before.store);
    let world = world.accepted().await;
    assert_eq!(world.control.access.accepted_rollback().unwrap().keys, 1);
    let left = world.control.identity.passkeys(&actor("bob")).await.unwrap();
    assert!(left.is_empty(), "{left:?}");
    assert!(bob.authn.method != Method::Link);
}

/// Whatever was killed when: a mark that is behind its store is never mistaken for a rollback, and a
/// store that is behind its mark always is one.
#[tokio::test]
async fn no_kill_looks_like_a_rollback_and_every_rollback_is_noticed() {
    let mut world = World::new().await;
    let mut moments = vec![world.copies("0").await];
    for number in 1..5 {
        let subject = Subject::Target(format!("orders-{number}").parse().unwrap());
        world.control.access.lock(&actor("eve"), subject, "incident".into(), None).await.unwrap();
        world.read_grant().await;
        if number == 3 {
            world = world.reopened().await;
        }
        moments.push(world.copies(&number.to_string()).await);
    }
    for (stored, Copies { store, .. }) in moments.iter().enumerate() {
        for (marked, Copies { mark, .. }) in moments.iter().enumerate() {
            world.put(store);
            world.put_mark(mark);
            let opened = world.restarted(|_| ()).await;
            match opened {
                Ok(_) => assert!(marked <= stored, "store {stored}, mark {marked}"),
                Err(ControlError::Store(StoreError::RolledBack(why))) => {
                    assert!(marked > stored, "store {stored}, mark {marked}: {why}");
                }
                Err(other) => panic!("{other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_missing_damaged_or_foreign_mark_is_a_rollback_and_a_first_start_is_none() {
    let world = World::new().await;
    let copies = world.copies("0").await;
    let mark = world.folder.path().join(HIGH_WATER_FILE);
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(world.why_refused().await, Rollback::Missing);
    std::fs::write(&mark, "nonsense\n").unwrap();
    assert!(matches!(world.why_refused().await, Rollback::Damaged(_)));
    world.put_mark(&copies.mark);
    let foreign = World::new().await;
    let other = foreign.copies("0").await;
    world.put(&other.store);
    assert_eq!(world.why_refused().await, Rollback::Foreign);

    // The store of an earlier version has no mark, and gets one.
    world.put(&copies.store);
    let raw = &mut world.raw().await;
    sqlx::query("UPDATE high_water SET marked = 0").execute(raw).await.unwrap();
    std::fs::remove_file(&mark).unwrap();
    world.restarted(|_| ()).await.unwrap();
    std::fs::remove_file(&mark).unwrap();
    assert_eq!(world.why_refused().await, Rollback::Missing);
}

#[tokio::test]
async fn two_copies_that_both_went_on_are_told_apart() {
    let world = World::new().await;
    let before = world.copies("before").await;
    let eve = actor("eve");
    let lock = async |world: &World, name: &str| {
        let subject = Subject::Principal(name.parse().unwrap());
        world.control.access.lock(&eve, subject, "incident".into(), None).await.unwrap();
    };
    lock(&world, "alice").await;
    let one = world.copies("one").await;
    world.put(&before.store);
    world.put_mark(&before.mark);
    let world = world.reopened().await;
    for name in ["bob", "carol", "otto"] {
        lock(&world, name).await;
    }
    world.put_mark(&one.mark);
    assert!(matches!(world.why_refused().await, Rollback::Diverged { .. }));
}

#[tokio::test]
async fn a_restored_store_wants_to_be_told_that_the_rest_is_lost() {
    let world = World::new().await;
    let grant = world.read_grant().await;
    let copies = world.copies("backup").await;
    let point = read_copy(&copies.store).await.unwrap();
    let made_at = world.control.kernel.now();
    world.put(&copies.store);
    begin_high_water(world.folder.path(), point.clone(), made_at, false).unwrap();
    assert_eq!(world.why_refused().await, Rollback::Restored { made_at });
    let world = world.accepted().await;
    let ended = &world.control.access.accepted_rollback().unwrap().grants;
    assert_eq!(ended, std::slice::from_ref(&grant.id));

    // Where nothing happened since, all goes on.
    world.put(&copies.store);
    begin_high_water(world.folder.path(), point, made_at, true).unwrap();
    let world = world.reopened().await;
    let view = world.control.access.grant(&actor("eve"), &grant.id).await.unwrap();
    assert_eq!(view.grant, grant);
}

#[tokio::test]
async fn the_flag_does_nothing_to_a_store_that_did_not_go_back() {
    let world = World::new().await;
    let grant = world.read_grant().await;
    let world = world.accepted().await;
    assert!(world.control.access.accepted_rollback().is_none());
    let view = world.control.access.grant(&actor("eve"), &grant.id).await.unwrap();
    assert_eq!(view.grant, grant);
}
