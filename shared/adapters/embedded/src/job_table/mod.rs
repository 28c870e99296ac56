//! The job table as SQLite tables: each row as JSON, with its chunk set and what is indexed in separate columns.

mod records;
mod roles;
mod rows;
mod statements;

use std::sync::Arc;

use async_trait::async_trait;
use goldfleet_model::event::Event;
use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{GateRole, Operation, OperationId, OperationState, StateCount};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::job_table::{Change, GateOpeners, JobTable, check_one_group, newest_first, newest_uploads_first};
use goldfleet_ports::listing::{Listing, UnreadableRow};
use goldfleet_ports::rng::random_uuid;
use goldfleet_ports::{ETag, Versioned};
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params, params_from_iter};
use uuid::Uuid;

use self::roles::RoleChanges;
use self::rows::{
    StoredOperation, changed_or_gone, corrupt_row, event, integer, job, limit, nanoseconds, operation, operation_ids,
    raw_body, raw_job, raw_operation, text, to_json, upload, version,
};
use self::statements as sql;
use super::sqlite::Database;

/// The number of rows that one transaction adds or removes: few enough that workers do not wait long for the lock.
const BATCH: usize = 500;

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
        self.fleet().await.map(drop)
    }

    async fn fleet(&self) -> PortResult<Uuid> {
        let id: fn(&Row<'_>) -> rusqlite::Result<String> = |row| row.get(0);
        if let Some(id) = self.select(sql::FLEET, [], id).await?.first() {
            return id.parse().map_err(|error| corrupt_row("the fleet id", &error));
        }
        let (proposed, failed) = (random_uuid().to_string(), self.database.sqlite_error());
        let created = self.database.write(move |connection| {
            let insert = connection.prepare_cached(sql::INSERT_FLEET).and_then(|mut insert| insert.execute([proposed]));
            insert.map_err(&failed)?;
            let mut select = connection.prepare_cached(sql::FLEET).map_err(&failed)?;
            select.query_row([], id).map_err(&failed)
        });
        created.await?.parse().map_err(|error| corrupt_row("the fleet id", &error))
    }

    async fn insert_job(&self, job: &Job) -> PortResult<()> {
        let (id, body, failed) = (job.id.to_string(), to_json(job)?, self.database.sqlite_error());
        self.database
            .write(move |connection| {
                match connection
                    .prepare_cached(sql::INSERT_JOB)
                    .and_then(|mut insert| insert.execute(params![id, body]))
                {
                    Ok(1) => Ok(()),
                    Ok(_) => Err(PortError::new(ErrorKind::AlreadyExists, format!("there is a job {id} already"))),
                    Err(error) => Err(failed(error)),
                }
            })
            .await
    }

    async fn job(&self, id: &JobId) -> PortResult<Option<Versioned<Job>>> {
        let rows = self.select(sql::JOB, [id.to_string()], raw_job).await?;
        rows.into_iter().next().map(job).transpose().map_err(UnreadableRow::into_error)
    }

    async fn list_jobs(&self) -> PortResult<Listing<Versioned<Job>>> {
        let rows = self.select(sql::JOBS, [], raw_job).await?;
        Ok(Listing::of(rows.into_iter().map(job)).in_order(newest_first))
    }

    async fn list_newest_jobs(&self, limit: usize) -> PortResult<Listing<Versioned<Job>>> {
        let rows = self.select(sql::NEWEST_JOBS, [self::limit(limit)], raw_job).await?;
        Ok(Listing::of(rows.into_iter().map(job)).in_order(newest_first))
    }

    async fn list_open_jobs(&self) -> PortResult<Listing<Versioned<Job>>> {
        let ended = JobState::ALL.into_iter().filter(|state| state.is_terminal()).map(JobState::as_str);
        let rows = self.select(sql::OPEN_JOBS, params_from_iter(ended), raw_job).await?;
        Ok(Listing::of(rows.into_iter().map(job)).in_order(newest_first))
    }

    async fn commit_job(&self, job: &Job, if_match: &ETag, events: &[Event]) -> PortResult<ETag> {
        let (id, body, expected) = (job.id.to_string(), to_json(job)?, version(if_match));
        let lines = event_lines(events)?;
        let failed = self.database.sqlite_error();
        self.database
            .write(move |connection| {
                let mut update = connection.prepare_cached(sql::REPLACE_JOB).map_err(&failed)?;
                if update.execute(params![body, id, expected]).map_err(&failed)? == 0 {
                    let mut select = connection.prepare_cached(sql::JOB_EXISTS).map_err(&failed)?;
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
            let rows: Vec<(StoredOperation, RoleChanges)> = batch
                .iter()
                .map(|operation| Ok((StoredOperation::of(operation)?, RoleChanges::all_of(operation))))
                .collect::<PortResult<_>>()?;
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
                    let mut delete = connection.prepare_cached(sql::REMOVE_EARLIER).map_err(&failed)?;
                    let removed = delete.execute(params![job, plan, limit(BATCH)]).map_err(&failed)?;
                    if removed == 0 {
                        roles::remove_earlier(connection, &job, plan).map_err(&failed)?;
                    }
                    Ok(removed)
                })
                .await?;
            if batch == 0 {
                return Ok(removed);
            }
            removed += batch;
        }
    }

    async fn operation(&self, job: &JobId, id: &OperationId) -> PortResult<Option<Versioned<Operation>>> {
        let rows = self.select(sql::OPERATION, [job.to_string(), id.to_string()], raw_operation).await?;
        rows.into_iter().next().map(operation).transpose().map_err(UnreadableRow::into_error)
    }

    async fn list_group(&self, job: &JobId, id: &OperationId) -> PortResult<Listing<Versioned<Operation>>> {
        let rows = self.select(sql::GROUP, [job.to_string(), id.group().to_string()], raw_operation).await?;
        Ok(Listing::of(rows.into_iter().map(operation)))
    }

    async fn list_operations(&self, job: &JobId) -> PortResult<Listing<Versioned<Operation>>> {
        let rows = self.select(sql::OPERATIONS, [job.to_string()], raw_operation).await?;
        Ok(Listing::of(rows.into_iter().map(operation)))
    }

    async fn unreadable_operations(&self, job: &JobId) -> PortResult<Vec<UnreadableRow>> {
        let error = |row: &Row<'_>| Ok(operation(raw_operation(row)?).err());
        Ok(self.select(sql::OPERATIONS, [job.to_string()], error).await?.into_iter().flatten().collect())
    }

    async fn census(&self, job: &JobId, plan: u32) -> PortResult<Vec<StateCount>> {
        let count = |row: &Row<'_>| Ok((text(row, 0)?, text(row, 1)?, row.get(2)?, integer(row, 3)?));
        let rows: Vec<(String, String, i64, i64)> = self.select(sql::CENSUS, (job.to_string(), plan), count).await?;
        // A kind or state that cannot be read is in a row that cannot be read either.
        let counts = rows.into_iter().filter_map(|(kind, state, count, latest)| {
            let latest = Timestamp::from_nanosecond(latest.into()).ok()?;
            Some(StateCount {
                kind: kind.parse().ok()?,
                state: state.parse().ok()?,
                count: count.unsigned_abs(),
                latest,
            })
        });
        Ok(counts.collect())
    }

    async fn in_state_before(
        &self,
        job: &JobId,
        plan: u32,
        state: OperationState,
        before: Timestamp,
        limit: usize,
    ) -> PortResult<Vec<OperationId>> {
        let parameters = (job.to_string(), plan, state.as_str(), nanoseconds(before), self::limit(limit));
        let rows = self.select(sql::IN_STATE_BEFORE, parameters, |row| text(row, 0)).await?;
        Ok(operation_ids(&rows))
    }

    async fn in_state_after(
        &self,
        job: &JobId,
        plan: u32,
        state: OperationState,
        after: Timestamp,
        limit: usize,
    ) -> PortResult<Vec<OperationId>> {
        let parameters = (job.to_string(), plan, state.as_str(), nanoseconds(after), self::limit(limit));
        let rows = self.select(sql::IN_STATE_AFTER, parameters, |row| text(row, 0)).await?;
        Ok(operation_ids(&rows))
    }

    async fn openers(&self, job: &JobId, plan: u32, gate: &GateKey) -> PortResult<GateOpeners> {
        let parameters = (job.to_string(), plan, gate.to_string());
        let rows = self.select(sql::OPENERS, parameters, |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?])).await?;
        let [pending, failed, cancelled] = rows.into_iter().next().unwrap_or_default();
        let id = |text: Option<String>| {
            let parsed =
                text.map(|text| text.parse().map_err(|error| corrupt_row(&format!("operation {text}"), &error)));
            parsed.transpose()
        };
        Ok(GateOpeners { pending: id(pending)?, failed: id(failed)?, cancelled: id(cancelled)? })
    }

    async fn awaiting(
        &self,
        job: &JobId,
        plan: u32,
        gate: &GateKey,
        on: GateCondition,
    ) -> PortResult<Vec<OperationId>> {
        let parameters = (job.to_string(), plan, GateRole::awaiting(on).digit(), gate.to_string());
        let rows = self.select(sql::AWAITING, parameters, |row| text(row, 0)).await?;
        Ok(operation_ids(&rows))
    }

    async fn awaited_gates(&self, job: &JobId, plan: u32) -> PortResult<Vec<(GateKey, GateCondition)>> {
        let mut gates = Vec::new();
        for on in GateCondition::ALL {
            let parameters = (job.to_string(), plan, GateRole::awaiting(on).digit());
            let rows = self.select(sql::GATES, parameters, |row| row.get::<_, String>(0)).await?;
            for gate in rows {
                gates.push((gate.parse().map_err(|error| corrupt_row(&format!("gate {gate}"), &error))?, on));
            }
        }
        Ok(gates)
    }

    async fn commit(&self, changes: &[Change], events: &[Event]) -> PortResult<Vec<ETag>> {
        check_one_group(changes, events)?;
        let rows: Vec<(StoredOperation, i64)> = changes
            .iter()
            .map(|change| Ok((StoredOperation::of(&change.operation)?, version(&change.if_match))))
            .collect::<PortResult<_>>()?;
        let roles: Vec<_> = changes.iter().map(RoleChanges::of).collect();
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
                for change in &roles {
                    change.write(connection).map_err(&failed)?;
                }
                append(connection, &lines).map_err(&failed)?;
                Ok(rows.iter().map(|(_, expected)| ETag((expected + 1).to_string())).collect())
            })
            .await
    }

    async fn list_events(&self, job: &JobId, operation: Option<&OperationId>) -> PortResult<Listing<Event>> {
        let rows = match operation {
            Some(operation) => self.select(sql::EVENTS_OF, [job.to_string(), operation.to_string()], raw_body).await?,
            None => self.select(sql::EVENTS, [job.to_string()], raw_body).await?,
        };
        Ok(Listing::of(rows.into_iter().map(event)))
    }

    async fn put_upload(&self, upload: &Upload) -> PortResult<()> {
        let (id, body, failed) = (upload.id.to_string(), to_json(upload)?, self.database.sqlite_error());
        self.database
            .write(move |connection| {
                connection
                    .prepare_cached(sql::PUT_UPLOAD)
                    .and_then(|mut insert| insert.execute(params![id, body]))
                    .map_err(&failed)?;
                Ok(())
            })
            .await
    }

    async fn upload(&self, id: &JobId) -> PortResult<Option<Upload>> {
        let rows = self.select(sql::UPLOAD, [id.to_string()], raw_body).await?;
        rows.into_iter().next().map(upload).transpose().map_err(UnreadableRow::into_error)
    }

    async fn newest_upload(&self, image: &ImageName, version: &ImageVersion) -> PortResult<Option<Upload>> {
        let parameters = [image.to_string(), version.to_string()];
        let rows = self.select(sql::UPLOADS_OF, parameters, raw_body).await?;
        let uploads = Listing::of(rows.into_iter().map(upload)).rows;
        Ok(newest_uploads_first(uploads).into_iter().next())
    }

    async fn list_uploads(&self) -> PortResult<Listing<Upload>> {
        let rows = self.select(sql::UPLOADS, [], raw_body).await?;
        Ok(Listing::of(rows.into_iter().map(upload)).in_order(newest_uploads_first))
    }
}

