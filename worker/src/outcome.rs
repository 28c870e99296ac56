//! How steps end, and what becomes of that.

use std::time::Duration;

use goldfleet_model::operation::OperationState;
use goldfleet_ports::error::PortError;
use goldfleet_runtime::metrics::Attempt;

use crate::failed::Failed;
use crate::hold::Stop;

/// How a step ended.
pub type Ended = Result<Outcome, StepError>;

/// How a step ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The operation's effect is there, whole.
    Done,
    /// Nothing can be done until something else has happened; look again after this time.
    Continue(Duration),
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

/// What became of how a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is on the row, and the operation is in this state.
    Written(OperationState),
    /// It could not be written: the lease is gone, and another worker goes on.
    Lost,
}

/// How an attempt ended, as it is counted.
pub(crate) fn counted(ended: &Ended, settled: Settled) -> Attempt<'_> {
    match (settled, ended) {
        (Settled::Lost, _) => Attempt::Lost,
        (Settled::Written(OperationState::Succeeded), _) => Attempt::Succeeded,
        (Settled::Written(OperationState::Failed), Err(StepError::Failed(failed))) => {
            Attempt::GivenUp(Some(&failed.code))
        }
        (Settled::Written(OperationState::Failed), _) => Attempt::GivenUp(None),
        (Settled::Written(OperationState::Cancelled), _) => Attempt::Cancelled,
        (_, Ok(Outcome::Done | Outcome::Continue(_))) => Attempt::Deferred,
        (_, Err(StepError::Stopped(_))) => Attempt::Drained,
        (_, Err(StepError::Failed(failed))) if failed.throttled => Attempt::Throttled,
        (_, Err(StepError::Failed(failed))) => Attempt::Retried(&failed.code),
    }
}
