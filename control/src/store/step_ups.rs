//! The table of step-ups. Nothing in it is ever changed.

use policies::{PrincipalId, StepUp, StepUpId};
use sqlx::SqliteConnection;

use super::{from_json, to_json};
use crate::model::error::StoreError;

/// How many are looked through: more than anybody gives for one thing before the first is stale.
const LATEST: i64 = 64;

pub(crate) async fn insert(db: &mut SqliteConnection, given: &StepUp) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO step_ups (id, principal, subject, at, body) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(given.id.as_str())
    .bind(given.principal.as_str())
    .bind(&given.subject)
    .bind(given.at.millis())
    .bind(to_json(given)?)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn find(
    db: &mut SqliteConnection,
    id: &StepUpId,
) -> Result<Option<StepUp>, StoreError> {
    let query = sqlx::query_scalar("SELECT body FROM step_ups WHERE id = $1");
    let body: Option<String> = query.bind(id.as_str()).fetch_optional(db).await?;
    body.map(|body| from_json(&body)).transpose()
}

/// What this person gave for this, the youngest first.
pub(crate) async fn of(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
    subject: &str,
) -> Result<Vec<StepUp>, StoreError> {
    let query = sqlx::query_scalar(
        "SELECT body FROM step_ups WHERE principal = $1 AND subject = $2 \
         ORDER BY at DESC, seq DESC LIMIT $3",
    );
    let query = query.bind(principal.as_str()).bind(subject).bind(LATEST);
    let bodies: Vec<String> = query.fetch_all(db).await?;
    bodies.iter().map(|body| from_json(body)).collect()
}
