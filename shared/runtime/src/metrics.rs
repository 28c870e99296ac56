//! The metrics of a process, in OpenMetrics format for Prometheus. `docs/telemetry.md` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use goldfleet_model::job::JobState;
use goldfleet_model::message::QueueName;
use goldfleet_model::operation::OperationState;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The upper bounds of the histogram buckets of attempts, in seconds: from an attempt without work to a large disk over
/// a slow link.
const ATTEMPT_SECONDS_BUCKETS: [f64; 12] =
    [0.05, 0.25, 1.0, 2.5, 5.0, 15.0, 60.0, 180.0, 600.0, 1800.0, 3600.0, 7200.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: String,
}

impl KindLabels {
    fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    kind: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    kind: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobStateLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabels {
    queue: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    commit: &'static str,
}

/// The counts of a reconciler pass.
#[derive(Debug, Clone, Default)]
pub struct ReconcileCounts {
    kinds: BTreeSet<String>,
    operations: BTreeMap<(String, OperationState), i64>,
    jobs: BTreeMap<JobState, i64>,
}

impl ReconcileCounts {
    /// Creates counts for these kinds, which are reported even if they are zero. Other kinds are added when they are
    /// counted.
    pub fn of_kinds<'a>(kinds: impl IntoIterator<Item = &'a str>) -> Self {
        Self { kinds: kinds.into_iter().map(str::to_owned).collect(), ..Self::default() }
    }

    /// Counts operations of a job that had not ended when the pass began.
    pub fn operations(&mut self, kind: &str, state: OperationState, count: u64) {
        self.kinds.insert(kind.to_owned());
        *self.operations.entry((kind.to_owned(), state)).or_default() += i64::try_from(count).unwrap_or(i64::MAX);
    }

    /// Counts a job that has not ended.
    pub fn job(&mut self, state: JobState) {
        *self.jobs.entry(state).or_default() += 1;
    }
}

/// The metrics of a process. Clones share the counters.
#[derive(Clone)]
pub struct Metrics(Arc<Families>);

struct Families {
    registry: Registry,
    attempts: Family<OutcomeLabels, Counter>,
    in_flight: Family<KindLabels, Gauge>,
    seconds: Family<KindLabels, Histogram, fn() -> Histogram>,
    moved: Family<KindLabels, Counter>,
    detoured: Family<KindLabels, Counter>,
    retries: Family<CodeLabels, Counter>,
    failures: Family<CodeLabels, Counter>,
    throttles: Family<KindLabels, Counter>,
    lost: Family<KindLabels, Counter>,
    expired: Family<KindLabels, Counter>,
    announced: Family<KindLabels, Counter>,
    queues: Family<QueueLabels, Gauge>,
    operations: Family<StateLabels, Gauge>,
    jobs: Family<JobStateLabels, Gauge>,
    jobs_ended: Family<JobStateLabels, Counter>,
    swept: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut families = Families {
            registry: Registry::with_prefix("goldfleet"),
            attempts: Family::default(),
            in_flight: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(ATTEMPT_SECONDS_BUCKETS)),
            moved: Family::default(),
            detoured: Family::default(),
            retries: Family::default(),
            failures: Family::default(),
            throttles: Family::default(),
            lost: Family::default(),
            expired: Family::default(),
            announced: Family::default(),
            queues: Family::default(),
            operations: Family::default(),
            jobs: Family::default(),
            jobs_ended: Family::default(),
            swept: Gauge::default(),
        };
        families.register_worker_metrics();
        families.register_dispatcher_metrics();
        Self(Arc::new(families))
    }
}

impl Families {
    fn register_worker_metrics(&mut self) {
        let build = BuildLabels { version: env!("CARGO_PKG_VERSION"), commit: env!("GOLDFLEET_COMMIT") };
        self.registry.register("build", "The program's version and commit", Info::new(build));
        self.registry.register("attempts", "Attempts that ended, by outcome", self.attempts.clone());
        self.registry.register("operations_in_flight", "Operations in flight in this process", self.in_flight.clone());
        self.registry.register("attempt_seconds", "How long attempts took", self.seconds.clone());
        self.registry.register("moved_bytes", "Bytes that this process wrote or had copied", self.moved.clone());
        let help = "Bytes read by failover, because a nearer store is slow or fails";
        self.registry.register("detoured_bytes", help, self.detoured.clone());
        self.registry.register("retries", "Failed attempts that are retried, by failure code", self.retries.clone());
        self.registry.register("failures", "Operations that failed, by failure code", self.failures.clone());
        self.registry.register("throttles", "Responses of a service that report throttling", self.throttles.clone());
        self.registry.register("lost_leases", "Leases that this process lost while it worked", self.lost.clone());
        let help = "Expired leases of other workers that this process ended";
        self.registry.register("expired_leases", help, self.expired.clone());
    }

    fn register_dispatcher_metrics(&mut self) {
        let help = "Messages that the reconciler sent again";
        self.registry.register("announced_again", help, self.announced.clone());
        self.registry.register("queue_messages", "About how many messages a queue holds", self.queues.clone());
        let help = "Operations of the jobs that have not ended, by state";
        self.registry.register("operations", help, self.operations.clone());
        self.registry.register("jobs", "Jobs that have not ended, by state", self.jobs.clone());
        self.registry.register("jobs_ended", "Jobs that this process ended, by state", self.jobs_ended.clone());
        self.registry.register(
            "last_sweep_seconds",
            "How long the last pass of the reconciler took",
            self.swept.clone(),
        );
    }
}

