//! The table of one-time links. It holds the digests of codes, never the codes.

use policies::{PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use super::parse;
use crate::model::error::StoreError;
use crate::platform::ids::Hash;

pub(crate) async fn insert_invite(
    db: &mut SqliteConnection,
    digest: &Hash,
    principal: &PrincipalId,
    expires_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO invites (digest, principal, expires_at) VALUES ($1, $2, $3)")
        .bind(&digest[..])
        .bind(principal.as_str())
        .bind(expires_at.millis())
        .execute(db)
        .await?;
    Ok(())
}

/// Uses a link up: whose it is, where it was still good.
pub(crate) async fn use_invite(
    db: &mut SqliteConnection,
    digest: &Hash,
    now: Timestamp,
) -> Result<Option<PrincipalId>, StoreError> {
    let query = sqlx::query_scalar(
        "UPDATE invites SET used_at = $2 \
         WHERE digest = $1 AND used_at IS NULL AND expires_at > $2 RETURNING principal",
    );
    let query = query.bind(&digest[..]).bind(now.millis());
    let principal: Option<String> = query.fetch_optional(db).await?;
    principal.map(|text| parse("principal", &text)).transpose()
}

/// Whose a link is that is of no use any more, and whether it was used.
pub(crate) async fn spent_invite(
    db: &mut SqliteConnection,
    digest: &Hash,
) -> Result<Option<(PrincipalId, bool)>, StoreError> {
    let query =
        sqlx::query_as("SELECT principal, used_at IS NOT NULL FROM invites WHERE digest = $1");
    let found: Option<(String, bool)> = query.bind(&digest[..]).fetch_optional(db).await?;
    found.map(|(whose, used)| Ok((parse("principal", &whose)?, used))).transpose()
}

/// Forgets what has long been of no use.
pub(crate) async fn forget(db: &mut SqliteConnection, before: Timestamp) -> Result<(), StoreError> {
    for table in [
        "DELETE FROM invites WHERE expires_at < $1",
        "DELETE FROM logins WHERE expires_at < $1",
        "DELETE FROM happenings WHERE received_at < $1",
    ] {
        let query = sqlx::query(table).bind(before.millis());
        query.execute(&mut *db).await?;
    }
    Ok(())
}
