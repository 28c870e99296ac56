//! The reconciler: repairs what got lost, and brings jobs to their end. A message too many does no harm, so where in doubt it
//! sends one.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Kind, Operation, OperationState};
use goldfleet_model::state::{JobEvent, OperationEvent};
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::{after, elapsed};
use goldfleet_ports::commit::Commit;
use goldfleet_ports::error::PortResult;
use goldfleet_runtime::metrics::ReconcileCounts;
use goldfleet_workflow::expire::expire_lease;
use goldfleet_workflow::release::copy_failed;
use jiff::Timestamp;

use crate::control::cancel::stop_operations;
use crate::control::cleanup::{StagedOutcome, remove_staged};
use crate::control::context::{ControlContext, ControlError, group_rows, states};
use crate::control::rings;

/// How long one turn of a dispatcher may take, besides what is late anyway: fanning out a job of thousands of operations, or a
/// look at one.
pub(crate) const MAX_PASS_TIME: Duration = Duration::from_secs(300);

/// Where a job is after a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobCheck {
    /// It has ended, and will not be looked at again.
    Ended,
    /// It goes on.
    Open,
}

/// Looks after every job that has not ended. Returns how many there still are.
///
/// # Errors
/// Where table or queue can't be reached. A job that alone can't be looked after is logged, and holds no other up.
pub async fn reconcile_open_jobs(control: &ControlContext) -> Result<usize, ControlError> {
    let began = control.ports.clock.now();
    let mut census = ReconcileCounts::default();
    let jobs = control.ports.table.open_jobs().await?;
    let (mut open, mut failed) = (0, Vec::new());
    for job in &jobs {
        control.monitor.health.tick(MAX_PASS_TIME);
        let looked = reconcile_job(control, job, &mut census).await;
        if !matches!(looked, Ok(JobCheck::Ended)) {
            census.job(job.value.state);
            open += 1;
        }
        if let Err(error) = looked {
            tracing::warn!(job = %job.value.id, %error, "a job could not be looked after");
            failed.push(error);
        }
    }
    control.monitor.metrics.reconcile_finished(&census, elapsed(began, control.ports.clock.now()));
    match failed.pop() {
        Some(error) if failed.len() + 1 == jobs.len() => Err(error),
        _ => Ok(open),
    }
}

/// Looks after one job, if it has not ended.
///
/// # Errors
/// Where table or queue can't be reached.
pub async fn reconcile_job_by_id(control: &ControlContext, id: &JobId) -> Result<JobCheck, ControlError> {
    let job = control.job(id).await?;
    if job.value.state.is_terminal() {
        return Ok(JobCheck::Ended);
    }
    reconcile_job(control, &job, &mut ReconcileCounts::default()).await
}

/// Looks after one job, and counts its operations. The job's row must have been read before this begins.
async fn reconcile_job(
    control: &ControlContext,
    row: &Versioned<Job>,
    census: &mut ReconcileCounts,
) -> Result<JobCheck, ControlError> {
    let job = &row.value;
    let now = control.ports.clock.now();
    let patience = control.config.dispatch.patience.get();
    match job.state {
        JobState::Requested => {
            if now > after(job.updated, patience) {
                requeue_job(control, &job.id).await?;
            }
            return Ok(JobCheck::Open);
        }
        JobState::Cancelling => drop(stop_operations(control, &job.id).await?),
        _ => {}
    }
    let operations = control.ports.table.operations(&job.id).await?;
    for operation in &operations {
        census.operation(operation.value.id.kind(), operation.value.state);
    }
    if let Some(event) = job.job_end(states(&operations)) {
        return finish_job(control, row, event, &operations).await;
    }
    if rings::apply_ring_action(control, job, &operations, now).await? > 0 {
        // Their rows are not as they were read any more; all else can wait for the next reconciler pass.
        return Ok(JobCheck::Open);
    }
    for group in group_rows(operations) {
        reconcile_group(control, &group, now, patience).await?;
    }
    Ok(JobCheck::Open)
}

