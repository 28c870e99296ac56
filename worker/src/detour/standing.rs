//! How a store stands: read as usual, left for a while, or tried again.

use std::time::Duration;

use goldfleet_ports::clock::{after, between};
use jiff::Timestamp;

/// How many reads of a store in a row must fail by the store's own fault before it is left. Single failures cost a chunk
/// its place only.
const FAILURES: u32 = 5;

/// How long a store is left at first. It doubles each time that the store turns out to be slow or failing again, so that a
/// store that is well only as long as nobody uses it does not go back and forth for ever.
const LEFT: Duration = Duration::from_secs(2 * 60);

/// The longest that it doubles to.
const LONGEST_LEFT: Duration = Duration::from_secs(32 * 60);

/// How long a store must have been well for its past to be forgotten.
const FORGIVEN: Duration = Duration::from_secs(60 * 60);

/// How many chunks, one after the other, a store must deliver in good time before it is used again.
const TRIALS: u32 = 3;

/// After what time a trial counts as lost whose end nobody has told: longer than any request takes.
const TRIAL_LOST: Duration = Duration::from_secs(180);

/// How a store may be read now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum May {
    /// By everyone.
    Read,
    /// By this one chunk, to see how it fares.
    Try,
    /// Not: where there is another store, take that.
    NotNow,
}

/// How a store stands.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    failures: u32,
    left: Option<Left>,
    /// How long it is left next time.
    hold: Duration,
    returned: Timestamp,
}

#[derive(Debug, Clone)]
struct Left {
    until: Timestamp,
    /// The trial under way counts as lost at this time.
    trial: Option<Timestamp>,
    passed: u32,
}

impl Default for Standing {
    fn default() -> Self {
        Self { failures: 0, left: None, hold: LEFT, returned: Timestamp::MIN }
    }
}

impl Standing {
    /// How the store may be read now. Whoever is answered [`May::Try`] must tell how that went.
    pub(super) fn may(&mut self, now: Timestamp) -> May {
        let Some(left) = &mut self.left else { return May::Read };
        if now < left.until || left.trial.is_some_and(|lost| now < lost) {
            return May::NotNow;
        }
        left.trial = Some(after(now, TRIAL_LOST));
        May::Try
    }

    /// Whether it is left.
    pub(super) fn is_left(&self) -> bool {
        self.left.is_some()
    }

    /// Leaves it. Returns for how long.
    pub(super) fn leave(&mut self, now: Timestamp) -> Duration {
        if self.left.is_none() && between(self.returned, now) > FORGIVEN {
            self.hold = LEFT;
        }
        let hold = self.hold;
        self.hold = (hold * 2).min(LONGEST_LEFT);
        self.failures = 0;
        self.left = Some(Left { until: after(now, hold), trial: None, passed: 0 });
        hold
    }

    /// A read failed by the store's own fault. Returns for how long it is left, where that was one too many.
    pub(super) fn failed(&mut self, now: Timestamp) -> Option<Duration> {
        if self.left.is_some() {
            return None;
        }
        self.failures += 1;
        (self.failures >= FAILURES).then(|| self.leave(now))
    }

    /// A read succeeded.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// A trial went well. Returns whether the store is used again.
    pub(super) fn passed(&mut self, now: Timestamp) -> bool {
        let Some(left) = &mut self.left else { return false };
        left.trial = None;
        left.passed += 1;
        let back = left.passed >= TRIALS;
        if back {
            self.left = None;
            self.returned = now;
        }
        back
    }

    /// A trial ended in a way that says nothing of the store.
    pub(super) fn trial_over(&mut self) {
        if let Some(left) = &mut self.left {
            left.trial = None;
        }
    }
}
