//! Messages: at least once, invisible while someone works on them.

use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::message::QueueName;

use super::error::{ErrorKind, PortError, PortResult};

/// The largest message in bytes. Source: Azure Storage Queues, 64 KiB.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// The most messages one receive returns. Source: Azure Storage Queues, Get Messages.
pub const MAX_RECEIVE: usize = 32;

/// The right to extend or delete a message, until its visibility timeout ends and someone else receives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The message.
    pub id: String,
    /// Changes with every receive and extension.
    pub pop: String,
}

/// A message in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The text.
    pub body: String,
    /// The right to it.
    pub receipt: Receipt,
    /// How often it was received, this time included.
    pub dequeue_count: u32,
}

/// Queues of text messages. A message never expires; order is roughly first in, first out.
#[async_trait]
pub trait Queue: Send + Sync {
    /// Makes sure that all queues are there.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn ensure(&self) -> PortResult<()>;

    /// Puts a message in, to be seen after `delay`.
    ///
    /// # Errors
    /// `Invalid` for a text over [`MAX_MESSAGE`] bytes.
    async fn send(&self, queue: QueueName, body: &str, delay: Duration) -> PortResult<()>;

    /// Takes up to `max` messages (at most [`MAX_RECEIVE`]), which nobody else sees for `visibility`.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn receive(&self, queue: QueueName, max: usize, visibility: Duration) -> PortResult<Vec<Received>>;

    /// Keeps a message in hand (or gives it back) so that it is seen again `visibility` from now. Returns the new
    /// receipt; the old one is void.
    ///
    /// # Errors
    /// `NotFound` where the message is gone, `Conflict` where someone else has received it since.
    async fn extend(&self, queue: QueueName, receipt: &Receipt, visibility: Duration) -> PortResult<Receipt>;

    /// Removes a message. One that is already gone is no error.
    ///
    /// # Errors
    /// `Conflict` where someone else has received it since.
    async fn delete(&self, queue: QueueName, receipt: &Receipt) -> PortResult<()>;

    /// About how many messages there are, visible or not.
    ///
    /// # Errors
    /// Where the service refuses or can't be reached.
    async fn depth(&self, queue: QueueName) -> PortResult<u64>;
}

/// Refuses a text that a service would refuse as too long.
///
/// # Errors
/// `Invalid` for a text over [`MAX_MESSAGE`] bytes.
pub fn check_length(body: &str) -> PortResult<()> {
    if body.len() <= MAX_MESSAGE {
        return Ok(());
    }
    let message = format!("a message of {} bytes is too large: at most {MAX_MESSAGE} bytes", body.len());
    Err(PortError::new(ErrorKind::Invalid, message).with_code("message-too-large"))
}
