//! The pump: takes permits, receives messages, claims operations, runs their steps, settles them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use goldfleet_model::message::{Message, QueueName};
use goldfleet_model::operation::{Kind, OperationState};
use goldfleet_ports::error::PortResult;
use goldfleet_ports::queue::{MAX_RECEIVE, Received};
use goldfleet_runtime::telemetry::Complaint;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::claim::{Claim, claim};
use crate::hold::{Hold, Stop};
use crate::outcome::{Ended, Settled, counted};
use crate::settle::settle;
use crate::steps::{self, Shared, StepError};

/// The queues in the order in which a worker looks into them. Seeds come first, as others wait for them, and images before
/// copies, as they are short and end something.
const ORDER: [QueueName; 3] = [QueueName::Seed, QueueName::Image, QueueName::Copy];

/// The wait after the first look at empty queues; it doubles up to the configured one.
const FIRST_IDLE: Duration = Duration::from_millis(20);

/// How often the pump says that it lives while all places are taken.
const BUSY: Duration = Duration::from_secs(10);

/// How long a step that is to stop may take to its next checkpoint.
const DRAIN: Duration = Duration::from_secs(20);

/// A worker's pump.
#[derive(Clone)]
pub struct Pump {
    shared: Shared,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    drain: CancellationToken,
    /// A message was sent from here: there is no need to wait for the next look.
    sent: Arc<Notify>,
}

impl Pump {
    /// A pump that works until `drain` is cancelled.
    #[must_use]
    pub fn new(shared: Shared, drain: CancellationToken) -> Self {
        let permits = Arc::new(Semaphore::new(shared.settings.concurrency.max(1)));
        Self { shared, permits, tasks: TaskTracker::new(), drain, sent: Arc::default() }
    }

    /// Works until it is drained or, if so configured, until all queues are empty. Returns when the last step in flight
    /// has been settled.
    pub async fn run(&self) {
        let mut idle = FIRST_IDLE;
        let mut complaint = Complaint::default();
        while !self.drain.is_cancelled() {
            self.shared.vitals.health.turns(Duration::ZERO);
            match self.round().await {
                Ok(0) => {
                    if self.shared.settings.exit_when_idle && self.is_idle().await {
                        break;
                    }
                    idle = tokio::select! {
                        biased;
                        () = self.sent.notified() => FIRST_IDLE,
                        () = self.pause(idle) => (idle * 2).min(self.shared.settings.poll),
                    };
                }
                Ok(_) => idle = FIRST_IDLE,
                Err(error) => {
                    if complaint.is_due(&error) {
                        tracing::warn!(%error, code = error.code, "queues can't be read");
                    }
                    self.pause(error.retry_after.unwrap_or(idle)).await;
                    idle = (idle * 2).min(self.shared.settings.poll);
                }
            }
        }
        self.shared.vitals.health.drains();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn pause(&self, duration: Duration) {
        self.shared.vitals.health.turns(duration);
        tokio::select! {
            biased;
            () = self.shared.ports.clock.sleep(duration) => {}
            () = self.drain.cancelled() => {}
        }
    }

    /// Fills the free places with messages. Returns how many there were.
    async fn round(&self) -> PortResult<usize> {
        let mut received = 0;
        for queue in ORDER {
            let Some(room) = self.room().await else { break };
            let messages = self.shared.ports.queue.receive(queue, room, self.shared.settings.lease).await?;
            self.shared.vitals.health.answered();
            received += messages.len();
            for message in messages {
                // There is room: nobody else takes permits.
                let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
                let pump = self.clone();
                self.tasks.spawn(async move {
                    let _permit = permit;
                    pump.process(queue, message).await;
                });
            }
        }
        Ok(received)
    }

    /// Waits until another operation may begin; then, how many may, up to what one receive returns. None when draining.
    async fn room(&self) -> Option<usize> {
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                permit = self.permits.acquire() => { drop(permit); break }
                // With all places taken there is nothing to turn for: that is no reason to be taken for stuck.
                () = self.shared.ports.clock.sleep(BUSY) => self.shared.vitals.health.turns(BUSY),
            }
        }
        Some(self.permits.available_permits().min(MAX_RECEIVE))
    }

    /// Whether nothing is in flight here and no queue holds a message, not even one that another worker has in hand.
    async fn is_idle(&self) -> bool {
        if !self.tasks.is_empty() {
            return false;
        }
        for queue in ORDER.into_iter().chain([QueueName::Dispatch]) {
            if !matches!(self.shared.ports.queue.depth(queue).await, Ok(0)) {
                return false;
            }
        }
        true
    }

    /// Deals with a message, under a span that gives every line its operation.
    async fn process(&self, queue: QueueName, message: Received) {
        let span = span(&message);
        async {
            match claim(&self.shared, queue, message).await {
                Ok(Claim::Held(hold)) => self.work(&hold).await,
                Ok(Claim::Nothing) => {}
                Err(error) => {
                    tracing::warn!(%error, code = error.code, "a message could not be claimed; it comes again");
                }
            }
        }
        .instrument(span)
        .await;
    }

    /// Runs the step of an operation in hand, and settles it.
    async fn work(&self, hold: &Hold) {
        let operation = hold.operation().await;
        let metrics = &self.shared.vitals.metrics;
        let began = Instant::now();
        metrics.begun(hold.kind());
        tracing::debug!(attempt = operation.attempts, "begins");
        let ended = tokio::select! {
            biased;
            stop = hold.beat_until_lost() => Err(StepError::Stopped(stop)),
            stop = self.overdue(hold) => Err(StepError::Stopped(stop)),
            ended = steps::run(&self.shared, hold, &operation) => ended,
        };
        report(&ended, operation.attempts);
        let settled = settle(&self.shared.ports, &self.shared.settings, hold, &ended).await;
        if hold.kind() == Kind::Copy && settled == Settled::Written(OperationState::Succeeded) {
            // Its image is ready, and mostly nobody is nearer to it.
            self.sent.notify_one();
        }
        metrics.settled(hold.kind(), began.elapsed(), counted(&ended, settled));
    }

    /// Tells the hold when the worker drains; returns when the step has not come to a checkpoint in time.
    async fn overdue(&self, hold: &Hold) -> Stop {
        let asked = async {
            self.drain.cancelled().await;
            hold.stop(Stop::Drain);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            () = asked => Stop::Drain,
            stop = hold.stopped_for(&[Stop::Drain, Stop::Cancel]) => {
                self.shared.ports.clock.sleep(DRAIN).await;
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
            tracing::error_span!("operation", %job, operation = %id, target = id.place())
        }
        _ => tracing::error_span!("message", id = message.receipt.id),
    }
}

fn report(ended: &Ended, attempt: u32) {
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
