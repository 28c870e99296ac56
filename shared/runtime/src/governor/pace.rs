//! How many requests an account is given at once: more while that goes well, fewer when it pushes back.

use std::time::Duration;

use goldfleet_ports::clock::between;
use jiff::Timestamp;

/// What a limit falls to, as a share of itself, when an account pushes back. Source: AzCopy, which measured it.
const CUT: f64 = 0.65;

/// How much longer than at its best a request may take before an account counts as slow: then more at once only makes all
/// of them wait.
const SLOW: f64 = 3.0;

/// The weight of a new request in the average of the times they take.
const WEIGHT: f64 = 0.125;

/// The limit of one account. Pure: it is told what happened and when.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    limit: f64,
    most: f64,
    /// Doubling with each round, until the account first pushes back.
    young: bool,
    /// When the limit was last cut: what began before says nothing of the limit since.
    cut: Timestamp,
    best: Option<Duration>,
    average: Option<Duration>,
}

impl Pace {
    /// A limit that begins at `first` and never gets over `most`.
    pub(super) fn new(first: usize, most: usize) -> Self {
        let (first, most) = (as_f64(first.max(1)), as_f64(most.max(1)));
        Self { limit: first.min(most), most, young: true, cut: Timestamp::MIN, best: None, average: None }
    }

    /// How many requests may be in flight.
    pub(super) fn limit(&self) -> usize {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a usize")]
        let limit = self.limit as usize;
        limit.max(1)
    }

    /// A request succeeded that began at `begun`, with `in_flight` requests, it among them.
    pub(super) fn succeeded(&mut self, begun: Timestamp, now: Timestamp, in_flight: usize) {
        self.timed(between(begun, now));
        // A limit that is not half used says nothing of whether more would go well. (Half, as it doubles within a round.)
        if begun < self.cut || 2.0 * as_f64(in_flight) < self.limit.floor() || self.is_slow() {
            return;
        }
        let more = if self.young { 1.0 } else { 1.0 / self.limit };
        self.limit = (self.limit + more).min(self.most);
    }

    /// The account refused a request that began at `begun`, or did not answer it in time.
    pub(super) fn pushed_back(&mut self, begun: Timestamp, now: Timestamp) {
        self.young = false;
        // All that were in flight together are refused together, which is one sign and not many.
        if begun >= self.cut {
            self.limit = (self.limit * CUT).max(1.0);
            self.cut = now;
        }
    }

    fn timed(&mut self, took: Duration) {
        self.best = Some(self.best.map_or(took, |best| best.min(took)));
        self.average = Some(self.average.map_or(took, |average| average.mul_f64(1.0 - WEIGHT) + took.mul_f64(WEIGHT)));
    }

    fn is_slow(&self) -> bool {
        match (self.best, self.average) {
            // Below a few milliseconds it is this machine that is measured.
            (Some(best), Some(average)) => average > best.max(Duration::from_millis(5)).mul_f64(SLOW),
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

    /// A round of as many requests as are allowed, all of which succeed, or are refused beyond `capacity`.
    fn round(pace: &mut Pace, n: u32, capacity: usize) -> usize {
        let limit = pace.limit();
        for request in 0..limit {
            if request < capacity {
                pace.succeeded(at(n), at(n + 1), limit);
            } else {
                pace.pushed_back(at(n), at(n + 1));
            }
        }
        limit.saturating_sub(capacity)
    }

    #[test]
    fn it_doubles_at_first_and_is_cut_once_a_round() {
        let mut pace = Pace::new(4, 1000);
        round(&mut pace, 0, 1000);
        assert_eq!(pace.limit(), 8);
        round(&mut pace, 1, 1000);
        assert_eq!(pace.limit(), 16);
        round(&mut pace, 2, 10);
        // Ten succeeded first; then six were refused, and cut it once.
        assert_eq!(pace.limit(), 16);
        round(&mut pace, 4, 1000);
        assert_eq!(pace.limit(), 17, "one more a round from now on");
    }

    #[test]
    fn it_settles_near_what_the_account_takes() {
        let mut pace = Pace::new(4, 1000);
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
    fn what_is_not_used_does_not_grow() {
        let mut pace = Pace::new(8, 100);
        for n in 0..100 {
            pace.succeeded(at(n), at(n + 1), 3);
        }
        assert_eq!(pace.limit(), 8);
    }

    #[test]
    fn waiting_longer_stops_the_growth() {
        let mut pace = Pace::new(8, 1000);
        pace.succeeded(START, after(START, TOOK), 8);
        for n in 1..200 {
            let begun = at(n * 10);
            pace.succeeded(begun, after(begun, TOOK * 9), pace.limit());
        }
        assert!(pace.limit() < 40, "{}", pace.limit());
    }

    proptest! {
        #[test]
        fn it_stays_in_its_bounds(events in proptest::collection::vec((any::<bool>(), 0_u32..50), 0..500), most in 1_usize..300) {
            let mut pace = Pace::new(16, most);
            for (n, (good, early)) in (0_u32..).zip(events) {
                let (begun, now) = (at(n.saturating_sub(early)), at(n + 1));
                if good { pace.succeeded(begun, now, pace.limit()) } else { pace.pushed_back(begun, now) }
                prop_assert!((1..=most).contains(&pace.limit()));
            }
        }
    }
}
