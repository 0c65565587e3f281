//! Connections that wait for a person: bounded in number, each with a code while nobody knows whose
//! it is.
//!
//! A hold lives in memory and exactly as long as its connection's call: when the call is dropped,
//! its code is dead. A code is good in the first login session that reads it, and in no other. A
//! confirmation takes the hold's only answer out, so that one wins.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use accept::network;
use policies::{Digest, LoginId, PrincipalId, StepUp, Ticket, Timestamp};
use prometheus::IntGauge;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use crate::model::actor::Actor;
use crate::model::error::{Refusal, TooMany};
use crate::model::waiting_connection::HoldView;
use crate::platform::ids;

pub(super) const ANOTHER: &str = "this isn't the connection that you looked at: look again";
/// How many wait at once.
const MOST: usize = 10_000;
/// How many of one network wait at once; addresses can stand for whole offices.
const MOST_EACH: usize = 100;

/// All that wait.
pub(crate) struct PendingConnections {
    table: Arc<Mutex<Table>>,
    waiting: IntGauge,
}

#[derive(Default)]
struct Table {
    waiting: usize,
    each: HashMap<Option<IpAddr>, usize>,
    by_code: HashMap<String, Hold>,
}

/// Who let it go on, with which touch, and what they read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) actor: Actor,
    pub(crate) touch: Option<StepUp>,
    pub(crate) view: HoldView,
}

pub(super) struct Hold {
    pub(super) view: HoldView,
    /// The first login session that read it, which alone may go on.
    reader: Option<LoginId>,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Hold {
    fn may_be_read(&self, actor: &Actor) -> bool {
        let owner = self.view.principal.as_ref();
        owner.is_none_or(|owner| *owner == actor.principal.id)
            && self.reader.as_ref().is_none_or(|reader| *reader == actor.login)
    }
}

/// A place among those that wait. Dropping it frees the place, and kills the code if it has one.
pub(crate) struct Place {
    table: Arc<Mutex<Table>>,
    waiting: IntGauge,
    /// The network that it is counted by.
    source: Option<IpAddr>,
    /// The code and the public name under which it waits.
    offered: Option<(String, String)>,
}

impl PendingConnections {
    pub(crate) fn new(waiting: IntGauge) -> Self {
        let table = Arc::default();
        Self { table, waiting }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Where too many wait, in all or of this network.
    pub(crate) fn enter(&self, source: Option<IpAddr>) -> Result<Place, Refusal> {
        let source = source.map(network);
        let mut table = lock(&self.table);
        let each = table.each.get(&source).copied().unwrap_or_default();
        if table.waiting >= MOST || each >= MOST_EACH {
            return Err(Refusal::TooMany(TooMany::Waiting));
        }
        table.waiting += 1;
        table.each.insert(source, each + 1);
        self.waiting.inc();
        Ok(Place {
            table: Arc::clone(&self.table),
            waiting: self.waiting.clone(),
            source,
            offered: None,
        })
    }

    /// Whether a connection of this public name waits for its code.
    pub(super) fn waits(&self, id: &str, now: Timestamp) -> bool {
        let table = lock(&self.table);
        let mut waiting = table.by_code.values();
        waiting.any(|hold| hold.view.id == id && now < hold.view.expires_at)
    }

    /// What waits under this code, for whom it may be: from then on it is their login session's. To
    /// all others it is as if there were none.
    pub(super) fn view(
        &self,
        code: &str,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<HoldView, Refusal> {
        let mut table = lock(&self.table);
        let hold = table.by_code.get_mut(code).filter(|hold| now < hold.view.expires_at);
        let own = hold.filter(|hold| hold.may_be_read(actor));
        let hold = own.ok_or(Refusal::NotFound("code of a waiting connection"))?;
        hold.reader = Some(actor.login.clone());
        Ok(hold.view.clone())
    }

    /// Writes what it is for, if it is still the one that was looked at.
    pub(super) fn say(&self, code: &str, view: &HoldView, said: Said) -> Result<HoldView, Refusal> {
        let mut table = lock(&self.table);
        let hold = table.by_code.get_mut(code).filter(|hold| hold.view == *view);
        let hold = hold.ok_or(Refusal::NotFound("code of a waiting connection"))?;
        let Said { ticket, reason } = said;
        hold.view = HoldView { ticket, reason, ..hold.view.clone() };
        hold.view.digest = digest(&hold.view);
        Ok(hold.view.clone())
    }

    /// Takes the hold out, if it is still the one that was looked at: nobody else can any more.
    pub(super) fn take(&self, code: &str, view: &HoldView) -> Result<Hold, Refusal> {
        let mut table = lock(&self.table);
        let same = table.by_code.get(code).is_some_and(|hold| hold.view == *view);
        let taken = same.then(|| table.by_code.remove(code)).flatten();
        taken.ok_or(Refusal::NotFound("code of a waiting connection"))
    }
}

impl Place {
    /// Waits under a fresh code: the code, and where the answer comes.
    pub(crate) fn offer(&mut self, view: HoldView) -> (String, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let mut table = lock(&self.table);
        let mut code = ids::fresh_code();
        while table.by_code.contains_key(&code) {
            code = ids::fresh_code();
        }
        self.offered = Some((code.clone(), view.id.clone()));
        table.by_code.insert(code.clone(), Hold { view, reader: None, answer });
        (code, answered)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut table = lock(&self.table);
        table.waiting = table.waiting.saturating_sub(1);
        if let Some(each) = table.each.get_mut(&self.source) {
            *each = each.saturating_sub(1);
        }
        if table.each.get(&self.source) == Some(&0) {
            table.each.remove(&self.source);
        }
        if let Some((code, id)) = &self.offered {
            let own = table.by_code.get(code).is_some_and(|hold| hold.view.id == *id);
            own.then(|| table.by_code.remove(code));
        }
        self.waiting.dec();
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The digest of what a confirmation confirms.
pub(crate) fn digest(view: &HoldView) -> Digest {
    let mut hash = Sha256::new();
    for part in [
        "postern hold v1",
        &view.id,
        view.principal.as_ref().map_or("", PrincipalId::as_str),
        &view.place.as_ref().map(ToString::to_string).unwrap_or_default(),
        &view.resource.to_string(),
        &view.client,
        &view.application,
        &view.ttl.map(|ttl| ttl.to_string()).unwrap_or_default(),
        &view.reason,
        view.ticket.as_ref().map_or("", Ticket::as_str),
        &view.asked_at.millis().to_string(),
    ] {
        // Lengths keep two different connections from running together into one text.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    ids::hex(&hash.finalize()).into()
}

/// What somebody says of their waiting connection on its page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The ticket that it is for.
    pub ticket: Option<Ticket>,
    /// Why.
    pub reason: String,
}
