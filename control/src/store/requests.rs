//! The table of requests.

use std::net::IpAddr;

use policies::{PrincipalId, Request, RequestId, Risk, Ticket, Timestamp};
use sqlx::SqliteConnection;

use super::{from_json, parse, to_json};
use crate::model::error::StoreError;

/// A request as it is kept, with where its connection comes from.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) request: Request,
    pub(crate) source: Option<IpAddr>,
    /// What was unusual when it was asked.
    pub(crate) risk: Risk,
}

type Row = (i64, String, Option<String>, Option<String>);

fn read((seq, body, source, risk): Row) -> Result<Stored, StoreError> {
    Ok(Stored {
        seq,
        request: from_json(&body)?,
        source: source.map(|text| parse("address", &text)).transpose()?,
        risk: risk.map(|text| from_json(&text)).transpose()?.unwrap_or_default(),
    })
}

fn read_all(rows: Vec<Row>) -> Result<Vec<Stored>, StoreError> {
    rows.into_iter().map(read).collect()
}

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    request: &Request,
    source: Option<IpAddr>,
    risk: Risk,
    escalates_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let unusual = (risk != Risk::default()).then(|| to_json(&risk)).transpose()?;
    sqlx::query(
        "INSERT INTO requests \
         (id, principal, resource, state, lapses_at, source, ticket, escalates_at, body, risk) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(request.id.as_str())
    .bind(request.principal.as_str())
    .bind(request.resource.to_string())
    .bind(request.state.word())
    .bind(request.lapses_at.millis())
    .bind(source.map(|address| address.to_string()))
    .bind(request.ticket.as_ref().map(Ticket::as_str))
    .bind(escalates_at.map(Timestamp::millis))
    .bind(to_json(request)?)
    .bind(unusual)
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn update(
    db: &mut SqliteConnection,
    request: &Request,
    escalates_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE requests SET state = $2, ticket = $3, escalates_at = $4, body = $5, lapses_at = $6 \
         WHERE id = $1",
    )
    .bind(request.id.as_str())
    .bind(request.state.word())
    .bind(request.ticket.as_ref().map(Ticket::as_str))
    .bind(escalates_at.map(Timestamp::millis))
    .bind(to_json(request)?)
    .bind(request.lapses_at.millis())
    .execute(db)
    .await?;
    Ok(())
}

pub(crate) async fn find(
    db: &mut SqliteConnection,
    id: &RequestId,
) -> Result<Option<Stored>, StoreError> {
    let query = sqlx::query_as("SELECT seq, body, source, risk FROM requests WHERE id = $1");
    let row: Option<Row> = query.bind(id.as_str()).fetch_optional(db).await?;
    row.map(read).transpose()
}

/// All of one person that wait, the newest first. There are never many.
pub(crate) async fn pending_of(
    db: &mut SqliteConnection,
    principal: &PrincipalId,
) -> Result<Vec<Stored>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body, source, risk FROM requests WHERE principal = $1 AND state = 'pending' \
         ORDER BY seq DESC",
    );
    read_all(query.bind(principal.as_str()).fetch_all(db).await?)
}

/// All that wait for this ticket.
pub(crate) async fn pending_about(
    db: &mut SqliteConnection,
    ticket: &Ticket,
) -> Result<Vec<Request>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body, source, risk FROM requests WHERE ticket = $1 AND state = 'pending'",
    );
    let rows = read_all(query.bind(ticket.as_str()).fetch_all(db).await?)?;
    Ok(rows.into_iter().map(|stored| stored.request).collect())
}

/// Those where others may stand in by now for whoever took too long.
pub(crate) async fn escalating(
    db: &mut SqliteConnection,
    now: Timestamp,
    at_most: i64,
) -> Result<Vec<Request>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body, source, risk FROM requests \
         WHERE state = 'pending' AND escalates_at <= $1 ORDER BY escalates_at LIMIT $2",
    );
    let rows = read_all(query.bind(now.millis()).bind(at_most).fetch_all(db).await?)?;
    Ok(rows.into_iter().map(|stored| stored.request).collect())
}

/// All that wait, the newest first.
pub(crate) async fn pending(db: &mut SqliteConnection) -> Result<Vec<Stored>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body, source, risk FROM requests WHERE state = 'pending' ORDER BY seq DESC",
    );
    read_all(query.fetch_all(db).await?)
}

pub(crate) async fn lapsing(
    db: &mut SqliteConnection,
    now: Timestamp,
    at_most: i64,
) -> Result<Vec<Stored>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body, source, risk FROM requests \
         WHERE state = 'pending' AND lapses_at <= $1 ORDER BY lapses_at LIMIT $2",
    );
    read_all(query.bind(now.millis()).bind(at_most).fetch_all(db).await?)
}

pub(crate) async fn count_pending(db: &mut SqliteConnection) -> Result<i64, StoreError> {
    let query = sqlx::query_scalar("SELECT count(*) FROM requests WHERE state = 'pending'");
    Ok(query.fetch_one(db).await?)
}

/// Some of one person or of all, in one state or in any, the newest first.
pub(crate) async fn list(
    db: &mut SqliteConnection,
    principal: Option<&PrincipalId>,
    state: Option<&str>,
    before: i64,
    at_most: i64,
) -> Result<Vec<Stored>, StoreError> {
    let query = sqlx::query_as(
        "SELECT seq, body, source, risk FROM requests \
         WHERE seq < $1 AND ($2 IS NULL OR principal = $2) AND ($3 IS NULL OR state = $3) \
         ORDER BY seq DESC LIMIT $4",
    );
    let query =
        query.bind(before).bind(principal.map(PrincipalId::as_str)).bind(state).bind(at_most);
    read_all(query.fetch_all(db).await?)
}

/// The tickets that something hangs on: of requests that wait, and of grants that aren't over.
pub(crate) async fn tickets_in_use(db: &mut SqliteConnection) -> Result<Vec<Ticket>, StoreError> {
    let query = sqlx::query_scalar(
        "SELECT ticket FROM requests WHERE ticket IS NOT NULL AND state = 'pending' \
         UNION SELECT ticket FROM grants WHERE ticket IS NOT NULL AND deadline IS NOT NULL",
    );
    let names: Vec<String> = query.fetch_all(db).await?;
    names.iter().map(|name| parse("ticket", name)).collect()
}
