//! What was proved and done, as decisions read it: the audit log tells the same to people.

use policies::{GrantId, SessionId, StepUpId, Timestamp};
use sqlx::SqliteConnection;

use crate::model::error::StoreError;

/// Keeps that a step-up let this session use a grant. The first one stays.
pub(crate) async fn insert_session(
    db: &mut SqliteConnection,
    session: &SessionId,
    grant: &GrantId,
    step_up: &StepUpId,
    at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO proved_sessions (session, \"grant\", step_up, at) VALUES ($1, $2, $3, $4) \
         ON CONFLICT DO NOTHING",
    )
    .bind(session.as_str())
    .bind(grant.as_str())
    .bind(step_up.as_str())
    .bind(at.millis())
    .execute(db)
    .await?;
    Ok(())
}

/// Whether a step-up let this session use the grant.
pub(crate) async fn is_session_proved(
    db: &mut SqliteConnection,
    session: &SessionId,
    grant: &GrantId,
) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar(
        "SELECT EXISTS (SELECT 1 FROM proved_sessions WHERE session = $1 AND \"grant\" = $2)",
    );
    Ok(query.bind(session.as_str()).bind(grant.as_str()).fetch_one(db).await?)
}

/// Forgets the proofs for grants that ended before.
pub(crate) async fn forget_sessions(
    db: &mut SqliteConnection,
    before: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "DELETE FROM proved_sessions WHERE \"grant\" IN \
         (SELECT id FROM grants WHERE ended_at < $1)",
    );
    query.bind(before.millis()).execute(db).await?;
    Ok(())
}

/// Keeps that somebody signed in here. The first time stays.
pub(crate) async fn insert_sign_in(
    db: &mut SqliteConnection,
    at: Timestamp,
) -> Result<(), StoreError> {
    let query =
        sqlx::query("INSERT INTO first_sign_in (only, at) VALUES (1, $1) ON CONFLICT DO NOTHING");
    query.bind(at.millis()).execute(db).await?;
    Ok(())
}

/// Whether anybody has ever signed in here.
pub(crate) async fn has_sign_in(db: &mut SqliteConnection) -> Result<bool, StoreError> {
    Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM first_sign_in)").fetch_one(db).await?)
}
