//! The reconciler: repairs open jobs, opens gates, and ends jobs. A duplicate message is harmless, so the reconciler
//! sends a message if it might be lost.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::state::JobEvent;
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::{after, elapsed};
use goldfleet_ports::error::PortResult;
use goldfleet_runtime::metrics::ReconcileCounts;
use goldfleet_workflow::expire::{MAX_LOST, expire_lease};
use goldfleet_workflow::gates::Gates;
use goldfleet_workflow::group::GroupChange;
use jiff::Timestamp;

use crate::control::cancel::stop_operations;
use crate::control::cleanup::{StagedOutcome, remove_staged};
use crate::control::context::{ControlContext, ControlError, group_rows, states};

/// The maximum time that one turn of a dispatcher takes in addition to delays of the services: the fan-out of a job
/// with thousands of operations, or one reconciler pass over such a job.
pub(crate) const MAX_PASS_TIME: Duration = Duration::from_secs(300);

/// How far the clocks of two machines may be apart. A lease that has expired by more is expired for every worker. A worker that
/// holds it stops earlier by its own clock, and its writes are conditional in any case.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The most levels of gates that one look at a job goes through.
const MAX_GATE_LEVELS: usize = 64;

/// The number of groups that are written between two checks whether the job was cancelled.
const RELEASE_BATCH: usize = 64;

/// The result of a reconciler pass over a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobCheck {
    /// The job has ended. It needs no further pass.
    Ended,
    /// The job is open.
    Open,
}

/// Reconciles every open job. Returns the number of jobs that are still open.
///
/// # Errors
/// If the table or the queue cannot be reached. An error that concerns one job only is logged, and does not delay other
/// jobs.
pub async fn reconcile_open_jobs(control: &ControlContext) -> Result<usize, ControlError> {
    let began = control.ports.clock.now();
    let mut census = ReconcileCounts::of_kinds(control.registry.ids());
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

/// Reconciles one job, if it has not ended.
///
/// # Errors
/// If the table or the queue cannot be reached.
pub async fn reconcile_job_by_id(control: &ControlContext, id: &JobId) -> Result<JobCheck, ControlError> {
    let job = control.job(id).await?;
    if job.value.state.is_terminal() {
        return Ok(JobCheck::Ended);
    }
    reconcile_job(control, &job, &mut ReconcileCounts::default()).await
}

/// Reconciles one job, and counts its operations. The job's row must have been read before the call.
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
    if job.state == JobState::Running && !job.announced && now > after(job.updated, patience) {
        // The dispatcher of the job stopped before it had sent all messages of the ready operations.
        requeue_job(control, &job.id).await?;
    }
    let mut operations = control.operations(job).await?;
    for operation in &operations {
        census.operation(operation.value.kind.as_str(), operation.value.state);
    }
    for _ in 0..MAX_GATE_LEVELS {
        if let Some(event) = job.job_end(states(&operations)) {
            return finish_job(control, row, event, &operations).await;
        }
        if !reconcile_groups(control, job, operations, now, patience).await? {
            break;
        }
        // Rows that open gates have ended. Evaluate the groups behind these gates now, not at the next sweep.
        operations = control.operations(job).await?;
    }
    Ok(JobCheck::Open)
}

/// Repairs the groups of a job. Returns whether a row has ended that opens a gate.
async fn reconcile_groups(
    control: &ControlContext,
    job: &Job,
    operations: Vec<Versioned<Operation>>,
    now: Timestamp,
    patience: Duration,
) -> Result<bool, ControlError> {
    let gates = Gates::of(operations.iter().map(|row| &row.value));
    let mut has_ended_opener = false;
    for (written, group) in group_rows(operations).into_iter().enumerate() {
        // A gate may release thousands of operations. Releasing must stop if the job is cancelled in the meantime.
        if written % RELEASE_BATCH == RELEASE_BATCH - 1 && control.job(&job.id).await?.value.state != job.state {
            return Ok(false);
        }
        has_ended_opener |= reconcile_group(control, job, &gates, &group, now, patience).await?;
    }
    Ok(has_ended_opener)
}

/// Ends a job whose operations had all ended when they were read. The job's row was read before the operations. If the
/// row has changed since, for example by a retry, the operations may have changed too, and the next pass decides.
async fn finish_job(
    control: &ControlContext,
    row: &Versioned<Job>,
    event: JobEvent,
    operations: &[Versioned<Operation>],
) -> Result<JobCheck, ControlError> {
    // Remove them before the job ends, because the reconciler ignores jobs that have ended.
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

/// Sends the message of a job that was not fanned out, because its message may be lost. The row records the time of the
/// message, so that a job that waits for another one does not fill the queue.
async fn requeue_job(control: &ControlContext, id: &JobId) -> Result<(), ControlError> {
    // If the row changed in the meantime, another process is handling the job.
    if control.bump_job_version(&control.job(id).await?).await? {
        control.enqueue_job(id).await?;
    }
    Ok(())
}

/// Repairs a group: sends a lost message again, expires the lease of a lost worker, opens and breaks gates, and
/// advances the chain of the group. Returns whether a row has ended that opens a gate.
async fn reconcile_group(
    control: &ControlContext,
    job: &Job,
    gates: &Gates,
    group: &[Versioned<Operation>],
    now: Timestamp,
    patience: Duration,
) -> PortResult<bool> {
    let mut change = GroupChange::new(group, now, &control.actor);
    for row in group {
        let id = &row.value.id;
        match repair_for(&row.value, now, patience) {
            Repair::None => {}
            Repair::Requeue => change.edit(id, |operation| {
                operation.updated = now;
                operation.queued = Some(now);
            }),
            Repair::ExpireLease => {
                control.monitor.metrics.lease_expired(row.value.kind.as_str());
                let expiry = |operation: &mut Operation, now, who: &str| expire_lease(operation, MAX_LOST, now, who);
                if let Err(illegal) = change.transform(id, expiry) {
                    tracing::error!(%illegal, "a lease could not be expired");
                }
            }
        }
    }
    gates.apply(job, &mut change, now);
    let commit = change.into_commit();
    // If another process committed first, the group makes progress. The next sweep checks it again.
    if commit.is_empty() || !control.commit(&commit).await? {
        return Ok(false);
    }
    for operation in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
        tracing::info!(job = %operation.job, operation = %operation.id, "its message is sent");
        control.enqueue_operation(operation).await?;
        if group.iter().any(|row| row.value.id == operation.id && row.value.state != OperationState::Waiting) {
            control.monitor.metrics.operation_requeued(operation.kind.as_str());
        }
    }
    Ok(commit.operations().any(|operation| operation.state.is_terminal() && !operation.opens.is_empty()))
}

/// The repair that a row needs.
enum Repair {
    None,
    Requeue,
    ExpireLease,
}

fn repair_for(operation: &Operation, now: Timestamp, patience: Duration) -> Repair {
    let long_after = |at: Timestamp| now > after(at, patience);
    match operation.state {
        OperationState::Ready => {
            let last = operation.not_before.max(operation.queued).unwrap_or(operation.created).max(operation.updated);
            if long_after(last) { Repair::Requeue } else { Repair::None }
        }
        OperationState::Running | OperationState::Cancelling
            if operation.lease.as_ref().is_none_or(|lease| now > after(lease.expires, MAX_CLOCK_SKEW)) =>
        {
            Repair::ExpireLease
        }
        _ => Repair::None,
    }
}
