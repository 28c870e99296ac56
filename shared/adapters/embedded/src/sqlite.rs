//! The SQLite file that the queues and tables of one machine share. Any number of processes may use it at once, and any
//! of them may be killed at any time.
//!
//! The file is in write-ahead mode with `synchronous = NORMAL`. Committed data survive the end of a process for any
//! reason. A power failure may lose the last commits, but never a part of a commit.
//!
//! Processes that have the file open could still write to it after it was deleted or replaced, and nobody would read
//! their writes. So every use first checks that the path still leads to the file that was opened.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use goldfleet_model::operation::ProcessName;
use goldfleet_ports::error::{DATABASE_GONE, ErrorKind, PortError, PortResult};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::blocking::blocking;
use super::liveness::Life;
use super::lock_holder::{Holder, HolderWatch};

/// The code of an error if another process holds a lock, and it is not known which.
const DATABASE_BUSY: &str = "database-busy";

/// The code of an error if a known process holds the write lock for too long.
const DATABASE_HELD: &str = "database-held";

/// How long a statement waits for the lock of another process before it fails with `Unavailable`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a process waits for another one that holds the write lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockTimeouts {
    /// How long a statement waits before it fails with `Unavailable`.
    pub busy: Duration,
    /// How long a process of goldfleet that holds the lock may be stopped before it is killed: as long as a lease.
    pub stopped: Duration,
}

impl Default for LockTimeouts {
    fn default() -> Self {
        Self { busy: BUSY_TIMEOUT, stopped: Duration::from_secs(20) }
    }
}

/// The wait between two tries to set the journal mode.
const MODE_INTERVAL: Duration = Duration::from_millis(10);

/// The number of connections for reading. Readers do not wait for the writer.
const READERS: usize = 2;

/// The number of prepared statements that each connection caches: more than the program has.
const CACHED_STATEMENTS: usize = 64;

/// The version of the schema, in the file's `user_version`.
const VERSION: i64 = Database::FORMAT_VERSION;

const SCHEMA: &str = "
CREATE TABLE jobs (id TEXT PRIMARY KEY, etag INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE operations (
    job TEXT NOT NULL, id TEXT NOT NULL, grp TEXT NOT NULL, plan INTEGER NOT NULL,
    state TEXT NOT NULL, time INTEGER NOT NULL, kind TEXT NOT NULL,
    etag INTEGER NOT NULL, body TEXT NOT NULL, done BLOB NOT NULL,
    PRIMARY KEY (job, id)
) WITHOUT ROWID;
CREATE INDEX operations_by_group ON operations (job, grp);
CREATE INDEX operations_by_state ON operations (job, plan, state, time, kind);
CREATE TABLE roles (
    job TEXT NOT NULL, plan INTEGER NOT NULL, role INTEGER NOT NULL, gate TEXT NOT NULL, operation TEXT NOT NULL,
    PRIMARY KEY (job, plan, role, gate, operation)
) WITHOUT ROWID;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, operation TEXT, body TEXT NOT NULL
);
CREATE INDEX events_by_job ON events (job, operation);
CREATE TABLE uploads (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, visible INTEGER NOT NULL,
    pop TEXT NOT NULL, dequeued INTEGER NOT NULL, operation TEXT, receiver TEXT, body TEXT NOT NULL
);
CREATE INDEX messages_by_visibility ON messages (queue, visible, id);
CREATE INDEX messages_by_operation ON messages (operation) WHERE operation IS NOT NULL;
CREATE INDEX messages_by_receiver ON messages (receiver) WHERE receiver IS NOT NULL;
";

/// Tables and indexes that were added without a new schema version, with their names. Older programs can still use a
/// file that has them.
const ADDITIONS: [(&str, &str); 4] = [
    ("jobs_by_state", "CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (json_extract(body, '$.state'))"),
    (
        "uploads_by_version",
        "CREATE INDEX IF NOT EXISTS uploads_by_version
         ON uploads (json_extract(body, '$.image'), json_extract(body, '$.version'))",
    ),
    ("fleet", "CREATE TABLE IF NOT EXISTS fleet (row INTEGER PRIMARY KEY CHECK (row = 1), id TEXT NOT NULL)"),
    (
        // Each version has a new number, also if a record is removed and created again.
        "records",
        "CREATE TABLE IF NOT EXISTS records (
             version INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, body TEXT NOT NULL
         )",
    ),
];

/// An open file, shared by the adapters of a process.
pub struct Database {
    file: String,
    path: PathBuf,
    identity: Identity,
    writer: ConnectionPool,
    readers: ConnectionPool,
    /// The lock by which other processes detect the end of this one.
    life: OnceCell<Option<Life>>,
    /// Observes which process holds the write lock.
    holder: Arc<Mutex<HolderWatch>>,
}

/// What distinguishes two files with the same path: device and inode.
type Identity = Option<(u64, u64)>;

