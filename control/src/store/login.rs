//! The tables of one-time links and of login sessions. Both hold digests, never what they are of.

use policies::{DeviceId, PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use super::parse;
use crate::ControlError;
use crate::ids::Hash;

/// A login session as it is kept.
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) principal: PrincipalId,
    pub(crate) device: Option<DeviceId>,
    pub(crate) signed_in_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

pub(crate) async fn insert_invite(
    db: &mut SqliteConnection,
    digest: &Hash,
    principal: &PrincipalId,
    expires_at: Timestamp,
) -> Result<(), ControlError> {
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
) -> Result<Option<PrincipalId>, ControlError> {
    let query = sqlx::query_scalar(
        "UPDATE invites SET used_at = $2 \
         WHERE digest = $1 AND used_at IS NULL AND expires_at > $2 RETURNING principal",
    );
    let query = query.bind(&digest[..]).bind(now.millis());
    let principal: Option<String> = query.fetch_optional(db).await?;
    principal.map(|text| parse("principal", &text)).transpose()
}

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    digest: &Hash,
    login: &Stored,
) -> Result<(), ControlError> {
    sqlx::query(
        "INSERT INTO logins (digest, id, principal, device, signed_in_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&digest[..])
    .bind(&login.id)
    .bind(login.principal.as_str())
    .bind(login.device.as_ref().map(DeviceId::as_str))
    .bind(login.signed_in_at.millis())
    .bind(login.expires_at.millis())
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn find(
    db: &mut SqliteConnection,
    digest: &Hash,
) -> Result<Option<Stored>, ControlError> {
    let query = sqlx::query_as(
        "SELECT id, principal, device, signed_in_at, expires_at FROM logins WHERE digest = $1",
    );
    let row: Option<(String, String, Option<String>, i64, i64)> =
        query.bind(&digest[..]).fetch_optional(db).await?;
    let Some((id, principal, device, signed_in_at, expires_at)) = row else {
        return Ok(None);
    };
    Ok(Some(Stored {
        id,
        principal: parse("principal", &principal)?,
        device: device.map(|text| parse("device", &text)).transpose()?,
        signed_in_at: Timestamp::from_millis(signed_in_at),
        expires_at: Timestamp::from_millis(expires_at),
    }))
}

pub(crate) async fn delete(
    db: &mut SqliteConnection,
    digest: &Hash,
) -> Result<Option<(String, String)>, ControlError> {
    let query = sqlx::query_as("DELETE FROM logins WHERE digest = $1 RETURNING id, principal");
    Ok(query.bind(&digest[..]).fetch_optional(db).await?)
}

/// Forgets what has long been of no use.
pub(crate) async fn forget(
    db: &mut SqliteConnection,
    before: Timestamp,
) -> Result<(), ControlError> {
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
