//! Completes an attempt: writes the result of a step to the row, sends the messages that follow, and deletes, delays or
//! dead-letters the received message.

use std::time::Duration;

use goldfleet_kinds::attempt_error::AttemptError;
use goldfleet_kinds::lease::StopReason;
use goldfleet_kinds::messages::announce;
use goldfleet_kinds::outcome::{StepError, StepOutcome, StepResult};
use goldfleet_model::document::Document;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Operation, OperationState, TransferProgress};
use goldfleet_model::state::OperationEvent;
use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::clock::{after, elapsed};
use goldfleet_ports::commit::Commit;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::rng;
use jiff::Timestamp;

use crate::context::WorkerContext;
use crate::lease_guard::{CompletedRows, GroupRows, LeaseGuard};
use crate::outcome::CompletionOutcome;
use crate::settings::WorkerSettings;

/// Writes the result of a step, and sends or deletes messages.
pub async fn complete(context: &WorkerContext, lease: &LeaseGuard, ended: &StepResult) -> CompletionOutcome {
    let jitter = rng::random_fraction();
    let settings = context.settings.as_ref();
    let written = lease
        .complete(|rows, progress, output, now| {
            let row = Recorded { rows, progress, output };
            completion_commit(settings, row, now, ended, jitter, |own| context.registry.get(&own.kind)?.remark(own))
        })
        .await;
    let Some(completed) = written else {
        tracing::info!("the lease is lost; another worker continues the operation");
        return CompletionOutcome::Lost;
    };
    if let Err(error) = send_messages(context, lease, &completed).await {
        // The rows are correct, and the reconciler sends the missing messages.
        tracing::warn!(%error, "messages could not be sent");
    }
    CompletionOutcome::Written { state: completed.own.state, releases: completed.releases() }
}

/// The rows, and what the step has recorded.
struct Recorded<'a> {
    rows: &'a GroupRows,
    progress: TransferProgress,
    output: Option<Document>,
}

fn completion_commit(
    settings: &WorkerSettings,
    Recorded { rows, progress, output }: Recorded<'_>,
    now: Timestamp,
    ended: &StepResult,
    jitter: f64,
    remark: impl Fn(&Operation) -> Option<String>,
) -> Option<Commit> {
    let own = &rows.own.value;
    let event = event_for_outcome(settings, own, ended, now, jitter)?;
    let mut change = rows.change(now, &settings.name);
    change.edit(&own.id, |operation| {
        operation.progress = progress;
        operation.output = output;
    });
    if let Err(illegal) = change.apply(&own.id, event) {
        tracing::error!(%illegal, "the state of the operation does not permit this outcome");
        return None;
    }
    if let Some(remark) = change.operation(&own.id).filter(|own| own.state.is_done()).and_then(remark) {
        change.explain(&own.id, remark);
    }
    change.advance();
    Some(change.into_commit())
}

/// The event for the result of a step. None if the lease is lost and nothing may be written.
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
        // A permanent failure is reported to the operator even if the operation was being cancelled.
        Err(StepError::Failed(failed)) if cancelling && is_last(failed) => OperationEvent::Fail(failed.to_failure(now)),
        _ if cancelling => OperationEvent::ConfirmCancel,
        Ok(StepOutcome::RequeueAfter(wait)) => OperationEvent::Defer(after(now, *wait)),
        Err(StepError::Stopped(StopReason::Drain | StopReason::Cancel)) => OperationEvent::Drain,
        // A throttled attempt is not counted, because only the service determines how long it throttles.
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
    // The configuration permits a base above the cap. The cap limits the wait.
    let ceiling = Backoff::new(settings.retry_base, settings.retry_cap).wait(failures).min(settings.retry_cap);
    ceiling.mul_f64(jitter)
}

/// Sends messages for the operations that became ready, and deletes, delays or dead-letters the received message.
async fn send_messages(context: &WorkerContext, lease: &LeaseGuard, completed: &CompletedRows) -> PortResult<()> {
    let WorkerContext { ports, registry, hints, .. } = context;
    let own = &completed.own;
    for ready in completed.siblings.iter().filter(|operation| operation.state == OperationState::Ready) {
        announce(ports, registry, ready).await?;
    }
    hints.send(ports, std::iter::once(own).chain(&completed.siblings)).await?;
    match own.state {
        OperationState::Ready => {
            let delay = own.not_before.map_or(Duration::ZERO, |at| elapsed(ports.clock.now(), at));
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
