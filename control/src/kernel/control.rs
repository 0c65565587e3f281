//! The control plane as one value: what it is made of, how it is opened, and how work is done in it.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use policies::{RequestId, Timestamp};
use serde_json::json;
use tokio::sync::{Notify, Semaphore, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::access::rollback::{AcceptedRollback, Opening};
use crate::evidence::reconcile::{Doubtful, UNKNOWN};
use crate::gateway::link::LinkService;
use crate::gateway::pending_connections::Holds;
use crate::identity::devices::Devices;
use crate::identity::failed_attempts::Guesses;
use crate::identity::issuers::Issuers;
use crate::identity::login::Limits;
use crate::identity::oidc::{Flows, Outages};
use crate::identity::passkeys::{Nonces, Party};
use crate::identity::workloads::Exchanges;
use crate::kernel::cuts::{KeptBy, Pending};
use crate::kernel::feed::{Feed, Mirror, REMEMBERED, REMEMBERED_AT_MOST};
use crate::kernel::high_water::HighWater;
use crate::kernel::metrics::Counts;
use crate::kernel::rate_limit::Pace;
use crate::kernel::refusals::Refusals;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::settings::Settings;
use crate::notify::Wakeup;
use crate::platform::clock::Clock;
use crate::platform::http_client::Http;
use crate::platform::vault::Vault;
use crate::policy::context;
use crate::store;
use crate::store::Store;
use crate::store::journal::Journal;

/// How many decisions somebody may lag behind before they look for themselves.
const BACKLOG: usize = 1_024;
/// How many trackers' answers are waited for at once, in the name of those who ask.
const LOOKUPS: usize = 16;

/// The control plane. Copies are cheap and share everything.
#[derive(Clone)]
pub struct Control(pub(crate) Arc<Shared>);

/// What all copies share.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    /// What is in force: the configuration, and the people whom issuers vouch for.
    pub(crate) inventory: ArcSwap<Inventory>,
    /// What the configuration alone says.
    pub(crate) configured: ArcSwap<Inventory>,
    pub(crate) store: Store,
    /// What is known of the store outside of it.
    pub(crate) high_water: HighWater,
    /// What was done at this start about an older store.
    pub(crate) accepted: OnceLock<AcceptedRollback>,
    pub(crate) feed: Feed,
    /// Requests about which something was decided, once that is committed.
    pub(crate) decided: broadcast::Sender<RequestId>,
    pub(crate) holds: Holds,
    pub(crate) issuers: Issuers,
    pub(crate) devices: Devices,
    pub(crate) outages: Outages,
    pub(crate) flows: Flows,
    pub(crate) vault: Vault,
    pub(crate) limits: Limits,
    pub(crate) guesses: Guesses,
    pub(crate) refusals: Refusals,
    pub(crate) pace: Pace,
    /// None where the public address has no host name: passkeys need one.
    pub(crate) party: Option<Party>,
    pub(crate) nonces: Nonces,
    pub(crate) exchanges: Exchanges,
    pub(crate) outbox: Wakeup,
    pub(crate) counts: Counts,
    /// Access that was taken away and isn't written yet.
    pub(crate) cuts: Pending,
    /// Since when the store can't be written, where it can't.
    pub(crate) unwritable: ArcSwapOption<Timestamp>,
    /// The configuration that waits until the store can be written.
    pub(crate) postponed: ArcSwapOption<Inventory>,
    /// What sources outside are asked with, and how many are asked for somebody at once.
    pub(crate) http: Http,
    pub(crate) lookups: Semaphore,
    /// How many are explained at once what the rules say.
    pub(crate) explaining: Arc<Semaphore>,
    /// Whether the tracker didn't answer the last time.
    pub(crate) tracker_silent: AtomicBool,
    /// Another inventory is in force, so that the clock may matter at another time.
    pub(crate) reconsider: Notify,
    /// Whether there is room for recordings, where that is known here.
    room: OnceLock<Arc<AtomicBool>>,
    pub(crate) closing: CancellationToken,
    pub(crate) work: TaskTracker,
}

