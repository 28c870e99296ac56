//! The job table in memory, for fleets in one process. It never blocks a thread, so that it works in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::document::Document;
use goldfleet_model::event::Event;
use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Census, GateRole, Operation, OperationId, OperationState, StateCount};
use goldfleet_model::upload::Upload;
use goldfleet_ports::clock::Clock;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::job_table::{Change, GateOpeners, JobTable, check_one_group, newest_first, newest_uploads_first};
use goldfleet_ports::listing::{Listing, RowName, UnreadableRow};
use goldfleet_ports::records::RecordName;
use goldfleet_ports::rng::random_uuid;
use goldfleet_ports::{ETag, Versioned};
use jiff::Timestamp;
use uuid::Uuid;

use super::memory::InMemory;

/// The job table in memory.
pub struct MemoryJobTable(pub(super) InMemory<State>);

#[derive(Default)]
pub(super) struct State {
    jobs: BTreeMap<JobId, (u64, Job)>,
    operations: BTreeMap<JobId, Operations>,
    events: BTreeMap<JobId, Vec<Event>>,
    uploads: BTreeMap<JobId, Upload>,
    /// The reasons why rows cannot be read, by key.
    damaged: BTreeMap<String, String>,
    fleet: Option<Uuid>,
    pub(super) records: BTreeMap<RecordName, (u64, Document)>,
    /// The version of the record that was written last. No version is used twice.
    pub(super) record_version: u64,
}

/// A job's operations.
#[derive(Default)]
struct Operations {
    by_id: BTreeMap<String, (u64, Operation)>,
    /// The operation ids of each group, in order.
    groups: BTreeMap<String, Vec<String>>,
    /// The roles of operations at gates, with the planning attempt first.
    roles: BTreeSet<(u32, GateRole, GateKey, String)>,
}

impl MemoryJobTable {
    /// Creates an empty table. Each request takes `latency` on this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, latency: Duration) -> Self {
        Self(InMemory::new(clock, latency))
    }

    /// Damages a row, for tests: it stays in the table and cannot be read for this reason, until something writes it.
    /// Without a reason it can be read again.
    pub async fn damage(&self, row: &RowName, reason: Option<String>) {
        let damaged = &mut self.0.request().await.damaged;
        damaged.remove(&row.to_string());
        damaged.extend(reason.map(|reason| (row.to_string(), reason)));
    }
}

impl State {
    /// A row as a reader sees it.
    fn read<T, R>(
        &self,
        name: impl FnOnce() -> RowName,
        row: &T,
        value: impl FnOnce(&T) -> R,
    ) -> Result<R, UnreadableRow> {
        if self.damaged.is_empty() {
            return Ok(value(row));
        }
        let name = name();
        match self.damaged.get(&name.to_string()) {
            None => Ok(value(row)),
            Some(reason) => Err(UnreadableRow { id: name.id(), key: name.to_string(), reason: reason.clone() }),
        }
    }

    fn read_jobs<'a>(&self, jobs: impl Iterator<Item = &'a (u64, Job)>) -> Listing<Versioned<Job>> {
        let read = |row: &'a (u64, Job)| self.read(|| RowName::Job(row.1.id.clone()), row, versioned);
        Listing::of(jobs.map(read)).in_order(newest_first)
    }

    fn read_operation(&self, row: &(u64, Operation)) -> Result<Versioned<Operation>, UnreadableRow> {
        self.read(|| RowName::Operation(row.1.job.clone(), row.1.id.clone()), row, versioned)
    }

    fn read_upload(&self, row: &Upload) -> Result<Upload, UnreadableRow> {
        self.read(|| RowName::Upload(row.id.clone()), row, Clone::clone)
    }

    /// A row was written, so that it can be read.
    fn written(&mut self, name: impl FnOnce() -> RowName) {
        if !self.damaged.is_empty() {
            self.damaged.remove(&name().to_string());
        }
    }
}

impl Operations {
    /// Writes an operation of a planning attempt. Returns whether the row changed.
    fn insert(&mut self, operation: &Operation) -> PortResult<bool> {
        let id = operation.id.to_string();
        if let Some((version, row)) = self.by_id.get_mut(&id) {
            if row.plan > operation.plan {
                let message = format!("job {} was planned again by another dispatcher", operation.job);
                return Err(PortError::new(ErrorKind::Conflict, message));
            }
            let replaces = row.plan < operation.plan;
            if replaces {
                (*version, *row) = (*version + 1, operation.clone());
                self.add_roles(operation);
            }
            return Ok(replaces);
        }
        let group = self.groups.entry(operation.id.group().to_string()).or_default();
        group.push(id.clone());
        group.sort_unstable();
        self.by_id.insert(id, (1, operation.clone()));
        self.add_roles(operation);
        Ok(true)
    }

