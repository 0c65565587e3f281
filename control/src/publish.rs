//! A change: one transaction with its audit events, then its publication.
//!
//! Whoever makes a change holds the turn to write from its begin until it is published, so the
//! feed tells changes in the order of their commits. Nothing is told before the commit, and a
//! change that is dropped has never been.

use std::net::IpAddr;
use std::sync::Arc;

use policies::{
    Grant, GrantEvent, GrantId, GrantState, Lock, LockId, Request, RequestId, RequestState, Target,
    Timestamp,
};
use serde_json::{Value, json};
use sqlx::{Sqlite, SqliteConnection, Transaction};

use crate::audit::{By, Event};
use crate::feed::News;
use crate::issuers::Trust;
use crate::risk::Unusual;
use crate::store::{self, Turn};
use crate::{Control, ControlError, Inventory, ids};

/// A change in the making.
pub(crate) struct Change {
    /// Now: one instant for the whole change.
    pub(crate) now: Timestamp,
    /// The inventory that it is decided by.
    pub(crate) inventory: Arc<Inventory>,
    control: Control,
    db: Transaction<'static, Sqlite>,
    news: News,
    touched: Vec<(RequestId, &'static str)>,
    /// Whether somebody is to be told something.
    letters: bool,
    /// The inventory to be in force from the commit on.
    next: Option<Arc<Inventory>>,
    /// The configuration that it was made of, and whom that trusts, where it is another one.
    configured: Option<(Arc<Inventory>, Trust)>,
    turn: Turn,
}

impl Control {
    /// Begins a change.
    pub(crate) async fn change(&self) -> Result<Change, ControlError> {
        let (turn, db) = self.0.store.begin().await?;
        Ok(Change {
            now: self.now(),
            inventory: self.0.inventory.load_full(),
            control: self.clone(),
            db,
            news: News::default(),
            touched: Vec::new(),
            letters: false,
            next: None,
            configured: None,
            turn,
        })
    }

    /// The feed's revision, once everything that is committed by now has been told.
    pub(crate) async fn told(&self) -> u64 {
        let _turn = self.0.store.turn().await;
        self.0.feed.revision()
    }
}

impl Change {
    pub(crate) fn db(&mut self) -> &mut SqliteConnection {
        &mut self.db
    }

    pub(crate) fn control(&self) -> &Control {
        &self.control
    }

    pub(crate) async fn record(&mut self, event: Event) -> Result<(), ControlError> {
        store::audit::insert(&mut self.db, &event, self.now).await?;
        self.tell(&event).await
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
        store::requests::insert(&mut self.db, request, source, unusual.risk).await?;
        let by = By::Principal(request.principal.clone());
        let needs: Vec<String> = request.terms.approvals.told();
        let detail = json!({
            "resource": request.resource.to_string(), "ttl": request.ttl, "reason": request.reason,
            "ticket": request.ticket, "act": request.act,
            "needs": needs, "rules": request.terms.rules, "digest": request.digest(),
            "source": source, "step_up": request.step_up, "unusual": unusual.told(),
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
        store::requests::update(&mut self.db, request).await?;
        self.record(Event::new(by, kind, &request.id, detail)).await?;
        self.touch(request);
        Ok(())
    }

    fn touch(&mut self, request: &Request) {
        let standing = (request.id.clone(), request.state.word());
        self.touched.push(standing);
    }

    /// Gives the grant of a request whose terms are met.
    pub(crate) async fn give(&mut self, request: &Request) -> Result<Grant, ControlError> {
        let RequestState::Granted { approvals, .. } = &request.state else {
            return Err(ControlError::Conflict(format!(
                "the request is {}, not granted",
                request.state.word()
            )));
        };
        let grant = Grant {
            id: ids::fresh("gr")?,
            request: request.id.clone(),
            principal: request.principal.clone(),
            name: self.inventory.name(&request.principal),
            resource: request.resource.clone(),
            ttl: request.ttl,
            granted_at: self.now,
            state: GrantState::Granted {
                claim_by: self.now.after(self.control.settings().claim_within),
            },
        };
        store::grants::insert(&mut self.db, &grant).await?;
        let approvers: Vec<&str> = approvals.iter().map(|yes| yes.by.as_str()).collect();
        let detail = json!({
            "request": request.id, "principal": grant.principal,
            "resource": grant.resource.to_string(), "ttl": grant.ttl, "approved_by": approvers,
        });
        self.record(Event::new(By::Control, "grant.given", &grant.id, detail)).await?;
        self.news.leases.extend(grant.lease());
        Ok(grant)
    }

    /// Steps a grant, and tells of it where that changed anything.
    pub(crate) async fn step(
        &mut self,
        grant: &Grant,
        event: GrantEvent,
        by: impl Into<By>,
    ) -> Result<Grant, ControlError> {
        let next = grant.apply(event, self.now)?;
        if next == *grant {
            return Ok(next);
        }
        store::grants::update(&mut self.db, &next).await?;
        let (kind, detail) = match &next.state {
            GrantState::Ended { end, .. } => {
                self.news.gone.push((next.id.clone(), end.clone()));
                ("grant.ended", json!({ "end": end.code(), "detail": end.detail() }))
            }
            GrantState::Granted { .. } | GrantState::Active { .. } => {
                self.news.leases.extend(next.lease());
                ("grant.used", json!({ "ends": next.deadline().map(|at| at.to_string()) }))
            }
        };
        self.record(Event::new(by, kind, &next.id, detail)).await?;
        Ok(next)
    }

    pub(crate) async fn add_lock(&mut self, lock: &Lock) -> Result<(), ControlError> {
        store::locks::insert(&mut self.db, lock).await?;
        let detail = json!({
            "subject": lock.subject, "reason": lock.reason,
            "until": lock.until.map(|until| until.to_string()),
        });
        let by = By::Principal(lock.by.clone());
        self.record(Event::new(by, "lock.set", &lock.id, detail)).await?;
        self.news.locks.push(lock.clone());
        Ok(())
    }

    pub(crate) async fn lift_lock(
        &mut self,
        id: &LockId,
        by: impl Into<By>,
    ) -> Result<(), ControlError> {
        if !store::locks::lift(&mut self.db, id, self.now).await? {
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
    }

    /// Keeps the configuration that the next inventory was made of, and whom it trusts.
    pub(crate) fn configured_by(&mut self, base: Arc<Inventory>, trust: Trust) {
        self.configured = Some((base, trust));
    }

    /// The grants that proxies will hold no longer.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &GrantId> {
        self.news.gone.iter().map(|(id, _)| id)
    }

    /// Commits, then tells: the revision by which the feed has told of it.
    pub(crate) async fn commit(mut self) -> Result<u64, ControlError> {
        let revision = if self.news.is_empty() {
            None
        } else {
            Some(store::feed::next_revision(&mut self.db).await?)
        };
        let pending = store::requests::count_pending(&mut self.db).await?;
        self.db.commit().await?;
        let shared = &self.control.0;
        if let Some(next) = self.next {
            shared.inventory.store(next);
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
        drop(self.turn);
        Ok(told)
    }
}
