//! The job table as SQLite tables: each row as JSON, with its chunk set in a separate column.

use std::sync::Arc;

use async_trait::async_trait;
use goldfleet_model::chunk_set::ChunkSet;
use goldfleet_model::event::Event;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Operation, OperationId};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::job_table::{Change, JobTable, check_one_group, newest_first, newest_uploads_first};
use goldfleet_ports::{ETag, Versioned};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::de::DeserializeOwned;

use super::sqlite::Database;

/// The number of rows that one transaction adds or removes: few enough that workers do not wait long for the lock.
const BATCH: usize = 500;

/// The order is that of the key, so that SQLite stops after the last wanted row.
const NEWEST_JOBS: &str = "SELECT id, etag, body FROM jobs ORDER BY id DESC LIMIT ?1";

/// The jobs in three states. In this query and those below, the expressions must match the indexed expressions exactly,
/// or SQLite does not use the index.
const OPEN_JOBS: &str = "SELECT id, etag, body FROM jobs WHERE json_extract(body, '$.state') IN (?1, ?2, ?3)";

/// The rows of one group. The query must name the index: without statistics SQLite prefers the primary key, which is
/// already in the requested order, and reads every row of the job.
const GROUP: &str = "SELECT job, id, etag, body, done FROM operations INDEXED BY operations_by_group \
    WHERE job = ?1 AND grp = ?2 ORDER BY id";

const OPERATION: &str = "SELECT job, id, etag, body, done FROM operations WHERE job = ?1 AND id = ?2";

const REPLACE_OPERATION: &str =
    "UPDATE operations SET etag = etag + 1, body = ?1, done = ?2 WHERE job = ?3 AND id = ?4 AND etag = ?5";

/// A row of an earlier planning attempt is replaced.
const INSERT_OPERATION: &str = "INSERT INTO operations (job, id, grp, plan, etag, body, done) VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6) \
    ON CONFLICT (job, id) DO UPDATE SET etag = etag + 1, plan = excluded.plan, body = excluded.body, done = excluded.done \
    WHERE operations.plan < excluded.plan";

const REMOVE_EARLIER: &str = "DELETE FROM operations WHERE job = ?1 \
    AND id IN (SELECT id FROM operations WHERE job = ?1 AND plan < ?2 LIMIT ?3)";

const UPLOADS_OF: &str = "SELECT body FROM uploads \
    WHERE json_extract(body, '$.image') = ?1 AND json_extract(body, '$.version') = ?2";

/// The job table of one machine.
pub struct SqliteJobTable {
    database: Arc<Database>,
}

impl SqliteJobTable {
    /// Opens the job table of an open database.
    #[must_use]
    pub fn new(database: Arc<Database>) -> Self {
        Self { database }
    }

    /// Reads rows and converts each of them.
    async fn select<T, P>(
        &self,
        sql: &'static str,
        parameters: P,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> PortResult<Vec<T>>
    where
        T: Send + 'static,
        P: rusqlite::Params + Send + 'static,
    {
        let failed = self.database.sqlite_error();
        self.database
            .read(move |connection| {
                let mut select = connection.prepare_cached(sql).map_err(&failed)?;
                let rows = select.query_map(parameters, read).map_err(&failed)?;
                rows.collect::<Result<_, _>>().map_err(&failed)
            })
            .await
    }
}

#[async_trait]
impl JobTable for SqliteJobTable {
    async fn ensure(&self) -> PortResult<()> {
        Ok(())
    }

    async fn insert_job(&self, job: &Job) -> PortResult<()> {
        let (id, body, failed) = (job.id.to_string(), to_json(job)?, self.database.sqlite_error());
        self.database
            .write(move |connection| {
                let sql = "INSERT OR IGNORE INTO jobs (id, etag, body) VALUES (?1, 1, ?2)";
                match connection.prepare_cached(sql).and_then(|mut insert| insert.execute(params![id, body])) {
                    Ok(1) => Ok(()),
                    Ok(_) => Err(PortError::new(ErrorKind::AlreadyExists, format!("there is a job {id} already"))),
                    Err(error) => Err(failed(error)),
                }
            })
            .await
    }

