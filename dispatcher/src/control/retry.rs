//! Retry: only what failed or was cancelled is done again, and a copy whose VHD its image did not find.

use std::collections::BTreeSet;

use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Kind, Operation, OperationSpec, OperationState};
use goldfleet_model::selector::Selector;
use goldfleet_model::state::{JobEvent, OperationEvent};
use goldfleet_model::store::Store;
use goldfleet_ports::Versioned;
use goldfleet_ports::commit::Commit;

use crate::control::context::{ControlContext, ControlError, Group, group_rows};
use crate::control::fan_out::is_same_version;
use crate::control::rings::RingGate;

/// Which operations to try again.
#[derive(Debug, Clone, Default)]
pub struct RetryFilter {
    /// Only of this kind.
    pub phase: Option<Kind>,
    /// Only of the targets that one of these selects; all, where empty.
    pub targets: Vec<Selector>,
}

/// Tries again what failed or was cancelled. Returns how many operations were made ready or wait for one that was; of a job that
/// ended before all its operations had, those that go on with it too.
///
/// # Errors
/// [`ControlError::Refused`] where nothing is to be tried again, the job was never planned, or it is still stopping.
pub async fn retry(control: &ControlContext, id: &JobId, which: &RetryFilter) -> Result<usize, ControlError> {
    let job = control.job(id).await?.value;
    let operations = control.ports.table.operations(id).await?;
    if job.state == JobState::Cancelling {
        return Err(ControlError::Refused(format!(
            "job {id} is still cancelling: retry when 'goldfleet status {id} --watch' has ended"
        )));
    }
    // Operations that it has nevertheless may be some of those that were to be: planning was cut short.
    if job.tree.is_none() && job.state.is_terminal() {
        let why = job.failure.map_or_else(String::new, |failure| format!(": {}", failure.message));
        return Err(ControlError::Refused(format!("job {id} was never planned{why}; dispatch the version again")));
    }
    let gate = RingGate::of(&job, &operations);
    let retry = RetryRun { control, job: &job, which, gate, stores: which.stores(&operations) };
    let images_alone = which.images_without_vhd(&operations, &job);
    let groups: Vec<Group> =
        group_rows(operations).into_iter().filter(|group| !retry.commit(group).is_empty()).collect();
    if groups.is_empty() {
        return Err(ControlError::Refused(match images_alone {
            0 => format!("no selected operation of job {id} failed or was cancelled: see 'goldfleet status {id}'"),
            1 => format!("1 image of job {id} has no VHD yet: retry its copy too, without --phase"),
            many => format!("{many} images of job {id} have no VHDs yet: retry their copies too, without --phase"),
        }));
    }
    // The job first: a job that has ended is not looked after by the reconciler.
    if job.state.is_terminal() {
        ensure_no_newer_job(control, &job, groups.iter().flatten().map(|row| &row.value)).await?;
        control.apply_event(id, JobEvent::Retry, |_| {}).await?;
    }
    let retried = retry.groups(groups).await;
    // However far that came.
    hold_job_open(control, id).await?;
    retried
}

/// Two jobs of one image version never work on the same target at once: a job that has ended and is taken up again must not begin
/// to do so. One that is new waits by itself.
async fn ensure_no_newer_job(
    control: &ControlContext,
    job: &Job,
    mut operations: impl Iterator<Item = &Operation>,
) -> Result<(), ControlError> {
    let open = control.ports.table.open_jobs().await?;
    let others: Vec<&Job> = open.iter().map(|row| &row.value).filter(|other| is_same_version(other, job)).collect();
    let both = |other: &&&Job, operation: &Operation| {
        operation.work.target().is_some_and(|target| Selector::any(&other.selection, target))
    };
    match operations.find_map(|operation| others.iter().find(|other| both(other, operation))) {
        None => Ok(()),
        Some(other) => Err(ControlError::Refused(format!(
            "job {} works with {} at some of the same targets: retry job {} when 'goldfleet status {} --watch' has ended",
            other.id, job.image, job.id, other.id
        ))),
    }
}

/// Writes the job's row once more: a reconciler pass that saw the operations as they were before ends the job only in the version of
/// the row that it knows, or has ended it meanwhile.
async fn hold_job_open(control: &ControlContext, id: &JobId) -> Result<(), ControlError> {
    loop {
        let row = control.job(id).await?;
        let written = match row.value.state {
            JobState::Succeeded => true,
            state if state.is_terminal() => control.apply_event_to(&row, JobEvent::Retry, |_| {}).await?.is_some(),
            _ => control.bump_job_version(&row).await?,
        };
        if written {
            return Ok(());
        }
    }
}

/// What is tried again of a job.
struct RetryRun<'a> {
    control: &'a ControlContext,
    /// The job as it was before.
    job: &'a Job,
    which: &'a RetryFilter,
    gate: RingGate<'a>,
    /// The stores that copies which are retried read from.
    stores: BTreeSet<Store>,
}

