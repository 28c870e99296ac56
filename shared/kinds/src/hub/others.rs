//! Other jobs of the version that fill a disk for the same golden snapshot: those for other targets of the region. One
//! of them fills its disk, and the others wait for its snapshot.

use goldfleet_model::ids::JobId;
use goldfleet_model::operation::Operation;

use crate::context::Attempt;
use crate::outcome::StepError;

/// The rank of an operation among those that may fill a disk. An operation that has begun comes before one that has
/// not, and an operation of an older job before one of a newer job. The order is total, so two operations never wait
/// for each other.
type Turn<'a> = (bool, &'a JobId);

fn turn(operation: &Operation) -> Turn<'_> {
    (operation.progress.incarnation.is_none(), &operation.job)
}

/// The job that uploads for this operation. None if it uploads itself.
///
/// The groups of all jobs of a version have the same id, so the operation of another job has the id of this one.
pub(super) async fn uploads(attempt: Attempt<'_>) -> Result<Option<JobId>, StepError> {
    let (table, own) = (&attempt.shared.ports.table, attempt.operation);
    // A job that cannot be read does not upload either.
    for job in table.list_open_jobs().await?.rows {
        let job = job.value;
        if job.id == own.job || job.image() != Some(attempt.image()?) {
            continue;
        }
        let group = table.list_group(&job.id, &own.id).await?.rows;
        // A job that has its golden snapshot, or failed to create it, does not upload any more.
        let has_ended = group.iter().all(|row| row.value.always || row.value.state.is_terminal());
        let other = group.iter().map(|row| &row.value).find(|row| row.id == own.id);
        if !has_ended && other.is_some_and(|other| turn(other) < turn(own)) {
            return Ok(Some(job.id));
        }
    }
    Ok(None)
}
