//! Retry: runs operations that failed or were cancelled again, together with those that they depend on. The rules are
//! in [`goldfleet_workflow::retry`].

mod held;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use goldfleet_model::graph::{GateCondition, GateKey};
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{KindId, Operation, OperationId, OperationState};
use goldfleet_model::selector::Selector;
use goldfleet_model::state::JobEvent;
use goldfleet_model::target::Target;
use goldfleet_model::text::pluralize;
use goldfleet_ports::clock::after;
use goldfleet_ports::commit::Commit;
use goldfleet_workflow::gates::{GateState, Gates};
use goldfleet_workflow::group::GroupChange;
use goldfleet_workflow::retry::{self as rules, RetryRules, RetryStart};
use jiff::Timestamp;

use crate::control::context::{ControlContext, ControlError};
use crate::control::dead_letters;
use crate::control::fan_out::is_same_work;
use crate::control::job_store::{Group, JobStore, group_rows};
use crate::control::suggest::resume_command;

/// How long the gates of a job stay closed if its retry is interrupted.
const MAX_RETRY_TIME: Duration = Duration::from_secs(300);

/// Which operations to retry.
#[derive(Debug, Clone, Default)]
pub struct RetryFilter {
    /// Only of this kind.
    pub phase: Option<KindId>,
    /// Only at targets that one of these selectors matches. Empty for all targets.
    pub targets: Vec<Selector>,
}

/// The result of a retry.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetryResult {
    /// The number of operations that became ready or wait for one that did. If the job ended before all its operations
    /// had ended, the operations that continue are counted too.
    pub count: usize,
    /// Why some selected operations are not retried. None if all are.
    pub held: Option<String>,
}

/// [`retry_selected`], for callers that need only the number of operations.
///
/// # Errors
/// As [`retry_selected`].
pub async fn retry(control: &ControlContext, id: &JobId, which: &RetryFilter) -> Result<usize, ControlError> {
    Ok(retry_selected(control, id, which).await?.count)
}

/// Retries what failed or was cancelled. A selected operation is not changed if its gate stays closed because of an
/// operation that did not succeed and is not selected.
///
/// # Errors
/// [`ControlError::Refused`] if there is nothing to retry, the job was never planned, or it is still stopping.
pub async fn retry_selected(
    control: &ControlContext,
    id: &JobId,
    which: &RetryFilter,
) -> Result<RetryResult, ControlError> {
    if let Some(phase) = which.phase.as_ref().filter(|phase| control.jobs.registry.get(phase).is_none()) {
        let known: Vec<&str> = control.jobs.registry.ids().collect();
        return Err(ControlError::Refused(format!("there is no phase '{phase}': use one of {}", known.join(", "))));
    }
    let job = control.jobs.job(id).await?.value;
    if job.state == JobState::Cancelling {
        return Err(ControlError::Refused(format!(
            "job {id} is still cancelling: retry when 'goldfleet status {id} --watch' has ended"
        )));
    }
    if job.operations.is_none() && job.state == JobState::Cancelled {
        return plan_again(&control.jobs, &job, which).await.map(|()| RetryResult::default());
    }
    // If it has operations, planning was interrupted, and they may be only a part of the plan.
    if job.operations.is_none() && job.state.is_terminal() {
        let why = job.failure.as_ref().map_or_else(String::new, |failure| format!(": {}", failure.message));
        let again = resume_command(&job);
        return Err(ControlError::Refused(format!("job {id} was never planned{why}; to start a new job: {again}")));
    }
    let mut groups = group_rows(control.jobs.list_operations(&job).await?);
    // Nobody knows what the other rows of such a group can do.
    groups.retain(|group| group.is_whole);
    let retry = RetryRun::of(control, &job, which, &groups);
    let blocked = groups.iter().filter(|group| matches!(retry.start(group), RetryStart::Blocked(_))).count();
    let busy = groups.iter().any(|group| matches!(retry.start(group), RetryStart::Busy(_)));
    let chains: Vec<_> = groups.iter().map(|group| (chain(group), retry.start(group))).collect();
    let held = held::held_groups(&chains);
    let numbered = groups.into_iter().enumerate().filter(|(index, _)| !held.groups.contains(index));
    let groups: Vec<Group> = numbered.map(|(_, group)| group).filter(|group| !retry.commit(group).is_empty()).collect();
    // An operation that is retried only because selected operations read from it is useless without them.
    let is_selected = |group: &Group| group.rows.iter().any(|row| which.selects(&row.value));
    if let Some(reason) = held.reason.as_ref().filter(|_| !groups.iter().any(is_selected)) {
        let message = format!("job {id}: {reason}; select it too, or retry without --target and --ring");
        return Err(ControlError::Refused(message));
    }
    if groups.is_empty() && busy {
        let message = "operations that clean up after the selected ones have begun: retry when they have ended";
        return Err(ControlError::Refused(format!("job {id}: {message}")));
    }
    if groups.is_empty() {
        return Err(ControlError::Refused(match blocked {
            0 => format!("no selected operation of job {id} failed or was cancelled: see 'goldfleet status {id}'"),
            count => {
                let noun = which.phase.as_ref().map_or("operation".to_owned(), |phase| format!("{phase} operation"));
                let follow = if count == 1 { "follows" } else { "follow" };
                let count = pluralize(count as u64, &noun);
                format!("{count} of job {id} {follow} one that did not succeed: retry without --phase")
            }
        }));
    }
    // Write the job first, because the reconciler ignores jobs that have ended.
    if job.state.is_terminal() {
        ensure_no_newer_job(&control.jobs, &job, groups.iter().flat_map(|group| &group.rows).map(|row| &row.value))
            .await?;
    }
    begin_retry(&control.jobs, &job).await?;
    let retried = retry.groups(groups).await;
    // Do this even if the retry of a group failed.
    hold_job_open(&control.jobs, id).await?;
    dead_letters::delete_stale(&control.ports).await;
    Ok(RetryResult { count: retried?, held: held.reason })
}

