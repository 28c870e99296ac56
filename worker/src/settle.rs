//! From a step's outcome to the row, the messages that follow, and the message in hand.

use std::time::Duration;

use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Operation, OperationState, Progress};
use goldfleet_model::state::OperationEvent;
use goldfleet_ports::Ports;
use goldfleet_ports::chance;
use goldfleet_ports::clock::{after, between};
use goldfleet_ports::commit::Commit;
use goldfleet_ports::error::PortResult;
use goldfleet_workflow::release::{block_image, release_image};
use jiff::Timestamp;

use crate::failed::Failed;
use crate::hold::{Concluded, Hold, Rows, Stop};
use crate::outcome::{Ended, Outcome, Settled, StepError};
use crate::settings::Settings;

/// Writes how a step ended, and passes on or removes its message.
pub async fn settle(ports: &Ports, settings: &Settings, hold: &Hold, ended: &Ended) -> Settled {
    let jitter = chance::fraction();
    let written = hold.conclude(|rows, progress, now| conclusion(settings, rows, progress, now, ended, jitter)).await;
    let Some(concluded) = written else {
        tracing::info!("the lease was lost; another worker goes on");
        return Settled::Lost;
    };
    if let Err(error) = pass_on(ports, hold, &concluded).await {
        // The rows are right, and the sweeper sends what is missing.
        tracing::warn!(%error, "messages could not be passed on");
    }
    Settled::Written(concluded.own.state)
}

fn conclusion(
    settings: &Settings,
    rows: &Rows,
    progress: Progress,
    now: Timestamp,
    ended: &Ended,
    jitter: f64,
) -> Option<Commit> {
    let mut operation = rows.own.value.clone();
    operation.progress = progress;
    let event = event_for(settings, &operation, ended, now, jitter)?;
    let who = settings.name.as_str();
    let event = match operation.apply(event, now, who) {
        Ok(event) => event,
        Err(illegal) => {
            tracing::error!(%illegal, "an outcome does not fit its operation");
            return None;
        }
    };
    let mut commit = Commit::default();
    commit.write(&rows.own, operation.clone(), [event]);
    match operation.state {
        OperationState::Succeeded => release_image(&rows.siblings, now, who, &mut commit),
        OperationState::Failed => block_image(&rows.siblings, now, who, &mut commit),
        _ => {}
    }
    Some(commit)
}

/// The event that an outcome is to the operation; none where the lease is lost and nothing may be written.
fn event_for(
    settings: &Settings,
    operation: &Operation,
    ended: &Ended,
    now: Timestamp,
    jitter: f64,
) -> Option<OperationEvent> {
    let cancelling = operation.state == OperationState::Cancelling;
    let is_last = |failed: &Failed| !failed.retryable || operation.failures + 1 >= settings.max_attempts;
    let wait = |failed: &Failed, earlier: u32| failed.retry_after.unwrap_or_else(|| backoff(settings, earlier, jitter));
    Some(match ended {
        Err(StepError::Stopped(Stop::Lost)) => return None,
        Ok(Outcome::Done) => OperationEvent::Succeed,
        // An operator who asked to stop is still told what failed for good.
        Err(StepError::Failed(failed)) if cancelling && is_last(failed) => OperationEvent::Fail(failed.failure(now)),
        _ if cancelling => OperationEvent::Stop,
        Ok(Outcome::Continue(wait)) => OperationEvent::Defer(after(now, *wait)),
        Err(StepError::Stopped(Stop::Drain | Stop::Cancel)) => OperationEvent::Drain,
        // How long a service that is asked too much needs is its to say: such an attempt is not counted.
        Err(StepError::Failed(failed)) if failed.throttled => {
            OperationEvent::Defer(after(now, wait(failed, operation.attempts)))
        }
        Err(StepError::Failed(failed)) if is_last(failed) => OperationEvent::Fail(failed.failure(now)),
        Err(StepError::Failed(failed)) => {
            OperationEvent::Retry(failed.failure(now), after(now, wait(failed, operation.failures)))
        }
    })
}

/// The wait after `failures` earlier failures: exponential with full jitter.
fn backoff(settings: &Settings, failures: u32, jitter: f64) -> Duration {
    let ceiling = settings.retry_base.saturating_mul(1 << failures.min(20)).min(settings.retry_cap);
    ceiling.mul_f64(jitter)
}

/// Sends the messages of what became ready, and removes, delays or puts aside the one in hand.
async fn pass_on(ports: &Ports, hold: &Hold, Concluded { own, siblings }: &Concluded) -> PortResult<()> {
    let now = ports.clock.now();
    for ready in siblings.iter().filter(|operation| operation.state == OperationState::Ready) {
        let message = Message::operation(&ready.job, &ready.id).encode();
        ports.queue.send(QueueName::of(ready.id.kind()), &message, Duration::ZERO).await?;
    }
    match own.state {
        OperationState::Ready => {
            let delay = own.not_before.map_or(Duration::ZERO, |at| between(now, at));
            ports.queue.extend(hold.queue(), &hold.receipt(), delay).await.map(|_| ())
        }
        OperationState::Failed => {
            let message = Message::operation(&own.job, &own.id).encode();
            ports.queue.send(QueueName::Poison, &message, Duration::ZERO).await?;
            ports.queue.delete(hold.queue(), &hold.receipt()).await
        }
        _ => ports.queue.delete(hold.queue(), &hold.receipt()).await,
    }
}
