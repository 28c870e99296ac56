//! Claims the operation of a message.

use std::time::Duration;

use goldfleet_kinds::messages::announce;
use goldfleet_model::ids::JobId;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Lease, Operation, OperationState};
use goldfleet_model::state::{IllegalTransition, OperationEvent};
use goldfleet_ports::clock::{after, elapsed, has_ended};
use goldfleet_ports::commit::{Commit, CommitOutcome, commit_confirmed};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::job_table::Change;
use goldfleet_ports::listing::{ROW_DAMAGED, UnreadableRow};
use goldfleet_ports::queue::Received;
use goldfleet_ports::rng;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_workflow::expire::{MAX_LOST, expire_lease};
use goldfleet_workflow::group::GroupChange;
use jiff::Timestamp;

use crate::context::WorkerContext;
use crate::lease_guard::{GroupRows, LeaseGuard};

/// How long a message stays invisible if this program does not know the kind or version of its operation.
const UNKNOWN_KIND_DELAY: Duration = Duration::from_secs(30);

/// How long a message stays invisible if the row of its operation cannot be read.
const SET_ASIDE_DELAY: Duration = Duration::from_secs(30);

/// How long a message stays invisible if another worker claimed its operation first. Most such messages are duplicates,
/// and a worker that ends when the queues are empty waits for them.
const DUPLICATE_DELAY: Duration = Duration::from_secs(1);

/// The result of a claim.
pub enum Claim {
    /// This worker holds the lease.
    Claimed(Box<LeaseGuard>),
    /// The message needs no work, and was deleted, delayed or moved.
    NotClaimed,
}

/// Decodes a message, reads its row, and claims the operation if it is available.
///
/// # Errors
/// If the table or the queue cannot be reached. The message then becomes visible again when its visibility timeout
/// ends.
pub async fn claim(context: &WorkerContext, queue: QueueName, received: Received) -> PortResult<Claim> {
    let ports = &context.ports;
    let (job, id) = match Message::decode(&received.body) {
        Ok(Message { operation: Some(id), job, .. }) => (job, id),
        Ok(_) => return dead_letter(ports, queue, &received, "it names no operation").await,
        Err(error) => return dead_letter(ports, queue, &received, &error.to_string()).await,
    };
    let group = ports.table.list_group(&job, &id).await?;
    if let Some(row) = group.unreadable.iter().find(|row| row.id == id.to_string()) {
        return set_aside(ports, queue, &received, &job, row).await;
    }
    let Some(rows) = GroupRows::of(&id, group) else {
        // Rows are written before their messages, so a missing row means that the job was deleted.
        ports.queue.delete(queue, &received.receipt).await?;
        return Ok(Claim::NotClaimed);
    };
    if context.registry.of(&rows.own.value).is_none() {
        // A newer program wrote the row. Its workers run the operation, so this worker must keep the message.
        ports.queue.extend(queue, &received.receipt, UNKNOWN_KIND_DELAY).await?;
        return Ok(Claim::NotClaimed);
    }
    match claim_decision(&rows.own.value, context.settings.longest_wait, ports.clock.now()) {
        ClaimDecision::Claim => try_claim(context, queue, received, rows).await,
        ClaimDecision::Delay(delay) => {
            ports.queue.extend(queue, &received.receipt, delay).await?;
            Ok(Claim::NotClaimed)
        }
        ClaimDecision::Discard => {
            resend(context, &rows).await?;
            ports.queue.delete(queue, &received.receipt).await?;
            Ok(Claim::NotClaimed)
        }
    }
}

/// Delays the message of an operation whose row cannot be read: it may become readable again, and a worker of a later
/// release may be able to read it now.
async fn set_aside(
    ports: &Ports,
    queue: QueueName,
    received: &Received,
    job: &JobId,
    row: &UnreadableRow,
) -> PortResult<Claim> {
    let has_ended = match ports.table.job(job).await {
        Ok(job) => job.is_none_or(|job| job.value.state.is_terminal()),
        Err(error) if error.code == ROW_DAMAGED => false,
        Err(error) => return Err(error),
    };
    if has_ended {
        ports.queue.delete(queue, &received.receipt).await?;
    } else {
        tracing::warn!(code = ROW_DAMAGED, "the operation is set aside: {row}");
        ports.queue.extend(queue, &received.receipt, SET_ASIDE_DELAY).await?;
    }
    Ok(Claim::NotClaimed)
}

/// Sends what follows from an operation that has ended. Its message is delivered again if the worker that ended it was
/// lost, or could not reach the queue, before it had sent everything.
async fn resend(context: &WorkerContext, rows: &GroupRows) -> PortResult<()> {
    if !rows.own.value.state.is_terminal() {
        return Ok(());
    }
    for ready in rows.siblings.iter().filter(|row| row.value.state == OperationState::Ready) {
        announce(&context.ports, &context.registry, &ready.value).await?;
    }
    context.hints.send(&context.ports, std::iter::once(&rows.own.value)).await
}

