//! The clock, injected.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

/// Returns the time and waits.
#[async_trait]
pub trait Clock: Send + Sync {
    /// The present time.
    fn now(&self) -> Timestamp;

    /// Returns after `duration`.
    async fn sleep(&self, duration: Duration);
}

/// Returns `at` plus `duration`, or the maximum timestamp.
#[must_use]
pub fn after(at: Timestamp, duration: Duration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Returns `at` minus `duration`, or the minimum timestamp.
#[must_use]
pub fn before(at: Timestamp, duration: Duration) -> Timestamp {
    at.checked_sub(duration).unwrap_or(Timestamp::MIN)
}

/// The time from `earlier` to `later`. Zero if `later` is before `earlier`.
#[must_use]
pub fn elapsed(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or(Duration::ZERO)
}

/// The longest lease and the longest wait, unless the configuration permits a longer one. A time that is further in the
/// future was written by a process whose clock was ahead, or the clock was set back since.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Whether a wait that ends at `until` has ended. A wait that seems to be longer than `longest` is not awaited: a clock
/// was wrong when it began, or is wrong now.
#[must_use]
pub fn has_ended(until: Timestamp, longest: Duration, now: Timestamp) -> bool {
    until <= now || until > after(now, longest)
}

/// Whether `duration` has passed since `since`. A time in the future counts as long ago: the clock was set back since.
#[must_use]
pub fn is_over(since: Timestamp, duration: Duration, now: Timestamp) -> bool {
    now < since || now > after(since, duration)
}

/// The system clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// A clock that follows tokio's clock. While tokio's time is paused, it is virtual: it advances when all tasks wait, so
/// every run has the same times.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    origin: Timestamp,
    started: tokio::time::Instant,
}

impl TokioClock {
    /// Creates a clock whose present time is `origin`.
    #[must_use]
    pub fn starting_at(origin: Timestamp) -> Self {
        Self { origin, started: tokio::time::Instant::now() }
    }
}

#[async_trait]
impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        after(self.origin, self.started.elapsed())
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
