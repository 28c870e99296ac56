//! Failover: if a store is slow or keeps failing, chunks are read from the next nearest store that has them.
//!
//! Failover may cross the WAN and cost money, so it needs strong evidence. A store is avoided for one account only if
//! chunks from the next nearest store reach that account several times faster (`latency`). It is avoided for all
//! accounts only after consecutive reads failed because of the store (`breaker`). After a while it is tested with
//! single chunks, and it is used again if they arrive in time. Latencies are recorded for each account separately, so
//! that an account that is slow itself and misjudges a store does not affect the others. The time spent waiting for
//! chunks that a store does not have yet is not measured: only requests in flight are.
//!
//! Pure except for its lock: the caller passes the time and reports all events.

mod breaker;
mod latency;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::ChunkEntry;
use goldfleet_model::store::Store;
use goldfleet_ports::clock::elapsed;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};
use jiff::Timestamp;

use crate::transfer::availability::WantedChunk;
use breaker::{Admission, CircuitBreaker};
use latency::{ProbeVerdict, RouteLatency, latency_ratio, overdue_after};

/// Begins the log line of a store that is avoided from now on.
pub const STORE_FAILS: &str = "a store fails repeatedly";

/// The maximum number of accounts in the state: several times the operations in flight, and about 1 MiB. Beyond it the
/// state is cleared, which costs a few chunks until the stores are known again.
const MAX_ACCOUNTS: usize = 1024;

/// What a process knows about its source stores.
pub struct SourceSelector {
    enabled: bool,
    known: Mutex<SelectorState>,
}

#[derive(Default)]
struct SelectorState {
    /// The breakers of failing stores, which apply to all accounts.
    stores: HashMap<Store, CircuitBreaker>,
    /// The latencies of stores for each account.
    routes: HashMap<AccountName, HashMap<Store, RouteLatency>>,
}

/// The store from which to read a chunk, and the reason for the choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceChoice<'a> {
    /// The store.
    pub store: &'a Store,
    why: ChoiceReason<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChoiceReason<'a> {
    /// The store is the nearest.
    Nearest,
    /// The circuit of the nearest store is open.
    Failover,
    /// The request probes whether the store is faster than this nearer store.
    Probe(&'a Store),
    /// The request tests whether the store can be used again.
    HalfOpen,
}

impl SourceChoice<'_> {
    /// Whether a nearer store also has the chunk.
    #[must_use]
    pub fn is_failover(&self) -> bool {
        matches!(self.why, ChoiceReason::Failover | ChoiceReason::Probe(_))
    }
}

/// Whether an error means that the source cannot be read now.
#[must_use]
pub fn blames_source(error: &PortError) -> bool {
    matches!(error.source_fault(), Some(SourceFault::Unavailable | SourceFault::Denied))
}

