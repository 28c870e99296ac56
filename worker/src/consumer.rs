//! The consumer: takes permits, receives messages, claims operations, runs their steps, and completes them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use goldfleet_kinds::attempt_error::AttemptError;
use goldfleet_kinds::context::Attempt;
use goldfleet_kinds::lease::{Lease as _, StopReason};
use goldfleet_kinds::outcome::{StepError, StepResult};
use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::Operation;
use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::error::PortResult;
use goldfleet_ports::queue::{MAX_RECEIVE, Received};
use goldfleet_runtime::telemetry::RepeatLimiter;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::claim::{Claim, claim};
use crate::completion::complete;
use crate::context::WorkerContext;
use crate::lease_guard::LeaseGuard;
use crate::outcome::{CompletionOutcome, counted};

/// The order in which a worker polls the queues. The `seed` queue is first because other operations wait for it. The
/// `image` queue precedes the `copy` queue because its operations are short and finish a target.
const QUEUE_ORDER: [QueueName; 3] = [QueueName::Seed, QueueName::Image, QueueName::Copy];

/// The wait after the first poll of empty queues. It doubles up to the configured maximum.
const FIRST_EMPTY_WAIT: Duration = Duration::from_millis(20);

/// The interval of health ticks while no permit is free.
const BUSY_TICK: Duration = Duration::from_secs(10);

/// The time limit for a step to reach a checkpoint after it was asked to stop.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// A worker's consumer.
#[derive(Clone)]
pub struct Consumer {
    context: WorkerContext,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    drain: CancellationToken,
    /// Notified when this worker sends a message, so that the next poll does not wait.
    sent: Arc<Notify>,
}

impl Consumer {
    /// Creates a consumer that runs until `drain` is cancelled.
    #[must_use]
    pub fn new(context: WorkerContext, drain: CancellationToken) -> Self {
        let permits = Arc::new(Semaphore::new(context.settings.concurrency.max(1)));
        Self { context, permits, tasks: TaskTracker::new(), drain, sent: Arc::default() }
    }