    fn add_roles(&mut self, operation: &Operation) {
        let roles = operation.gate_roles().into_iter();
        self.roles.extend(roles.map(|(gate, role)| (operation.plan, role, gate, operation.id.to_string())));
    }

    /// Replaces a row that exists. Returns its new version.
    fn replace(&mut self, change: &Change) -> PortResult<ETag> {
        let operation = &change.operation;
        let id = operation.id.to_string();
        let row = expect(self.by_id.get_mut(&id), &change.if_match, || name(operation))?;
        *row = (row.0 + 1, operation.clone());
        let etag = etag(row.0);
        let (gone, _) = change.role_changes();
        for (gate, role) in gone {
            self.roles.remove(&(operation.plan, role, gate, id.clone()));
        }
        self.add_roles(operation);
        Ok(etag)
    }

    /// The operations with a role at a gate, in the order of their ids.
    fn with_role(&self, plan: u32, role: GateRole, gate: &GateKey) -> impl Iterator<Item = OperationId> {
        let from = (plan, role, gate.clone(), String::new());
        let at_gate =
            move |entry: &&(u32, GateRole, GateKey, String)| (entry.0, entry.1) == (plan, role) && entry.2 == *gate;
        self.roles.range(from..).take_while(at_gate).filter_map(|entry| entry.3.parse().ok())
    }

    /// The gates at which operations have this role.
    fn gates_with_role(&self, plan: u32, role: GateRole) -> Vec<GateKey> {
        let mut gates: Vec<GateKey> = Vec::new();
        let of_role = self.roles.iter().filter(|entry| (entry.0, entry.1) == (plan, role));
        for (_, _, gate, _) in of_role {
            if gates.last() != Some(gate) {
                gates.push(gate.clone());
            }
        }
        gates
    }

    /// Removes the rows of planning attempts before `plan`. Returns the number of removed rows.
    fn remove_earlier(&mut self, plan: u32) -> usize {
        let before = self.by_id.len();
        self.by_id.retain(|_, (_, row)| row.plan >= plan);
        self.roles.retain(|(of, ..)| *of >= plan);
        for ids in self.groups.values_mut() {
            ids.retain(|id| self.by_id.contains_key(id));
        }
        before - self.by_id.len()
    }
}

#[async_trait]
impl JobTable for MemoryJobTable {
    async fn ensure(&self) -> PortResult<()> {
        Ok(())
    }

    async fn fleet(&self) -> PortResult<Uuid> {
        Ok(*self.0.request().await.fleet.get_or_insert_with(random_uuid))
    }

    async fn insert_job(&self, job: &Job) -> PortResult<()> {
        let mut state = self.0.request().await;
        if state.jobs.contains_key(&job.id) {
            return Err(PortError::new(ErrorKind::AlreadyExists, format!("there is a job {} already", job.id)));
        }
        state.jobs.insert(job.id.clone(), (1, job.clone()));
        Ok(())
    }

    async fn job(&self, id: &JobId) -> PortResult<Option<Versioned<Job>>> {
        let state = self.0.request().await;
        let read = |row| state.read(|| RowName::Job(id.clone()), row, versioned);
        state.jobs.get(id).map(read).transpose().map_err(UnreadableRow::into_error)
    }

    async fn list_jobs(&self) -> PortResult<Listing<Versioned<Job>>> {
        let state = self.0.request().await;
        Ok(state.read_jobs(state.jobs.values()))
    }

    async fn list_newest_jobs(&self, limit: usize) -> PortResult<Listing<Versioned<Job>>> {
        let state = self.0.request().await;
        Ok(state.read_jobs(state.jobs.values().rev().take(limit)))
    }

    async fn list_open_jobs(&self) -> PortResult<Listing<Versioned<Job>>> {
        let state = self.0.request().await;
        let is_damaged = |id: &JobId| !state.damaged.is_empty() && state.damaged.contains_key(&format!("jobs/{id}"));
        let open = state.jobs.values().filter(|(_, job)| !job.state.is_terminal() || is_damaged(&job.id));
        Ok(state.read_jobs(open))
    }

