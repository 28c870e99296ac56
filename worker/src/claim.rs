//! From a message to a lease.

use std::time::Duration;

use goldfleet_model::event::Event;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Lease, Operation, OperationState};
use goldfleet_model::state::{IllegalTransition, OperationEvent};
use goldfleet_ports::clock::{after, elapsed};
use goldfleet_ports::commit::{Commit, CommitOutcome, commit_confirmed};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::queue::Received;
use goldfleet_ports::rng;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_workflow::expire::expire_lease;
use goldfleet_workflow::release::block_image;
use jiff::Timestamp;

use crate::lease_guard::{GroupRows, LeaseGuard};
use crate::settings::WorkerSettings;
use crate::steps::StepContext;

/// What a message turned out to be.
pub enum Claim {
    /// The operation is ours.
    Claimed(Box<LeaseGuard>),
    /// There is nothing to do for this message; it has been dealt with.
    NotClaimed,
}

/// Reads a message, looks at the row it points at, and claims it if it is to be had.
///
/// # Errors
/// Where table or queue can't be reached; the message then appears again by itself.
pub async fn claim(shared: &StepContext, queue: QueueName, received: Received) -> PortResult<Claim> {
    let ports = &shared.ports;
    let (job, id) = match Message::decode(&received.body) {
        Ok(Message { operation: Some(id), job, .. }) if QueueName::of(id.kind()) == queue => (job, id),
        Ok(_) => return dead_letter(ports, queue, &received, "it points at no operation of this queue").await,
        Err(error) => return dead_letter(ports, queue, &received, &error.to_string()).await,
    };
    let Some(rows) = GroupRows::of(&id, ports.table.group(&job, &id).await?) else {
        // Rows are written before their messages: this one's job is gone.
        ports.queue.delete(queue, &received.receipt).await?;
        return Ok(Claim::NotClaimed);
    };
    match claim_decision(&rows.own.value, ports.clock.now()) {
        ClaimDecision::Claim => try_claim(shared, queue, received, rows).await,
        ClaimDecision::Delay(delay) => {
            ports.queue.extend(queue, &received.receipt, delay).await?;
            Ok(Claim::NotClaimed)
        }
        ClaimDecision::Discard => {
            ports.queue.delete(queue, &received.receipt).await?;
            Ok(Claim::NotClaimed)
        }
    }
}

/// Moves a message that nobody can do anything with to the dead-letter queue.
async fn dead_letter(ports: &Ports, queue: QueueName, received: &Received, reason: &str) -> PortResult<Claim> {
    tracing::warn!(%queue, reason, "a message is put aside in the poison queue");
    ports.queue.send(QueueName::DeadLetter, &received.body, Duration::ZERO).await?;
    ports.queue.delete(queue, &received.receipt).await?;
    Ok(Claim::NotClaimed)
}

/// What the row says about a message that points at it.
enum ClaimDecision {
    Claim,
    Delay(Duration),
    Discard,
}

fn claim_decision(operation: &Operation, now: Timestamp) -> ClaimDecision {
    match operation.state {
        OperationState::Ready => match operation.not_before {
            Some(at) if at > now => ClaimDecision::Delay(elapsed(now, at)),
            _ => ClaimDecision::Claim,
        },
        _ if operation.lease_expired(now) => ClaimDecision::Claim,
        OperationState::Running | OperationState::Cancelling => {
            let until = operation.lease.as_ref().map_or(now, |lease| lease.expires);
            ClaimDecision::Delay(elapsed(now, until) + Duration::from_millis(100))
        }
        // Its release will send a message of its own.
        OperationState::Waiting => ClaimDecision::Discard,
        state => {
            debug_assert!(state.is_terminal());
            ClaimDecision::Discard
        }
    }
}

async fn try_claim(shared: &StepContext, queue: QueueName, received: Received, rows: GroupRows) -> PortResult<Claim> {
    let StepContext { ports, settings, .. } = shared;
    let now = ports.clock.now();
    let token = rng::random_uuid();
    let lease = Lease { token, holder: settings.name.clone(), expires: after(now, settings.lease) };
    let mut operation = rows.own.value.clone();
    let events = match claim_events(&mut operation, lease, now, settings) {
        Ok(events) => events,
        Err(illegal) => {
            tracing::error!(%illegal, "a claim was not possible");
            return Ok(Claim::NotClaimed);
        }
    };
    if rows.own.value.state.is_leased() {
        shared.monitor.metrics.lease_expired(operation.id.kind());
    }
    let mut commit = Commit::default();
    commit.push(&rows.own, operation.clone(), events);
    if operation.state == OperationState::Failed {
        block_image(&rows.siblings, now, &settings.name, &mut commit);
    }
    match commit_confirmed(ports, &commit).await? {
        CommitOutcome::Committed(etags) if operation.state == OperationState::Running => {
            let etag = etags.into_iter().next().unwrap_or(rows.own.etag);
            let rows = GroupRows { own: Versioned { value: operation, etag }, siblings: rows.siblings };
            Ok(Claim::Claimed(Box::new(LeaseGuard::new(ports.clone(), settings, token, rows, received.receipt))))
        }
        CommitOutcome::Committed(_) => {
            if operation.state == OperationState::Failed {
                ports.queue.send(QueueName::DeadLetter, &received.body, Duration::ZERO).await?;
            }
            ports.queue.delete(queue, &received.receipt).await?;
            Ok(Claim::NotClaimed)
        }
        // Someone else was first, and has a message of its own; this one is a duplicate that the row will answer.
        CommitOutcome::Conflict(_) => Ok(Claim::NotClaimed),
    }
}

/// Takes the operation through what a claim means: the expiry of the lease before it, if there was one, and the claim,
/// or the end where its workers have disappeared too often or it was to be cancelled.
fn claim_events(
    operation: &mut Operation,
    lease: Lease,
    now: Timestamp,
    settings: &WorkerSettings,
) -> Result<Vec<Event>, IllegalTransition> {
    let who = settings.name.as_str();
    let mut events = Vec::with_capacity(2);
    if operation.state.is_leased() {
        events = expire_lease(operation, settings.max_attempts, now, who)?;
        if operation.state != OperationState::Ready {
            return Ok(events);
        }
    }
    events.push(operation.apply(OperationEvent::Claim(lease), now, who)?);
    Ok(events)
}
