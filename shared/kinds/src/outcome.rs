//! The results of steps.

use std::time::Duration;

use goldfleet_ports::error::PortError;

use crate::attempt_error::AttemptError;
use crate::lease::StopReason;

/// The result of a step.
pub type StepResult = Result<StepOutcome, StepError>;

/// The result of a step that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// The operation's effect is in place.
    Done,
    /// The step must wait for something else. Run it again after this time.
    RequeueAfter(Duration),
}

/// The reason why a step did not finish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// The step was asked to stop.
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
