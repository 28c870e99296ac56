//! The desk: what everything on the operator's side works with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::state::{IllegalTransition, JobEvent};
use goldfleet_ports::commit::{Commit, Outcome, confirmed};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::{Ports, Versioned};
use goldfleet_runtime::vitals::Vitals;

/// Ports, configuration, and who acts.
#[derive(Clone)]
pub struct Desk {
    /// The world.
    pub ports: Ports,
    /// The configuration.
    pub config: Arc<Config>,
    /// Who acts, in the events log.
    pub who: String,
    /// What the process tells of itself.
    pub vitals: Vitals,
    /// Who reads the disks that it uploads.
    pub readers: Readers,
}

/// Who reads disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readers {
    /// Threads of their own, at once.
    Threads,
    /// The thread that sends, in turn with all else: a simulation has no other.
    Sender,
}

impl Readers {
    /// How many read at once.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Threads => std::thread::available_parallelism().map_or(2, |n| n.get().min(4)),
            Self::Sender => 1,
        }
    }
}

/// What an operator's command can run into.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// There is no such job.
    #[error("there is no job {0}: 'goldfleet jobs' lists them")]
    NoSuchJob(JobId),
    /// There are no jobs at all.
    #[error("there is no job yet: 'goldfleet upload' or 'goldfleet dispatch' makes one")]
    NoJobs,
    /// The image version was never uploaded, or not to its end.
    #[error("there is no image {image} {version} in {store}: upload it with 'goldfleet upload'")]
    NoSuchImage {
        /// The image.
        image: String,
        /// The version.
        version: String,
        /// The source store.
        store: String,
    },
    /// The request does not fit what is there.
    #[error("{0}")]
    Refused(String),
    /// What is asked for does not go with the state that something is in.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The targets file can't be used.
    #[error(transparent)]
    Targets(#[from] goldfleet_config::targets::TargetsFileError),
    /// The rates can't be used.
    #[error(transparent)]
    Rates(#[from] goldfleet_rates::RatesError),
    /// Which chunks are in use is not known.
    #[error(transparent)]
    LiveSet(#[from] crate::control::live::LiveSetError),
    /// No plan is fast enough.
    #[error(transparent)]
    TooSlow(#[from] goldfleet_plan::TooSlow),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl DeskError {
    /// The exit code of a program that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Port(error) if error.kind == ErrorKind::Invalid => 2,
            Self::Port(_) => 3,
            _ => 2,
        }
    }
}

/// How many requests a command has in flight where it goes through many rows or targets.
pub const IN_FLIGHT: usize = 16;

/// More jobs than operators ask for in one second.
const IN_A_SECOND: usize = 20;

impl Desk {
    /// A desk of a process that nobody watches.
    pub fn new(ports: Ports, config: Arc<Config>, who: impl Into<String>) -> Self {
        Self { ports, config, who: who.into(), vitals: Vitals::default(), readers: Readers::Threads }
    }

    /// One job.
    ///
    /// # Errors
    /// [`DeskError::NoSuchJob`] where there is none.
    pub async fn job(&self, id: &JobId) -> Result<Versioned<Job>, DeskError> {
        self.ports.table.job(id).await?.ok_or_else(|| DeskError::NoSuchJob(id.clone()))
    }

    /// The job that an operator means: the one named, else the newest.
    ///
    /// # Errors
    /// [`DeskError::NoSuchJob`] or [`DeskError::NoJobs`] where there is none.
    pub async fn job_or_newest(&self, id: Option<&JobId>) -> Result<Versioned<Job>, DeskError> {
        match id {
            Some(id) => self.job(id).await,
            // Several, as of those of the same second the ids do not tell which was the last.
            None => self.ports.table.newest_jobs(IN_A_SECOND).await?.into_iter().next().ok_or(DeskError::NoJobs),
        }
    }

    /// Whether a job has still something to do. One that has only not been swept since its last operation ended has not.
    ///
    /// # Errors
    /// Where the table can't be reached.
    pub async fn has_work(&self, job: &Job) -> PortResult<bool> {
        Ok(match job.state {
            state if state.is_terminal() => false,
            JobState::Requested => true,
            _ => job.end(states(&self.ports.table.operations(&job.id).await?)).is_none(),
        })
    }

    /// Takes a job through an event, whatever else changes its row meanwhile. Returns the job, unchanged where it is
    /// already in the state that the event leads to.
    ///
    /// # Errors
    /// [`DeskError::Illegal`] where the job's state does not allow the event.
    pub async fn advance(
        &self,
        id: &JobId,
        event: JobEvent,
        change: impl Fn(&mut Job),
    ) -> Result<Versioned<Job>, DeskError> {
        loop {
            let current = self.job(id).await?;
            if let Some(advanced) = self.advance_from(&current, event, &change).await? {
                return Ok(advanced);
            }
        }
    }

    /// The same from the row as it was read. None where someone has changed it since.
    ///
    /// # Errors
    /// [`DeskError::Illegal`] where the job's state does not allow the event.
    pub async fn advance_from(
        &self,
        current: &Versioned<Job>,
        event: JobEvent,
        change: impl Fn(&mut Job),
    ) -> Result<Option<Versioned<Job>>, DeskError> {
        let mut job = current.value.clone();
        change(&mut job);
        let line = match job.apply(event, self.ports.clock.now(), &self.who) {
            Ok(line) => line,
            Err(_) if leads_to(event) == Some(current.value.state) => return Ok(Some(current.clone())),
            Err(illegal) => return Err(illegal.into()),
        };
        match self.ports.table.commit_job(&job, &current.etag, &[line]).await {
            Ok(etag) => {
                if job.state.is_terminal() {
                    self.vitals.metrics.job_ended(job.state);
                }
                Ok(Some(Versioned { value: job, etag }))
            }
            Err(error) if error.kind == ErrorKind::Conflict => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a job's row as it is, but for the time, so that its version is another. False where someone else changed it first.
    ///
    /// # Errors
    /// Where the table refuses or can't be reached.
    pub async fn touch(&self, row: &Versioned<Job>) -> PortResult<bool> {
        self.amend(row, |_| {}).await
    }

    /// Changes what a job's row says beside its state. False where someone else changed it first.
    ///
    /// # Errors
    /// Where the table refuses or can't be reached.
    pub async fn amend(&self, row: &Versioned<Job>, change: impl FnOnce(&mut Job)) -> PortResult<bool> {
        let mut job = Job { updated: self.ports.clock.now(), ..row.value.clone() };
        change(&mut job);
        match self.ports.table.commit_job(&job, &row.etag, &[]).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind == ErrorKind::Conflict => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Commits one group's operations. Returns false where someone else changed them first.
    ///
    /// # Errors
    /// Where the table refuses or can't be reached.
    pub async fn commit(&self, commit: &Commit) -> PortResult<bool> {
        Ok(matches!(confirmed(&self.ports, commit).await?, Outcome::Landed(_)))
    }

    /// Announces an operation to the workers.
    ///
    /// # Errors
    /// Where the queue refuses or can't be reached.
    pub async fn announce(&self, operation: &Operation) -> PortResult<()> {
        let message = Message::operation(&operation.job, &operation.id).encode();
        self.ports.queue.send(QueueName::of(operation.id.kind()), &message, Duration::ZERO).await
    }

    /// Announces a job to the dispatcher.
    ///
    /// # Errors
    /// Where the queue refuses or can't be reached.
    pub async fn announce_job(&self, job: &JobId) -> PortResult<()> {
        self.ports.queue.send(QueueName::Dispatch, &Message::job(job).encode(), Duration::ZERO).await
    }
}

/// The state that an event always leads to, so that repeating it can be told from asking the impossible; none where the
/// state does not tell.
fn leads_to(event: JobEvent) -> Option<JobState> {
    match event {
        JobEvent::Planned | JobEvent::Retry => Some(JobState::Running),
        JobEvent::Cancel => Some(JobState::Cancelling),
        JobEvent::Succeed => Some(JobState::Succeeded),
        JobEvent::Fail | JobEvent::Reject => Some(JobState::Failed),
        JobEvent::Stop => Some(JobState::Cancelled),
        JobEvent::Approve(_) => None,
    }
}

/// The rows that one commit may change together: a target's copy and image, or a seed.
pub type Group = Vec<Versioned<Operation>>;

/// The states of a job's operations.
pub fn states(operations: &[Versioned<Operation>]) -> impl Iterator<Item = OperationState> {
    operations.iter().map(|row| row.value.state)
}

/// A job's operations by group.
#[must_use]
pub fn by_group(operations: Vec<Versioned<Operation>>) -> Vec<Group> {
    let mut groups: BTreeMap<String, Group> = BTreeMap::new();
    for operation in operations {
        groups.entry(operation.value.id.group()).or_default().push(operation);
    }
    groups.into_values().collect()
}
