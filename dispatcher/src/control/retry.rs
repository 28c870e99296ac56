//! Retry: only what failed or was cancelled is done again, and a copy whose VHD its image did not find.

use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Kind, Operation, OperationState};
use goldfleet_model::selector::Selector;
use goldfleet_model::state::{JobEvent, OperationEvent};
use goldfleet_ports::Versioned;
use goldfleet_ports::commit::Commit;

use crate::control::desk::{Desk, DeskError, Group, by_group};
use crate::control::fanout::works_with_the_same;
use crate::control::rings::Gate;

/// Which operations to try again.
#[derive(Debug, Clone, Default)]
pub struct Which {
    /// Only of this kind.
    pub phase: Option<Kind>,
    /// Only of the targets that one of these selects; all, where empty.
    pub targets: Vec<Selector>,
}

/// Tries again what failed or was cancelled. Returns how many operations were made ready or wait for one that was; of a job that
/// ended before all its operations had, those that go on with it too.
///
/// # Errors
/// [`DeskError::Refused`] where nothing is to be tried again, the job was never planned, or it is still stopping.
pub async fn retry(desk: &Desk, id: &JobId, which: &Which) -> Result<usize, DeskError> {
    let job = desk.job(id).await?.value;
    let operations = desk.ports.table.operations(id).await?;
    if job.state == JobState::Cancelling {
        return Err(DeskError::Refused(format!(
            "job {id} is still stopping: try again when 'goldfleet status {id} --watch' has ended"
        )));
    }
    // Operations that it has nevertheless may be some of those that were to be: planning was cut short.
    if job.tree.is_none() && job.state.is_terminal() {
        let why = job.failure.map_or_else(String::new, |failure| format!(": {}", failure.message));
        return Err(DeskError::Refused(format!("job {id} was never planned{why}; use 'goldfleet dispatch' again")));
    }
    let gate = Gate::of(&job, &operations);
    let retry = Retry { desk, job: &job, which, gate };
    let groups: Vec<Group> = by_group(operations).into_iter().filter(|group| !retry.commit(group).is_empty()).collect();
    if groups.is_empty() {
        return Err(DeskError::Refused(format!(
            "nothing of job {id} that was selected failed or was cancelled: 'goldfleet status {id}' shows how far it is"
        )));
    }
    // The job first: a job that has ended is not looked after by the sweeper.
    if job.state.is_terminal() {
        refuse_beside_another(desk, &job, groups.iter().flatten().map(|row| &row.value)).await?;
        desk.advance(id, JobEvent::Retry, |_| {}).await?;
    }
    let retried = retry.groups(groups).await;
    // However far that came.
    keep_open(desk, id).await?;
    retried
}

/// Two jobs of one image version never work on the same target at once: a job that has ended and is taken up again must not begin
/// to do so. One that is new waits by itself.
async fn refuse_beside_another(
    desk: &Desk,
    job: &Job,
    mut operations: impl Iterator<Item = &Operation>,
) -> Result<(), DeskError> {
    let open = desk.ports.table.open_jobs().await?;
    let others: Vec<&Job> = open.iter().map(|row| &row.value).filter(|other| works_with_the_same(other, job)).collect();
    let both = |other: &&&Job, operation: &Operation| {
        operation.work.target().is_some_and(|target| Selector::any(&other.selection, target))
    };
    match operations.find_map(|operation| others.iter().find(|other| both(other, operation))) {
        None => Ok(()),
        Some(other) => Err(DeskError::Refused(format!(
            "job {} works with {} at some of the same targets: try job {} again when 'goldfleet status {} --watch' has ended",
            other.id, job.image, job.id, other.id
        ))),
    }
}

/// Writes the job's row once more: a sweep that saw the operations as they were before ends the job only in the version of
/// the row that it knows, or has ended it meanwhile.
async fn keep_open(desk: &Desk, id: &JobId) -> Result<(), DeskError> {
    loop {
        let row = desk.job(id).await?;
        let written = match row.value.state {
            JobState::Succeeded => true,
            state if state.is_terminal() => desk.advance_from(&row, JobEvent::Retry, |_| {}).await?.is_some(),
            _ => desk.touch(&row).await?,
        };
        if written {
            return Ok(());
        }
    }
}

/// What is tried again of a job.
struct Retry<'a> {
    desk: &'a Desk,
    /// The job as it was before.
    job: &'a Job,
    which: &'a Which,
    gate: Gate<'a>,
}

