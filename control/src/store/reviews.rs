//! The table of reviews.

use policies::{GrantId, Review, ReviewId};
use sqlx::SqliteConnection;

use super::{from_json, to_json};
use crate::model::error::StoreError;

/// A review as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) review: Review,
}

type Row = (i64, String);

fn read((seq, body): Row) -> Result<Stored, StoreError> {
    let review = from_json(&body)?;
    Ok(Stored { seq, review })
}

pub(crate) async fn insert(db: &mut SqliteConnection, review: &Review) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO reviews (id, \"grant\", principal, state, body) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(review.id.as_str())
    .bind(review.grant.as_str())
    .bind(review.principal.as_str())
    .bind(review.state.word())
    .bind(to_json(review)?)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn update(db: &mut SqliteConnection, review: &Review) -> Result<(), StoreError> {
    sqlx::query("UPDATE reviews SET state = $2, body = $3 WHERE id = $1")
        .bind(review.id.as_str())
        .bind(review.state.word())
        .bind(to_json(review)?)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn find(
    db: &mut SqliteConnection,
    id: &ReviewId,
) -> Result<Option<Review>, StoreError> {
    let query = sqlx::query_as("SELECT seq, body FROM reviews WHERE id = $1");
    let row: Option<Row> = query.bind(id.as_str()).fetch_optional(db).await?;
    Ok(row.map(read).transpose()?.map(|stored| stored.review))
}

/// The review of a grant, where it has one.
pub(crate) async fn of(
    db: &mut SqliteConnection,
    grant: &GrantId,
) -> Result<Option<Review>, StoreError> {
    let query = sqlx::query_as("SELECT seq, body FROM reviews WHERE \"grant\" = $1");
    let row: Option<Row> = query.bind(grant.as_str()).fetch_optional(db).await?;
    Ok(row.map(read).transpose()?.map(|stored| stored.review))
}

/// Those in one state or in any, the newest first.
pub(crate) async fn list(
    db: &mut SqliteConnection,
    state: Option<&str>,
    before: i64,
    at_most: i64,
) -> Result<Vec<Stored>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body FROM reviews WHERE seq < $1 AND ($2 IS NULL OR state = $2) \
         ORDER BY seq DESC LIMIT $3",
    );
    let rows: Vec<Row> = query.bind(before).bind(state).bind(at_most).fetch_all(db).await?;
    rows.into_iter().map(read).collect()
}
