//! A change: one transaction with its audit events, then its publication.
//!
//! Whoever makes a change holds the turn to write from its begin until it is published, so the
//! feed tells changes in the order of their commits. Nothing is told before the commit, and a
//! change that is dropped has never been. The one exception is access that is taken away
//! ([`Change::commit_cut`]): where the store fails, proxies hear of it all the same.

use std::net::IpAddr;
use std::sync::Arc;

use policies::{
    Grant, GrantEvent, GrantId, GrantState, Grounds, Lock, LockId, Request, RequestId, Target,
    Ticket, Timestamp,
};
use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::identity::issuers::Trust;
use crate::kernel::control::Control;
use crate::kernel::cuts::{Deed, What};
use crate::kernel::feed::News;
use crate::kernel::high_water::{Fact, may_wait};
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::inventory::Inventory;
use crate::model::unusual::Unusual;
use crate::store;
use crate::store::Transaction;

/// A change in the making.
pub(crate) struct Change {
    /// Now: one instant for the whole change.
    pub(crate) now: Timestamp,
    /// The inventory that it is decided by.
    pub(crate) inventory: Arc<Inventory>,
    control: Control,
    /// It holds the turn to write until the change is published.
    db: Transaction,
    news: News,
    touched: Vec<(RequestId, &'static str)>,
    /// What it takes away.
    deeds: Vec<Deed>,
    /// Whether somebody is to be told something.
    letters: bool,
    /// What the high-water mark takes in, with the newest event, and whether before the answer.
    facts: Vec<Fact>,
    newest: Option<(i64, String)>,
    takes_away: bool,
    /// The inventory to be in force from the commit on.
    next: Option<Arc<Inventory>>,
    /// The configuration that it was made of, and whom that trusts, where it is another one.
    configured: Option<(Arc<Inventory>, Trust)>,
}

impl Control {
    /// Begins a change, where the store can be written as far as is known.
    pub(crate) async fn change(&self) -> Result<Change, ControlError> {
        self.must_be_writable()?;
        self.change_anyway().await
    }

    /// Begins a change that takes access away, or that finds out whether the store can be written.
    pub(crate) async fn change_anyway(&self) -> Result<Change, ControlError> {
        let db = self.0.store.begin().await?;
        let mut change = Change {
            now: self.now(),
            inventory: self.0.inventory.load_full(),
            control: self.clone(),
            db,
            news: News::default(),
            touched: Vec::new(),
            deeds: Vec::new(),
            letters: false,
            facts: Vec::new(),
            newest: None,
            takes_away: false,
            next: None,
            configured: None,
        };
        change.redo_cuts().await?;
        Ok(change)
    }

    /// The feed's revision, once everything that is committed by now has been told.
    pub(crate) async fn told(&self) -> u64 {
        let _turn = self.0.store.turn().await;
        self.0.feed.revision()
    }
}

impl Change {
    pub(crate) fn db(&mut self) -> &mut SqliteConnection {
        self.db.db()
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) async fn record(&mut self, event: Event) -> Result<(), ControlError> {
        self.newest = Some(store::audit::insert(self.db.db(), &event, self.now).await?);
        self.takes_away |= !may_wait(event.kind);
        self.tell(&event).await
    }

