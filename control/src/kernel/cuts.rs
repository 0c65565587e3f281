//! What takes access away while the store can't be written.
//!
//! A revocation can only take access away. So where the store fails at its commit, it goes out to the
//! proxies all the same, and is kept here, in a [`crate::store::journal`], and by the proxies until the
//! store has it. Every change begins by writing what is kept, in its order and with its own times: no
//! later write can come before it, and nothing is decided without it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use policies::{End, Grant, GrantEvent, GrantId, Lock, LoginId, Timestamp};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::kernel::Kernel;
use crate::kernel::feed::News;
use crate::kernel::transaction::Transaction;
use crate::model::error::ControlError;
use crate::model::event::By;
use crate::platform::ids;
use crate::platform::vault::Vault;
use crate::store;
use crate::store::journal::Journal;

/// How many are kept at most.
const MOST: usize = 4_096;
/// How many deeds go into one, so that each is small.
const DEEDS: usize = 64;
/// What seals are bound to.
const SEALED: (&str, &str) = ("cuts", "");

/// A value that is in force, and whether the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce<T> {
    /// What it is about.
    pub value: T,
    /// Whether it is written. Otherwise it is kept until the store can be written again.
    pub durable: bool,
}

/// Access that was taken away.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cut {
    id: String,
    at: Timestamp,
    deeds: Vec<Deed>,
}

/// One step of it, and who took it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Deed {
    pub(crate) by: By,
    pub(crate) what: What,
}

/// What was taken away.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Grant { grant: GrantId, end: End },
    Lock { lock: Lock },
    Login { login: LoginId, why: String },
    SshKey { key: String },
}

/// Who kept a cut that the store may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeptBy {
    Journal,
    Proxy,
}

/// The cuts that the store doesn't have yet. They change only while the turn to write is held.
pub(crate) struct Pending(Mutex<State>);

struct State {
    cuts: Vec<Cut>,
    journal: Journal,
}

impl Deed {
    pub(crate) fn new(by: By, what: What) -> Self {
        Self { by, what }
    }
}

impl Cut {
    pub(crate) fn new(at: Timestamp, deeds: Vec<Deed>) -> Self {
        Self { id: ids::fresh_text("cut"), at, deeds }
    }

    fn news(&self, sealed: Vec<u8>) -> News {
        let mut news = News { unsettled: vec![sealed], ..News::default() };
        for deed in &self.deeds {
            match &deed.what {
                What::Grant { grant, end } => news.gone.push((grant.clone(), end.clone())),
                What::Lock { lock } => news.locks.push(lock.clone()),
                What::Login { .. } | What::SshKey { .. } => {}
            }
        }
        news
    }

    pub(crate) fn seal(&self, vault: &Vault) -> Result<Vec<u8>, ControlError> {
        let (table, row) = SEALED;
        Ok(vault.wrap(table, row, store::to_json(self)?.as_bytes())?)
    }

    /// What was sealed here; nothing where somebody else made it.
    fn unseal(vault: &Vault, sealed: &[u8]) -> Option<Self> {
        let (table, row) = SEALED;
        let opened = vault.reveal(table, row, sealed);
        let read = opened.ok().and_then(|text| serde_json::from_slice(text.expose_secret()).ok());
        if read.is_none() {
            tracing::warn!("a cut that is not of this gateway's making is ignored");
        }
        read
    }
}

impl Pending {
    pub(crate) fn new(journal: Journal) -> Self {
        Self(Mutex::new(State { cuts: Vec::new(), journal }))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.state().cuts.len()
    }

    /// Whether this login session was ended.
    pub(crate) fn has_ended(&self, id: &LoginId) -> bool {
        self.any(|what| matches!(what, What::Login { login, .. } if login == id))
    }

    /// A grant as it is once the store has what is kept here.
    pub(crate) fn apply_to(&self, grant: Grant) -> Grant {
        let state = self.state();
        let deeds = state.cuts.iter().flat_map(|cut| cut.deeds.iter().map(|deed| (cut.at, deed)));
        let mut ended = deeds.filter_map(|(at, deed)| match &deed.what {
            What::Grant { grant: id, end } if *id == grant.id => {
                grant.apply(GrantEvent::End(end.clone()), at).ok()
            }
            What::Grant { .. } | What::Lock { .. } | What::Login { .. } | What::SshKey { .. } => {
                None
            }
        });
        ended.next().unwrap_or(grant)
    }

    fn any(&self, is_it: impl Fn(&What) -> bool) -> bool {
        let state = self.state();
        state.cuts.iter().flat_map(|cut| &cut.deeds).any(|deed| is_it(&deed.what))
    }

    fn all(&self) -> Vec<Cut> {
        self.state().cuts.clone()
    }

    fn knows(&self, id: &str) -> bool {
        self.state().cuts.iter().any(|cut| cut.id == id)
    }

    fn has_room(&self, more: usize) -> bool {
        self.state().cuts.len().saturating_add(more) <= MOST
    }

