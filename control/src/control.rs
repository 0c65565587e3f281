//! The composition root: opens the kernel, puts the layers on it, and lets time pass.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use policies::{PrincipalId, Timestamp, Ttl};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::access::rollback::Opening;
use crate::access::{Access, reconsider, replay};
use crate::evidence::Evidence;
use crate::evidence::reconcile::{Doubtful, UNKNOWN};
use crate::gateway::Gateway;
use crate::gateway::link::LinkService;
use crate::gateway::pending_connections::PendingConnections;
use crate::http::Control;
use crate::identity::Identity;
use crate::kernel::cuts::{Deed, KeptBy};
use crate::kernel::feed::{Mirror, REMEMBERED, REMEMBERED_AT_MOST};
use crate::kernel::metrics::Counts;
use crate::kernel::state::{Hooks, Transaction, Work};
use crate::kernel::{Kernel, Opened};
use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::settings::Settings;
use crate::notify::{Notifier, outbox};
use crate::platform::clock::Clock;
use crate::policy::context;
use crate::sources::Sources;
use crate::store::Store;
use crate::store::journal::Journal;
use crate::{access, gateway, http, identity, store};

const EVERY: Ttl = Ttl::from_millis(500);
/// Every so many rounds, holders are reminded of what ends soon.
const REMIND_EVERY: u32 = 20;
/// Every so many rounds, the old is forgotten.
const FORGET_EVERY: u32 = 1_200;

/// What the layers alone use: the kernel's hooks need it, and hold no kernel themselves.
#[derive(Clone)]
struct States {
    identity: Arc<identity::State>,
    access: Arc<access::State>,
}

impl States {
    fn on(&self, kernel: &Kernel) -> (Identity, Access, Sources) {
        let kernel = kernel.clone();
        let identity = Identity { kernel: kernel.clone(), own: Arc::clone(&self.identity) };
        let own = Arc::clone(&self.access);
        let access = Access { kernel: kernel.clone(), identity: identity.clone(), own };
        let sources = Sources { kernel, identity: identity.clone(), access: access.clone() };
        (identity, access, sources)
    }
}

impl Hooks for States {
    fn recorded<'a>(&'a self, tx: &'a mut Transaction, event: &'a Event) -> Work<'a> {
        Box::pin(outbox::notify(tx, event))
    }

    fn redo<'a>(&'a self, tx: &'a mut Transaction, deed: Deed) -> Work<'a> {
        Box::pin(replay::redo(tx, deed))
    }

    fn reconsider<'a>(
        &'a self,
        tx: &'a mut Transaction,
        whose: Option<&'a PrincipalId>,
    ) -> Work<'a> {
        Box::pin(async move {
            reconsider::review_requests(tx, whose).await?;
            reconsider::review_grants(tx, whose).await
        })
    }

    fn resume<'a>(&'a self, kernel: &'a Kernel, next: Arc<Inventory>) -> Work<'a> {
        let (_, _, sources) = self.on(kernel);
        Box::pin(async move { sources.take(next).await.map(drop) })
    }
}

impl Control {
    /// Opens the store and takes up where the last run stopped: what has expired meanwhile ends,
    /// grants are decided again, and sessions that were live then are marked as over.
    ///
    /// # Errors
    /// Where the store can't be used or went back in time, or the inventory contradicts itself.
    pub async fn open(
        settings: Settings,
        mut inventory: Inventory,
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
        inventory.context.learned = context::recall(&store).await?.into();
        let configured = Arc::new(inventory.clone());
        let counts = Counts::new()?;
        let pending = PendingConnections::new(counts.holds.clone());
        let identity = Arc::new(identity::State::new(&settings, &clock)?);
        let states = States { identity, access: Arc::default() };
        let hooks = Box::new(states.clone());
        let kernel = Kernel::new(Opened {
            settings,
            clock,
            inventory,
            store,
            epoch,
            high_water,
            mirror,
            journal,
            counts,
            hooks,
        })?;
        let control = Self::of(kernel, &states, pending);
        if let Some((why, known)) = lost {
            control.access.accept_rollback(why, known, epoch).await?;
        }
        control.kernel.counts().store_writable.set(1);
        control.kernel.merge(kept, KeptBy::Journal).await?;
        control.resume(configured).await?;
        control.access.mark(marked).await?;
        Ok(control)
    }

