//! The table of sessions, as proxies reported them.

use policies::{GrantId, PrincipalId, SessionId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row, SqliteConnection};

use super::{from_json, parse, to_json};
use crate::model::error::StoreError;
use crate::model::view::{SessionEnd, SessionView};

/// A session as it is kept.
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) session: SessionView,
    /// Whether the end was only assumed.
    pub(crate) assumed: bool,
}

struct Kept {
    seq: i64,
    assumed: bool,
    texts: [String; 9],
    opened_at: i64,
    ended: Option<SessionEnd>,
}

impl<'r> FromRow<'r, SqliteRow> for Kept {
    fn from_row(row: &'r SqliteRow) -> sqlx::Result<Self> {
        let text = |column: &str| row.try_get::<String, _>(column);
        let count = |column: &str| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
        let ended_at: Option<i64> = row.try_get("ended_at")?;
        let ended = match ended_at {
            None => None,
            Some(at) => Some(SessionEnd {
                at: Timestamp::from_millis(at),
                end: row.try_get::<Option<String>, _>("end")?.unwrap_or_default(),
                detail: row.try_get::<Option<String>, _>("detail")?.unwrap_or_default(),
                bytes_in: count("bytes_in")?,
                bytes_out: count("bytes_out")?,
                statements: count("statements")?,
                head: text("head")?,
            }),
        };
        Ok(Self {
            seq: row.try_get("seq")?,
            assumed: row.try_get("assumed")?,
            texts: [
                text("id")?,
                text("grant")?,
                text("principal")?,
                text("name")?,
                text("authn")?,
                text("resource")?,
                text("client")?,
                text("application")?,
                text("proxy")?,
            ],
            opened_at: row.try_get("opened_at")?,
            ended,
        })
    }
}

fn read(kept: Kept) -> Result<Stored, StoreError> {
    let [id, grant, principal, name, authn, resource, client, application, proxy] = kept.texts;
    let session = SessionView {
        id: parse("session", &id)?,
        grant: parse("grant", &grant)?,
        principal: parse("principal", &principal)?,
        name,
        authn: from_json(&authn)?,
        resource: parse("resource", &resource)?,
        client,
        application,
        proxy,
        opened_at: Timestamp::from_millis(kept.opened_at),
        ended: kept.ended,
    };
    let Kept { seq, assumed, .. } = kept;
    Ok(Stored { seq, session, assumed })
}

