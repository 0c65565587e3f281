//! The tables of passkeys, and of the handles under which authenticators know people.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use policies::{PrincipalId, Timestamp};
use sqlx::SqliteConnection;
use webauthn_rs::prelude::{Passkey, Uuid};

use super::{from_json, parse, to_json};
use crate::model::error::{StoreError, Unreadable};
use crate::model::view::PasskeyView;

/// A passkey as it is kept.
pub(crate) struct Kept {
    pub(crate) view: PasskeyView,
    pub(crate) key: Passkey,
}

impl Kept {
    /// The authenticator's own name for it, in base64url.
    pub(crate) fn credential(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.key.cred_id())
    }
}

type Row = (String, String, String, i64, Option<i64>, String);

const COLUMNS: &str = "SELECT id, principal, name, added_at, used_at, body FROM passkeys";

fn read(row: Row) -> Result<Kept, StoreError> {
    let (id, principal, name, added_at, used_at, body) = row;
    let view = PasskeyView {
        id,
        principal: parse("principal", &principal)?,
        name,
        added_at: Timestamp::from_millis(added_at),
        used_at: used_at.map(Timestamp::from_millis),
    };
    Ok(Kept { view, key: from_json(&body)? })
}

/// Takes one in; false where the credential is somebody's already.
pub(crate) async fn insert(db: &mut SqliteConnection, kept: &Kept) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "INSERT INTO passkeys (id, credential, principal, name, added_at, body) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (credential) DO NOTHING",
    );
    let done = query
        .bind(&kept.view.id)
        .bind(kept.key.cred_id())
        .bind(kept.view.principal.as_str())
        .bind(&kept.view.name)
        .bind(kept.view.added_at.millis())
        .bind(to_json(&kept.key)?)
        .execute(db)
        .await?;
    Ok(done.rows_affected() == 1)
}

/// Of one person, the oldest first.
pub(crate) async fn of(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
) -> Result<Vec<Kept>, StoreError> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE principal = $1 ORDER BY seq"));
    let rows: Vec<Row> = sqlx::query_as(text).bind(principal.as_str()).fetch_all(db).await?;
    rows.into_iter().map(read).collect()
}

pub(crate) async fn count(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
) -> Result<u32, StoreError> {
    let query = sqlx::query_scalar("SELECT COUNT(*) FROM passkeys WHERE principal = $1");
    Ok(query.bind(principal.as_str()).fetch_one(db).await?)
}

/// By the authenticator's own name for it, whosever it is.
pub(crate) async fn by_credential(
    db: &mut SqliteConnection,
    credential: &[u8],
) -> Result<Option<Kept>, StoreError> {
    let text = sqlx::AssertSqlSafe(format!("{COLUMNS} WHERE credential = $1"));
    let row: Option<Row> = sqlx::query_as(text).bind(credential).fetch_optional(db).await?;
    row.map(read).transpose()
}

/// Writes down that it was used: its counter and what else the authenticator says of it.
pub(crate) async fn used(
    db: &mut SqliteConnection,
    kept: &Kept,
    now: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE passkeys SET used_at = $2, body = $3 WHERE id = $1");
    let query = query.bind(&kept.view.id).bind(now.millis()).bind(to_json(&kept.key)?);
    query.execute(db).await?;
    Ok(())
}

/// Names one of this person's again; false where they have none of that id.
pub(crate) async fn rename(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
    id: &str,
    name: &str,
) -> Result<bool, StoreError> {
    let query = sqlx::query("UPDATE passkeys SET name = $3 WHERE id = $2 AND principal = $1");
    let done = query.bind(principal.as_str()).bind(id).bind(name).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn remove(db: &mut SqliteConnection, id: &str) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM passkeys WHERE id = $1").bind(id).execute(db).await?;
    Ok(())
}

/// The handle of a person, made where they have none.
pub(crate) async fn handle(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
) -> Result<Uuid, StoreError> {
    sqlx::query(
        "INSERT INTO handles (principal, handle) VALUES ($1, $2) \
         ON CONFLICT (principal) DO NOTHING",
    )
    .bind(principal.as_str())
    .bind(&Uuid::new_v4().as_bytes()[..])
    .execute(&mut *db)
    .await?;
    let query = sqlx::query_scalar("SELECT handle FROM handles WHERE principal = $1");
    let bytes: Vec<u8> = query.bind(principal.as_str()).fetch_one(db).await?;
    Uuid::from_slice(&bytes).map_err(|error| Unreadable::new("handle", error).into())
}
