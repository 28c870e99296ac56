//! The dispatcher as a service: fans out requested jobs, reconciles open jobs, and applies retention.

use std::collections::HashMap;
use std::time::Duration;

use goldfleet_galleries::rota::Rota;
use goldfleet_model::graph::GateKey;
use goldfleet_model::ids::JobId;
use goldfleet_model::message::{Message, QueueName};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::{after, elapsed, is_over};
use goldfleet_ports::error::{ErrorKind, PortResult};
use goldfleet_ports::listing::ROW_DAMAGED;
use goldfleet_ports::queue::Received;
use goldfleet_ports::timeout::MAX_WAIT_IN_PLACE;
use goldfleet_runtime::telemetry::RepeatLimiter;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::control::context::{ControlContext, ControlError};
use crate::control::dead_letters::delete_stale;
use crate::control::fan_out::{FanOutResult, fan_out};
use crate::control::galleries::watch::{MAX_CHECKS, watch_next};
use crate::control::job_store::JobStore;
use crate::control::reconcile::{MAX_PASS_TIME, evaluate_gate, reconcile_open_jobs, release_ended};

/// The visibility timeout of a dispatch message while its job is fanned out. It should be longer than a fan-out takes,
/// but a second dispatcher that starts the same fan-out does no harm.
const VISIBILITY: Duration = Duration::from_secs(120);

/// The time between two polls of the queue if it was empty or could not be read. It is constant and not a back-off: a
/// dispatcher is one process, and a job that is requested should be planned at once.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The condition under which a dispatcher stops by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunUntil {
    /// Never.
    Stopped,
    /// When no open job is left.
    Idle,
}

/// The time between two checks whether other processes have ended.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(500);

/// Runs until `stop` is cancelled, or until the condition of `until` is met.
pub async fn run(control: &ControlContext, until: RunUntil, stop: &CancellationToken) {
    let control = &control.clone().with_longest_wait(MAX_WAIT_IN_PLACE);
    tokio::select! {
        biased;
        () = serve(control, until, stop) => {}
        () = watch_processes(&control.jobs) => {}
        () = stopped_for_too_long(&control.ports, stop) => {
            tracing::info!("the pass in progress was interrupted; the next dispatcher repeats it");
        }
    }
}

/// How long a pass may continue after the process was asked to stop. A pass may be interrupted at any point, as by the
/// end of the process.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// The time between two examinations of dead letters. Commands delete those that they make stale, so few are left.
const LETTERS_INTERVAL: Duration = Duration::from_secs(600);

async fn stopped_for_too_long(ports: &Ports, stop: &CancellationToken) {
    stop.cancelled().await;
    ports.clock.sleep(STOP_GRACE).await;
}

/// Releases the work of processes that have ended. It runs concurrently with all other work, because planning a job or
/// a pass of the reconciler can take long.
async fn watch_processes(jobs: &JobStore) {
    if matches!(jobs.ports.liveness.own().await, Ok(None)) {
        // These adapters cannot detect the end of a process.
        return std::future::pending().await;
    }
    let mut complaint = RepeatLimiter::default();
    loop {
        if let Err(error) = release_ended(jobs).await
            && complaint.should_log(&error)
        {
            tracing::warn!(%error, "the work of processes that have ended could not be released");
        }
        jobs.ports.clock.sleep(LIVENESS_INTERVAL).await;
    }
}

async fn serve(control: &ControlContext, until: RunUntil, stop: &CancellationToken) {
    let clock = control.ports.clock.as_ref();
    let interval = control.config.dispatch.sweep.get();
    let (mut swept, mut letters) = (None, None);
    let mut evaluations = GateEvaluations::default();
    let health = &control.jobs.monitor.health;
    let (mut unread, mut unswept) = (RepeatLimiter::default(), RepeatLimiter::default());
    let (mut unwatched, mut rota) = (RepeatLimiter::default(), Rota::default());
    while !stop.is_cancelled() {
        health.tick(MAX_PASS_TIME);
        let received = receive(control, &mut evaluations).await.unwrap_or_else(|error| {
            health.coordination_failed(&error);
            if unread.should_log(&error) {
                tracing::warn!(%error, code = error.code, "the dispatch queue cannot be read");
            }
            0
        });
        let now = clock.now();
        let due = swept.is_none_or(|at| is_over(at, interval, now));
        if due || (received == 0 && until == RunUntil::Idle) {
            swept = Some(now);
            measure_queues(control).await;
            if letters.is_none_or(|at| now > after(at, LETTERS_INTERVAL)) {
                letters = Some(now);
                delete_stale(&control.ports).await;
            }
            match reconcile_open_jobs(control).await {
                Ok(0) if until == RunUntil::Idle && is_idle(&control.ports).await => return,
                Ok(_) => {}
                Err(error) if unswept.should_log(&error) => {
                    tracing::warn!("a pass of the reconciler was interrupted: {error}");
                }
                Err(_) => {}
            }
            watch_galleries(control, &mut rota, &mut unwatched).await;
        }
        if received == 0 {
            tokio::select! {
                biased;
                () = clock.sleep(POLL_INTERVAL.min(interval)) => {}
                () = stop.cancelled() => {}
            }
        }
    }
    health.set_draining();
}

