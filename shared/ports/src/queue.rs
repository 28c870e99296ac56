//! Queues: messages are delivered at least once, and are hidden while a receiver works on them.

use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::message::QueueName;

use super::error::{ErrorKind, PortError, PortResult};

/// The maximum size of a message in bytes. Source: Azure Storage Queues, 64 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The maximum number of messages that one receive returns. Source: Azure Storage Queues, Get Messages.
pub const MAX_RECEIVE: usize = 32;

/// The right to extend or delete a message. It ends when another receiver gets the message after the visibility
/// timeout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The id of the message.
    pub id: String,
    /// The pop receipt. It changes with every receive and extension.
    pub pop: String,
}

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The text.
    pub body: String,
    /// The right to extend or delete it.
    pub receipt: Receipt,
    /// The number of times it was received, including this time.
    pub dequeue_count: u32,
}

/// Queues of text messages. Messages do not expire. The order is roughly first in, first out.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Creates all queues that do not exist.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn ensure(&self) -> PortResult<()>;

    /// Sends a message that becomes visible after `delay`.
    ///
    /// # Errors
    /// `Invalid` if the text has more than [`MAX_MESSAGE`] bytes.
    async fn send(&self, queue: QueueName, body: &str, delay: Duration) -> PortResult<()>;

    /// Receives up to `max` messages (at most [`MAX_RECEIVE`]) and hides them from other receivers for `visibility`.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn receive(&self, queue: QueueName, max: usize, visibility: Duration) -> PortResult<Vec<Received>>;

    /// Sets the visibility timeout of a received message to `visibility` from now; zero makes it visible immediately.
    /// Returns the new receipt; the old one is void.
    ///
    /// # Errors
    /// `NotFound` if the message does not exist, `Conflict` if another receiver has received it since.
    async fn extend(&self, queue: QueueName, receipt: &Receipt, visibility: Duration) -> PortResult<Receipt>;

    /// Deletes a message. It is not an error if the message does not exist.
    ///
    /// # Errors
    /// `Conflict` if another receiver has received it since.
    async fn delete(&self, queue: QueueName, receipt: &Receipt) -> PortResult<()>;

    /// The approximate number of messages, visible or hidden.
    ///
    /// # Errors
    /// If the service refuses or cannot be reached.
    async fn depth(&self, queue: QueueName) -> PortResult<u64>;
}

/// Checks the length of a text, for all adapters.
///
/// # Errors
/// `Invalid` if the text has more than [`MAX_MESSAGE`] bytes.
pub fn check_length(body: &str) -> PortResult<()> {
    if body.len() <= MAX_MESSAGE {
        return Ok(());
    }
    let message = format!("a message of {} bytes is too large: at most {MAX_MESSAGE} bytes", body.len());
    Err(PortError::new(ErrorKind::Invalid, message).with_code("message-too-large"))
}
