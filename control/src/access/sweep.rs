//! What time does: grants begin and expire, requests lapse or go to others, locks end, and old digests
//! are forgotten.
//!
//! Proxies know the ends of their leases and cut on their own clocks; what is written here is the
//! record of it.

use policies::{GrantEvent, Timestamp, Ttl};

use crate::access::{Access, pending, transitions};
use crate::identity::logins;
use crate::kernel::feed::REMEMBERED;
use crate::model::error::ControlError;
use crate::model::event::By;
use crate::policy::risk;
use crate::store;

/// How many ends are written in one transaction, so that nobody waits long for the turn to write.
const BATCH: i64 = 200;
/// How long what is of no use any more is kept: reports may be repeated for so long.
const KEPT: Ttl = Ttl::from_secs(7 * 24 * 3_600);
/// How long messages are kept that nobody took.
const DEAD_KEPT: Ttl = Ttl::from_secs(90 * 24 * 3_600);

impl Access {
    /// Writes down what is over by now.
    pub(crate) async fn sweep(&self) -> Result<(), ControlError> {
        let now = self.kernel.now();
        let before = now.millis().saturating_sub(REMEMBERED.millis());
        self.kernel.feed().forget(Timestamp::from_millis(before));
        self.kernel.summarise_refusals(false).await?;
        while self.is_due(now).await? {
            let access = self.clone();
            self.kernel.to_the_end(async move { access.sweep_some(now).await }).await?;
        }
        Ok(())
    }

    async fn is_due(&self, now: Timestamp) -> Result<bool, ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        Ok(!store::grants::ending(db, now, 1).await?.is_empty()
            || !store::requests::lapsing(db, now, 1).await?.is_empty()
            || !store::requests::escalating(db, now, 1).await?.is_empty()
            || !store::locks::over(db, now).await?.is_empty()
            || !store::logins::over(db, now, 1).await?.is_empty())
    }

    async fn sweep_some(&self, now: Timestamp) -> Result<(), ControlError> {
        let mut tx = self.kernel.begin().await?;
        // What was due stays due, even if the clock has jumped back since.
        tx.now = tx.now.max(now);
        for grant in store::grants::ending(tx.db(), now, BATCH).await? {
            transitions::step(&mut tx, &grant, GrantEvent::Tick, By::Control).await?;
        }
        for stored in store::requests::lapsing(tx.db(), now, BATCH).await? {
            transitions::lapse(&mut tx, &stored.request).await?;
        }
        for request in store::requests::escalating(tx.db(), now, BATCH).await? {
            pending::escalate(&mut tx, &request).await?;
        }
        for lock in store::locks::over(tx.db(), now).await? {
            tx.lift_lock(&lock.id, By::Control).await?;
        }
        logins::end_logins_by_time(&mut tx, now, BATCH).await?;
        tx.commit().await.map(drop)
    }

    /// Forgets what is of no use any more.
    pub(crate) async fn forget(&self) {
        self.identity.forget();
        self.kernel.request_limits().forget();
        self.kernel.high_water().forget(self.kernel.now());
        let now = self.kernel.now().millis();
        let before = |span: Ttl| Timestamp::from_millis(now.saturating_sub(span.millis()));
        let forgotten = self.forget_before(before(KEPT), before(DEAD_KEPT)).await;
        if let Err(error) = forgotten {
            tracing::error!(error = &error as &dyn std::error::Error, "can't forget the old");
        }
    }

    async fn forget_before(
        &self,
        before: Timestamp,
        dead_before: Timestamp,
    ) -> Result<(), ControlError> {
        let access = self.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = access.kernel.begin().await?;
                store::login::forget(tx.db(), before).await?;
                store::proofs::forget_sessions(tx.db(), before).await?;
                store::challenges::forget(tx.db(), before).await?;
                store::learned::forget(tx.db(), before).await?;
                store::exchanges::forget(tx.db(), before).await?;
                store::webhooks::forget(tx.db(), before).await?;
                store::issuers::forget_logout_tokens(tx.db(), before).await?;
                risk::forget_risks(&mut tx).await?;
                store::outbox::forget(tx.db(), before, dead_before).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}