    async fn job(&self, id: &JobId) -> PortResult<Option<Versioned<Job>>> {
        let rows = self.select("SELECT id, etag, body FROM jobs WHERE id = ?1", [id.to_string()], raw_job).await?;
        rows.into_iter().next().map(job).transpose()
    }

    async fn jobs(&self) -> PortResult<Vec<Versioned<Job>>> {
        let rows = self.select("SELECT id, etag, body FROM jobs", [], raw_job).await?;
        Ok(newest_first(rows.into_iter().map(job).collect::<PortResult<_>>()?))
    }

    async fn newest_jobs(&self, limit: usize) -> PortResult<Vec<Versioned<Job>>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.select(NEWEST_JOBS, [limit], raw_job).await?;
        Ok(newest_first(rows.into_iter().map(job).collect::<PortResult<_>>()?))
    }

    async fn open_jobs(&self) -> PortResult<Vec<Versioned<Job>>> {
        let rows = self.select(OPEN_JOBS, JobState::OPEN.map(JobState::as_str), raw_job).await?;
        Ok(newest_first(rows.into_iter().map(job).collect::<PortResult<_>>()?))
    }

    async fn commit_job(&self, job: &Job, if_match: &ETag, events: &[Event]) -> PortResult<ETag> {
        let (id, body, expected) = (job.id.to_string(), to_json(job)?, version(if_match));
        let lines = event_lines(events)?;
        let failed = self.database.sqlite_error();
        self.database
            .write(move |connection| {
                let sql = "UPDATE jobs SET etag = etag + 1, body = ?1 WHERE id = ?2 AND etag = ?3";
                let mut update = connection.prepare_cached(sql).map_err(&failed)?;
                if update.execute(params![body, id, expected]).map_err(&failed)? == 0 {
                    let mut select = connection.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1").map_err(&failed)?;
                    let there = select.exists(params![id]).map_err(&failed)?;
                    return Err(changed_or_gone(&format!("job {id}"), there));
                }
                append(connection, &lines).map_err(&failed)?;
                Ok(ETag((expected + 1).to_string()))
            })
            .await
    }

    async fn remove_job(&self, id: &JobId, if_match: &ETag) -> PortResult<()> {
        let (id, expected) = (id.to_string(), version(if_match));
        loop {
            let (id, failed) = (id.clone(), self.database.sqlite_error());
            let left = self.database.write(move |connection| remove_some(connection, &id, expected, &failed)).await?;
            if !left {
                return Ok(());
            }
        }
    }

    async fn insert_operations(&self, operations: &[Operation]) -> PortResult<usize> {
        let mut written = 0;
        for batch in operations.chunks(BATCH) {
            let rows: Vec<StoredOperation> = batch.iter().map(StoredOperation::of).collect::<PortResult<_>>()?;
            let failed = self.database.sqlite_error();
            let insert = move |connection: &Connection| insert_planned(connection, &rows, &failed);
            written += self.database.write(insert).await?;
        }
        Ok(written)
    }

    async fn remove_earlier_plans(&self, job: &JobId, plan: u32) -> PortResult<usize> {
        let mut removed = 0;
        loop {
            let (job, failed) = (job.to_string(), self.database.sqlite_error());
            let batch = self
                .database
                .write(move |connection| {
                    let mut delete = connection.prepare_cached(REMOVE_EARLIER).map_err(&failed)?;
                    delete.execute(params![job, plan, i64::try_from(BATCH).unwrap_or(i64::MAX)]).map_err(&failed)
                })
                .await?;
            if batch == 0 {
                return Ok(removed);
            }
            removed += batch;
        }
    }

    async fn operation(&self, job: &JobId, id: &OperationId) -> PortResult<Option<Versioned<Operation>>> {
        let rows = self.select(OPERATION, [job.to_string(), id.to_string()], raw_operation).await?;
        rows.into_iter().next().map(operation).transpose()
    }

