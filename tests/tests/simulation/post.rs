//! Queues that lose messages, deliver them twice, and show again what was received.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::message::QueueName;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::queue::{Queue, Receipt, Received};

use crate::chaos::Chaos;

/// Queues that are not to be relied on.
pub(crate) struct Post {
    pub(crate) chaos: Arc<Chaos>,
    pub(crate) queue: Arc<dyn Queue>,
}

#[async_trait]
impl Queue for Post {
    async fn ensure(&self) -> PortResult<()> {
        self.queue.ensure().await
    }

    async fn send(&self, queue: QueueName, body: &str, delay: Duration) -> PortResult<()> {
        let rates = &self.chaos.rates;
        if self.chaos.strikes(rates.message_lost) {
            self.chaos.trace.line(format_args!("queue {queue} loses {body}"));
            return Ok(());
        }
        if self.chaos.strikes(rates.message_doubled) {
            self.queue.send(queue, body, self.chaos.dice.seconds(0..300)).await?;
        }
        self.queue.send(queue, body, delay).await
    }

    async fn receive(&self, queue: QueueName, max: usize, visibility: Duration) -> PortResult<Vec<Received>> {
        let again = self.chaos.strikes(self.chaos.rates.message_again);
        let visibility = if again { self.chaos.dice.millis(0..2000) } else { visibility };
        self.queue.receive(queue, max, visibility).await
    }

    async fn extend(&self, queue: QueueName, receipt: &Receipt, visibility: Duration) -> PortResult<Receipt> {
        self.queue.extend(queue, receipt, visibility).await
    }

    async fn delete(&self, queue: QueueName, receipt: &Receipt) -> PortResult<()> {
        self.queue.delete(queue, receipt).await
    }

    async fn depth(&self, queue: QueueName) -> PortResult<u64> {
        self.queue.depth(queue).await
    }
}
