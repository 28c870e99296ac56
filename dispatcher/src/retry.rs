//! Retry: only what failed or was cancelled is done again.

use goldfleet_shared::model::ids::JobId;
use goldfleet_shared::model::job::{Job, JobState};
use goldfleet_shared::model::operation::{Kind, Operation, OperationState};
use goldfleet_shared::model::selector::Selector;
use goldfleet_shared::ports::Versioned;
use goldfleet_shared::ports::error::ErrorKind;
use goldfleet_shared::state::{JobEvent, OperationEvent};

use crate::desk::{Desk, DeskError, by_group, change};
use crate::rings::Gate;

/// Which operations to try again.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Only of this kind.
    pub phase: Option<Kind>,
    /// Only of the targets that one of these selects; all, where empty.
    pub targets: Vec<Selector>,
}

/// Tries again what failed or was cancelled. Returns how many operations were made ready or wait for one that was.
///
/// # Errors
/// [`DeskError::Refused`] where nothing is to be tried again, or the job is still stopping.
pub async fn retry(desk: &Desk, id: &JobId, which: &Which) -> Result<usize, DeskError> {
    let job = desk.job(id).await?.value;
    let operations = desk.ports.table.operations(id).await?;
    if job.state == JobState::Cancelling {
        return Err(DeskError::Refused(format!(
            "job {id} is still stopping: try again when 'goldfleet status {id} --watch' has ended"
        )));
    }
    if operations.is_empty() && job.state.is_terminal() {
        let why = job.failure.map_or_else(String::new, |failure| format!(": {}", failure.message));
        return Err(DeskError::Refused(format!("job {id} has no operations{why}; use 'goldfleet dispatch' again")));
    }
    let gate = Gate::of(&job, &operations);
    let groups: Vec<Vec<Versioned<Operation>>> =
        by_group(operations).into_iter().filter(|group| !rearmed(desk, group, which, &gate).is_empty()).collect();
    if groups.is_empty() {
        return Err(DeskError::Refused(format!(
            "nothing of job {id} that was selected failed or was cancelled: 'goldfleet status {id}' shows how far it is"
        )));
    }
    // The job first: a job that has ended is not looked after by the sweeper.
    if job.state.is_terminal() {
        desk.advance(id, JobEvent::Retry, |_| {}).await?;
    }
    let mut count = 0;
    for group in groups {
        count += retry_group(desk, id, group, which, &gate).await?;
    }
    keep_open(desk, id).await?;
    Ok(count)
}

/// Writes the job's row once more: a sweep that saw the operations as they were before ends the job only in the version of
/// the row that it knows, or has ended it meanwhile.
async fn keep_open(desk: &Desk, id: &JobId) -> Result<(), DeskError> {
    loop {
        let row = desk.job(id).await?;
        if row.value.state.is_terminal() {
            desk.advance(id, JobEvent::Retry, |_| {}).await?;
            return Ok(());
        }
        let touched = Job { updated: desk.ports.clock.now(), ..row.value };
        match desk.ports.table.commit_job(&touched, &row.etag, &[]).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind == ErrorKind::Conflict => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn retry_group(
    desk: &Desk,
    id: &JobId,
    mut group: Vec<Versioned<Operation>>,
    which: &Which,
    gate: &Gate<'_>,
) -> Result<usize, DeskError> {
    loop {
        let rearmed = rearmed(desk, &group, which, gate);
        let Some((first, ..)) = rearmed.first() else { return Ok(0) };
        let any = first.id.clone();
        let changes: Vec<_> = rearmed.iter().map(|(operation, etag, _)| change(operation, etag)).collect();
        let events: Vec<_> = rearmed.iter().map(|(.., event)| event.clone()).collect();
        if desk.commit(&changes, &events).await? {
            for (operation, ..) in rearmed.iter().filter(|(operation, ..)| operation.state == OperationState::Ready) {
                desk.announce(operation).await?;
            }
            return Ok(rearmed.len());
        }
        group = desk.ports.table.group(id, &any).await?;
    }
}

type Rearmed = (Operation, goldfleet_shared::ports::ETag, goldfleet_shared::model::event::Event);

/// What of a group is tried again, as it then stands. An image whose copy is tried again waits for it; an image whose
/// copy is not there can't be tried alone; a copy of a ring that may not begin yet waits for that.
fn rearmed(desk: &Desk, group: &[Versioned<Operation>], which: &Which, gate: &Gate<'_>) -> Vec<Rearmed> {
    let now = desk.ports.clock.now();
    let ended_badly = |state| matches!(state, OperationState::Failed | OperationState::Cancelled);
    let chosen = |operation: &Operation| {
        let phase = which.phase.is_none_or(|phase| phase == operation.id.kind());
        let target = which.targets.is_empty()
            || operation.work.target().is_some_and(|target| Selector::any(&which.targets, target));
        ended_badly(operation.state) && phase && target
    };
    let copy = group.iter().find(|row| row.value.id.kind() == Kind::Copy).map(|row| &row.value);
    let copy_again = copy.is_some_and(&chosen);
    let copy_done = copy.is_some_and(|copy| copy.state == OperationState::Succeeded);
    let held_back = |operation: &Operation| operation.work.target().is_some_and(|target| !gate.lets_begin(target.ring));
    let mut result = Vec::new();
    for row in group {
        let event = match row.value.id.kind() {
            Kind::Copy if chosen(&row.value) && held_back(&row.value) => OperationEvent::Rewait,
            Kind::Seed | Kind::Copy if chosen(&row.value) => OperationEvent::Rearm,
            Kind::Image if copy_again && ended_badly(row.value.state) => OperationEvent::Rewait,
            Kind::Image if copy_done && chosen(&row.value) => OperationEvent::Rearm,
            _ => continue,
        };
        let mut operation = row.value.clone();
        if let Ok(event) = operation.apply(event, now, &desk.who) {
            operation.queued = Some(now);
            result.push((operation, row.etag.clone(), event));
        }
    }
    result
}
