//! The table of login sessions. It holds the digest of the one token in force, never the token.

use policies::{DeviceId, IssuerName, LoginId, PrincipalId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::parse;
use crate::model::error::StoreError;
use crate::model::login::{AtIssuer, LoginEnd, LoginEnded, LoginRecord, Which};
use crate::platform::ids::Hash;

/// A login session and its place in the list.
pub(crate) struct Stored {
    pub(crate) seq: i64,
    pub(crate) login: LoginRecord,
}

/// When a session ends by time, as the index has it.
const ENDING: &str = "min(coalesce(idle_at, expires_at), expires_at)";

fn read(row: &SqliteRow) -> Result<Stored, StoreError> {
    let text = |column: &str| row.try_get::<String, _>(column);
    let maybe = |column: &str| row.try_get::<Option<String>, _>(column);
    let at = |column: &str| row.try_get::<i64, _>(column).map(Timestamp::from_millis);
    let perhaps = |column: &str| {
        let millis = row.try_get::<Option<i64>, _>(column);
        millis.map(|millis| millis.map(Timestamp::from_millis))
    };
    let ended = match (perhaps("ended_at")?, maybe("why")?) {
        (Some(at), Some(why)) => Some(LoginEnded { at, why: parse("end of a login", &why)? }),
        (_, _) => None,
    };
    let issuer = match (maybe("issuer")?, maybe("subject")?) {
        (Some(issuer), Some(subject)) => Some(AtIssuer { issuer, subject, sid: maybe("sid")? }),
        (_, _) => None,
    };
    let login = LoginRecord {
        id: parse("login session", &text("id")?)?,
        principal: parse("principal", &text("principal")?)?,
        kind: parse("kind of login", &text("kind")?)?,
        rank: parse("rank of login", &text("rank")?)?,
        method: crate::model::login::method(&text("method")?)?,
        device: maybe("device")?.map(|text| parse("device", &text)).transpose()?,
        issuer,
        by: maybe("opened_by")?.map(|text| parse("login session", &text)).transpose()?,
        address: maybe("address")?.map(|text| parse("address", &text)).transpose()?,
        agent: text("agent")?,
        signed_in_at: at("signed_in_at")?,
        seen_at: at("seen_at")?,
        idle_at: perhaps("idle_at")?,
        expires_at: at("expires_at")?,
        ended,
    };
    Ok(Stored { seq: row.try_get("seq")?, login })
}

pub(crate) async fn insert(
    db: &mut SqliteConnection,
    digest: &Hash,
    login: &LoginRecord,
) -> Result<(), StoreError> {
    let at_issuer = login.issuer.as_ref();
    sqlx::query(
        "INSERT INTO logins (digest, id, principal, kind, rank, method, device, issuer, subject, \
         sid, opened_by, address, agent, signed_in_at, seen_at, idle_at, expires_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
    )
    .bind(&digest[..])
    .bind(login.id.as_str())
    .bind(login.principal.as_str())
    .bind(login.kind.word())
    .bind(login.rank.word())
    .bind(login.method.to_string())
    .bind(login.device.as_ref().map(DeviceId::as_str))
    .bind(at_issuer.map(|at| at.issuer.as_str()))
    .bind(at_issuer.map(|at| at.subject.as_str()))
    .bind(at_issuer.and_then(|at| at.sid.as_deref()))
    .bind(login.by.as_ref().map(LoginId::as_str))
    .bind(login.address.map(|address| address.to_string()))
    .bind(&login.agent)
    .bind(login.signed_in_at.millis())
    .bind(login.seen_at.millis())
    .bind(login.idle_at.map(Timestamp::millis))
    .bind(login.expires_at.millis())
    .execute(db)
    .await?;
    Ok(())
}

/// The live session of this token.
pub(crate) async fn by_token(
    db: &mut SqliteConnection,
    digest: &Hash,
) -> Result<Option<LoginRecord>, StoreError> {
    let query = sqlx::query("SELECT * FROM logins WHERE digest = $1 AND ended_at IS NULL");
    let row = query.bind(&digest[..]).fetch_optional(db).await?;
    Ok(row.as_ref().map(read).transpose()?.map(|stored| stored.login))
}

/// The session of this name, live or over.
pub(crate) async fn find(
    db: &mut SqliteConnection,
    id: &LoginId,
) -> Result<Option<LoginRecord>, StoreError> {
    let query = sqlx::query("SELECT * FROM logins WHERE id = $1").bind(id.as_str());
    let row = query.fetch_optional(db).await?;
    Ok(row.as_ref().map(read).transpose()?.map(|stored| stored.login))
}

/// Puts another token and rank in force. The token before is of no use from then on.
pub(crate) async fn rotate(
    db: &mut SqliteConnection,
    digest: &Hash,
    login: &LoginRecord,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "UPDATE logins SET digest = $2, rank = $3, method = $4, seen_at = $5, idle_at = $6 \
         WHERE id = $1 AND ended_at IS NULL",
    );
    query
        .bind(login.id.as_str())
        .bind(&digest[..])
        .bind(login.rank.word())
        .bind(login.method.to_string())
        .bind(login.seen_at.millis())
        .bind(login.idle_at.map(Timestamp::millis))
        .execute(db)
        .await?;
    Ok(())
}

