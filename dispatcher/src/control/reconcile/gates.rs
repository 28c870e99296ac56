//! Gates: finds their state in the index of the job table, and releases or blocks the operations that wait for them.
//!
//! The cost of an evaluation does not depend on the size of the job. If a gate opens or breaks, the cost is that of the
//! groups that wait for it.

use std::collections::{BTreeSet, VecDeque};
use std::ops::AddAssign;

use futures::future::try_join_all;
use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Operation, OperationId, OperationState};
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;
use goldfleet_workflow::gates::{GateState, Gates};
use goldfleet_workflow::group::GroupChange;

use crate::control::context::{ControlError, MAX_IN_FLIGHT};
use crate::control::job_store::{Group, JobStore};

/// The number of groups that are written between two checks whether the job was cancelled.
const RELEASE_BATCH: usize = 64;

/// What a change of groups wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Written {
    /// Whether anything was written.
    pub(super) any: bool,
    /// Whether an operation has ended.
    pub(super) ended: bool,
}

impl AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.any |= other.any;
        self.ended |= other.ended;
    }
}

/// The result of an evaluation of gates.
#[derive(Debug, Default)]
pub(super) struct Evaluated {
    pub(super) written: Written,
    /// Whether a ring waits for approval.
    pub(super) awaits_approval: bool,
}

/// Evaluates one gate of a job, and the gates that its operations open if they are blocked.
///
/// # Errors
/// If the table or the queue cannot be reached.
pub async fn evaluate_gate(jobs: &JobStore, id: &JobId, gate: &GateKey) -> Result<(), ControlError> {
    let job = jobs.job(id).await?.value;
    if matches!(job.state, JobState::Running | JobState::Cancelling) && !job.holds_gates(jobs.ports.clock.now()) {
        evaluate_gates(jobs, &job, BTreeSet::from([gate.clone()])).await?;
    }
    Ok(())
}

/// Evaluates gates of a job, and then the gates whose openers have ended because of that.
pub(super) async fn evaluate_gates(
    jobs: &JobStore,
    job: &Job,
    gates: BTreeSet<GateKey>,
) -> Result<Evaluated, ControlError> {
    let mut due: VecDeque<GateKey> = gates.into_iter().collect();
    let mut evaluated = Evaluated::default();
    while let Some(gate) = due.pop_front() {
        // The openers may have changed since an earlier evaluation.
        let mut known = Gates::default();
        find_openers(&jobs.ports, job, &mut known, &gate).await?;
        for on in GateCondition::ALL {
            match known.state(job, &After { gate: gate.clone(), on, count: 1 }) {
                GateState::Closed => continue,
                GateState::AwaitsApproval => {
                    evaluated.awaits_approval = true;
                    continue;
                }
                GateState::Open | GateState::Broken { .. } => {}
            }
            let waiting = jobs.ports.table.awaiting(&job.id, job.plan, &gate, on).await?;
            let Some(released) = release(jobs, job, &mut known, waiting).await? else { return Ok(evaluated) };
            evaluated.written += released.written;
            due.extend(released.gates.into_iter().filter(|next| !due.contains(next)).collect::<Vec<_>>());
        }
    }
    Ok(evaluated)
}

/// Reads the openers of a gate that decide its state.
async fn find_openers(ports: &Ports, job: &Job, known: &mut Gates, gate: &GateKey) -> PortResult<()> {
    let openers = ports.table.openers(&job.id, job.plan, gate).await?;
    let bad = match openers.failed.or(openers.cancelled).filter(|_| openers.pending.is_none()) {
        Some(id) => ports.table.operation(&job.id, &id).await?.map(|row| row.value),
        None => None,
    };
    // A retry may have started the operation in the meantime. Then the gate is closed.
    let restarted = bad.as_ref().is_some_and(|bad| !bad.state.ended_badly());
    known.add(gate.clone(), openers.pending.is_some() || restarted, bad.as_ref().filter(|_| !restarted));
    Ok(())
}

