//! The table of authenticator apps: sealed secrets, and which codes were used.

use policies::{PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use crate::model::error::StoreError;

/// An app as it is kept.
pub(crate) struct Kept {
    pub(crate) sealed: Vec<u8>,
    pub(crate) confirmed: bool,
    /// The time step of the last code that was taken.
    pub(crate) step: i64,
}

/// Takes an unconfirmed secret in, in place of an earlier unconfirmed one; false where there is a
/// confirmed one.
pub(crate) async fn insert(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
    sealed: &[u8],
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "INSERT INTO totps (principal, sealed, added_at) VALUES ($1, $2, $3) \
         ON CONFLICT (principal) DO UPDATE SET sealed = $2, added_at = $3 \
         WHERE confirmed_at IS NULL",
    );
    let done = query.bind(principal.as_str()).bind(sealed).bind(now.millis()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn find(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
) -> Result<Option<Kept>, StoreError> {
    let query = sqlx::query_as(
        "SELECT sealed, confirmed_at IS NOT NULL, step FROM totps WHERE principal = $1",
    );
    let row: Option<(Vec<u8>, bool, i64)> =
        query.bind(principal.as_str()).fetch_optional(db).await?;
    Ok(row.map(|(sealed, confirmed, step)| Kept { sealed, confirmed, step }))
}

pub(crate) async fn confirmed(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
) -> Result<bool, StoreError> {
    Ok(find(db, principal).await?.is_some_and(|kept| kept.confirmed))
}

/// Writes down that the code of a time step was used, which confirms the app.
pub(crate) async fn used(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
    step: i64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "UPDATE totps SET step = $2, used_at = $3, confirmed_at = COALESCE (confirmed_at, $3) \
         WHERE principal = $1",
    );
    query.bind(principal.as_str()).bind(step).bind(now.millis()).execute(db).await?;
    Ok(())
}

/// Removes it; false where there is none.
pub(crate) async fn remove(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
) -> Result<bool, StoreError> {
    let query = sqlx::query("DELETE FROM totps WHERE principal = $1");
    let done = query.bind(principal.as_str()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}
