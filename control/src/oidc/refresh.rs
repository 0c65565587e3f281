//! Asking issuers again about the people they vouched for, in the background.
//!
//! Each person comes up every `refresh` of their issuer. Whoever it no longer vouches for loses what
//! followed from its word in one transaction; so does, in part, whoever's groups changed. An issuer
//! that can't be asked is left alone for a while, and its word holds for `refresh_grace` more.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream;
use policies::{IssuerName, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::exchange::Asking;
use super::people::{TABLE, holds_until, row};
use super::{Issuer, Refusal, Vouched};
use crate::audit::{By, Event};
use crate::store::issuers::{self as table, Due, Standing};
use crate::{Control, ControlError};

const EVERY: Ttl = Ttl::from_millis(500);
/// After a failure, a person comes up again so much later.
const RETRY: Ttl = Ttl::from_secs(30);
/// How many are asked about in one round, and how many of them at once.
const BATCH: i64 = 256;
const AT_ONCE: usize = 4;

/// Issuers that couldn't be asked the last time, so that an outage is told once.
#[derive(Default)]
pub(crate) struct Outages(Mutex<BTreeSet<IssuerName>>);

impl Outages {
    /// Whether this is news.
    fn set(&self, issuer: &IssuerName, out: bool) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if out { known.insert(issuer.clone()) } else { known.remove(issuer) }
    }
}

impl Control {
    /// Asks issuers again until `stop`.
    pub(crate) async fn keep_asking(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY.duration());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            if let Err(error) = self.ask_again().await {
                tracing::error!(error = &error as &dyn std::error::Error, "a refresh failed");
            }
        }
    }

    /// Asks about everybody who comes up by now, and lets lapse what nobody could renew.
    pub(crate) async fn ask_again(&self) -> Result<(), ControlError> {
        let inventory = self.0.inventory.load_full();
        for issuer in inventory.issuers.values() {
            self.ask_issuer(issuer).await?;
        }
        Ok(())
    }

    async fn ask_issuer(&self, issuer: &Issuer) -> Result<(), ControlError> {
        let now = self.now();
        let due = {
            let db = &mut *self.0.store.read().await?;
            table::due(db, &issuer.name, now, BATCH).await?
        };
        if due.is_empty() {
            return Ok(());
        }
        let issuer = Arc::new(issuer.clone());
        let asked = stream::iter(due).map(|due| self.ask_about(Arc::clone(&issuer), due));
        let mut asked = asked.buffer_unordered(AT_ONCE);
        while let Some(outcome) = asked.next().await {
            outcome?;
        }
        Ok(())
    }

    /// Asks about one person and writes down what comes of it, even where control is told to stop
    /// meanwhile: a refresh token is good once, and the next one must not get lost.
    async fn ask_about(&self, issuer: Arc<Issuer>, due: Due) -> Result<(), ControlError> {
        let control = self.clone();
        self.to_the_end(async move {
            let answer = control.answer(&issuer, &due).await;
            control.outage(&issuer, &answer).await?;
            control.conclude(&issuer, &due, answer).await
        })
        .await
    }

    async fn answer(&self, issuer: &Issuer, due: &Due) -> Result<Option<Vouched>, Refusal> {
        let Some(wrapped) = &due.refresh_token else { return Ok(None) };
        let token = self.0.vault.reveal(TABLE, &row(&issuer.name, &due.subject), wrapped);
        let token = token.map_err(ControlError::from)?;
        let token = String::from_utf8(token.expose_secret().to_vec());
        let token = SecretString::from(token.map_err(|_| Refusal::Strange("a token is no text"))?);
        let metadata = self.0.issuers.metadata(&issuer.url).await?;
        let callback = self.callback(&issuer.name);
        let asking = Asking::new(issuer, &self.0.issuers, &metadata, &callback)?;
        asking.again(&due.subject, &token).await.map(Some)
    }

    async fn conclude(
        &self,
        issuer: &Issuer,
        due: &Due,
        answer: Result<Option<Vouched>, Refusal>,
    ) -> Result<(), ControlError> {
        let mut change = self.change().await?;
        // They may have signed in meanwhile, and then the answer to an older token says nothing.
        if !table::is_current(change.db(), due).await? {
            return Ok(());
        }
        let askable = due.refresh_token.is_some();
        let sign_in = self.settings().sign_in.absolute;
        let lapsed = holds_until(issuer, due.vouched_at, askable, sign_in) <= change.now;
        let (name, subject) = (&issuer.name, due.subject.as_str());
        match answer {
            Ok(Some(vouched)) => change.learn(issuer, &vouched).await?,
            Err(Refusal::NoLongerVouched) => {
                let why = "the issuer no longer vouches for them";
                change.disown(name, subject, Standing::Refused, why).await?;
            }
            Err(refusal) if lapsed => {
                let why = format!("the issuer could not be asked for too long: {refusal}");
                change.disown(name, subject, Standing::Lapsed, &why).await?;
            }
            Ok(None) if lapsed => {
                let why = "their sign-in is over, and the issuer gave nothing to ask with";
                change.disown(name, subject, Standing::Lapsed, why).await?;
            }
            Ok(None) | Err(_) => {
                let next = change.now.after(RETRY.min(issuer.refresh));
                table::postpone(change.db(), name, subject, next).await?;
            }
        }
        change.commit().await.map(drop)
    }

    /// Tells once that an issuer can't be asked, and once that it can be again.
    async fn outage(
        &self,
        issuer: &Issuer,
        answer: &Result<Option<Vouched>, Refusal>,
    ) -> Result<(), ControlError> {
        let failure = match answer {
            Ok(Some(_)) | Err(Refusal::NoLongerVouched) => None,
            Err(out) if matches!(out, Refusal::Unavailable(_) | Refusal::Unreachable(_)) => {
                Some(out)
            }
            // It speaks, but of one person in a way that can't be used.
            Err(other) => {
                let error = other as &dyn std::error::Error;
                tracing::warn!(issuer = %issuer.name, error, "an answer about a person is of no use");
                return Ok(());
            }
            Ok(None) => return Ok(()),
        };
        if !self.0.outages.set(&issuer.name, failure.is_some()) {
            return Ok(());
        }
        let (kind, detail) = match failure {
            Some(refusal) => {
                let error = refusal as &dyn std::error::Error;
                tracing::warn!(issuer = %issuer.name, error, "an issuer can't be asked about people");
                let detail = json!({
                    "reason": refusal.code(), "detail": refusal.to_string(),
                    "grace": issuer.refresh_grace,
                });
                ("issuer.unavailable", detail)
            }
            None => ("issuer.available", json!({})),
        };
        let mut change = self.change().await?;
        change.record(Event::new(By::Control, kind, &issuer.name, detail)).await?;
        change.commit().await.map(drop)
    }
}
