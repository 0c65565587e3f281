//! The outbox: messages to people, until somebody took them.

use policies::{Grant, PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use super::{from_json, parse, to_json};
use crate::model::channel::ChannelName;
use crate::model::error::StoreError;
use crate::model::notice::Notice;
use crate::model::topic::Topic;
use crate::model::view::{MessageState, MessageView, Page, Paging};

/// A message for one channel and recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) channel: ChannelName,
    pub(crate) recipient: Option<PrincipalId>,
    /// How often it was tried.
    pub(crate) tries: u32,
    pub(crate) notice: Notice,
}

/// What stands in the outbox as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) waiting: i64,
    pub(crate) dead: i64,
    /// When the oldest was written that still waits.
    pub(crate) oldest: Option<Timestamp>,
}

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    message: &Message,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO outbox \
         (id, channel, recipient, topic, about, written_at, state, due_at, notice) \
         VALUES ($1, $2, $3, $4, $5, $6, 'waiting', $6, $7)",
    )
    .bind(&message.id)
    .bind(message.channel.as_str())
    .bind(message.recipient.as_ref().map(PrincipalId::as_str))
    .bind(message.notice.topic.word())
    .bind(&message.notice.about)
    .bind(now.millis())
    .bind(to_json(&message.notice)?)
    .execute(db)
    .await?;
    Ok(())
}

type DueRow = (String, String, Option<String>, i64, String);

/// What this channel has to send by now, the longest due first.
pub(crate) async fn due(
    db: &mut SqliteConnection,
    channel: &str,
    now: Timestamp,
    at_most: i64,
) -> Result<Vec<Message>, StoreError> {
    let query = sqlx::query_as(
        "SELECT id, channel, recipient, tries, notice FROM outbox \
         WHERE state = 'waiting' AND channel = $1 AND due_at <= $2 ORDER BY due_at, seq LIMIT $3",
    );
    let rows: Vec<DueRow> =
        query.bind(channel).bind(now.millis()).bind(at_most).fetch_all(db).await?;
    let messages = rows.into_iter().map(|(id, channel, recipient, tries, notice)| {
        Ok(Message {
            id,
            channel: parse("channel", &channel)?,
            recipient: recipient.map(|text| parse("recipient", &text)).transpose()?,
            tries: u32::try_from(tries).unwrap_or(u32::MAX),
            notice: from_json(&notice)?,
        })
    });
    messages.collect()
}

/// When each channel has something to send next.
pub(crate) async fn next_due(
    db: &mut SqliteConnection,
) -> Result<Vec<(String, Timestamp)>, StoreError> {
    let query = sqlx::query_as(
        "SELECT channel, min(due_at) FROM outbox WHERE state = 'waiting' GROUP BY channel",
    );
    let rows: Vec<(String, i64)> = query.fetch_all(db).await?;
    Ok(rows.into_iter().map(|(name, at)| (name, Timestamp::from_millis(at))).collect())
}

/// Somebody took it.
pub(crate) async fn settle(
    db: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE outbox SET state = 'sent', tries = tries + 1, settled_at = $2, fault = NULL \
         WHERE id = $1 AND state = 'waiting'",
    )
    .bind(id)
    .bind(now.millis())
    .execute(db)
    .await?;
    Ok(())
}

/// It is tried again later.
pub(crate) async fn put_off(
    db: &mut SqliteConnection,
    id: &str,
    until: Timestamp,
    fault: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE outbox SET tries = tries + 1, due_at = $2, fault = $3 \
         WHERE id = $1 AND state = 'waiting'",
    )
    .bind(id)
    .bind(until.millis())
    .bind(fault)
    .execute(db)
    .await?;
    Ok(())
}

/// It is tried no more, unless somebody says so.
pub(crate) async fn bury(
    db: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
    fault: &str,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE outbox SET state = 'dead', tries = tries + 1, settled_at = $2, fault = $3 \
         WHERE id = $1 AND state = 'waiting'",
    )
    .bind(id)
    .bind(now.millis())
    .bind(fault)
    .execute(db)
    .await?;
    Ok(())
}

/// Sends it again, with all its tries: whether it was there, in one of these states.
pub(crate) async fn revive(
    db: &mut SqliteConnection,
    id: &str,
    sent_too: bool,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "UPDATE outbox SET state = 'waiting', tries = 0, due_at = $2, settled_at = NULL \
         WHERE id = $1 AND (state <> 'sent' OR $3)",
    )
    .bind(id)
    .bind(now.millis())
    .bind(sent_too)
    .execute(db)
    .await?;
    Ok(done.rows_affected() > 0)
}

/// Sends all dead ones again: how many.
pub(crate) async fn revive_dead(
    db: &mut SqliteConnection,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "UPDATE outbox SET state = 'waiting', tries = 0, due_at = $1, settled_at = NULL \
         WHERE state = 'dead'",
    );
    Ok(done.bind(now.millis()).execute(db).await?.rows_affected())
}

pub(crate) async fn is_there(db: &mut SqliteConnection, id: &str) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM outbox WHERE id = $1)");
    Ok(query.bind(id).fetch_one(db).await?)
}

pub(crate) async fn figures(db: &mut SqliteConnection) -> Result<Figures, StoreError> {
    let query = sqlx::query_as(
        "SELECT (SELECT count(*) FROM outbox WHERE state = 'waiting'), \
         (SELECT count(*) FROM outbox WHERE state = 'dead'), \
         (SELECT min(written_at) FROM outbox WHERE state = 'waiting')",
    );
    let (waiting, dead, oldest): (i64, i64, Option<i64>) = query.fetch_one(db).await?;
    Ok(Figures { waiting, dead, oldest: oldest.map(Timestamp::from_millis) })
}

