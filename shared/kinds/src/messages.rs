//! Messages about operations.

use std::time::Duration;

use goldfleet_model::message::Message;
use goldfleet_model::operation::Operation;
use goldfleet_ports::Ports;
use goldfleet_ports::error::{PortError, PortResult};
use goldfleet_ports::retry::retry_within;
use goldfleet_ports::timeout::MAX_WAIT_IN_PLACE;

use crate::registry::Registry;

/// Puts an operation's message into the queue of its kind; transient errors are retried. An operation of a kind that
/// this program does not know is left to a program that knows it.
///
/// # Errors
/// If the queue refuses the message or cannot be reached.
pub async fn announce(ports: &Ports, registry: &Registry, operation: &Operation) -> PortResult<()> {
    let Some(kind) = registry.get(&operation.kind) else {
        tracing::warn!(operation = %operation.id, kind = %operation.kind, "this program does not know the kind of an operation");
        return Ok(());
    };
    let message = Message::operation(&operation.job, &operation.id).encode();
    let send = || ports.queue.send(kind.queue(), &message, Duration::ZERO);
    retry_within(ports.clock.as_ref(), MAX_WAIT_IN_PLACE, PortError::is_retryable, send).await
}
