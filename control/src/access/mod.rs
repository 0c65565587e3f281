//! Requests and grants, from the first ask to the last review.

pub(crate) mod ask;
pub(crate) mod edit;
pub(crate) mod explain;
pub(crate) mod extend;
pub(crate) mod grants;
pub(crate) mod input;
pub(crate) mod issue_grant;
pub(crate) mod lists;
pub(crate) mod load;
pub(crate) mod locks;
pub(crate) mod pending;
pub(crate) mod reconsider;
pub(crate) mod replay;
pub(crate) mod requests;
pub(crate) mod reviews;
pub(crate) mod rollback;
pub(crate) mod step_up;
pub(crate) mod sweep;
pub(crate) mod targets;
pub(crate) mod terms;
pub(crate) mod ticket_state;
pub(crate) mod tickets_hook;
pub(crate) mod transitions;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use tokio::sync::Semaphore;

use crate::identity::Identity;
use crate::kernel::Kernel;
use crate::model::high_water::AcceptedRollback;

/// How many trackers' answers are waited for at once, in the name of those who ask.
const LOOKUPS: usize = 16;

/// Who may have what. Copies are cheap and share everything.
#[derive(Clone)]
pub struct Access {
    pub(crate) kernel: Kernel,
    pub(crate) identity: Identity,
    pub(crate) own: Arc<State>,
}

/// What this layer alone uses.
pub(crate) struct State {
    /// How many are explained at once what the rules say.
    pub(crate) explaining: Arc<Semaphore>,
    /// How many tickets are looked up for somebody at once.
    pub(crate) lookups: Semaphore,
    /// Whether the tracker didn't answer the last time.
    pub(crate) tracker_silent: AtomicBool,
    /// What was done at this start about an older store.
    pub(crate) accepted: OnceLock<AcceptedRollback>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            explaining: Arc::new(Semaphore::new(1)),
            lookups: Semaphore::new(LOOKUPS),
            tracker_silent: AtomicBool::new(false),
            accepted: OnceLock::new(),
        }
    }
}
