//! From one store to one account: how long chunks take that way, and whether they would take less from elsewhere.
//!
//! That chunks take long says nothing of the store: the account that they go to may be what binds. So a store is never
//! judged by its own times alone. Where they are long, a few chunks for the same account are fetched from the next nearest
//! store, and both are compared: what the account itself holds up takes as long from there.

use std::collections::VecDeque;
use std::time::Duration;

use goldfleet_model::manifest::ChunkEntry;
use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::clock::after;
use jiff::Timestamp;

use super::breaker::CircuitBreaker;

/// What a request of a chunk may take before it is thought to be slow, apart from its bytes: a round trip between the
/// farthest regions (Azure publishes 250 ms and a little more for the longest).
const REQUEST_ALLOWANCE: Duration = Duration::from_millis(250);

/// The rate at which a chunk may come before it is thought to be slow: of a page blob's 60 MiB/s each of eight requests
/// gets 7.5, and this is two and a half times slower.
const MIN_BYTES_PER_SECOND: f64 = 3.0 * 1024.0 * 1024.0;

/// A chunk is overdue once it has been on its way this many times as long as it may take: from then on it is waited for only
/// until it can be had elsewhere. For 4 MiB that is 16 s; a request that goes on all the same is given up after two minutes.
const OVERDUE_FACTOR: f64 = 10.0;

/// How many chunks are looked at together: as many as a copy has in flight.
const WINDOW_CHUNKS: usize = 8;

/// How many times faster the next nearest store must be: each of the probes than the fastest of the chunks before. Chunks from
/// there cost egress, and twice as fast would only halve a time. At an account that is slow itself, times vary with how many
/// chunks are in flight just then.
const MIN_SPEEDUP: f64 = 3.0;

/// How many chunks are fetched from the next nearest store to see whether it is faster. One may be lucky.
const PROBES: usize = 3;

/// How long a way is left in peace after a probe that was no faster. It doubles each time: what is not the store's fault
/// stays so, and each probe may cross the WAN. At most an hour.
const PROBE_BACKOFF: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(60 * 60));

/// After what time a probe counts as lost whose end nobody has told: longer than any request takes.
const PROBE_TIMEOUT: Duration = Duration::from_secs(180);

/// How long a chunk took, as a multiple of what it may take before it is thought to be slow.
pub(super) fn latency_ratio(entry: &ChunkEntry, took: Duration) -> f64 {
    took.as_secs_f64() / expected_duration(entry)
}

/// How long a chunk may be on its way before it is overdue.
pub(super) fn overdue_after(entry: &ChunkEntry) -> Duration {
    Duration::from_secs_f64(expected_duration(entry) * OVERDUE_FACTOR)
}

fn expected_duration(entry: &ChunkEntry) -> f64 {
    let requests = u32::try_from(entry.runs.len()).unwrap_or(u32::MAX).max(1);
    REQUEST_ALLOWANCE.as_secs_f64() * f64::from(requests) + f64::from(entry.length) / MIN_BYTES_PER_SECOND
}

/// What probes have shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ProbeVerdict {
    /// Not enough yet.
    Inconclusive,
    /// The next nearest store is no faster, or not enough: the store is not what binds.
    SinkIsSlow,
    /// The next nearest store is so many times faster.
    SourceIsSlow(f64),
}

/// What was seen of chunks from one store to one account.
#[derive(Debug, Clone)]
pub(super) struct RouteLatency {
    /// Whether the store is left for this account, as it is slow.
    pub(super) breaker: CircuitBreaker,
    /// How slow chunks were, and when that was seen.
    latencies: VecDeque<(Timestamp, f64)>,
    /// How slow the probes were that were fast enough so far.
    probes: Vec<f64>,
    /// The probe in flight counts as lost at this time.
    probing: Option<Timestamp>,
    /// No probe begins before.
    not_before: Timestamp,
    /// How many probes were in vain.
    failed_probes: u32,
}