    /// Keeps a fact outside of the database, too.
    pub(crate) fn keep_outside(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    /// Wakes the sender after the commit.
    pub(crate) fn told_somebody(&mut self) {
        self.letters = true;
    }

    /// Takes a new request in.
    pub(crate) async fn add_request(
        &mut self,
        request: &Request,
        source: Option<IpAddr>,
        unusual: &Unusual,
    ) -> Result<(), ControlError> {
        let escalates_at = self.inventory.escalates_at(request);
        let beside = (source, unusual.risk, escalates_at);
        store::requests::insert(self.db.db(), request, beside).await?;
        let by = By::Principal(request.principal.clone());
        let needs: Vec<String> = request.terms.approvals.told();
        let facts = unusual.facts(request.judged_at(self.now), source).about(request);
        let facts = match self.inventory.person(&request.principal) {
            Ok(person) => self.inventory.informed(&person.principal, &facts),
            Err(_) => facts,
        };
        let detail = json!({
            "resource": request.subject(), "ttl": request.ttl, "reason": request.reason,
            "ticket": request.ticket, "act": request.act, "extends": request.extends,
            "starts_at": request.starts_at.map(|at| at.to_string()),
            "needs": needs, "rules": request.terms.rules, "digest": request.digest(),
            "source": source, "step_up": request.step_up, "unusual": unusual.told(),
            "terms": request.terms, "on_call": facts.on_call, "ticket_state": facts.ticket_state,
            "risk": unusual.risk,
        });
        let event = Event::new(by, "request.asked", &request.id, detail);
        self.record(event).await?;
        self.touch(request);
        Ok(())
    }

    /// Writes a request's next state.
    pub(crate) async fn put_request(
        &mut self,
        request: &Request,
        by: impl Into<By>,
        kind: &'static str,
        detail: Value,
    ) -> Result<(), ControlError> {
        let escalates_at = self.inventory.escalates_at(request);
        store::requests::update(self.db.db(), request, escalates_at).await?;
        self.record(Event::new(by, kind, &request.id, detail)).await?;
        self.touch(request);
        Ok(())
    }

    fn touch(&mut self, request: &Request) {
        let standing = (request.id.clone(), request.state.word());
        self.touched.push(standing);
    }

    /// Steps a grant, and tells of it where that changed anything.
    pub(crate) async fn step(
        &mut self,
        grant: &Grant,
        event: GrantEvent,
        by: impl Into<By>,
    ) -> Result<Grant, ControlError> {
        self.step_because(grant, event, by, None).await
    }

    /// The same, on the grounds of rules.
    pub(crate) async fn step_because(
        &mut self,
        grant: &Grant,
        event: GrantEvent,
        by: impl Into<By>,
        decided_by: Option<Grounds>,
    ) -> Result<Grant, ControlError> {
        let extended_by = match &event {
            GrantEvent::Extend { request, .. } => Some(request.clone()),
            GrantEvent::Use | GrantEvent::End(_) | GrantEvent::Tick => None,
        };
        let by = by.into();
        let next = grant.apply(event, self.now)?;
        if next == *grant {
            return Ok(next);
        }
        if let GrantState::Ended { end, .. } = &next.state {
            let what = What::Grant { grant: next.id.clone(), end: end.clone() };
            self.deeds.push(Deed::new(by.clone(), what));
        }
        store::grants::update(self.db.db(), &next).await?;
        let ends = next.deadline().map(|at| at.to_string());
        let (kind, detail) = match (&next.state, extended_by) {
            (GrantState::Ended { end, .. }, _) => {
                ("grant.ended", json!({ "end": end.code(), "detail": end.detail() }))
            }
            (_, Some(request)) => {
                let detail = json!({ "ends": ends, "request": request, "decided_by": decided_by });
                ("grant.extended", detail)
            }
            (GrantState::Scheduled { .. } | GrantState::Granted { .. }, None) => {
                ("grant.opened", json!({ "claim_by": ends }))
            }
            (GrantState::Active { .. }, None) => ("grant.used", json!({ "ends": ends })),
        };
        self.record(Event::new(by, kind, &next.id, detail)).await?;
        self.announce(&next).await?;
        Ok(next)
    }

    /// What proxies hear of a grant. An end takes the wish for a later one with it.
    async fn announce(&mut self, grant: &Grant) -> Result<(), ControlError> {
        self.news.leases.extend(grant.lease());
        if let GrantState::Ended { end, .. } = &grant.state {
            self.news.gone.push((grant.id.clone(), end.clone()));
            self.drop_extensions(grant).await?;
        }
        Ok(())
    }

    /// Takes a new grant in.
    pub(crate) async fn add_grant(
        &mut self,
        grant: &Grant,
        ticket: Option<&Ticket>,
        detail: Value,
    ) -> Result<(), ControlError> {
        store::grants::insert(self.db.db(), grant, ticket).await?;
        self.record(Event::new(By::Control, "grant.given", &grant.id, detail)).await?;
        self.news.leases.extend(grant.lease());
        Ok(())
    }

    pub(crate) async fn add_lock(&mut self, lock: &Lock) -> Result<(), ControlError> {
        self.add_lock_by(By::Principal(lock.by.clone()), lock).await
    }

    pub(crate) async fn add_lock_by(&mut self, by: By, lock: &Lock) -> Result<(), ControlError> {
        store::locks::insert(self.db.db(), lock).await?;
        self.deeds.push(Deed::new(by.clone(), What::Lock { lock: lock.clone() }));
        let detail = json!({
            "subject": lock.subject, "reason": lock.reason,
            "until": lock.until.map(|until| until.to_string()),
        });
        self.record(Event::new(by, "lock.set", &lock.id, detail)).await?;
        self.news.locks.push(lock.clone());
        Ok(())
    }

    pub(crate) async fn lift_lock(
        &mut self,
        id: &LockId,
        by: impl Into<By>,
    ) -> Result<(), ControlError> {
        if !store::locks::lift(self.db.db(), id, self.now).await? {
            return Err(ControlError::NotFound("lock"));
        }
        self.record(Event::new(by, "lock.lifted", id, json!({}))).await?;
        self.news.unlocked.push(id.clone());
        Ok(())
    }

    /// Puts another inventory in force with the commit.
    pub(crate) fn decide_by(&mut self, next: Arc<Inventory>) {
        let targets: Vec<Target> = next.targets.values().cloned().collect();
        self.news.targets = Some(targets);
        self.know(next);
    }

    /// Puts an inventory in force that differs in its people only, of which proxies know nothing.
    pub(crate) fn know(&mut self, next: Arc<Inventory>) {
        self.inventory = Arc::clone(&next);
        self.next = Some(next);
        let relocked = self.relocked();
        self.news.locks.extend(relocked);
    }

    /// Keeps the configuration that the next inventory was made of, and whom it trusts.
    pub(crate) fn configured_by(&mut self, base: Arc<Inventory>, trust: Trust) {
        self.configured = Some((base, trust));
    }

    /// The grants that proxies will hold no longer.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &GrantId> {
        self.news.gone.iter().map(|(id, _)| id)
    }

