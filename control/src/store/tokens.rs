//! The table of tokens. It holds the digest of a secret, never the secret.

use policies::{DeviceId, LoginId, PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use super::parse;
use crate::model::error::StoreError;
use crate::model::view::TokenView;
use crate::platform::ids::Hash;

/// A token as it is kept.
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) token: TokenView,
    pub(crate) device: Option<DeviceId>,
    pub(crate) digest: Vec<u8>,
}

type Row =
    (i64, String, String, String, Option<String>, Vec<u8>, i64, i64, Option<u32>, Option<i64>);

fn read(row: Row) -> Result<Stored, StoreError> {
    let (seq, id, principal, resource, device, digest, minted_at, expires_at, uses, revoked) = row;
    let token = TokenView {
        id,
        principal: parse("principal", &principal)?,
        resource: parse("resource", &resource)?,
        minted_at: Timestamp::from_millis(minted_at),
        expires_at: Timestamp::from_millis(expires_at),
        uses_left: uses,
        revoked_at: revoked.map(Timestamp::from_millis),
    };
    Ok(Stored {
        seq,
        token,
        device: device.map(|text| parse("device", &text)).transpose()?,
        digest,
    })
}

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    token: &TokenView,
    login: &LoginId,
    device: Option<&DeviceId>,
    digest: &Hash,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO tokens \
         (id, principal, resource, device, digest, minted_at, expires_at, uses_left, login) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(&token.id)
    .bind(token.principal.as_str())
    .bind(token.resource.to_string())
    .bind(device.map(DeviceId::as_str))
    .bind(&digest[..])
    .bind(token.minted_at.millis())
    .bind(token.expires_at.millis())
    .bind(token.uses_left)
    .bind(login.as_str())
    .execute(db)
    .await?;
    Ok(())
}

const COLUMNS: &str = "SELECT seq, id, principal, resource, device, digest, minted_at, \
                       expires_at, uses_left, revoked_at FROM tokens";

pub(crate) async fn find(
    db: &mut SqliteConnection,
    id: &str,
) -> Result<Option<Stored>, StoreError> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE id = $1"));
    let row: Option<Row> = sqlx::query_as(text).bind(id).fetch_optional(db).await?;
    row.map(read).transpose()
}

/// Takes one use; false where none is left, or the token was taken back or has ended.
pub(crate) async fn take_use(
    db: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "UPDATE tokens SET uses_left = uses_left - 1 WHERE id = $1 AND revoked_at IS NULL \
         AND expires_at > $2 AND (uses_left IS NULL OR uses_left > 0)",
    );
    let done = query.bind(id).bind(now.millis()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// Takes it back; false where that was done before.
pub(crate) async fn revoke(
    db: &mut SqliteConnection,
    id: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query =
        sqlx::query("UPDATE tokens SET revoked_at = $2 WHERE id = $1 AND revoked_at IS NULL");
    let done = query.bind(id).bind(now.millis()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

/// Some of one person or of all, the newest first.
pub(crate) async fn list(
    db: &mut SqliteConnection,
    principal: Option<&PrincipalId>,
    before: i64,
    at_most: i64,
) -> Result<Vec<Stored>, StoreError> {
    let text = sqlx::AssertSqlSafe(format!(
        "{COLUMNS} WHERE seq < $1 AND ($2 IS NULL OR principal = $2) ORDER BY seq DESC LIMIT $3"
    ));
    let query =
        sqlx::query_as(text).bind(before).bind(principal.map(PrincipalId::as_str)).bind(at_most);
    let rows: Vec<Row> = query.fetch_all(db).await?;
    rows.into_iter().map(read).collect()
}
