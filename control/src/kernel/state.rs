//! What the kernel, a transaction and the hooks are: three types that name each other. What they do is in
//! `handle` and `transaction`.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use policies::{PrincipalId, RequestId, Timestamp};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::kernel::cuts::{Deed, Pending};
use crate::kernel::feed::{Feed, Mirror, News};
use crate::kernel::high_water::HighWater;
use crate::kernel::metrics::Counts;
use crate::kernel::rate_limit::RequestLimits;
use crate::kernel::refusals::Refusals;
use crate::model::error::ControlError;
use crate::model::event::Event;
use crate::model::high_water::Fact;
use crate::model::inventory::Inventory;
use crate::model::settings::Settings;
use crate::platform::clock::Clock;
use crate::platform::http_client::Http;
use crate::platform::vault::Vault;
use crate::store::journal::Journal;
use crate::store::{Store, WriteTransaction};

/// What every layer above works with. Copies are cheap and share everything.
#[derive(Clone)]
pub struct Kernel(pub(super) Arc<State>);

/// What the kernel is made of.
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    /// What is in force: the configuration, and the people whom issuers vouch for.
    pub(super) inventory: ArcSwap<Inventory>,
    /// What the configuration alone says.
    pub(super) configured: ArcSwap<Inventory>,
    /// The configuration that waits until the store can be written.
    pub(super) postponed: ArcSwapOption<Inventory>,
    pub(super) store: Store,
    /// What is known of the store outside of it.
    pub(super) high_water: HighWater,
    /// Access that was taken away and isn't written yet.
    pub(super) cuts: Pending,
    /// Since when the store can't be written, where it can't.
    pub(super) unwritable: ArcSwapOption<Timestamp>,
    pub(super) feed: Feed,
    /// Requests about which something was decided, once that is committed.
    pub(super) decided: broadcast::Sender<RequestId>,
    /// Another inventory is in force, so that the clock may matter at another time.
    pub(super) reconsider: Notify,
    /// Messages were put into the outbox.
    pub(super) outbox: Notify,
    pub(super) hooks: Box<dyn Hooks>,
    pub(super) vault: Vault,
    pub(super) refusals: Refusals,
    pub(super) request_limits: RequestLimits,
    pub(super) counts: Counts,
    /// What sources outside are asked with.
    pub(super) http: Http,
    /// Whether there is room for recordings, where that is known here.
    pub(super) room: OnceLock<Arc<AtomicBool>>,
    pub(super) closing: CancellationToken,
    pub(super) work: TaskTracker,
}

/// What a kernel begins with.
pub(crate) struct Opened {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    pub(crate) inventory: Inventory,
    pub(crate) store: Store,
    pub(crate) epoch: u64,
    pub(crate) high_water: HighWater,
    pub(crate) mirror: Mirror,
    pub(crate) journal: Journal,
    pub(crate) counts: Counts,
    pub(crate) hooks: Box<dyn Hooks>,
}

/// Work of a layer above, on its way.
pub(crate) type Work<'a> = Pin<Box<dyn Future<Output = Result<(), ControlError>> + Send + 'a>>;

/// The composition root implements it once, by the layers that it composes.
pub(crate) trait Hooks: Send + Sync {
    /// An event was recorded: puts the messages about it into the outbox.
    fn recorded<'a>(&'a self, tx: &'a mut Transaction, event: &'a Event) -> Work<'a>;

    /// Writes one deed of a cut that was made while the store could not be written.
    fn redo<'a>(&'a self, tx: &'a mut Transaction, deed: Deed) -> Work<'a>;

    /// Decides again about everybody's live access, or one person's.
    fn reconsider<'a>(
        &'a self,
        tx: &'a mut Transaction,
        whose: Option<&'a PrincipalId>,
    ) -> Work<'a>;

    /// Puts the configuration in force that waited until the store could be written.
    fn resume<'a>(&'a self, kernel: &'a Kernel, next: Arc<Inventory>) -> Work<'a>;
}

/// A change that isn't committed yet.
pub(crate) struct Transaction {
    /// Now: one instant for the whole change.
    pub(crate) now: Timestamp,
    /// The inventory that it is decided by.
    pub(crate) inventory: Arc<Inventory>,
    pub(super) kernel: Kernel,
    /// It holds the turn to write until the change is published.
    pub(super) db: WriteTransaction,
    /// What proxies hear of it once it is committed.
    pub(crate) news: News,
    /// The requests that it moves, and where they stand then.
    pub(crate) touched: Vec<(RequestId, &'static str)>,
    /// What it takes away.
    pub(super) deeds: Vec<Deed>,
    /// Whether there are messages for the sender.
    pub(super) has_messages: bool,
    /// What the high-water mark takes in, with the newest event, and whether before the answer.
    pub(super) facts: Vec<Fact>,
    pub(super) newest: Option<(i64, String)>,
    pub(super) takes_away: bool,
    /// The inventory to be in force from the commit on.
    pub(super) next: Option<Arc<Inventory>>,
    /// The configuration that it was made of, where it is another one.
    pub(super) configured: Option<Arc<Inventory>>,
    /// What else happens once it is committed.
    pub(super) on_commit: Vec<Box<dyn FnOnce() + Send>>,
}
