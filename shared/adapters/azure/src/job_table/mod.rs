//! The job table in the Table service: `PREFIXjobs` and `PREFIXoperations`.
//!
//! | table | partition | row | content |
//! | --- | --- | --- | --- |
//! | jobs | `job` | `j.JOB` | a job |
//! | jobs | `job` | `e.JOB.TIME…` | an event of the job itself; same partition as the job, for one transaction |
//! | jobs | `upload` | `u.UPLOAD` | an upload |
//! | operations | `JOB.SHARD` | `o.GROUP.STEP` | an operation; the rows of a group are adjacent |
//! | operations | `JOB.SHARD` | `e.TIME…` | an event of an operation of that partition |
//!
//! The operations of a job are spread over [`SHARDS`] partitions by their group. A partition handles 2,000 rows a
//! second and an account 20,000 (source: Table service, scalability targets). The heartbeats and transitions of 10,000
//! running operations are therefore far below the limit of a partition. All operations of a job are read by one range
//! scan per partition, in parallel, without reading rows of other jobs.

mod rows;

use std::cmp::Ordering;
use std::collections::HashMap;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use goldfleet_azure_settings::Prefix;
use goldfleet_model::event::Event;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationId};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::job_table::{Change, JobTable, check_one_group, newest_first, newest_uploads_first};
use goldfleet_ports::{ETag, Versioned};
use jiff::Timestamp;

use super::connection::Connection;
use super::table::{Action, Entity, Key, MAX_ACTIONS, MAX_BATCH_BYTES, Table};

/// The number of partitions of a job's operations.
pub(super) const SHARDS: u32 = 16;

/// The maximum number of requests in flight for one call that needs several.
const MAX_IN_FLIGHT: usize = 8;

/// The job table of a fleet.
pub struct AzureJobTable {
    jobs: Table,
    operations: Table,
}

impl AzureJobTable {
    /// Opens the tables at `endpoint` whose names begin with `prefix`.
    ///
    /// # Errors
    /// Returns an error if `endpoint` is not a valid URL.
    pub fn new(connection: &Connection, endpoint: &str, prefix: &Prefix) -> PortResult<Self> {
        Ok(Self {
            jobs: Table::new(connection, endpoint, format!("{prefix}jobs"))?,
            operations: Table::new(connection, endpoint, format!("{prefix}operations"))?,
        })
    }

