//! Sends what is in the outbox: each channel by itself, so that one whose receiver hangs keeps no other
//! waiting, and nobody's request waits for any.
//!
//! A message is settled only after somebody took it. Where the process ends between the two, it is sent
//! again with the same id, by which the receiver knows it. What fails waits longer each time
//! (`backoff`), and is dead after its channel's last try, until an admin sends it again.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use futures_util::StreamExt;
use policies::Timestamp;
use serde_json::json;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::model::audit_kind::AuditKind;
use crate::model::channel::{Channel, Way};
use crate::model::channel_email::OutgoingMail;
use crate::model::error::ControlError;
use crate::model::event::{By, Event};
use crate::model::{channel_slack, channel_webhook};
use crate::notify::Notifier;
use crate::platform::backoff::{Next, Outcome};
use crate::store::outbox;
use crate::store::outbox::Message;

/// How many messages of one channel are under way at once.
const AT_ONCE: usize = 4;
/// How many are read at once.
const BATCH: i64 = 32;
/// How long nobody looks where nothing is due: as old as the figures may be.
const IDLE: Duration = Duration::from_secs(10);
/// How long the sender waits where the store fails.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

impl Notifier {
    /// Sends until `stop`. What is under way then is broken off, and sent again at the next start.
    pub(crate) async fn keep_telling(&self, stop: CancellationToken) {
        let mut workers = Workers::default();
        loop {
            let wait = match self.start_due(&mut workers).await {
                Ok(wait) => wait,
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the outbox can't be read"
                    );
                    AFTER_FAILURE
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.kernel.outbox().notified() => {}
                () = workers.one_ended() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        workers.tasks.shutdown().await;
    }

    /// Starts a worker for each channel that has something due and no worker; how long until the next.
    async fn start_due(&self, workers: &mut Workers) -> Result<Duration, ControlError> {
        let now = self.kernel.now();
        let mut wait = IDLE;
        for (channel, at) in self.next_due().await? {
            if workers.busy.values().any(|busy| *busy == channel) {
                continue;
            }
            if at <= now {
                let (notifier, name) = (self.clone(), channel.clone());
                let task = workers.tasks.spawn(async move { notifier.send_all(&name).await });
                workers.busy.insert(task.id(), channel);
            } else {
                wait = wait.min(now.until(at).duration());
            }
        }
        Ok(wait)
    }

    /// When each channel that is on has something to send; the figures are brought up to date.
    async fn next_due(&self) -> Result<Vec<(String, Timestamp)>, ControlError> {
        let db = &mut *self.kernel.store().read().await?;
        let figures = outbox::figures(db).await?;
        self.kernel.counts().notifications.set(&figures, self.kernel.now());
        let off: BTreeSet<String> =
            outbox::off(db).await?.into_iter().map(|(name, _)| name).collect();
        let due = outbox::next_due(db).await?;
        Ok(due.into_iter().filter(|(name, _)| !off.contains(name)).collect())
    }

    /// Sends what a channel has due by now, until there is no more.
    async fn send_all(&self, channel: &str) {
        loop {
            let sent = self.send_some(channel).await;
            match sent {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(
                        channel,
                        error = &error as &dyn std::error::Error,
                        "notifications can't be sent"
                    );
                    tokio::time::sleep(AFTER_FAILURE).await;
                    return;
                }
            }
        }
    }

    async fn send_some(&self, channel: &str) -> Result<usize, ControlError> {
        let messages = {
            let db = &mut *self.kernel.store().read().await?;
            if outbox::off(db).await?.iter().any(|(name, _)| name == channel) {
                return Ok(0);
            }
            outbox::due(db, channel, self.kernel.now(), BATCH).await?
        };
        let count = messages.len();
        let sending = messages.into_iter().map(|message| self.send_one(message));
        let mut sending = futures_util::stream::iter(sending).buffer_unordered(AT_ONCE);
        while let Some(sent) = sending.next().await {
            sent?;
        }
        Ok(count)
    }

