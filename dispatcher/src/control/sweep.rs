//! The sweeper: puts right what got lost, and brings jobs to their end. A message too many does no harm, so where in doubt it
//! sends one.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Kind, Operation, OperationState};
use goldfleet_model::state::{JobEvent, OperationEvent};
use goldfleet_ports::Versioned;
use goldfleet_ports::clock::{after, between};
use goldfleet_ports::commit::Commit;
use goldfleet_ports::error::PortResult;
use goldfleet_runtime::metrics::Census;
use goldfleet_workflow::expire::expire;
use goldfleet_workflow::release::copy_failed;
use jiff::Timestamp;

use crate::control::cancel::stop_operations;
use crate::control::cleanup::{Staging, remove_staged};
use crate::control::desk::{Desk, DeskError, by_group, states};
use crate::control::rings;

/// How long one turn of a dispatcher may take, besides what is late anyway: fanning out a job of thousands of operations, or a
/// look at one.
pub(crate) const TURN: Duration = Duration::from_secs(300);

/// Where a job is after a look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// It has ended, and will not be looked at again.
    Ended,
    /// It goes on.
    Open,
}

/// Looks after every job that has not ended. Returns how many there still are.
///
/// # Errors
/// Where table or queue can't be reached. A job that alone can't be looked after is logged, and holds no other up.
pub async fn sweep(desk: &Desk) -> Result<usize, DeskError> {
    let began = desk.ports.clock.now();
    let mut census = Census::default();
    let jobs = desk.ports.table.open_jobs().await?;
    let (mut open, mut failed) = (0, Vec::new());
    for job in &jobs {
        desk.vitals.health.turns(TURN);
        let looked = look_closely(desk, job, &mut census).await;
        if !matches!(looked, Ok(Looked::Ended)) {
            census.job(job.value.state);
            open += 1;
        }
        if let Err(error) = looked {
            tracing::warn!(job = %job.value.id, %error, "a job could not be looked after");
            failed.push(error);
        }
    }
    desk.vitals.metrics.swept(&census, between(began, desk.ports.clock.now()));
    match failed.pop() {
        Some(error) if failed.len() + 1 == jobs.len() => Err(error),
        _ => Ok(open),
    }
}

/// Looks after one job, if it has not ended.
///
/// # Errors
/// Where table or queue can't be reached.
pub async fn look_after(desk: &Desk, id: &JobId) -> Result<Looked, DeskError> {
    let job = desk.job(id).await?;
    if job.value.state.is_terminal() {
        return Ok(Looked::Ended);
    }
    look_closely(desk, &job, &mut Census::default()).await
}

/// Looks after one job, and counts its operations. The job's row must have been read before this begins.
async fn look_closely(desk: &Desk, row: &Versioned<Job>, census: &mut Census) -> Result<Looked, DeskError> {
    let job = &row.value;
    let now = desk.ports.clock.now();
    let patience = desk.config.dispatch.patience.get();
    match job.state {
        JobState::Requested => {
            if now > after(job.updated, patience) {
                announce_again(desk, &job.id).await?;
            }
            return Ok(Looked::Open);
        }
        JobState::Cancelling => drop(stop_operations(desk, &job.id).await?),
        _ => {}
    }
    let operations = desk.ports.table.operations(&job.id).await?;
    for operation in &operations {
        census.operation(operation.value.id.kind(), operation.value.state);
    }
    if let Some(event) = job.end(states(&operations)) {
        return end(desk, row, event, &operations).await;
    }
    if rings::advance(desk, job, &operations, now).await? > 0 {
        // Their rows are not as they were read any more; all else can wait for the next sweep.
        return Ok(Looked::Open);
    }
    for group in by_group(operations) {
        heal(desk, &group, now, patience).await?;
    }
    Ok(Looked::Open)
}

