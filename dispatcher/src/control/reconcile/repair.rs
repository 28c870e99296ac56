//! Repairs of operations: lost messages are sent again, and leases of lost workers end.

use std::collections::BTreeSet;
use std::time::Duration;

use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Operation, OperationId, OperationState, ProcessName};
use goldfleet_ports::clock::{LONGEST_WAIT, after, before, elapsed};
use goldfleet_workflow::expire::{MAX_LOST, expire_lease};
use goldfleet_workflow::gates::Gates;
use goldfleet_workflow::group::GroupChange;
use jiff::Timestamp;

use crate::control::context::ControlError;
use crate::control::job_store::JobStore;
use crate::control::reconcile::gates::{Written, one_for_each_group, write_group};

/// How long an operation is ready before its message counts as lost, if the queue cannot tell whether it exists. The
/// time doubles with each message, so that a fleet without workers does not fill its queues.
pub(super) const RESEND_AFTER: Duration = Duration::from_secs(60);

/// The longest time between two messages of one operation.
const MAX_RESEND_AFTER: Duration = Duration::from_secs(3600);

/// The largest number of operations of a job that one pass repairs for each reason. The next pass continues.
const MAX_REPAIRS: usize = 10_000;

/// Why operations need a repair.
enum Reason<'a> {
    /// They are ready, and these have no message.
    NoMessage(&'a BTreeSet<OperationId>),
    /// They are ready, and their messages were sent long ago.
    SentLongAgo,
    /// Their leases have expired.
    Expired,
    /// The processes that held their leases have ended.
    Ended(&'a BTreeSet<ProcessName>),
}

/// Repairs operations whose message is lost, and those whose lease has expired.
pub(super) async fn repair_operations(jobs: &JobStore, job: &Job) -> Result<Written, ControlError> {
    let now = jobs.ports.clock.now();
    let mut written = announce_lost(jobs, job, now).await?;
    written += end_leases(jobs, job, now, &Reason::Expired).await?;
    Ok(written)
}

/// Ends the leases that expire before `until`, if the reason applies to them.
async fn end_leases(
    jobs: &JobStore,
    job: &Job,
    until: Timestamp,
    reason: &Reason<'_>,
) -> Result<Written, ControlError> {
    let mut written = Written::default();
    let table = &jobs.ports.table;
    for state in [OperationState::Running, OperationState::Cancelling] {
        let mut ids = table.in_state_before(&job.id, job.plan, state, until, MAX_REPAIRS).await?;
        let beyond = after(until, LONGEST_WAIT);
        let too_long = table.in_state_after(&job.id, job.plan, state, beyond, MAX_REPAIRS).await?;
        warn_of_clocks(job, "lease", too_long.len());
        ids.extend(too_long);
        written += repair_groups(jobs, job, ids, reason).await?;
    }
    Ok(written)
}

/// Sends messages of ready operations again that are lost: those that do not exist, or, if that cannot be known, those
/// that were sent long ago.
async fn announce_lost(jobs: &JobStore, job: &Job, now: Timestamp) -> Result<Written, ControlError> {
    // The fan-out sends the messages of a new job until all were sent, except if the job was cancelled before. Then the
    // `always` operations of the job still run.
    if !job.announced && job.state == JobState::Running {
        return Ok(Written::default());
    }
    if let Some(ids) = jobs.ports.liveness.without_message(&job.id, job.plan).await? {
        let lost = ids.iter().cloned().collect();
        return repair_groups(jobs, job, ids, &Reason::NoMessage(&lost)).await;
    }
    let (ready, long_ago) = (OperationState::Ready, before(now, RESEND_AFTER));
    let table = &jobs.ports.table;
    let mut ids = table.in_state_before(&job.id, job.plan, ready, long_ago, MAX_REPAIRS).await?;
    let beyond = after(now, jobs.longest_delay);
    let too_late = table.in_state_after(&job.id, job.plan, ready, beyond, MAX_REPAIRS).await?;
    warn_of_clocks(job, "wait", too_late.len());
    ids.extend(too_late);
    repair_groups(jobs, job, ids, &Reason::SentLongAgo).await
}

/// Warns if operations wait until times that no process could have written with a right clock.
fn warn_of_clocks(job: &Job, what: &str, count: usize) {
    if count > 0 {
        tracing::warn!(
            job = %job.id,
            operations = count,
            "operations have a {what} beyond the longest one, which counts as ended: a clock was ahead, or this one was set \
             back; check the clocks of all machines"
        );
    }
}

/// Releases the work of processes that have ended: their leases, then the messages that they received, and then ready
/// operations whose message they had not sent. Returns the number of processes.
///
/// # Errors
/// If the table or the queue cannot be reached. The next call continues.
pub async fn release_ended(store: &JobStore) -> Result<usize, ControlError> {
    let ports = &store.ports;
    let ended: BTreeSet<ProcessName> = ports.liveness.ended().await?.into_iter().collect();
    if ended.is_empty() {
        return Ok(0);
    }
    let jobs: Vec<Job> = ports.table.list_open_jobs().await?.rows.into_iter().map(|row| row.value).collect();
    let planned = || jobs.iter().filter(|job| job.state != JobState::Requested);
    let mut released = Written::default();
    for job in planned() {
        released += end_leases(store, job, Timestamp::MAX, &Reason::Ended(&ended)).await?;
    }
    for process in &ended {
        ports.liveness.forget(process).await?;
        // A process that is stopped releases its work. Its end is no fault.
        if released.any {
            tracing::warn!(process = %process.0, "a process has ended without releasing its work; it is released");
        } else {
            tracing::debug!(process = %process.0, "a process has ended");
        }
    }
    for job in planned() {
        announce_lost(store, job, ports.clock.now()).await?;
    }
    Ok(ended.len())
}

/// Repairs the groups of these operations.
async fn repair_groups(
    jobs: &JobStore,
    job: &Job,
    ids: Vec<OperationId>,
    reason: &Reason<'_>,
) -> Result<Written, ControlError> {
    let mut written = Written::default();
    for id in one_for_each_group(ids) {
        let group = jobs.group(job, &id).await?;
        let now = jobs.ports.clock.now();
        let repair = |change: &mut GroupChange<'_>, row: &Operation| repair(jobs, change, row, reason, now);
        written += write_group(jobs, job, &Gates::default(), &group, repair).await?;
    }
    Ok(written)
}

/// Adds the repair that a row needs to the change of its group.
fn repair(jobs: &JobStore, change: &mut GroupChange<'_>, row: &Operation, reason: &Reason<'_>, now: Timestamp) {
    let is_lost = match (row.state, reason) {
        (OperationState::Ready, Reason::NoMessage(lost)) => lost.contains(&row.id),
        (OperationState::Ready, Reason::SentLongAgo) => {
            was_sent_long_ago(row, now) || row.state_time() > after(now, jobs.longest_delay)
        }
        (state, Reason::Expired) if state.is_leased() => row.lease_expired(now),
        (state, Reason::Ended(ended)) if state.is_leased() => {
            row.lease.as_ref().and_then(|lease| lease.process.as_ref()).is_some_and(|process| ended.contains(process))
        }
        _ => false,
    };
    if !is_lost {
        return;
    }
    if row.state == OperationState::Ready {
        // `updated` does not change, so that the time since then shows how often the message was sent.
        return change.edit(&row.id, |operation| operation.queued = Some(now));
    }
    jobs.monitor.metrics.lease_expired(row.kind.as_str());
    let expiry = |operation: &mut Operation, now, who: &str| expire_lease(operation, MAX_LOST, now, who);
    if let Err(illegal) = change.transform(&row.id, expiry) {
        tracing::error!(%illegal, "a lease could not be expired");
    }
}

/// Whether the message of a ready operation was sent so long ago that it counts as lost.
fn was_sent_long_ago(row: &Operation, now: Timestamp) -> bool {
    let last = row.state_time();
    let ready_since = row.not_before.unwrap_or(row.created).max(row.updated);
    let wait = elapsed(ready_since, last).clamp(RESEND_AFTER, MAX_RESEND_AFTER);
    now > after(last, wait)
}
