//! Copies of the store, for backups. The gateway may run meanwhile.

use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::model::error::{ControlError, Unreadable};
use crate::model::high_water::StorePoint;
use crate::store;

/// Copies the database as it is at one moment, into a file that is there and empty, and says how far the copy
/// has come. Writers go on meanwhile.
///
/// # Errors
/// Where the database can't be read, or the copy can't be written or isn't whole.
pub async fn copy_store(database: &Path, to: &Path) -> Result<StorePoint, ControlError> {
    let options = SqliteConnectOptions::new().filename(database).read_only(true);
    let mut db = options.connect().await?;
    let place = to.to_str().ok_or_else(|| Unreadable::new("path", "it is not UTF-8"))?;
    sqlx::query("VACUUM INTO $1").bind(place).execute(&mut db).await?;
    db.close().await?;
    read_copy(to).await
}

/// Checks a copy, and says how far it has come. Nothing else may use it meanwhile.
///
/// # Errors
/// Where it is not whole, or no store of a gateway.
pub async fn read_copy(copy: &Path) -> Result<StorePoint, ControlError> {
    // No other file is made beside the copy.
    let options = SqliteConnectOptions::new().filename(copy).read_only(true).immutable(true);
    let mut db: SqliteConnection = options.connect().await?;
    let found: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(&mut db).await?;
    if found != "ok" {
        return Err(Unreadable::new("database", found).into());
    }
    let (point, _) = store::high_water::point(&mut db).await?;
    db.close().await?;
    Ok(point)
}
