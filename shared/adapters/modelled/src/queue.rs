//! Queues in memory, for fleets in one process. They never block a thread, so that they work in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use goldfleet_model::message::QueueName;
use goldfleet_ports::clock::Clock;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult};
use goldfleet_ports::queue::{MAX_RECEIVE, Queue, Receipt, Received, check_length};
use jiff::Timestamp;

use super::memory::InMemory;

/// Queues in memory.
pub struct MemoryQueue(InMemory<State>);

#[derive(Default)]
struct State {
    queues: BTreeMap<QueueName, Messages>,
    /// The counter for the ids of messages and receipts.
    next: u64,
}

#[derive(Default)]
struct Messages {
    by_id: BTreeMap<u64, Message>,
    /// The time at which each message becomes visible. Messages are received in this order.
    seen: BTreeSet<(Timestamp, u64)>,
}

struct Message {
    body: String,
    visible: Timestamp,
    pop: u64,
    dequeued: u32,
}

impl MemoryQueue {
    /// Creates queues with this clock. Each request takes `latency`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, latency: Duration) -> Self {
        Self(InMemory::new(clock, latency))
    }
}

impl State {
    fn count(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// The queue and the message of a receipt.
    ///
    /// # Errors
    /// `NotFound` if the message does not exist, `Conflict` if the receipt is no longer valid.
    fn held(&mut self, queue: QueueName, receipt: &Receipt) -> PortResult<(&mut Messages, u64)> {
        let messages = self.queues.entry(queue).or_default();
        let id = receipt.id.parse().unwrap_or(0);
        match messages.by_id.get(&id) {
            None => Err(PortError::new(ErrorKind::NotFound, format!("a message of queue {queue} is gone"))),
            Some(message) if message.pop.to_string() != receipt.pop => {
                let message = format!("a message of queue {queue} was received by someone else meanwhile");
                Err(PortError::new(ErrorKind::Conflict, message))
            }
            Some(_) => Ok((messages, id)),
        }
    }
}

impl Messages {
    /// Hides a message until `visible` and gives it a new receipt.
    fn hide(&mut self, id: u64, visible: Timestamp, pop: u64) -> Option<&mut Message> {
        let message = self.by_id.get_mut(&id)?;
        self.seen.remove(&(message.visible, id));
        self.seen.insert((visible, id));
        (message.visible, message.pop) = (visible, pop);
        Some(message)
    }
}

#[async_trait]
impl Queue for MemoryQueue {
    async fn ensure(&self) -> PortResult<()> {
        Ok(())
    }

    async fn send(&self, queue: QueueName, body: &str, delay: Duration) -> PortResult<()> {
        check_length(body)?;
        let mut state = self.0.request().await;
        let (id, visible) = (state.count(), self.0.after(delay));
        let messages = state.queues.entry(queue).or_default();
        messages.by_id.insert(id, Message { body: body.to_owned(), visible, pop: 0, dequeued: 0 });
        messages.seen.insert((visible, id));
        Ok(())
    }

    async fn receive(&self, queue: QueueName, max: usize, visibility: Duration) -> PortResult<Vec<Received>> {
        let mut state = self.0.request().await;
        let (now, hidden) = (self.0.after(Duration::ZERO), self.0.after(visibility));
        let messages = state.queues.entry(queue).or_default();
        let visible = messages.seen.iter().take_while(|(at, _)| *at <= now).take(max.min(MAX_RECEIVE));
        let ids: Vec<u64> = visible.map(|(_, id)| *id).collect();
        let mut received = Vec::with_capacity(ids.len());
        for id in ids {
            let pop = state.count();
            let Some(message) = state.queues.entry(queue).or_default().hide(id, hidden, pop) else { continue };
            message.dequeued += 1;
            let receipt = Receipt { id: id.to_string(), pop: pop.to_string() };
            received.push(Received { body: message.body.clone(), receipt, dequeue_count: message.dequeued });
        }
        Ok(received)
    }

    async fn extend(&self, queue: QueueName, receipt: &Receipt, visibility: Duration) -> PortResult<Receipt> {
        let mut state = self.0.request().await;
        let (visible, pop) = (self.0.after(visibility), state.count());
        let (messages, id) = state.held(queue, receipt)?;
        messages.hide(id, visible, pop);
        Ok(Receipt { id: receipt.id.clone(), pop: pop.to_string() })
    }

    async fn delete(&self, queue: QueueName, receipt: &Receipt) -> PortResult<()> {
        let mut state = self.0.request().await;
        match state.held(queue, receipt) {
            Ok((messages, id)) => {
                if let Some(message) = messages.by_id.remove(&id) {
                    messages.seen.remove(&(message.visible, id));
                }
                Ok(())
            }
            Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn depth(&self, queue: QueueName) -> PortResult<u64> {
        let state = self.0.request().await;
        Ok(state.queues.get(&queue).map_or(0, |messages| messages.by_id.len() as u64))
    }
}
