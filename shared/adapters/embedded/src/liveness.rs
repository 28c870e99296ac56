//! Liveness on one machine: each process that receives messages holds the lock of a file beside the database,
//! `.DATABASE.NAME.process`. The name is random, so a process id that is used again has no effect.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use goldfleet_file_lock::{ProcessLock, is_free, remove_free};
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::{OperationId, ProcessName};
use goldfleet_ports::clock::Clock;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::liveness::Liveness;
use rusqlite::params;
use uuid::Uuid;

use super::blocking::blocking;
use super::sqlite::Database;

/// The end of the names of lock files.
const EXTENSION: &str = ".process";

/// The messages that a process received. A message that is visible again stays as it is.
const RELEASE: &str = "UPDATE messages INDEXED BY messages_by_receiver SET visible = ?1, pop = '', receiver = NULL \
    WHERE receiver = ?2 AND visible > ?1";

/// The ready operations for which no message exists.
const WITHOUT_MESSAGE: &str = "SELECT id FROM operations INDEXED BY operations_by_state \
    WHERE job = ?1 AND plan = ?2 AND state = 'ready' \
    AND NOT EXISTS (SELECT 1 FROM messages WHERE messages.operation = ?1 || '/' || operations.id)";

/// The lock by which other processes detect the end of this one.
pub(super) struct Life {
    name: ProcessName,
    _lock: ProcessLock,
}

impl Life {
    /// Locks a new file beside the database. None on a file system without locks.
    pub(super) fn begin(database: &Path) -> PortResult<Option<Self>> {
        let name = ProcessName(Uuid::new_v4());
        let path = lock_file(database, &name);
        let lock = ProcessLock::hold(&path).map_err(|error| unusable(&path, error))?;
        Ok(lock.map(|lock| Self { name, _lock: lock }))
    }

    pub(super) fn name(&self) -> &ProcessName {
        &self.name
    }
}

fn lock_prefix(database: &Path) -> String {
    format!(".{}.", database.file_name().unwrap_or_default().to_string_lossy())
}

fn lock_file(database: &Path, name: &ProcessName) -> PathBuf {
    database.with_file_name(format!("{}{}{EXTENSION}", lock_prefix(database), name.0))
}

/// The processes whose lock files are beside the database and free.
fn free_locks(database: &Path) -> PortResult<Vec<ProcessName>> {
    let folder = database.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = lock_prefix(database);
    let mut ended = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| unusable(folder, error))? {
        let entry = entry.map_err(|error| unusable(folder, error))?;
        let file = entry.file_name();
        let name = file.to_str().and_then(|file| file.strip_prefix(&prefix)?.strip_suffix(EXTENSION)?.parse().ok());
        let Some(name) = name.map(ProcessName) else { continue };
        if is_free(&entry.path()).map_err(|error| unusable(&entry.path(), error))? {
            ended.push(name);
        }
    }
    ended.sort();
    Ok(ended)
}

fn unusable(path: &Path, error: std::io::Error) -> PortError {
    let message = format!("the lock file {} cannot be used: {error}", path.display());
    PortError::new(ErrorKind::Unavailable, message).with_code("database-unusable").with_source(error)
}

/// The liveness of the processes of one machine.
pub struct ProcessLocks {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
}

impl ProcessLocks {
    /// The liveness of the processes that use a database.
    #[must_use]
    pub fn new(database: Arc<Database>, clock: Arc<dyn Clock>) -> Self {
        Self { database, clock }
    }
}

#[async_trait]
impl Liveness for ProcessLocks {
    async fn own(&self) -> PortResult<Option<ProcessName>> {
        Ok(self.database.process().await?.cloned())
    }

    async fn ended(&self) -> PortResult<Vec<ProcessName>> {
        let path = self.database.path().to_owned();
        blocking(move || free_locks(&path)).await
    }

    async fn forget(&self, process: &ProcessName) -> PortResult<()> {
        let (now, receiver) = (self.clock.now().as_millisecond(), process.0.to_string());
        let failed = self.database.sqlite_error();
        let release = move |connection: &rusqlite::Connection| {
            let mut update = connection.prepare_cached(RELEASE).map_err(&failed)?;
            update.execute(params![now, receiver]).map_err(&failed)
        };
        self.database.write(release).await?;
        let path = lock_file(self.database.path(), process);
        blocking(move || remove_free(&path).map(drop).map_err(|error| unusable(&path, error))).await
    }

    async fn without_message(&self, job: &JobId, plan: u32) -> PortResult<Option<Vec<OperationId>>> {
        let (job, failed) = (job.to_string(), self.database.sqlite_error());
        let ids = move |connection: &rusqlite::Connection| {
            let mut select = connection.prepare_cached(WITHOUT_MESSAGE).map_err(&failed)?;
            let rows = select.query_map(params![job, plan], |row| row.get::<_, String>(0)).map_err(&failed)?;
            rows.collect::<Result<Vec<_>, _>>().map_err(&failed)
        };
        let ids = self.database.read(ids).await?;
        Ok(Some(ids.iter().filter_map(|id| id.parse().ok()).collect()))
    }
}