impl SourceSelector {
    /// Creates a selector without measurements. If failover is not `enabled`, it always chooses the nearest store.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { enabled, known: Mutex::default() }
    }

    /// Chooses the store from which to read a chunk for an account now. The caller must report the result with
    /// [`SourceSelector::record_result`].
    pub fn choose_source<'a>(
        &self,
        wanted: &WantedChunk<'_, 'a>,
        to: &AccountName,
        now: Timestamp,
    ) -> Option<SourceChoice<'a>> {
        let nearest = wanted.nearest_excluding(&[])?;
        if !self.enabled {
            return Some(SourceChoice { store: nearest, why: ChoiceReason::Nearest });
        }
        let mut known = self.state();
        let mut around = Vec::new();
        let mut next = Some(nearest);
        while let Some(store) = next {
            around.push(store);
            let other = wanted.nearest_excluding(&around);
            let why = if store == nearest { ChoiceReason::Nearest } else { ChoiceReason::Failover };
            match known.admission(store, to, now) {
                Admission::TryOne => return Some(SourceChoice { store, why: ChoiceReason::HalfOpen }),
                Admission::Deny => next = other,
                Admission::Allow => {
                    let other = other.filter(|other| why == ChoiceReason::Nearest && !known.is_circuit_open(other, to));
                    return Some(match other.filter(|_| known.route(store, to).should_probe(now)) {
                        Some(other) => SourceChoice { store: other, why: ChoiceReason::Probe(store) },
                        None => SourceChoice { store, why },
                    });
                }
            }
        }
        // All circuits are open, so none of them is considered.
        Some(SourceChoice { store: nearest, why: ChoiceReason::Nearest })
    }

    /// The duration from which a chunk is overdue. None if failover is disabled.
    #[must_use]
    pub fn overdue_after(&self, entry: &ChunkEntry) -> Option<Duration> {
        self.enabled.then(|| overdue_after(entry))
    }

    /// Records that a chunk that was requested at `since` is overdue and still in flight. Returns whether this settles
    /// the result, so that the end of the request need not be reported.
    pub fn record_overdue(
        &self,
        pick: &SourceChoice<'_>,
        to: &AccountName,
        entry: &ChunkEntry,
        since: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.state().record_overdue(pick, to, latency_ratio(entry, elapsed(since, now)), since, now)
    }

    /// The store from which to read an overdue chunk instead. None if it is better to wait. The caller must report the
    /// result with [`SourceSelector::record_result`].
    pub fn alternative_source<'a>(
        &self,
        pick: &SourceChoice<'a>,
        wanted: &WantedChunk<'_, 'a>,
        to: &AccountName,
        now: Timestamp,
    ) -> Option<SourceChoice<'a>> {
        let known = &mut *self.state();
        let mut around = vec![pick.store];
        let other = loop {
            let store = wanted.nearest_excluding(&around)?;
            if !known.is_circuit_open(store, to) {
                break store;
            }
            around.push(store);
        };
        match pick.why {
            // The probe was to show whether another store is faster. Its result is known now.
            ChoiceReason::Probe(_) => None,
            _ if known.is_circuit_open(pick.store, to) => {
                Some(SourceChoice { store: other, why: ChoiceReason::Failover })
            }
            ChoiceReason::Nearest if known.route(pick.store, to).should_probe(now) => {
                Some(SourceChoice { store: other, why: ChoiceReason::Probe(pick.store) })
            }
            _ => None,
        }
    }

    /// Records the end of a request, `took` after the store was first asked for the chunk: the chunk is in place, or
    /// the request failed.
    pub fn record_result(
        &self,
        pick: &SourceChoice<'_>,
        to: &AccountName,
        entry: &ChunkEntry,
        took: Duration,
        now: Timestamp,
        put: &PortResult<u64>,
    ) {
        if !self.enabled {
            return;
        }
        let known = &mut *self.state();
        let slowness = latency_ratio(entry, took);
        match put {
            // Another request had put the chunk in place, so the result is inconclusive.
            Ok(0) => known.release_probe(pick, to, now),
            Ok(_) => known.record_success(pick, to, slowness, now),
            Err(error) if blames_source(error) => known.record_source_failure(pick, to, now),
            // The error does not identify its cause, but a chunk that is overdue is late in any case.
            Err(error) if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable) => {
                known.record_timeout(pick, to, slowness, now);
            }
            Err(_) => known.release_probe(pick, to, now),
        }
    }

    fn state(&self) -> MutexGuard<'_, SelectorState> {
        // Only a bug can cause a panic while the lock is held. Even then the state is consistent.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SelectorState {
    /// How a store may be used for an account. Most stores never get a breaker.
    fn admission(&mut self, store: &Store, to: &AccountName, now: Timestamp) -> Admission {
        match self.stores.get_mut(store).map_or(Admission::Allow, |standing| standing.admission(now)) {
            Admission::Allow => {
                let route = self.routes.get_mut(to).and_then(|routes| routes.get_mut(store));
                route.map_or(Admission::Allow, |route| route.breaker.admission(now))
            }
            may => may,
        }
    }

    /// Whether a store is avoided because it fails or because it is slow for this account.
    fn is_circuit_open(&self, store: &Store, to: &AccountName) -> bool {
        let route = self.routes.get(to).and_then(|routes| routes.get(store));
        self.is_failing(store) || route.is_some_and(|route| route.breaker.is_open())
    }

    fn is_failing(&self, store: &Store) -> bool {
        self.stores.get(store).is_some_and(CircuitBreaker::is_open)
    }

    /// The breaker that a trial belongs to.
    fn half_open_entry(&mut self, store: &Store, to: &AccountName) -> &mut CircuitBreaker {
        if self.is_failing(store) { self.breaker(store) } else { &mut self.route(store, to).breaker }
    }

    fn breaker(&mut self, store: &Store) -> &mut CircuitBreaker {
        self.stores.entry(store.clone()).or_default()
    }

    fn route(&mut self, from: &Store, to: &AccountName) -> &mut RouteLatency {
        if self.routes.len() >= MAX_ACCOUNTS && !self.routes.contains_key(to) {
            self.routes.clear();
        }
        self.routes.entry(to.clone()).or_default().entry(from.clone()).or_default()
    }

    /// Records a chunk that arrived.
    fn record_success(&mut self, pick: &SourceChoice<'_>, to: &AccountName, slowness: f64, now: Timestamp) {
        let store = pick.store;
        if let Some(standing) = self.stores.get_mut(store) {
            standing.succeeded();
        }
        match pick.why {
            ChoiceReason::Nearest | ChoiceReason::Failover => self.route(store, to).record_latency(slowness, now),
            ChoiceReason::Probe(nearer) => {
                if let ProbeVerdict::SourceIsSlow(times) = self.route(nearer, to).record_probe(slowness, now) {
                    let hold = self.route(nearer, to).open_circuit(now);
                    let (slow, times) = (nearer, format!("{times:.1}"));
                    tracing::warn!(store = %slow, account = %to, other = %store, times, ?hold, "a store is slower than the next nearest store by this factor: chunks for the account are read from that one");
                }
            }
            // The latency for one account does not show whether a store still fails.
            ChoiceReason::HalfOpen if slowness > 1.0 && !self.is_failing(store) => self.reopen(store, to, now),
            ChoiceReason::HalfOpen => {
                if self.half_open_entry(store, to).record_trial_success(now) {
                    tracing::info!(%store, account = %to, "the store is healthy again: chunks are read from it");
                }
            }
        }
    }

    /// Records a chunk that did not arrive for an unknown reason.
    fn record_timeout(&mut self, pick: &SourceChoice<'_>, to: &AccountName, slowness: f64, now: Timestamp) {
        match pick.why {
            ChoiceReason::Probe(nearer) => self.route(nearer, to).probe_failed(now),
            _ if slowness > 1.0 => self.record_success(pick, to, slowness, now),
            _ => self.release_probe(pick, to, now),
        }
    }

    /// Records an overdue chunk. Returns whether this settles the result.
    fn record_overdue(
        &mut self,
        pick: &SourceChoice<'_>,
        to: &AccountName,
        slowness: f64,
        since: Timestamp,
        now: Timestamp,
    ) -> bool {
        match pick.why {
            ChoiceReason::Nearest | ChoiceReason::Failover => {
                self.route(pick.store, to).record_overdue(slowness, since, now);
            }
            ChoiceReason::Probe(nearer) => self.route(nearer, to).probe_failed(now),
            // The trial tests whether a failing store can be read. The account may be the reason for the latency.
            ChoiceReason::HalfOpen if self.is_failing(pick.store) => return false,
            ChoiceReason::HalfOpen => self.reopen(pick.store, to, now),
        }
        true
    }

    /// Records an error that was caused by the store.
    fn record_source_failure(&mut self, pick: &SourceChoice<'_>, to: &AccountName, now: Timestamp) {
        if let ChoiceReason::Probe(nearer) = pick.why {
            self.route(nearer, to).probe_failed(now);
        }
        if pick.why == ChoiceReason::HalfOpen {
            self.reopen(pick.store, to, now);
        } else if let Some(hold) = self.breaker(pick.store).failed(now) {
            tracing::warn!(store = %pick.store, ?hold, "{STORE_FAILS}: chunks are read from the next nearest store that has them");
        }
    }

    /// Records that a request was inconclusive.
    fn release_probe(&mut self, pick: &SourceChoice<'_>, to: &AccountName, now: Timestamp) {
        match pick.why {
            ChoiceReason::Probe(nearer) => self.route(nearer, to).probe_failed(now),
            ChoiceReason::HalfOpen => self.half_open_entry(pick.store, to).release_trial(),
            ChoiceReason::Nearest | ChoiceReason::Failover => {}
        }
    }

    fn reopen(&mut self, store: &Store, to: &AccountName, now: Timestamp) {
        let hold = self.half_open_entry(store, to).open(now);
        tracing::info!(%store, account = %to, ?hold, "a store is still slow or failing");
    }
}