type ViewRow = (
    i64,
    String,
    String,
    Option<String>,
    String,
    String,
    i64,
    String,
    i64,
    i64,
    Option<i64>,
    Option<String>,
);

/// Messages in one state or in any, the newest first.
pub(crate) async fn page(
    db: &mut SqliteConnection,
    state: Option<MessageState>,
    paging: Paging,
) -> Result<Page<MessageView>, StoreError> {
    let rows: Vec<ViewRow> = sqlx::query_as(
        "SELECT seq, id, channel, recipient, topic, about, written_at, state, tries, due_at, \
         settled_at, fault FROM outbox WHERE seq < $1 AND ($2 IS NULL OR state = $2) \
         ORDER BY seq DESC LIMIT $3",
    )
    .bind(paging.before())
    .bind(state.map(MessageState::word))
    .bind(paging.size())
    .fetch_all(db)
    .await?;
    let next = paging.next(rows.len(), rows.last().map(|row| row.0));
    let items: Result<Vec<MessageView>, StoreError> = rows.into_iter().map(view).collect();
    Ok(Page { items: items?, next })
}

fn view(row: ViewRow) -> Result<MessageView, StoreError> {
    let (_, id, channel, recipient, topic, about, written_at, state, tries, due_at, settled, fault) =
        row;
    let topic: Topic = parse("topic", &topic)?;
    Ok(MessageView {
        id,
        channel: parse("channel", &channel)?,
        recipient: recipient.map(|text| parse("recipient", &text)).transpose()?,
        topic,
        about,
        written_at: Timestamp::from_millis(written_at),
        state: parse("state", &state)?,
        tries: u32::try_from(tries).unwrap_or(u32::MAX),
        due_at: Timestamp::from_millis(due_at),
        settled_at: settled.map(Timestamp::from_millis),
        fault,
    })
}

/// Forgets what was settled before then; the dead are kept longer.
pub(crate) async fn forget(
    db: &mut SqliteConnection,
    sent_before: Timestamp,
    dead_before: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM outbox WHERE (state = 'sent' AND settled_at < $1) \
         OR (state = 'dead' AND settled_at < $2)",
    )
    .bind(sent_before.millis())
    .bind(dead_before.millis())
    .execute(&mut *db)
    .await?;
    sqlx::query("DELETE FROM reminders WHERE of_at < $1")
        .bind(sent_before.millis())
        .execute(db)
        .await?;
    Ok(())
}

/// Switches a channel off: whether it was on.
pub(crate) async fn switch_off(
    db: &mut SqliteConnection,
    channel: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query("INSERT OR IGNORE INTO channels_off (channel, off_at) VALUES ($1, $2)");
    Ok(query.bind(channel).bind(now.millis()).execute(db).await?.rows_affected() > 0)
}

/// Switches a channel on again: whether it was off.
pub(crate) async fn switch_on(
    db: &mut SqliteConnection,
    channel: &str,
) -> Result<bool, StoreError> {
    let query = sqlx::query("DELETE FROM channels_off WHERE channel = $1");
    Ok(query.bind(channel).execute(db).await?.rows_affected() > 0)
}

/// The channels that are off, and since when.
pub(crate) async fn off(db: &mut SqliteConnection) -> Result<Vec<(String, Timestamp)>, StoreError> {
    let query = sqlx::query_as("SELECT channel, off_at FROM channels_off");
    let rows: Vec<(String, i64)> = query.fetch_all(db).await?;
    Ok(rows.into_iter().map(|(name, at)| (name, Timestamp::from_millis(at))).collect())
}

/// Notes that people were reminded: whether it was the first time.
pub(crate) async fn remind(
    db: &mut SqliteConnection,
    about: &str,
    topic: Topic,
    of_at: Timestamp,
) -> Result<bool, StoreError> {
    let query =
        sqlx::query("INSERT OR IGNORE INTO reminders (about, topic, of_at) VALUES ($1, $2, $3)");
    let query = query.bind(about).bind(topic.word()).bind(of_at.millis());
    Ok(query.execute(db).await?.rows_affected() > 0)
}

/// Accesses in use that end by then, and whose end nobody was reminded of.
pub(crate) async fn ending_untold(
    db: &mut SqliteConnection,
    by: Timestamp,
    at_most: i64,
) -> Result<Vec<Grant>, StoreError> {
    let query = sqlx::query_scalar(
        "SELECT body FROM grants WHERE deadline <= $1 \
         AND json_extract(body, '$.state.state') = 'active' AND NOT EXISTS \
         (SELECT 1 FROM reminders WHERE about = grants.id AND topic = $2 AND of_at = deadline) \
         ORDER BY deadline LIMIT $3",
    );
    let query = query.bind(by.millis()).bind(Topic::GrantEnding.word()).bind(at_most);
    let bodies: Vec<String> = query.fetch_all(db).await?;
    bodies.iter().map(|body| from_json(body)).collect()
}

pub(crate) async fn was_reminded(
    db: &mut SqliteConnection,
    about: &str,
    topic: Topic,
    of_at: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM reminders WHERE about = $1 AND topic = $2 AND of_at = $3)",
    );
    let query = query.bind(about).bind(topic.word()).bind(of_at.millis());
    Ok(query.fetch_one(db).await?)
}