    async fn commit_job(&self, job: &Job, if_match: &ETag, events: &[Event]) -> PortResult<ETag> {
        let mut state = self.0.request().await;
        let row = expect(state.jobs.get_mut(&job.id), if_match, || format!("job {}", job.id))?;
        *row = (row.0 + 1, job.clone());
        let etag = etag(row.0);
        state.written(|| RowName::Job(job.id.clone()));
        state.events.entry(job.id.clone()).or_default().extend_from_slice(events);
        Ok(etag)
    }

    async fn remove_job(&self, id: &JobId, if_match: &ETag) -> PortResult<()> {
        let mut state = self.0.request().await;
        if !state.jobs.contains_key(id) {
            return Ok(());
        }
        expect(state.jobs.get_mut(id), if_match, || format!("job {id}"))?;
        for row in state.operations.remove(id).into_iter().flat_map(|job| job.by_id.into_values()) {
            state.written(|| RowName::Operation(row.1.job.clone(), row.1.id.clone()));
        }
        state.events.remove(id);
        state.jobs.remove(id);
        state.written(|| RowName::Job(id.clone()));
        Ok(())
    }

    async fn insert_operations(&self, operations: &[Operation]) -> PortResult<usize> {
        let mut state = self.0.request().await;
        let mut added = 0;
        for operation in operations {
            let job = state.operations.entry(operation.job.clone()).or_default();
            if job.insert(operation)? {
                state.written(|| RowName::Operation(operation.job.clone(), operation.id.clone()));
                added += 1;
            }
        }
        Ok(added)
    }

    async fn remove_earlier_plans(&self, job: &JobId, plan: u32) -> PortResult<usize> {
        let mut state = self.0.request().await;
        Ok(state.operations.get_mut(job).map_or(0, |job| job.remove_earlier(plan)))
    }

    async fn operation(&self, job: &JobId, id: &OperationId) -> PortResult<Option<Versioned<Operation>>> {
        let state = self.0.request().await;
        let row = state.operations.get(job).and_then(|job| job.by_id.get(&id.to_string()));
        row.map(|row| state.read_operation(row)).transpose().map_err(UnreadableRow::into_error)
    }

    async fn list_group(&self, job: &JobId, id: &OperationId) -> PortResult<Listing<Versioned<Operation>>> {
        let state = self.0.request().await;
        let Some(job) = state.operations.get(job) else { return Ok(Listing::default()) };
        let ids = job.groups.get(id.group().as_str()).into_iter().flatten();
        Ok(Listing::of(ids.filter_map(|id| job.by_id.get(id)).map(|row| state.read_operation(row))))
    }

    async fn list_operations(&self, job: &JobId) -> PortResult<Listing<Versioned<Operation>>> {
        let state = self.0.request().await;
        let rows = state.operations.get(job).into_iter().flat_map(|job| job.by_id.values());
        Ok(Listing::of(rows.map(|row| state.read_operation(row))))
    }

    async fn unreadable_operations(&self, job: &JobId) -> PortResult<Vec<UnreadableRow>> {
        Ok(self.list_operations(job).await?.unreadable)
    }

