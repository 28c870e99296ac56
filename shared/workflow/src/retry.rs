//! Retry: which rows of a group run again.

use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::state::OperationEvent;

use crate::group::GroupChange;

/// The rules that decide which rows of a group run again.
pub struct RetryRules<'a> {
    /// Whether the operator selected this row, which failed or was cancelled.
    pub selects: &'a dyn Fn(&Operation) -> bool,
    /// Whether this row succeeded, and must run again because another group needs what it created, which was deleted
    /// since.
    pub runs_again: &'a dyn Fn(&Operation) -> bool,
    /// Whether this row failed because the output of the previous row no longer exists.
    pub lacks_input: &'a dyn Fn(&Operation) -> bool,
    /// Whether the output of this finished row may have been removed since.
    pub output_may_be_missing: &'a dyn Fn(&Operation) -> bool,
    /// Whether a row that was blocked or cancelled before its gates opened may start immediately.
    pub gates_are_open: &'a dyn Fn(&Operation) -> bool,
    /// Whether earlier rows that failed or were cancelled run again together with the selected one.
    pub includes_predecessors: bool,
}

/// The result of a search for the start of a retry in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryStart {
    /// No row is selected.
    Nothing,
    /// The chain runs again from the row at this index.
    From(usize),
    /// The row at this index is selected, but an earlier row has not succeeded and is not selected.
    Blocked(usize),
    /// The row at this index is selected, but a later row, which always runs, has begun and not ended.
    Busy(usize),
}

/// Finds where the chain of a group restarts. `rows` are in the order of the chain.
#[must_use]
pub fn start(rows: &[&Operation], rules: &RetryRules<'_>) -> RetryStart {
    let is_selected = |row: &&Operation| (row.state.ended_badly() && (rules.selects)(row)) || (rules.runs_again)(row);
    let selected = rows.iter().position(is_selected);
    let Some(selected) = selected else { return RetryStart::Nothing };
    let mut from = selected;
    while from > 0 {
        let (before, own) = (rows[from - 1], rows[from]);
        // Not only of the row before: a disk may need the snapshot from which an image between them was created. A row
        // that only cleans up needs nothing.
        let is_missing =
            |row: &&Operation| row.state == OperationState::Succeeded && (rules.output_may_be_missing)(row);
        let is_needed = (own.state == OperationState::Failed && (rules.lacks_input)(own))
            || (!own.always && rows[..from].iter().any(is_missing));
        if before.state.ended_badly() && !rules.includes_predecessors {
            return RetryStart::Blocked(selected);
        }
        if !is_needed && !before.state.ended_badly() {
            break;
        }
        from -= 1;
    }
    // If an earlier row waits, is ready or runs, its end will release the selected row. So the retry does not start the
    // selected row before it.
    if !rows[..from].iter().all(|row| row.state.is_done()) {
        return RetryStart::Blocked(selected);
    }
    // A row that always runs has begun because this one ended. It must end before this one begins again.
    let has_begun = |row: &&Operation| row.state == OperationState::Ready || row.state.is_leased();
    if rows[from..].iter().any(has_begun) { RetryStart::Busy(selected) } else { RetryStart::From(from) }
}

/// Makes the first row of the retry ready, and lets all later rows that ended wait for it.
pub fn apply(change: &mut GroupChange<'_>, from: usize, rules: &RetryRules<'_>) {
    let events: Vec<(usize, OperationEvent)> = change
        .operations()
        .enumerate()
        .skip(from)
        .filter(|(_, row)| row.state.is_terminal() && row.state != OperationState::Skipped)
        .map(|(index, row)| {
            let begins = index == from && (row.after.is_empty() || (rules.gates_are_open)(row));
            (index, if begins { OperationEvent::RetryRequested } else { OperationEvent::RetryDeferred })
        })
        .collect();
    for (index, event) in events {
        if let Err(illegal) = change.apply_at(index, event) {
            // The list contains only rows that ended and were not skipped, and all of them can be retried.
            tracing::error!(%illegal, "an operation could not be retried");
        }
    }
}
