//! The table of recoveries: whose factors somebody wants removed, and whether that was done.

use policies::Timestamp;
use sqlx::SqliteConnection;

use super::parse;
use crate::model::error::StoreError;
use crate::model::view::RecoveryView;

type Row = (String, String, String, String, i64, i64);

const COLUMNS: &str =
    "SELECT id, principal, asked_by, reason, asked_at, expires_at FROM recoveries";

fn read(row: Row) -> Result<RecoveryView, StoreError> {
    let (id, principal, asked_by, reason, asked_at, expires_at) = row;
    Ok(RecoveryView {
        id,
        principal: parse("principal", &principal)?,
        asked_by: parse("principal", &asked_by)?,
        reason,
        asked_at: Timestamp::from_millis(asked_at),
        expires_at: Timestamp::from_millis(expires_at),
    })
}

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    view: &RecoveryView,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO recoveries (id, principal, asked_by, reason, asked_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&view.id)
    .bind(view.principal.as_str())
    .bind(view.asked_by.as_str())
    .bind(&view.reason)
    .bind(view.asked_at.millis())
    .bind(view.expires_at.millis())
    .execute(db)
    .await?;
    Ok(())
}

/// Those that wait for a second person, the newest first.
pub(crate) async fn waiting(
    db: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<RecoveryView>, StoreError> {
    let text = sqlx::AssertSqlSafe(format!(
        "{COLUMNS} WHERE done_at IS NULL AND expires_at > $1 ORDER BY seq DESC LIMIT 100"
    ));
    let rows: Vec<Row> = sqlx::query_as(text).bind(now.millis()).fetch_all(db).await?;
    rows.into_iter().map(read).collect()
}

/// One that waits.
pub(crate) async fn find(
    db: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
) -> Result<Option<RecoveryView>, StoreError> {
    let text = sqlx::AssertSqlSafe(format!(
        "{COLUMNS} WHERE id = $1 AND done_at IS NULL AND expires_at > $2"
    ));
    let row: Option<Row> =
        sqlx::query_as(text).bind(id).bind(now.millis()).fetch_optional(db).await?;
    row.map(read).transpose()
}

/// Writes down that it was done; false where that was so before.
pub(crate) async fn done(
    db: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE recoveries SET done_at = $2 WHERE id = $1 AND done_at IS NULL");
    let done = query.bind(id).bind(now.millis()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}
