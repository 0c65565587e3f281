//! The tables of people whom issuers vouch for, of sign-ins under way, and of used logout tokens.

use std::fmt;
use std::str::FromStr;

use policies::{IssuerName, Timestamp};
use sqlx::SqliteConnection;

use super::{from_json, parse, to_json};
use crate::model::error::StoreError;
use crate::platform::email_address::Email;
use crate::platform::ids::Hash;

/// Somebody as their issuer knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) issuer: IssuerName,
    pub(crate) subject: String,
    pub(crate) name: String,
    /// Groups as the issuer calls them.
    pub(crate) groups: Vec<String>,
    /// Where mail reaches them.
    pub(crate) email: Option<Email>,
    pub(crate) standing: Standing,
}

/// Whether an issuer's word still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Vouched,
    /// The issuer said so.
    Refused,
    /// Nobody renewed it in time.
    Lapsed,
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vouched => "vouched",
            Self::Refused => "refused",
            Self::Lapsed => "lapsed",
        })
    }
}

impl FromStr for Standing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "vouched" => Ok(Self::Vouched),
            "refused" => Ok(Self::Refused),
            "lapsed" => Ok(Self::Lapsed),
            other => Err(format!("`{other}` is no standing")),
        }
    }
}

/// Somebody about whom the issuer is to be asked again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) issuer: IssuerName,
    pub(crate) subject: String,
    pub(crate) vouched_at: Timestamp,
    /// Wrapped.
    pub(crate) refresh_token: Option<Vec<u8>>,
}

/// A sign-in under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) state: Hash,
    pub(crate) issuer: IssuerName,
    pub(crate) browser: Hash,
    pub(crate) next: String,
    pub(crate) expires_at: Timestamp,
}

type Row = (String, String, String, String, Option<String>, String);

fn read((issuer, subject, name, groups, email, standing): Row) -> Result<Known, StoreError> {
    Ok(Known {
        issuer: parse("issuer", &issuer)?,
        subject,
        name,
        groups: from_json(&groups)?,
        email: email.map(|text| parse("e-mail address", &text)).transpose()?,
        standing: parse("standing", &standing)?,
    })
}

pub(crate) async fn people(db: &mut SqliteConnection) -> Result<Vec<Known>, StoreError> {
    let query = sqlx::query_as("SELECT issuer, subject, name, groups, email, standing FROM people");
    let rows: Vec<Row> = query.fetch_all(db).await?;
    rows.into_iter().map(read).collect()
}

pub(crate) async fn person(
    db: &mut SqliteConnection,
    issuer: &IssuerName,
    subject: &str,
) -> Result<Option<Known>, StoreError> {
    let query = sqlx::query_as(
        "SELECT issuer, subject, name, groups, email, standing FROM people \
         WHERE issuer = $1 AND subject = $2",
    );
    let row: Option<Row> = query.bind(issuer.as_str()).bind(subject).fetch_optional(db).await?;
    row.map(read).transpose()
}

/// Writes what is known by now; without a token, the one that is there stays.
pub(crate) async fn put_person(
    db: &mut SqliteConnection,
    known: &Known,
    vouched_at: Timestamp,
    next_at: Timestamp,
    refresh_token: Option<&[u8]>,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO people \
         (issuer, subject, name, groups, standing, vouched_at, next_at, refresh_token, email) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) \
         ON CONFLICT (issuer, subject) DO UPDATE SET name = $3, groups = $4, standing = $5, \
         vouched_at = $6, next_at = $7, refresh_token = coalesce($8, refresh_token), \
         email = $9",
    )
    .bind(known.issuer.as_str())
    .bind(&known.subject)
    .bind(&known.name)
    .bind(to_json(&known.groups)?)
    .bind(known.standing.to_string())
    .bind(vouched_at.millis())
    .bind(next_at.millis())
    .bind(refresh_token)
    .bind(known.email.as_ref().map(Email::as_str))
    .execute(db)
    .await?;
    Ok(())
}

/// Sets what an issuer's word is worth by now. The refresh token of a word that no longer holds is
/// forgotten.
pub(crate) async fn set_standing(
    db: &mut SqliteConnection,
    issuer: &IssuerName,
    subject: &str,
    standing: Standing,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE people SET standing = $3, refresh_token = NULL WHERE issuer = $1 AND subject = $2",
    )
    .bind(issuer.as_str())
    .bind(subject)
    .bind(standing.to_string())
    .execute(db)
    .await?;
    Ok(())
}

/// Those who come up by now, the longest waiting first.
pub(crate) async fn due(
    db: &mut SqliteConnection,
    issuer: &IssuerName,
    now: Timestamp,
    at_most: i64,
) -> Result<Vec<Due>, StoreError> {
    let query = sqlx::query_as(
        "SELECT subject, vouched_at, refresh_token FROM people \
         WHERE issuer = $1 AND standing = 'vouched' AND next_at <= $2 ORDER BY next_at LIMIT $3",
    );
    let query = query.bind(issuer.as_str()).bind(now.millis()).bind(at_most);
    Ok(dues(issuer, query.fetch_all(db).await?))
}

