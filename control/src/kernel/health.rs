//! Whether control can write to its store: found out by writing, every few seconds and after a failure.
//!
//! Proxies may go on only while this works. When it works again, so does all else.

use std::time::Duration;

use policies::Timestamp;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::kernel::Kernel;
use crate::model::audit_kind::AuditKind;
use crate::model::error::{ControlError, StoreError};
use crate::model::event::{By, Event};
use crate::platform::clock;
use crate::store;

/// The longest that a write may take before the store counts as one that can't be written.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How soon it is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is known of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreHealth {
    /// Since when it can't be written, where it can't.
    pub unwritable_since: Option<Timestamp>,
    /// How often access was taken away that isn't written yet.
    pub pending_cuts: usize,
}

impl Kernel {
    /// Whether the store can be written, and what waits for it.
    #[must_use]
    pub fn store_health(&self) -> StoreHealth {
        StoreHealth { unwritable_since: self.unwritable_since(), pending_cuts: self.0.cuts.count() }
    }

    /// Refuses what would begin without being written.
    pub(crate) fn must_be_writable(&self) -> Result<(), ControlError> {
        match self.unwritable_since() {
            None => Ok(()),
            Some(_) => Err(StoreError::Unwritable.into()),
        }
    }

    fn unwritable_since(&self) -> Option<Timestamp> {
        self.0.unwritable.load().as_deref().copied()
    }

    pub(crate) async fn keep_checking_store(&self, stop: CancellationToken) {
        let every = self.0.feed.renewal().duration();
        let checking = async {
            loop {
                self.check_store().await;
                match self.unwritable_since() {
                    // What fails asks for a check: one that follows at once would find the same.
                    Some(_) => tokio::time::sleep(AGAIN.min(every)).await,
                    None => {
                        let _ = tokio::time::timeout(every, self.0.store.suspected()).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(checking).await;
    }

    /// Writes a row, and with it all that waits to be written.
    pub(crate) async fn check_store(&self) {
        let began = clock::instant();
        let kernel = self.clone();
        let probe = self.to_the_end(async move { kernel.probe().await });
        let mut probe = std::pin::pin!(probe);
        let result = match tokio::time::timeout(TIMEOUT, &mut probe).await {
            Ok(result) => result,
            Err(_) => {
                self.unwritable(&"a write did not end in time");
                probe.await
            }
        };
        match result {
            Ok(()) => self.writable(began).await,
            Err(error) => self.unwritable(&crate::platform::error_chain::chain(&error)),
        }
    }

    async fn probe(&self) -> Result<(), ControlError> {
        let pending = self.0.cuts.count();
        let mut tx = self.begin_anyway().await?;
        let now = tx.now;
        store::probe::write(tx.db(), now).await?;
        if let Some(since) = self.unwritable_since() {
            let detail = json!({ "since": since.to_string(), "cuts": pending });
            tx.record(Event::new(By::Control, AuditKind::StoreWritable, "control", detail)).await?;
        }
        tx.commit().await.map(drop)
    }

    async fn writable(&self, began: std::time::Instant) {
        self.0.counts.store_writable.set(1);
        if self.0.unwritable.swap(None).is_none() {
            return self.0.feed.renew(began);
        }
        tracing::info!("the store can be written again");
        self.0.feed.revive(began);
        let postponed = self.0.postponed.swap(None);
        if let Some(next) = postponed
            && let Err(error) = self.0.hooks.resume(self, next).await
        {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the configuration that waited is not in force: reload it");
        }
    }

    fn unwritable(&self, why: &dyn std::fmt::Display) {
        self.0.counts.store_writable.set(0);
        if self.unwritable_since().is_none() {
            tracing::error!(%why, "the store can't be written: no new access begins until it can");
            self.0.unwritable.store(Some(std::sync::Arc::new(self.now())));
        }
    }
}
