//! What login sessions brought: the table of certificates, and the tokens beside it.

use policies::{DeviceId, LoginId, PrincipalId, Timestamp};
use sqlx::SqliteConnection;

use crate::model::credential::Brought;
use crate::model::error::StoreError;

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    certificate: &Brought,
    principal: &PrincipalId,
    login: Option<&LoginId>,
    device: Option<&DeviceId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO certificates (serial, login, principal, device, issued_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(&certificate.id)
    .bind(login.map(LoginId::as_str))
    .bind(principal.as_str())
    .bind(device.map(DeviceId::as_str))
    .bind(now.millis())
    .bind(certificate.expires_at.millis())
    .execute(db)
    .await?;
    Ok(())
}

/// Takes certificates and tokens of a session back: those that were still good.
pub(crate) async fn take_back(
    db: &mut SqliteConnection,
    login: &LoginId,
    now: Timestamp,
) -> Result<Vec<Brought>, StoreError> {
    let mut all = Vec::new();
    for table in [
        "UPDATE certificates SET revoked_at = $2 \
         WHERE login = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING serial, expires_at",
        "UPDATE tokens SET revoked_at = $2 \
         WHERE login = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING id, expires_at",
    ] {
        let query = sqlx::query_as(table).bind(login.as_str()).bind(now.millis());
        let rows: Vec<(String, i64)> = query.fetch_all(&mut *db).await?;
        let brought = rows
            .into_iter()
            .map(|(id, expires_at)| Brought { id, expires_at: Timestamp::from_millis(expires_at) });
        all.extend(brought);
    }
    Ok(all)
}
