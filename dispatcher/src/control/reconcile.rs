//! The reconciler: repairs open jobs, opens gates, and ends jobs. A duplicate message is harmless, so the reconciler
//! sends a message if it might be lost.
//!
//! A pass over a job reads counts, the rows that need a repair, and the rows that a gate releases. It does not read the
//! other rows of the job.

mod damaged;
mod gates;
mod repair;

use std::collections::BTreeSet;
use std::time::Duration;

use goldfleet_model::graph::GateKey;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{OperationState, StateCount};
use goldfleet_model::state::JobEvent;
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::{LONGEST_WAIT, after, elapsed, has_ended};
use goldfleet_ports::listing::ROW_DAMAGED;
use goldfleet_runtime::metrics::ReconcileCounts;
use goldfleet_workflow::gates::Gates;

pub use gates::evaluate_gate;
pub use repair::release_ended;

use crate::control::cancel::stop_operations;
use crate::control::cleanup::{StagedOutcome, remove_staged};
use crate::control::context::{ControlContext, ControlError};
use crate::control::job_store::{JobStore, group_rows};
use crate::control::reconcile::gates::{Written, evaluate_gates, write_gates};
use crate::control::reconcile::repair::repair_operations;

/// The maximum time between two ticks of the dispatcher's health check, besides the grace time that the check adds. It
/// must be sufficient for the fan-out of a job with thousands of operations, or for one reconciler pass over such a
/// job.
pub(crate) const MAX_PASS_TIME: Duration = Duration::from_secs(300);

/// How long a job waits to be planned, or for the messages of its first operations, before its message counts as lost.
/// It is longer than the message is hidden while a dispatcher plans the job.
const JOB_MESSAGE_LOST: Duration = Duration::from_secs(150);

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
    let mut census = ReconcileCounts::of_kinds(control.jobs.registry.ids());
    let listed = control.ports.table.list_open_jobs().await?;
    for row in &listed.unreadable {
        tracing::warn!(code = ROW_DAMAGED, "a job is set aside: {row}");
    }
    let jobs = listed.rows;
    let (mut open, mut failed) = (0, Vec::new());
    for job in &jobs {
        control.jobs.monitor.health.tick(MAX_PASS_TIME);
        let looked = reconcile_job(control, job, &mut census).await;
        if !matches!(looked, Ok(JobCheck::Ended)) {
            census.job(job.value.state);
            open += 1;
        }
        if let Err(error) = looked {
            tracing::warn!(job = %job.value.id, %error, "a job could not be reconciled");
            failed.push(error);
        }
    }
    control.jobs.monitor.metrics.reconcile_finished(&census, elapsed(began, control.ports.clock.now()));
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
    let job = control.jobs.job(id).await?;
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
    match job.state {
        JobState::Requested => {
            if has_ended(after(job.updated, JOB_MESSAGE_LOST), LONGEST_WAIT, now) {
                requeue_job(&control.jobs, &job.id).await?;
            }
            return Ok(JobCheck::Open);
        }
        JobState::Cancelling => drop(stop_operations(&control.jobs, &job.id).await?),
        _ => {}
    }
    if job.state == JobState::Running
        && !job.announced
        && has_ended(after(job.updated, JOB_MESSAGE_LOST), LONGEST_WAIT, now)
    {
        // The dispatcher of the job stopped before it had sent all messages of the ready operations.
        requeue_job(&control.jobs, &job.id).await?;
    }
    let counts = control.ports.table.census(&job.id, job.plan).await?;
    for StateCount { kind, state, count, .. } in &counts {
        census.operations(kind.as_str(), *state, *count);
    }
    if let Some(event) = job.job_end(counts.iter().map(|count| count.state)) {
        return finish_job(control, row, event, &counts).await;
    }
    let repaired = repair_operations(&control.jobs, job).await?;
    let mut pass = Pass { ended: repaired.ended, goes_on: repaired.any };
    if counts.iter().any(|count| count.state == OperationState::Waiting) && !job.holds_gates(now) {
        pass = open_gates(&control.jobs, job, repaired, &counts).await?;
    }
    if !pass.goes_on
        && !job.holds_gates(now)
        && let Some(listing) = damaged::stuck(&control.jobs, job, &counts).await?
    {
        let states: Vec<_> = listing.rows.iter().map(|row| row.value.state).collect();
        let written = damaged::settle(&control.jobs, job, listing).await?;
        return match job.job_end(states).filter(|_| !written.any) {
            Some(event) => finish_job(control, row, event, &counts).await,
            None => Ok(JobCheck::Open),
        };
    }
    // The last operations may have ended, for example those that wait for a broken gate. Then the job ends in this pass
    // and not in the next one.
    if pass.ended {
        let counts = control.ports.table.census(&job.id, job.plan).await?;
        if let Some(event) = job.job_end(counts.iter().map(|count| count.state)) {
            return finish_job(control, row, event, &counts).await;
        }
    }
    Ok(JobCheck::Open)
}