    /// Reads the rows that match `filter` in all partitions of a job, in the order of the partitions.
    async fn scan(&self, job: &JobId, filter: &str) -> PortResult<Vec<Entity>> {
        let scans = rows::partitions(job).map(async |partition| {
            self.operations.query(&format!("PartitionKey eq '{partition}' and {filter}"), None).await
        });
        let parts: Vec<Vec<Entity>> = stream::iter(scans).buffered(MAX_IN_FLIGHT).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Writes rows of a planning attempt into one partition. Returns how many were written.
    async fn insert_planned(&self, partition: &str, rows: Vec<(Key, Entity)>) -> PortResult<usize> {
        let mut actions: Vec<Action> = rows.into_iter().map(|(key, entity)| Action::Insert(key, entity)).collect();
        let mut written = 0;
        while !actions.is_empty() {
            let count = actions_per_batch(&actions);
            match self.operations.transact(&actions[..count]).await {
                Ok(_) => {
                    written += count;
                    actions.drain(..count);
                }
                // Rows of this attempt or of earlier ones are in the table. In each round, more of them are known.
                Err(error) if matches!(error.kind, ErrorKind::AlreadyExists | ErrorKind::Conflict) => {
                    let left = self.replace_earlier(partition, actions).await?;
                    actions = left;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    /// Compares actions with the rows of a partition. Omits rows of the same attempt. Replaces rows of an earlier
    /// attempt if they still have the version that was read.
    async fn replace_earlier(&self, partition: &str, actions: Vec<Action>) -> PortResult<Vec<Action>> {
        let filter = format!("PartitionKey eq '{partition}' and {}", rows::OPERATIONS);
        let found = self.operations.query(&filter, None).await?;
        let by_key: HashMap<&str, &Entity> =
            found.iter().filter_map(|row| Some((row.get("RowKey")?.as_str()?, row))).collect();
        let mut left = Vec::with_capacity(actions.len());
        for action in actions {
            let (Action::Insert(key, entity) | Action::Merge(key, entity, _)) = action else { continue };
            let Some(row) = by_key.get(key.row.as_str()) else {
                left.push(Action::Insert(key, entity));
                continue;
            };
            match rows::plan(row).cmp(&rows::plan(&entity)) {
                Ordering::Equal => {}
                Ordering::Less => left.push(Action::Merge(key, entity, rows::etag(row)?)),
                Ordering::Greater => {
                    let message = "the job was planned again by another dispatcher";
                    return Err(PortError::new(ErrorKind::Conflict, message));
                }
            }
        }
        Ok(left)
    }
}

#[async_trait]
impl JobTable for AzureJobTable {
    async fn ensure(&self) -> PortResult<()> {
        self.jobs.ensure().await?;
        self.operations.ensure().await
    }

    async fn insert_job(&self, job: &Job) -> PortResult<()> {
        self.jobs.insert(&rows::job_key(&job.id), rows::of_job(job)?).await
    }

    async fn job(&self, id: &JobId) -> PortResult<Option<Versioned<Job>>> {
        self.jobs.get(&rows::job_key(id)).await?.map(|row| rows::to_job(&row)).transpose()
    }

    async fn jobs(&self) -> PortResult<Vec<Versioned<Job>>> {
        let rows = self.jobs.query(rows::JOBS, None).await?;
        Ok(newest_first(rows.iter().map(rows::to_job).collect::<PortResult<_>>()?))
    }

    async fn newest_jobs(&self, limit: usize) -> PortResult<Vec<Versioned<Job>>> {
        // The service lists keys in ascending order. So this reads all keys, which are short, and then the rows at the
        // end.
        let keys = self.jobs.query(rows::JOBS, Some("RowKey")).await?;
        let newest = &keys[keys.len().saturating_sub(limit)..];
        let Some(oldest) = newest.first() else { return Ok(Vec::new()) };
        let rows = self.jobs.query(&rows::jobs_from(oldest)?, None).await?;
        let mut jobs = newest_first(rows.iter().map(rows::to_job).collect::<PortResult<_>>()?);
        // Other jobs may have been created after the keys were listed.
        jobs.truncate(limit);
        Ok(jobs)
    }

    async fn open_jobs(&self) -> PortResult<Vec<Versioned<Job>>> {
        let rows = self.jobs.query(&rows::open_jobs(), None).await?;
        Ok(newest_first(rows.iter().map(rows::to_job).collect::<PortResult<_>>()?))
    }

    async fn commit_job(&self, job: &Job, if_match: &ETag, events: &[Event]) -> PortResult<ETag> {
        let (key, row) = (rows::job_key(&job.id), rows::of_job(job)?);
        if events.is_empty() {
            return self.jobs.merge(&key, row, if_match).await;
        }
        let now = Timestamp::now();
        let mut actions = vec![Action::Merge(key, row, if_match.clone())];
        for (index, event) in events.iter().enumerate() {
            actions.push(Action::Insert(rows::job_event_key(&job.id, now, index), rows::of_event(event)?));
        }
        first(self.jobs.transact(&actions).await?)
    }

    async fn remove_job(&self, id: &JobId, if_match: &ETag) -> PortResult<()> {
        let Some(row) = self.job(id).await? else { return Ok(()) };
        if row.etag != *if_match {
            let message = format!("job {id} was changed by someone else meanwhile");
            return Err(PortError::new(ErrorKind::Conflict, message));
        }
        let parts = rows::partitions(id).map(async |partition| {
            remove_all(&self.operations, &partition, &format!("PartitionKey eq '{partition}'")).await
        });
        stream::iter(parts).buffered(MAX_IN_FLIGHT).try_collect::<Vec<usize>>().await?;
        let key = rows::job_key(id);
        remove_all(&self.jobs, &key.partition, &rows::events_of_job(id)).await?;
        match self.jobs.delete(&key, if_match).await {
            // Another process deleted it at the same time, or the response to this process's deletion was lost.
            Err(error) if error.code == "resource-not-found" => Ok(()),
            deleted => deleted,
        }
    }

    async fn insert_operations(&self, operations: &[Operation]) -> PortResult<usize> {
        let mut parts: std::collections::BTreeMap<String, Vec<(Key, Entity)>> = std::collections::BTreeMap::new();
        for operation in operations {
            let key = rows::operation_key(&operation.job, &operation.id);
            parts.entry(key.partition.clone()).or_default().push((key, rows::of_operation(operation)?));
        }
        let inserts = parts.into_iter().map(async |(partition, rows)| self.insert_planned(&partition, rows).await);
        stream::iter(inserts).buffered(MAX_IN_FLIGHT).try_fold(0, async |sum, added| Ok(sum + added)).await
    }

    async fn remove_earlier_plans(&self, job: &JobId, plan: u32) -> PortResult<usize> {
        let parts = rows::partitions(job).map(async |partition| {
            let filter = format!("PartitionKey eq '{partition}' and {}", rows::of_earlier_plans(plan));
            remove_all(&self.operations, &partition, &filter).await
        });
        stream::iter(parts).buffered(MAX_IN_FLIGHT).try_fold(0, async |sum, removed| Ok(sum + removed)).await
    }

    async fn operation(&self, job: &JobId, id: &OperationId) -> PortResult<Option<Versioned<Operation>>> {
        let row = self.operations.get(&rows::operation_key(job, id)).await?;
        row.map(|row| rows::to_operation(&row)).transpose()
    }

    async fn group(&self, job: &JobId, id: &OperationId) -> PortResult<Vec<Versioned<Operation>>> {
        let rows = self.operations.query(&rows::group_filter(job, id), None).await?;
        sorted(rows.iter().map(rows::to_operation).collect::<PortResult<_>>()?)
    }

    async fn operations(&self, job: &JobId) -> PortResult<Vec<Versioned<Operation>>> {
        let rows = self.scan(job, rows::OPERATIONS).await?;
        sorted(rows.iter().map(rows::to_operation).collect::<PortResult<_>>()?)
    }

    async fn commit(&self, changes: &[Change], events: &[Event]) -> PortResult<Vec<ETag>> {
        check_one_group(changes, events)?;
        if let ([change], []) = (changes, events) {
            let key = rows::operation_key(&change.operation.job, &change.operation.id);
            let row = rows::of_operation(&change.operation)?;
            return Ok(vec![self.operations.merge(&key, row, &change.if_match).await?]);
        }
        let mut actions = Vec::with_capacity(changes.len() + events.len());
        for Change { operation, if_match } in changes {
            let key = rows::operation_key(&operation.job, &operation.id);
            actions.push(Action::Merge(key, rows::of_operation(operation)?, if_match.clone()));
        }
        let now = Timestamp::now();
        for (index, event) in events.iter().enumerate() {
            actions.push(Action::Insert(rows::event_key(event, now, index), rows::of_event(event)?));
        }
        let mut etags = self.operations.transact(&actions).await?;
        etags.truncate(changes.len());
        Ok(etags)
    }

    async fn events(&self, job: &JobId, operation: Option<&OperationId>) -> PortResult<Vec<Event>> {
        let mut found = match operation {
            Some(id) => self.operations.query(&rows::events_of_operation(job, id), None).await?,
            None => {
                let mut of_job = self.jobs.query(&rows::events_of_job(job), None).await?;
                of_job.extend(self.scan(job, rows::EVENTS).await?);
                of_job
            }
        };
        found.sort_by_cached_key(rows::written_at_part);
        found.iter().map(rows::to_event).collect()
    }

    async fn put_upload(&self, upload: &Upload) -> PortResult<()> {
        self.jobs.replace(&rows::upload_key(&upload.id), rows::of_upload(upload)?).await
    }

    async fn upload(&self, id: &JobId) -> PortResult<Option<Upload>> {
        self.jobs.get(&rows::upload_key(id)).await?.map(|row| rows::to_upload(&row)).transpose()
    }

    async fn newest_upload(&self, image: &ImageName, version: &ImageVersion) -> PortResult<Option<Upload>> {
        let rows = self.jobs.query(&rows::uploads_of(image, version), None).await?;
        Ok(newest_uploads_first(rows.iter().map(rows::to_upload).collect::<PortResult<_>>()?).into_iter().next())
    }

    async fn uploads(&self) -> PortResult<Vec<Upload>> {
        let rows = self.jobs.query(rows::UPLOADS, None).await?;
        Ok(newest_uploads_first(rows.iter().map(rows::to_upload).collect::<PortResult<_>>()?))
    }
}

/// Removes the rows of one partition that match `filter`. Returns the number of removed rows.
async fn remove_all(table: &Table, partition: &str, filter: &str) -> PortResult<usize> {
    let mut removed = 0;
    loop {
        let rows = table.query(filter, Some("RowKey")).await?;
        let keys = rows.iter().filter_map(|row| row.get("RowKey")?.as_str());
        let actions: Vec<Action> = keys.map(|row| Action::Delete(Key::new(partition, row))).collect();
        let mut vanished = false;
        for batch in actions.chunks(MAX_ACTIONS) {
            match table.transact(batch).await {
                Ok(_) => removed += batch.len(),
                // Another process deletes the same rows. The next round finds fewer.
                Err(error) if error.kind == ErrorKind::NotFound && error.code == "resource-not-found" => {
                    vanished = true;
                }
                Err(error) => return Err(error),
            }
        }
        if !vanished {
            return Ok(removed);
        }
    }
}

/// The number of actions that fit into one transaction.
fn actions_per_batch(actions: &[Action]) -> usize {
    let mut bytes = 0;
    let fits = actions.iter().take(MAX_ACTIONS).take_while(|action| {
        bytes += match action {
            Action::Insert(_, entity) | Action::Merge(_, entity, _) => rows::length(entity),
            Action::Delete(_) => 0,
        };
        bytes <= MAX_BATCH_BYTES
    });
    fits.count().max(1)
}

fn first(etags: Vec<ETag>) -> PortResult<ETag> {
    let incomplete = || PortError::new(ErrorKind::Unavailable, "a transaction's answer has no version");
    etags.into_iter().next().ok_or_else(incomplete)
}

fn sorted(mut operations: Vec<Versioned<Operation>>) -> PortResult<Vec<Versioned<Operation>>> {
    operations.sort_by_cached_key(|row| row.value.id.to_string());
    Ok(operations)
}
