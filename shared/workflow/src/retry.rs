//! Retry: which rows of a group run again.

use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::state::OperationEvent;

use crate::group::GroupChange;

/// What decides which rows of a group run again.
pub struct RetryRules<'a> {
    /// Whether the operator selected this row, which ended badly.
    pub selects: &'a dyn Fn(&Operation) -> bool,
    /// Whether this row failed because the output of the row before it is gone.
    pub lacks_input: &'a dyn Fn(&Operation) -> bool,
    /// Whether the output of this finished row may have been removed since.
    pub output_may_be_missing: &'a dyn Fn(&Operation) -> bool,
    /// Whether a row that was blocked or cancelled before its gates opened may begin at once.
    pub gates_are_open: &'a dyn Fn(&Operation) -> bool,
    /// Whether rows before the selected one, which ended badly too, run again with it.
    pub includes_predecessors: bool,
}

/// What a retry finds in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryStart {
    /// No row is selected.
    Nothing,
    /// The chain runs again from the row at this index.
    From(usize),
    /// The row at this index is selected, but a row before it has not succeeded and is not selected.
    Blocked(usize),
}

/// Where the chain of a group, in order, starts again.
#[must_use]
pub fn start(rows: &[&Operation], rules: &RetryRules<'_>) -> RetryStart {
    let selected = rows.iter().position(|row| row.state.ended_badly() && (rules.selects)(row));
    let Some(selected) = selected else { return RetryStart::Nothing };
    let mut from = selected;
    while from > 0 {
        let (before, own) = (rows[from - 1], rows[from]);
        let is_needed = (own.state == OperationState::Failed && (rules.lacks_input)(own))
            || (before.state == OperationState::Succeeded && (rules.output_may_be_missing)(before));
        if before.state.ended_badly() && !rules.includes_predecessors {
            return RetryStart::Blocked(selected);
        }
        if !is_needed && !before.state.ended_badly() {
            break;
        }
        from -= 1;
    }
    // A row that still waits, is ready or runs will release the selected one by itself; it is not retried past it.
    if rows[..from].iter().all(|row| row.state.is_done()) {
        RetryStart::From(from)
    } else {
        RetryStart::Blocked(selected)
    }
}

/// Makes the first row of the retry ready, and all later rows that ended wait for it.
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
            // Only rows that ended and were not skipped are in the list, and all of them can be retried.
            tracing::error!(%illegal, "an operation could not be retried");
        }
    }
}