/// The changes that the release of operations wrote, and the gates that operations open that it has ended.
#[derive(Debug, Default)]
struct Released {
    written: Written,
    gates: BTreeSet<GateKey>,
}

/// Releases or blocks the operations that wait for a gate, group by group. None if the job was cancelled, was retried
/// or has ended in the meantime.
async fn release(
    jobs: &JobStore,
    job: &Job,
    known: &mut Gates,
    waiting: Vec<OperationId>,
) -> Result<Option<Released>, ControlError> {
    let mut released = Released::default();
    for ids in one_for_each_group(waiting).chunks(RELEASE_BATCH) {
        let current = jobs.job(&job.id).await?.value;
        // A retry that began and ended in between has written the row too, and openers may have changed since they were
        // read.
        let is_changed = current.state != job.state || current.updated != job.updated;
        if is_changed || current.holds_gates(jobs.ports.clock.now()) {
            return Ok(None);
        }
        for ids in ids.chunks(MAX_IN_FLIGHT) {
            let groups: Vec<Group> = try_join_all(ids.iter().map(|id| jobs.group(job, id))).await?;
            for gate in other_gates(&groups) {
                if !known.has(&gate) {
                    find_openers(&jobs.ports, job, known, &gate).await?;
                }
            }
            let known = &*known;
            let writes = try_join_all(groups.iter().map(|group| write_gates(jobs, job, known, group))).await?;
            for (written, group) in writes.into_iter().zip(&groups) {
                released.written += written;
                if written.ended {
                    released.gates.extend(opened_by(group));
                }
            }
        }
    }
    Ok(Some(released))
}

/// Applies the gates that are known to a group.
pub(super) async fn write_gates(
    jobs: &JobStore,
    job: &Job,
    known: &Gates,
    group: &Group,
) -> Result<Written, ControlError> {
    write_group(jobs, job, known, group, |_, _| {}).await
}

/// The gates that rows of these groups wait for.
fn other_gates(groups: &[Group]) -> BTreeSet<GateKey> {
    let rows = groups.iter().flat_map(|group| &group.rows).map(|row| &row.value);
    rows.filter(|row| row.awaits_gate()).flat_map(|row| &row.after).map(|after| after.gate.clone()).collect()
}

/// The gates that rows of a group open.
fn opened_by(group: &Group) -> impl Iterator<Item = GateKey> + '_ {
    group.rows.iter().flat_map(|row| &row.value.opens).cloned()
}

/// One operation of each group, in order.
pub(super) fn one_for_each_group(mut ids: Vec<OperationId>) -> Vec<OperationId> {
    ids.sort();
    ids.dedup_by(|one, other| one.group() == other.group());
    ids
}

/// Changes a group: `repair` first, then the gates that are known, and the chain of the group. Sends the messages of
/// operations that became ready.
pub(super) async fn write_group(
    jobs: &JobStore,
    job: &Job,
    gates: &Gates,
    group: &Group,
    repair: impl Fn(&mut GroupChange<'_>, &Operation),
) -> Result<Written, ControlError> {
    let now = jobs.ports.clock.now();
    let mut change = group.change(now, &jobs.actor);
    for row in &group.rows {
        repair(&mut change, &row.value);
    }
    gates.apply(job, &mut change, now);
    let commit = change.into_commit();
    // If another process committed first, the group makes progress. The next pass checks it again.
    if commit.is_empty() || !jobs.commit(&commit).await? {
        return Ok(Written::default());
    }
    for operation in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
        tracing::info!(job = %operation.job, operation = %operation.id, "its message is sent");
        jobs.enqueue_operation(operation).await?;
        if group.rows.iter().any(|row| row.value.id == operation.id && row.value.state != OperationState::Waiting) {
            jobs.monitor.metrics.operation_requeued(operation.kind.as_str());
        }
    }
    Ok(Written { any: true, ended: commit.operations().any(|operation| operation.state.is_terminal()) })
}
