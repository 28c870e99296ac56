//! The chain of a group: what the end of a row means for the rows after it.

use goldfleet_model::operation::{Failure, Operation, OperationState};
use goldfleet_model::state::OperationEvent;
use jiff::Timestamp;

use crate::gates::{GATE_BROKEN, RING_STOPPED};

/// The code of an operation that is not started because an earlier one of its group did not succeed.
pub const PREDECESSOR_FAILED: &str = "predecessor-failed";

/// The event that the rows before `index` cause for the row there, if it waits and they decide it.
///
/// - A row follows when every row before it succeeded or was skipped, and its gates are open.
/// - A row is blocked when a row before it failed or was cancelled.
/// - An `always` row follows when every row before it has ended, in any way, and its gates are open.
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

/// The failure of an operation whose group cannot go on because of `row`. A row that was itself blocked passes its own
/// reason on, so that every operation of the group names the actual cause.
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
