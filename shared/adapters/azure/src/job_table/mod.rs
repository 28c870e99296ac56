//! The job table in the Table service: `PREFIXjobs` and `PREFIXoperations`.
//!
//! | table | partition | row | content |
//! | --- | --- | --- | --- |
//! | jobs | `job` | `j.JOB` | a job |
//! | jobs | `job` | `e.JOB.TIME…` | an event of the job itself; same partition as the job, for one transaction |
//! | jobs | `upload` | `u.UPLOAD` | an upload |
//! | jobs | `record` | `r.NAME` | a record; its document is JSON in `Data`, `Data1`, … as bytes |
//! | jobs | `fleet` | `fleet` | the id of the fleet |
//! | operations | `JOB.SHARD` | `o.GROUP.STEP` | an operation; the rows of a group are adjacent |
//! | operations | `JOB.SHARD` | `e.TIME…` | an event of an operation of that partition |
//! | operations | `JOB.SHARD` | `g:PLAN:ROLE:GATE:GROUP.STEP` | an index entry: the operation's role at a gate |
//!
//! The operations of a job are spread over [`SHARDS`] partitions by their group. A partition handles 2,000 rows a
//! second and an account 20,000 (source: Table service, scalability targets). The heartbeats and transitions of 10,000
//! running operations are therefore far below the limit of a partition. All operations of a job are read by one range
//! scan per partition, in parallel, without reading rows of other jobs.

mod planning;
mod records;
mod rows;

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use goldfleet_azure_settings::Prefix;
use goldfleet_model::event::Event;
use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Census, GateRole, Operation, OperationId, OperationState, StateCount};
use goldfleet_model::upload::Upload;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::job_table::{Change, GateOpeners, JobTable, check_one_group, newest_first, newest_uploads_first};
use goldfleet_ports::listing::{Listing, UnreadableRow};
use goldfleet_ports::rng::random_uuid;
use goldfleet_ports::{ETag, Versioned};
use jiff::Timestamp;
use uuid::Uuid;

use planning::PlannedRow;

use super::connection::Connection;
use super::table::{Action, Entity, Key, MAX_ACTIONS, Table};

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

    /// The operations that match `filter`, at most `limit`. Only keys are read.
    async fn ids(&self, job: &JobId, filter: &str, limit: usize) -> PortResult<Vec<OperationId>> {
        let lists = rows::partitions(job).map(async |partition| {
            let filter = format!("PartitionKey eq '{partition}' and {filter}");
            self.operations.query_some(&filter, Some("RowKey"), limit).await
        });
        let parts: Vec<Vec<Entity>> = stream::iter(lists).buffered(MAX_IN_FLIGHT).try_collect().await?;
        Ok(parts.iter().flatten().take(limit).filter_map(rows::to_operation_id).collect())
    }

    /// Reads the first row that matches `filter` in any partition of a job. Partitions are asked in parallel, and no
    /// more are asked when a row was found.
    async fn first(&self, job: &JobId, filter: &str, order: Order) -> PortResult<Option<Entity>> {
        let finds = rows::partitions(job).map(async |partition| {
            let filter = format!("PartitionKey eq '{partition}' and {filter}");
            Ok(self.operations.query_some(&filter, Some("RowKey"), 1).await?.into_iter().next())
        });
        let mut found = stream::iter(finds).buffered(MAX_IN_FLIGHT);
        let mut first: Option<Entity> = None;
        while let Some(row) = found.try_next().await? {
            first = [first, row].into_iter().flatten().min_by_key(key_of);
            if first.is_some() && order == Order::Any {
                break;
            }
        }
        Ok(first)
    }
}

/// Whether [`AzureJobTable::first`] must return the first row in the order of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Any,
    Keys,
}

/// The key of a row in its partition.
fn key_of(row: &Entity) -> String {
    row.get("RowKey").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

/// The actions that change the roles of an operation.
fn role_actions(change: &Change) -> impl Iterator<Item = Action> + '_ {
    let (removed, added) = change.role_changes();
    let entry = |(gate, role): (GateKey, GateRole)| rows::role_entry(&change.operation, &gate, role);
    let removals = removed.into_iter().map(move |role| Action::Delete(entry(role).0));
    removals.chain(added.into_iter().map(move |role| {
        let (key, entity) = entry(role);
        Action::Insert(key, entity)
    }))
}

#[async_trait]
impl JobTable for AzureJobTable {
    async fn ensure(&self) -> PortResult<()> {
        self.jobs.ensure().await?;
        self.operations.ensure().await?;
        self.fleet().await.map(drop)
    }