/// The end of an attempt for the metrics. Codes are those of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd<'a> {
    /// The lease was lost.
    Lost,
    /// The operation succeeded.
    Succeeded,
    /// The operation failed. Contains the code of the failure if the step returned one.
    Abandoned(Option<&'a str>),
    /// The operation was cancelled.
    Cancelled,
    /// Nothing could be done yet, and the operation was released until later.
    Deferred,
    /// The worker is draining.
    Drained,
    /// The attempt failed because the service throttled.
    Throttled,
    /// The attempt failed, and the operation will be retried.
    Retried(&'a str),
}

impl AttemptEnd<'_> {
    fn label(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Succeeded => "succeeded",
            Self::Abandoned(_) => "failed",
            Self::Cancelled => "cancelled",
            Self::Deferred => "deferred",
            Self::Drained => "drained",
            Self::Throttled => "throttled",
            Self::Retried(_) => "retried",
        }
    }
}

impl Metrics {
    /// Records the start of an attempt. [`Metrics::attempt_ended`] records its end.
    pub fn attempt_started(&self, kind: &str) {
        self.0.in_flight.get_or_create(&KindLabels::of(kind)).inc();
    }

    /// Records the end of an attempt.
    pub fn attempt_ended(&self, kind: &str, took: Duration, attempt: AttemptEnd<'_>) {
        let labels = || KindLabels::of(kind);
        let by_code = |code: &str| CodeLabels { kind: kind.to_owned(), code: code.to_owned() };
        let by_outcome = OutcomeLabels { kind: kind.to_owned(), outcome: attempt.label() };
        self.0.in_flight.get_or_create(&labels()).dec();
        self.0.seconds.get_or_create(&labels()).observe(took.as_secs_f64());
        self.0.attempts.get_or_create(&by_outcome).inc();
        match attempt {
            AttemptEnd::Lost => drop(self.0.lost.get_or_create(&labels()).inc()),
            AttemptEnd::Throttled => drop(self.0.throttles.get_or_create(&labels()).inc()),
            AttemptEnd::Retried(code) => drop(self.0.retries.get_or_create(&by_code(code)).inc()),
            AttemptEnd::Abandoned(Some(code)) => drop(self.0.failures.get_or_create(&by_code(code)).inc()),
            AttemptEnd::Abandoned(None)
            | AttemptEnd::Succeeded
            | AttemptEnd::Cancelled
            | AttemptEnd::Deferred
            | AttemptEnd::Drained => {}
        }
    }

    /// Counts bytes that were transferred.
    pub fn bytes_moved(&self, kind: &str, bytes: u64) {
        self.0.moved.get_or_create(&KindLabels::of(kind)).inc_by(bytes);
    }

    /// Counts the transferred bytes that came from another store by failover.
    pub fn failover_bytes(&self, kind: &str, bytes: u64) {
        self.0.detoured.get_or_create(&KindLabels::of(kind)).inc_by(bytes);
    }

    /// Counts a throttled request that the step retries by itself.
    pub fn throttled(&self, kind: &str) {
        self.0.throttles.get_or_create(&KindLabels::of(kind)).inc();
    }

    /// Counts an expired lease that this process found.
    pub fn lease_expired(&self, kind: &str) {
        self.0.expired.get_or_create(&KindLabels::of(kind)).inc();
    }

    /// Counts an operation whose message the reconciler sent again.
    pub fn operation_requeued(&self, kind: &str) {
        self.0.announced.get_or_create(&KindLabels::of(kind)).inc();
    }

    /// Sets the approximate number of messages in a queue.
    pub fn set_queue_depth(&self, queue: QueueName, messages: u64) {
        let messages = i64::try_from(messages).unwrap_or(i64::MAX);
        self.0.queues.get_or_create(&QueueLabels { queue: queue.as_str() }).set(messages);
    }

    /// Records the counts of a reconciler pass and its duration.
    pub fn reconcile_finished(&self, census: &ReconcileCounts, took: Duration) {
        self.0.swept.set(took.as_secs_f64());
        for kind in &census.kinds {
            for state in OperationState::ALL {
                let count = census.operations.get(&(kind.clone(), state)).copied().unwrap_or(0);
                let labels = StateLabels { kind: kind.clone(), state: state.as_str() };
                self.0.operations.get_or_create(&labels).set(count);
            }
        }
        for state in JobState::ALL {
            let labels = JobStateLabels { state: state.as_str() };
            if state.is_terminal() {
                // The counters exist from the first reconciler pass on, because an increase is only visible from an
                // earlier value.
                drop(self.0.jobs_ended.get_or_create(&labels));
            } else {
                self.0.jobs.get_or_create(&labels).set(census.jobs.get(&state).copied().unwrap_or(0));
            }
        }
    }

    /// Counts a job that this process ended.
    pub fn job_ended(&self, state: JobState) {
        self.0.jobs_ended.get_or_create(&JobStateLabels { state: state.as_str() }).inc();
    }

    /// Encodes all metrics as text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.0.registry);
        out
    }
}
