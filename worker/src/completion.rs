//! From a step's outcome to the row, the messages that follow, and the message in hand.

use std::time::Duration;

use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Operation, OperationState, TransferProgress};
use goldfleet_model::state::OperationEvent;
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{after, elapsed};
use goldfleet_ports::commit::Commit;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::rng;
use goldfleet_workflow::release::{block_image, release_image};
use jiff::Timestamp;

use crate::attempt_error::AttemptError;
use crate::lease_guard::{CompletedRows, GroupRows, LeaseGuard, StopReason};
use crate::outcome::{CompletionOutcome, StepError, StepOutcome, StepResult};
use crate::settings::WorkerSettings;

/// Writes how a step ended, and passes on or removes its message.
pub async fn complete(
    ports: &Ports,
    settings: &WorkerSettings,
    lease: &LeaseGuard,
    ended: &StepResult,
) -> CompletionOutcome {
    let jitter = rng::random_fraction();
    let written =
        lease.complete(|rows, progress, now| completion_events(settings, rows, progress, now, ended, jitter)).await;
    let Some(concluded) = written else {
        tracing::info!("the lease was lost; another worker goes on");
        return CompletionOutcome::Lost;
    };
    if let Err(error) = send_messages(ports, lease, &concluded).await {
        // The rows are right, and the reconciler sends what is missing.
        tracing::warn!(%error, "messages could not be passed on");
    }
    CompletionOutcome::Written(concluded.own.state)
}

fn completion_events(
    settings: &WorkerSettings,
    rows: &GroupRows,
    progress: TransferProgress,
    now: Timestamp,
    ended: &StepResult,
    jitter: f64,
) -> Option<Commit> {
    let mut operation = rows.own.value.clone();
    operation.progress = progress;
    let event = event_for_outcome(settings, &operation, ended, now, jitter)?;
    let who = settings.name.as_str();
    let event = match operation.apply(event, now, who) {
        Ok(event) => event,
        Err(illegal) => {
            tracing::error!(%illegal, "an outcome does not fit its operation");
            return None;
        }
    };
    let mut commit = Commit::default();
    commit.push(&rows.own, operation.clone(), [event]);
    match operation.state {
        OperationState::Succeeded => release_image(&rows.siblings, now, who, &mut commit),
        OperationState::Failed => block_image(&rows.siblings, now, who, &mut commit),
        _ => {}
    }
    Some(commit)
}

/// The event that an outcome is to the operation; none where the lease is lost and nothing may be written.
fn event_for_outcome(
    settings: &WorkerSettings,
    operation: &Operation,
    ended: &StepResult,
    now: Timestamp,
    jitter: f64,
) -> Option<OperationEvent> {
    let cancelling = operation.state == OperationState::Cancelling;
    let is_last = |failed: &AttemptError| !failed.retryable || operation.failures + 1 >= settings.max_attempts;
    let wait =
        |failed: &AttemptError, earlier: u32| failed.retry_after.unwrap_or_else(|| backoff(settings, earlier, jitter));
    Some(match ended {
        Err(StepError::Stopped(StopReason::Lost)) => return None,
        Ok(StepOutcome::Done) => OperationEvent::Succeed,
        // An operator who asked to stop is still told what failed for good.
        Err(StepError::Failed(failed)) if cancelling && is_last(failed) => OperationEvent::Fail(failed.to_failure(now)),
        _ if cancelling => OperationEvent::ConfirmCancel,
        Ok(StepOutcome::RequeueAfter(wait)) => OperationEvent::Defer(after(now, *wait)),
        Err(StepError::Stopped(StopReason::Drain | StopReason::Cancel)) => OperationEvent::Drain,
        // How long a service that is asked too much needs is its to say: such an attempt is not counted.
        Err(StepError::Failed(failed)) if failed.throttled => {
            OperationEvent::Defer(after(now, wait(failed, operation.attempts)))
        }
        Err(StepError::Failed(failed)) if is_last(failed) => OperationEvent::Fail(failed.to_failure(now)),
        Err(StepError::Failed(failed)) => {
            OperationEvent::Retry(failed.to_failure(now), after(now, wait(failed, operation.failures)))
        }
    })
}

/// The wait after `failures` earlier failures: exponential with full jitter.
fn backoff(settings: &WorkerSettings, failures: u32, jitter: f64) -> Duration {
    let ceiling = settings.retry_base.saturating_mul(1 << failures.min(20)).min(settings.retry_cap);
    ceiling.mul_f64(jitter)
}

/// Sends the messages of what became ready, and removes, delays or puts aside the one in hand.
async fn send_messages(
    ports: &Ports,
    lease: &LeaseGuard,
    CompletedRows { own, siblings }: &CompletedRows,
) -> PortResult<()> {
    let now = ports.clock.now();
    for ready in siblings.iter().filter(|operation| operation.state == OperationState::Ready) {
        let message = Message::operation(&ready.job, &ready.id).encode();
        ports.queue.send(QueueName::of(ready.id.kind()), &message, Duration::ZERO).await?;
    }
    match own.state {
        OperationState::Ready => {
            let delay = own.not_before.map_or(Duration::ZERO, |at| elapsed(now, at));
            ports.queue.extend(lease.queue(), &lease.receipt(), delay).await.map(|_| ())
        }
        OperationState::Failed => {
            let message = Message::operation(&own.job, &own.id).encode();
            ports.queue.send(QueueName::DeadLetter, &message, Duration::ZERO).await?;
            ports.queue.delete(lease.queue(), &lease.receipt()).await
        }
        _ => ports.queue.delete(lease.queue(), &lease.receipt()).await,
    }
}