impl Control {
    /// Opens the store and takes up where the last run stopped: what has expired meanwhile ends,
    /// grants are decided again, and sessions that were live then are marked as over.
    ///
    /// # Errors
    /// Where the store can't be used or went back in time, or the inventory contradicts itself.
    pub async fn open(
        settings: Settings,
        inventory: Inventory,
        clock: Clock,
    ) -> Result<Self, ControlError> {
        inventory.check()?;
        let store = Store::open(&settings.database).await?;
        let (mark, accept) = (settings.high_water(), settings.accept_rollback);
        let opening = Opening::check(&store, &mark, clock.now(), accept).await?;
        let Opening { high_water, epoch, marked, lost } = opening;
        let journal = settings.database.with_extension("cuts");
        let (journal, kept) = Journal::open(&journal).map_err(sqlx::Error::Io)?;
        let mirror = recall(&store, &inventory, clock.now()).await?;
        let mut inventory = inventory;
        inventory.world.learned = context::recall(&store).await?.into();
        let inventory = Arc::new(inventory);
        let (decided, _) = broadcast::channel(BACKLOG);
        let counts = Counts::new()?;
        let control = Self(Arc::new(Shared {
            feed: Feed::new(mirror, settings.base_url(), settings.feed_fresh, epoch),
            high_water,
            accepted: OnceLock::new(),
            holds: Holds::new(counts.holds.clone()),
            devices: Devices::default(),
            inventory: ArcSwap::new(Arc::clone(&inventory)),
            configured: ArcSwap::new(Arc::clone(&inventory)),
            issuers: Issuers::new(clock.clone())?,
            outages: Outages::default(),
            flows: Flows::new(),
            vault: Vault::open(&settings.vault_key())?,
            limits: Limits::new(),
            guesses: Guesses::new(),
            refusals: Refusals::default(),
            pace: Pace::new(),
            party: Party::of(&settings.public_url, settings.attestation.clone()),
            nonces: Nonces::new(),
            exchanges: Exchanges::new(),
            outbox: Wakeup::default(),
            http: Http::trusting(None)?,
            lookups: Semaphore::new(LOOKUPS),
            explaining: Arc::new(Semaphore::new(1)),
            tracker_silent: AtomicBool::new(false),
            reconsider: Notify::new(),
            room: OnceLock::new(),
            closing: CancellationToken::new(),
            work: TaskTracker::new(),
            settings,
            clock,
            store,
            decided,
            counts,
            cuts: Pending::new(journal),
            unwritable: ArcSwapOption::empty(),
            postponed: ArcSwapOption::empty(),
        }));
        if let Some((why, known)) = lost {
            control.accept_rollback(why, known, epoch).await?;
        }
        control.0.counts.store_writable.set(1);
        control.merge(kept, KeptBy::Journal).await?;
        control.resume(inventory).await?;
        control.mark(marked).await?;
        Ok(control)
    }

    /// Ends what the last run left open, and decides again about all that is live.
    async fn resume(&self, inventory: Arc<Inventory>) -> Result<(), ControlError> {
        let doubtful = self.doubtful_recordings().await?;
        self.abandon_sessions().await?;
        self.sweep().await?;
        self.take(inventory).await?;
        self.spawn_reconcile(doubtful);
        Ok(())
    }

    /// Has `/health` say when there is no room for recordings. The first such watch counts.
    pub fn watch_room(&self, room: Arc<AtomicBool>) {
        let _ = self.0.room.set(room);
    }