/// Ends a job, all of whose operations had ended when they were read. Its row was read before them: where it is in another
/// version now, operations may be too, as after a retry, and the next look tells how things stand.
async fn finish_job(
    control: &ControlContext,
    row: &Versioned<Job>,
    event: JobEvent,
    operations: &[Versioned<Operation>],
) -> Result<JobCheck, ControlError> {
    // Before the job's end, as nobody looks at it after that.
    let staging = match event {
        JobEvent::Succeed => remove_staged(control, &row.value, operations).await,
        _ => StagedOutcome::Left,
    };
    if staging == StagedOutcome::Retry {
        return Ok(JobCheck::Open);
    }
    let removed = staging == StagedOutcome::Removed;
    let Some(ended) = control.apply_event_to(row, event, |job| job.cleaned |= removed).await? else {
        return Ok(JobCheck::Open);
    };
    tracing::info!(job = %ended.value.id, state = %ended.value.state, "ended");
    Ok(JobCheck::Ended)
}

/// Announces a job that nobody has fanned out: its message may be lost. The row says when that was, so that a job which
/// waits behind another does not fill the queue.
async fn requeue_job(control: &ControlContext, id: &JobId) -> Result<(), ControlError> {
    // Where it was written meanwhile, someone is at it.
    if control.bump_job_version(&control.job(id).await?).await? {
        control.enqueue_job(id).await?;
    }
    Ok(())
}

/// Puts right what is wrong with a group: a message that must have got lost, a lease whose worker is gone, an image whose
/// copy has ended without telling it.
async fn reconcile_group(
    control: &ControlContext,
    group: &[Versioned<Operation>],
    now: Timestamp,
    patience: Duration,
) -> PortResult<()> {
    let copy = group.iter().find(|row| row.value.id.kind() == Kind::Assemble).map(|row| row.value.state);
    let mut commit = Commit::default();
    for row in group {
        let mut operation = row.value.clone();
        let applied = match repair_for(&operation, copy, now, patience) {
            Repair::None => continue,
            Repair::Requeue => Ok(Vec::new()),
            Repair::Apply(event) => operation.apply(event, now, &control.actor).map(|event| vec![event]),
            Repair::ExpireLease => {
                control.monitor.metrics.lease_expired(operation.id.kind());
                expire_lease(&mut operation, control.config.worker.max_attempts, now, &control.actor)
            }
        };
        let events = match applied {
            Ok(events) => events,
            Err(illegal) => {
                tracing::error!(%illegal, "an operation could not be put right");
                continue;
            }
        };
        operation.updated = now;
        if operation.state == OperationState::Ready {
            operation.queued = Some(now);
        }
        commit.push(row, operation, events);
    }
    // Where someone else was first, things are moving; the next reconciler pass sees how.
    if !commit.is_empty() && control.commit(&commit).await? {
        for operation in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
            tracing::info!(job = %operation.job, operation = %operation.id, "announced again");
            control.enqueue_operation(operation).await?;
            control.monitor.metrics.operation_requeued(operation.id.kind());
        }
    }
    Ok(())
}

enum Repair {
    None,
    Requeue,
    Apply(OperationEvent),
    ExpireLease,
}

fn repair_for(operation: &Operation, copy: Option<OperationState>, now: Timestamp, patience: Duration) -> Repair {
    let long_after = |at: Timestamp| now > after(at, patience);
    match operation.state {
        OperationState::Ready => {
            let last = operation.not_before.max(operation.queued).unwrap_or(operation.created).max(operation.updated);
            if long_after(last) { Repair::Requeue } else { Repair::None }
        }
        // The message in hand appears again when the lease ends, so this is for one that was lost.
        OperationState::Running | OperationState::Cancelling
            if operation.lease.as_ref().is_none_or(|lease| long_after(lease.expires)) =>
        {
            Repair::ExpireLease
        }
        OperationState::Waiting => match copy {
            Some(OperationState::Succeeded | OperationState::Skipped) => Repair::Apply(OperationEvent::Release),
            Some(OperationState::Failed | OperationState::Cancelled) => {
                Repair::Apply(OperationEvent::Block(copy_failed(now)))
            }
            _ => Repair::None,
        },
        _ => Repair::None,
    }
}