    /// Runs until it is drained or, if so configured, until all queues are empty. Returns after the last step in flight
    /// has been completed.
    pub async fn run(&self) {
        let backoff = Backoff::new(FIRST_EMPTY_WAIT, self.context.settings.poll);
        let mut waits = 0_u32;
        let mut complaint = RepeatLimiter::default();
        while !self.drain.is_cancelled() {
            self.context.monitor.health.tick(Duration::ZERO);
            match self.poll_queues().await {
                Ok(0) => {
                    if self.context.settings.exit_when_idle && self.is_idle().await {
                        break;
                    }
                    waits = tokio::select! {
                        biased;
                        () = self.sent.notified() => 0,
                        () = self.wait_after_empty_poll(backoff.wait(waits)) => waits.saturating_add(1),
                    };
                }
                Ok(_) => waits = 0,
                Err(error) => {
                    self.context.monitor.health.coordination_failed(&error);
                    if complaint.should_log(&error) {
                        tracing::warn!(%error, code = error.code, "queues cannot be read");
                    }
                    self.wait_after_empty_poll(error.retry_after.unwrap_or_else(|| backoff.wait(waits))).await;
                    waits = waits.saturating_add(1);
                }
            }
        }
        self.context.monitor.health.set_draining();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn wait_after_empty_poll(&self, duration: Duration) {
        self.context.monitor.health.tick(duration);
        tokio::select! {
            biased;
            () = self.context.ports.clock.sleep(duration) => {}
            () = self.drain.cancelled() => {}
        }
    }

    /// Receives messages for the free permits. Returns the number of messages.
    async fn poll_queues(&self) -> PortResult<usize> {
        let mut received = 0;
        for queue in QUEUE_ORDER {
            let Some(room) = self.wait_for_capacity().await else { break };
            let messages = self.context.ports.queue.receive(queue, room, self.context.settings.visibility).await?;
            self.context.monitor.health.coordination_reached();
            received += messages.len();
            for message in messages {
                // This does not wait, because no other task takes permits.
                let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
                let pump = self.clone();
                self.tasks.spawn(async move {
                    let _permit = permit;
                    pump.handle_message(queue, message).await;
                });
            }
        }
        Ok(received)
    }

    /// Waits for a free permit. Returns how many messages may be received, up to the maximum of one receive. None when
    /// draining.
    async fn wait_for_capacity(&self) -> Option<usize> {
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                permit = self.permits.acquire() => { drop(permit); break }
                // While no permit is free, the receive loop waits here. The health check must not report it as stuck.
                () = self.context.ports.clock.sleep(BUSY_TICK) => self.context.monitor.health.tick(BUSY_TICK),
            }
        }
        Some(self.permits.available_permits().min(MAX_RECEIVE))
    }

    /// Whether no operation is in flight here and no queue contains a message, including messages that other workers
    /// have received.
    async fn is_idle(&self) -> bool {
        if !self.tasks.is_empty() {
            return false;
        }
        for queue in QUEUE_ORDER.into_iter().chain([QueueName::Dispatch]) {
            if !matches!(self.context.ports.queue.depth(queue).await, Ok(0)) {
                return false;
            }
        }
        true
    }

    /// Processes a message in a span that adds the operation to every log line.
    async fn handle_message(&self, queue: QueueName, message: Received) {
        let span = span(&message);
        async {
            match claim(&self.context, queue, message).await {
                Ok(Claim::Claimed(lease)) => self.run_attempt(&lease).await,
                Ok(Claim::NotClaimed) => {}
                Err(error) => {
                    tracing::warn!(%error, code = error.code, "the operation of a message could not be claimed; the message is delivered again");
                }
            }
        }
        .instrument(span)
        .await;
    }

    /// Runs the step of a claimed operation and completes it.
    async fn run_attempt(&self, lease: &LeaseGuard) {
        let operation = lease.operation().await;
        let kind = operation.kind.as_str();
        tracing::Span::current().record("target", operation.place.label.as_str());
        let metrics = &self.context.monitor.metrics;
        let began = Instant::now();
        metrics.attempt_started(kind);
        tracing::debug!(attempt = operation.attempts, "begins");
        let ended = tokio::select! {
            biased;
            stop = lease.renew_until_lost() => Err(StepError::Stopped(stop)),
            stop = self.drain_deadline(lease) => Err(StepError::Stopped(stop)),
            ended = self.run_step(lease, &operation) => ended,
        };
        log_completion(&ended, operation.attempts);
        let completion = complete(&self.context, lease, &ended).await;
        if matches!(completion, CompletionOutcome::Written { releases: true, .. }) {
            // The next operation of the group is ready, and this worker can usually start it first.
            self.sent.notify_one();
        }
        metrics.attempt_ended(kind, began.elapsed(), counted(&ended, completion));
    }

    async fn run_step(&self, lease: &LeaseGuard, operation: &Operation) -> StepResult {
        match self.context.registry.of(operation) {
            Some(kind) => kind.run(Attempt { shared: &self.context.steps, lease, operation }).await,
            // The claim has already checked this.
            None => Err(AttemptError::fatal("row-damaged", "this program does not know the operation's kind").into()),
        }
    }

    /// Asks the step to stop when the worker drains. Returns if the step does not reach a checkpoint in time.
    async fn drain_deadline(&self, lease: &LeaseGuard) -> StopReason {
        let asked = async {
            self.drain.cancelled().await;
            lease.request_stop(StopReason::Drain);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = asked => StopReason::Drain,
            stop = lease.stop_requested(&[StopReason::Drain, StopReason::Cancel]) => {
                self.context.ports.clock.sleep(DRAIN_TIMEOUT).await;
                stop
            }
        }
    }
}

/// The span for all work on a message: its job, its operation, and the display name of the target. It has the highest
/// severity, so that every log level includes it.
fn span(message: &Received) -> tracing::Span {
    match Message::decode(&message.body) {
        Ok(Message { job, operation: Some(id), .. }) => {
            tracing::error_span!("operation", %job, operation = %id, target = tracing::field::Empty)
        }
        _ => tracing::error_span!("message", id = message.receipt.id),
    }
}

fn log_completion(ended: &StepResult, attempt: u32) {
    match ended {
        Ok(outcome) => tracing::debug!(?outcome, "ended"),
        Err(StepError::Stopped(stop)) => tracing::info!(?stop, "stopped"),
        Err(StepError::Failed(failed)) => {
            tracing::warn!(
                code = failed.code,
                attempt,
                retryable = failed.retryable,
                request_id = failed.request_id,
                "{}",
                failed.message
            );
        }
    }
}
