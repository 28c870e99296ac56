//! What is done under a lease.

pub mod copy;
pub mod image;
pub mod seed;
pub mod transfer;

use std::sync::Arc;
use std::time::Duration;

use goldfleet_shared::model::operation::{Failure, Operation, Work};
use goldfleet_shared::ports::Ports;
use goldfleet_shared::ports::error::PortError;
use jiff::Timestamp;

use crate::availability::Availability;
use crate::governor::Governor;
use crate::hold::{Hold, Stop};
use crate::manifests::Manifests;
use crate::settings::Settings;

/// What all steps of a process share.
#[derive(Clone)]
pub struct Shared {
    /// The world.
    pub ports: Ports,
    /// How this worker works.
    pub settings: Arc<Settings>,
    /// Requests in flight.
    pub governor: Governor,
    /// Manifests last used.
    pub manifests: Arc<Manifests>,
    /// What stores have.
    pub availability: Arc<Availability>,
}

impl Shared {
    /// For a process with these ports and settings.
    #[must_use]
    pub fn new(ports: Ports, settings: Settings) -> Self {
        Self {
            ports,
            governor: Governor::new(settings.requests),
            settings: Arc::new(settings),
            manifests: Arc::default(),
            availability: Arc::default(),
        }
    }
}

/// How a step ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The operation's effect is there, whole.
    Done,
    /// Nothing can be done until something else has happened; look again after this time.
    Continue(Duration),
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// A stable code, listed in `docs/failures.md`.
    pub code: String,
    /// What happened, in words; no secrets.
    pub message: String,
    /// The service's request id.
    pub request_id: Option<String>,
    /// How long the service asks to wait.
    pub retry_after: Option<Duration>,
    /// Whether another attempt may succeed.
    pub retryable: bool,
}

impl Failed {
    /// A failure that another attempt can't mend.
    pub fn fatal(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), request_id: None, retry_after: None, retryable: false }
    }

    /// As it is kept on the row.
    #[must_use]
    pub fn failure(&self, at: Timestamp) -> Failure {
        Failure { code: self.code.clone(), message: self.message.clone(), request_id: self.request_id.clone(), at }
    }
}

impl From<PortError> for Failed {
    fn from(error: PortError) -> Self {
        Self {
            retryable: error.is_retryable(),
            code: error.code,
            message: error.message,
            request_id: error.request_id,
            retry_after: error.retry_after,
        }
    }
}

/// Why a step ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// It was asked to.
    Stopped(Stop),
    /// The attempt failed.
    Failed(Failed),
}

impl From<Stop> for StepError {
    fn from(stop: Stop) -> Self {
        Self::Stopped(stop)
    }
}

impl From<Failed> for StepError {
    fn from(failed: Failed) -> Self {
        Self::Failed(failed)
    }
}

impl From<PortError> for StepError {
    fn from(error: PortError) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs the step that an operation asks for.
///
/// # Errors
/// [`StepError`] where it was stopped or the attempt failed.
pub async fn run(shared: &Shared, hold: &Hold, operation: &Operation) -> Result<Outcome, StepError> {
    match &operation.work {
        Work::Seed { store, from } => seed::run(shared, hold, operation, store, from).await,
        Work::Copy { target, from } => copy::run(shared, hold, operation, target, from).await,
        Work::Image { target, name, os, generation } => {
            let spec = image::spec(operation, target, name, *os, *generation);
            image::run(shared, hold, operation, &spec).await
        }
    }
}
