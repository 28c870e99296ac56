//! Messages about operations.

use std::time::Duration;

use goldfleet_model::message::Message;
use goldfleet_model::operation::Operation;
use goldfleet_ports::Ports;
use goldfleet_ports::error::PortResult;

use crate::registry::Registry;

/// Sends an operation's message to the queue of its kind. If this program does not know the kind, it sends nothing: a
/// program that knows the kind sends the message.
///
/// # Errors
/// If the queue refuses the message or cannot be reached.
pub async fn announce(ports: &Ports, registry: &Registry, operation: &Operation) -> PortResult<()> {
    let Some(kind) = registry.get(&operation.kind) else {
        tracing::warn!(operation = %operation.id, kind = %operation.kind, "this program does not know the kind of an operation");
        return Ok(());
    };
    let message = Message::operation(&operation.job, &operation.id).encode();
    ports.queue.send(kind.queue(), &message, Duration::ZERO).await
}