/// Reopens a job that has ended, and holds its gates while the retry writes rows. A gate that was evaluated between two
/// groups would find openers as they were before the retry: it would block the rows behind it, or remove a temporary
/// that a row is about to use.
async fn begin_retry(jobs: &JobStore, job: &Job) -> Result<(), ControlError> {
    let until = after(jobs.ports.clock.now(), MAX_RETRY_TIME);
    let hold = |job: &mut Job| job.gates_held_until = Some(until);
    if job.state.is_terminal() {
        jobs.apply_event(&job.id, JobEvent::Retry, hold).await?;
        return Ok(());
    }
    while !jobs.update_job(&jobs.job(&job.id).await?, hold).await? {}
    Ok(())
}

/// Requests planning of a job that was cancelled before it was planned.
async fn plan_again(jobs: &JobStore, job: &Job, which: &RetryFilter) -> Result<(), ControlError> {
    let id = &job.id;
    if which.phase.is_some() || !which.targets.is_empty() {
        let message = format!("job {id} was never planned, so it has no operations to select: retry it as a whole");
        return Err(ControlError::Refused(message));
    }
    jobs.apply_event(id, JobEvent::Retry, |_| {}).await?;
    Ok(jobs.enqueue_job(id).await?)
}

/// Two jobs of one image version never work on the same target or gallery at the same time, so an ended job is not
/// resumed while another job works there. A new job waits by itself.
async fn ensure_no_newer_job(
    jobs: &JobStore,
    job: &Job,
    mut operations: impl Iterator<Item = &Operation>,
) -> Result<(), ControlError> {
    let open = jobs.ports.table.open_jobs().await?;
    let others: Vec<&Job> = open.iter().map(|row| &row.value).filter(|other| is_same_work(other, job)).collect();
    let both = |other: &&&Job, operation: &Operation| match operation.target() {
        Some(target) => Selector::any(&other.selection, target),
        // A job for selected targets publishes to no gallery.
        None => other.selection.is_empty() && jobs.registry.delivers(operation),
    };
    match operations.find_map(|operation| others.iter().find(|other| both(other, operation))) {
        None => Ok(()),
        Some(other) => Err(ControlError::Refused(format!(
            "job {} works with {} at some of the same targets: retry job {} when 'goldfleet status {} --watch' has ended",
            other.id, job.subject, job.id, other.id
        ))),
    }
}

/// Writes the job's row again, and lets its gates be evaluated. A reconciler pass that read the operations before the
/// retry ends the job only if the row's ETag is unchanged, or it has already ended the job.
async fn hold_job_open(jobs: &JobStore, id: &JobId) -> Result<(), ControlError> {
    loop {
        let row = jobs.job(id).await?;
        let written = match row.value.state {
            JobState::Succeeded => true,
            state if state.is_terminal() => {
                jobs.apply_event_to(&row, JobEvent::Retry, |job| job.gates_held_until = None).await?.is_some()
            }
            _ => jobs.update_job(&row, |job| job.gates_held_until = None).await?,
        };
        if written {
            return Ok(());
        }
    }
}

