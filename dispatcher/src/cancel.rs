//! Cancel: what has not begun never does, what runs stops at its next checkpoint, what is done stays done.

use goldfleet_shared::commit::Commit;
use goldfleet_shared::model::ids::JobId;
use goldfleet_shared::model::operation::OperationState;
use goldfleet_shared::ports::error::PortResult;
use goldfleet_shared::state::{JobEvent, OperationEvent};

use crate::desk::{Desk, DeskError, Group, by_group};

/// What a cancellation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cancelled {
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
/// [`DeskError::Illegal`] where it has already ended.
pub async fn cancel(desk: &Desk, id: &JobId) -> Result<Cancelled, DeskError> {
    desk.advance(id, JobEvent::Cancel, |_| {}).await?;
    stop_operations(desk, id).await?;
    let mut counts = Cancelled::default();
    for operation in desk.ports.table.operations(id).await? {
        *match operation.value.state {
            OperationState::Succeeded | OperationState::Skipped => &mut counts.done,
            OperationState::Failed => &mut counts.failed,
            OperationState::Cancelled => &mut counts.cancelled,
            _ => &mut counts.stopping,
        } += 1;
    }
    Ok(counts)
}

/// Asks every operation of a job to stop. Safe to run again.
///
/// # Errors
/// Where the table can't be reached.
pub async fn stop_operations(desk: &Desk, id: &JobId) -> PortResult<()> {
    for group in by_group(desk.ports.table.operations(id).await?) {
        stop_group(desk, id, group).await?;
    }
    Ok(())
}

async fn stop_group(desk: &Desk, id: &JobId, mut group: Group) -> PortResult<()> {
    loop {
        let now = desk.ports.clock.now();
        let mut commit = Commit::default();
        for row in &group {
            let mut operation = row.value.clone();
            if let Ok(event) = operation.apply(OperationEvent::Cancel, now, &desk.who) {
                commit.write(row, operation, [event]);
            }
        }
        if commit.is_empty() || desk.commit(&commit).await? {
            return Ok(());
        }
        let Some(first) = group.first() else { return Ok(()) };
        group = desk.ports.table.group(id, &first.value.id).await?;
    }
}
