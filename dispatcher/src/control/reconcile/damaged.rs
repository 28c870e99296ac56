//! Jobs of which rows are unreadable or missing.
//!
//! Such an operation is set aside: nothing changes its row, and the other operations of the job go on. When nothing
//! else of the job can go on, the operation counts as failed for those that wait for it, and the job ends as failed.

use goldfleet_model::job::Job;
use goldfleet_model::operation::{Failure, Operation, OperationState, StateCount};
use goldfleet_model::state::OperationEvent;
use goldfleet_model::text::pluralize;
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::before;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::listing::{Listing, ROW_DAMAGED, UnreadableRow};
use goldfleet_workflow::gates::Gates;
use goldfleet_workflow::group::GroupChange;
use jiff::Timestamp;

use super::gates::{Written, write_gates, write_group};
use super::repair::RESEND_AFTER;
use crate::control::context::ControlError;
use crate::control::job_store::{JobStore, group_rows};

/// The number of operations that are examined before a job counts as one that goes on.
const MAX_LOOKS: usize = 1000;

/// The number of rows that the failure of a job names.
const MAX_NAMED: usize = 3;

/// The rows of a job that are unreadable or missing.
pub(super) async fn damage(jobs: &JobStore, job: &Job, counts: &[StateCount]) -> PortResult<Vec<UnreadableRow>> {
    let mut damage = jobs.ports.table.unreadable_operations(&job.id).await?;
    let counted = counts.iter().map(|count| count.count).sum();
    damage.extend(missing(job, counted).filter(|_| damage.is_empty()));
    Ok(damage)
}

/// The rows that the plan of a job wrote and that are no longer in the table.
fn missing(job: &Job, present: u64) -> Option<UnreadableRow> {
    let missing = job.operations?.checked_sub(present).filter(|missing| *missing > 0)?;
    let reason = format!("{} of {} missing", is_are(missing), pluralize(job.operations?, "row"));
    Some(UnreadableRow { id: job.id.to_string(), key: format!("operations/{}", job.id), reason })
}

fn is_are(count: u64) -> String {
    if count == 1 { "1 is".to_owned() } else { format!("{count} are") }
}

/// The failure of a job with these rows.
pub(super) fn failure(damage: &[UnreadableRow], at: Timestamp) -> Failure {
    let mut message: Vec<String> = damage.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    if let Some(more) = damage.len().checked_sub(MAX_NAMED).filter(|more| *more > 0) {
        message.push(format!("and {more} more"));
    }
    Failure { code: ROW_DAMAGED.to_owned(), message: message.join("; "), request_id: None, at }
}

/// All rows of a job that does not go on because of unreadable or missing rows. None if it may go on.
pub(super) async fn stuck(
    jobs: &JobStore,
    job: &Job,
    counts: &[StateCount],
) -> PortResult<Option<Listing<Versioned<Operation>>>> {
    let now = jobs.ports.clock.now();
    let table = &jobs.ports.table;
    for state in [OperationState::Ready, OperationState::Running, OperationState::Cancelling] {
        let count: u64 = counts.iter().filter(|count| count.state == state).map(|count| count.count).sum();
        if count == 0 {
            continue;
        }
        let since = if state == OperationState::Ready { before(now, RESEND_AFTER) } else { now };
        let ids = table.in_state_before(&job.id, job.plan, state, since, MAX_LOOKS).await?;
        if (ids.len() as u64) < count {
            return Ok(None);
        }
        for id in ids {
            match table.operation(&job.id, &id).await {
                Err(error) if error.code == ROW_DAMAGED => {}
                Ok(_) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
    let mut listing = jobs.list_operations(job).await?;
    let present = (listing.rows.len() + listing.unreadable.len()) as u64;
    listing.unreadable.extend(missing(job, present));
    Ok(Some(listing).filter(|listing| !listing.unreadable.is_empty()))
}

/// Blocks the operations of a stuck job that wait for an unreadable one, and releases those that always run.
pub(super) async fn settle(
    jobs: &JobStore,
    job: &Job,
    listing: Listing<Versioned<Operation>>,
) -> Result<Written, ControlError> {
    let now = jobs.ports.clock.now();
    let Some(first) = listing.unreadable.first().cloned() else { return Ok(Written::default()) };
    let gates =
        Gates::of(listing.rows.iter().map(|row| &row.value)).with_missing_failed(format!("operation {}", first.id));
    let failure = failure(&listing.unreadable, now);
    let mut written = Written::default();
    for group in group_rows(listing) {
        if group.is_whole {
            written += write_gates(jobs, job, &gates, &group).await?;
            continue;
        }
        let block = |change: &mut GroupChange<'_>, row: &Operation| {
            if row.state == OperationState::Waiting && !row.always {
                // A waiting operation can be blocked.
                let _ = change.apply(&row.id, OperationEvent::Block(failure.clone()));
            }
        };
        let blocked = write_group(jobs, job, &gates, &group, block).await?;
        written += blocked;
        if !blocked.any {
            written += write_group(jobs, job, &gates, &group, release_first).await?;
        }
    }
    Ok(written)
}

/// Releases the first waiting operation of a group that always runs, if it waits for no gate. The next one follows when
/// it has ended.
fn release_first(change: &mut GroupChange<'_>, row: &Operation) {
    let first = change.operations().find(|first| !first.state.is_terminal());
    if first.is_some_and(|first| first.id == row.id && first.always && !first.awaits_gate()) {
        // Nothing happens if it does not wait.
        let _ = change.apply(&row.id, OperationEvent::Release);
    }
}