/// A retry of a job.
struct RetryRun<'a> {
    control: &'a ControlContext,
    /// The job before the retry.
    job: &'a Job,
    which: &'a RetryFilter,
    gates: Gates,
    /// The operations that selected operations read from while they run, or whose temporaries they need.
    streams: BTreeSet<OperationId>,
    /// The operations that run again because what they created was temporary, and operations behind their gates need
    /// it.
    restarted: BTreeSet<OperationId>,
    /// The gates that these operations open.
    closed: BTreeSet<GateKey>,
}

/// The operations of a group in the order of its chain.
fn chain(group: &Group) -> Vec<&Operation> {
    let mut rows: Vec<&Operation> = group.rows.iter().map(|row| &row.value).collect();
    rows.sort_by_key(|row| row.position);
    rows
}

/// The operations that open each gate.
type Openers<'a> = BTreeMap<&'a GateKey, Vec<&'a Operation>>;

impl<'a> RetryRun<'a> {
    fn of(control: &'a ControlContext, job: &'a Job, which: &'a RetryFilter, groups: &[Group]) -> Self {
        let rows = || groups.iter().flat_map(|group| &group.rows).map(|row| &row.value);
        // An operation would fail again if the operations that it reads from have not succeeded. With a phase, only
        // that phase is retried.
        let selected = rows().filter(|row| which.phase.is_none() && row.state.ended_badly() && which.is_target(row));
        let streams = selected.flat_map(|row| row.streams.iter().cloned()).collect();
        let mut retry = Self {
            control,
            job,
            which,
            gates: Gates::of(rows()),
            streams,
            restarted: BTreeSet::new(),
            closed: BTreeSet::new(),
        };
        let mut openers = Openers::new();
        for row in rows() {
            row.opens.iter().for_each(|gate| openers.entry(gate).or_default().push(row));
        }
        let chains: Vec<Vec<&Operation>> = groups.iter().map(chain).collect();
        while retry.restart_inputs(&chains, &openers) {}
        retry
    }

