//! Asking issuers again about the people they vouched for, in the background.
//!
//! Each person comes up every `refresh` of their issuer. Whoever it no longer vouches for loses what
//! followed from its word in one transaction; so does, in part, whoever's groups changed. Each issuer
//! has a round of its own. One that can't be asked ends its round at once and is left alone for a
//! while, and its word holds for `refresh_grace` more.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use policies::{IssuerName, Ttl};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::exchange::Asking;
use super::people::{TABLE, lapsed_since, row};
use crate::identity::Identity;
use crate::identity::oidc::people;
use crate::identity::oidc::refusal::OidcRefusal;
use crate::identity::oidc::vouched::Vouched;
use crate::model::audit_kind::AuditKind;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::issuer::Issuer;
use crate::store::issuers as table;
use crate::store::issuers::{Due, Standing};

const EVERY: Ttl = Ttl::from_millis(500);
/// After a failure, a person comes up again so much later.
const RETRY: Ttl = Ttl::from_secs(30);
/// How many are asked about in one round, and how many of them at once.
const BATCH: i64 = 256;
const AT_ONCE: usize = 4;

/// What came of asking about one person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    /// The issuer's word, one way or the other.
    Word,
    /// Nothing that says anything of the issuer as a whole.
    Nothing,
    /// It can't be asked about anybody just now.
    Outage,
}

impl Answered {
    fn of(answer: &Result<Option<Vouched>, OidcRefusal>) -> Self {
        match answer {
            Ok(Some(_)) | Err(OidcRefusal::NoLongerVouched) => Self::Word,
            Err(OidcRefusal::Unavailable(_) | OidcRefusal::Unreachable(_)) => Self::Outage,
            // It speaks, but of this person in a way that can't be used.
            Ok(None) | Err(_) => Self::Nothing,
        }
    }
}

/// The rounds under way: one for each issuer at most, so that none waits for another.
#[derive(Default)]
pub(super) struct Rounds {
    tasks: JoinSet<()>,
    of: BTreeMap<IssuerName, AbortHandle>,
}

impl Rounds {
    /// Begins a round with every issuer that has none.
    pub(super) fn begin(&mut self, identity: &Identity) {
        while self.tasks.try_join_next().is_some() {}
        self.of.retain(|_, round| !round.is_finished());
        let inventory = identity.kernel.inventory();
        for issuer in inventory.issuers.values() {
            if self.of.contains_key(&issuer.name) {
                continue;
            }
            let (identity, issuer) = (identity.clone(), Arc::new(issuer.clone()));
            let name = issuer.name.clone();
            let round = self.tasks.spawn(async move { identity.ask_issuer(&issuer).await });
            self.of.insert(name, round);
        }
    }
}

