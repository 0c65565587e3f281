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

use crate::kernel::feed::News;
use crate::model::error::ControlError;
use crate::model::event::By;
use crate::platform::ids;
use crate::platform::vault::Vault;
use crate::store;
use crate::store::journal::Journal;

/// How many are kept at most.
const MOST: usize = 4_096;
/// How many deeds go into one, so that each is small.
pub(super) const DEEDS: usize = 64;
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
    pub(super) id: String,
    pub(super) at: Timestamp,
    pub(super) deeds: Vec<Deed>,
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

    pub(super) fn news(&self, sealed: Vec<u8>) -> News {
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
    pub(super) fn unseal(vault: &Vault, sealed: &[u8]) -> Option<Self> {
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

    pub(super) fn all(&self) -> Vec<Cut> {
        self.state().cuts.clone()
    }

    pub(super) fn knows(&self, id: &str) -> bool {
        self.state().cuts.iter().any(|cut| cut.id == id)
    }

    pub(super) fn has_room(&self, more: usize) -> bool {
        self.state().cuts.len().saturating_add(more) <= MOST
    }

    pub(super) fn keep(&self, cut: Cut) {
        self.state().cuts.push(cut);
    }

    /// Writes a cut where it outlives this process, where that works.
    pub(super) fn journal(&self, sealed: &[u8]) {
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
