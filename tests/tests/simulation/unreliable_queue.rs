//! Queues that lose messages, deliver them twice, and show again what was received.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::message::QueueName;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::queue::{Queue, Receipt, Received};

use crate::faults::FaultInjector;

/// Queues that are not to be relied on.
pub(crate) struct UnreliableQueue {
    pub(crate) faults: Arc<FaultInjector>,
    pub(crate) queue: Arc<dyn Queue>,
}

#[async_trait]
impl Queue for UnreliableQueue {
    async fn ensure(&self) -> PortResult<()> {
        self.queue.ensure().await
    }

    async fn send(&self, queue: QueueName, body: &str, delay: Duration) -> PortResult<()> {
        let rates = &self.faults.rates;
        if self.faults.should_inject(rates.message_lost) {
            self.faults.trace.line(format_args!("queue {queue} loses {body}"));
            return Ok(());
        }
        if self.faults.should_inject(rates.message_doubled) {
            self.queue.send(queue, body, self.faults.rng.seconds(0..300)).await?;
        }
        self.queue.send(queue, body, delay).await
    }

    async fn receive(&self, queue: QueueName, max: usize, visibility: Duration) -> PortResult<Vec<Received>> {
        let again = self.faults.should_inject(self.faults.rates.message_again);
        let visibility = if again { self.faults.rng.millis(0..2000) } else { visibility };
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