    async fn group(&self, job: &JobId, id: &OperationId) -> PortResult<Vec<Versioned<Operation>>> {
        let rows = self.select(GROUP, [job.to_string(), id.group().to_string()], raw_operation).await?;
        rows.into_iter().map(operation).collect()
    }

    async fn operations(&self, job: &JobId) -> PortResult<Vec<Versioned<Operation>>> {
        let sql = "SELECT job, id, etag, body, done FROM operations WHERE job = ?1 ORDER BY id";
        let rows = self.select(sql, [job.to_string()], raw_operation).await?;
        rows.into_iter().map(operation).collect()
    }

    async fn commit(&self, changes: &[Change], events: &[Event]) -> PortResult<Vec<ETag>> {
        check_one_group(changes, events)?;
        let rows: Vec<(StoredOperation, i64)> = changes
            .iter()
            .map(|change| Ok((StoredOperation::of(&change.operation)?, version(&change.if_match))))
            .collect::<PortResult<_>>()?;
        let lines = event_lines(events)?;
        let failed = self.database.sqlite_error();
        self.database
            .write(move |connection| {
                for (row, expected) in &rows {
                    if replace(connection, row, *expected).map_err(&failed)? == 0 {
                        let there = row.is_there(connection).map_err(&failed)?;
                        return Err(changed_or_gone(&format!("operation {} of job {}", row.id, row.job), there));
                    }
                }
                append(connection, &lines).map_err(&failed)?;
                Ok(rows.iter().map(|(_, expected)| ETag((expected + 1).to_string())).collect())
            })
            .await
    }

    async fn events(&self, job: &JobId, operation: Option<&OperationId>) -> PortResult<Vec<Event>> {
        let sql = "SELECT body FROM events WHERE job = ?1 AND (?2 IS NULL OR operation = ?2) ORDER BY sequence";
        let parameters = (job.to_string(), operation.map(ToString::to_string));
        let rows = self.select(sql, parameters, |row| row.get::<_, String>(0)).await?;
        rows.iter().map(|body| from_json(body, || format!("an event of job {job}"))).collect()
    }

    async fn put_upload(&self, upload: &Upload) -> PortResult<()> {
        let (id, body, failed) = (upload.id.to_string(), to_json(upload)?, self.database.sqlite_error());
        self.database
            .write(move |connection| {
                let sql = "INSERT OR REPLACE INTO uploads (id, body) VALUES (?1, ?2)";
                connection
                    .prepare_cached(sql)
                    .and_then(|mut insert| insert.execute(params![id, body]))
                    .map_err(&failed)?;
                Ok(())
            })
            .await
    }

    async fn upload(&self, id: &JobId) -> PortResult<Option<Upload>> {
        let sql = "SELECT body FROM uploads WHERE id = ?1";
        let rows = self.select(sql, [id.to_string()], |row| row.get::<_, String>(0)).await?;
        Ok(uploads(&rows)?.into_iter().next())
    }

    async fn newest_upload(&self, image: &ImageName, version: &ImageVersion) -> PortResult<Option<Upload>> {
        let parameters = [image.to_string(), version.to_string()];
        let rows = self.select(UPLOADS_OF, parameters, |row| row.get::<_, String>(0)).await?;
        Ok(newest_uploads_first(uploads(&rows)?).into_iter().next())
    }

    async fn uploads(&self) -> PortResult<Vec<Upload>> {
        let rows = self.select("SELECT body FROM uploads", [], |row| row.get::<_, String>(0)).await?;
        Ok(newest_uploads_first(uploads(&rows)?))
    }
}

/// The columns of an operation.
struct StoredOperation {
    job: String,
    id: String,
    group: String,
    plan: u32,
    body: String,
    done: Vec<u8>,
}