    /// Notes that this takes access away, for [`Change::commit_cut`].
    pub(crate) fn cuts_off(&mut self, by: By, what: What) {
        self.deeds.push(Deed::new(by, what));
    }

    /// Forgets what there is to tell, which was told before, but for this.
    pub(crate) fn forget_news(&mut self, but: News) {
        let told = std::mem::replace(&mut self.news, but);
        self.facts.extend(told.locks.into_iter().map(Fact::Locked));
        self.deeds.clear();
    }

    /// Commits, then tells: the revision by which the feed has told of it.
    pub(crate) async fn commit(mut self) -> Result<u64, ControlError> {
        let written = self.write_all().await?;
        Ok(self.publish(written).await)
    }

    /// Commits, then tells. Where the store fails, what the change takes away is told and kept, and
    /// nothing else of it happens: then this is false.
    pub(crate) async fn commit_cut(mut self) -> Result<bool, ControlError> {
        match self.write_all().await {
            Ok(written) => {
                self.publish(written).await;
                Ok(true)
            }
            Err(error) if store::is_fault(&error) && !self.deeds.is_empty() => {
                let deeds = std::mem::take(&mut self.deeds);
                self.control.cut_now(self.now, deeds, error).await.map(|()| false)
            }
            Err(error) => Err(error),
        }
    }

    async fn write_all(&mut self) -> Result<Written, ControlError> {
        let told = self.control.0.feed.revision();
        let revision = if self.news.is_empty() {
            None
        } else {
            Some(store::feed::next_revision(self.db.db(), told).await?)
        };
        let pending = store::requests::count_pending(self.db.db()).await?;
        self.facts.extend(self.news.locks.iter().cloned().map(Fact::Locked));
        self.facts.extend(self.news.unlocked.iter().cloned().map(Fact::Lifted));
        self.db.commit().await?;
        Ok(Written { revision, pending })
    }

    async fn publish(self, Written { revision, pending }: Written) -> u64 {
        let shared = &self.control.0;
        shared.high_water.note(self.facts, self.newest, self.now);
        if self.news.settled {
            shared.cuts.settle();
            self.control.count_cuts();
        }
        if let Some(next) = self.next {
            shared.inventory.store(next);
            shared.reconsider.notify_one();
        }
        if let Some((configured, trust)) = self.configured {
            shared.configured.store(configured);
            shared.issuers.trust_by(trust);
        }
        if let Some(revision) = revision {
            shared.feed.publish(self.news, revision, self.now);
        }
        for (id, outcome) in self.touched {
            if outcome != "pending" {
                shared.counts.requests.with_label_values(&[outcome]).inc();
            }
            // An error only says that nobody waits.
            let _ = shared.decided.send(id);
        }
        if self.letters {
            shared.outbox.wake();
        }
        shared.counts.requests_pending.set(pending);
        shared.counts.grants_live.set(i64::try_from(shared.feed.live()).unwrap_or(i64::MAX));
        let told = shared.feed.revision();
        // Proxies know by now. Whoever asked hears of it once no older store can undo it unnoticed.
        if self.takes_away {
            shared.high_water.save_in_background().await;
        }
        drop(self.db);
        told
    }
}

/// What a commit is known by.
struct Written {
    /// The feed's next revision, where there is something to tell.
    revision: Option<u64>,
    /// How many requests wait.
    pending: i64,
}
