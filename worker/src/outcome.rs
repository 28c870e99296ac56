//! The result of completing an attempt.

use goldfleet_kinds::outcome::{StepError, StepOutcome, StepResult};
use goldfleet_model::operation::OperationState;
use goldfleet_runtime::metrics::AttemptEnd;

/// The result of completing an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompletionOutcome {
    /// The result was written to the row.
    Written {
        /// The state of the operation.
        state: OperationState,
        /// Whether another operation of the group became ready.
        releases: bool,
    },
    /// The result could not be written because the lease is lost. Another worker continues the operation.
    Lost,
}

/// The end of an attempt in the metrics.
pub(crate) fn counted(ended: &StepResult, completion: CompletionOutcome) -> AttemptEnd<'_> {
    let CompletionOutcome::Written { state, .. } = completion else { return AttemptEnd::Lost };
    match (state, ended) {
        (OperationState::Succeeded, _) => AttemptEnd::Succeeded,
        (OperationState::Failed, Err(StepError::Failed(failed))) => AttemptEnd::Abandoned(Some(&failed.code)),
        (OperationState::Failed, _) => AttemptEnd::Abandoned(None),
        (OperationState::Cancelled, _) => AttemptEnd::Cancelled,
        (_, Ok(StepOutcome::Done | StepOutcome::RequeueAfter(_))) => AttemptEnd::Deferred,
        (_, Err(StepError::Stopped(_))) => AttemptEnd::Drained,
        (_, Err(StepError::Failed(failed))) if failed.throttled => AttemptEnd::Throttled,
        (_, Err(StepError::Failed(failed))) => AttemptEnd::Retried(&failed.code),
    }
}
