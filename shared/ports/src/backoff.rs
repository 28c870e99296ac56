//! Exponential back-off: how long to wait after a failure, or after a poll that found nothing.
//!
//! This module only computes waits. The caller sleeps on the injected [`Clock`](crate::clock::Clock), and prefers the
//! Retry-After of a service if there is one. Jitter comes from [`rng`], so that a seed decides it.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};

use crate::rng;

/// Enough steps for any wait to reach its maximum: 2^64 ns are more than 500 years.
const MAX_STEPS: u32 = 64;

/// Waits that grow by a constant factor up to a maximum.
#[derive(Debug, Clone, Copy)]
pub struct Backoff(ExponentialBuilder);

impl Backoff {
    /// Waits that begin with `first` and double up to `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration) -> Self {
        Self(ExponentialBuilder::new().with_min_delay(first).with_max_delay(max).without_max_times())
    }

    /// The same with another factor, which is greater than 1.
    #[must_use]
    pub const fn with_factor(self, factor: f32) -> Self {
        Self(self.0.with_factor(factor))
    }

    /// The wait after `earlier` waits, without jitter. `wait(0)` is the first one, even if it exceeds the maximum.
    #[must_use]
    pub fn wait(&self, earlier: u32) -> Duration {
        let step = earlier.min(MAX_STEPS) as usize;
        // Without a limit of times or of total time, the iterator never ends.
        self.0.build().nth(step).unwrap_or(Duration::MAX)
    }

    /// The waits between `tries` tries, with jitter: each is one to two times as long as [`Backoff::wait`].
    pub fn jittered_waits(&self, tries: usize) -> impl Iterator<Item = Duration> + use<> {
        let between = tries.saturating_sub(1);
        self.0.with_max_times(between).with_jitter().with_jitter_seed(rng::random_u64()).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));

    #[test]
    fn waits_double_up_to_maximum() {
        let waits = [0, 1, 2, 3, 4, u32::MAX].map(|earlier| BACKOFF.wait(earlier).as_secs());
        assert_eq!(waits, [1, 2, 4, 5, 5, 5]);
        assert_eq!(BACKOFF.with_factor(4.0).wait(1).as_secs(), 4);
        let unlimited = Backoff::new(Duration::from_nanos(1), Duration::MAX);
        let years = unlimited.wait(u32::MAX).as_secs() / (365 * 24 * 3600);
        assert!(years > 500, "{years} years");
    }

    #[test]
    fn first_wait_may_exceed_maximum() {
        let backoff = Backoff::new(Duration::from_secs(9), Duration::from_secs(5));
        assert_eq!([0, 1, 2].map(|earlier| backoff.wait(earlier).as_secs()), [9, 5, 5]);
    }

    #[test]
    fn seed_decides_jitter() {
        let draw = |seed| {
            let _seeded = rng::seed_thread(seed);
            BACKOFF.jittered_waits(5).collect::<Vec<_>>()
        };
        let waits = draw(1);
        assert_eq!(waits.len(), 4);
        for (wait, least) in waits.iter().zip([1, 2, 4, 5].map(Duration::from_secs)) {
            assert!((least..least * 2).contains(wait), "{waits:?}");
        }
        assert_eq!(waits, draw(1));
        assert_ne!(waits, draw(2));
        assert_eq!(BACKOFF.jittered_waits(0).count(), 0);
    }
}
