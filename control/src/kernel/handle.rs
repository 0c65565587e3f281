//! The kernel as one value: what every layer above works with.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use policies::{RequestId, Timestamp};
use prometheus::Registry;
use prometheus::core::Collector;
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::kernel::cuts::Pending;
use crate::kernel::feed::Feed;
use crate::kernel::high_water::HighWater;
use crate::kernel::metrics::Counts;
use crate::kernel::rate_limit::RequestLimits;
use crate::kernel::refusals::Refusals;
use crate::kernel::state::{Kernel, Opened, State};
use crate::model::error::{ControlError, InternalError};
use crate::model::inventory::Inventory;
use crate::model::settings::Settings;
use crate::platform::clock::Clock;
use crate::platform::http_client::Http;
use crate::platform::vault::Vault;
use crate::store::Store;

/// How many decisions somebody may lag behind before they look for themselves.
const BACKLOG: usize = 1_024;

impl Kernel {
    /// The kernel of a store that is open.
    ///
    /// # Errors
    /// Where the key of the vault can't be had, or no HTTP client can be made.
    pub(crate) fn new(opened: Opened) -> Result<Self, ControlError> {
        let Opened { settings, clock, inventory, store, epoch, high_water, .. } = opened;
        let inventory = Arc::new(inventory);
        let (decided, _) = broadcast::channel(BACKLOG);
        let (base_url, fresh) = (settings.base_url(), settings.feed_fresh);
        Ok(Self(Arc::new(State {
            feed: Feed::new(opened.mirror, base_url, fresh, epoch),
            inventory: ArcSwap::new(Arc::clone(&inventory)),
            configured: ArcSwap::new(inventory),
            postponed: ArcSwapOption::empty(),
            cuts: Pending::new(opened.journal),
            unwritable: ArcSwapOption::empty(),
            reconsider: Notify::new(),
            outbox: Notify::new(),
            hooks: opened.hooks,
            vault: Vault::open(&settings.vault_key())?,
            refusals: Refusals::default(),
            request_limits: RequestLimits::new(),
            counts: opened.counts,
            http: Http::trusting(None)?,
            room: OnceLock::new(),
            closing: CancellationToken::new(),
            work: TaskTracker::new(),
            settings,
            clock,
            store,
            high_water,
            decided,
        })))
    }

    /// How it was set up.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Its clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Now, by its clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The inventory in force.
    pub(crate) fn inventory(&self) -> Arc<Inventory> {
        self.0.inventory.load_full()
    }

    /// Puts an inventory in force without a change.
    #[cfg(test)]
    pub(crate) fn put_in_force(&self, inventory: Arc<Inventory>) {
        self.0.inventory.store(inventory);
    }

    /// Whom people can sign in with, by name.
    #[must_use]
    pub fn issuers(&self) -> Vec<policies::IssuerName> {
        self.0.inventory.load().issuers.keys().cloned().collect()
    }

    /// What the configuration alone says.
    pub(crate) fn configured(&self) -> Arc<Inventory> {
        self.0.configured.load_full()
    }

    /// The configuration that waits until the store can be written.
    pub(crate) fn postponed(&self) -> &ArcSwapOption<Inventory> {
        &self.0.postponed
    }

    pub(crate) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn high_water(&self) -> &HighWater {
        &self.0.high_water
    }

    pub(crate) fn feed(&self) -> &Feed {
        &self.0.feed
    }

    pub(crate) fn cuts(&self) -> &Pending {
        &self.0.cuts
    }

    /// Requests about which something was decided, once that is committed.
    pub(crate) fn decided(&self) -> &broadcast::Sender<RequestId> {
        &self.0.decided
    }

    pub(crate) fn reconsider(&self) -> &Notify {
        &self.0.reconsider
    }

    pub(crate) fn outbox(&self) -> &Notify {
        &self.0.outbox
    }

    pub(crate) fn vault(&self) -> &Vault {
        &self.0.vault
    }

    pub(crate) fn request_limits(&self) -> &RequestLimits {
        &self.0.request_limits
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.0.counts
    }

    pub(crate) fn http(&self) -> &Http {
        &self.0.http
    }

    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }

    pub(crate) fn work(&self) -> &TaskTracker {
        &self.0.work
    }

    /// Has `/health` say when there is no room for recordings. The first such watch counts.
    pub(crate) fn watch_room(&self, room: Arc<AtomicBool>) {
        let _ = self.0.room.set(room);
    }

    /// Whether there is room for recordings, as far as that is known here.
    pub(crate) fn has_room(&self) -> bool {
        self.0.room.get().is_none_or(|room| room.load(Ordering::Relaxed))
    }

    /// Does work to its end, even where the one who asked for it has gone: a change is either
    /// published or was never committed.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ControlError>> + Send + 'static,
    ) -> Result<T, ControlError> {
        let task = self.0.work.spawn(work.in_current_span());
        task.await.map_err(|_| InternalError::Broken)?
    }

    /// Ends the streams, and waits until the work at hand is done.
    pub(crate) async fn close(&self) {
        self.0.closing.cancel();
        self.0.work.close();
        self.0.work.wait().await;
        self.0.high_water.save_in_background().await;
    }

    pub(crate) fn count_cuts(&self) {
        let pending = i64::try_from(self.0.cuts.count()).unwrap_or(i64::MAX);
        self.0.counts.cuts_pending.set(pending);
    }

    /// Registers what control counts. A name that is taken already is logged, and not counted.
    pub fn metrics(&self, registry: &Registry) {
        let counts = &self.0.counts;
        let collectors: [Box<dyn Collector>; 11] = [
            Box::new(counts.grants_live.clone()),
            Box::new(counts.requests_pending.clone()),
            Box::new(counts.requests.clone()),
            Box::new(counts.holds.clone()),
            Box::new(counts.source_failures.clone()),
            Box::new(counts.notifications.total.clone()),
            Box::new(counts.notifications.waiting.clone()),
            Box::new(counts.notifications.dead.clone()),
            Box::new(counts.notifications.oldest.clone()),
            Box::new(counts.store_writable.clone()),
            Box::new(counts.cuts_pending.clone()),
        ];
        for collector in collectors {
            if let Err(error) = registry.register(collector) {
                tracing::warn!(%error, "a metric is not registered");
            }
        }
    }
}