fn identity(path: &Path) -> Identity {
    std::fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Connections of one kind, with the same number of permits. The holder of a permit always finds a connection, so no
/// thread blocks to wait for one.
struct ConnectionPool {
    permits: Arc<Semaphore>,
    connections: Arc<Mutex<Vec<Connection>>>,
}

impl ConnectionPool {
    fn new(connections: Vec<Connection>) -> Self {
        let permits = Arc::new(Semaphore::new(connections.len()));
        Self { permits, connections: Arc::new(Mutex::new(connections)) }
    }

    /// Waits for a free connection.
    async fn take(&self) -> Option<PooledConnection> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let connections = Arc::clone(&self.connections);
        let connection = lock(&connections).pop()?;
        Some(PooledConnection { connection: Some(connection), connections, _permit: permit })
    }
}

/// A connection in use. Dropping it always returns the connection first and then its permit.
struct PooledConnection {
    connection: Option<Connection>,
    connections: Arc<Mutex<Vec<Connection>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for PooledConnection {
    fn drop(&mut self) {
        lock(&self.connections).extend(self.connection.take());
    }
}

fn lock(connections: &Mutex<Vec<Connection>>) -> MutexGuard<'_, Vec<Connection>> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Database {
    /// The schema version that this program reads and writes.
    pub const FORMAT_VERSION: i64 = 3;

    /// Opens the file. Creates it and its tables if they do not exist.
    ///
    /// # Errors
    /// `Invalid` if the file has another format or was written by a newer version, `Unavailable` if it cannot be
    /// opened.
    pub fn open(path: &Path) -> PortResult<Arc<Self>> {
        Self::open_with(path, LockTimeouts::default())
    }

    /// As [`Database::open`], with other times to wait for other processes.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_with(path: &Path, timeouts: LockTimeouts) -> PortResult<Arc<Self>> {
        let file = path.display().to_string();
        let open = || -> Result<Connection, rusqlite::Error> {
            let connection = Connection::open(path)?;
            connection.busy_timeout(timeouts.busy)?;
            connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
            use_wal(&connection)?;
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            Ok(connection)
        };
        let mut writer = open().map_err(|error| translate(&file, error))?;
        prepare(&file, &mut writer)?;
        let readers =
            (0..READERS).map(|_| open()).collect::<Result<_, _>>().map_err(|error| translate(&file, error))?;
        let (path, identity) = (path.to_owned(), identity(path));
        let holder = Arc::new(Mutex::new(HolderWatch::new(&path, timeouts.stopped)));
        Ok(Arc::new(Self {
            holder,
            file,
            path,
            identity,
            writer: ConnectionPool::new(vec![writer]),
            readers: ConnectionPool::new(readers),
            life: OnceCell::new(),
        }))
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of this process, by which others detect its end. None on a file system without locks.
    pub(super) async fn process(&self) -> PortResult<Option<&ProcessName>> {
        let life = self.life.get_or_try_init(|| {
            let path = self.path.clone();
            blocking(move || Life::begin(&path))
        });
        Ok(life.await?.as_ref().map(Life::name))
    }

    /// Runs `work` in a write transaction. If it returns an error, the transaction is rolled back.
    pub(super) async fn write<T, F>(&self, work: F) -> PortResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> PortResult<T> + Send + 'static,
    {
        let (file, holder) = (self.file.clone(), Arc::clone(&self.holder));
        self.run(&self.writer, move |connection| {
            let failed = |error| translate(&file, error);
            if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
                let error = failed(error);
                if error.code != DATABASE_BUSY {
                    return Err(error);
                }
                after_holder(&file, error, &holder)?;
                connection.execute_batch("BEGIN IMMEDIATE").map_err(failed)?;
            }
            // It is rolled back when it is dropped.
            let transaction = Begun(connection);
            let result = work(transaction.0)?;
            transaction.0.execute_batch("COMMIT").map_err(failed)?;
            Ok(result)
        })
        .await
    }

    /// Runs `work`, which only reads.
    pub(super) async fn read<T, F>(&self, work: F) -> PortResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> PortResult<T> + Send + 'static,
    {
        self.run(&self.readers, move |connection| work(connection)).await
    }

    async fn run<T, F>(&self, lane: &ConnectionPool, work: F) -> PortResult<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> PortResult<T> + Send + 'static,
    {
        let (file, path, opened) = (self.file.clone(), self.path.clone(), self.identity);
        let taken = lane.take().await;
        blocking(move || {
            if identity(&path) != opened {
                let message = format!("{file} was removed or replaced while it was in use: start again what uses it");
                return Err(PortError::new(ErrorKind::Unavailable, message).with_code(DATABASE_GONE));
            }
            // The connection stays in use until the work ends, even if the caller was cancelled earlier.
            let mut taken = taken;
            let connection = taken.as_mut().and_then(|taken| taken.connection.as_mut());
            let none = || PortError::new(ErrorKind::Unavailable, format!("{file}: there is no connection to it"));
            work(connection.ok_or_else(none)?)
        })
        .await
    }

    /// Converts an error of SQLite to a port error.
    pub(super) fn sqlite_error(&self) -> impl Fn(rusqlite::Error) -> PortError + Send + Sync + Clone + 'static {
        let file = self.file.clone();
        move |error| translate(&file, error)
    }
}