impl Retry<'_> {
    /// Returns how many operations were written.
    async fn groups(&self, groups: Vec<Group>) -> Result<usize, DeskError> {
        let mut count = 0;
        for group in groups {
            count += self.group(group).await?;
        }
        Ok(count)
    }

    async fn group(&self, mut group: Group) -> Result<usize, DeskError> {
        loop {
            let commit = self.commit(&group);
            let Some(any) = commit.operations().next() else { return Ok(0) };
            if self.desk.commit(&commit).await? {
                for ready in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
                    self.desk.announce(ready).await?;
                }
                return Ok(commit.changes.len());
            }
            group = self.desk.ports.table.group(&self.job.id, &any.id).await?;
        }
    }

    /// What of a group is tried again, as it stands then.
    fn commit(&self, group: &[Versioned<Operation>]) -> Commit {
        let now = self.desk.ports.clock.now();
        let vhd = Vhd::of(group, self.which, self.job);
        let mut commit = Commit::default();
        for row in group {
            let mut operation = row.value.clone();
            let line = self.event(&operation, vhd).and_then(|event| operation.apply(event, now, &self.desk.who).ok());
            if line.is_none() && !self.goes_on(&operation) {
                continue;
            }
            operation.updated = now;
            if !operation.state.is_leased() {
                operation.queued = Some(now);
            }
            commit.write(row, operation, line);
        }
        commit
    }

    /// Whether an operation that needs no other try goes on with a job that had ended before it, as where another retry was cut
    /// short. Its row is written too: whoever still stops what the
    /// job had before, with the row as it was, must find it changed.
    fn goes_on(&self, operation: &Operation) -> bool {
        self.job.state.is_terminal() && !operation.state.is_terminal()
    }

    /// How an operation is tried again; none where it is not.
    fn event(&self, operation: &Operation, vhd: Vhd) -> Option<OperationEvent> {
        let chosen = self.which.chooses(operation).then_some(OperationEvent::Rearm);
        match (operation.id.kind(), vhd) {
            (Kind::Seed, _) => chosen,
            // A copy of a ring that may not begin yet waits for that.
            (Kind::Copy, Vhd::CopiedAgain) if !self.may_begin(operation) => Some(OperationEvent::Rewait),
            (Kind::Copy, Vhd::CopiedAgain) => Some(OperationEvent::Rearm),
            (Kind::Copy, _) => None,
            (Kind::Image, Vhd::Copied) => chosen,
            (Kind::Image, Vhd::CopiedAgain) => ended_badly(operation).then_some(OperationEvent::Rewait),
            // It can't be tried alone.
            (Kind::Image, Vhd::Missing) => None,
        }
    }

    fn may_begin(&self, operation: &Operation) -> bool {
        operation.work.target().is_none_or(|target| self.gate.lets_begin(target.ring))
    }
}

/// What a target's image is to be made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vhd {
    /// The copy is done.
    Copied,
    /// The copy is tried again: it ended badly, or it is done and its VHD is gone.
    CopiedAgain,
    /// The copy is not done, or there is none.
    Missing,
}

impl Vhd {
    fn of(group: &[Versioned<Operation>], which: &Which, job: &Job) -> Self {
        let operations = || group.iter().map(|row| &row.value);
        let Some(copy) = operations().find(|operation| operation.id.kind() == Kind::Copy) else { return Self::Missing };
        let done = copy.state == OperationState::Succeeded;
        // Either phase means both: an image is not made without its VHD, nor is a VHD of any use by itself.
        let lacks = |image: &Operation| lacks_vhd(image) || job.cleaned && ended_badly(image);
        let gone = || which.phase != Some(Kind::Seed) && which.selects(copy) && operations().any(lacks);
        match done {
            true if gone() => Self::CopiedAgain,
            true => Self::Copied,
            false if which.chooses(copy) => Self::CopiedAgain,
            false => Self::Missing,
        }
    }
}

/// Whether an image failed as its staged VHD was gone, or no VHD any more: another attempt alone can't mend that.
fn lacks_vhd(operation: &Operation) -> bool {
    let code = operation.failure.as_ref().map(|failure| failure.code.as_str());
    operation.state == OperationState::Failed && matches!(code, Some("vhd-not-found" | "vhd-invalid"))
}

fn ended_badly(operation: &Operation) -> bool {
    matches!(operation.state, OperationState::Failed | OperationState::Cancelled)
}

impl Which {
    /// Whether an operation is to be tried again for its own sake.
    fn chooses(&self, operation: &Operation) -> bool {
        ended_badly(operation) && self.phase.is_none_or(|phase| phase == operation.id.kind()) && self.selects(operation)
    }

    /// Whether an operation's target is one of those that are meant.
    fn selects(&self, operation: &Operation) -> bool {
        self.targets.is_empty() || operation.work.target().is_some_and(|target| Selector::any(&self.targets, target))
    }
}
