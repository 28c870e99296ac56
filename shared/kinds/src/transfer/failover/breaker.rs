//! How a store stands: read as usual, left for a while, or tried again.

use std::time::Duration;

use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::clock::{after, elapsed};
use jiff::Timestamp;

/// How many reads of a store in a row must fail by the store's own fault before it is left. Single failures cost a chunk
/// its place only.
const FAILURE_THRESHOLD: u32 = 5;

/// How long a store is left at first. It doubles each time that the store turns out to be slow or failing again, so that a
/// store that is well only as long as nobody uses it does not go back and forth for ever. At most 32 minutes.
const OPEN_DURATION: Backoff = Backoff::new(Duration::from_secs(2 * 60), Duration::from_secs(32 * 60));

/// How long a store must have been well for its past to be forgotten.
const HEALTHY_RESET: Duration = Duration::from_secs(60 * 60);

/// How many chunks, one after the other, a store must deliver in good time before it is used again.
const TRIALS_TO_CLOSE: u32 = 3;

/// After what time a trial counts as lost whose end nobody has told: longer than any request takes.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(180);

/// How a store may be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// By everyone.
    Allow,
    /// By this one chunk, to see how it fares.
    TryOne,
    /// Not: where there is another store, take that.
    Deny,
}

/// How a store stands.
#[derive(Debug, Clone)]
pub(super) struct CircuitBreaker {
    failures: u32,
    open: Option<OpenCircuit>,
    /// How often it was left since its past was last forgotten.
    times_opened: u32,
    closed_at: Timestamp,
}

#[derive(Debug, Clone)]
struct OpenCircuit {
    until: Timestamp,
    /// The trial under way counts as lost at this time.
    trial: Option<Timestamp>,
    passed: u32,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self { failures: 0, open: None, times_opened: 0, closed_at: Timestamp::MIN }
    }
}

impl CircuitBreaker {
    /// How the store may be read now. Whoever is answered [`Admission::TryOne`] must tell how that went.
    pub(super) fn admission(&mut self, now: Timestamp) -> Admission {
        let Some(left) = &mut self.open else { return Admission::Allow };
        if now < left.until || left.trial.is_some_and(|lost| now < lost) {
            return Admission::Deny;
        }
        left.trial = Some(after(now, TRIAL_TIMEOUT));
        Admission::TryOne
    }

    /// Whether it is left.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Leaves it. Returns for how long.
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

    /// A read failed by the store's own fault. Returns for how long it is left, where that was one too many.
    pub(super) fn failed(&mut self, now: Timestamp) -> Option<Duration> {
        if self.open.is_some() {
            return None;
        }
        self.failures += 1;
        (self.failures >= FAILURE_THRESHOLD).then(|| self.open(now))
    }

    /// A read succeeded.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A trial went well. Returns whether the store is used again.
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

    /// A trial ended in a way that says nothing of the store.
    pub(super) fn release_trial(&mut self) {
        if let Some(left) = &mut self.open {
            left.trial = None;
        }
    }
}
