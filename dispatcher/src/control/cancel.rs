//! Cancel: what has not begun never does, what runs stops at its next checkpoint, what is done stays done.

use goldfleet_model::ids::JobId;
use goldfleet_model::job::JobState;
use goldfleet_model::operation::OperationState;
use goldfleet_model::state::{JobEvent, OperationEvent};
use goldfleet_ports::commit::Commit;
use goldfleet_ports::error::PortResult;
use goldfleet_workflow::group::GroupChange;
use jiff::Timestamp;

use crate::control::context::{ControlContext, ControlError, Group, group_rows};

/// What a cancellation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct CancelResult {
    /// Operations that had been done before.
    pub done: usize,
    /// Operations that now will not begin.
    pub cancelled: usize,
    /// Operations that a worker has in hand and will stop.
    pub stopping: usize,
    /// Operations that had failed before.
    pub failed: usize,
}

/// Cancels a job.
///
/// # Errors
/// [`ControlError::Refused`] where it has already ended.
pub async fn cancel(control: &ControlContext, id: &JobId) -> Result<CancelResult, ControlError> {
    control.apply_event(id, JobEvent::Cancel, |_| {}).await.map_err(|error| match error {
        ControlError::Illegal(illegal) => ControlError::Refused(format!(
            "job {id} cannot be cancelled: it has already {}",
            if illegal.state == "cancelled" { "been cancelled" } else { illegal.state }
        )),
        error => error,
    })?;
    stop_operations(control, id).await?;
    let mut counts = CancelResult::default();
    for operation in control.ports.table.operations(id).await? {
        *match operation.value.state {
            OperationState::Succeeded | OperationState::Skipped => &mut counts.done,
            OperationState::Failed => &mut counts.failed,
            OperationState::Cancelled => &mut counts.cancelled,
            _ => &mut counts.stopping,
        } += 1;
    }
    Ok(counts)
}

/// Asks every operation of a job to stop, if the job is to stop or has ended. Safe to run again, and however late: of a job that
/// was taken up again meanwhile it stops nothing.
///
/// # Errors
/// Where the table can't be reached.
pub async fn stop_operations(control: &ControlContext, id: &JobId) -> PortResult<()> {
    let groups = group_rows(control.ports.table.operations(id).await?);
    if !is_stopped(control, id).await? {
        return Ok(());
    }
    for group in groups {
        stop_group(control, id, group).await?;
    }
    Ok(())
}

/// Whether nothing of a job may go on. To be asked after its operations were read: a retry writes the job's row first and then
/// every operation that has not ended, so that those that were read before it can't be written any more.
async fn is_stopped(control: &ControlContext, id: &JobId) -> PortResult<bool> {
    let job = control.ports.table.job(id).await?;
    Ok(job.is_some_and(|job| job.value.state == JobState::Cancelling || job.value.state.is_terminal()))
}

async fn stop_group(control: &ControlContext, id: &JobId, mut group: Group) -> PortResult<()> {
    loop {
        let now = control.ports.clock.now();
        let commit = stop_commit(&group, now, &control.actor);
        if commit.is_empty() {
            return Ok(());
        }
        if control.commit(&commit).await? {
            // Operations that always run follow at once.
            for ready in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
                control.enqueue_operation(ready).await?;
            }
            return Ok(());
        }
        let Some(first) = group.first() else { return Ok(()) };
        group = control.ports.table.group(id, &first.value.id).await?;
        if !is_stopped(control, id).await? {
            return Ok(());
        }
    }
}

/// Asks every operation of a group to stop, except those that always run.
fn stop_commit(group: &Group, now: Timestamp, actor: &str) -> Commit {
    let mut change = GroupChange::new(group, now, actor);
    for row in group.iter().filter(|row| !row.value.always) {
        // An operation that has ended, or is already stopping, does not allow the event.
        let _ = change.apply(&row.value.id, OperationEvent::Cancel);
    }
    change.advance();
    change.into_commit()
}
