//! The consumer: takes permits, receives messages, claims operations, runs their steps, settles them.

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

/// The queues in the order in which a worker looks into them. Seeds come first, as others wait for them, and images before
/// copies, as they are short and end something.
const QUEUE_ORDER: [QueueName; 3] = [QueueName::Seed, QueueName::Image, QueueName::Copy];

/// The wait after the first look at empty queues; it doubles up to the configured one.
const FIRST_EMPTY_WAIT: Duration = Duration::from_millis(20);

/// How often the consumer says that it lives while all places are taken.
const BUSY_TICK: Duration = Duration::from_secs(10);

/// How long a step that is to stop may take to its next checkpoint.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// A worker's consumer.
#[derive(Clone)]
pub struct Consumer {
    context: WorkerContext,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    drain: CancellationToken,
    /// A message was sent from here: there is no need to wait for the next look.
    sent: Arc<Notify>,
}

impl Consumer {
    /// A consumer that works until `drain` is cancelled.
    #[must_use]
    pub fn new(context: WorkerContext, drain: CancellationToken) -> Self {
        let permits = Arc::new(Semaphore::new(context.settings.concurrency.max(1)));
        Self { context, permits, tasks: TaskTracker::new(), drain, sent: Arc::default() }
    }

    /// Works until it is drained or, if so configured, until all queues are empty. Returns when the last step in flight
    /// has been settled.
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
                    if complaint.should_log(&error) {
                        tracing::warn!(%error, code = error.code, "queues can't be read");
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

    /// Fills the free places with messages. Returns how many there were.
    async fn poll_queues(&self) -> PortResult<usize> {
        let mut received = 0;
        for queue in QUEUE_ORDER {
            let Some(room) = self.wait_for_capacity().await else { break };
            let messages = self.context.ports.queue.receive(queue, room, self.context.settings.lease).await?;
            self.context.monitor.health.coordination_reached();
            received += messages.len();
            for message in messages {
                // There is room: nobody else takes permits.
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

    /// Waits until another operation may begin; then, how many may, up to what one receive returns. None when draining.
    async fn wait_for_capacity(&self) -> Option<usize> {
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                permit = self.permits.acquire() => { drop(permit); break }
                // With all places taken there is nothing to turn for: that is no reason to be taken for stuck.
                () = self.context.ports.clock.sleep(BUSY_TICK) => self.context.monitor.health.tick(BUSY_TICK),
            }
        }
        Some(self.permits.available_permits().min(MAX_RECEIVE))
    }

    /// Whether nothing is in flight here and no queue holds a message, not even one that another worker has in hand.
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

    /// Deals with a message, under a span that gives every line its operation.
    async fn handle_message(&self, queue: QueueName, message: Received) {
        let span = span(&message);
        async {
            match claim(&self.context, queue, message).await {
                Ok(Claim::Claimed(lease)) => self.run_attempt(&lease).await,
                Ok(Claim::NotClaimed) => {}
                Err(error) => {
                    tracing::warn!(%error, code = error.code, "a message could not be claimed; it comes again");
                }
            }
        }
        .instrument(span)
        .await;
    }

    /// Runs the step of a claimed operation, and completes it.
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
            // The next operation of the group is ready, and mostly no other worker is nearer to it.
            self.sent.notify_one();
        }
        metrics.attempt_ended(kind, began.elapsed(), counted(&ended, completion));
    }

    async fn run_step(&self, lease: &LeaseGuard, operation: &Operation) -> StepResult {
        match self.context.registry.of(operation) {
            Some(kind) => kind.run(Attempt { shared: &self.context.steps, lease, operation }).await,
            // A claim checks this first.
            None => Err(AttemptError::fatal("row-damaged", "this program does not know the operation's kind").into()),
        }
    }

    /// Tells the hold when the worker drains; returns when the step has not come to a checkpoint in time.
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

/// The span of everything that is done for a message: its job, operation, and the target's name as operators know it.
/// It is of the gravest level, so that it is there however little is logged.
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
