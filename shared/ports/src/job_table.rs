//! The job table: jobs, their operations, the event log, and the state of uploads.

use async_trait::async_trait;
use goldfleet_model::event::Event;
use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{GateRoles, Operation, OperationId, OperationState, StateCount};
use goldfleet_model::upload::Upload;
use jiff::Timestamp;
use uuid::Uuid;

use super::error::PortResult;
use super::listing::{Listing, UnreadableRow};
use super::{ETag, Versioned};

/// The new row of an operation, on condition that the ETag of the old row is still `if_match`.
#[derive(Debug, Clone)]
pub struct Change {
    /// The whole new row.
    pub operation: Operation,
    /// The ETag of the row that it was derived from.
    pub if_match: ETag,
    /// The roles of that row at gates, which the adapter removes from its index if the new row does not have them.
    pub roles_before: GateRoles,
}

impl Change {
    /// Replaces `row` by `operation`.
    #[must_use]
    pub fn new(row: &Versioned<Operation>, operation: Operation) -> Self {
        Self { operation, if_match: row.etag.clone(), roles_before: row.value.gate_roles() }
    }

    /// The roles that the new row no longer has, and those that it has in addition.
    #[must_use]
    pub fn role_changes(&self) -> (GateRoles, GateRoles) {
        let roles = self.operation.gate_roles();
        (&self.roles_before - &roles, &roles - &self.roles_before)
    }
}

/// The openers of a gate that decide its state. An opener that is done decides nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GateOpeners {
    /// An opener that has not ended.
    pub pending: Option<OperationId>,
    /// The first opener that failed, in the order of ids. May be omitted if there is a pending one.
    pub failed: Option<OperationId>,
    /// The first opener that was cancelled, in the order of ids. May be omitted if another one decides.
    pub cancelled: Option<OperationId>,
}

/// Rows with optimistic concurrency.
///
/// A row can be unreadable: a later release wrote it, or something else damaged it. The methods whose names begin with
/// `list_` set such rows aside. Those without this prefix fail with the code
/// [`ROW_DAMAGED`](super::listing::ROW_DAMAGED) instead, and are for callers that would do harm without the row, such as
/// those that delete what no row names. Counts and lists of ids use separate columns, which can be intact although the
/// rest of the row is not.
#[async_trait]
pub trait JobTable: Send + Sync {
    /// Creates the tables and the id of the fleet if they do not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn ensure(&self) -> PortResult<()>;

    /// The id of the fleet that uses these tables. The first caller creates it, and it never changes. Resources that
    /// goldfleet creates are tagged with it.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn fleet(&self) -> PortResult<Uuid>;

    /// Adds a job.
    ///
    /// # Errors
    /// `AlreadyExists` if a job with that id exists.
    async fn insert_job(&self, job: &Job) -> PortResult<()>;

    /// Reads one job. None if it does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn job(&self, id: &JobId) -> PortResult<Option<Versioned<Job>>>;

    /// Lists all jobs, newest first.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn list_jobs(&self) -> PortResult<Listing<Versioned<Job>>>;

    /// All jobs, as [`JobTable::list_jobs`].
    ///
    /// # Errors
    /// If a row cannot be read, the service refuses, or it cannot be reached.
    async fn jobs(&self) -> PortResult<Vec<Versioned<Job>>> {
        self.list_jobs().await?.complete()
    }

    /// Lists the newest jobs, at most `limit` with those that cannot be read, newest first. They are chosen by their
    /// ids, which begin with the second in which a job was requested. Only these jobs are read completely, independent
    /// of the number of jobs.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn list_newest_jobs(&self, limit: usize) -> PortResult<Listing<Versioned<Job>>>;

    /// Lists all jobs that have not ended ([`JobState::OPEN`](goldfleet_model::job::JobState::OPEN)), newest first.
    /// Only these are read, independent of the number of jobs that have ended. Jobs in a state that this program does
    /// not know are among the unreadable ones.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn list_open_jobs(&self) -> PortResult<Listing<Versioned<Job>>>;

