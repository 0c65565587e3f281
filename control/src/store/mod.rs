//! The store: one SQLite file, one writer at a time, and readers beside it.
//!
//! What is written is on the disk when a commit returns (`synchronous = FULL` on a write-ahead
//! log). The files below hold the queries of one table each; they take a connection, so that the
//! same query serves a reader and a change in the making.

pub(crate) mod audit;
pub(crate) mod challenges;
pub(crate) mod credentials;
pub(crate) mod exchanges;
pub(crate) mod feed;
pub(crate) mod grants;
pub(crate) mod high_water;
pub(crate) mod issuers;
pub(crate) mod journal;
pub(crate) mod learned;
pub(crate) mod locks;
pub(crate) mod login;
pub(crate) mod logins;
pub(crate) mod outbox;
pub(crate) mod passkeys;
pub(crate) mod probe;
pub(crate) mod proofs;
pub(crate) mod recoveries;
pub(crate) mod requests;
pub(crate) mod reviews;
pub(crate) mod risk;
pub(crate) mod sessions;
pub(crate) mod ssh_keys;
pub(crate) mod step_ups;
pub(crate) mod tokens;
pub(crate) mod totp;
pub(crate) mod webhooks;
mod writer;

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr, Sqlite, SqlitePool};
use writer::Writer;

use crate::model::error::{ControlError, StoreError, Unreadable};

pub(crate) use writer::{Turn, WriteTransaction};

const READERS: u32 = 4;
const WAIT_FOR_LOCK: Duration = Duration::from_secs(5);

/// The SQLite file.
pub(crate) struct Store {
    writer: Writer,
    readers: SqlitePool,
}

impl Store {
    /// Opens the file, or makes one that nobody else can read, and brings its tables up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        make_private(path).map_err(sqlx::Error::Io)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(WAIT_FOR_LOCK);
        // What a change does stays in memory until it commits, so that a fault of the disk strikes the
        // commit, when it is known in whole.
        let writing = options.clone().pragma("cache_spill", "OFF").pragma("temp_store", "MEMORY");
        let mut connection = writing.connect().await?;
        migrations().run(&mut connection).await?;
        // A reader always stays, and with it the log's files: on a full disk they can't be made again.
        let readers = SqlitePoolOptions::new()
            .min_connections(1)
            .max_connections(READERS)
            .idle_timeout(None)
            .max_lifetime(None);
        let readers = readers.connect_with(options.read_only(true)).await?;
        Ok(Self { writer: Writer::new(writing, connection), readers })
    }

    /// A connection that can only read.
    pub(crate) async fn read(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        Ok(self.readers.acquire().await?)
    }

    /// Waits for the turn to write, and begins a transaction that is rolled back when dropped.
    pub(crate) async fn begin(&self) -> Result<WriteTransaction, StoreError> {
        Ok(self.writer.begin().await?)
    }

    /// Has the store checked now.
    pub(crate) fn suspect(&self) {
        self.writer.suspect();
    }

    /// Waits until something failed that asks for a check.
    pub(crate) async fn suspected(&self) {
        self.writer.suspected().await;
    }

    /// Waits for the turn alone.
    pub(crate) async fn turn(&self) -> Turn {
        self.writer.turn().await
    }
}

/// Whether the disk or the file failed, and not what was asked of it.
pub(crate) fn is_fault(error: &ControlError) -> bool {
    // Primary result codes: BUSY, LOCKED, NOMEM, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL,
    // NOLFS, NOTADB.
    const FAULTS: [i32; 11] = [5, 6, 7, 8, 10, 11, 13, 14, 15, 22, 26];
    let ControlError::Store(StoreError::Sql(error)) = error else { return false };
    if let Some(error) = error.as_database_error() {
        let code = error.code().and_then(|code| code.parse::<i32>().ok());
        return code.is_some_and(|code| FAULTS.contains(&(code & 0xff)));
    }
    use sqlx::Error::{Io, PoolClosed, PoolTimedOut, WorkerCrashed};
    matches!(error, Io(_) | PoolTimedOut | PoolClosed | WorkerCrashed)
}

fn make_private(path: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options.open(path).map(drop)
}

fn migrations() -> Migrator {
    let each = [
        (1, "core", include_str!("../../migrations/0001_core.sql")),
        (2, "logins", include_str!("../../migrations/0002_logins.sql")),
        (3, "passkeys", include_str!("../../migrations/0003_passkeys.sql")),
        (4, "step_ups", include_str!("../../migrations/0004_step_ups.sql")),
        (5, "issuers", include_str!("../../migrations/0005_issuers.sql")),
        (6, "workloads", include_str!("../../migrations/0006_workloads.sql")),
        (7, "risk", include_str!("../../migrations/0007_risk.sql")),
        (8, "learned", include_str!("../../migrations/0008_learned.sql")),
        (9, "workflow", include_str!("../../migrations/0009_workflow.sql")),
        (10, "outbox", include_str!("../../migrations/0010_outbox.sql")),
        (12, "asking", include_str!("../../migrations/0012_asking.sql")),
        (13, "ssh_keys", include_str!("../../migrations/0013_ssh_keys.sql")),
        (14, "decisions", include_str!("../../migrations/0014_decisions.sql")),
        (15, "high_water", include_str!("../../migrations/0015_high_water.sql")),
        (16, "probe", include_str!("../../migrations/0016_probe.sql")),
        (17, "reconciled", include_str!("../../migrations/0017_reconciled.sql")),
    ];
    let migrations = each.map(|(version, name, sql)| {
        let name = Cow::Borrowed(name);
        Migration::new(version, name, MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.into())
}

/// The JSON of a body column.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| Unreadable::new("body", error).into())
}

/// The value of a body column.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| Unreadable::new("body", error).into())
}

/// The value of a column that holds a name or the like.
pub(crate) fn parse<T: FromStr>(what: &'static str, text: &str) -> Result<T, StoreError>
where
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| Unreadable::new(what, error).into())
}
