//! Which store this is, how far it has come, and what ends where an older one is accepted.

use policies::{CredentialId, LockId, PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use super::parse;
use crate::model::error::StoreError;
use crate::model::high_water::{Factor, IssuedCredential, StorePoint};

/// How far the store has come, and whether its high-water mark was ever written.
pub(crate) async fn point(db: &mut SqliteConnection) -> Result<(StorePoint, bool), StoreError> {
    let query = sqlx::query_as("SELECT store, epoch, marked FROM high_water");
    let (store, epoch, marked): (String, i64, bool) = query.fetch_one(&mut *db).await?;
    let query = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM audit");
    let event: i64 = query.fetch_one(&mut *db).await?;
    let digest = super::audit::digest_of(db, event).await?.unwrap_or_default();
    Ok((StorePoint { store, epoch: epoch.cast_unsigned(), event, digest }, marked))
}

/// Puts another epoch in force.
pub(crate) async fn set_epoch(db: &mut SqliteConnection, epoch: u64) -> Result<(), StoreError> {
    let query = sqlx::query("UPDATE high_water SET epoch = $1").bind(epoch.cast_signed());
    query.execute(db).await?;
    Ok(())
}

/// Writes down that the high-water mark was written.
pub(crate) async fn marked(db: &mut SqliteConnection) -> Result<(), StoreError> {
    sqlx::query("UPDATE high_water SET marked = 1").execute(db).await?;
    Ok(())
}

/// The ids of all locks, lifted ones among them.
pub(crate) async fn lock_ids(db: &mut SqliteConnection) -> Result<Vec<LockId>, StoreError> {
    let rows: Vec<String> = sqlx::query_scalar("SELECT id FROM locks").fetch_all(db).await?;
    rows.iter().map(|id| parse("lock", id)).collect()
}

/// Certificates that were issued in sign-ins and have not ended by themselves.
pub(crate) async fn certificates(
    db: &mut SqliteConnection,
    now: Timestamp,
) -> Result<Vec<IssuedCredential>, StoreError> {
    let query = sqlx::query_as(
        "SELECT serial, principal, expires_at FROM certificates WHERE expires_at > $1",
    );
    let rows: Vec<(String, String, i64)> = query.bind(now.millis()).fetch_all(db).await?;
    let issued = rows.into_iter().map(|(serial, whose, expires_at)| {
        Ok(IssuedCredential {
            id: parse::<CredentialId>("credential", &serial)?,
            whose: parse("principal", &whose)?,
            expires_at: Timestamp::from_millis(expires_at),
        })
    });
    issued.collect()
}

/// Removes something by which a person could prove who they are; false where it isn't there.
pub(crate) async fn remove_factor(
    db: &mut SqliteConnection,
    factor: &Factor,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let (text, id) = match factor {
        Factor::Passkey(id) => {
            ("DELETE FROM passkeys WHERE id = $1 AND $2 IS NOT NULL", id.as_str())
        }
        Factor::SshKey(id) => (
            "UPDATE ssh_keys SET removed_at = $2 WHERE id = $1 AND removed_at IS NULL",
            id.as_str(),
        ),
        Factor::App(whose) => (
            "DELETE FROM totps WHERE principal = $1 AND $2 IS NOT NULL",
            PrincipalId::as_str(whose),
        ),
    };
    let done = sqlx::query(text).bind(id).bind(now.millis()).execute(db).await?;
    Ok(done.rows_affected() > 0)
}

/// Ends everything that lets somebody in or act without a fresh proof: tokens, links, open questions,
/// recoveries that wait, and touches.
pub(crate) async fn end_all_proofs(
    db: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), StoreError> {
    for text in [
        "UPDATE tokens SET revoked_at = $1 WHERE revoked_at IS NULL",
        "UPDATE invites SET used_at = $1 WHERE used_at IS NULL",
        "UPDATE challenges SET used_at = $1 WHERE used_at IS NULL",
        "UPDATE recoveries SET expires_at = min(expires_at, $1) WHERE done_at IS NULL",
        "DELETE FROM step_ups WHERE at <= $1",
    ] {
        sqlx::query(text).bind(now.millis()).execute(&mut *db).await?;
    }
    Ok(())
}