impl Identity {
    /// Asks issuers again until `stop`.
    pub(crate) async fn keep_asking(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY.duration());
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = Rounds::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => rounds.begin(self),
            }
        }
    }

    /// Asks an issuer about everybody who comes up by now, up to its first outage: then it lets lapse
    /// what could not be renewed in time. An error about one person is theirs alone.
    pub(super) async fn ask_issuer(&self, issuer: &Arc<Issuer>) {
        let due = match self.due(issuer).await {
            Ok(due) => due,
            Err(error) => return failed(issuer, &error),
        };
        // Whether it is back is found out by one question.
        let at_once = if self.own.outages.is_out(&issuer.name) { 1 } else { AT_ONCE };
        let mut left = due.into_iter();
        let mut asked = FuturesUnordered::new();
        let mut out = false;
        loop {
            while !out && asked.len() < at_once {
                let Some(due) = left.next() else { break };
                asked.push(self.ask_about(Arc::clone(issuer), due));
            }
            match asked.next().await {
                Some(Ok(answered)) => out |= answered == Answered::Outage,
                Some(Err(error)) => failed(issuer, &error),
                None => break,
            }
        }
        if out && let Err(error) = self.let_lapse(issuer).await {
            failed(issuer, &error);
        }
    }

    async fn due(&self, issuer: &Issuer) -> Result<Vec<Due>, ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        Ok(table::due(db, &issuer.name, self.kernel.now(), BATCH).await?)
    }

    /// Takes away what an issuer that can't be asked has not renewed in time, whosever turn it is.
    async fn let_lapse(&self, issuer: &Arc<Issuer>) -> Result<(), ControlError> {
        let (now, sign_in) = (self.kernel.now(), self.kernel.settings().sign_in.absolute);
        let since = [true, false].map(|askable| lapsed_since(issuer, now, askable, sign_in));
        let lapsed = {
            let db = &mut *self.kernel.store().read().await?;
            table::lapsed(db, &issuer.name, since, BATCH).await?
        };
        for due in lapsed {
            let (identity, issuer) = (self.clone(), Arc::clone(issuer));
            let taken = self.kernel.to_the_end(async move {
                let mut tx = identity.kernel.begin().await?;
                if table::is_current(tx.db(), &due).await? {
                    let why = "the issuer could not be asked for too long";
                    people::disown(&mut tx, &issuer.name, &due.subject, Standing::Lapsed, why)
                        .await?;
                }
                tx.commit().await.map(drop)
            });
            taken.await?;
        }
        Ok(())
    }

    /// Asks about one person and writes down what comes of it, even where control is asked to stop
    /// meanwhile: a refresh token is good once, and the next one must not get lost.
    async fn ask_about(&self, issuer: Arc<Issuer>, due: Due) -> Result<Answered, ControlError> {
        let identity = self.clone();
        self.kernel
            .to_the_end(async move {
                let answer = identity.answer(&issuer, &due).await;
                let answered = Answered::of(&answer);
                identity.outage(&issuer, &answer, answered).await?;
                let concluded = identity.conclude(&issuer, &due, answer).await;
                if concluded.is_err() {
                    // What fails once fails again at once, and would keep the issuer busy.
                    identity.postpone(&issuer, &due.subject).await?;
                }
                concluded.map(|()| answered)
            })
            .await
    }

    async fn postpone(&self, issuer: &Issuer, subject: &str) -> Result<(), ControlError> {
        let mut tx = self.kernel.begin().await?;
        let next = tx.now.after(RETRY.min(issuer.refresh));
        table::postpone(tx.db(), &issuer.name, subject, next).await?;
        tx.commit().await.map(drop)
    }

    async fn answer(&self, issuer: &Issuer, due: &Due) -> Result<Option<Vouched>, OidcRefusal> {
        let Some(wrapped) = &due.refresh_token else { return Ok(None) };
        let token = self.kernel.vault().reveal(TABLE, &row(&issuer.name, &due.subject), wrapped);
        let token = token.map_err(ControlError::from)?;
        let token = String::from_utf8(token.expose_secret().to_vec());
        let token =
            SecretString::from(token.map_err(|_| OidcRefusal::Strange("a token is no text"))?);
        let metadata = self.own.issuers.metadata(&issuer.url).await?;
        let callback = self.callback(&issuer.name);
        let asking = Asking::new(issuer, &self.own.issuers, &metadata, &callback)?;
        asking.again(&due.subject, &token).await.map(Some)
    }

    async fn conclude(
        &self,
        issuer: &Issuer,
        due: &Due,
        answer: Result<Option<Vouched>, OidcRefusal>,
    ) -> Result<(), ControlError> {
        let mut tx = self.kernel.begin().await?;
        // They may have signed in meanwhile, and then the answer to an older token says nothing.
        if !table::is_current(tx.db(), due).await? {
            return Ok(());
        }
        let sign_in = self.kernel.settings().sign_in.absolute;
        let askable = due.refresh_token.is_some();
        let lapsed = due.vouched_at <= lapsed_since(issuer, tx.now, askable, sign_in);
        let (name, subject) = (&issuer.name, due.subject.as_str());
        match answer {
            Ok(Some(vouched)) => people::learn(&mut tx, issuer, &vouched).await?,
            Err(OidcRefusal::NoLongerVouched) => {
                let why = "the issuer no longer vouches for them";
                people::disown(&mut tx, name, subject, Standing::Refused, why).await?;
            }
            Err(refusal) if lapsed => {
                let why = format!("the issuer could not be asked for too long: {refusal}");
                people::disown(&mut tx, name, subject, Standing::Lapsed, &why).await?;
            }
            Ok(None) if lapsed => {
                let why = "their sign-in is over, and the issuer gave nothing to ask with";
                people::disown(&mut tx, name, subject, Standing::Lapsed, why).await?;
            }
            Ok(None) | Err(_) => {
                let next = tx.now.after(RETRY.min(issuer.refresh));
                table::postpone(tx.db(), name, subject, next).await?;
            }
        }
        tx.commit().await.map(drop)
    }

    /// Tells once that an issuer can't be asked, and once that it can be again.
    async fn outage(
        &self,
        issuer: &Issuer,
        answer: &Result<Option<Vouched>, OidcRefusal>,
        answered: Answered,
    ) -> Result<(), ControlError> {
        let failure = match (answered, answer) {
            (Answered::Word, _) => None,
            (Answered::Outage, answer) => answer.as_ref().err(),
            (Answered::Nothing, Ok(_)) => return Ok(()),
            (Answered::Nothing, Err(error)) => {
                let error = error as &dyn std::error::Error;
                tracing::warn!(issuer = %issuer.name, error, "an answer about a person is of no use");
                return Ok(());
            }
        };
        if !self.own.outages.set(&issuer.name, failure.is_some()) {
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
                (AuditKind::IssuerUnavailable, detail)
            }
            None => (AuditKind::IssuerAvailable, json!({})),
        };
        let mut tx = self.kernel.begin().await?;
        tx.record(Event::new(By::Control, kind, &issuer.name, detail)).await?;
        tx.commit().await.map(drop)
    }
}

fn failed(issuer: &Issuer, error: &ControlError) {
    let error = error as &dyn std::error::Error;
    tracing::error!(issuer = %issuer.name, error, "asking an issuer again failed");
}
