//! The tables of what people came by, and of what failed lately with something of theirs.

use policies::{PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use crate::model::error::StoreError;
use crate::model::place::Kind;

/// Whether this person came by this after `since`.
pub(crate) async fn knows(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
    kind: Kind,
    what: &str,
    since: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM seen \
         WHERE principal = $1 AND kind = $2 AND what = $3 AND last_at > $4)",
    );
    let query = query.bind(principal.as_str()).bind(kind.word()).bind(what);
    Ok(query.bind(since.millis()).fetch_one(db).await?)
}

/// Keeps what this person came by, of each kind at most so many; the longest unseen make room.
pub(crate) async fn learn(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
    kind: Kind,
    what: &str,
    now: Timestamp,
    most: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO seen (principal, kind, what, first_at, last_at) VALUES ($1, $2, $3, $4, $4) \
         ON CONFLICT (principal, kind, what) DO UPDATE SET last_at = excluded.last_at",
    )
    .bind(principal.as_str())
    .bind(kind.word())
    .bind(what)
    .bind(now.millis())
    .execute(&mut *db)
    .await?;
    sqlx::query(
        "DELETE FROM seen WHERE principal = $1 AND kind = $2 AND what IN \
         (SELECT what FROM seen WHERE principal = $1 AND kind = $2 \
         ORDER BY last_at DESC, what LIMIT -1 OFFSET $3)",
    )
    .bind(principal.as_str())
    .bind(kind.word())
    .bind(most)
    .execute(db)
    .await?;
    Ok(())
}

/// How often it failed with something of this person's after `since`.
pub(crate) async fn failures(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
    since: Timestamp,
) -> Result<u32, StoreError> {
    let query =
        sqlx::query_scalar("SELECT count(*) FROM failures WHERE principal = $1 AND at > $2");
    let count: i64 = query.bind(principal.as_str()).bind(since.millis()).fetch_one(db).await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Counts a failure. Of one person at most so many are kept.
pub(crate) async fn failed(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
    what: &str,
    now: Timestamp,
    most: i64,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO failures (principal, at, what) VALUES ($1, $2, $3)")
        .bind(principal.as_str())
        .bind(now.millis())
        .bind(what)
        .execute(&mut *db)
        .await?;
    sqlx::query(
        "DELETE FROM failures WHERE principal = $1 AND seq IN \
         (SELECT seq FROM failures WHERE principal = $1 ORDER BY at DESC, seq DESC \
         LIMIT -1 OFFSET $2)",
    )
    .bind(principal.as_str())
    .bind(most)
    .execute(db)
    .await?;
    Ok(())
}

/// Forgets all that this person came by.
pub(crate) async fn forget_person(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM seen WHERE principal = $1").bind(principal.as_str());
    query.execute(db).await?;
    Ok(())
}

/// Forgets what nobody came by since then, and what failed before.
pub(crate) async fn forget(
    db: &mut SqliteConnection,
    unseen_since: Timestamp,
    failed_before: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM seen WHERE last_at <= $1").bind(unseen_since.millis());
    query.execute(&mut *db).await?;
    let query = sqlx::query("DELETE FROM failures WHERE at <= $1").bind(failed_before.millis());
    query.execute(db).await?;
    Ok(())
}