    async fn census(&self, job: &JobId, plan: u32) -> PortResult<Vec<StateCount>> {
        let state = self.0.request().await;
        let mut census = Census::default();
        let rows = state.operations.get(job).into_iter().flat_map(|job| job.by_id.values());
        for (_, row) in rows.filter(|(_, row)| row.plan == plan) {
            census.add(row.kind.clone(), row.state, row.state_time());
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
        let table = self.0.request().await;
        let rows = table.operations.get(job).into_iter().flat_map(|job| job.by_id.values()).map(|(_, row)| row);
        let wanted = rows.filter(|row| row.plan == plan && row.state == state && row.state_time() < before);
        Ok(wanted.take(limit).map(|row| row.id.clone()).collect())
    }

    async fn in_state_after(
        &self,
        job: &JobId,
        plan: u32,
        state: OperationState,
        after: Timestamp,
        limit: usize,
    ) -> PortResult<Vec<OperationId>> {
        let table = self.0.request().await;
        let rows = table.operations.get(job).into_iter().flat_map(|job| job.by_id.values()).map(|(_, row)| row);
        let wanted = rows.filter(|row| row.plan == plan && row.state == state && row.state_time() > after);
        Ok(wanted.take(limit).map(|row| row.id.clone()).collect())
    }

    async fn openers(&self, job: &JobId, plan: u32, gate: &GateKey) -> PortResult<GateOpeners> {
        let state = self.0.request().await;
        let Some(job) = state.operations.get(job) else { return Ok(GateOpeners::default()) };
        let first = |role| job.with_role(plan, role, gate).next();
        Ok(GateOpeners {
            pending: first(GateRole::Pending),
            failed: first(GateRole::Failed),
            cancelled: first(GateRole::Cancelled),
        })
    }

    async fn awaiting(
        &self,
        job: &JobId,
        plan: u32,
        gate: &GateKey,
        on: GateCondition,
    ) -> PortResult<Vec<OperationId>> {
        let state = self.0.request().await;
        let job = state.operations.get(job);
        Ok(job.map_or_else(Vec::new, |job| job.with_role(plan, GateRole::awaiting(on), gate).collect()))
    }

    async fn awaited_gates(&self, job: &JobId, plan: u32) -> PortResult<Vec<(GateKey, GateCondition)>> {
        let state = self.0.request().await;
        let Some(job) = state.operations.get(job) else { return Ok(Vec::new()) };
        let with = |on| job.gates_with_role(plan, GateRole::awaiting(on)).into_iter().map(move |gate| (gate, on));
        Ok(GateCondition::ALL.into_iter().flat_map(with).collect())
    }

    async fn commit(&self, changes: &[Change], events: &[Event]) -> PortResult<Vec<ETag>> {
        check_one_group(changes, events)?;
        let mut guard = self.0.request().await;
        let state = &mut *guard;
        // All rows are checked before any row is changed.
        for Change { operation, if_match, .. } in changes {
            let job = state.operations.get_mut(&operation.job);
            let row = job.and_then(|job| job.by_id.get_mut(&operation.id.to_string()));
            expect(row, if_match, || name(operation))?;
        }
        let mut etags = Vec::with_capacity(changes.len());
        for change in changes {
            let job = state.operations.entry(change.operation.job.clone()).or_default();
            etags.push(job.replace(change)?);
            state.written(|| RowName::Operation(change.operation.job.clone(), change.operation.id.clone()));
        }
        for event in events {
            state.events.entry(event.job.clone()).or_default().push(event.clone());
        }
        Ok(etags)
    }

    async fn list_events(&self, job: &JobId, operation: Option<&OperationId>) -> PortResult<Listing<Event>> {
        let state = self.0.request().await;
        let wanted = |event: &&Event| operation.is_none_or(|id| event.operation.as_ref() == Some(id));
        Ok(Listing::of(state.events.get(job).into_iter().flatten().filter(wanted).cloned().map(Ok)))
    }

    async fn put_upload(&self, upload: &Upload) -> PortResult<()> {
        let mut state = self.0.request().await;
        state.uploads.insert(upload.id.clone(), upload.clone());
        state.written(|| RowName::Upload(upload.id.clone()));
        Ok(())
    }

    async fn upload(&self, id: &JobId) -> PortResult<Option<Upload>> {
        let state = self.0.request().await;
        let row = state.uploads.get(id).map(|row| state.read_upload(row));
        row.transpose().map_err(UnreadableRow::into_error)
    }

    async fn newest_upload(&self, image: &ImageName, version: &ImageVersion) -> PortResult<Option<Upload>> {
        let state = self.0.request().await;
        let of_version = state.uploads.values().filter(|upload| upload.image == *image && upload.version == *version);
        let readable = of_version.filter_map(|row| state.read_upload(row).ok());
        Ok(readable.max_by(|a, b| (a.started, &a.id).cmp(&(b.started, &b.id))))
    }

    async fn list_uploads(&self) -> PortResult<Listing<Upload>> {
        let state = self.0.request().await;
        Ok(Listing::of(state.uploads.values().map(|row| state.read_upload(row))).in_order(newest_uploads_first))
    }
}

fn name(operation: &Operation) -> String {
    format!("operation {} of job {}", operation.id, operation.job)
}

pub(super) fn versioned<T: Clone>((version, value): &(u64, T)) -> Versioned<T> {
    Versioned { value: value.clone(), etag: etag(*version) }
}

pub(super) fn etag(version: u64) -> ETag {
    ETag(version.to_string())
}

/// The row, if it exists and has the version of `if_match`.
fn expect<'a, T>(
    row: Option<&'a mut (u64, T)>,
    if_match: &ETag,
    name: impl Fn() -> String,
) -> PortResult<&'a mut (u64, T)> {
    match row {
        None => Err(PortError::new(ErrorKind::NotFound, format!("{} is not in the table", name()))),
        Some(row) if etag(row.0) != *if_match => {
            let message = format!("{} was changed by someone else meanwhile", name());
            Err(PortError::new(ErrorKind::Conflict, message))
        }
        Some(row) => Ok(row),
    }
}
