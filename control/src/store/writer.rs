//! The one connection that writes, and its transactions.
//!
//! After a full disk or an I/O error SQLite may have rolled a transaction back by itself, or still be
//! inside it, and the connection can't say which. So a connection serves the next transaction only if
//! the last one ended by a commit or a rollback that succeeded; in every other case a new connection
//! takes its place. `BEGIN`, `COMMIT` and `ROLLBACK` are plain statements here: the counter of nested
//! transactions that sqlx keeps per connection stays out of step after such an error.

use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, SqliteConnection};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};

/// How long opening the connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// The writer. Copies share it.
#[derive(Clone)]
pub(crate) struct Writer(Arc<Shared>);

struct Shared {
    options: SqliteConnectOptions,
    slot: Arc<Mutex<Slot>>,
    /// Wakes whoever checks whether the store can be written.
    suspect: Notify,
}

/// The connection, and whether it may begin a transaction.
struct Slot {
    connection: SqliteConnection,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The last transaction ended cleanly.
    Ended,
    /// A transaction is open. Where it is dropped in this state, it can be rolled back.
    Open,
    /// A begin, commit or rollback failed or was cut short: the connection is not used again.
    Failed,
}

/// The right to write. It is held until what was committed has been published, so that the order
/// of publications is the order of commits.
pub(crate) struct Turn {
    _slot: OwnedMutexGuard<Slot>,
}

/// A transaction, which holds the turn to write. It is rolled back when dropped.
pub(crate) struct WriteTransaction {
    // Dropped first, so that the turn is free when the rollback asks for it.
    slot: OwnedMutexGuard<Slot>,
    cleanup: Cleanup,
}

/// Rolls a transaction back that was dropped before it ended.
struct Cleanup {
    writer: Writer,
    needed: bool,
}

impl Writer {
    /// A writer on this connection, which opens others like it where it has to.
    pub(crate) fn new(options: SqliteConnectOptions, connection: SqliteConnection) -> Self {
        let slot = Slot { connection, state: State::Ended };
        let slot = Arc::new(Mutex::new(slot));
        Self(Arc::new(Shared { options, slot, suspect: Notify::new() }))
    }

    /// Waits for the turn alone.
    pub(crate) async fn turn(&self) -> Turn {
        Turn { _slot: Arc::clone(&self.0.slot).lock_owned().await }
    }

    /// Waits for the turn to write, and begins a transaction.
    pub(crate) async fn begin(&self) -> Result<WriteTransaction, sqlx::Error> {
        let mut slot = Arc::clone(&self.0.slot).lock_owned().await;
        self.watched(self.make_ready(&mut slot).await)?;
        slot.state = State::Failed;
        self.watched(run(&mut slot.connection, "BEGIN IMMEDIATE").await)?;
        slot.state = State::Open;
        Ok(WriteTransaction { slot, cleanup: Cleanup { writer: self.clone(), needed: true } })
    }

    /// Has the store checked now.
    pub(crate) fn suspect(&self) {
        self.0.suspect.notify_one();
    }

    /// Waits until a transaction failed to begin, to commit or to be rolled back.
    pub(crate) async fn suspected(&self) {
        self.0.suspect.notified().await;
    }

    /// Rolls back what was dropped, and replaces a connection that can't be used again.
    async fn make_ready(&self, slot: &mut Slot) -> Result<(), sqlx::Error> {
        let state = std::mem::replace(&mut slot.state, State::Failed);
        let clean = match state {
            State::Ended => true,
            State::Open => run(&mut slot.connection, "ROLLBACK").await.is_ok(),
            State::Failed => false,
        };
        if !clean {
            tracing::warn!(
                "the store's connection did not end its transaction: a new one is opened"
            );
            self.0.suspect.notify_one();
            let fresh = tokio::time::timeout(CONNECT, self.0.options.connect()).await;
            slot.connection = fresh.map_err(|_| sqlx::Error::PoolTimedOut)??;
        }
        slot.state = State::Ended;
        Ok(())
    }

    fn watched<T>(&self, result: Result<T, sqlx::Error>) -> Result<T, sqlx::Error> {
        if result.is_err() {
            self.0.suspect.notify_one();
        }
        result
    }
}

impl WriteTransaction {
    /// The connection within the transaction.
    pub(crate) fn db(&mut self) -> &mut SqliteConnection {
        &mut self.slot.connection
    }

    /// Commits, and keeps the turn until it is dropped. After an error nobody can say whether it is
    /// committed; this connection is not used again.
    pub(crate) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        self.slot.state = State::Failed;
        let committed = run(&mut self.slot.connection, "COMMIT").await;
        self.cleanup.writer.watched(committed)?;
        self.slot.state = State::Ended;
        self.cleanup.needed = false;
        Ok(())
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        // Without a runtime the next transaction does it, or the end of the process.
        let Some(runtime) = Handle::try_current().ok().filter(|_| self.needed) else { return };
        let writer = self.writer.clone();
        runtime.spawn(async move {
            let mut slot = Arc::clone(&writer.0.slot).lock_owned().await;
            if slot.state != State::Ended
                && let Err(error) = writer.make_ready(&mut slot).await
            {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the store can't be opened again");
            }
        });
    }
}

async fn run(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(statement).execute(connection).await.map(drop)
}
