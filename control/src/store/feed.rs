//! The revision of the feed, counted in the transaction that it tells of.

use sqlx::SqliteConnection;

use crate::model::error::StoreError;

pub(crate) async fn revision(db: &mut SqliteConnection) -> Result<u64, StoreError> {
    let query = sqlx::query_scalar::<_, i64>("SELECT revision FROM feed");
    Ok(query.fetch_one(db).await?.cast_unsigned())
}

/// The next revision: after the last one in the store, and after what was published without it.
pub(crate) async fn next_revision(
    db: &mut SqliteConnection,
    message: u64,
) -> Result<u64, StoreError> {
    let query = sqlx::query_scalar::<_, i64>(
        "UPDATE feed SET revision = MAX (revision, $1) + 1 RETURNING revision",
    );
    Ok(query.bind(message.cast_signed()).fetch_one(db).await?.cast_unsigned())
}