    async fn fleet(&self) -> PortResult<Uuid> {
        let key = rows::fleet_key();
        if let Some(row) = self.jobs.get(&key).await? {
            return rows::to_fleet(&row);
        }
        let id = random_uuid();
        match self.jobs.insert(&key, rows::of_fleet(id)).await {
            Ok(_) => Ok(id),
            // Another process created it, or the response to an earlier try was lost.
            Err(error) if error.kind == ErrorKind::AlreadyExists => match self.jobs.get(&key).await? {
                Some(row) => rows::to_fleet(&row),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    async fn insert_job(&self, job: &Job) -> PortResult<()> {
        self.jobs.insert(&rows::job_key(&job.id), rows::of_job(job)?).await.map(drop)
    }

    async fn job(&self, id: &JobId) -> PortResult<Option<Versioned<Job>>> {
        let row = self.jobs.get(&rows::job_key(id)).await?;
        row.map(|row| rows::to_job(&row)).transpose().map_err(UnreadableRow::into_error)
    }

    async fn list_jobs(&self) -> PortResult<Listing<Versioned<Job>>> {
        let rows = self.jobs.query(rows::JOBS, None).await?;
        Ok(Listing::of(rows.iter().map(rows::to_job)).in_order(newest_first))
    }

    async fn list_newest_jobs(&self, limit: usize) -> PortResult<Listing<Versioned<Job>>> {
        // The service lists keys in ascending order. So this reads all keys, which are short, and then the rows at the
        // end.
        let keys = self.jobs.query(rows::JOBS, Some("RowKey")).await?;
        let newest = &keys[keys.len().saturating_sub(limit)..];
        let Some(oldest) = newest.first() else { return Ok(Listing::default()) };
        let rows = self.jobs.query(&rows::jobs_from(oldest)?, None).await?;
        // Other jobs may have been created after the keys were listed.
        let rows = &rows[rows.len().saturating_sub(limit)..];
        Ok(Listing::of(rows.iter().map(rows::to_job)).in_order(newest_first))
    }

    async fn list_open_jobs(&self) -> PortResult<Listing<Versioned<Job>>> {
        let rows = self.jobs.query(&rows::open_jobs(), None).await?;
        Ok(Listing::of(rows.iter().map(rows::to_job)).in_order(newest_first))
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
        let Some(row) = self.jobs.get(&rows::job_key(id)).await? else { return Ok(()) };
        if rows::etag(&row)? != *if_match {
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
        let mut parts: BTreeMap<String, Vec<PlannedRow>> = BTreeMap::new();
        for operation in operations {
            let row = PlannedRow::of(operation)?;
            parts.entry(row.key.partition.clone()).or_default().push(row);
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
        row.map(|row| rows::to_operation(&row)).transpose().map_err(UnreadableRow::into_error)
    }

    async fn list_group(&self, job: &JobId, id: &OperationId) -> PortResult<Listing<Versioned<Operation>>> {
        let rows = self.operations.query(&rows::group_filter(job, id), None).await?;
        Ok(Listing::of(rows.iter().map(rows::to_operation)).in_order(sorted))
    }

    async fn list_operations(&self, job: &JobId) -> PortResult<Listing<Versioned<Operation>>> {
        let rows = self.scan(job, rows::OPERATIONS).await?;
        Ok(Listing::of(rows.iter().map(rows::to_operation)).in_order(sorted))
    }

    async fn unreadable_operations(&self, job: &JobId) -> PortResult<Vec<UnreadableRow>> {
        let mut unreadable = Vec::new();
        // One partition after the other, so that few rows are in memory at a time.
        for partition in rows::partitions(job) {
            let filter = format!("PartitionKey eq '{partition}' and {}", rows::OPERATIONS);
            let rows = self.operations.query(&filter, None).await?;
            unreadable.extend(rows.iter().filter_map(|row| rows::to_operation(row).err()));
        }
        Ok(unreadable)
    }

    async fn census(&self, job: &JobId, plan: u32) -> PortResult<Vec<StateCount>> {
        let filter = rows::of_plan(plan);
        let counts = rows::partitions(job).map(async |partition| {
            let filter = format!("PartitionKey eq '{partition}' and {filter}");
            let rows = self.operations.query(&filter, Some(rows::CENSUS)).await?;
            Ok(rows.iter().filter_map(rows::to_count).collect::<Vec<_>>())
        });
        let mut census = Census::default();
        let mut counts = stream::iter(counts).buffered(MAX_IN_FLIGHT);
        while let Some(of_partition) = counts.try_next().await? {
            for (kind, state, time) in of_partition {
                census.add(kind, state, time);
            }
        }
        Ok(census.into_counts())
    }

    async fn in_state_before(
        &self,
        job: &JobId,
        plan: u32,
        state: OperationState,
        before: Timestamp,
        limit: usize,
    ) -> PortResult<Vec<OperationId>> {
        self.ids(job, &rows::in_state_before(plan, state, before), limit).await
    }

    async fn in_state_after(
        &self,
        job: &JobId,
        plan: u32,
        state: OperationState,
        after: Timestamp,
        limit: usize,
    ) -> PortResult<Vec<OperationId>> {
        self.ids(job, &rows::in_state_after(plan, state, after), limit).await
    }

    async fn openers(&self, job: &JobId, plan: u32, gate: &GateKey) -> PortResult<GateOpeners> {
        let first = async |role, order| {
            let row = self.first(job, &rows::role_filter(plan, role, gate), order).await?;
            row.map(|row| Ok(rows::to_role(&row)?.1)).transpose()
        };
        let mut openers =
            GateOpeners { pending: first(GateRole::Pending, Order::Any).await?, ..GateOpeners::default() };
        if openers.pending.is_none() {
            openers.failed = first(GateRole::Failed, Order::Keys).await?;
        }
        if openers.pending.is_none() && openers.failed.is_none() {
            openers.cancelled = first(GateRole::Cancelled, Order::Keys).await?;
        }
        Ok(openers)
    }

    async fn awaiting(
        &self,
        job: &JobId,
        plan: u32,
        gate: &GateKey,
        on: GateCondition,
    ) -> PortResult<Vec<OperationId>> {
        let filter = rows::role_filter(plan, GateRole::awaiting(on), gate);
        let lists = rows::partitions(job).map(async |partition| {
            let filter = format!("PartitionKey eq '{partition}' and {filter}");
            self.operations.query(&filter, Some("RowKey")).await
        });
        let parts: Vec<Vec<Entity>> = stream::iter(lists).buffered(MAX_IN_FLIGHT).try_collect().await?;
        let mut ids: Vec<OperationId> =
            parts.iter().flatten().filter_map(|row| Some(rows::to_role(row).ok()?.1)).collect();
        ids.sort_by_cached_key(ToString::to_string);
        Ok(ids)
    }

    async fn awaited_gates(&self, job: &JobId, plan: u32) -> PortResult<Vec<(GateKey, GateCondition)>> {
        let mut gates = Vec::new();
        for on in GateCondition::ALL {
            let mut last: Option<GateKey> = None;
            loop {
                let filter = rows::role_filter_behind(plan, GateRole::awaiting(on), last.as_ref());
                let Some(row) = self.first(job, &filter, Order::Keys).await? else { break };
                let (gate, _) = rows::to_role(&row)?;
                gates.push((gate.clone(), on));
                last = Some(gate);
            }
        }
        Ok(gates)
    }

    async fn commit(&self, changes: &[Change], events: &[Event]) -> PortResult<Vec<ETag>> {
        check_one_group(changes, events)?;
        let roles: Vec<Action> = changes.iter().flat_map(role_actions).collect();
        if let ([change], [], []) = (changes, events, roles.as_slice()) {
            let key = rows::operation_key(&change.operation.job, &change.operation.id);
            let row = rows::of_operation(&change.operation)?;
            return Ok(vec![self.operations.merge(&key, row, &change.if_match).await?]);
        }
        let mut actions = Vec::with_capacity(changes.len() + events.len());
        for Change { operation, if_match, .. } in changes {
            let key = rows::operation_key(&operation.job, &operation.id);
            actions.push(Action::Merge(key, rows::of_operation(operation)?, if_match.clone()));
        }
        let now = Timestamp::now();
        for (index, event) in events.iter().enumerate() {
            actions.push(Action::Insert(rows::event_key(event, now, index), rows::of_event(event)?));
        }
        // If a row has changed, its own action is rejected first, because the actions are applied in order.
        actions.extend(roles);
        let mut etags = self.operations.transact(&actions).await?;
        etags.truncate(changes.len());
        Ok(etags)
    }

    async fn list_events(&self, job: &JobId, operation: Option<&OperationId>) -> PortResult<Listing<Event>> {
        let mut found = match operation {
            Some(id) => self.operations.query(&rows::events_of_operation(job, id), None).await?,
            None => {
                let mut of_job = self.jobs.query(&rows::events_of_job(job), None).await?;
                of_job.extend(self.scan(job, rows::EVENTS).await?);
                of_job
            }
        };
        found.sort_by_cached_key(rows::written_at_part);
        Ok(Listing::of(found.iter().map(rows::to_event)))
    }

    async fn put_upload(&self, upload: &Upload) -> PortResult<()> {
        self.jobs.replace(&rows::upload_key(&upload.id), rows::of_upload(upload)?).await
    }

    async fn upload(&self, id: &JobId) -> PortResult<Option<Upload>> {
        let row = self.jobs.get(&rows::upload_key(id)).await?;
        row.map(|row| rows::to_upload(&row)).transpose().map_err(UnreadableRow::into_error)
    }

    async fn newest_upload(&self, image: &ImageName, version: &ImageVersion) -> PortResult<Option<Upload>> {
        let rows = self.jobs.query(&rows::uploads_of(image, version), None).await?;
        let readable = Listing::of(rows.iter().map(rows::to_upload)).rows;
        Ok(newest_uploads_first(readable).into_iter().next())
    }

    async fn list_uploads(&self) -> PortResult<Listing<Upload>> {
        let rows = self.jobs.query(rows::UPLOADS, None).await?;
        Ok(Listing::of(rows.iter().map(rows::to_upload)).in_order(newest_uploads_first))
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

fn first(etags: Vec<ETag>) -> PortResult<ETag> {
    let incomplete = || PortError::new(ErrorKind::Unavailable, "a transaction's answer has no version");
    etags.into_iter().next().ok_or_else(incomplete)
}

fn sorted(mut operations: Vec<Versioned<Operation>>) -> Vec<Versioned<Operation>> {
    operations.sort_by_cached_key(|row| row.value.id.to_string());
    operations
}
