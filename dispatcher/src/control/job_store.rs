//! The rows of jobs and operations, and the messages that follow them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use goldfleet_kinds::messages::announce;
use goldfleet_kinds::registry::Registry;
use goldfleet_model::graph::GateKey;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{GroupId, Operation, OperationId, OperationState};
use goldfleet_model::state::JobEvent;
use goldfleet_ports::commit::{Commit, CommitOutcome, commit_confirmed};
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::listing::Listing;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_runtime::health::Monitor;
use goldfleet_workflow::group::GroupChange;
use jiff::Timestamp;

use super::context::ControlError;

/// An upper bound of the jobs that operators request in one second.
const MAX_JOBS_PER_SECOND: usize = 20;

/// Reads and changes the rows of jobs and operations on behalf of one caller.
#[derive(Clone)]
pub struct JobStore {
    /// The ports to the environment.
    pub ports: Ports,
    /// The known kinds of operations, which know the queue of each.
    pub registry: Registry,
    /// The identity of the caller, which events record.
    pub actor: String,
    /// The metrics and the health of this process.
    pub monitor: Monitor,
    /// The longest wait of an operation between two attempts. A longer one comes from a wrong clock.
    pub longest_delay: Duration,
}

impl JobStore {
    /// The operations of a job, without rows that earlier planning attempts left behind.
    ///
    /// # Errors
    /// If a row cannot be read, or the table cannot be reached.
    pub async fn operations(&self, job: &Job) -> PortResult<Vec<Versioned<Operation>>> {
        let mut operations = self.ports.table.operations(&job.id).await?;
        operations.retain(|row| row.value.plan == job.plan);
        Ok(operations)
    }

    /// The operations of a job, of which some may be unreadable, without rows that earlier planning attempts left
    /// behind.
    ///
    /// # Errors
    /// If the table cannot be reached.
    pub async fn list_operations(&self, job: &Job) -> PortResult<Listing<Versioned<Operation>>> {
        let mut operations = self.ports.table.list_operations(&job.id).await?;
        operations.rows.retain(|row| row.value.plan == job.plan);
        Ok(operations)
    }

    /// The rows of the group of `id`, without rows that earlier planning attempts left behind.
    ///
    /// # Errors
    /// If the table cannot be reached.
    pub async fn group(&self, job: &Job, id: &OperationId) -> PortResult<Group> {
        let mut group = Group::of(self.ports.table.list_group(&job.id, id).await?);
        group.rows.retain(|row| row.value.plan == job.plan);
        Ok(group)
    }

    /// One job.
    ///
    /// # Errors
    /// [`ControlError::NoSuchJob`] if it does not exist.
    pub async fn job(&self, id: &JobId) -> Result<Versioned<Job>, ControlError> {
        self.ports.table.job(id).await?.ok_or_else(|| ControlError::NoSuchJob(id.clone()))
    }

    /// The job that an operator names, or the newest job.
    ///
    /// # Errors
    /// [`ControlError::NoSuchJob`] or [`ControlError::NoJobs`] if there is none.
    pub async fn job_or_newest(&self, id: Option<&JobId>) -> Result<Versioned<Job>, ControlError> {
        match id {
            Some(id) => self.job(id).await,
            // Read several jobs: the ids of jobs from the same second do not say which is the newest.
            None => {
                let newest = self.ports.table.list_newest_jobs(MAX_JOBS_PER_SECOND).await?;
                newest.rows.into_iter().next().ok_or(ControlError::NoJobs)
            }
        }
    }

    /// Whether a job has unfinished work. A job whose operations have all ended has none, even if the reconciler has
    /// not ended the job yet.
    ///
    /// # Errors
    /// If the table cannot be reached.
    pub async fn has_unfinished_work(&self, job: &Job) -> PortResult<bool> {
        Ok(match job.state {
            state if state.is_terminal() => false,
            JobState::Requested => true,
            _ => {
                let counts = self.ports.table.census(&job.id, job.plan).await?;
                job.job_end(counts.iter().map(|count| count.state)).is_none()
            }
        })
    }

    /// Applies an event to a job, and repeats the write if other changes to its row conflict. Returns the job,
    /// unchanged if it is already in the state that the event leads to.
    ///
    /// # Errors
    /// [`ControlError::Illegal`] if the job's state does not allow the event.
    pub async fn apply_event(
        &self,
        id: &JobId,
        event: JobEvent,
        change: impl Fn(&mut Job),
    ) -> Result<Versioned<Job>, ControlError> {
        loop {
            let current = self.job(id).await?;
            if let Some(advanced) = self.apply_event_to(&current, event, &change).await? {
                return Ok(advanced);
            }
        }
    }