/// The effect of a pass on the operations of a job.
#[derive(Debug, Clone, Copy)]
struct Pass {
    /// Whether an operation has ended.
    ended: bool,
    /// Whether something was written, or an operator has to approve a ring.
    goes_on: bool,
}

/// Evaluates every gate that an operation waits for.
async fn open_gates(
    jobs: &JobStore,
    job: &Job,
    repaired: Written,
    counts: &[StateCount],
) -> Result<Pass, ControlError> {
    let awaited = jobs.ports.table.awaited_gates(&job.id, job.plan).await?;
    let gates: BTreeSet<GateKey> = awaited.into_iter().map(|(gate, _)| gate).collect();
    let evaluated = evaluate_gates(jobs, job, gates).await?;
    let is_active = |state| state == OperationState::Ready || OperationState::is_leased(state);
    let may_go_on = repaired.any || evaluated.written.any || evaluated.awaits_approval;
    if may_go_on || counts.iter().any(|count| is_active(count.state)) {
        return Ok(Pass { ended: repaired.ended | evaluated.written.ended, goes_on: may_go_on });
    }
    // Operations wait, and no active operation could release them. The indexes do not explain this, so read all rows.
    let operations = jobs.list_operations(job).await?;
    let gates = Gates::of(operations.rows.iter().map(|row| &row.value));
    let mut written = Written::default();
    for group in group_rows(operations) {
        written += write_gates(jobs, job, &gates, &group).await?;
    }
    Ok(Pass { ended: written.ended, goes_on: written.any })
}

/// Ends a job whose operations had all ended when they were counted. The job's row was read before that. If the row has
/// changed since, for example by a retry, the operations may have changed too, and the next pass decides.
async fn finish_job(
    control: &ControlContext,
    row: &Versioned<Job>,
    event: JobEvent,
    counts: &[StateCount],
) -> Result<JobCheck, ControlError> {
    // A retry is writing rows, and operations that have ended may be ready again at any moment.
    if row.value.holds_gates(control.ports.clock.now()) {
        return Ok(JobCheck::Open);
    }
    let damage = damaged::damage(&control.jobs, &row.value, counts).await?;
    let event = match (event, row.value.state) {
        (JobEvent::ConfirmCancel, JobState::Cancelling) => event,
        _ if damage.is_empty() => event,
        _ => JobEvent::Fail,
    };
    // Remove them before the job ends, because the reconciler ignores jobs that have ended.
    let staging = match event {
        JobEvent::Succeed => remove_staged(control, &row.value).await?,
        _ => StagedOutcome::Left,
    };
    if staging == StagedOutcome::Retry {
        return Ok(JobCheck::Open);
    }
    let removed = staging == StagedOutcome::Removed;
    // Not the time of this pass, so that the duration and the rate that operators see do not change.
    let finished = row.value.end_time(counts.iter().map(|count| count.latest).max());
    let now = control.ports.clock.now();
    let end = |job: &mut Job| {
        job.cleaned |= removed;
        job.finished = Some(finished);
        if !damage.is_empty() {
            job.failure.get_or_insert_with(|| damaged::failure(&damage, now));
        }
    };
    let Some(ended) = control.jobs.apply_event_to(row, event, end).await? else {
        return Ok(JobCheck::Open);
    };
    tracing::info!(job = %ended.value.id, state = %ended.value.state, "ended");
    Ok(JobCheck::Ended)
}

/// Sends the message of a job that was not fanned out, because its message may be lost. The row records the time of the
/// message, so that a job that waits for another one does not fill the queue.
async fn requeue_job(jobs: &JobStore, id: &JobId) -> Result<(), ControlError> {
    // If the row changed in the meantime, another process is handling the job.
    if jobs.bump_job_version(&jobs.job(id).await?).await? {
        jobs.enqueue_job(id).await?;
    }
    Ok(())
}