    /// All jobs that have not ended, as [`JobTable::list_open_jobs`].
    ///
    /// # Errors
    /// If a row cannot be read, the service refuses, or it cannot be reached.
    async fn open_jobs(&self) -> PortResult<Vec<Versioned<Job>>> {
        self.list_open_jobs().await?.complete()
    }

    /// Replaces the row of a job and appends events, atomically. Returns the new ETag of the row.
    ///
    /// # Errors
    /// `Conflict` if the ETag of the row is no longer `if_match`, `NotFound` if the row does not exist.
    async fn commit_job(&self, job: &Job, if_match: &ETag, events: &[Event]) -> PortResult<ETag>;

    /// Removes a job: its operations, all its events, and finally its row, so that the call can be repeated after an
    /// error. It is not an error if the job does not exist. Not atomic: before the call, [`Job::removing`] must be set
    /// in the row, so that no process writes rows of the job.
    ///
    /// # Errors
    /// `Conflict` if the ETag of the row is not `if_match`. If that is so at the start of the call, nothing is removed.
    async fn remove_job(&self, id: &JobId, if_match: &ETag) -> PortResult<()>;

    /// Writes operations of one planning attempt ([`Operation::plan`]). A row of an earlier attempt is replaced, a row
    /// of the same attempt stays as it is. Returns how many rows were written. Not atomic: after an error, call it
    /// again.
    ///
    /// # Errors
    /// `Conflict` if a row of a later attempt is in the table. Others if the service refuses or cannot be reached.
    async fn insert_operations(&self, operations: &[Operation]) -> PortResult<usize>;

    /// Removes the operations of a job that planning attempts before `plan` wrote. Returns how many. Not atomic: after
    /// an error, call it again.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn remove_earlier_plans(&self, job: &JobId, plan: u32) -> PortResult<usize>;

    /// Reads one operation. None if it does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn operation(&self, job: &JobId, id: &OperationId) -> PortResult<Option<Versioned<Operation>>>;

    /// Lists the operations of the group that `id` belongs to ([`OperationId::group`]), in one request.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn list_group(&self, job: &JobId, id: &OperationId) -> PortResult<Listing<Versioned<Operation>>>;

    /// All operations of a group, as [`JobTable::list_group`].
    ///
    /// # Errors
    /// If a row cannot be read, the service refuses, or it cannot be reached.
    async fn group(&self, job: &JobId, id: &OperationId) -> PortResult<Vec<Versioned<Operation>>> {
        self.list_group(job, id).await?.complete()
    }

    /// Lists all operations of a job, in the order of their ids.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn list_operations(&self, job: &JobId) -> PortResult<Listing<Versioned<Operation>>>;

    /// All operations of a job, as [`JobTable::list_operations`].
    ///
    /// # Errors
    /// If a row cannot be read, the service refuses, or it cannot be reached.
    async fn operations(&self, job: &JobId) -> PortResult<Vec<Versioned<Operation>>> {
        self.list_operations(job).await?.complete()
    }

    /// Lists the operations of a job that cannot be read. It reads every row, but holds only a part of them in memory.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn unreadable_operations(&self, job: &JobId) -> PortResult<Vec<UnreadableRow>>;

    /// Counts the operations of a planning attempt by kind and state. No row is read completely.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn census(&self, job: &JobId, plan: u32) -> PortResult<Vec<StateCount>>;

