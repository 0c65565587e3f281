//! What time does: grants begin and expire, requests lapse or go to others, locks end, and old digests
//! are forgotten.
//!
//! Proxies know the ends of their leases and cut on their own clocks; what is written here is the
//! record of it.

use policies::{GrantEvent, Timestamp, Ttl};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::kernel::control::Control;
use crate::kernel::feed::REMEMBERED;
use crate::model::error::ControlError;
use crate::model::event::By;
use crate::store;

const EVERY: Ttl = Ttl::from_millis(500);
/// How many ends are written in one transaction, so that nobody waits long for the turn to write.
const BATCH: i64 = 200;
/// How long what is of no use any more is kept: reports may be repeated for so long.
const KEPT: Ttl = Ttl::from_secs(7 * 24 * 3_600);
/// Every so many rounds, holders are reminded of what ends soon.
const REMIND_EVERY: u32 = 20;
/// How long messages are kept that nobody took.
const DEAD_KEPT: Ttl = Ttl::from_secs(90 * 24 * 3_600);
/// Every so many rounds, the old is forgotten.
const FORGET_EVERY: u32 = 1_200;

impl Control {
    /// Lets time pass until `stop`, then ends the streams and waits for the work at hand.
    pub async fn run(&self, stop: CancellationToken) {
        let sweeping = self.keep_sweeping(stop.clone());
        tokio::join!(
            sweeping,
            self.keep_asking(stop.clone()),
            self.keep_reconsidering(stop.clone()),
            self.keep_following(stop.clone()),
            self.keep_following_tickets(stop.clone()),
            self.keep_telling(stop.clone()),
            self.keep_checking_store(stop),
        );
        if let Err(error) = self.summarise_refusals(true).await {
            tracing::error!(error = &error as &dyn std::error::Error, "refusals aren't told");
        }
        self.close().await;
    }

    async fn keep_sweeping(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY.duration());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut round: u32 = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            // What is due then is due later, too; proxies end what is over by themselves.
            if self.must_be_writable().is_err() {
                continue;
            }
            if let Err(error) = self.sweep().await {
                tracing::error!(error = &error as &dyn std::error::Error, "a sweep failed");
            }
            self.0.high_water.save_in_background().await;
            if round.is_multiple_of(REMIND_EVERY)
                && let Err(error) = self.remind().await
            {
                tracing::error!(error = &error as &dyn std::error::Error, "nobody was reminded");
            }
            if round.is_multiple_of(FORGET_EVERY) {
                self.forget().await;
            }
            round = round.wrapping_add(1);
        }
    }

    /// Writes down what is over by now.
    pub(crate) async fn sweep(&self) -> Result<(), ControlError> {
        let now = self.now();
        let before = now.millis().saturating_sub(REMEMBERED.millis());
        self.0.feed.forget(Timestamp::from_millis(before));
        self.summarise_refusals(false).await?;
        while self.is_due(now).await? {
            let control = self.clone();
            self.to_the_end(async move { control.sweep_some(now).await }).await?;
        }
        Ok(())
    }

    async fn is_due(&self, now: Timestamp) -> Result<bool, ControlError> {
        let db = &mut *self.0.store.read().await?;
        Ok(!store::grants::ending(db, now, 1).await?.is_empty()
            || !store::requests::lapsing(db, now, 1).await?.is_empty()
            || !store::requests::escalating(db, now, 1).await?.is_empty()
            || !store::locks::over(db, now).await?.is_empty()
            || !store::logins::over(db, now, 1).await?.is_empty())
    }

    async fn sweep_some(&self, now: Timestamp) -> Result<(), ControlError> {
        let mut change = self.change().await?;
        // What was due stays due, even if the clock has jumped back since.
        change.now = change.now.max(now);
        for grant in store::grants::ending(change.db(), now, BATCH).await? {
            change.step(&grant, GrantEvent::Tick, By::Control).await?;
        }
        for stored in store::requests::lapsing(change.db(), now, BATCH).await? {
            change.lapse(&stored.request).await?;
        }
        for request in store::requests::escalating(change.db(), now, BATCH).await? {
            change.escalate(&request).await?;
        }
        for lock in store::locks::over(change.db(), now).await? {
            change.lift_lock(&lock.id, By::Control).await?;
        }
        change.end_logins_by_time(now, BATCH).await?;
        change.commit().await.map(drop)
    }

    async fn forget(&self) {
        self.0.limits.forget();
        self.0.guesses.forget();
        self.0.exchanges.forget();
        self.0.flows.forget();
        self.0.pace.forget();
        self.0.high_water.forget(self.now());
        let now = self.now().millis();
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
        let control = self.clone();
        self.to_the_end(async move {
            let mut change = control.change().await?;
            store::login::forget(change.db(), before).await?;
            store::proofs::forget_sessions(change.db(), before).await?;
            store::challenges::forget(change.db(), before).await?;
            store::learned::forget(change.db(), before).await?;
            store::exchanges::forget(change.db(), before).await?;
            store::webhooks::forget(change.db(), before).await?;
            store::issuers::forget_logout_tokens(change.db(), before).await?;
            change.forget_risks().await?;
            store::outbox::forget(change.db(), before, dead_before).await?;
            change.commit().await.map(drop)
        })
        .await
    }
}
