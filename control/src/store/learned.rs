//! The table of what sources outside have said: who is on call, and how tickets stand.

use policies::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;

use super::{from_json, to_json};
use crate::model::error::StoreError;

/// What was learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Roster,
    Ticket,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Roster => "roster",
            Self::Ticket => "ticket",
        }
    }
}

/// Keeps the last word about something.
pub(crate) async fn put(
    db: &mut SqliteConnection,
    kind: Kind,
    name: &str,
    said: &impl Serialize,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO learned (kind, name, said, at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (kind, name) DO UPDATE SET said = excluded.said, at = excluded.at",
    )
    .bind(kind.word())
    .bind(name)
    .bind(to_json(said)?)
    .bind(now.millis())
    .execute(db)
    .await?;
    Ok(())
}

/// All of a kind: its name, what was said, and when.
pub(crate) async fn all<T: DeserializeOwned>(
    db: &mut SqliteConnection,
    kind: Kind,
) -> Result<Vec<(String, T, Timestamp)>, StoreError> {
    let query = sqlx::query_as("SELECT name, said, at FROM learned WHERE kind = $1");
    let rows: Vec<(String, String, i64)> = query.bind(kind.word()).fetch_all(db).await?;
    let read = rows
        .into_iter()
        .map(|(name, said, at)| Ok((name, from_json(&said)?, Timestamp::from_millis(at))));
    read.collect()
}

/// Forgets what nobody has confirmed since then.
pub(crate) async fn forget(db: &mut SqliteConnection, before: Timestamp) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM learned WHERE at < $1");
    query.bind(before.millis()).execute(db).await?;
    Ok(())
}