/// A connection with a transaction. If it was not committed, it is rolled back.
struct Begun<'a>(&'a Connection);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            // If this fails, SQLite has rolled it back.
            let _ = self.0.execute_batch("ROLLBACK");
        }
    }
}

/// Examines the process that holds the write lock, after `busy`.
///
/// # Errors
/// An error with the code `database-held` if a process holds it, and `busy` if none is known. None if the process was
/// killed, so that the lock is free.
fn after_holder(file: &str, busy: PortError, holder: &Mutex<HolderWatch>) -> PortResult<()> {
    let observed = holder.lock().unwrap_or_else(PoisonError::into_inner).observe();
    match observed {
        Holder::Killed(name) => {
            tracing::warn!(
                "{name} held the write lock of {file} and was stopped for longer than a lease: it was killed"
            );
            Ok(())
        }
        Holder::Held(name) => {
            let message = format!("{file} is held by {name}");
            Err(PortError::new(ErrorKind::Unavailable, message).with_code(DATABASE_HELD))
        }
        Holder::Unknown => Err(busy),
    }
}

/// Sets the journal mode. SQLite does not always use the busy timeout when another process changes the mode of a new
/// file at the same moment, so this waits. Source: SQLite, sqlite3_busy_handler: the handler is not invoked if that
/// could deadlock.
fn use_wal(connection: &Connection) -> Result<(), rusqlite::Error> {
    let begun = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && begun.elapsed() < BUSY_TIMEOUT =>
            {
                std::thread::sleep(MODE_INTERVAL);
            }
            ended => return ended,
        }
    }
}

/// Creates the tables if they do not exist. Several processes may do so at once.
fn prepare(file: &str, connection: &mut Connection) -> PortResult<()> {
    let failed = |error| translate(file, error);
    let version_of = |connection: &Connection| -> Result<i64, rusqlite::Error> {
        connection.query_row("PRAGMA user_version", [], |row| row.get(0))
    };
    // In most cases the tables exist. Then a process that only reads does not wait for a writer.
    if version_of(connection).map_err(failed)? == VERSION && is_complete(connection).map_err(failed)? {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    match version_of(&transaction).map_err(failed)? {
        0 if has_tables(&transaction).map_err(failed)? => {
            let message =
                format!("{file} is a database that goldfleet did not create: set another [coordination] path");
            return Err(PortError::new(ErrorKind::Invalid, message).with_code("database-version"));
        }
        0 => {
            transaction.execute_batch(SCHEMA).map_err(failed)?;
            transaction.pragma_update(None, "user_version", VERSION).map_err(failed)?;
        }
        VERSION => {}
        newer => {
            let message = format!(
                "{file} was written by another version of goldfleet (format {newer}, this one reads {VERSION}): \
                 use that version, or another [coordination] path"
            );
            return Err(PortError::new(ErrorKind::Invalid, message).with_code("database-version"));
        }
    }
    for (_, sql) in ADDITIONS {
        transaction.execute_batch(sql).map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

/// Whether the file has any table.
fn has_tables(connection: &Connection) -> Result<bool, rusqlite::Error> {
    connection.prepare("SELECT 1 FROM sqlite_schema WHERE type = 'table'")?.exists([])
}

/// Whether the file has all [`ADDITIONS`].
fn is_complete(connection: &Connection) -> Result<bool, rusqlite::Error> {
    let mut select = connection.prepare("SELECT 1 FROM sqlite_schema WHERE name = ?1")?;
    ADDITIONS.iter().try_fold(true, |all, (name, _)| Ok(all && select.exists([name])?))
}

fn translate(file: &str, error: rusqlite::Error) -> PortError {
    let (kind, code, what) = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            (ErrorKind::Invalid, "not-a-database", "is not a SQLite database: set another [coordination] path")
        }
        Some(ErrorCode::CannotOpen) => (
            ErrorKind::Invalid,
            "database-not-there",
            "cannot be opened: does its folder exist, and may you write there?",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            (ErrorKind::Denied, "database-unusable", "cannot be written to")
        }
        Some(ErrorCode::DiskFull) => (ErrorKind::Unavailable, "disk-full", "cannot grow: the disk is full"),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            (ErrorKind::Unavailable, DATABASE_BUSY, "is locked by another process")
        }
        Some(ErrorCode::DatabaseCorrupt) => (ErrorKind::Unavailable, "database-damaged", "is damaged"),
        _ => (ErrorKind::Unavailable, "database-failed", "failed"),
    };
    PortError::new(kind, format!("{file} {what} ({error})")).with_code(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connection_returns_to_pool_after_error_or_panic() {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("fleet.db")).unwrap();
        let broken = Arc::clone(&database);
        let ended = tokio::spawn(async move { broken.write(|_| -> PortResult<()> { panic!("a bug") }).await }).await;
        assert!(ended.is_err_and(|error| error.is_panic()), "whoever called learns of it");
        let long = database.write(|_| {
            std::thread::sleep(Duration::from_millis(50));
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(10), long).await.is_err(), "nobody waits for it");
        let next = tokio::time::timeout(Duration::from_secs(5), database.write(|_| Ok(()))).await;
        assert!(matches!(next, Ok(Ok(()))), "{next:?}");
    }
}
