//! The control context, which every command of the dispatcher needs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_kinds::messages::announce;
use goldfleet_kinds::registry::Registry;
use goldfleet_model::graph::GateKey;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Finding, Job, JobState};
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{GroupId, Operation, OperationId, OperationState};
use goldfleet_model::state::{IllegalTransition, JobEvent};
use goldfleet_ports::commit::{Commit, CommitOutcome, commit_confirmed};
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::retry::retry_within;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_runtime::health::Monitor;
use goldfleet_sources::{Refusal, SourceError};

/// Ports, configuration, and the identity of the caller.
#[derive(Clone)]
pub struct ControlContext {
    /// The ports to the environment.
    pub ports: Ports,
    /// The configuration.
    pub config: Arc<Config>,
    /// The identity of the caller, which events record.
    pub actor: String,
    /// The command line of this process. The rows of uploads record it, so that an interrupted one can be resumed. It contains no
    /// secrets: those come from the environment. None if no command line is known.
    pub command: Option<String>,
    /// The metrics and the health of this process.
    pub monitor: Monitor,
    /// The threads that read the disks of uploads.
    pub readers: ScanThreads,
    /// The known kinds of operations.
    pub registry: Registry,
    /// The longest wait that a service may ask for within one call. Commands wait as long as a service asks. The
    /// dispatcher has other work to do, and repeats the call later.
    pub longest_wait: Duration,
}

/// Which threads read disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScanThreads {
    /// Separate threads, several at the same time.
    Threads,
    /// The thread that sends, which alternates between reading and other work. Simulations have only this thread.
    Sender,
}

impl ScanThreads {
    /// The number of threads that read at the same time.
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Threads => std::thread::available_parallelism().map_or(2, |n| n.get().min(4)),
            Self::Sender => 1,
        }
    }
}

/// Why a command of an operator failed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is no such job.
    #[error("no job {0}")]
    NoSuchJob(JobId),
    /// No job id starts with this text.
    #[error("no job id starts with '{0}'")]
    NoJobWithPrefix(String),
    /// There are no jobs.
    #[error("there are no jobs yet")]
    NoJobs,
    /// The image version was never uploaded, or its upload is not complete.
    #[error("image {image} {version} is not in the source store {store}")]
    NoSuchImage {
        /// The image.
        image: String,
        /// The version.
        version: String,
        /// The source store.
        store: String,
    },
    /// An earlier release uploaded the image version.
    #[error(transparent)]
    EarlierVersion(#[from] Box<crate::control::artifacts::EarlierVersion>),
    /// The selection matches no enabled target.
    #[error("no enabled target in {} is selected", file.display())]
    NoTargets {
        /// The targets file.
        file: std::path::PathBuf,
    },
    /// The request conflicts with the existing state.
    #[error("{0}")]
    Refused(String),
    /// A disk or snapshot cannot become an image version.
    #[error(transparent)]
    Source(Box<Refusal>),
    /// The platform cannot copy a disk or snapshot to the targets.
    #[error("{}", join_findings(.0))]
    NotCopied(Vec<Finding>),
    /// A group of resources could not be listed, so nothing was decided.
    #[error("{0}")]
    Unlisted(String),
    /// The state of a row does not allow the request.
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    /// The targets file is not valid.
    #[error(transparent)]
    Targets(#[from] goldfleet_config::targets::TargetsFileError),
    /// The rates are not valid.
    #[error(transparent)]
    Rates(#[from] goldfleet_rates::RatesError),
    /// It is not known which chunks are in use.
    #[error(transparent)]
    LiveSet(#[from] crate::control::live::LiveSetError),
    /// No plan is fast enough.
    #[error(transparent)]
    TooSlow(#[from] goldfleet_plan::TooSlow),
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
}

impl From<Refusal> for ControlError {
    fn from(refusal: Refusal) -> Self {
        Self::Source(Box::new(refusal))
    }
}

impl From<SourceError> for ControlError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Refused(refusal) => refusal.into(),
            SourceError::Port(error) => error.into(),
        }
    }
}

/// Findings in one text.
pub(crate) fn join_findings<'f>(findings: impl IntoIterator<Item = &'f Finding>) -> String {
    findings.into_iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl ControlError {
    /// The exit code of a program that ends with this error.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Port(error) if error.is_set_up_fault() => 2,
            Self::Port(_) | Self::Unlisted(_) => 3,
            _ => 2,
        }
    }
}

/// The maximum number of requests in flight of a command that processes many rows or targets.
pub const MAX_IN_FLIGHT: usize = 16;

/// An upper bound of the jobs that operators request in one second.
const MAX_JOBS_PER_SECOND: usize = 20;

impl ControlContext {
    /// The context of a process without health and metrics endpoints. It knows all kinds of goldfleet.
    pub fn new(ports: Ports, config: Arc<Config>, who: impl Into<String>) -> Self {
        Self {
            ports,
            config,
            actor: who.into(),
            command: None,
            monitor: Monitor::default(),
            readers: ScanThreads::Threads,
            registry: Registry::default(),
            longest_wait: Duration::MAX,
        }
    }

    /// Calls `request`, and repeats it while its error is transient: see [`retry_within`].
    ///
    /// # Errors
    /// The error of the last try.
    pub async fn retry<T, F, Fut>(&self, request: F) -> PortResult<T>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = PortResult<T>>,
    {
        retry_within(self.ports.clock.as_ref(), self.longest_wait, PortError::is_retryable, request).await
    }

    /// The operations of a job, without rows that earlier planning attempts left behind.
    ///
    /// # Errors
    /// If the table cannot be reached.
    pub async fn operations(&self, job: &Job) -> PortResult<Vec<Versioned<Operation>>> {
        let mut operations = self.ports.table.operations(&job.id).await?;
        operations.retain(|row| row.value.plan == job.plan);
        Ok(operations)
    }

    /// The rows of the group of `id`, without rows that earlier planning attempts left behind.
    ///
    /// # Errors
    /// If the table cannot be reached.
    pub async fn group(&self, job: &Job, id: &OperationId) -> PortResult<Group> {
        let mut group = self.ports.table.group(&job.id, id).await?;
        group.retain(|row| row.value.plan == job.plan);
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
                self.ports.table.newest_jobs(MAX_JOBS_PER_SECOND).await?.into_iter().next().ok_or(ControlError::NoJobs)
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

/// The rows of a group, which one commit may change together.
pub type Group = Vec<Versioned<Operation>>;

/// The states of a job's operations.
pub fn states(operations: &[Versioned<Operation>]) -> impl Iterator<Item = OperationState> {
    operations.iter().map(|row| row.value.state)
}

/// A job's operations by group.
#[must_use]
pub fn group_rows(operations: Vec<Versioned<Operation>>) -> Vec<Group> {
    let mut groups: BTreeMap<GroupId, Group> = BTreeMap::new();
    for operation in operations {
        groups.entry(operation.value.id.group().clone()).or_default().push(operation);
    }
    groups.into_values().collect()
}
