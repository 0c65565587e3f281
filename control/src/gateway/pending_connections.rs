//! Connections that wait for a person: bounded in number, each with a code while nobody knows whose
//! it is.
//!
//! A hold lives in memory and exactly as long as its connection's call: when the call is dropped,
//! its code is dead. A code is good in the first login session that reads it, and in no other. A
//! confirmation takes the hold's only answer out, so that one wins.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policies::{Digest, LoginId, PrincipalId, StepUp, StepUpId, Ticket, Timestamp};
use prometheus::IntGauge;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use crate::access::requests::{REASON_MAX, check_text};
use crate::access::step_up;
use crate::gateway::Gateway;
use crate::model::actor::Actor;
use crate::model::error::{ControlError, Rejection};
use crate::model::event::Event;
use crate::model::view::HoldView;
use crate::platform::ids;
use accept::network;

const ANOTHER: &str = "this isn't the connection that you looked at: look again";
/// How many wait at once.
const MOST: usize = 10_000;
/// How many of one network wait at once; addresses can stand for whole offices.
const MOST_EACH: usize = 100;

/// All that wait.
pub(crate) struct Holds {
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

struct Hold {
    view: HoldView,
    /// The first login session that read it, which alone may go on.
    reader: Option<LoginId>,
    answer: oneshot::Sender<Answer>,
}

impl Hold {
    fn may_be_read(&self, actor: &Actor) -> bool {
        let owner = self.view.principal.as_ref();
        owner.is_none_or(|owner| *owner == actor.principal.id)
            && self.reader.as_ref().is_none_or(|reader| *reader == actor.login)
    }
}

/// What somebody says of their waiting connection on its page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// The ticket that it is for.
    pub ticket: Option<Ticket>,
    /// Why.
    pub reason: String,
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

impl Holds {
    pub(crate) fn new(waiting: IntGauge) -> Self {
        let table = Arc::default();
        Self { table, waiting }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// Where too many wait, in all or of this network.
    pub(crate) fn enter(&self, source: Option<IpAddr>) -> Result<Place, ControlError> {
        let source = source.map(network);
        let mut table = lock(&self.table);
        let each = table.each.get(&source).copied().unwrap_or_default();
        if table.waiting >= MOST || each >= MOST_EACH {
            return Err(ControlError::Busy);
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
    fn waits(&self, id: &str, now: Timestamp) -> bool {
        let table = lock(&self.table);
        let mut holds = table.by_code.values();
        holds.any(|hold| hold.view.id == id && now < hold.view.expires_at)
    }

    /// What waits under this code, for whom it may be: from then on it is their login session's. To
    /// all others it is as if there were none.
    fn view(&self, code: &str, actor: &Actor, now: Timestamp) -> Result<HoldView, ControlError> {
        let mut table = lock(&self.table);
        let hold = table.by_code.get_mut(code).filter(|hold| now < hold.view.expires_at);
        let own = hold.filter(|hold| hold.may_be_read(actor));
        let hold = own.ok_or(ControlError::NotFound("code of a waiting connection"))?;
        hold.reader = Some(actor.login.clone());
        Ok(hold.view.clone())
    }

    /// Writes what it is for, if it is still the one that was looked at.
    fn say(&self, code: &str, view: &HoldView, said: Said) -> Result<HoldView, ControlError> {
        let mut table = lock(&self.table);
        let hold = table.by_code.get_mut(code).filter(|hold| hold.view == *view);
        let hold = hold.ok_or(ControlError::NotFound("code of a waiting connection"))?;
        let Said { ticket, reason } = said;
        hold.view = HoldView { ticket, reason, ..hold.view.clone() };
        hold.view.digest = digest(&hold.view);
        Ok(hold.view.clone())
    }

    /// Takes the hold out, if it is still the one that was looked at: nobody else can any more.
    fn take(&self, code: &str, view: &HoldView) -> Result<Hold, ControlError> {
        let mut table = lock(&self.table);
        let same = table.by_code.get(code).is_some_and(|hold| hold.view == *view);
        let taken = same.then(|| table.by_code.remove(code)).flatten();
        taken.ok_or(ControlError::NotFound("code of a waiting connection"))
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
        // Lengths keep two different holds from running together into one text.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    ids::hex(&hash.finalize()).into()
}

impl Gateway {
    /// Whether a connection of this public name waits. It says nothing about the connection.
    #[must_use]
    pub fn hold_waits(&self, id: &str) -> bool {
        self.own.holds.waits(id, self.kernel.now())
    }

    /// The waiting connection of a code that somebody typed.
    ///
    /// # Errors
    /// Where there is none, or the actor looks too often.
    pub async fn hold_by_code(&self, actor: &Actor, code: &str) -> Result<HoldView, ControlError> {
        Ok(self.held(actor, code).await?.1)
    }

    /// What waits under a code that somebody gave, and the code as it is kept. A code under which nothing
    /// waits for them is a guess, and told of.
    async fn held(&self, actor: &Actor, code: &str) -> Result<(String, HoldView), ControlError> {
        self.identity.limits().code(&actor.principal.id)?;
        let held = ids::read_code(code).and_then(|code| {
            let view = self.own.holds.view(&code, actor, self.kernel.now()).ok()?;
            Some((code, view))
        });
        match held {
            Some(held) => Ok(held),
            None => self.identity.mistyped(actor, "code of a waiting connection").await,
        }
    }

    /// Confirms that a waiting connection is the actor's own. It goes on in their name.
    ///
    /// # Errors
    /// Where it is gone or another's, reads otherwise than the digest says, takes a step-up that
    /// wasn't given, or the actor is locked.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn confirm(
        &self,
        actor: &Actor,
        code: &str,
        digest: Digest,
        step_up: Option<StepUpId>,
    ) -> Result<HoldView, ControlError> {
        let (code, _) = self.held(actor, code).await?;
        let (gateway, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let confirmed = gateway.confirmed(&actor, &code, (&digest, step_up.as_ref())).await;
                gateway.access.audited(&actor, confirmed).await
            })
            .await
    }

    async fn confirmed(
        &self,
        actor: &Actor,
        code: &str,
        (digest, step_up): (&Digest, Option<&StepUpId>),
    ) -> Result<HoldView, ControlError> {
        let shown = self.own.holds.view(code, actor, self.kernel.now())?;
        if let Some(unsaid) = self.access.lacks(actor, &shown).await? {
            return Err(Rejection::Unsaid(unsaid).into());
        }
        let mut tx = self.kernel.begin().await?;
        tx.acting(actor)?;
        let looked_at = self.own.holds.view(code, actor, tx.now)?;
        if looked_at.digest != *digest {
            return Err(ControlError::Conflict(ANOTHER.to_owned()));
        }
        let step_up = crate::access::step_up::for_hold(&mut tx, actor, &looked_at, step_up).await?;
        let Hold { view, answer, .. } = self.own.holds.take(code, &looked_at)?;
        let detail = json!({
            "resource": view.resource.to_string(), "client": view.client,
            "application": view.application, "digest": digest, "reason": view.reason,
            "ticket": view.ticket,
            "step_up": step_up.as_ref().map(step_up::told),
        });
        tx.record(Event::new(actor, "hold.confirmed", &view.id, detail)).await?;
        tx.commit().await?;
        let answered = Answer { actor: actor.clone(), touch: step_up, view: view.clone() };
        answer
            .send(answered)
            .map_err(|_| ControlError::NotFound("code of a waiting connection"))?;
        Ok(view)
    }

    /// Says what a waiting connection is for, as its client had no way to: it reads otherwise from
    /// then on, and is confirmed as it reads.
    ///
    /// # Errors
    /// Where it is gone or another's, or reads otherwise than the digest says by now, or the actor tries too
    /// often.
    pub async fn say(
        &self,
        actor: &Actor,
        code: &str,
        digest: &Digest,
        said: Said,
    ) -> Result<HoldView, ControlError> {
        check_text("a reason", &said.reason, REASON_MAX)?;
        let (code, looked_at) = self.held(actor, code).await?;
        if looked_at.digest != *digest {
            return Err(ControlError::Conflict(ANOTHER.to_owned()));
        }
        self.own.holds.say(&code, &looked_at, said)
    }
}
