//! The row that is written to find out whether the store can be written.

use policies::Timestamp;
use sqlx::SqliteConnection;

use crate::model::error::StoreError;

pub(crate) async fn write(db: &mut SqliteConnection, now: Timestamp) -> Result<(), StoreError> {
    // Counted, so that no two writes are the same: a page that stays as it is is not written.
    let query = sqlx::query("UPDATE probe SET written_at = $1, times = times + 1");
    query.bind(now.millis()).execute(db).await?;
    Ok(())
}