/// Ends a job, all of whose operations had ended when they were read. Its row was read before them: where it is in another
/// version now, operations may be too, as after a retry, and the next look tells how things stand.
async fn end(
    desk: &Desk,
    row: &Versioned<Job>,
    event: JobEvent,
    operations: &[Versioned<Operation>],
) -> Result<Looked, DeskError> {
    // Before the job's end, as nobody looks at it after that.
    let staging = match event {
        JobEvent::Succeed => remove_staged(desk, &row.value, operations).await,
        _ => Staging::Left,
    };
    if staging == Staging::TryAgain {
        return Ok(Looked::Open);
    }
    let removed = staging == Staging::Removed;
    let Some(ended) = desk.advance_from(row, event, |job| job.cleaned |= removed).await? else {
        return Ok(Looked::Open);
    };
    tracing::info!(job = %ended.value.id, state = %ended.value.state, "ended");
    Ok(Looked::Ended)
}

/// Announces a job that nobody has fanned out: its message may be lost. The row says when that was, so that a job which
/// waits behind another does not fill the queue.
async fn announce_again(desk: &Desk, id: &JobId) -> Result<(), DeskError> {
    // Where it was written meanwhile, someone is at it.
    if desk.touch(&desk.job(id).await?).await? {
        desk.announce_job(id).await?;
    }
    Ok(())
}

/// Puts right what is wrong with a group: a message that must have got lost, a lease whose worker is gone, an image whose
/// copy has ended without telling it.
async fn heal(desk: &Desk, group: &[Versioned<Operation>], now: Timestamp, patience: Duration) -> PortResult<()> {
    let copy = group.iter().find(|row| row.value.id.kind() == Kind::Copy).map(|row| row.value.state);
    let mut commit = Commit::default();
    for row in group {
        let mut operation = row.value.clone();
        let applied = match remedy(&operation, copy, now, patience) {
            Remedy::None => continue,
            Remedy::Announce => Ok(Vec::new()),
            Remedy::Apply(event) => operation.apply(event, now, &desk.who).map(|event| vec![event]),
            Remedy::Expire => {
                desk.vitals.metrics.expired(operation.id.kind());
                expire(&mut operation, desk.config.worker.max_attempts, now, &desk.who)
            }
        };
        let events = match applied {
            Ok(events) => events,
            Err(illegal) => {
                tracing::error!(%illegal, "an operation could not be put right");
                continue;
            }
        };
        operation.updated = now;
        if operation.state == OperationState::Ready {
            operation.queued = Some(now);
        }
        commit.write(row, operation, events);
    }
    // Where someone else was first, things are moving; the next sweep sees how.
    if !commit.is_empty() && desk.commit(&commit).await? {
        for operation in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
            tracing::info!(job = %operation.job, operation = %operation.id, "announced again");
            desk.announce(operation).await?;
            desk.vitals.metrics.announced_again(operation.id.kind());
        }
    }
    Ok(())
}

enum Remedy {
    None,
    Announce,
    Apply(OperationEvent),
    Expire,
}

fn remedy(operation: &Operation, copy: Option<OperationState>, now: Timestamp, patience: Duration) -> Remedy {
    let long_after = |at: Timestamp| now > after(at, patience);
    match operation.state {
        OperationState::Ready => {
            let last = operation.not_before.max(operation.queued).unwrap_or(operation.created).max(operation.updated);
            if long_after(last) { Remedy::Announce } else { Remedy::None }
        }
        // The message in hand appears again when the lease ends, so this is for one that was lost.
        OperationState::Running | OperationState::Cancelling
            if operation.lease.as_ref().is_none_or(|lease| long_after(lease.expires)) =>
        {
            Remedy::Expire
        }
        OperationState::Waiting => match copy {
            Some(OperationState::Succeeded | OperationState::Skipped) => Remedy::Apply(OperationEvent::Release),
            Some(OperationState::Failed | OperationState::Cancelled) => {
                Remedy::Apply(OperationEvent::Block(copy_failed(now)))
            }
            _ => Remedy::None,
        },
        _ => Remedy::None,
    }
}
