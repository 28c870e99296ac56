//! Rings: the canaries first, and the next ring only when the one before has its images.
//!
//! Copies of later rings wait. The sweeper releases a ring when every operation of all rings before it has succeeded, and
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

use crate::control::desk::{Desk, by_group};

/// The code of a copy that was not begun, as an earlier ring failed.
pub const RING_STOPPED: &str = "ring-stopped";

/// What is to happen with the rings of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: no ring waits, or one before is under way.
    Nothing,
    /// All before this ring have succeeded, and it waits for an operator's approval.
    Await(u32),
    /// The copies of this ring may begin.
    Release(u32),
    /// This ring failed: those that wait never begin.
    Stop(u32),
}

/// How a ring stands.
#[derive(Debug, Clone, Copy, Default)]
struct Ring {
    waiting: bool,
    under_way: bool,
    failed: bool,
}

impl Ring {
    fn has_succeeded(self) -> bool {
        !(self.waiting || self.under_way || self.failed)
    }
}

/// Which rings of a job may begin: up to the first that has not succeeded, and none that lacks its approval.
#[derive(Debug, Clone)]
pub struct Gate<'a> {
    job: &'a Job,
    lowest: Option<u32>,
    first_unfinished: Option<u32>,
}

impl<'a> Gate<'a> {
    /// The gate of a job whose operations are these.
    #[must_use]
    pub fn of(job: &'a Job, operations: &[Versioned<Operation>]) -> Self {
        let rings = rings(operations);
        let unfinished = rings.iter().find(|(_, ring)| !ring.has_succeeded());
        Self { job, lowest: rings.keys().next().copied(), first_unfinished: unfinished.map(|(number, _)| *number) }
    }

    /// Whether copies of this ring may begin now.
    #[must_use]
    pub fn lets_begin(&self, ring: u32) -> bool {
        self.first_unfinished.is_none_or(|first| ring <= first) && is_approved(self.job, self.lowest, ring)
    }
}

/// Whether nobody has to approve this ring any more. The first never has to be: somebody asked for the job.
fn is_approved(job: &Job, lowest: Option<u32>, ring: u32) -> bool {
    job.approvals.is_none() || Some(ring) == lowest || job.approval(ring).is_some()
}

/// What is to happen, by how the operations stand.
#[must_use]
pub fn next(job: &Job, operations: &[Versioned<Operation>]) -> Next {
    let rings = rings(operations);
    let lowest = rings.keys().next().copied();
    for (number, ring) in rings {
        if ring.under_way {
            return Next::Nothing;
        }
        if ring.failed {
            return Next::Stop(number);
        }
        if ring.waiting && !is_approved(job, lowest, number) {
            return Next::Await(number);
        }
        if ring.waiting {
            return Next::Release(number);
        }
    }
    Next::Nothing
}

fn rings(operations: &[Versioned<Operation>]) -> BTreeMap<u32, Ring> {
    let mut rings = BTreeMap::<u32, Ring>::new();
    for operation in operations.iter().map(|row| &row.value) {
        let Some(target) = operation.work.target() else { continue };
        let ring = rings.entry(target.ring).or_default();
        match (operation.state, operation.id.kind()) {
            (OperationState::Succeeded | OperationState::Skipped, _) => {}
            (OperationState::Failed | OperationState::Cancelled, _) => ring.failed = true,
            (OperationState::Waiting, Kind::Copy) => ring.waiting = true,
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
/// Where table or queue can't be reached; what is left is done by the next sweep.
pub async fn advance(desk: &Desk, job: &Job, operations: &[Versioned<Operation>], now: Timestamp) -> PortResult<usize> {
    let next = next(job, operations);
    let concerned = |operation: &Operation| {
        let waits = operation.id.kind() == Kind::Copy && operation.state == OperationState::Waiting;
        let ring = operation.work.target().map(|target| target.ring);
        waits
            && match next {
                Next::Nothing | Next::Await(_) => false,
                Next::Release(number) => ring == Some(number),
                Next::Stop(number) => ring.is_some_and(|ring| ring >= number),
            }
    };
    if !operations.iter().any(|row| concerned(&row.value)) {
        return Ok(0);
    }
    let mut count = 0;
    for group in by_group(operations.to_vec()) {
        if let Some(copy) = group.iter().find(|row| concerned(&row.value)) {
            count += usize::from(release_or_stop(desk, copy, &group, next, now).await?);
        }
    }
    tracing::info!(?next, copies = count, "rings");
    Ok(count)
}

/// Releases or stops one copy that waits, and with it the image that waits for it. False where someone else was first.
async fn release_or_stop(
    desk: &Desk,
    row: &Versioned<Operation>,
    group: &[Versioned<Operation>],
    next: Next,
    now: Timestamp,
) -> PortResult<bool> {
    let mut copy = row.value.clone();
    let event = match next {
        Next::Stop(ring) => OperationEvent::Block(stopped(ring, now)),
        _ => OperationEvent::Release,
    };
    let Ok(line) = copy.apply(event, now, &desk.who) else { return Ok(false) };
    copy.queued = (copy.state == OperationState::Ready).then_some(now);
    let mut commit = Commit::default();
    commit.write(row, copy.clone(), [line]);
    if copy.state == OperationState::Cancelled {
        block_image(group, now, &desk.who, &mut commit);
    }
    // Where someone else was first, the next sweep sees how things stand.
    if !desk.commit(&commit).await? {
        return Ok(false);
    }
    if copy.state == OperationState::Ready {
        desk.announce(&copy).await?;
    }
    Ok(true)
}

fn stopped(ring: u32, at: Timestamp) -> Failure {
    let message = format!("ring {ring} did not succeed, so later ones are not begun");
    Failure { code: RING_STOPPED.to_owned(), message, request_id: None, at }
}
