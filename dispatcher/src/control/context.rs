//! The control context: the ports, the configuration and the job store, for commands and plans.

use std::sync::Arc;
use std::time::Duration;

use goldfleet_config::Config;
use goldfleet_kinds::registry::Registry;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::Finding;
use goldfleet_model::state::IllegalTransition;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::LONGEST_WAIT;
use goldfleet_ports::error::PortError;
use goldfleet_runtime::health::Monitor;
use goldfleet_sources::{Refusal, SourceError};

use super::job_store::JobStore;

/// What a command works with. A function that needs less takes the ports, the configuration or the [`JobStore`].
#[derive(Clone)]
pub struct ControlContext {
    /// The ports to the environment.
    pub ports: Ports,
    /// The configuration.
    pub config: Arc<Config>,
    /// The rows of jobs, on behalf of the caller.
    pub jobs: JobStore,
    /// The command line of this process. The rows of uploads record it, so that an interrupted one can be resumed. It
    /// contains no secrets: those come from the environment. None if no command line is known.
    pub command: Option<String>,
    /// The threads that read the disks of uploads.
    pub readers: ScanThreads,
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

impl ControlContext {
    /// The context of a process without health and metrics endpoints. It knows all kinds of goldfleet.
    pub fn new(ports: Ports, config: Arc<Config>, who: impl Into<String>) -> Self {
        let jobs = JobStore {
            ports: ports.clone(),
            registry: Registry::default(),
            actor: who.into(),
            monitor: Monitor::default(),
            longest_delay: LONGEST_WAIT.max(config.worker.retry_cap.get()).max(config.worker.max_retry_after.get()),
        };
        Self { ports, config, jobs, command: None, readers: ScanThreads::Threads }
    }

    /// The same context with other ports.
    #[must_use]
    pub fn with_ports(mut self, ports: Ports) -> Self {
        self.jobs.ports = ports.clone();
        self.ports = ports;
        self
    }

    /// The same context with other kinds of operations.
    #[must_use]
    pub fn with_registry(mut self, registry: Registry) -> Self {
        self.jobs.registry = registry;
        self
    }

    /// Limits the wait within one call of [`Ports::retry`].
    #[must_use]
    pub fn with_longest_wait(mut self, longest: Duration) -> Self {
        self.ports.longest_wait = longest;
        self.jobs.ports.longest_wait = longest;
        self
    }
}
