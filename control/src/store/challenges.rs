//! The tables of what people were asked to prove, and of sign-in challenges that were answered.

use policies::{LoginId, PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use super::{from_json, parse, to_json};
use crate::model::error::StoreError;
use crate::model::statement::Statement;

/// A question to one person in one login session.
pub(crate) struct Asked {
    pub(crate) id: String,
    pub(crate) principal: PrincipalId,
    pub(crate) login: LoginId,
    pub(crate) nonce: Vec<u8>,
    pub(crate) expires_at: Timestamp,
    pub(crate) used_at: Option<Timestamp>,
    pub(crate) statement: Statement,
}

type Row = (String, String, String, Vec<u8>, i64, Option<i64>, String);

/// Keeps a question, and of that person at most so many.
pub(crate) async fn insert(
    db: &mut SqliteConnection,
    asked: &Asked,
    most: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO challenges (id, principal, login, nonce, expires_at, body) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&asked.id)
    .bind(asked.principal.as_str())
    .bind(asked.login.as_str())
    .bind(&asked.nonce)
    .bind(asked.expires_at.millis())
    .bind(to_json(&asked.statement)?)
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "DELETE FROM challenges WHERE principal = $1 AND seq <= \
         (SELECT seq FROM challenges WHERE principal = $1 ORDER BY seq DESC LIMIT 1 OFFSET $2)",
    )
    .bind(asked.principal.as_str())
    .bind(most)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn find(db: &mut SqliteConnection, id: &str) -> Result<Option<Asked>, StoreError> {
    let row: Option<Row> = sqlx::query_as(
        "SELECT id, principal, login, nonce, expires_at, used_at, body FROM challenges \
         WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(db)
    .await?;
    let Some((id, principal, login, nonce, expires_at, used_at, body)) = row else {
        return Ok(None);
    };
    Ok(Some(Asked {
        id,
        principal: parse("principal", &principal)?,
        login: parse("login session", &login)?,
        nonce,
        expires_at: Timestamp::from_millis(expires_at),
        used_at: used_at.map(Timestamp::from_millis),
        statement: from_json(&body)?,
    }))
}

/// Uses a question up.
pub(crate) async fn spend(
    db: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE challenges SET used_at = $2 WHERE id = $1");
    query.bind(id).bind(now.millis()).execute(db).await?;
    Ok(())
}

/// Uses a sign-in challenge up; false where that was done before.
pub(crate) async fn spend_nonce(
    db: &mut SqliteConnection,
    nonce: &[u8],
    expires_at: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "INSERT INTO spent (nonce, expires_at) VALUES ($1, $2) ON CONFLICT (nonce) DO NOTHING",
    );
    let done = query.bind(nonce).bind(expires_at.millis()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// Forgets what has long been of no use.
pub(crate) async fn forget(db: &mut SqliteConnection, before: Timestamp) -> Result<(), StoreError> {
    for table in [
        "DELETE FROM challenges WHERE expires_at < $1",
        "DELETE FROM spent WHERE expires_at < $1",
        "DELETE FROM totps WHERE confirmed_at IS NULL AND added_at < $1",
    ] {
        sqlx::query(table).bind(before.millis()).execute(&mut *db).await?;
    }
    Ok(())
}
