//! The chain of a group: the effect of the end of a row on later rows.

use goldfleet_model::operation::{Failure, Operation, OperationState};
use goldfleet_model::state::OperationEvent;
use jiff::Timestamp;

use crate::gates::{GATE_BROKEN, RING_STOPPED};

/// The code of an operation that is not started because an earlier one of its group did not succeed.
pub const PREDECESSOR_FAILED: &str = "predecessor-failed";

/// The event that the earlier rows cause for the row at `index`. None if it does not wait, or if they do not decide it
/// yet.
///
/// - A row is released when every earlier row succeeded or was skipped, and its gates are open.
/// - A row is blocked when an earlier row failed or was cancelled.
/// - An `always` row is released when every earlier row has ended, in any way, and its gates are open.
pub(crate) fn next_event<R>(
    rows: &[R],
    index: usize,
    now: Timestamp,
    operation: impl Fn(&R) -> &Operation,
) -> Option<OperationEvent> {
    let own = operation(rows.get(index)?);
    if own.state != OperationState::Waiting {
        return None;
    }
    let before = || rows[..index].iter().map(&operation);
    let may_begin = !own.awaits_gate();
    if own.always {
        return (may_begin && before().all(|row| row.state.is_terminal())).then_some(OperationEvent::Release);
    }
    if let Some(bad) = before().find(|row| row.state.ended_badly()) {
        return Some(OperationEvent::Block(blocked_by(bad, now)));
    }
    (may_begin && before().all(|row| row.state.is_done())).then_some(OperationEvent::Release)
}

/// The failure of an operation whose group cannot continue because of `row`. If `row` was itself blocked, its own
/// reason is used, so every operation of the group names the actual cause.
fn blocked_by(row: &Operation, at: Timestamp) -> Failure {
    let passed_on = row.failure.as_ref().filter(|failure| {
        row.state == OperationState::Cancelled
            && [PREDECESSOR_FAILED, GATE_BROKEN, RING_STOPPED].contains(&failure.code.as_str())
    });
    if let Some(failure) = passed_on {
        return Failure { at, ..failure.clone() };
    }
    let message = match (row.state, &row.failure) {
        (OperationState::Failed, Some(failure)) => format!("{} failed: {}", row.kind, failure.code),
        (OperationState::Failed, None) => format!("{} failed", row.kind),
        _ => format!("{} was cancelled", row.kind),
    };
    Failure { code: PREDECESSOR_FAILED.to_owned(), message, request_id: None, at }
}
