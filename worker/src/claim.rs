//! From a message to a lease.

use std::time::Duration;

use goldfleet_model::event::Event;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Lease, Operation, OperationState};
use goldfleet_model::state::{IllegalTransition, OperationEvent};
use goldfleet_ports::chance;
use goldfleet_ports::clock::{after, between};
use goldfleet_ports::commit::{Commit, Outcome, confirmed};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::queue::Received;
use goldfleet_ports::{Ports, Versioned};
use goldfleet_workflow::expire::expire;
use goldfleet_workflow::release::block_image;
use jiff::Timestamp;

use crate::hold::{Hold, Rows};
use crate::settings::Settings;
use crate::steps::Shared;

/// What a message turned out to be.
pub enum Claim {
    /// The operation is ours.
    Held(Box<Hold>),
    /// There is nothing to do for this message; it has been dealt with.
    Nothing,
}

/// Reads a message, looks at the row it points at, and claims it if it is to be had.
///
/// # Errors
/// Where table or queue can't be reached; the message then appears again by itself.
pub async fn claim(shared: &Shared, queue: QueueName, received: Received) -> PortResult<Claim> {
    let ports = &shared.ports;
    let (job, id) = match Message::decode(&received.body) {
        Ok(Message { operation: Some(id), job, .. }) if QueueName::of(id.kind()) == queue => (job, id),
        Ok(_) => return put_aside(ports, queue, &received, "it points at no operation of this queue").await,
        Err(error) => return put_aside(ports, queue, &received, &error.to_string()).await,
    };
    let Some(rows) = Rows::of(&id, ports.table.group(&job, &id).await?) else {
        // Rows are written before their messages: this one's job is gone.
        ports.queue.delete(queue, &received.receipt).await?;
        return Ok(Claim::Nothing);
    };
    match verdict(&rows.own.value, ports.clock.now()) {
        Verdict::Take => take(shared, queue, received, rows).await,
        Verdict::Later(delay) => {
            ports.queue.extend(queue, &received.receipt, delay).await?;
            Ok(Claim::Nothing)
        }
        Verdict::Drop => {
            ports.queue.delete(queue, &received.receipt).await?;
            Ok(Claim::Nothing)
        }
    }
}

/// Moves a message that nobody can do anything with to the poison queue.
async fn put_aside(ports: &Ports, queue: QueueName, received: &Received, reason: &str) -> PortResult<Claim> {
    tracing::warn!(%queue, reason, "a message is put aside in the poison queue");
    ports.queue.send(QueueName::Poison, &received.body, Duration::ZERO).await?;
    ports.queue.delete(queue, &received.receipt).await?;
    Ok(Claim::Nothing)
}

/// What the row says about a message that points at it.
enum Verdict {
    Take,
    Later(Duration),
    Drop,
}

fn verdict(operation: &Operation, now: Timestamp) -> Verdict {
    match operation.state {
        OperationState::Ready => match operation.not_before {
            Some(at) if at > now => Verdict::Later(between(now, at)),
            _ => Verdict::Take,
        },
        _ if operation.lease_expired(now) => Verdict::Take,
        OperationState::Running | OperationState::Cancelling => {
            let until = operation.lease.as_ref().map_or(now, |lease| lease.expires);
            Verdict::Later(between(now, until) + Duration::from_millis(100))
        }
        // Its release will send a message of its own.
        OperationState::Waiting => Verdict::Drop,
        state => {
            debug_assert!(state.is_terminal());
            Verdict::Drop
        }
    }
}

async fn take(shared: &Shared, queue: QueueName, received: Received, rows: Rows) -> PortResult<Claim> {
    let Shared { ports, settings, .. } = shared;
    let now = ports.clock.now();
    let token = chance::uuid();
    let lease = Lease { token, holder: settings.name.clone(), expires: after(now, settings.lease) };
    let mut operation = rows.own.value.clone();
    let events = match claim_events(&mut operation, lease, now, settings) {
        Ok(events) => events,
        Err(illegal) => {
            tracing::error!(%illegal, "a claim was not possible");
            return Ok(Claim::Nothing);
        }
    };
    if rows.own.value.state.is_leased() {
        shared.vitals.metrics.expired(operation.id.kind());
    }
    let mut commit = Commit::default();
    commit.write(&rows.own, operation.clone(), events);
    if operation.state == OperationState::Failed {
        block_image(&rows.siblings, now, &settings.name, &mut commit);
    }
    match confirmed(ports, &commit).await? {
        Outcome::Landed(etags) if operation.state == OperationState::Running => {
            let etag = etags.into_iter().next().unwrap_or(rows.own.etag);
            let rows = Rows { own: Versioned { value: operation, etag }, siblings: rows.siblings };
            Ok(Claim::Held(Box::new(Hold::new(ports.clone(), settings, token, rows, received.receipt))))
        }
        Outcome::Landed(_) => {
            if operation.state == OperationState::Failed {
                ports.queue.send(QueueName::Poison, &received.body, Duration::ZERO).await?;
            }
            ports.queue.delete(queue, &received.receipt).await?;
            Ok(Claim::Nothing)
        }
        // Someone else was first, and has a message of its own; this one is a duplicate that the row will answer.
        Outcome::Overtaken(_) => Ok(Claim::Nothing),
    }
}

/// Takes the operation through what a claim means: the expiry of the lease before it, if there was one, and the claim,
/// or the end where its workers have disappeared too often or it was to be cancelled.
fn claim_events(
    operation: &mut Operation,
    lease: Lease,
    now: Timestamp,
    settings: &Settings,
) -> Result<Vec<Event>, IllegalTransition> {
    let who = settings.name.as_str();
    let mut events = Vec::with_capacity(2);
    if operation.state.is_leased() {
        events = expire(operation, settings.max_attempts, now, who)?;
        if operation.state != OperationState::Ready {
            return Ok(events);
        }
    }
    events.push(operation.apply(OperationEvent::Claim(lease), now, who)?);
    Ok(events)
}
