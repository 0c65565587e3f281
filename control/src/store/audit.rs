//! The audit log: only ever added to. It is read to be shown, and never to decide: whoever can write
//! many events would decide what the newest ones are. `tests/decisions.rs` holds that.

use policies::Timestamp;
use sha2::{Digest, Sha256};
use sqlx::SqliteConnection;

use super::{from_json, to_json};
use crate::model::error::StoreError;
use crate::model::event::Event;
use crate::model::view::{AuditView, Page, Paging};

/// Adds an event: its id, and its digest.
pub(crate) async fn insert(
    db: &mut SqliteConnection,
    event: &Event,
    at: Timestamp,
) -> Result<(i64, String), StoreError> {
    let (actor, detail) = (event.by.to_string(), to_json(&event.detail)?);
    let query = sqlx::query(
        "INSERT INTO audit (at, actor, kind, subject, detail) VALUES ($1, $2, $3, $4, $5)",
    );
    let query = query.bind(at.millis()).bind(&actor).bind(event.kind.name());
    let done = query.bind(&event.subject).bind(&detail).execute(db).await?;
    let id = done.last_insert_rowid();
    Ok((id, digest(id, at.millis(), [&actor, event.kind.name(), &event.subject, &detail])))
}

/// The digest of an event, where there is one of this id.
pub(crate) async fn digest_of(
    db: &mut SqliteConnection,
    id: i64,
) -> Result<Option<String>, StoreError> {
    let query =
        sqlx::query_as("SELECT id, at, actor, kind, subject, detail FROM audit WHERE id = $1");
    let row: Option<Row> = query.bind(id).fetch_optional(db).await?;
    Ok(row.map(|(id, at, actor, kind, subject, detail)| {
        digest(id, at, [&actor, &kind, &subject, &detail])
    }))
}

/// When the newest event happened.
pub(crate) async fn newest_at(db: &mut SqliteConnection) -> Result<Option<Timestamp>, StoreError> {
    let query = sqlx::query_scalar("SELECT at FROM audit ORDER BY id DESC LIMIT 1");
    let at: Option<i64> = query.fetch_optional(db).await?;
    Ok(at.map(Timestamp::from_millis))
}

/// SHA-256 over an event. Lengths come first, so that no two events look alike.
fn digest(id: i64, at: i64, texts: [&str; 4]) -> String {
    let mut hash = Sha256::new();
    hash.update(b"postern audit event v1");
    hash.update(id.to_be_bytes());
    hash.update(at.to_be_bytes());
    for text in texts {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) async fn page(
    db: &mut SqliteConnection,
    paging: Paging,
) -> Result<Page<AuditView>, StoreError> {
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

fn views(rows: Vec<Row>) -> Result<Vec<AuditView>, StoreError> {
    let views = rows.into_iter().map(|(id, at, actor, kind, subject, detail)| {
        let (at, detail) = (Timestamp::from_millis(at), from_json(&detail)?);
        Ok(AuditView { id, at, actor, kind: kind.into(), subject, detail })
    });
    views.collect()
}

/// The newest events about this thing.
pub(crate) async fn about(
    db: &mut SqliteConnection,
    subject: &str,
    most: i64,
) -> Result<Vec<AuditView>, StoreError> {
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
) -> Result<Vec<AuditView>, StoreError> {
    let query = sqlx::query_as(
        "SELECT id, at, actor, kind, subject, detail FROM audit WHERE actor = $1 \
         ORDER BY id DESC LIMIT $2",
    );
    views(query.bind(actor).bind(most).fetch_all(db).await?)
}