/// Checks the regions of published gallery versions, in turn.
async fn watch_galleries(control: &ControlContext, rota: &mut Rota, complaint: &mut RepeatLimiter) {
    if let Err(error) = watch_next(control, rota, MAX_CHECKS).await
        && complaint.should_log(&error)
    {
        tracing::warn!("the gallery versions could not be checked: {error}");
    }
}

/// Measures the lengths of the queues for the metrics. It costs one request per queue, so it is done only if metrics
/// are exposed.
async fn measure_queues(control: &ControlContext) {
    if control.config.dispatch.listen.is_none() {
        return;
    }
    for queue in QueueName::ALL {
        match control.ports.queue.depth(queue).await {
            Ok(messages) => control.jobs.monitor.metrics.set_queue_depth(queue, messages),
            Err(error) => tracing::debug!(%error, %queue, "the depth of a queue cannot be read"),
        }
    }
}

async fn is_idle(ports: &Ports) -> bool {
    matches!(ports.queue.depth(QueueName::Dispatch).await, Ok(0))
}

/// The number of messages received at a time: enough to merge hints, and few enough that all are handled before they
/// become visible again.
const MAX_MESSAGES: usize = 8;

/// When each gate was last evaluated because of a hint.
#[derive(Default)]
struct GateEvaluations(HashMap<(JobId, GateKey), Timestamp>);

/// The time between two evaluations of one gate because of hints, so that the hints of many workers cause one.
const GATE_INTERVAL: Duration = Duration::from_secs(1);

impl GateEvaluations {
    /// How long a hint for a gate must wait. Zero if it can be evaluated now.
    fn wait(&mut self, job: &JobId, gate: &GateKey, now: Timestamp) -> Duration {
        self.0.retain(|_, at| !is_over(*at, GATE_INTERVAL, now));
        let key = (job.clone(), gate.clone());
        match self.0.get(&key) {
            Some(at) => elapsed(now, after(*at, GATE_INTERVAL)),
            None => {
                self.0.insert(key, now);
                Duration::ZERO
            }
        }
    }
}

/// Handles the messages that are in the dispatch queue now. Hints for gates come first, because planning a job takes
/// long.
async fn receive(control: &ControlContext, evaluations: &mut GateEvaluations) -> PortResult<usize> {
    let queue = &control.ports.queue;
    let messages = queue.receive(QueueName::Dispatch, MAX_MESSAGES, VISIBILITY).await?;
    control.jobs.monitor.health.coordination_reached();
    let count = messages.len();
    let mut jobs: Vec<(JobId, Received)> = Vec::new();
    for received in messages {
        match Message::decode(&received.body) {
            Ok(Message { job, gate: Some(gate), .. }) => {
                handle_hint(&control.jobs, &job, &gate, &received, evaluations).await?;
            }
            Ok(message) => jobs.push((message.job, received)),
            Err(error) => {
                tracing::warn!(%error, "a message of the dispatch queue cannot be read; it is moved to the poison queue");
                queue.send(QueueName::DeadLetter, &received.body, Duration::ZERO).await?;
                queue.delete(QueueName::Dispatch, &received.receipt).await?;
            }
        }
    }
    for (job, received) in jobs {
        plan_job(control, &job, &received).await?;
    }
    Ok(count)
}

/// Evaluates a gate of a job because of a hint. If it was evaluated just before, the hint is delayed instead.
async fn handle_hint(
    jobs: &JobStore,
    job: &JobId,
    gate: &GateKey,
    received: &Received,
    evaluations: &mut GateEvaluations,
) -> PortResult<()> {
    let queue = &jobs.ports.queue;
    let wait = evaluations.wait(job, gate, jobs.ports.clock.now());
    if !wait.is_zero() {
        return queue.extend(QueueName::Dispatch, &received.receipt, wait).await.map(|_| ());
    }
    if let Err(error) = evaluate_gate(jobs, job, gate).await {
        // The next pass of the reconciler evaluates it.
        tracing::debug!(%job, %gate, %error, "a gate could not be evaluated");
    }
    queue.delete(QueueName::Dispatch, &received.receipt).await
}

async fn plan_job(control: &ControlContext, job: &JobId, received: &Received) -> PortResult<()> {
    let queue = &control.ports.queue;
    let again = match fan_out(control, job).await {
        Ok(FanOutResult::Done) => None,
        Ok(FanOutResult::Deferred(wait)) => Some(wait),
        Err(ControlError::Port(error)) if error.code == ROW_DAMAGED => {
            // The reconciler sends its message again if the row can be read later.
            tracing::warn!(%job, code = error.code, "the job is set aside: {error}");
            None
        }
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

/// Whether another dispatcher changed the same rows at the same time. This is harmless: the message is received again.
fn is_race(error: &ControlError) -> bool {
    let kind = if let ControlError::Port(error) = error { Some(error.kind) } else { None };
    matches!(kind, Some(ErrorKind::Conflict | ErrorKind::AlreadyExists | ErrorKind::Fenced))
}

fn retry_after(error: &ControlError) -> Duration {
    let asked = if let ControlError::Port(error) = error { error.retry_after } else { None };
    asked.unwrap_or(Duration::from_secs(5))
}