    /// Applies an event to the row as it was read. None if another process has changed the row since.
    ///
    /// # Errors
    /// [`ControlError::Illegal`] if the job's state does not allow the event.
    pub async fn apply_event_to(
        &self,
        current: &Versioned<Job>,
        event: JobEvent,
        change: impl Fn(&mut Job),
    ) -> Result<Option<Versioned<Job>>, ControlError> {
        let mut job = current.value.clone();
        change(&mut job);
        let line = match job.apply(event, self.ports.clock.now(), &self.actor) {
            Ok(line) => line,
            Err(_) if settled_state(event) == Some(current.value.state) => return Ok(Some(current.clone())),
            Err(illegal) => return Err(illegal.into()),
        };
        match self.ports.table.commit_job(&job, &current.etag, &[line]).await {
            Ok(etag) => {
                if job.state.is_terminal() {
                    self.monitor.metrics.job_ended(job.state);
                }
                Ok(Some(Versioned { value: job, etag }))
            }
            Err(error) if error.kind == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a job's row with a new time and no other change, so that its ETag changes. False if another process
    /// changed the row first.
    ///
    /// # Errors
    /// If the table refuses the write or cannot be reached.
    pub async fn bump_job_version(&self, row: &Versioned<Job>) -> PortResult<bool> {
        self.update_job(row, |_| {}).await
    }

    /// Changes fields of a job's row other than its state. False if another process changed the row first.
    ///
    /// # Errors
    /// If the table refuses the write or cannot be reached.
    pub async fn update_job(&self, row: &Versioned<Job>, change: impl FnOnce(&mut Job)) -> PortResult<bool> {
        let mut job = Job { updated: self.ports.clock.now(), ..row.value.clone() };
        change(&mut job);
        match self.ports.table.commit_job(&job, &row.etag, &[]).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Commits the operations of one group. False if another process changed them first.
    ///
    /// # Errors
    /// If the table refuses the write or cannot be reached.
    pub async fn commit(&self, commit: &Commit) -> PortResult<bool> {
        Ok(matches!(commit_confirmed(&self.ports, commit).await?, CommitOutcome::Committed(_)))
    }

    /// Sends the message of an operation to the workers.
    ///
    /// # Errors
    /// If the queue refuses the message or cannot be reached.
    pub async fn enqueue_operation(&self, operation: &Operation) -> PortResult<()> {
        announce(&self.ports, &self.registry, operation).await
    }

    /// Asks the dispatcher to evaluate a gate of a job now, instead of at its next sweep.
    ///
    /// # Errors
    /// If the queue refuses the message or cannot be reached.
    pub async fn hint_gate(&self, job: &JobId, gate: &GateKey) -> PortResult<()> {
        self.ports.queue.send(QueueName::Dispatch, &Message::gate(job, gate).encode(), Duration::ZERO).await
    }

    /// Sends the message of a job to the dispatcher.
    ///
    /// # Errors
    /// If the queue refuses the message or cannot be reached.
    pub async fn enqueue_job(&self, job: &JobId) -> PortResult<()> {
        self.ports.queue.send(QueueName::Dispatch, &Message::job(job).encode(), Duration::ZERO).await
    }
}

/// The state that an event always leads to. It distinguishes a repeated event from an illegal one. None if the event
/// can lead to several states.
fn settled_state(event: JobEvent) -> Option<JobState> {
    match event {
        JobEvent::Planned | JobEvent::Retry => Some(JobState::Running),
        JobEvent::Cancel => Some(JobState::Cancelling),
        JobEvent::Succeed => Some(JobState::Succeeded),
        JobEvent::Fail | JobEvent::Reject => Some(JobState::Failed),
        JobEvent::ConfirmCancel => Some(JobState::Cancelled),
        JobEvent::Approve(_) => None,
    }
}

/// The rows of a group that can be read. One commit may change them together.
#[derive(Debug, Clone)]
pub struct Group {
    /// The rows.
    pub rows: Vec<Versioned<Operation>>,
    /// Whether these are all rows of the group.
    pub is_whole: bool,
}

impl Group {
    /// The group that was listed.
    #[must_use]
    pub fn of(listing: Listing<Versioned<Operation>>) -> Self {
        Self { is_whole: listing.unreadable.is_empty(), rows: listing.rows }
    }

    /// Starts a change of the group.
    #[must_use]
    pub fn change<'a>(&'a self, now: Timestamp, who: &'a str) -> GroupChange<'a> {
        if self.is_whole { GroupChange::new(&self.rows, now, who) } else { GroupChange::of_part(&self.rows, now, who) }
    }
}

/// The states of a job's operations.
pub fn states(operations: &[Versioned<Operation>]) -> impl Iterator<Item = OperationState> {
    operations.iter().map(|row| row.value.state)
}

/// A job's operations by group.
#[must_use]
pub fn group_rows(operations: Listing<Versioned<Operation>>) -> Vec<Group> {
    let mut groups: BTreeMap<GroupId, Vec<Versioned<Operation>>> = BTreeMap::new();
    for operation in operations.rows {
        groups.entry(operation.value.id.group().clone()).or_default().push(operation);
    }
    let unreadable = operations.unreadable.iter().filter_map(|row| row.id.parse::<OperationId>().ok());
    let damaged: BTreeSet<GroupId> = unreadable.map(|id| id.group().clone()).collect();
    groups.into_iter().map(|(id, rows)| Group { rows, is_whole: !damaged.contains(&id) }).collect()
}