impl Default for RouteLatency {
    fn default() -> Self {
        Self {
            breaker: CircuitBreaker::default(),
            latencies: VecDeque::with_capacity(WINDOW_CHUNKS),
            probes: Vec::new(),
            probing: None,
            not_before: Timestamp::MIN,
            failed_probes: 0,
        }
    }
}

impl RouteLatency {
    /// A chunk came this way, or has not come after a time that is too long already.
    pub(super) fn record_latency(&mut self, slowness: f64, now: Timestamp) {
        if self.latencies.len() == WINDOW_CHUNKS {
            self.latencies.pop_front();
        }
        self.latencies.push_back((now, slowness));
    }

    /// A chunk that was asked for at `since` is overdue. What came before says nothing of the store as it is now.
    pub(super) fn record_overdue(&mut self, slowness: f64, since: Timestamp, now: Timestamp) {
        self.latencies.retain(|(at, _)| *at > since);
        self.record_latency(slowness, now);
    }

    /// Whether the next chunk is to come from the next nearest store instead, to see how long that takes. If so, it counts
    /// as under way.
    pub(super) fn should_probe(&mut self, now: Timestamp) -> bool {
        let busy = self.probing.is_some_and(|lost| now < lost);
        let suspected = self.median().is_some_and(|median| median > 1.0) || self.all_overdue();
        let begins = suspected && !busy && now >= self.not_before;
        if begins {
            self.probing = Some(after(now, PROBE_TIMEOUT));
        }
        begins
    }

    /// A probe came. Only one that took long enough less than the chunks before lets others follow.
    pub(super) fn record_probe(&mut self, slowness: f64, now: Timestamp) -> ProbeVerdict {
        self.probing = None;
        let Some(fastest) = self.latency_ratios().min_by(f64::total_cmp) else { return ProbeVerdict::Inconclusive };
        if slowness * MIN_SPEEDUP > fastest {
            return self.clear(now);
        }
        self.probes.push(slowness);
        if self.probes.len() < PROBES {
            return ProbeVerdict::Inconclusive;
        }
        let slowest = self.probes.iter().copied().fold(f64::EPSILON, f64::max);
        ProbeVerdict::SourceIsSlow(fastest / slowest)
    }

    /// Leaves the store for this account. Returns for how long.
    pub(super) fn open_circuit(&mut self, now: Timestamp) -> Duration {
        // What was seen so far is of a store with all its load, and no measure of it afterwards.
        self.latencies.clear();
        self.probes.clear();
        self.breaker.open(now)
    }

    /// A probe came to nothing, which is no sign that the other store is faster.
    pub(super) fn probe_failed(&mut self, now: Timestamp) {
        self.clear(now);
    }

    fn clear(&mut self, now: Timestamp) -> ProbeVerdict {
        self.probing = None;
        self.probes.clear();
        self.not_before = after(now, PROBE_BACKOFF.wait(self.failed_probes));
        self.failed_probes = self.failed_probes.saturating_add(1);
        ProbeVerdict::SinkIsSlow
    }

    /// Whether all that was seen of late was overdue. A few chunks are enough: at the end of a copy there are no more.
    fn all_overdue(&self) -> bool {
        // What is just overdue may be a little less, as times are rounded.
        !self.latencies.is_empty() && self.latency_ratios().all(|slowness| slowness > 0.9 * OVERDUE_FACTOR)
    }

    fn latency_ratios(&self) -> impl Iterator<Item = f64> {
        self.latencies.iter().map(|(_, slowness)| *slowness)
    }

    /// The middle of what was seen, once enough was.
    fn median(&self) -> Option<f64> {
        if self.latencies.len() < WINDOW_CHUNKS {
            return None;
        }
        let mut sorted: Vec<f64> = self.latency_ratios().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(WINDOW_CHUNKS / 2).copied()
    }
}
