//! How steps end.

use std::time::Duration;

use goldfleet_ports::error::PortError;

use crate::attempt_error::AttemptError;
use crate::lease::StopReason;

/// How a step ended.
pub type StepResult = Result<StepOutcome, StepError>;

/// How a step ended without an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// The operation's effect is in place.
    Done,
    /// Nothing can be done until something else has happened. Run again after this time.
    RequeueAfter(Duration),
}

/// Why a step ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// It was asked to stop.
    Stopped(StopReason),
    /// The attempt failed.
    Failed(AttemptError),
}

impl From<StopReason> for StepError {
    fn from(stop: StopReason) -> Self {
        Self::Stopped(stop)
    }
}

impl From<AttemptError> for StepError {
    fn from(failed: AttemptError) -> Self {
        Self::Failed(failed)
    }
}

impl From<PortError> for StepError {
    fn from(error: PortError) -> Self {
        Self::Failed(error.into())
    }
}