/// Moves a message that no worker can process to the dead-letter queue.
async fn dead_letter(ports: &Ports, queue: QueueName, received: &Received, reason: &str) -> PortResult<Claim> {
    tracing::warn!(%queue, reason, "a message is moved to the poison queue");
    ports.queue.send(QueueName::DeadLetter, &received.body, Duration::ZERO).await?;
    ports.queue.delete(queue, &received.receipt).await?;
    Ok(Claim::NotClaimed)
}

/// The action for a message according to its row.
enum ClaimDecision {
    Claim,
    Delay(Duration),
    Discard,
}

fn claim_decision(operation: &Operation, longest_wait: Duration, now: Timestamp) -> ClaimDecision {
    match operation.state {
        OperationState::Ready => match operation.not_before {
            Some(at) if !has_ended(at, longest_wait, now) => ClaimDecision::Delay(elapsed(now, at)),
            Some(at) if at > now => {
                tracing::warn!(until = %at, "a wait beyond the longest one counts as ended: check the clocks of all machines");
                ClaimDecision::Claim
            }
            _ => ClaimDecision::Claim,
        },
        _ if operation.lease_expired(now) => ClaimDecision::Claim,
        OperationState::Running | OperationState::Cancelling => {
            let until = operation.lease.as_ref().map_or(now, |lease| lease.expires);
            ClaimDecision::Delay(elapsed(now, until) + Duration::from_millis(100))
        }
        // A new message is sent when the operation is released.
        OperationState::Waiting => ClaimDecision::Discard,
        state => {
            debug_assert!(state.is_terminal());
            ClaimDecision::Discard
        }
    }
}

async fn try_claim(
    context: &WorkerContext,
    queue: QueueName,
    received: Received,
    rows: GroupRows,
) -> PortResult<Claim> {
    let WorkerContext { ports, settings, .. } = context;
    let now = ports.clock.now();
    let token = rng::random_uuid();
    // Without a name the lease ends by its expiry only.
    let process = ports.liveness.own().await.unwrap_or_else(|error| {
        tracing::warn!(%error, code = error.code, "the end of this process cannot be detected by others");
        None
    });
    let lease = Lease { token, holder: settings.name.clone(), process, expires: after(now, settings.lease) };
    let mut change = rows.change(now, &settings.name);
    if let Err(illegal) = claim_row(&mut change, &rows.own.value, lease, MAX_LOST) {
        tracing::error!(%illegal, "an operation could not be claimed");
        return Ok(Claim::NotClaimed);
    }
    change.advance();
    let Some(own) = change.operation(&rows.own.value.id).cloned() else { return Ok(Claim::NotClaimed) };
    if rows.own.value.state.is_leased() {
        context.monitor.metrics.lease_expired(own.kind.as_str());
    }
    let commit = change.into_commit();
    match commit_confirmed(ports, &commit).await? {
        CommitOutcome::Committed(etags) if own.state == OperationState::Running => {
            let is_own = |change: &Change| change.operation.id == own.id;
            let written = commit.changes.iter().position(is_own).and_then(|at| etags.into_iter().nth(at));
            let etag = written.unwrap_or_else(|| rows.own.etag.clone());
            let rows = rows.with_own(Versioned { value: own, etag });
            let guard = LeaseGuard::new(ports.clone(), settings, token, queue, rows, received.receipt);
            Ok(Claim::Claimed(Box::new(guard)))
        }
        CommitOutcome::Committed(_) => {
            end_of_lost_operation(context, queue, &received, &own, &commit).await?;
            Ok(Claim::NotClaimed)
        }
        // Another worker was first and has its own message. This message is a duplicate. When it is received again, the
        // row determines the action.
        CommitOutcome::Conflict(_) => {
            ports.queue.extend(queue, &received.receipt, DUPLICATE_DELAY).await?;
            Ok(Claim::NotClaimed)
        }
    }
}

/// Sends and deletes messages after a claim found that the operation ended because its worker was lost.
async fn end_of_lost_operation(
    context: &WorkerContext,
    queue: QueueName,
    received: &Received,
    own: &Operation,
    commit: &Commit,
) -> PortResult<()> {
    let ports = &context.ports;
    for ready in commit.operations().filter(|operation| operation.state == OperationState::Ready) {
        announce(ports, &context.registry, ready).await?;
    }
    context.hints.send(ports, commit.operations()).await?;
    if own.state == OperationState::Failed {
        ports.queue.send(QueueName::DeadLetter, &received.body, Duration::ZERO).await?;
    }
    ports.queue.delete(queue, &received.receipt).await
}

/// Applies the transitions of a claim to the row: the expiry of the previous lease, if there was one, and the claim. If
/// workers were lost too often or the operation was cancelling, the expiry ends the operation.
fn claim_row(
    change: &mut GroupChange<'_>,
    own: &Operation,
    lease: Lease,
    max_lost: u32,
) -> Result<(), IllegalTransition> {
    if own.state.is_leased() {
        change.transform(&own.id, |operation, now, who| expire_lease(operation, max_lost, now, who))?;
        if change.operation(&own.id).is_none_or(|operation| operation.state != OperationState::Ready) {
            return Ok(());
        }
    }
    change.apply(&own.id, OperationEvent::Claim(lease))
}
