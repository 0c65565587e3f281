//! The table of locks.

use policies::{Lock, LockId, Timestamp};
use sqlx::SqliteConnection;

use super::{from_json, to_json};
use crate::model::error::StoreError;

pub(crate) async fn insert(db: &mut SqliteConnection, lock: &Lock) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO locks (id, until, body) VALUES ($1, $2, $3)")
        .bind(lock.id.as_str())
        .bind(lock.until.map(Timestamp::millis))
        .bind(to_json(lock)?)
        .execute(db)
        .await?;
    Ok(())
}

/// Whether there is one of this id, lifted or not.
pub(crate) async fn exists(db: &mut SqliteConnection, id: &LockId) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM locks WHERE id = $1)");
    Ok(query.bind(id.as_str()).fetch_one(db).await?)
}

/// Lifts it; false where it doesn't hold anyway.
pub(crate) async fn lift(
    db: &mut SqliteConnection,
    id: &LockId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE locks SET lifted_at = $2 WHERE id = $1 AND lifted_at IS NULL");
    let done = query.bind(id.as_str()).bind(now.millis()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// All that weren't lifted.
pub(crate) async fn all(db: &mut SqliteConnection) -> Result<Vec<Lock>, StoreError> {
    let query = sqlx::query_scalar("SELECT body FROM locks WHERE lifted_at IS NULL ORDER BY id");
    let rows: Vec<String> = query.fetch_all(db).await?;
    rows.iter().map(|body| from_json(body)).collect()
}

/// Those whose time is over.
pub(crate) async fn over(
    db: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<Lock>, StoreError> {
    let query =
        sqlx::query_scalar("SELECT body FROM locks WHERE lifted_at IS NULL AND until <= $1");
    let rows: Vec<String> = query.bind(now.millis()).fetch_all(db).await?;
    rows.iter().map(|body| from_json(body)).collect()
}