    /// The layers on this kernel.
    fn of(kernel: Kernel, states: &States, pending: PendingConnections) -> Self {
        let (identity, access, sources) = states.on(&kernel);
        let evidence = Evidence { kernel: kernel.clone() };
        let gateway = Gateway {
            kernel: kernel.clone(),
            identity: identity.clone(),
            access: access.clone(),
            evidence: evidence.clone(),
            own: Arc::new(gateway::State { pending }),
        };
        let notifier = Notifier { kernel: kernel.clone() };
        Self { kernel, identity, access, evidence, notifier, sources, gateway }
    }

    /// Ends what the last run left open, and decides again about all that is live.
    async fn resume(&self, inventory: Arc<Inventory>) -> Result<(), ControlError> {
        let doubtful = self.evidence.doubtful_recordings().await?;
        self.abandon_sessions().await?;
        self.access.sweep().await?;
        self.sources.take(inventory).await?;
        self.spawn_reconcile(doubtful);
        Ok(())
    }

    /// Has `/health` say when there is no room for recordings. The first such watch counts.
    pub fn watch_room(&self, room: Arc<AtomicBool>) {
        self.kernel.watch_room(room);
    }

    /// Everything that speaks HTTP: the API and the pages.
    pub fn api(&self) -> axum::Router {
        http::router::router(self.clone())
    }

    /// The service that proxies talk to.
    #[must_use]
    pub fn link_service(&self) -> ::link::v1::link_server::LinkServer<LinkService> {
        ::link::v1::link_server::LinkServer::new(LinkService::new(self.gateway.clone()))
    }

    /// Lets time pass until `stop`, then ends the streams and waits for the work at hand.
    pub async fn run(&self, stop: CancellationToken) {
        let sweeping = self.keep_sweeping(stop.clone());
        tokio::join!(
            sweeping,
            self.identity.keep_asking(stop.clone()),
            self.access.keep_reconsidering(stop.clone()),
            self.sources.keep_following(stop.clone()),
            self.sources.keep_following_tickets(stop.clone()),
            self.notifier.keep_telling(stop.clone()),
            self.kernel.keep_checking_store(stop),
        );
        if let Err(error) = self.kernel.summarise_refusals(true).await {
            tracing::error!(error = &error as &dyn std::error::Error, "refusals aren't recorded");
        }
        self.kernel.close().await;
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
            if self.kernel.must_be_writable().is_err() {
                continue;
            }
            if let Err(error) = self.access.sweep().await {
                tracing::error!(error = &error as &dyn std::error::Error, "a sweep failed");
            }
            self.kernel.high_water().save_in_background().await;
            if round.is_multiple_of(REMIND_EVERY)
                && let Err(error) = self.notifier.remind().await
            {
                tracing::error!(error = &error as &dyn std::error::Error, "nobody was reminded");
            }
            if round.is_multiple_of(FORGET_EVERY) {
                self.access.forget().await;
            }
            round = round.wrapping_add(1);
        }
    }

    /// Reads recordings beside everything else: that may take as long as they are.
    fn spawn_reconcile(&self, doubtful: Doubtful) {
        let evidence = self.evidence.clone();
        self.kernel.work().spawn(async move {
            if let Err(error) = evidence.reconcile(doubtful).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(
                    error,
                    "the register lacks what recordings prove; the next start tries again"
                );
            }
        });
    }

    /// Sessions of the last run have no end if the process was killed, and nobody is left to tell
    /// it. A proxy that outlived control may still correct the assumed end by its report.
    async fn abandon_sessions(&self) -> Result<(), ControlError> {
        const DETAIL: &str = "the gateway stopped without saying so";
        let kernel = self.kernel.clone();
        self.kernel
            .to_the_end(async move {
                let mut tx = kernel.begin().await?;
                let now = tx.now;
                let lost = store::sessions::abandon(tx.db(), now, DETAIL).await?;
                for session in &lost {
                    let detail = json!({ "end": UNKNOWN, "detail": DETAIL, "assumed": true });
                    let event = Event::new(By::Control, AuditKind::SessionEnded, session, detail);
                    tx.record(event).await?;
                }
                let detail = json!({ "sessions_without_end": lost.len() });
                let event = Event::new(By::Control, AuditKind::ControlOpened, "control", detail);
                tx.record(event).await?;
                tx.commit().await.map(drop)
            })
            .await
    }
}

/// What proxies received last, from the store.
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
