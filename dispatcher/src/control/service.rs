//! The dispatcher as a service: fans out jobs as they are requested, reconciles, cleans up.

use std::time::Duration;

use goldfleet_model::ids::JobId;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_ports::clock::after;
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::queue::Received;
use goldfleet_runtime::telemetry::RepeatLimiter;
use tokio_util::sync::CancellationToken;

use crate::control::context::{ControlContext, ControlError};
use crate::control::fan_out::{FanOutResult, fan_out};
use crate::control::reconcile::{MAX_PASS_TIME, reconcile_open_jobs};

/// How long a dispatch message stays invisible while its job is fanned out. Longer than that takes is better than too
/// short, but a second dispatcher that begins as well does no harm.
const VISIBILITY: Duration = Duration::from_secs(120);

/// The wait after a first failure to read the queue, and between looks at an empty one.
const FIRST_POLL: Duration = Duration::from_millis(200);

/// How long a dispatcher works, if nobody stops it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunUntil {
    /// Until it is stopped.
    Stopped,
    /// Until no job is left that has not ended.
    Idle,
}

/// Works until `stop` is cancelled, or until its end.
pub async fn run(control: &ControlContext, until: RunUntil, stop: &CancellationToken) {
    let clock = control.ports.clock.as_ref();
    let interval = control.config.dispatch.sweep.get();
    let mut swept = None;
    let health = &control.monitor.health;
    let (mut unread, mut unswept) = (RepeatLimiter::default(), RepeatLimiter::default());
    while !stop.is_cancelled() {
        health.tick(MAX_PASS_TIME);
        let received = receive(control).await.unwrap_or_else(|error| {
            if unread.should_log(&error) {
                tracing::warn!(%error, code = error.code, "the dispatch queue can't be read");
            }
            0
        });
        let now = clock.now();
        let due = swept.is_none_or(|at| now > after(at, interval));
        if received == 0 && (due || until == RunUntil::Idle) {
            swept = Some(now);
            measure_queues(control).await;
            match reconcile_open_jobs(control).await {
                Ok(0) if until == RunUntil::Idle && is_idle(control).await => return,
                Ok(_) => {}
                Err(error) if unswept.should_log(&error) => tracing::warn!("a sweep was cut short: {error}"),
                Err(_) => {}
            }
        }
        if received == 0 {
            tokio::select! {
                biased;
                () = clock.sleep(FIRST_POLL.min(interval)) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    health.set_draining();
}

/// Asks how much lies in the queues, for whoever watches: only where someone does, as asking costs a request a queue.
async fn measure_queues(control: &ControlContext) {
    if control.config.dispatch.listen.is_none() {
        return;
    }
    for queue in QueueName::ALL {
        match control.ports.queue.depth(queue).await {
            Ok(messages) => control.monitor.metrics.set_queue_depth(queue, messages),
            Err(error) => tracing::debug!(%error, %queue, "how much lies in a queue can't be told"),
        }
    }
}

async fn is_idle(control: &ControlContext) -> bool {
    matches!(control.ports.queue.depth(QueueName::Dispatch).await, Ok(0))
}

/// Deals with one message of the dispatch queue, if there is one.
async fn receive(control: &ControlContext) -> PortResult<usize> {
    let messages = control.ports.queue.receive(QueueName::Dispatch, 1, VISIBILITY).await?;
    control.monitor.health.coordination_reached();
    for message in &messages {
        process(control, message).await?;
    }
    Ok(messages.len())
}

async fn process(control: &ControlContext, received: &Received) -> PortResult<()> {
    let queue = &control.ports.queue;
    let job: JobId = match Message::decode(&received.body) {
        Ok(message) => message.job,
        Err(error) => {
            tracing::warn!(%error, "a message is put aside in the poison queue");
            queue.send(QueueName::DeadLetter, &received.body, Duration::ZERO).await?;
            return queue.delete(QueueName::Dispatch, &received.receipt).await;
        }
    };
    let again = match fan_out(control, &job).await {
        Ok(FanOutResult::Done) => None,
        Ok(FanOutResult::Deferred(wait)) => Some(wait),
        Err(error) if is_race(&error) => {
            tracing::debug!(%job, "another dispatcher plans this job too: {error}");
            Some(retry_after(&error))
        }
        Err(error) => {
            tracing::warn!(%job, "the job could not be planned yet: {error}");
            Some(retry_after(&error))
        }
    };
    match again {
        None => queue.delete(QueueName::Dispatch, &received.receipt).await,
        Some(wait) => queue.extend(QueueName::Dispatch, &received.receipt, wait).await.map(|_| ()),
    }
}

/// Whether another dispatcher changed the same rows at the same time, which is harmless: the message is received again.
fn is_race(error: &ControlError) -> bool {
    let kind = if let ControlError::Port(error) = error { Some(error.kind) } else { None };
    matches!(kind, Some(ErrorKind::Conflict | ErrorKind::AlreadyExists | ErrorKind::Fenced))
}

fn retry_after(error: &ControlError) -> Duration {
    let asked = if let ControlError::Port(error) = error { error.retry_after } else { None };
    asked.unwrap_or(Duration::from_secs(5))
}