    fn keep(&self, cut: Cut) {
        self.state().cuts.push(cut);
    }

    /// Writes a cut where it outlives this process, where that works.
    fn journal(&self, sealed: &[u8]) {
        if let Err(error) = self.state().journal.append(sealed) {
            tracing::error!(%error, "a cut is in memory only: a restart now would lose it");
        }
    }

    /// The store has them all.
    pub(crate) fn settle(&self) {
        let mut state = self.state();
        state.cuts.clear();
        if let Err(error) = state.journal.clear() {
            // What it still holds is known to the store by the next start, and is ignored.
            tracing::warn!(%error, "the journal of cuts can't be cleared");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kernel {
    /// Takes in what a journal or a proxy kept of an earlier run. What the store doesn't have is in
    /// force at once, and is written with the next change.
    pub(crate) async fn merge(
        &self,
        sealed: Vec<Vec<u8>>,
        from: KeptBy,
    ) -> Result<(), ControlError> {
        if sealed.is_empty() {
            return Ok(());
        }
        let kernel = self.clone();
        self.to_the_end(async move {
            let _turn = kernel.0.store.turn().await;
            for sealed in sealed {
                kernel.take_cut(sealed, from).await;
            }
            kernel.0.store.suspect();
            Ok(())
        })
        .await
    }

    async fn take_cut(&self, sealed: Vec<u8>, from: KeptBy) {
        let Some(cut) = Cut::unseal(&self.0.vault, &sealed) else { return };
        let pending = &self.0.cuts;
        if pending.knows(&cut.id) || !pending.has_room(1) {
            return;
        }
        match self.has_all(&cut).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the store can't say whether it has a cut: it is made again"
                );
            }
        }
        tracing::warn!(cut = cut.id, "access was taken away before, and the store did not have it");
        if from == KeptBy::Proxy {
            pending.journal(&sealed);
        }
        self.announce_cut(cut, sealed);
    }

    /// Cuts without the store: proxies hear of it now, and it is written as soon as that works. The
    /// caller holds the turn to write.
    pub(crate) async fn cut_now(
        &self,
        at: Timestamp,
        deeds: Vec<Deed>,
        error: ControlError,
    ) -> Result<(), ControlError> {
        let parts: Vec<&[Deed]> = deeds.chunks(DEEDS).collect();
        if !self.0.cuts.has_room(parts.len()) {
            return Err(error);
        }
        let mut all = Vec::with_capacity(parts.len());
        for deeds in parts {
            let cut = Cut::new(at, deeds.to_vec());
            let sealed = cut.seal(&self.0.vault)?;
            all.push(sealed.clone());
            self.announce_cut(cut, sealed);
        }
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "access is taken away now, and will be written when the store can be"
        );
        self.0.store.suspect();
        let kernel = self.clone();
        let journaling = tokio::task::spawn_blocking(move || {
            all.iter().for_each(|sealed| kernel.0.cuts.journal(sealed));
        });
        // The turn is held until here: nobody settles what is still on its way into the journal.
        let _ = journaling.await;
        Ok(())
    }

    /// Tells proxies of a cut without the store. The caller holds the turn to write.
    fn announce_cut(&self, cut: Cut, sealed: Vec<u8>) {
        let feed = &self.0.feed;
        let news = cut.news(sealed);
        feed.publish(news, feed.revision() + 1, self.now());
        self.0.cuts.keep(cut);
        self.count_cuts();
    }

    /// Whether the store has all of this.
    async fn has_all(&self, cut: &Cut) -> Result<bool, ControlError> {
        let db = &mut *self.0.store.read().await?;
        for deed in &cut.deeds {
            let has = match &deed.what {
                What::Grant { grant, .. } => {
                    let found = store::grants::find(db, grant).await?;
                    found.is_none_or(|grant| grant.deadline().is_none())
                }
                What::Lock { lock } => store::locks::exists(db, &lock.id).await?,
                What::Login { login, .. } => {
                    let found = store::logins::find(db, login).await?;
                    found.is_none_or(|login| login.ended.is_some())
                }
                What::SshKey { key } => store::ssh_keys::find(db, key).await?.is_none(),
            };
            if !has {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Transaction {
    /// Writes what the store doesn't have yet, before anything else.
    pub(crate) async fn redo_cuts(&mut self) -> Result<(), ControlError> {
        let cuts = self.kernel().0.cuts.all();
        if cuts.is_empty() {
            return Ok(());
        }
        let now = self.now;
        for cut in cuts {
            self.now = cut.at;
            for deed in cut.deeds {
                let kernel = self.kernel().clone();
                match kernel.0.hooks.redo(self, deed).await {
                    Err(error) if store::is_fault(&error) => return Err(error),
                    // Nothing is left to take away, or never was.
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(error, cut = cut.id, "a part of a cut is not written");
                    }
                    Ok(()) => {}
                }
            }
        }
        self.now = now;
        self.forget_news(News { settled: true, ..News::default() });
        Ok(())
    }
}
