//! Takes access away without the store, and writes it once the store can be written.

use policies::Timestamp;

use crate::kernel::Kernel;
use crate::kernel::cuts::{Cut, DEEDS, Deed, KeptBy, What};
use crate::kernel::feed::News;
use crate::kernel::state::Transaction;
use crate::model::error::ControlError;
use crate::store;

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
