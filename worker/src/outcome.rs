//! How steps end, and what becomes of that.

use std::time::Duration;

use goldfleet_model::operation::OperationState;
use goldfleet_ports::error::PortError;
use goldfleet_runtime::metrics::AttemptEnd;

use crate::attempt_error::AttemptError;
use crate::lease_guard::StopReason;

/// How a step ended.
pub type StepResult = Result<StepOutcome, StepError>;

/// How a step ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepOutcome {
    /// The operation's effect is there, whole.
    Done,
    /// Nothing can be done until something else has happened; look again after this time.
    RequeueAfter(Duration),
}

/// Why a step ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepError {
    /// It was asked to.
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

/// What became of how a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionOutcome {
    /// It is on the row, and the operation is in this state.
    Written(OperationState),
    /// It could not be written: the lease is gone, and another worker goes on.
    Lost,
}

/// How an attempt ended, as it is counted.
pub(crate) fn counted(ended: &StepResult, settled: CompletionOutcome) -> AttemptEnd<'_> {
    match (settled, ended) {
        (CompletionOutcome::Lost, _) => AttemptEnd::Lost,
        (CompletionOutcome::Written(OperationState::Succeeded), _) => AttemptEnd::Succeeded,
        (CompletionOutcome::Written(OperationState::Failed), Err(StepError::Failed(failed))) => {
            AttemptEnd::Abandoned(Some(&failed.code))
        }
        (CompletionOutcome::Written(OperationState::Failed), _) => AttemptEnd::Abandoned(None),
        (CompletionOutcome::Written(OperationState::Cancelled), _) => AttemptEnd::Cancelled,
        (_, Ok(StepOutcome::Done | StepOutcome::RequeueAfter(_))) => AttemptEnd::Deferred,
        (_, Err(StepError::Stopped(_))) => AttemptEnd::Drained,
        (_, Err(StepError::Failed(failed))) if failed.throttled => AttemptEnd::Throttled,
        (_, Err(StepError::Failed(failed))) => AttemptEnd::Retried(&failed.code),
    }
}