/// Writes down that it was used.
pub(crate) async fn seen(
    db: &mut SqliteConnection,
    id: &LoginId,
    now: Timestamp,
    idle_at: Option<Timestamp>,
) -> Result<(), StoreError> {
    let query = sqlx::query(
        "UPDATE logins SET seen_at = $2, idle_at = $3 WHERE id = $1 AND ended_at IS NULL",
    );
    let query = query.bind(id.as_str()).bind(now.millis());
    query.bind(idle_at.map(Timestamp::millis)).execute(db).await?;
    Ok(())
}

/// Ends live sessions, by an act with all those that they let in: their names and whose they were.
pub(crate) async fn end(
    db: &mut SqliteConnection,
    which: Which<'_>,
    why: LoginEnd,
    now: Timestamp,
) -> Result<Vec<(LoginId, PrincipalId)>, StoreError> {
    let mut query = QueryBuilder::<Sqlite>::new(
        "WITH RECURSIVE meant (id) AS (SELECT id FROM logins WHERE ended_at IS NULL AND ",
    );
    match which {
        Which::One(id) => query.push("id = ").push_bind(id.as_str().to_owned()),
        Which::Of(principal) => query.push("principal = ").push_bind(principal.to_string()),
        Which::Sid(issuer, sid) => {
            query.push("issuer = ").push_bind(issuer.to_owned());
            query.push(" AND sid = ").push_bind(sid.to_owned())
        }
    };
    if !why.is_by_time() {
        query.push(
            " UNION SELECT child.id FROM logins AS child JOIN meant ON child.opened_by = meant.id",
        );
    }
    query.push(") UPDATE logins SET digest = NULL, ended_at = ").push_bind(now.millis());
    query.push(", why = ").push_bind(why.word());
    query.push(" WHERE ended_at IS NULL AND id IN (SELECT id FROM meant)");
    query.push(" RETURNING id, principal");
    let rows: Vec<(String, String)> = query.build_query_as().fetch_all(db).await?;
    let ended = rows
        .into_iter()
        .map(|(id, whose)| Ok((parse("login session", &id)?, parse("principal", &whose)?)));
    ended.collect()
}

/// Whether a session, live or over, came from this one of an issuer.
pub(crate) async fn knows_sid(
    db: &mut SqliteConnection,
    issuer: &IssuerName,
    sid: &str,
) -> Result<bool, StoreError> {
    let query =
        sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM logins WHERE issuer = $1 AND sid = $2)");
    Ok(query.bind(issuer.as_str()).bind(sid).fetch_one(db).await?)
}

/// Live sessions whose time is over, and whether nobody was there until then.
pub(crate) async fn over(
    db: &mut SqliteConnection,
    now: Timestamp,
    most: i64,
) -> Result<Vec<LoginRecord>, StoreError> {
    let query = format!(
        "SELECT * FROM logins WHERE ended_at IS NULL AND {ENDING} <= $1 ORDER BY {ENDING} LIMIT $2"
    );
    let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(now.millis()).bind(most);
    records(&query.fetch_all(db).await?)
}

/// Whose sessions are live.
pub(crate) async fn people(db: &mut SqliteConnection) -> Result<Vec<PrincipalId>, StoreError> {
    let query = sqlx::query_scalar("SELECT DISTINCT principal FROM logins WHERE ended_at IS NULL");
    let people: Vec<String> = query.fetch_all(db).await?;
    people.iter().map(|text| parse("principal", text)).collect()
}

/// Sessions, newest first.
pub(crate) async fn list(
    db: &mut SqliteConnection,
    whose: Option<&PrincipalId>,
    live: Option<bool>,
    before: i64,
    most: i64,
) -> Result<Vec<Stored>, StoreError> {
    let query = sqlx::query(
        "SELECT * FROM logins WHERE seq < $1 AND ($2 IS NULL OR principal = $2) \
         AND ($3 IS NULL OR (ended_at IS NULL) = $3) ORDER BY seq DESC LIMIT $4",
    );
    let query = query.bind(before).bind(whose.map(PrincipalId::as_str)).bind(live).bind(most);
    query.fetch_all(db).await?.iter().map(read).collect()
}

fn records(rows: &[SqliteRow]) -> Result<Vec<LoginRecord>, StoreError> {
    rows.iter().map(|row| read(row).map(|stored| stored.login)).collect()
}
