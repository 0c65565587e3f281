//! The table of messages that were taken from other systems.

use policies::Timestamp;
use sqlx::SqliteConnection;

use crate::model::error::StoreError;

/// Takes a message; false where it was taken before.
pub(crate) async fn take(
    db: &mut SqliteConnection,
    id: &str,
    expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "INSERT INTO webhooks_taken (id, expires_at) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING",
    );
    let done = query.bind(id).bind(expires_at.millis()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets those that are refused by their age anyway.
pub(crate) async fn forget(db: &mut SqliteConnection, before: Timestamp) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM webhooks_taken WHERE expires_at < $1");
    query.bind(before.millis()).execute(db).await?;
    Ok(())
}