    /// Whether there is room for recordings, as far as that is known here.
    pub(crate) fn has_room(&self) -> bool {
        self.0.room.get().is_none_or(|room| room.load(Ordering::Relaxed))
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

    /// Whom people can sign in with, by name.
    #[must_use]
    pub fn issuers(&self) -> Vec<policies::IssuerName> {
        self.0.inventory.load().issuers.keys().cloned().collect()
    }

    /// Now, by its clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Everything that speaks HTTP: the API and the pages.
    pub fn api(&self) -> axum::Router {
        crate::http::api::router(self.clone())
    }

    /// The service that proxies talk to.
    #[must_use]
    pub fn link_service(&self) -> ::link::v1::link_server::LinkServer<LinkService> {
        ::link::v1::link_server::LinkServer::new(LinkService::new(self.clone()))
    }

    /// Does work to its end, even where the one who asked for it has gone: a change is either
    /// published or was never committed.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, ControlError>> + Send + 'static,
    ) -> Result<T, ControlError> {
        let task = self.0.work.spawn(work.in_current_span());
        task.await.map_err(|_| ControlError::Broken)?
    }

    /// Reads recordings beside everything else: that may take as long as they are.
    fn spawn_reconcile(&self, doubtful: Doubtful) {
        let control = self.clone();
        self.0.work.spawn(async move {
            if let Err(error) = control.reconcile(doubtful).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "the register lacks what recordings prove; the next start tries again"
                );
            }
        });
    }

    /// Ends the streams, and waits until the work at hand is done.
    pub(crate) async fn close(&self) {
        self.0.closing.cancel();
        self.0.work.close();
        self.0.work.wait().await;
        self.0.high_water.save_in_background().await;
    }

    /// Sessions of the last run have no end if the process was killed, and nobody is left to tell
    /// it. A proxy that outlived control may still correct the assumed end by its report.
    async fn abandon_sessions(&self) -> Result<(), ControlError> {
        const DETAIL: &str = "the gateway stopped without saying so";
        let control = self.clone();
        self.to_the_end(async move {
            let mut change = control.change().await?;
            let now = change.now;
            let lost = store::sessions::abandon(change.db(), now, DETAIL).await?;
            for session in &lost {
                let detail = json!({ "end": UNKNOWN, "detail": DETAIL, "assumed": true });
                let event = Event::new(By::Control, "session.ended", session, detail);
                change.record(event).await?;
            }
            let detail = json!({ "sessions_without_end": lost.len() });
            let event = Event::new(By::Control, "control.opened", "control", detail);
            change.record(event).await?;
            change.commit().await.map(drop)
        })
        .await
    }
}

/// What proxies were told last, from the store.
async fn recall(
    store: &Store,
    inventory: &Inventory,
    now: Timestamp,
) -> Result<Mirror, ControlError> {
    let db = &mut *store.read().await?;
    let open = store::grants::open(db).await?;
    let leases = open.iter().filter_map(policies::Grant::lease);
    let locks = store::locks::all(db).await?.into_iter().map(|lock| {
        // Who is in a group is not what the store remembers.
        let members = inventory.locked_out(&lock.subject);
        policies::Lock { members, ..lock }
    });
    let since = Timestamp::from_millis(now.millis().saturating_sub(REMEMBERED.millis()));
    let most = i64::try_from(REMEMBERED_AT_MOST).unwrap_or(i64::MAX);
    let ended = store::grants::ended_since(db, since, most).await?;
    Ok(Mirror {
        revision: store::feed::revision(db).await?,
        leases: leases.map(|lease| (lease.grant.clone(), lease)).collect(),
        locks: locks.map(|lock| (lock.id.clone(), lock)).collect(),
        targets: inventory.targets.values().cloned().collect(),
        gone: ended
            .into_iter()
            .filter_map(|grant| match grant.state {
                policies::GrantState::Ended { at, end } => Some((at, grant.id, end)),
                policies::GrantState::Scheduled { .. }
                | policies::GrantState::Granted { .. }
                | policies::GrantState::Active { .. } => None,
            })
            .collect(),
        unsettled: Vec::new(),
    })
}
