//! Rings: the canaries first, and the next ring only when the one before has its images.
//!
//! Copies of later rings wait. The reconciler releases a ring when every operation of all rings before it has succeeded, and
//! stops the rest when one of them has failed for good. A job can ask for an operator's approval besides, of every ring
//! but its first. Stores are filled meanwhile: that changes nothing for anyone.

use std::collections::BTreeMap;

use goldfleet_model::job::Job;
use goldfleet_model::operation::{Failure, Kind, Operation, OperationState};
use goldfleet_model::state::OperationEvent;
use goldfleet_ports::Versioned;
use goldfleet_ports::commit::Commit;
use goldfleet_ports::error::PortResult;
use goldfleet_workflow::release::block_image;
use jiff::Timestamp;

use crate::control::context::{ControlContext, group_rows};

/// The code of a copy that was not begun, as an earlier ring failed.
pub const RING_STOPPED: &str = "ring-stopped";

/// What is to happen with the rings of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RingAction {
    /// Nothing: no ring waits, or one before is under way.
    None,
    /// All before this ring have succeeded, and it waits for an operator's approval.
    AwaitApproval(u32),
    /// The copies of this ring may begin.
    Release(u32),
    /// This ring failed: those that wait never begin.
    Stop(u32),
}

/// How a ring stands.
#[derive(Debug, Clone, Copy, Default)]
struct RingState {
    waiting: bool,
    under_way: bool,
    failed: bool,
}

impl RingState {
    fn has_succeeded(self) -> bool {
        !(self.waiting || self.under_way || self.failed)
    }
}

/// Which rings of a job may begin: up to the first that has not succeeded, and none that lacks its approval.
#[derive(Debug, Clone)]
pub struct RingGate<'a> {
    job: &'a Job,
    lowest: Option<u32>,
    first_unfinished: Option<u32>,
}

impl<'a> RingGate<'a> {
    /// The gate of a job whose operations are these.
    #[must_use]
    pub fn of(job: &'a Job, operations: &[Versioned<Operation>]) -> Self {
        let rings = rings(operations);
        let unfinished = rings.iter().find(|(_, ring)| !ring.has_succeeded());
        Self { job, lowest: rings.keys().next().copied(), first_unfinished: unfinished.map(|(number, _)| *number) }
    }

    /// Whether copies of this ring may begin now.
    #[must_use]
    pub fn is_open_for(&self, ring: u32) -> bool {
        self.first_unfinished.is_none_or(|first| ring <= first) && is_approved(self.job, self.lowest, ring)
    }
}

/// Whether nobody has to approve this ring any more. The first never has to be: somebody asked for the job.
fn is_approved(job: &Job, lowest: Option<u32>, ring: u32) -> bool {
    job.approvals.is_none() || Some(ring) == lowest || job.approval(ring).is_some()
}

/// What is to happen, by how the operations stand.
#[must_use]
pub fn next_action(job: &Job, operations: &[Versioned<Operation>]) -> RingAction {
    let rings = rings(operations);
    let lowest = rings.keys().next().copied();
    for (number, ring) in rings {
        if ring.under_way {
            return RingAction::None;
        }
        if ring.failed {
            return RingAction::Stop(number);
        }
        if ring.waiting && !is_approved(job, lowest, number) {
            return RingAction::AwaitApproval(number);
        }
        if ring.waiting {
            return RingAction::Release(number);
        }
    }
    RingAction::None
}

fn rings(operations: &[Versioned<Operation>]) -> BTreeMap<u32, RingState> {
    let mut rings = BTreeMap::<u32, RingState>::new();
    for operation in operations.iter().map(|row| &row.value) {
        let Some(target) = operation.work.target() else { continue };
        let ring = rings.entry(target.ring).or_default();
        match (operation.state, operation.id.kind()) {
            (OperationState::Succeeded | OperationState::Skipped, _) => {}
            (OperationState::Failed | OperationState::Cancelled, _) => ring.failed = true,
            (OperationState::Waiting, Kind::Assemble) => ring.waiting = true,
            // An image waits for its copy, whatever that does.
            (OperationState::Waiting, _) => {}
            _ => ring.under_way = true,
        }
    }
    rings
}

/// Releases or stops the copies that wait. Returns how many.
///
/// # Errors
/// Where table or queue can't be reached; what is left is done by the next reconciler pass.
pub async fn apply_ring_action(
    control: &ControlContext,
    job: &Job,
    operations: &[Versioned<Operation>],
    now: Timestamp,
) -> PortResult<usize> {
    let next = next_action(job, operations);
    let concerned = |operation: &Operation| {
        let waits = operation.id.kind() == Kind::Assemble && operation.state == OperationState::Waiting;
        let ring = operation.work.target().map(|target| target.ring);
        waits
            && match next {
                RingAction::None | RingAction::AwaitApproval(_) => false,
                RingAction::Release(number) => ring == Some(number),
                RingAction::Stop(number) => ring.is_some_and(|ring| ring >= number),
            }
    };
    if !operations.iter().any(|row| concerned(&row.value)) {
        return Ok(0);
    }
    let mut count = 0;
    for group in group_rows(operations.to_vec()) {
        if let Some(copy) = group.iter().find(|row| concerned(&row.value)) {
            count += usize::from(release_or_stop(control, copy, &group, next, now).await?);
        }
    }
    tracing::info!(?next, copies = count, "rings");
    Ok(count)
}

/// Releases or stops one copy that waits, and with it the image that waits for it. False where someone else was first.
async fn release_or_stop(
    control: &ControlContext,
    row: &Versioned<Operation>,
    group: &[Versioned<Operation>],
    next: RingAction,
    now: Timestamp,
) -> PortResult<bool> {
    let mut copy = row.value.clone();
    let event = match next {
        RingAction::Stop(ring) => OperationEvent::Block(ring_stopped_failure(ring, now)),
        _ => OperationEvent::Release,
    };
    let Ok(line) = copy.apply(event, now, &control.actor) else { return Ok(false) };
    copy.queued = (copy.state == OperationState::Ready).then_some(now);
    let mut commit = Commit::default();
    commit.push(row, copy.clone(), [line]);
    if copy.state == OperationState::Cancelled {
        block_image(group, now, &control.actor, &mut commit);
    }
    // Where someone else was first, the next reconciler pass sees how things stand.
    if !control.commit(&commit).await? {
        return Ok(false);
    }
    if copy.state == OperationState::Ready {
        control.enqueue_operation(&copy).await?;
    }
    Ok(true)
}

fn ring_stopped_failure(ring: u32, at: Timestamp) -> Failure {
    let message = format!("ring {ring} did not succeed, so later rings are not started");
    Failure { code: RING_STOPPED.to_owned(), message, request_id: None, at }
}
