//! One transaction with its audit events, then its publication.
//!
//! A transaction holds the turn to write from its begin until it is published, so the feed publishes
//! changes in the order of their commits. Nothing is published before the commit, and a transaction that
//! is dropped leaves nothing. The one exception is access that is taken away
//! ([`Transaction::commit_cut`]): where the store fails, proxies hear of it all the same.

use std::sync::Arc;

use policies::{GrantId, PrincipalId, Target};
use sqlx::SqliteConnection;

use crate::kernel::Kernel;
use crate::kernel::cuts::{Deed, What};
use crate::kernel::feed::News;
use crate::kernel::high_water::may_wait;
use crate::kernel::state::Transaction;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::high_water::{Fact, Factor};
use crate::model::inventory::Inventory;
use crate::store;

impl Kernel {
    /// Begins a change, where the store can be written as far as is known.
    pub(crate) async fn begin(&self) -> Result<Transaction, ControlError> {
        self.must_be_writable()?;
        self.begin_anyway().await
    }

    /// Begins a change that takes access away, or that finds out whether the store can be written.
    pub(crate) async fn begin_anyway(&self) -> Result<Transaction, ControlError> {
        let db = self.0.store.begin().await?;
        let mut tx = Transaction {
            now: self.now(),
            inventory: self.0.inventory.load_full(),
            kernel: self.clone(),
            db,
            news: News::default(),
            touched: Vec::new(),
            deeds: Vec::new(),
            has_messages: false,
            facts: Vec::new(),
            newest: None,
            takes_away: false,
            next: None,
            configured: None,
            on_commit: Vec::new(),
        };
        tx.redo_cuts().await?;
        Ok(tx)
    }

    /// The feed's revision, once everything that is committed by now is published.
    pub(crate) async fn published_revision(&self) -> u64 {
        let _turn = self.0.store.turn().await;
        self.0.feed.revision()
    }
}

impl Transaction {
    pub(crate) fn db(&mut self) -> &mut SqliteConnection {
        self.db.db()
    }

    pub(crate) fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    pub(crate) async fn record(&mut self, event: Event) -> Result<(), ControlError> {
        #[cfg(test)]
        event.keeps_to_its_schema();
        self.newest = Some(store::audit::insert(self.db.db(), &event, self.now).await?);
        self.takes_away |= !may_wait(event.kind);
        let kernel = self.kernel.clone();
        kernel.0.hooks.recorded(self, &event).await
    }

    /// Keeps a fact outside of the database, too.
    pub(crate) fn keep_outside(&mut self, fact: Fact) {
        self.facts.push(fact);
    }

    /// Wakes the sender after the commit.
    pub(crate) fn wake_sender(&mut self) {
        self.has_messages = true;
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

    /// Keeps the configuration that the next inventory was made of.
    pub(crate) fn configured_by(&mut self, base: Arc<Inventory>) {
        self.configured = Some(base);
    }

    /// Has something happen right after the commit, before proxies hear of it.
    pub(crate) fn on_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.on_commit.push(Box::new(then));
    }

    /// The grants that proxies will hold no longer.
    pub(crate) fn ended(&self) -> impl Iterator<Item = &GrantId> {
        self.news.gone.iter().map(|(id, _)| id)
    }

    /// Notes that this takes access away, for [`Transaction::commit_cut`].
    pub(crate) fn cuts_off(&mut self, by: By, what: What) {
        self.deeds.push(Deed::new(by, what));
    }

    /// Forgets what there is to publish, which was published before, but for this.
    pub(crate) fn forget_news(&mut self, but: News) {
        let before = std::mem::replace(&mut self.news, but);
        self.facts.extend(before.locks.into_iter().map(Fact::Locked));
        self.deeds.clear();
    }

    /// Commits, then publishes: the revision by which the feed has it.
    pub(crate) async fn commit(mut self) -> Result<u64, ControlError> {
        let written = self.write_all().await?;
        Ok(self.publish(written).await)
    }

    /// Commits, then publishes. Where the store fails, what the change takes away is published and kept, and
    /// nothing else of it happens: then this is false.
    pub(crate) async fn commit_cut(mut self) -> Result<bool, ControlError> {
        match self.write_all().await {
            Ok(written) => {
                self.publish(written).await;
                Ok(true)
            }
            Err(error) if store::is_fault(&error) && !self.deeds.is_empty() => {
                let deeds = std::mem::take(&mut self.deeds);
                self.kernel.cut_now(self.now, deeds, error).await.map(|()| false)
            }
            Err(error) => Err(error),
        }
    }

    async fn write_all(&mut self) -> Result<Written, ControlError> {
        let published = self.kernel.0.feed.revision();
        let revision = if self.news.is_empty() {
            None
        } else {
            Some(store::feed::next_revision(self.db.db(), published).await?)
        };
        let pending = store::requests::count_pending(self.db.db()).await?;
        self.facts.extend(self.news.locks.iter().cloned().map(Fact::Locked));
        self.facts.extend(self.news.unlocked.iter().cloned().map(Fact::Lifted));
        self.db.commit().await?;
        Ok(Written { revision, pending })
    }

    async fn publish(self, Written { revision, pending }: Written) -> u64 {
        let shared = &self.kernel.0;
        shared.high_water.note(self.facts, self.newest, self.now);
        if self.news.settled {
            shared.cuts.settle();
            self.kernel.count_cuts();
        }
        if let Some(next) = self.next {
            shared.inventory.store(next);
            shared.reconsider.notify_one();
        }
        if let Some(configured) = self.configured {
            shared.configured.store(configured);
        }
        for then in self.on_commit {
            then();
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
        if self.has_messages {
            shared.outbox.notify_one();
        }
        shared.counts.requests_pending.set(pending);
        shared.counts.grants_live.set(i64::try_from(shared.feed.live()).unwrap_or(i64::MAX));
        let published = shared.feed.revision();
        // Proxies know by now. Whoever asked hears of it once no older store can undo it unnoticed.
        if self.takes_away {
            shared.high_water.save_in_background().await;
        }
        drop(self.db);
        published
    }

    /// Decides again about everybody's live access, or one person's.
    pub(crate) async fn reconsider(
        &mut self,
        whose: Option<&PrincipalId>,
    ) -> Result<(), ControlError> {
        let kernel = self.kernel().clone();
        kernel.0.hooks.reconsider(self, whose).await
    }

    /// Remembers, outside of the database too, that a key is gone.
    pub(crate) fn removed_factor(&mut self, factor: Factor) {
        let fact = Fact::removed(factor, self.now);
        self.keep_outside(fact);
    }
}

/// What a commit is known by.
struct Written {
    /// The feed's next revision, where there is something to tell.
    revision: Option<u64>,
    /// How many requests wait.
    pending: i64,
}
