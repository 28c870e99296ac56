//! The number of concurrent requests to an account. It grows while requests succeed and falls when the account
//! throttles.

use std::time::Duration;

use goldfleet_ports::clock::elapsed;
use jiff::Timestamp;

/// The factor by which a throttled limit is multiplied. Source: AzCopy, where it was found by measurement.
const DECREASE_FACTOR: f64 = 0.65;

/// The ratio of average to best latency above which an account counts as slow. Then a higher limit would only make all
/// requests wait longer.
const SLOW_FACTOR: f64 = 3.0;

/// The weight of a new request in the moving average of latencies.
const LATENCY_WEIGHT: f64 = 0.125;

/// The limit of one account. Pure: callers pass the events and their times.
#[derive(Debug, Clone)]
pub(super) struct AdaptiveLimit {
    limit: f64,
    max: f64,
    /// Whether the limit doubles in each round. This ends when the account first throttles.
    slow_start: bool,
    /// When the limit was last reduced. Requests that started earlier say nothing about the present limit.
    last_cut: Timestamp,
    best_latency: Option<Duration>,
    average_latency: Option<Duration>,
}

impl AdaptiveLimit {
    /// Creates a limit that starts at `first` and never exceeds `most`.
    pub(super) fn new(first: usize, most: usize) -> Self {
        let (first, most) = (as_f64(first.max(1)), as_f64(most.max(1)));
        Self {
            limit: first.min(most),
            max: most,
            slow_start: true,
            last_cut: Timestamp::MIN,
            best_latency: None,
            average_latency: None,
        }
    }

    /// The maximum number of requests in flight.
    pub(super) fn limit(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a usize")]
        let limit = self.limit as usize;
        limit.max(1)
    }

    /// Records the success of a request that started at `begun`. `in_flight` includes this request.
    pub(super) fn on_success(&mut self, begun: Timestamp, now: Timestamp, in_flight: usize) {
        self.record_latency(elapsed(begun, now));
        // If less than half of the limit is used, a success does not show that a higher limit would work. (Half,
        // because the limit doubles within a round.)
        if begun < self.last_cut || 2.0 * as_f64(in_flight) < self.limit.floor() || self.is_slow() {
            return;
        }
        let more = if self.slow_start { 1.0 } else { 1.0 / self.limit };
        self.limit = (self.limit + more).min(self.max);
    }

    /// Records that the account refused a request that started at `begun`, or did not answer it in time.
    pub(super) fn on_throttled(&mut self, begun: Timestamp, now: Timestamp) {
        self.slow_start = false;
        // Requests that were in flight together are often refused together, so they reduce the limit only once.
        if begun >= self.last_cut {
            self.limit = (self.limit * DECREASE_FACTOR).max(1.0);
            self.last_cut = now;
        }
    }

    fn record_latency(&mut self, took: Duration) {
        self.best_latency = Some(self.best_latency.map_or(took, |best| best.min(took)));
        self.average_latency = Some(
            self.average_latency
                .map_or(took, |average| average.mul_f64(1.0 - LATENCY_WEIGHT) + took.mul_f64(LATENCY_WEIGHT)),
        );
    }

    fn is_slow(&self) -> bool {
        match (self.best_latency, self.average_latency) {
            // Latencies below a few milliseconds depend on this machine rather than on the account.
            (Some(best), Some(average)) => average > best.max(Duration::from_millis(5)).mul_f64(SLOW_FACTOR),
            _ => false,
        }
    }
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use goldfleet_ports::clock::after;
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;
    const TOOK: Duration = Duration::from_millis(10);

    fn at(rounds: u32) -> Timestamp {
        after(START, TOOK * rounds)
    }

    /// One round: sends as many requests as the limit allows. The first `capacity` succeed, the others are refused.
    fn round(pace: &mut AdaptiveLimit, n: u32, capacity: usize) -> usize {
        let limit = pace.limit();
        for request in 0..limit {
            if request < capacity {
                pace.on_success(at(n), at(n + 1), limit);
            } else {
                pace.on_throttled(at(n), at(n + 1));
            }
        }
        limit.saturating_sub(capacity)
    }

    #[test]
    fn limit_doubles_then_drops_once_per_round() {
        let mut pace = AdaptiveLimit::new(4, 1000);
        round(&mut pace, 0, 1000);
        assert_eq!(pace.limit(), 8);
        round(&mut pace, 1, 1000);
        assert_eq!(pace.limit(), 16);
        round(&mut pace, 2, 10);
        // First ten requests succeeded. Then six were refused and reduced the limit once.
        assert_eq!(pace.limit(), 16);
        round(&mut pace, 4, 1000);
        assert_eq!(pace.limit(), 17, "one more a round from now on");
    }

    #[test]
    fn limit_converges_to_account_capacity() {
        let mut pace = AdaptiveLimit::new(4, 1000);
        let refused: usize = (0..50).map(|n| round(&mut pace, n * 2, 100)).sum();
        let (mut limits, mut sent) = (Vec::new(), 0);
        let refused_later: usize = (50..500)
            .map(|n| {
                limits.push(pace.limit());
                sent += pace.limit();
                round(&mut pace, n * 2, 100)
            })
            .sum();
        let mean = limits.iter().sum::<usize>() / limits.len();
        assert!((75..=101).contains(&mean), "{mean}");
        assert!(refused_later * 100 < sent, "{refused} then {refused_later} of {sent} refused");
    }

    #[test]
    fn unused_limit_does_not_grow() {
        let mut pace = AdaptiveLimit::new(8, 100);
        for n in 0..100 {
            pace.on_success(at(n), at(n + 1), 3);
        }
        assert_eq!(pace.limit(), 8);
    }

    #[test]
    fn rising_latency_stops_growth() {
        let mut pace = AdaptiveLimit::new(8, 1000);
        pace.on_success(START, after(START, TOOK), 8);
        for n in 1..200 {
            let begun = at(n * 10);
            pace.on_success(begun, after(begun, TOOK * 9), pace.limit());
        }
        assert!(pace.limit() < 40, "{}", pace.limit());
    }

    proptest! {
        #[test]
        fn limit_stays_in_bounds(events in proptest::collection::vec((any::<bool>(), 0_u32..50), 0..500), most in 1_usize..300) {
            let mut pace = AdaptiveLimit::new(16, most);
            for (n, (good, early)) in (0_u32..).zip(events) {
                let (begun, now) = (at(n.saturating_sub(early)), at(n + 1));
                if good { pace.on_success(begun, now, pace.limit()) } else { pace.on_throttled(begun, now) }
                prop_assert!((1..=most).contains(&pace.limit()));
            }
        }
    }
}
