//! The table of grants.

use policies::{Grant, GrantId, GrantState, PrincipalId, RequestId, Resource, Ticket, Timestamp};
use sqlx::SqliteConnection;

use super::{from_json, to_json};
use crate::model::error::StoreError;

/// A grant as it is kept.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) grant: Grant,
}

type Row = (i64, String);

fn read((seq, body): Row) -> Result<Stored, StoreError> {
    let grant = from_json(&body)?;
    Ok(Stored { seq, grant })
}

fn grants(rows: Vec<Row>) -> Result<Vec<Grant>, StoreError> {
    rows.into_iter().map(|row| read(row).map(|stored| stored.grant)).collect()
}

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    grant: &Grant,
    ticket: Option<&Ticket>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO grants (id, request, principal, resource, deadline, ticket, body) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind(grant.id.as_str())
    .bind(grant.request.as_str())
    .bind(grant.principal.as_str())
    .bind(grant.resource.to_string())
    .bind(grant.deadline().map(Timestamp::millis))
    .bind(ticket.map(Ticket::as_str))
    .bind(to_json(grant)?)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn update(db: &mut SqliteConnection, grant: &Grant) -> Result<(), StoreError> {
    let ended_at = match &grant.state {
        GrantState::Ended { at, .. } => Some(at.millis()),
        GrantState::Scheduled { .. } | GrantState::Granted { .. } | GrantState::Active { .. } => {
            None
        }
    };
    sqlx::query("UPDATE grants SET deadline = $2, ended_at = $3, body = $4 WHERE id = $1")
        .bind(grant.id.as_str())
        .bind(grant.deadline().map(Timestamp::millis))
        .bind(ended_at)
        .bind(to_json(grant)?)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn find(
    db: &mut SqliteConnection,
    id: &GrantId,
) -> Result<Option<Grant>, StoreError> {
    let query = sqlx::query_as("SELECT seq, body FROM grants WHERE id = $1");
    let row: Option<Row> = query.bind(id.as_str()).fetch_optional(db).await?;
    Ok(row.map(read).transpose()?.map(|stored| stored.grant))
}

/// The grants that followed from a request, in the order in which it asks.
pub(crate) async fn of(
    db: &mut SqliteConnection,
    request: &RequestId,
) -> Result<Vec<Grant>, StoreError> {
    let query = sqlx::query_as("SELECT seq, body FROM grants WHERE request = $1 ORDER BY seq");
    grants(query.bind(request.as_str()).fetch_all(db).await?)
}

/// All that were given for this ticket and aren't over.
pub(crate) async fn open_about(
    db: &mut SqliteConnection,
    ticket: &Ticket,
) -> Result<Vec<Grant>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body FROM grants WHERE ticket = $1 AND deadline IS NOT NULL ORDER BY seq",
    );
    grants(query.bind(ticket.as_str()).fetch_all(db).await?)
}

pub(crate) async fn open_for(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
    resource: &Resource,
) -> Result<Option<Grant>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body FROM grants \
         WHERE principal = $1 AND resource = $2 AND deadline IS NOT NULL",
    );
    let query = query.bind(principal.as_str()).bind(resource.to_string());
    let row: Option<Row> = query.fetch_optional(db).await?;
    Ok(row.map(read).transpose()?.map(|stored| stored.grant))
}

/// All that aren't over.
pub(crate) async fn open(db: &mut SqliteConnection) -> Result<Vec<Grant>, StoreError> {
    let query = sqlx::query_as("SELECT seq, body FROM grants WHERE deadline IS NOT NULL");
    grants(query.fetch_all(db).await?)
}

pub(crate) async fn ending(
    db: &mut SqliteConnection,
    now: Timestamp,
    at_most: i64,
) -> Result<Vec<Grant>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body FROM grants WHERE deadline <= $1 ORDER BY deadline LIMIT $2",
    );
    grants(query.bind(now.millis()).bind(at_most).fetch_all(db).await?)
}

pub(crate) async fn ended_since(
    db: &mut SqliteConnection,
    since: Timestamp,
    at_most: i64,
) -> Result<Vec<Grant>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body FROM (SELECT seq, body, ended_at FROM grants WHERE ended_at >= $1 \
         ORDER BY ended_at DESC LIMIT $2) ORDER BY ended_at",
    );
    grants(query.bind(since.millis()).bind(at_most).fetch_all(db).await?)
}

/// Some of one person or of all, the newest first.
pub(crate) async fn list(
    db: &mut SqliteConnection,
    principal: Option<&PrincipalId>,
    live_at: Option<(bool, Timestamp)>,
    before: i64,
    at_most: i64,
) -> Result<Vec<Stored>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body FROM grants WHERE seq < $1 AND ($2 IS NULL OR principal = $2) \
         AND ($3 IS NULL OR (deadline IS NOT NULL AND deadline > $4) = $3) \
         ORDER BY seq DESC LIMIT $5",
    );
    let query = query
        .bind(before)
        .bind(principal.map(PrincipalId::as_str))
        .bind(live_at.map(|(live, _)| live))
        .bind(live_at.map_or(0, |(_, now)| now.millis()))
        .bind(at_most);
    let rows: Vec<Row> = query.fetch_all(db).await?;
    rows.into_iter().map(read).collect()
}