    /// Finds operations that created temporaries which retried operations of other groups need. Returns whether there
    /// are new ones.
    fn restart_inputs(&mut self, chains: &[Vec<&Operation>], openers: &Openers<'_>) -> bool {
        let mut found: Vec<&Operation> = Vec::new();
        for rows in chains {
            let RetryStart::From(from) = self.with_rules(rows, |rules| rules::start(rows, rules)) else { continue };
            let retried =
                rows[from..].iter().filter(|row| row.state.is_terminal() && row.state != OperationState::Skipped);
            for row in retried {
                let gates = row.after.iter().filter(|after| after.on == GateCondition::Opened);
                let inputs = gates.filter_map(|after| openers.get(&after.gate)).flatten();
                found.extend(inputs.filter(|input| self.is_input(input, row)));
            }
        }
        // A failed operation is retried as if it were selected, because it may belong to no target.
        let (succeeded, failed): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|row| row.state == OperationState::Succeeded);
        let failed = failed.into_iter().filter(|row| self.which.phase.is_none() && row.state.ended_badly());
        let selected = self.streams.len();
        self.streams.extend(failed.map(|row| row.id.clone()));
        let found: Vec<_> = succeeded.into_iter().filter(|row| !self.restarted.contains(&row.id)).collect();
        for row in &found {
            self.restarted.insert(row.id.clone());
            self.closed.extend(row.opens.iter().cloned());
        }
        !found.is_empty() || self.streams.len() > selected
    }

    /// Whether a retried operation needs what another one created, which was temporary: a resource, or the VHD of a
    /// data disk of the same target.
    fn is_input(&self, input: &Operation, retried: &Operation) -> bool {
        let registry = &self.control.jobs.registry;
        let is_same_target = input.target().map(Target::key) == retried.target().map(Target::key);
        let may_lack_vhd = || {
            is_same_target
                && (self.job.cleaned || self.lacks_input(retried))
                && registry.temporary_blob(&self.control.ports, input).is_some()
        };
        registry.creates_temporary(input) || may_lack_vhd()
    }

    /// Whether an operation failed because the output of an earlier one no longer exists.
    fn lacks_input(&self, row: &Operation) -> bool {
        let code = row.failure.as_ref().map(|failure| failure.code.as_str());
        let kind = self.control.jobs.registry.get(&row.kind);
        code.zip(kind).is_some_and(|(code, kind)| kind.lacks_input(code))
    }

    /// Returns the number of operations that were written.
    async fn groups(&self, groups: Vec<Group>) -> Result<usize, ControlError> {
        let mut count = 0;
        for group in groups {
            count += self.group(group).await?;
        }
        Ok(count)
    }

    async fn group(&self, mut group: Group) -> Result<usize, ControlError> {
        loop {
            let commit = self.commit(&group);
            let Some(any) = commit.operations().next() else { return Ok(0) };
            if self.control.jobs.commit(&commit).await? {
                for ready in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
                    self.control.jobs.enqueue_operation(ready).await?;
                }
                return Ok(commit.changes.len());
            }
            group = Group::of(self.control.ports.table.list_group(&self.job.id, &any.id).await?);
        }
    }

    /// The operation of a group at which its chain restarts.
    fn start(&self, group: &Group) -> RetryStart {
        let rows = chain(group);
        self.with_rules(&rows, |rules| rules::start(&rows, rules))
    }

    /// The retry of the current rows of a group.
    fn commit(&self, group: &Group) -> Commit {
        let now = self.control.ports.clock.now();
        let mut change = group.change(now, &self.control.jobs.actor);
        if let RetryStart::From(from) = self.start(group) {
            let rows: Vec<&Operation> = group.rows.iter().map(|row| &row.value).collect();
            self.with_rules(&rows, |rules| rules::apply(&mut change, from, rules));
        }
        if self.job.state.is_terminal() {
            self.keep_unfinished(group, &mut change, now);
        }
        change.into_commit()
    }

    /// Writes the rows that had not ended when the job ended, for example after an interrupted retry. A process that is
    /// still stopping the job's earlier operations must find that their ETags have changed.
    fn keep_unfinished(&self, group: &Group, change: &mut GroupChange<'_>, now: Timestamp) {
        for row in group.rows.iter().filter(|row| !row.value.state.is_terminal()) {
            change.edit(&row.value.id, |operation| {
                operation.updated = now;
                if !operation.state.is_leased() {
                    operation.queued = Some(now);
                }
            });
        }
    }

    fn with_rules<T>(&self, rows: &[&Operation], use_rules: impl FnOnce(&RetryRules<'_>) -> T) -> T {
        let lacks_input = |row: &Operation| self.lacks_input(row);
        let output_may_be_missing = |row: &Operation| {
            let registry = &self.control.jobs.registry;
            registry.creates_temporary(row)
                || (self.job.cleaned && registry.temporary_blob(&self.control.ports, row).is_some())
        };
        let is_phase = |row: &Operation| match &self.which.phase {
            None => true,
            Some(phase) if row.kind == *phase => true,
            // The operation lacks the output of an operation of the phase.
            Some(phase) => rows.iter().any(|before| {
                let is_missing =
                    lacks_input(row) || (before.state == OperationState::Succeeded && output_may_be_missing(before));
                before.position + 1 == row.position && before.kind == *phase && is_missing
            }),
        };
        use_rules(&RetryRules {
            selects: &|row| (is_phase(row) && self.which.is_target(row)) || self.streams.contains(&row.id),
            lacks_input: &lacks_input,
            output_may_be_missing: &output_may_be_missing,
            runs_again: &|row| self.restarted.contains(&row.id),
            gates_are_open: &|row| {
                let waits_again = row.after.iter().any(|after| self.closed.contains(&after.gate));
                !waits_again && self.gates.state_for(self.job, row) == GateState::Open
            },
            includes_predecessors: self.which.phase.is_none(),
        })
    }
}

impl RetryFilter {
    /// Whether the operator selected an operation, which failed or was cancelled.
    fn selects(&self, operation: &Operation) -> bool {
        let is_phase = self.phase.as_ref().is_none_or(|phase| operation.kind == *phase);
        operation.state.ended_badly() && is_phase && self.is_target(operation)
    }

    /// Whether an operation's target is selected.
    fn is_target(&self, operation: &Operation) -> bool {
        self.targets.is_empty() || operation.target().is_some_and(|target| Selector::any(&self.targets, target))
    }
}
