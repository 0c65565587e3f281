//! A store that went back in time: it is refused at the start, or accepted by the operator's word.
//!
//! Accepting it ends everything that could have been taken away in the time that is lost: grants, requests
//! that wait, sign-ins, tokens and links. What the high-water mark knows of that time is put back: locks hold
//! again, removed keys are gone again, and certificates that were issued are of no use any more.

use std::collections::BTreeSet;
use std::path::Path;

use policies::{CredentialId, End, GrantEvent, Lock, LockId, Subject, Timestamp};
use serde_json::json;

use crate::access::{Access, transitions};
use crate::identity::logins;
use crate::kernel::high_water;
use crate::kernel::high_water::HighWater;
use crate::kernel::state::Transaction;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, InternalError};
use crate::model::event::{By, Event};
use crate::model::high_water::{AcceptedRollback, Known, Rollback, StorePoint};
use crate::model::login::{LoginEnd, Which};
use crate::platform::ids;
use crate::store;
use crate::store::Store;

const WHY: &str = "an older copy of the gateway's store was accepted";

/// What is found of a store when it is opened.
pub(crate) struct Opening {
    /// The mark from now on.
    pub(crate) high_water: HighWater,
    /// The epoch from now on.
    pub(crate) epoch: u64,
    /// Whether the mark was written before.
    pub(crate) marked: bool,
    /// What is to be accepted, with what is known of the time that is lost.
    pub(crate) lost: Option<(Rollback, Option<Known>)>,
}

impl Opening {
    /// Compares a store with its high-water mark. Nothing is changed.
    ///
    /// # Errors
    /// Where the store went back in time and nobody accepts that.
    pub(crate) async fn check(
        store: &Store,
        path: &Path,
        now: Timestamp,
        accept: bool,
    ) -> Result<Self, ControlError> {
        let db = &mut *store.read().await?;
        let (point, marked) = store::high_water::point(db).await?;
        let (read, damaged) = match high_water::read(path)? {
            Ok(known) => (known, None),
            Err(damaged) => (None, Some(damaged)),
        };
        let at = read.as_ref().map_or(0, |known| known.point.event);
        let digest = store::audit::digest_of(db, at).await?;
        let compared = match damaged {
            Some(damaged) => Err(damaged),
            None => high_water::compare(&point, marked, read.as_ref(), digest.as_deref()),
        };
        let why = compared.err();
        if let Some(why) = why.clone().filter(|_| !accept) {
            return Err(why.into());
        }
        let known_epoch = read.as_ref().map_or(0, |known| known.point.epoch);
        let epoch = match why {
            Some(_) => point.epoch.max(known_epoch).saturating_add(1),
            None => point.epoch,
        };
        let known = from_now_on(db, StorePoint { epoch, ..point }, read.as_ref(), now).await?;
        let high_water = HighWater::new(path.to_owned(), known);
        Ok(Self { high_water, epoch, marked, lost: why.map(|why| (why, read)) })
    }
}

/// What the mark knows from now on: what stands in the store, and what the mark alone remembers.
async fn from_now_on(
    db: &mut sqlx::SqliteConnection,
    point: StorePoint,
    before: Option<&Known>,
    now: Timestamp,
) -> Result<Known, ControlError> {
    let mut known = Known::new(point, now);
    for lock in store::locks::all(db).await? {
        known.locks.insert(lock.id.clone(), lock);
    }
    for issued in store::high_water::certificates(db, now).await? {
        known.issued.insert(issued.id.clone(), issued);
    }
    if let Some(before) = before {
        // Certificates of workloads are in no table.
        known.issued.extend(before.issued.clone());
        known.removed.clone_from(&before.removed);
    }
    known.forget(now);
    Ok(known)
}

impl Access {
    /// What was accepted at this start, where the store had gone back in time.
    #[must_use]
    pub fn accepted_rollback(&self) -> Option<&AcceptedRollback> {
        self.own.accepted.get()
    }