impl StoredOperation {
    fn of(operation: &Operation) -> PortResult<Self> {
        Ok(Self {
            job: operation.job.to_string(),
            id: operation.id.to_string(),
            group: operation.id.group().to_string(),
            plan: operation.plan,
            body: to_json(operation)?,
            done: operation.progress.done.encode(),
        })
    }

    fn is_there(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let mut select = connection.prepare_cached("SELECT 1 FROM operations WHERE job = ?1 AND id = ?2")?;
        Ok(select.query_row(params![self.job, self.id], |_| Ok(())).optional()?.is_some())
    }
}

/// Writes rows of a planning attempt in one transaction. Returns the number of written rows.
fn insert_planned(
    connection: &Connection,
    rows: &[StoredOperation],
    failed: &impl Fn(rusqlite::Error) -> PortError,
) -> PortResult<usize> {
    let mut insert = connection.prepare_cached(INSERT_OPERATION).map_err(failed)?;
    let mut select = connection
        .prepare_cached("SELECT plan FROM operations WHERE job = ?1 AND id = ?2 AND plan > ?3")
        .map_err(failed)?;
    let mut written = 0;
    for row in rows {
        let StoredOperation { job, id, group, plan, body, done } = row;
        match insert.execute(params![job, id, group, plan, body, done]).map_err(failed)? {
            0 if select.exists(params![job, id, plan]).map_err(failed)? => return Err(planned_again(job)),
            count => written += count,
        }
    }
    Ok(written)
}

fn planned_again(job: &str) -> PortError {
    PortError::new(ErrorKind::Conflict, format!("job {job} was planned again by another dispatcher"))
}

/// Removes some rows of a job, and the row of the job itself after all others. Returns whether more rows may exist.
fn remove_some(
    connection: &Connection,
    id: &str,
    expected: i64,
    failed: &impl Fn(rusqlite::Error) -> PortError,
) -> PortResult<bool> {
    let mut select = connection.prepare_cached("SELECT etag FROM jobs WHERE id = ?1").map_err(failed)?;
    match select.query_row(params![id], |row| row.get::<_, i64>(0)).optional().map_err(failed)? {
        None => return Ok(false),
        Some(etag) if etag != expected => return Err(changed_or_gone(&format!("job {id}"), true)),
        Some(_) => {}
    }
    for sql in [
        "DELETE FROM operations WHERE job = ?1 AND id IN (SELECT id FROM operations WHERE job = ?1 LIMIT ?2)",
        "DELETE FROM events WHERE sequence IN (SELECT sequence FROM events WHERE job = ?1 LIMIT ?2)",
    ] {
        let mut delete = connection.prepare_cached(sql).map_err(failed)?;
        if delete.execute(params![id, i64::try_from(BATCH).unwrap_or(i64::MAX)]).map_err(failed)? > 0 {
            return Ok(true);
        }
    }
    let mut delete = connection.prepare_cached("DELETE FROM jobs WHERE id = ?1").map_err(failed)?;
    delete.execute(params![id]).map_err(failed)?;
    Ok(false)
}

fn replace(connection: &Connection, row: &StoredOperation, expected: i64) -> rusqlite::Result<usize> {
    connection.prepare_cached(REPLACE_OPERATION)?.execute(params![row.body, row.done, row.job, row.id, expected])
}

/// The job, the operation and the text of an event.
type EventLine = (String, Option<String>, String);

fn event_lines(events: &[Event]) -> PortResult<Vec<EventLine>> {
    let line =
        |event: &Event| Ok((event.job.to_string(), event.operation.as_ref().map(ToString::to_string), to_json(event)?));
    events.iter().map(line).collect()
}

fn append(connection: &Connection, lines: &[EventLine]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached("INSERT INTO events (job, operation, body) VALUES (?1, ?2, ?3)")?;
    for (job, operation, body) in lines {
        insert.execute(params![job, operation, body])?;
    }
    Ok(())
}

type RawJob = (String, i64, String);
type RawOperation = (String, String, i64, String, Vec<u8>);

fn raw_job(row: &Row<'_>) -> rusqlite::Result<RawJob> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
}

