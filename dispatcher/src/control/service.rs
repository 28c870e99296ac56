//! The dispatcher as a service: fans out jobs as they are asked for, sweeps, cleans up.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_ports::clock::after;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::queue::Received;
use goldfleet_runtime::telemetry::Complaint;
use tokio_util::sync::CancellationToken;

use crate::control::desk::{Desk, DeskError};
use crate::control::fanout::{FannedOut, fan_out};
use crate::control::sweep::{TURN, sweep};

/// How long a dispatch message stays invisible while its job is fanned out. Longer than that takes is better than too
/// short, but a second dispatcher that begins as well does no harm.
const VISIBILITY: Duration = Duration::from_secs(120);

/// The wait after a first failure to read the queue, and between looks at an empty one.
const POLL: Duration = Duration::from_millis(200);

/// How long a dispatcher works, if nobody stops it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until it is stopped.
    Stopped,
    /// Until no job is left that has not ended.
    Idle,
}

/// Works until `stop` is cancelled, or until its end.
pub async fn serve(desk: &Desk, until: Until, stop: &CancellationToken) {
    let clock = desk.ports.clock.as_ref();
    let interval = desk.config.dispatch.sweep.get();
    let mut swept = None;
    let health = &desk.vitals.health;
    let (mut unread, mut unswept) = (Complaint::default(), Complaint::default());
    while !stop.is_cancelled() {
        health.turns(TURN);
        let received = receive(desk).await.unwrap_or_else(|error| {
            if unread.is_due(&error) {
                tracing::warn!(%error, code = error.code, "the dispatch queue can't be read");
            }
            0
        });
        let now = clock.now();
        let due = swept.is_none_or(|at| now > after(at, interval));
        if received == 0 && (due || until == Until::Idle) {
            swept = Some(now);
            measure_queues(desk).await;
            match sweep(desk).await {
                Ok(0) if until == Until::Idle && is_idle(desk).await => return,
                Ok(_) => {}
                Err(error) if unswept.is_due(&error) => tracing::warn!("a sweep was cut short: {error}"),
                Err(_) => {}
            }
        }
        if received == 0 {
            tokio::select! {
                biased;
                () = clock.sleep(POLL.min(interval)) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    health.drains();
}

/// Asks how much lies in the queues, for whoever watches: only where someone does, as asking costs a request a queue.
async fn measure_queues(desk: &Desk) {
    if desk.config.dispatch.listen.is_none() {
        return;
    }
    for queue in QueueName::ALL {
        match desk.ports.queue.depth(queue).await {
            Ok(messages) => desk.vitals.metrics.queue(queue, messages),
            Err(error) => tracing::debug!(%error, %queue, "how much lies in a queue can't be told"),
        }
    }
}

async fn is_idle(desk: &Desk) -> bool {
    matches!(desk.ports.queue.depth(QueueName::Dispatch).await, Ok(0))
}

/// Deals with one message of the dispatch queue, if there is one.
async fn receive(desk: &Desk) -> PortResult<usize> {
    let messages = desk.ports.queue.receive(QueueName::Dispatch, 1, VISIBILITY).await?;
    desk.vitals.health.answered();
    for message in &messages {
        process(desk, message).await?;
    }
    Ok(messages.len())
}

async fn process(desk: &Desk, received: &Received) -> PortResult<()> {
    let queue = &desk.ports.queue;
    let job: JobId = match Message::decode(&received.body) {
        Ok(message) => message.job,
        Err(error) => {
            tracing::warn!(%error, "a message is put aside in the poison queue");
            queue.send(QueueName::Poison, &received.body, Duration::ZERO).await?;
            return queue.delete(QueueName::Dispatch, &received.receipt).await;
        }
    };
    let again = match fan_out(desk, &job).await {
        Ok(FannedOut::Done) => None,
        Ok(FannedOut::Later(wait)) => Some(wait),
        Err(error) => {
            tracing::warn!(%job, "a job could not be fanned out yet: {error}");
            Some(retry_after(&error))
        }
    };
    match again {
        None => queue.delete(QueueName::Dispatch, &received.receipt).await,
        Some(wait) => queue.extend(QueueName::Dispatch, &received.receipt, wait).await.map(|_| ()),
    }
}

fn retry_after(error: &DeskError) -> Duration {
    let asked = if let DeskError::Port(error) = error { error.retry_after } else { None };
    asked.unwrap_or(Duration::from_secs(5))
}
