//! What admins see and do of messages: the list, sending one again, and a test.

use serde_json::json;

use crate::model::actor::Actor;
use crate::model::audit_kind::AuditKind;
use crate::model::channel::{Channel, ChannelName, ChannelView};
use crate::model::error::{ControlError, Refusal};
use crate::model::event::Event;
use crate::model::notice::{Notice, Said};
use crate::model::topic::Topic;
use crate::model::view::{MessageState, MessageView, Page, Paging};
use crate::notify::Notifier;
use crate::platform::backoff::Outcome;
use crate::platform::ids;
use crate::store::outbox;
use crate::store::outbox::Message;

impl Notifier {
    /// Messages in one state or in any, the newest first: for admins.
    ///
    /// # Errors
    /// Where the actor is none.
    pub async fn messages(
        &self,
        actor: &Actor,
        state: Option<MessageState>,
        paging: Paging,
    ) -> Result<Page<MessageView>, ControlError> {
        must_administer(actor)?;
        Ok(outbox::page(&mut *self.kernel.store().read().await?, state, paging).await?)
    }

    /// The channels: for admins.
    ///
    /// # Errors
    /// Where the actor is none.
    pub async fn channels(&self, actor: &Actor) -> Result<Vec<ChannelView>, ControlError> {
        must_administer(actor)?;
        let off = outbox::off(&mut *self.kernel.store().read().await?).await?;
        let inventory = self.kernel.inventory();
        let views = inventory.channels.values().map(|channel| ChannelView {
            name: channel.name.clone(),
            kind: channel.way.word(),
            place: channel.way.place(),
            topics: channel.topics.iter().copied().collect(),
            off_since: off
                .iter()
                .find(|(name, _)| name == channel.name.as_str())
                .map(|(_, since)| *since),
        });
        Ok(views.collect())
    }

    /// Sends a message again that is dead or waits; `replay` also one that was taken, under its old id.
    ///
    /// # Errors
    /// Where the actor is no admin, or there is no such message to be sent.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, message = id))]
    pub async fn send_again(
        &self,
        actor: &Actor,
        id: &str,
        replay: bool,
    ) -> Result<(), ControlError> {
        let (notifier, actor, id) = (self.clone(), actor.clone(), id.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = notifier.kernel.begin().await?;
                tx.administering(&actor)?;
                let now = tx.now;
                if !outbox::revive(tx.db(), &id, replay, now).await? {
                    return Err(if outbox::is_there(tx.db(), &id).await? {
                        let message = "it was taken already: replay it to send it once more";
                        Refusal::Conflict(message.to_owned()).into()
                    } else {
                        Refusal::NotFound("message").into()
                    });
                }
                let detail = json!({ "replay": replay });
                tx.record(Event::new(&actor, AuditKind::NotificationAgain, &id, detail)).await?;
                tx.wake_sender();
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Sends all dead messages again: how many.
    ///
    /// # Errors
    /// Where the actor is no admin.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id))]
    pub async fn send_all_again(&self, actor: &Actor) -> Result<u64, ControlError> {
        let (notifier, actor) = (self.clone(), actor.clone());
        self.kernel
            .to_the_end(async move {
                let mut tx = notifier.kernel.begin().await?;
                tx.administering(&actor)?;
                let now = tx.now;
                let count = outbox::revive_dead(tx.db(), now).await?;
                let detail = json!({ "count": count });
                tx.record(Event::new(&actor, AuditKind::NotificationAgain, "dead", detail)).await?;
                tx.wake_sender();
                tx.commit().await?;
                Ok(count)
            })
            .await
    }

    /// Switches a channel on again whose receiver had said that it is gone.
    ///
    /// # Errors
    /// Where the actor is no admin, or there is no such channel that is off.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, channel = name))]
    pub async fn switch_channel_on(&self, actor: &Actor, name: &str) -> Result<(), ControlError> {
        let (notifier, actor, name) = (self.clone(), actor.clone(), name.to_owned());
        self.kernel
            .to_the_end(async move {
                let mut tx = notifier.kernel.begin().await?;
                tx.administering(&actor)?;
                if !outbox::switch_on(tx.db(), &name).await? {
                    notifier.channel(&name)?;
                    return Err(
                        Refusal::Conflict(format!("the channel `{name}` is on already")).into()
                    );
                }
                tx.record(Event::new(&actor, AuditKind::ChannelOn, &name, json!({}))).await?;
                tx.wake_sender();
                tx.commit().await.map(drop)
            })
            .await
    }

    /// Sends a test by a channel, at once and once: to the actor, where the channel reaches each by
    /// themselves.
    ///
    /// # Errors
    /// Where the actor is no admin, there is no such channel, or nobody took the message.
    #[tracing::instrument(skip_all, fields(actor = %actor.principal.id, channel = name))]
    pub async fn test_channel(&self, actor: &Actor, name: &str) -> Result<(), ControlError> {
        must_administer(actor)?;
        let channel = self.channel(name)?;
        let message = self.test_message(actor, &channel);
        match self.try_once(&channel, &message).await {
            Outcome::Sent => Ok(()),
            Outcome::Later(why, _) | Outcome::Never(why) => {
                Err(Refusal::Conflict(format!("the test was not taken: {why}")).into())
            }
            Outcome::Gone => {
                let message = "the receiver says that it is gone (410)";
                Err(Refusal::Conflict(message.to_owned()).into())
            }
        }
    }

    fn test_message(&self, actor: &Actor, channel: &Channel) -> Message {
        let whose = actor.principal.id.clone();
        let said = Said {
            person: Some(whose.clone()),
            name: Some(actor.principal.name.clone()),
            reason: Some("this is a test: nobody asks for anything".to_owned()),
            resource: Some("nothing".to_owned()),
            ..Said::default()
        };
        let notice = Notice {
            topic: Topic::RequestAsked,
            at: self.kernel.now(),
            about: format!("test-of-{}", channel.name),
            said,
            url: format!("{}/", self.kernel.settings().base_url()),
            to: vec![whose.clone()],
        };
        let (id, channel) = (ids::fresh_text("msg"), channel.name.clone());
        Message { id, channel, recipient: Some(whose), tries: 0, notice }
    }

    fn channel(&self, name: &str) -> Result<Channel, Refusal> {
        let known = name.parse::<ChannelName>().ok();
        let inventory = self.kernel.inventory();
        let found = known.and_then(|name| inventory.channels.get(&name).cloned());
        found.ok_or(Refusal::NotFound("channel"))
    }
}

fn must_administer(actor: &Actor) -> Result<(), Refusal> {
    if actor.admin {
        return Ok(());
    }
    Err(Refusal::Forbidden("this takes an admin".to_owned()))
}