    async fn send_one(&self, message: Message) -> Result<(), ControlError> {
        let inventory = self.kernel.inventory();
        let channel = inventory.channels.get(&message.channel);
        let outcome = match channel {
            Some(channel) => self.try_once(channel, &message).await,
            None => Outcome::Never("there is no such channel any more".to_owned()),
        };
        if let Some(channel) = channel {
            let label = if outcome == Outcome::Sent { "sent" } else { "failed" };
            self.kernel.counts().notifications.count(channel.way.word(), label);
        }
        let notifier = self.clone();
        let channel = channel.cloned();
        self.kernel.to_the_end(async move { notifier.keep(message, channel, outcome).await }).await
    }

    /// One try, which ends in time whatever the other side does.
    pub(super) async fn try_once(&self, channel: &Channel, message: &Message) -> Outcome {
        let sending = self.send(channel, message);
        let slow = || Outcome::Later("it did not answer in time".to_owned(), None);
        tokio::time::timeout(channel.deadline(), sending).await.unwrap_or_else(|_| slow())
    }

    async fn send(&self, channel: &Channel, message: &Message) -> Outcome {
        let notice = &message.notice;
        match &channel.way {
            Way::Webhook(hook) => {
                channel_webhook::send(hook, &message.id, notice, self.kernel.now()).await
            }
            Way::Slack(hook) => channel_slack::send(hook, &channel.templates, notice).await,
            Way::Email(mail) => {
                let inventory = self.kernel.inventory();
                let known = message.recipient.as_ref();
                let known = known.and_then(|id| Some((inventory.email(id)?, inventory.name(id))));
                let Some((to, name)) = known else {
                    return Outcome::Never(
                        "nobody is there by this name with an e-mail address".into(),
                    );
                };
                let (id, templates) = (&message.id, &channel.templates);
                let our_host = &self.mail_host();
                mail.send(&OutgoingMail { id, to, name: &name, notice, templates, our_host }).await
            }
        }
    }

    /// What we call ourselves to mail servers.
    pub(super) fn mail_host(&self) -> String {
        self.kernel.settings().public_url.host_str().unwrap_or("localhost").to_owned()
    }

    /// Writes down what a try came to.
    async fn keep(
        &self,
        message: Message,
        channel: Option<Channel>,
        outcome: Outcome,
    ) -> Result<(), ControlError> {
        let mut tx = self.kernel.begin().await?;
        let now = tx.now;
        let gone = outcome == Outcome::Gone;
        let next = match &channel {
            Some(channel) => {
                channel.patience.after(message.tries + 1, outcome, now, rand::random())
            }
            None => Next::Dead { why: "there is no such channel any more".to_owned() },
        };
        let db = tx.db();
        match next {
            Next::Settled => outbox::settle(db, &message.id, now).await?,
            Next::Again { at, why } => {
                tracing::warn!(channel = %message.channel, message = message.id, why, "a message is not delivered yet");
                outbox::put_off(db, &message.id, at, &why).await?;
            }
            Next::Dead { why } => {
                tracing::error!(channel = %message.channel, message = message.id, why, "a message is never delivered");
                outbox::bury(db, &message.id, now, &why).await?;
                let word = channel.as_ref().map_or("webhook", |channel| channel.way.word());
                self.kernel.counts().notifications.count(word, "dead");
                let detail = json!({ "channel": message.channel.as_str(), "why": why });
                tx.record(Event::new(
                    By::Control,
                    AuditKind::NotificationDead,
                    &message.id,
                    detail,
                ))
                .await?;
            }
        }
        if gone && outbox::switch_off(tx.db(), message.channel.as_str(), now).await? {
            let detail = json!({ "why": "the receiver is gone (410)" });
            let event =
                Event::new(By::Control, AuditKind::ChannelOff, message.channel.as_str(), detail);
            tx.record(event).await?;
        }
        tx.commit().await.map(drop)
    }

    /// Sends what is due by now and returns when all of it was tried once.
    #[cfg(test)]
    pub(crate) async fn send_due(&self) {
        let mut workers = Workers::default();
        self.start_due(&mut workers).await.unwrap();
        while let Some(ended) = workers.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

/// The channels that are being sent by now.
#[derive(Default)]
struct Workers {
    tasks: JoinSet<()>,
    busy: HashMap<Id, String>,
}

impl Workers {
    /// Waits until a worker ends; for ever where there is none.
    async fn one_ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => drop(self.busy.remove(&id)),
            Some(Err(broken)) => drop(self.busy.remove(&broken.id())),
            None => std::future::pending().await,
        }
    }
}
