//! The table of SSH keys that people registered themselves.

use policies::{PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use super::parse;
use crate::model::error::StoreError;
use crate::model::view::SshKeyView;

type Row = (String, String, String, String, String, Option<bool>, i64, Option<i64>, Option<i64>);

const COLUMNS: &str = "SELECT id, principal, name, line, fingerprint, user_verified, added_at, confirmed_at, used_at \
                       FROM ssh_keys WHERE removed_at IS NULL";

fn read(row: Row) -> Result<SshKeyView, StoreError> {
    let (id, principal, name, line, fingerprint, user_verified, added_at, confirmed_at, used_at) =
        row;
    Ok(SshKeyView {
        id,
        principal: parse("principal", &principal)?,
        name,
        line,
        fingerprint,
        user_verified,
        added_at: Timestamp::from_millis(added_at),
        confirmed_at: confirmed_at.map(Timestamp::from_millis),
        used_at: used_at.map(Timestamp::from_millis),
    })
}

pub(crate) async fn insert(db: &mut SqliteConnection, key: &SshKeyView) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO ssh_keys (id, principal, name, line, fingerprint, user_verified, added_at, \
         confirmed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(&key.id)
    .bind(key.principal.as_str())
    .bind(&key.name)
    .bind(&key.line)
    .bind(&key.fingerprint)
    .bind(key.user_verified)
    .bind(key.added_at.millis())
    .bind(key.confirmed_at.map(Timestamp::millis))
    .execute(db)
    .await?;
    Ok(())
}

/// Those that are there, of one person or of all, the oldest first.
pub(crate) async fn list(
    db: &mut SqliteConnection,
    whose: Option<&PrincipalId>,
) -> Result<Vec<SshKeyView>, StoreError> {
    let text = format!("{COLUMNS} AND ($1 IS NULL OR principal = $1) ORDER BY seq");
    let query = sqlx::query_as(sqlx::AssertSqlSafe(text)).bind(whose.map(PrincipalId::as_str));
    let rows: Vec<Row> = query.fetch_all(db).await?;
    rows.into_iter().map(read).collect()
}

pub(crate) async fn find(
    db: &mut SqliteConnection,
    id: &str,
) -> Result<Option<SshKeyView>, StoreError> {
    let query = sqlx::query_as(sqlx::AssertSqlSafe(format!("{COLUMNS} AND id = $1"))).bind(id);
    let row: Option<Row> = query.fetch_optional(db).await?;
    row.map(read).transpose()
}

/// Whose key this is, or was: with whether it is of use still.
pub(crate) async fn owner(
    db: &mut SqliteConnection,
    line: &str,
) -> Result<Option<(PrincipalId, bool)>, StoreError> {
    let query = sqlx::query_as(
        "SELECT principal, removed_at IS NULL FROM ssh_keys \
         WHERE line = $1 AND confirmed_at IS NOT NULL",
    );
    let row: Option<(String, bool)> = query.bind(line).fetch_optional(db).await?;
    row.map(|(whose, good)| Ok((parse("principal", &whose)?, good))).transpose()
}

pub(crate) async fn confirm(
    db: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE ssh_keys SET confirmed_at = $2 WHERE id = $1");
    query.bind(id).bind(now.millis()).execute(db).await?;
    Ok(())
}

/// Takes one away: what never opened anything leaves no trace here.
pub(crate) async fn remove(
    db: &mut SqliteConnection,
    key: &SshKeyView,
    now: Timestamp,
) -> Result<(), StoreError> {
    let text = match key.confirmed_at {
        Some(_) => "UPDATE ssh_keys SET removed_at = $2 WHERE id = $1",
        None => "DELETE FROM ssh_keys WHERE id = $1 AND $2 IS NOT NULL",
    };
    sqlx::query(text).bind(&key.id).bind(now.millis()).execute(db).await?;
    Ok(())
}

/// Takes away what a person didn't agree to since then.
pub(crate) async fn lapse(
    db: &mut SqliteConnection,
    whose: &PrincipalId,
    since: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "DELETE FROM ssh_keys WHERE principal = $1 AND confirmed_at IS NULL AND added_at <= $2",
    );
    query.bind(whose.as_str()).bind(since.millis()).execute(db).await?;
    Ok(())
}

/// A session was opened with the key of this fingerprint.
pub(crate) async fn used(
    db: &mut SqliteConnection,
    fingerprint: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "UPDATE ssh_keys SET used_at = MAX (COALESCE (used_at, 0), $2) \
         WHERE fingerprint = $1 AND confirmed_at IS NOT NULL",
    );
    query.bind(fingerprint).bind(at.millis()).execute(db).await?;
    Ok(())
}