fn dues(issuer: &IssuerName, rows: Vec<(String, i64, Option<Vec<u8>>)>) -> Vec<Due> {
    let due = rows.into_iter().map(|(subject, vouched_at, refresh_token)| Due {
        issuer: issuer.clone(),
        subject,
        vouched_at: Timestamp::from_millis(vouched_at),
        refresh_token,
    });
    due.collect()
}

/// Those whom the issuer vouched for last at these times or before: where it can be asked again, and
/// where it can't.
pub(crate) async fn lapsed(
    db: &mut SqliteConnection,
    issuer: &IssuerName,
    [askable, unaskable]: [Timestamp; 2],
    at_most: i64,
) -> Result<Vec<Due>, StoreError> {
    let query = sqlx::query_as(
        "SELECT subject, vouched_at, refresh_token FROM people \
         WHERE issuer = $1 AND standing = 'vouched' AND vouched_at <= \
         CASE WHEN refresh_token IS NULL THEN $3 ELSE $2 END ORDER BY vouched_at LIMIT $4",
    );
    let query = query.bind(issuer.as_str()).bind(askable.millis()).bind(unaskable.millis());
    Ok(dues(issuer, query.bind(at_most).fetch_all(db).await?))
}

/// Whether nothing has been learned of this person since.
pub(crate) async fn is_current(db: &mut SqliteConnection, due: &Due) -> Result<bool, StoreError> {
    let query = sqlx::query_scalar(
        "SELECT count(*) FROM people WHERE issuer = $1 AND subject = $2 \
         AND standing = 'vouched' AND vouched_at = $3 AND refresh_token IS $4",
    );
    let query = query.bind(due.issuer.as_str()).bind(&due.subject);
    let query = query.bind(due.vouched_at.millis()).bind(due.refresh_token.as_deref());
    let count: i64 = query.fetch_one(db).await?;
    Ok(count == 1)
}

pub(crate) async fn postpone(
    db: &mut SqliteConnection,
    issuer: &IssuerName,
    subject: &str,
    next_at: Timestamp,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE people SET next_at = $3 WHERE issuer = $1 AND subject = $2")
        .bind(issuer.as_str())
        .bind(subject)
        .bind(next_at.millis())
        .execute(db)
        .await?;
    Ok(())
}

/// Keeps a sign-in, and at most so many: those that would end first make room.
pub(crate) async fn insert_flow(
    db: &mut SqliteConnection,
    flow: &Flow,
    most: i64,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO flows (state, issuer, browser, next, expires_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(&flow.state[..])
    .bind(flow.issuer.as_str())
    .bind(&flow.browser[..])
    .bind(&flow.next)
    .bind(flow.expires_at.millis())
    .execute(&mut *db)
    .await?;
    let query = sqlx::query(
        "DELETE FROM flows WHERE state IN (SELECT state FROM flows ORDER BY expires_at \
         LIMIT max(0, (SELECT count(*) FROM flows) - $1))",
    );
    query.bind(most).execute(db).await?;
    Ok(())
}

pub(crate) async fn forget_flows(
    db: &mut SqliteConnection,
    now: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM flows WHERE expires_at <= $1");
    query.bind(now.millis()).execute(db).await?;
    Ok(())
}

/// Takes a sign-in out: who comes second finds none.
pub(crate) async fn take_flow(
    db: &mut SqliteConnection,
    state: &Hash,
) -> Result<Option<Flow>, StoreError> {
    let query = sqlx::query_as(
        "DELETE FROM flows WHERE state = $1 RETURNING issuer, browser, next, expires_at",
    );
    let row: Option<(String, Vec<u8>, String, i64)> =
        query.bind(&state[..]).fetch_optional(db).await?;
    let Some((issuer, browser, next, expires_at)) = row else { return Ok(None) };
    let browser = Hash::try_from(browser.as_slice());
    Ok(Some(Flow {
        state: *state,
        issuer: parse("issuer", &issuer)?,
        browser: browser.map_err(|error| crate::model::error::Unreadable::new("digest", error))?,
        next,
        expires_at: Timestamp::from_millis(expires_at),
    }))
}

/// Uses a logout token up: whether it was the first time.
pub(crate) async fn use_logout_token(
    db: &mut SqliteConnection,
    issuer: &IssuerName,
    id: &str,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let query = sqlx::query(
        "INSERT INTO logout_tokens (issuer, id, expires_at) VALUES ($1, $2, $3) \
         ON CONFLICT DO NOTHING",
    );
    let query = query.bind(issuer.as_str()).bind(id).bind(until.millis());
    Ok(query.execute(db).await?.rows_affected() == 1)
}

/// Forgets logout tokens that have expired long ago, and with them are refused anyway.
pub(crate) async fn forget_logout_tokens(
    db: &mut SqliteConnection,
    before: Timestamp,
) -> Result<(), StoreError> {
    let query = sqlx::query("DELETE FROM logout_tokens WHERE expires_at < $1");
    query.bind(before.millis()).execute(db).await?;
    Ok(())
}