/// Writes rows of a planning attempt in one transaction. Returns the number of written rows.
fn insert_planned(
    connection: &Connection,
    rows: &[(StoredOperation, RoleChanges)],
    failed: &impl Fn(rusqlite::Error) -> PortError,
) -> PortResult<usize> {
    let mut insert = connection.prepare_cached(sql::INSERT_OPERATION).map_err(failed)?;
    let mut select = connection.prepare_cached(sql::LATER_PLAN).map_err(failed)?;
    let mut written = 0;
    for (row, roles) in rows {
        let StoredOperation { job, id, group, plan, state, time, kind, body, done } = row;
        match insert.execute(params![job, id, group, plan, state, time, kind, body, done]).map_err(failed)? {
            0 if select.exists(params![job, id, plan]).map_err(failed)? => return Err(planned_again(job)),
            0 => {}
            count => {
                roles.write(connection).map_err(failed)?;
                written += count;
            }
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
    let mut select = connection.prepare_cached(sql::JOB_ETAG).map_err(failed)?;
    match select.query_row(params![id], |row| row.get::<_, i64>(0)).optional().map_err(failed)? {
        None => return Ok(false),
        Some(etag) if etag != expected => return Err(changed_or_gone(&format!("job {id}"), true)),
        Some(_) => {}
    }
    for sql in [sql::REMOVE_OPERATIONS, sql::REMOVE_EVENTS] {
        let mut delete = connection.prepare_cached(sql).map_err(failed)?;
        if delete.execute(params![id, limit(BATCH)]).map_err(failed)? > 0 {
            return Ok(true);
        }
    }
    roles::remove_earlier(connection, id, u32::MAX).map_err(failed)?;
    let mut delete = connection.prepare_cached(sql::REMOVE_JOB).map_err(failed)?;
    delete.execute(params![id]).map_err(failed)?;
    Ok(false)
}

fn replace(connection: &Connection, row: &StoredOperation, expected: i64) -> rusqlite::Result<usize> {
    let StoredOperation { job, id, state, time, body, done, .. } = row;
    connection.prepare_cached(sql::REPLACE_OPERATION)?.execute(params![state, time, body, done, job, id, expected])
}

/// The job, the operation and the text of an event.
type EventLine = (String, Option<String>, String);

fn event_lines(events: &[Event]) -> PortResult<Vec<EventLine>> {
    let line =
        |event: &Event| Ok((event.job.to_string(), event.operation.as_ref().map(ToString::to_string), to_json(event)?));
    events.iter().map(line).collect()
}

fn append(connection: &Connection, lines: &[EventLine]) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(sql::APPEND_EVENT)?;
    for (job, operation, body) in lines {
        insert.execute(params![job, operation, body])?;
    }
    Ok(())
}