    /// Lists at most `limit` operations of a planning attempt that are in this state and whose
    /// [`Operation::state_time`] is before `before`. No row is read completely.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn in_state_before(
        &self,
        job: &JobId,
        plan: u32,
        state: OperationState,
        before: Timestamp,
        limit: usize,
    ) -> PortResult<Vec<OperationId>>;

    /// Lists at most `limit` operations of a planning attempt that are in this state and whose
    /// [`Operation::state_time`] is after `after`. No row is read completely.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn in_state_after(
        &self,
        job: &JobId,
        plan: u32,
        state: OperationState,
        after: Timestamp,
        limit: usize,
    ) -> PortResult<Vec<OperationId>>;

    /// Finds the openers that decide the state of a gate, among the operations of a planning attempt. The cost does not
    /// depend on the number of openers or of other operations.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn openers(&self, job: &JobId, plan: u32, gate: &GateKey) -> PortResult<GateOpeners>;

    /// Lists the operations of a planning attempt that wait for a gate with this condition, in the order of their ids.
    /// Only these are read.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn awaiting(&self, job: &JobId, plan: u32, gate: &GateKey, on: GateCondition)
    -> PortResult<Vec<OperationId>>;

    /// Lists the gates that operations of a planning attempt wait for. The cost depends on the number of gates only.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn awaited_gates(&self, job: &JobId, plan: u32) -> PortResult<Vec<(GateKey, GateCondition)>>;

    /// Replaces operations of one group and appends events of that group, atomically. Returns the new ETags of the
    /// rows, in order.
    ///
    /// # Errors
    /// `Conflict` if the ETag of a row has changed, `NotFound` if a row does not exist, `Invalid` if changes and events
    /// do not all belong to one job and group.
    async fn commit(&self, changes: &[Change], events: &[Event]) -> PortResult<Vec<ETag>>;

    /// Lists the events of a job, or of one operation if it is given, oldest first.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn list_events(&self, job: &JobId, operation: Option<&OperationId>) -> PortResult<Listing<Event>>;

    /// All events of a job or operation, as [`JobTable::list_events`].
    ///
    /// # Errors
    /// If a row cannot be read, the service refuses, or it cannot be reached.
    async fn events(&self, job: &JobId, operation: Option<&OperationId>) -> PortResult<Vec<Event>> {
        self.list_events(job, operation).await?.complete()
    }

    /// Inserts or replaces the row of an upload.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn put_upload(&self, upload: &Upload) -> PortResult<()>;

    /// Reads the row of an upload. None if it does not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn upload(&self, id: &JobId) -> PortResult<Option<Upload>>;

    /// Returns the newest upload of an image version whose row can be read. None if there is none.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn newest_upload(&self, image: &ImageName, version: &ImageVersion) -> PortResult<Option<Upload>>;

    /// Lists all uploads, newest first.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn list_uploads(&self) -> PortResult<Listing<Upload>>;

    /// All uploads, as [`JobTable::list_uploads`].
    ///
    /// # Errors
    /// If a row cannot be read, the service refuses, or it cannot be reached.
    async fn uploads(&self) -> PortResult<Vec<Upload>> {
        self.list_uploads().await?.complete()
    }
}

/// Checks the arguments of [`JobTable::commit`], for all adapters.
///
/// # Errors
/// `Invalid` if the changes and events do not all belong to one job and group.
pub fn check_one_group(changes: &[Change], events: &[Event]) -> PortResult<()> {
    use super::error::{ErrorKind, PortError};
    let of_changes = changes.iter().map(|change| (&change.operation.job, change.operation.id.group()));
    let of_events = events.iter().filter_map(|event| Some((&event.job, event.operation.as_ref()?.group())));
    let mut groups = of_changes.chain(of_events);
    let first = groups.next();
    let complete = events.iter().all(|event| event.operation.is_some());
    if first.is_some() && complete && groups.all(|group| Some(group) == first) {
        Ok(())
    } else {
        Err(PortError::new(ErrorKind::Invalid, "a commit must change operations of one group of one job"))
    }
}

/// Sorts uploads in the order in which every adapter lists them: by start time, newest first.
#[must_use]
pub fn newest_uploads_first(mut uploads: Vec<Upload>) -> Vec<Upload> {
    uploads.sort_by(|a, b| (b.started, &b.id).cmp(&(a.started, &a.id)));
    uploads
}

/// Sorts jobs in the order in which every adapter lists them: by request time, newest first.
#[must_use]
pub fn newest_first(mut jobs: Vec<Versioned<Job>>) -> Vec<Versioned<Job>> {
    jobs.sort_by(|a, b| (b.value.created, &b.value.id).cmp(&(a.value.created, &a.value.id)));
    jobs
}
