//! The circuit breaker of a store: closed (used normally), open (not used for a while), or half-open (tested).

use std::time::Duration;

use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::clock::{after, elapsed, has_ended};
use jiff::Timestamp;

/// The number of consecutive reads that must fail because of the store before the circuit opens. A single failure only
/// moves one chunk to another store.
const FAILURE_THRESHOLD: u32 = 5;

/// How long a store is avoided at first. The time doubles each time the store is slow or fails again, so that a store
/// that is healthy only without load is not used and avoided in turn forever. At most 32 minutes.
const OPEN_DURATION: Backoff = Backoff::new(Duration::from_secs(2 * 60), LONGEST_OPEN);

/// The longest of these times.
const LONGEST_OPEN: Duration = Duration::from_secs(32 * 60);

/// How long a store must be healthy before the time is reset to its first value.
const HEALTHY_RESET: Duration = Duration::from_secs(60 * 60);

/// The number of consecutive chunks that a store must deliver in time before the circuit closes.
const TRIALS_TO_CLOSE: u32 = 3;

/// The age from which a trial without a reported result counts as lost. It is longer than any request.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(180);

/// How a store may be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// All requests may use it.
    Allow,
    /// Only this chunk may use it, as a trial.
    TryOne,
    /// It must not be used if another store has the chunk.
    Deny,
}

/// The circuit breaker of a store.
#[derive(Debug, Clone)]
pub(super) struct CircuitBreaker {
    failures: u32,
    open: Option<OpenCircuit>,
    /// How many times it was avoided since the count was last reset.
    times_opened: u32,
    closed_at: Timestamp,
}

#[derive(Debug, Clone)]
struct OpenCircuit {
    until: Timestamp,
    /// The time at which the trial in progress counts as lost.
    trial: Option<Timestamp>,
    passed: u32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { failures: 0, open: None, times_opened: 0, closed_at: Timestamp::MIN }
    }
}

impl CircuitBreaker {
    /// How the store may be used now. After [`Admission::TryOne`] the caller must report the result.
    pub(super) fn admission(&mut self, now: Timestamp) -> Admission {
        let Some(left) = &mut self.open else { return Admission::Allow };
        let waits = |until: Timestamp, longest| !has_ended(until, longest, now);
        if waits(left.until, LONGEST_OPEN) || left.trial.is_some_and(|lost| waits(lost, TRIAL_TIMEOUT)) {
            return Admission::Deny;
        }
        left.trial = Some(after(now, TRIAL_TIMEOUT));
        Admission::TryOne
    }

    /// Whether the circuit is open.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Opens the circuit. Returns for how long.
    pub(super) fn open(&mut self, now: Timestamp) -> Duration {
        if self.open.is_none() && elapsed(self.closed_at, now) > HEALTHY_RESET {
            self.times_opened = 0;
        }
        let hold = OPEN_DURATION.wait(self.times_opened);
        self.times_opened = self.times_opened.saturating_add(1);
        self.failures = 0;
        self.open = Some(OpenCircuit { until: after(now, hold), trial: None, passed: 0 });
        hold
    }

    /// Records a read that failed because of the store. If the circuit opens, returns for how long.
    pub(super) fn failed(&mut self, now: Timestamp) -> Option<Duration> {
        if self.open.is_some() {
            return None;
        }
        self.failures += 1;
        (self.failures >= FAILURE_THRESHOLD).then(|| self.open(now))
    }

    /// Records a successful read.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Records a successful trial. Returns whether the circuit closed.
    pub(super) fn record_trial_success(&mut self, now: Timestamp) -> bool {
        let Some(left) = &mut self.open else { return false };
        left.trial = None;
        left.passed += 1;
        let back = left.passed >= TRIALS_TO_CLOSE;
        if back {
            self.open = None;
            self.closed_at = now;
        }
        back
    }

    /// Ends a trial without a conclusion about the store.
    pub(super) fn release_trial(&mut self) {
        if let Some(left) = &mut self.open {
            left.trial = None;
        }
    }
}
