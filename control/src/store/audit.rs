//! The audit log: only ever added to. It is read to be shown, and never to decide: whoever can write
//! many events would decide what the newest ones are. `tests/decisions.rs` holds that.

use policies::Timestamp;
use sqlx::SqliteConnection;

use super::{from_json, to_json};
use crate::audit::Event;
use crate::{AuditView, ControlError, Page, Paging};

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    event: &Event,
    at: Timestamp,
) -> Result<(), ControlError> {
    sqlx::query("INSERT INTO audit (at, actor, kind, subject, detail) VALUES ($1, $2, $3, $4, $5)")
        .bind(at.millis())
        .bind(event.by.to_string())
        .bind(event.kind)
        .bind(&event.subject)
        .bind(to_json(&event.detail)?)
        .execute(db)
        .await?;
    Ok(())
}

pub(crate) async fn page(
    db: &mut SqliteConnection,
    paging: Paging,
) -> Result<Page<AuditView>, ControlError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT id, at, actor, kind, subject, detail FROM audit WHERE id < $1 \
         ORDER BY id DESC LIMIT $2",
    )
    .bind(paging.before())
    .bind(paging.size())
    .fetch_all(db)
    .await?;
    let next = paging.next(rows.len(), rows.last().map(|row| row.0));
    Ok(Page { items: views(rows)?, next })
}

type Row = (i64, i64, String, String, String, String);

fn views(rows: Vec<Row>) -> Result<Vec<AuditView>, ControlError> {
    let views = rows.into_iter().map(|(id, at, actor, kind, subject, detail)| {
        let (at, detail) = (Timestamp::from_millis(at), from_json(&detail)?);
        Ok(AuditView { id, at, actor, kind, subject, detail })
    });
    views.collect()
}

/// The newest events about this thing.
pub(crate) async fn about(
    db: &mut SqliteConnection,
    subject: &str,
    most: i64,
) -> Result<Vec<AuditView>, ControlError> {
    let query = sqlx::query_as(
        "SELECT id, at, actor, kind, subject, detail FROM audit WHERE subject = $1 \
         ORDER BY id DESC LIMIT $2",
    );
    views(query.bind(subject).bind(most).fetch_all(db).await?)
}

/// The newest events of this actor's doing.
pub(crate) async fn by(
    db: &mut SqliteConnection,
    actor: &str,
    most: i64,
) -> Result<Vec<AuditView>, ControlError> {
    let query = sqlx::query_as(
        "SELECT id, at, actor, kind, subject, detail FROM audit WHERE actor = $1 \
         ORDER BY id DESC LIMIT $2",
    );
    views(query.bind(actor).bind(most).fetch_all(db).await?)
}
