//! The latency of a route from a store to an account, and whether another store would be faster.
//!
//! A slow transfer does not prove that the store is slow: the bottleneck may be the receiving account. So a store is
//! never judged by its own latency alone. If the latency is high, a few chunks for the same account are read from the
//! next nearest store as probes, and both latencies are compared. If the account is the bottleneck, the probes are as
//! slow.

use std::collections::VecDeque;
use std::time::Duration;

use goldfleet_model::manifest::ChunkEntry;
use goldfleet_ports::backoff::Backoff;
use goldfleet_ports::clock::{LONGEST_WAIT, after, has_ended};
use jiff::Timestamp;

use super::breaker::CircuitBreaker;

/// The expected duration of a chunk request without its bytes: a round trip between the most distant regions (Azure
/// publishes slightly more than 250 ms for the longest one).
const REQUEST_ALLOWANCE: Duration = Duration::from_millis(250);

/// The rate below which a chunk counts as slow. Each of eight requests gets 7.5 MiB/s of a page blob's 60 MiB/s; this
/// rate is 2.5 times lower.
const MIN_BYTES_PER_SECOND: f64 = 3.0 * 1024.0 * 1024.0;

/// A chunk is overdue after this multiple of its expected duration. From then on, the worker waits for it only until
/// another store can deliver it. For 4 MiB this is 16 s. A request that is not replaced times out after two minutes.
const OVERDUE_FACTOR: f64 = 10.0;

/// The number of chunks in the window: as many as an assembly has in flight.
const WINDOW_CHUNKS: usize = 8;

/// How many times faster each probe of the next nearest store must be than the fastest chunk in the window. Chunks from
/// there cost egress, and a factor of two would only halve the time. If the account itself is slow, latencies vary with
/// the current number of chunks in flight.
const MIN_SPEEDUP: f64 = 3.0;

/// The number of probes that are needed before a store is replaced. A single probe may be fast by chance.
const PROBES: usize = 3;

/// The wait after a probe that was not faster. It doubles each time, because the cause is probably not the store, and
/// each probe may cross the WAN. At most an hour.
const PROBE_BACKOFF: Backoff = Backoff::new(Duration::from_secs(60), Duration::from_secs(60 * 60));

/// The age from which a probe without a reported result counts as lost. It is longer than any request.
const PROBE_TIMEOUT: Duration = Duration::from_secs(180);

/// The duration of a chunk as a multiple of its expected duration.
pub(super) fn latency_ratio(entry: &ChunkEntry, took: Duration) -> f64 {
    took.as_secs_f64() / expected_duration(entry)
}

/// The duration from which a chunk is overdue.
pub(super) fn overdue_after(entry: &ChunkEntry) -> Duration {
    Duration::from_secs_f64(expected_duration(entry) * OVERDUE_FACTOR)
}

fn expected_duration(entry: &ChunkEntry) -> f64 {
    let requests = u32::try_from(entry.runs.len()).unwrap_or(u32::MAX).max(1);
    REQUEST_ALLOWANCE.as_secs_f64() * f64::from(requests) + f64::from(entry.length) / MIN_BYTES_PER_SECOND
}

/// The conclusion from the probes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum ProbeVerdict {
    /// There are not enough probes yet.
    Inconclusive,
    /// The next nearest store is not faster by the required factor: the store is not the bottleneck.
    SinkIsSlow,
    /// The next nearest store is faster by this factor.
    SourceIsSlow(f64),
}

/// The latencies of chunks from one store to one account.
#[derive(Debug, Clone)]
pub(super) struct RouteLatency {
    /// Whether the store is avoided for this account because it is slow.
    pub(super) breaker: CircuitBreaker,
    /// The latency ratios of recent chunks and the times of their measurement.
    latencies: VecDeque<(Timestamp, f64)>,
    /// The latency ratios of the probes so far that were fast enough.
    probes: Vec<f64>,
    /// The time at which the probe in flight counts as lost.
    probing: Option<Timestamp>,
    /// No probe starts before this time.
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
    /// Records the latency of a chunk that arrived, or that has not arrived after more than its expected duration.
    pub(super) fn record_latency(&mut self, slowness: f64, now: Timestamp) {
        if self.latencies.len() == WINDOW_CHUNKS {
            self.latencies.pop_front();
        }
        self.latencies.push_back((now, slowness));
    }

    /// Records that a chunk that was requested at `since` is overdue. Earlier measurements no longer describe the store
    /// and are removed.
    pub(super) fn record_overdue(&mut self, slowness: f64, since: Timestamp, now: Timestamp) {
        self.latencies.retain(|(at, _)| *at > since);
        self.record_latency(slowness, now);
    }

    /// Whether the next chunk should be read from the next nearest store as a probe. If so, the probe counts as in
    /// flight.
    pub(super) fn should_probe(&mut self, now: Timestamp) -> bool {
        let busy = self.probing.is_some_and(|lost| !has_ended(lost, PROBE_TIMEOUT, now));
        let suspected = self.median().is_some_and(|median| median > 1.0) || self.all_overdue();
        let begins = suspected && !busy && has_ended(self.not_before, LONGEST_WAIT, now);
        if begins {
            self.probing = Some(after(now, PROBE_TIMEOUT));
        }
        begins
    }

    /// Records the latency of a probe. More probes follow only if it was faster than the chunks in the window by the
    /// required factor.
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

    /// Opens the circuit of the store for this account. Returns for how long.
    pub(super) fn open_circuit(&mut self, now: Timestamp) -> Duration {
        // The measurements were made under full load and do not apply after the load is removed.
        self.latencies.clear();
        self.probes.clear();
        self.breaker.open(now)
    }

    /// Records a failed probe, which does not indicate that the other store is faster.
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

    /// Whether all recent measurements are overdue. A few are enough, because the end of a transfer has no more chunks.
    fn all_overdue(&self) -> bool {
        // A ratio may be slightly below the limit because times are rounded.
        !self.latencies.is_empty() && self.latency_ratios().all(|slowness| slowness > 0.9 * OVERDUE_FACTOR)
    }

    fn latency_ratios(&self) -> impl Iterator<Item = f64> {
        self.latencies.iter().map(|(_, slowness)| *slowness)
    }

    /// The median of the window. None until the window is full.
    fn median(&self) -> Option<f64> {
        if self.latencies.len() < WINDOW_CHUNKS {
            return None;
        }
        let mut sorted: Vec<f64> = self.latency_ratios().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(WINDOW_CHUNKS / 2).copied()
    }
}
