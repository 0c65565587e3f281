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
pub(crate) mod learned;
pub(crate) mod locks;
pub(crate) mod login;
pub(crate) mod logins;
pub(crate) mod outbox;
pub(crate) mod passkeys;
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

use std::borrow::Cow;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, Sqlite, SqlitePool, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::{ControlError, Unreadable};

const READERS: u32 = 4;
const WAIT_FOR_LOCK: Duration = Duration::from_secs(5);

/// The SQLite file.
pub(crate) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    turn: Arc<Mutex<()>>,
}

/// The right to write. It is held until what was committed has been published, so that the order
/// of publications is the order of commits.
pub(crate) type Turn = OwnedMutexGuard<()>;

impl Store {
    /// Opens the file, or makes one that nobody else can read, and brings its tables up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, ControlError> {
        make_private(path).map_err(sqlx::Error::Io)?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(WAIT_FOR_LOCK);
        let writer = SqlitePoolOptions::new().max_connections(1);
        let writer = writer.connect_with(options.clone()).await?;
        migrations().run(&writer).await?;
        let readers = SqlitePoolOptions::new().max_connections(READERS);
        let readers = readers.connect_with(options.read_only(true)).await?;
        let turn = Arc::new(Mutex::new(()));
        Ok(Self { writer, readers, turn })
    }

    /// A connection that can only read.
    pub(crate) async fn read(&self) -> Result<PoolConnection<Sqlite>, ControlError> {
        Ok(self.readers.acquire().await?)
    }

    /// Waits for the turn to write, and begins a transaction that is rolled back when dropped.
    pub(crate) async fn begin(&self) -> Result<(Turn, Transaction<'static, Sqlite>), ControlError> {
        let turn = self.turn().await;
        let transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        Ok((turn, transaction))
    }

    /// Waits for the turn alone.
    pub(crate) async fn turn(&self) -> Turn {
        Arc::clone(&self.turn).lock_owned().await
    }
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
    ];
    let migrations = each.map(|(version, name, sql)| {
        let name = Cow::Borrowed(name);
        Migration::new(version, name, MigrationType::Simple, sql.into_sql_str(), false)
    });
    Migrator::with_migrations(migrations.into())
}

/// The JSON of a body column.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String, ControlError> {
    serde_json::to_string(value).map_err(|error| Unreadable::new("body", error).into())
}

/// The value of a body column.
pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, ControlError> {
    serde_json::from_str(text).map_err(|error| Unreadable::new("body", error).into())
}

/// The value of a column that holds a name or the like.
pub(crate) fn parse<T: FromStr>(what: &'static str, text: &str) -> Result<T, ControlError>
where
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| Unreadable::new(what, error).into())
}