fn raw_operation(row: &Row<'_>) -> rusqlite::Result<RawOperation> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

fn job((id, etag, body): RawJob) -> PortResult<Versioned<Job>> {
    Ok(Versioned { value: from_json(&body, || format!("job {id}"))?, etag: ETag(etag.to_string()) })
}

fn operation((job, id, etag, body, done): RawOperation) -> PortResult<Versioned<Operation>> {
    let name = || format!("operation {id} of job {job}");
    let mut value: Operation = from_json(&body, name)?;
    value.progress.done = ChunkSet::decode(&done).map_err(|error| corrupt_row(&name(), &error))?;
    Ok(Versioned { value, etag: ETag(etag.to_string()) })
}

fn uploads(bodies: &[String]) -> PortResult<Vec<Upload>> {
    bodies.iter().map(|body| from_json(body, || "an upload".to_owned())).collect()
}

/// The version of a row from its ETag. An ETag in another format matches no row.
fn version(etag: &ETag) -> i64 {
    etag.0.parse().unwrap_or(-1)
}

fn to_json(value: &impl serde::Serialize) -> PortResult<String> {
    serde_json::to_string(value).map_err(|error| corrupt_row("a row", &error))
}

fn from_json<T: DeserializeOwned>(body: &str, name: impl Fn() -> String) -> PortResult<T> {
    serde_json::from_str(body).map_err(|error| corrupt_row(&name(), &error))
}

fn corrupt_row(name: &str, error: &dyn std::error::Error) -> PortError {
    PortError::new(ErrorKind::Invalid, format!("{name} cannot be read from the table: {error}"))
        .with_code("row-damaged")
}

fn changed_or_gone(name: &str, there: bool) -> PortError {
    if there {
        PortError::new(ErrorKind::Conflict, format!("{name} was changed by someone else meanwhile"))
    } else {
        PortError::new(ErrorKind::NotFound, format!("{name} is not in the table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The query plan of SQLite.
    async fn plan(database: &Database, sql: &'static str) -> String {
        let failed = database.sqlite_error();
        let explain = move |connection: &Connection| {
            let mut select = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).map_err(&failed)?;
            let unbound =
                rusqlite::params_from_iter([rusqlite::types::Null; 5].into_iter().take(select.parameter_count()));
            let lines = select.query_map(unbound, |row| row.get::<_, String>(3)).map_err(&failed)?;
            lines.collect::<Result<Vec<_>, _>>().map_err(&failed)
        };
        database.read(explain).await.unwrap().join("; ")
    }

    #[tokio::test]
    async fn hot_queries_use_index() {
        let folder = tempfile::TempDir::new().unwrap();
        let database = Database::open(&folder.path().join("goldfleet.db")).unwrap();
        assert_eq!(plan(&database, OPEN_JOBS).await, "SEARCH jobs USING INDEX jobs_by_state (<expr>=?)");
        // SQLite scans the key from its end. Otherwise the plan would contain a sort.
        assert_eq!(plan(&database, NEWEST_JOBS).await, "SCAN jobs");
        let by_version = "SEARCH uploads USING INDEX uploads_by_version (<expr>=? AND <expr>=?)";
        assert_eq!(plan(&database, UPLOADS_OF).await, by_version);
    }

    #[tokio::test]
    async fn the_statements_of_an_operation_read_its_group_and_not_its_job() {
        let folder = tempfile::TempDir::new().unwrap();
        let database = Database::open(&folder.path().join("goldfleet.db")).unwrap();
        let by_group = plan(&database, GROUP).await;
        assert!(
            by_group.starts_with("SEARCH operations USING INDEX operations_by_group (job=? AND grp=?)"),
            "{by_group}"
        );
        let by_key = "SEARCH operations USING PRIMARY KEY (job=? AND id=?)";
        assert_eq!(plan(&database, OPERATION).await, by_key);
        assert_eq!(plan(&database, REPLACE_OPERATION).await, by_key);
    }
}