    /// Accepts an older store, before anybody is served.
    pub(crate) async fn accept_rollback(
        &self,
        why: Rollback,
        known: Option<Known>,
        epoch: u64,
    ) -> Result<(), ControlError> {
        let access = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                let known_until = store::audit::newest_at(tx.db()).await?;
                let mut accepted = AcceptedRollback {
                    why,
                    epoch,
                    known_until,
                    grants: Vec::new(),
                    requests: Vec::new(),
                    logins: Vec::new(),
                    locks: Vec::new(),
                    keys: 0,
                };
                end_everything(&mut tx, &mut accepted).await?;
                if let Some(known) = known {
                    put_back(&mut tx, known, &mut accepted).await?;
                }
                store::high_water::set_epoch(tx.db(), epoch).await?;
                tx.record(accepted.event()).await?;
                tx.commit().await?;
                let _ = access.own.accepted.set(accepted);
                Ok(())
            })
            .await
    }

    /// Writes the high-water mark, and in the store that there is one from now on.
    pub(crate) async fn mark(&self, marked: bool) -> Result<(), ControlError> {
        let high_water = self.kernel.high_water().clone();
        let saving = tokio::task::spawn_blocking(move || high_water.save());
        saving.await.map_err(|_| InternalError::Broken)??;
        if marked {
            return Ok(());
        }
        tracing::info!(
            "this store has a high-water mark from now on: an older copy of it is noticed"
        );
        let access = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                store::high_water::marked(tx.db()).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

impl AcceptedRollback {
    fn event(&self) -> Event {
        let detail = json!({
            "why": self.why.to_string(), "epoch": self.epoch,
            "known_until": self.known_until.map(|at| at.to_string()),
            "grants": self.grants, "requests": self.requests, "logins": self.logins,
            "locks": self.locks, "keys": self.keys,
        });
        Event::new(By::Operator, AuditKind::StoreRolledBack, "store", detail)
    }
}

async fn end_everything(
    tx: &mut Transaction,
    accepted: &mut AcceptedRollback,
) -> Result<(), ControlError> {
    for grant in store::grants::open(tx.db()).await? {
        let end = GrantEvent::End(End::Revoked(WHY.to_owned()));
        transitions::step(tx, &grant, end, By::Operator).await?;
        accepted.grants.push(grant.id);
    }
    for stored in store::requests::pending(tx.db()).await? {
        if !transitions::lapse(tx, &stored.request).await? {
            transitions::withdraw_for(tx, &stored.request, WHY).await?;
        }
        accepted.requests.push(stored.request.id);
    }
    for whose in store::logins::people(tx.db()).await? {
        let ended =
            logins::end_logins(tx, Which::Of(&whose), LoginEnd::Ended, By::Operator).await?;
        accepted.logins.extend(ended);
    }
    let now = tx.now;
    Ok(store::high_water::end_all_proofs(tx.db(), now).await?)
}

/// Puts back what the high-water mark knows and the store has forgotten.
async fn put_back(
    tx: &mut Transaction,
    mut known: Known,
    accepted: &mut AcceptedRollback,
) -> Result<(), ControlError> {
    let now = tx.now;
    known.forget(now);
    let there: BTreeSet<LockId> = store::high_water::lock_ids(tx.db()).await?.into_iter().collect();
    for lock in known.locks.into_values().filter(|lock| !there.contains(&lock.id)) {
        tx.add_lock_by(By::Operator, &lock).await?;
        accepted.locks.push(lock.id);
    }
    let locked = locked_credentials(tx).await?;
    for issued in known.issued.into_values().filter(|issued| !locked.contains(&issued.id)) {
        let lock = Lock {
            id: ids::fresh("lk")?,
            subject: Subject::Credential(issued.id),
            reason: WHY.to_owned(),
            by: issued.whose,
            at: now,
            until: Some(issued.expires_at),
            members: BTreeSet::new(),
        };
        tx.add_lock_by(By::Operator, &lock).await?;
    }
    for factor in known.removed.keys() {
        if store::high_water::remove_factor(tx.db(), factor, now).await? {
            accepted.keys += 1;
        }
    }
    Ok(())
}

async fn locked_credentials(tx: &mut Transaction) -> Result<BTreeSet<CredentialId>, ControlError> {
    let locks = store::locks::all(tx.db()).await?.into_iter();
    let credentials = locks.filter_map(|lock| match lock.subject {
        Subject::Credential(id) => Some(id),
        Subject::Principal(_)
        | Subject::Group(_)
        | Subject::Device(_)
        | Subject::Target(_)
        | Subject::Login(_, _) => None,
    });
    Ok(credentials.collect())
}