impl RetryRun<'_> {
    /// Returns how many operations were written.
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
            if self.control.commit(&commit).await? {
                for ready in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
                    self.control.enqueue_operation(ready).await?;
                }
                return Ok(commit.changes.len());
            }
            group = self.control.ports.table.group(&self.job.id, &any.id).await?;
        }
    }

    /// What of a group is tried again, as it stands then.
    fn commit(&self, group: &[Versioned<Operation>]) -> Commit {
        let now = self.control.ports.clock.now();
        let vhd = ImageSource::of(group, self.which, self.job);
        let mut commit = Commit::default();
        for row in group {
            let mut operation = row.value.clone();
            let line = self
                .retry_event(&operation, vhd)
                .and_then(|event| operation.apply(event, now, &self.control.actor).ok());
            if line.is_none() && !self.resumes_without_retry(&operation) {
                continue;
            }
            operation.updated = now;
            if !operation.state.is_leased() {
                operation.queued = Some(now);
            }
            commit.push(row, operation, line);
        }
        commit
    }

    /// Whether an operation that needs no other try goes on with a job that had ended before it, as where another retry was cut
    /// short. Its row is written too: whoever still stops what the
    /// job had before, with the row as it was, must find it changed.
    fn resumes_without_retry(&self, operation: &Operation) -> bool {
        self.job.state.is_terminal() && !operation.state.is_terminal()
    }

    /// How an operation is tried again; none where it is not.
    fn retry_event(&self, operation: &Operation, vhd: ImageSource) -> Option<OperationEvent> {
        let chosen = self.which.is_selected_for_retry(operation).then_some(OperationEvent::RetryRequested);
        match (operation.id.kind(), vhd) {
            // A copy would fail again where the stores that it reads from have not been filled.
            (Kind::Replicate, _) => {
                chosen.or_else(|| self.is_needed(operation).then_some(OperationEvent::RetryRequested))
            }
            // A copy of a ring that may not begin yet waits for that.
            (Kind::Assemble, ImageSource::CopyRetried) if !self.is_ready(operation) => {
                Some(OperationEvent::RetryDeferred)
            }
            (Kind::Assemble, ImageSource::CopyRetried) => Some(OperationEvent::RetryRequested),
            (Kind::Assemble, _) => None,
            (Kind::Image, ImageSource::Present) => chosen,
            (Kind::Image, ImageSource::CopyRetried) => {
                failed_or_cancelled(operation).then_some(OperationEvent::RetryDeferred)
            }
            // It can't be tried alone.
            (Kind::Image, ImageSource::Missing) => None,
        }
    }

    /// Whether a store failed that a copy which is retried reads from.
    fn is_needed(&self, operation: &Operation) -> bool {
        let store = match &operation.work {
            OperationSpec::Replicate { store, .. } => store,
            OperationSpec::Assemble { .. } | OperationSpec::Image { .. } => return false,
        };
        failed_or_cancelled(operation) && self.stores.contains(store)
    }

    fn is_ready(&self, operation: &Operation) -> bool {
        operation.work.target().is_none_or(|target| self.gate.is_open_for(target.ring))
    }
}

/// What a target's image is to be made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageSource {
    /// The copy is done.
    Present,
    /// The copy is tried again: it ended badly, or it is done and its VHD is gone.
    CopyRetried,
    /// The copy is not done, or there is none.
    Missing,
}

impl ImageSource {
    fn of(group: &[Versioned<Operation>], which: &RetryFilter, job: &Job) -> Self {
        let operations = || group.iter().map(|row| &row.value);
        let Some(copy) = operations().find(|operation| operation.id.kind() == Kind::Assemble) else {
            return Self::Missing;
        };
        let done = copy.state == OperationState::Succeeded;
        // Either phase means both: an image is not made without its VHD, nor is a VHD of any use by itself.
        let lacks = |image: &Operation| lacks_vhd(image) || job.cleaned && failed_or_cancelled(image);
        let gone = || which.phase != Some(Kind::Replicate) && which.matches_target(copy) && operations().any(lacks);
        match done {
            true if gone() => Self::CopyRetried,
            true => Self::Present,
            false if which.is_selected_for_retry(copy) => Self::CopyRetried,
            false => Self::Missing,
        }
    }
}

/// Whether an image failed as its staged VHD was gone, or no VHD any more: another attempt alone can't mend that.
fn lacks_vhd(operation: &Operation) -> bool {
    let code = operation.failure.as_ref().map(|failure| failure.code.as_str());
    operation.state == OperationState::Failed && matches!(code, Some("vhd-not-found" | "vhd-invalid"))
}

fn failed_or_cancelled(operation: &Operation) -> bool {
    matches!(operation.state, OperationState::Failed | OperationState::Cancelled)
}

impl RetryFilter {
    /// The stores that the copies which are retried read from. Empty where only some phase is retried.
    fn stores(&self, operations: &[Versioned<Operation>]) -> BTreeSet<Store> {
        if self.phase.is_some() {
            return BTreeSet::new();
        }
        let copies = operations.iter().map(|row| &row.value).filter(|operation| self.is_selected_for_retry(operation));
        let from = copies.filter_map(|operation| match &operation.work {
            OperationSpec::Assemble { from, .. } => Some(from),
            OperationSpec::Replicate { .. } | OperationSpec::Image { .. } => None,
        });
        from.flatten().cloned().collect()
    }

    /// How many of the chosen images cannot be retried alone, as their copies have not succeeded.
    fn images_without_vhd(&self, operations: &[Versioned<Operation>], job: &Job) -> usize {
        let groups = group_rows(operations.to_vec());
        let lacking = groups.iter().filter(|group| ImageSource::of(group, self, job) == ImageSource::Missing);
        let images = lacking.flatten().filter(|row| row.value.id.kind() == Kind::Image);
        images.filter(|row| self.is_selected_for_retry(&row.value)).count()
    }

    /// Whether an operation is to be tried again for its own sake.
    fn is_selected_for_retry(&self, operation: &Operation) -> bool {
        failed_or_cancelled(operation)
            && self.phase.is_none_or(|phase| phase == operation.id.kind())
            && self.matches_target(operation)
    }

    /// Whether an operation's target is one of those that are meant.
    fn matches_target(&self, operation: &Operation) -> bool {
        self.targets.is_empty() || operation.work.target().is_some_and(|target| Selector::any(&self.targets, target))
    }
}
