//! The reconciler: repairs what was lost, opens gates, and ends jobs. A duplicate message is harmless, so in doubt it sends one.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::state::JobEvent;
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::{after, elapsed};
use goldfleet_ports::error::PortResult;
use goldfleet_runtime::metrics::ReconcileCounts;
use goldfleet_workflow::expire::expire_lease;
use goldfleet_workflow::gates::Gates;
use goldfleet_workflow::group::GroupChange;
use jiff::Timestamp;

use crate::control::cancel::stop_operations;
use crate::control::cleanup::{StagedOutcome, remove_staged};
use crate::control::context::{ControlContext, ControlError, group_rows, states};

/// How long one turn of a dispatcher may take, besides what is late anyway: fanning out a job of thousands of operations, or a
/// look at one.
pub(crate) const MAX_PASS_TIME: Duration = Duration::from_secs(300);

/// The most levels of gates that one look at a job goes through.
const MAX_GATE_LEVELS: usize = 64;

/// How many groups are written between two looks at whether the job was cancelled.
const RELEASE_BATCH: usize = 64;

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
    if job.state == JobState::Running && !job.announced && now > after(job.updated, patience) {
        // Its dispatcher stopped before it had sent the messages of the first operations.
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
        // Rows that open gates have ended: what waits behind them is decided now, not at the next sweep.
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
        // A gate may release thousands of operations. A job that is cancelled meanwhile must not go on.
        if written % RELEASE_BATCH == RELEASE_BATCH - 1 && control.job(&job.id).await?.value.state != job.state {
            return Ok(false);
        }
        has_ended_opener |= reconcile_group(control, job, &gates, &group, now, patience).await?;
    }
    Ok(has_ended_opener)
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
    // Not the time of this sweep, so that the duration and the rate that operators see stay as they are.
    let finished = row.value.end_time(operations.iter().map(|operation| &operation.value));
    let end = |job: &mut Job| {
        job.cleaned |= removed;
        job.finished = Some(finished);
    };
    let Some(ended) = control.apply_event_to(row, event, end).await? else {
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

/// Repairs a group: sends a message that must have been lost, expires a lease whose worker is lost, opens and breaks gates, and
/// advances the chain. Returns whether a row has ended that opens a gate.
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
                let max_attempts = control.config.worker.max_attempts;
                let expiry =
                    |operation: &mut Operation, now, who: &str| expire_lease(operation, max_attempts, now, who);
                if let Err(illegal) = change.transform(id, expiry) {
                    tracing::error!(%illegal, "a lease could not be expired");
                }
            }
        }
    }
    gates.apply(job, &mut change, now);
    let commit = change.into_commit();
    // If another process was first, the group is not stuck. The next sweep looks again.
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

/// What a row needs.
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
        // The message in hand becomes visible again when the lease expires, so this is for a message that was lost.
        OperationState::Running | OperationState::Cancelling
            if operation.lease.as_ref().is_none_or(|lease| long_after(lease.expires)) =>
        {
            Repair::ExpireLease
        }
        _ => Repair::None,
    }
}
