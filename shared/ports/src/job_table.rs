//! The table that tracks everything: jobs, their operations, the events log, uploads in progress.

use async_trait::async_trait;
use goldfleet_model::event::Event;
use goldfleet_model::ids::{ImageName, ImageVersion, JobId};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationId};
use goldfleet_model::upload::Upload;

use super::error::PortResult;
use super::{ETag, Versioned};

/// An operation's new row, on condition that the old one is still in the version `if_match`.
#[derive(Debug, Clone)]
pub struct Change {
    /// The whole new row.
    pub operation: Operation,
    /// The version it was made from.
    pub if_match: ETag,
}

/// Rows with optimistic concurrency.
#[async_trait]
pub trait JobTable: Send + Sync {
    /// Makes sure that the tables are there.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn ensure(&self) -> PortResult<()>;

    /// Adds a job.
    ///
    /// # Errors
    /// `AlreadyExists` where there is one of that id.
    async fn insert_job(&self, job: &Job) -> PortResult<()>;

    /// One job.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn job(&self, id: &JobId) -> PortResult<Option<Versioned<Job>>>;

    /// Every job, newest first.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn jobs(&self) -> PortResult<Vec<Versioned<Job>>>;

    /// The newest jobs, at most `limit` of them, newest first. Which these are, their ids say, which begin with the second
    /// in which a job was asked for. However many there are, only these are read whole.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn newest_jobs(&self, limit: usize) -> PortResult<Vec<Versioned<Job>>>;

    /// Every job that has not ended ([`JobState::OPEN`](goldfleet_model::job::JobState::OPEN)), newest first. However many
    /// have ended, only these are read.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn open_jobs(&self) -> PortResult<Vec<Versioned<Job>>>;

    /// Replaces a job's row and appends events, all or nothing. Returns the row's new version.
    ///
    /// # Errors
    /// `Conflict` where the row is no longer in the version `if_match`, `NotFound` where it is gone.
    async fn commit_job(&self, job: &Job, if_match: &ETag, events: &[Event]) -> PortResult<ETag>;

    /// Removes a job: its operations, all events, and its row last, so that after an error it can be called again. A job that is
    /// not there is no error. Not atomic: whoever may still write rows of the job must have been told before, by the row
    /// itself ([`Job::removing`]).
    ///
    /// # Errors
    /// `Conflict` where the row is not in the version `if_match`; as long as it is not when this begins, nothing is removed.
    async fn remove_job(&self, id: &JobId, if_match: &ETag) -> PortResult<()>;

    /// Writes operations of one planning attempt ([`Operation::plan`]). A row of an earlier attempt is replaced, a row of the
    /// same attempt stays as it is. Returns how many rows were written. Not atomic: after an error, call it again.
    ///
    /// # Errors
    /// `Conflict` if a row of a later attempt is in the table. Others if the service refuses or cannot be reached.
    async fn insert_operations(&self, operations: &[Operation]) -> PortResult<usize>;

    /// Removes the operations of a job that planning attempts before `plan` wrote. Returns how many. Not atomic: after an
    /// error, call it again.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn remove_earlier_plans(&self, job: &JobId, plan: u32) -> PortResult<usize>;

    /// One operation.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn operation(&self, job: &JobId, id: &OperationId) -> PortResult<Option<Versioned<Operation>>>;

    /// The operations of the group that `id` belongs to ([`OperationId::group`]), in one request.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn group(&self, job: &JobId, id: &OperationId) -> PortResult<Vec<Versioned<Operation>>>;

    /// All operations of a job, in the order of their ids.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn operations(&self, job: &JobId) -> PortResult<Vec<Versioned<Operation>>>;

    /// Changes operations of one group and appends events of that group, all or nothing. Returns the rows' new
    /// versions, in order.
    ///
    /// # Errors
    /// `Conflict` where one of the rows is no longer in the version shown, `NotFound` where one is gone, `Invalid` where
    /// they are not all of one job and group.
    async fn commit(&self, changes: &[Change], events: &[Event]) -> PortResult<Vec<ETag>>;

    /// A job's events, oldest first; of one operation, if given.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn events(&self, job: &JobId, operation: Option<&OperationId>) -> PortResult<Vec<Event>>;

    /// Writes an upload's row, whether or not it is there.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn put_upload(&self, upload: &Upload) -> PortResult<()>;

    /// The newest upload of an image version.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn newest_upload(&self, image: &ImageName, version: &ImageVersion) -> PortResult<Option<Upload>>;

    /// Every upload, newest first.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn uploads(&self) -> PortResult<Vec<Upload>>;
}

/// Checks what every adapter of [`JobTable::commit`] must refuse.
///
/// # Errors
/// `Invalid` where the changes and events are not all of one job and group.
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

/// Uploads in the order in which every adapter lists them: those that began last come first.
#[must_use]
pub fn newest_uploads_first(mut uploads: Vec<Upload>) -> Vec<Upload> {
    uploads.sort_by(|a, b| (b.started, &b.id).cmp(&(a.started, &a.id)));
    uploads
}

/// Jobs in the order in which every adapter lists them: those asked for last come first.
#[must_use]
pub fn newest_first(mut jobs: Vec<Versioned<Job>>) -> Vec<Versioned<Job>> {
    jobs.sort_by(|a, b| (b.value.created, &b.value.id).cmp(&(a.value.created, &a.value.id)));
    jobs
}