/// Whether this report is new.
pub(crate) async fn is_new(
    db: &mut SqliteConnection,
    happening: &str,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query("INSERT OR IGNORE INTO happenings (id, received_at) VALUES ($1, $2)");
    let done = query.bind(happening).bind(now.millis()).execute(db).await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    session: &SessionView,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR IGNORE INTO sessions (id, \"grant\", principal, name, authn, resource, client, \
         application, proxy, opened_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(session.id.as_str())
    .bind(session.grant.as_str())
    .bind(session.principal.as_str())
    .bind(&session.name)
    .bind(to_json(&session.authn)?)
    .bind(session.resource.to_string())
    .bind(&session.client)
    .bind(&session.application)
    .bind(&session.proxy)
    .bind(session.opened_at.millis())
    .execute(db)
    .await?;
    Ok(())
}

/// Writes the end of a session that has none, or one that was only assumed.
pub(crate) async fn end(
    db: &mut SqliteConnection,
    id: &SessionId,
    end: &SessionEnd,
) -> Result<(), StoreError> {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    sqlx::query(
        "UPDATE sessions SET ended_at = $2, assumed = 0, \"end\" = $3, detail = $4, bytes_in = $5, \
         bytes_out = $6, statements = $7, head = $8 \
         WHERE id = $1 AND (ended_at IS NULL OR assumed = 1)",
    )
    .bind(id.as_str())
    .bind(end.at.millis())
    .bind(&end.end)
    .bind(&end.detail)
    .bind(count(end.bytes_in))
    .bind(count(end.bytes_out))
    .bind(count(end.statements))
    .bind(&end.head)
    .execute(db)
    .await?;
    Ok(())
}

/// Writes what a recording proves of a session that had no end, an assumed one, or no head.
pub(crate) async fn correct(
    db: &mut SqliteConnection,
    id: &SessionId,
    end: &SessionEnd,
) -> Result<(), StoreError> {
    let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    sqlx::query(
        "UPDATE sessions SET ended_at = $2, \"end\" = $3, detail = $4, bytes_in = $5, \
         bytes_out = $6, statements = $7, head = $8, \
         assumed = assumed OR (ended_at IS NULL AND $3 = 'unknown') WHERE id = $1",
    )
    .bind(id.as_str())
    .bind(end.at.millis())
    .bind(&end.end)
    .bind(&end.detail)
    .bind(count(end.bytes_in))
    .bind(count(end.bytes_out))
    .bind(count(end.statements))
    .bind(&end.head)
    .execute(db)
    .await?;
    Ok(())
}

/// Those of these sessions of which the register doesn't know the end and the head.
pub(crate) async fn doubtful(
    db: &mut SqliteConnection,
    sessions: &[SessionId],
) -> Result<Vec<SessionId>, StoreError> {
    let query = sqlx::query_scalar(
        "SELECT value FROM json_each($1) AS given WHERE NOT EXISTS (SELECT 1 FROM sessions \
         WHERE id = given.value AND ended_at IS NOT NULL AND head <> '')",
    );
    let names: Vec<String> = query.bind(to_json(&sessions)?).fetch_all(db).await?;
    names.iter().map(|name| parse("session", name)).collect()
}

/// Until when recordings were compared with the register, in seconds of their file system's clock.
pub(crate) async fn reconciled_until(db: &mut SqliteConnection) -> Result<Option<i64>, StoreError> {
    Ok(sqlx::query_scalar("SELECT until FROM reconciled").fetch_optional(db).await?)
}

pub(crate) async fn reconciled(db: &mut SqliteConnection, until: i64) -> Result<(), StoreError> {
    let query = sqlx::query(
        "INSERT INTO reconciled (one, until) VALUES (1, $1) \
         ON CONFLICT (one) DO UPDATE SET until = excluded.until",
    );
    query.bind(until).execute(db).await?;
    Ok(())
}

/// Ends those that nobody will tell the end of: which they were.
pub(crate) async fn abandon(
    db: &mut SqliteConnection,
    now: Timestamp,
    detail: &str,
) -> Result<Vec<String>, StoreError> {
    let query = sqlx::query_scalar(
        "UPDATE sessions SET ended_at = $1, assumed = 1, \"end\" = 'unknown', detail = $2 \
         WHERE ended_at IS NULL RETURNING id",
    );
    Ok(query.bind(now.millis()).bind(detail).fetch_all(db).await?)
}

pub(crate) async fn find(
    db: &mut SqliteConnection,
    id: &SessionId,
) -> Result<Option<SessionView>, StoreError> {
    Ok(kept(db, id).await?.map(|stored| stored.session))
}

/// A session as it is kept.
pub(crate) async fn kept(
    db: &mut SqliteConnection,
    id: &SessionId,
) -> Result<Option<Stored>, StoreError> {
    let query = sqlx::query_as("SELECT * FROM sessions WHERE id = $1");
    let row: Option<Kept> = query.bind(id.as_str()).fetch_optional(db).await?;
    row.map(read).transpose()
}

/// Which of them are wanted.
pub(crate) struct Wanted<'a> {
    pub(crate) principal: Option<&'a PrincipalId>,
    pub(crate) grant: Option<&'a GrantId>,
    pub(crate) live: Option<bool>,
}

/// Some of them, the newest first.
pub(crate) async fn list(
    db: &mut SqliteConnection,
    wanted: Wanted<'_>,
    before: i64,
    at_most: i64,
) -> Result<Vec<Stored>, StoreError> {
    let query = sqlx::query_as(
        "SELECT * FROM sessions WHERE seq < $1 AND ($2 IS NULL OR principal = $2) \
         AND ($3 IS NULL OR \"grant\" = $3) AND ($4 IS NULL OR (ended_at IS NULL) = $4) \
         ORDER BY seq DESC LIMIT $5",
    );
    let query = query
        .bind(before)
        .bind(wanted.principal.map(PrincipalId::as_str))
        .bind(wanted.grant.map(GrantId::as_str))
        .bind(wanted.live)
        .bind(at_most);
    let rows: Vec<Kept> = query.fetch_all(db).await?;
    rows.into_iter().map(read).collect()
}
