//! The table of tokens that workloads have shown. It holds digests, never a token.

use policies::{PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use crate::model::error::StoreError;
use crate::platform::ids::Hash;

/// A token, and with which key it was shown first.
pub(crate) struct Shown<'a> {
    pub(crate) token: &'a Hash,
    pub(crate) key: &'a Hash,
    pub(crate) workload: &'a PrincipalId,
    pub(crate) expires_at: Timestamp,
}

/// How often the token was shown with this key by now; none where it was shown with another one.
pub(crate) async fn show(
    db: &mut SqliteConnection,
    shown: &Shown<'_>,
) -> Result<Option<u32>, StoreError> {
    let query = sqlx::query_scalar(
        "INSERT INTO exchanges (token, key, workload, times, expires_at) VALUES ($1, $2, $3, 1, $4) \
         ON CONFLICT (token) DO UPDATE SET times = times + 1 \
         WHERE key = excluded.key AND workload = excluded.workload RETURNING times",
    );
    let query = query
        .bind(&shown.token[..])
        .bind(&shown.key[..])
        .bind(shown.workload.as_str())
        .bind(shown.expires_at.millis());
    Ok(query.fetch_optional(db).await?)
}

/// Forgets the tokens that have expired.
pub(crate) async fn forget(db: &mut SqliteConnection, before: Timestamp) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM exchanges WHERE expires_at < $1").bind(before.millis());
    query.execute(db).await.map(drop).map_err(Into::into)
}
