//! Cancellation: operations that have not started are cancelled, running operations stop at their next checkpoint, and
//! finished operations keep their results.

use goldfleet_model::ids::JobId;
use goldfleet_model::job::JobState;
use goldfleet_model::operation::OperationState;
use goldfleet_model::state::{JobEvent, OperationEvent};
use goldfleet_ports::Ports;
use goldfleet_ports::commit::Commit;
use goldfleet_ports::error::PortResult;
use jiff::Timestamp;

use crate::control::context::ControlError;
use crate::control::job_store::{Group, JobStore, group_rows};

/// What a cancellation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct CancelResult {
    /// Operations that had succeeded or were skipped.
    pub done: usize,
    /// Operations that are cancelled and will not start.
    pub cancelled: usize,
    /// Operations that a worker holds and will stop.
    pub stopping: usize,
    /// Operations that had failed.
    pub failed: usize,
}

/// Cancels a job.
///
/// # Errors
/// [`ControlError::Refused`] if the job has already ended.
pub async fn cancel(jobs: &JobStore, id: &JobId) -> Result<CancelResult, ControlError> {
    jobs.apply_event(id, JobEvent::Cancel, |_| {}).await.map_err(|error| match error {
        ControlError::Illegal(illegal) => ControlError::Refused(format!(
            "job {id} cannot be cancelled: it has already {}",
            if illegal.state == "cancelled" { "been cancelled" } else { illegal.state }
        )),
        error => error,
    })?;
    stop_operations(jobs, id).await?;
    let mut counts = CancelResult::default();
    for operation in jobs.ports.table.list_operations(id).await?.rows {
        *match operation.value.state {
            OperationState::Succeeded | OperationState::Skipped => &mut counts.done,
            OperationState::Failed => &mut counts.failed,
            OperationState::Cancelled => &mut counts.cancelled,
            _ => &mut counts.stopping,
        } += 1;
    }
    Ok(counts)
}

/// Asks every operation of a job to stop, if the job is cancelling or has ended. It is safe to run this again at any
/// later time: if the job was retried in the meantime, nothing is stopped.
///
/// # Errors
/// If the table cannot be reached.
pub async fn stop_operations(jobs: &JobStore, id: &JobId) -> PortResult<()> {
    let groups = group_rows(jobs.ports.table.list_operations(id).await?);
    if !is_stopped(&jobs.ports, id).await? {
        return Ok(());
    }
    for group in groups {
        stop_group(jobs, id, group).await?;
    }
    Ok(())
}

/// Whether all operations of a job must stop. Call this after the operations were read: a retry first writes the job's
/// row and then every operation that has not ended, so the ETags of operations that were read before the retry are out
/// of date.
async fn is_stopped(ports: &Ports, id: &JobId) -> PortResult<bool> {
    let job = ports.table.job(id).await?;
    Ok(job.is_some_and(|job| job.value.state == JobState::Cancelling || job.value.state.is_terminal()))
}

async fn stop_group(jobs: &JobStore, id: &JobId, mut group: Group) -> PortResult<()> {
    loop {
        let now = jobs.ports.clock.now();
        let commit = stop_commit(&group, now, &jobs.actor);
        if commit.is_empty() {
            return Ok(());
        }
        if jobs.commit(&commit).await? {
            // Operations that are marked `always` become ready now.
            for ready in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
                jobs.enqueue_operation(ready).await?;
            }
            return Ok(());
        }
        let Some(first) = group.rows.first() else { return Ok(()) };
        group = Group::of(jobs.ports.table.list_group(id, &first.value.id).await?);
        if !is_stopped(&jobs.ports, id).await? {
            return Ok(());
        }
    }
}

/// Cancels every operation of a group, except those that are marked `always`.
fn stop_commit(group: &Group, now: Timestamp, actor: &str) -> Commit {
    let mut change = group.change(now, actor);
    for row in group.rows.iter().filter(|row| !row.value.always) {
        // An operation that has ended, or is already stopping, rejects the event.
        let _ = change.apply(&row.value.id, OperationEvent::Cancel);
    }
    change.advance();
    change.into_commit()
}
