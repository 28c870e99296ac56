//! Failover: where a store is slow or keeps failing, chunks come from the next nearest store that has them.
//!
//! Failover may cross the WAN and cost money, so the bar is high: a store is left for an account only when chunks from the
//! next nearest store came several times faster to that account (`latency`), and for all of them only when its reads failed,
//! one after the other, by its own fault (`breaker`). It is then left for a while, tried with single chunks, and used again
//! when these come in good time. Each account judges how fast a store is for itself: one that is slow itself and errs about
//! that must not send the others around. Waits for chunks that a store does not have yet are no part of this: only chunks
//! on their way are timed.
//!
//! Pure but for its lock: it is told the time and what happened.

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

/// How many accounts are kept in mind; then all are forgotten, which costs a few chunks until they are known again.
const MAX_ACCOUNTS: usize = 16 * 1024;

/// What a process knows of the stores that it reads from.
pub struct SourceSelector {
    enabled: bool,
    known: Mutex<SelectorState>,
}

#[derive(Default)]
struct SelectorState {
    /// Stores that fail do so for everyone.
    stores: HashMap<Store, CircuitBreaker>,
    /// How fast stores are, each account knows for itself.
    routes: HashMap<AccountName, HashMap<Store, RouteLatency>>,
}

/// The store that a chunk is to come from, and what is learnt from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceChoice<'a> {
    /// The store.
    pub store: &'a Store,
    why: ChoiceReason<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ChoiceReason<'a> {
    /// It is the nearest.
    Nearest,
    /// The nearest is left.
    Failover,
    /// To see whether it is faster than this store, which is nearer.
    Probe(&'a Store),
    /// To see whether it can be used again.
    HalfOpen,
}

impl SourceChoice<'_> {
    /// Whether a nearer store has the chunk too.
    #[must_use]
    pub fn is_failover(&self) -> bool {
        matches!(self.why, ChoiceReason::Failover | ChoiceReason::Probe(_))
    }
}

/// Whether an error says that it is the source that can't be read now.
#[must_use]
pub fn blames_source(error: &PortError) -> bool {
    matches!(error.source_fault(), Some(SourceFault::Unavailable | SourceFault::Denied))
}

impl SourceSelector {
    /// Nothing known yet. Where they are not enabled, chunks always come from the nearest store.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { enabled, known: Mutex::default() }
    }

    /// The store that a chunk for an account is to come from now. How it went must be told with [`SourceSelector::record_result`].
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
        // All are left: then as if none were.
        Some(SourceChoice { store: nearest, why: ChoiceReason::Nearest })
    }

    /// How long a chunk may be on its way before it is overdue; none where they are not enabled.
    #[must_use]
    pub fn overdue_after(&self, entry: &ChunkEntry) -> Option<Duration> {
        self.enabled.then(|| overdue_after(entry))
    }

    /// A chunk that was asked for at `since` is overdue, and still on its way. Returns whether that says enough: then its end
    /// need not be told.
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

    /// The store that an overdue chunk is to come from instead; none where it is best waited for. How it went must be told
    /// with [`SourceSelector::record_result`].
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
            // It was to show whether another store is faster, and has.
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

    /// A request for a chunk has ended, `took` after its store was first asked for it: with the chunk, or in vain.
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
            // Someone else had put it there: that says nothing.
            Ok(0) => known.release_probe(pick, to, now),
            Ok(_) => known.record_success(pick, to, slowness, now),
            Err(error) if blames_source(error) => known.record_source_failure(pick, to, now),
            // Whose fault it is is not said; but a chunk that should long be there is late in any case.
            Err(error) if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable) => {
                known.record_timeout(pick, to, slowness, now);
            }
            Err(_) => known.release_probe(pick, to, now),
        }
    }

    fn state(&self) -> MutexGuard<'_, SelectorState> {
        // Nothing panics while it holds the lock but by a bug; what is known is then still whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SelectorState {
    /// How a store may be read for an account. Most stores never get a standing.
    fn admission(&mut self, store: &Store, to: &AccountName, now: Timestamp) -> Admission {
        match self.stores.get_mut(store).map_or(Admission::Allow, |standing| standing.admission(now)) {
            Admission::Allow => {
                let route = self.routes.get_mut(to).and_then(|routes| routes.get_mut(store));
                route.map_or(Admission::Allow, |route| route.breaker.admission(now))
            }
            may => may,
        }
    }

    /// Whether a store is left, as it fails or as it is slow for this account.
    fn is_circuit_open(&self, store: &Store, to: &AccountName) -> bool {
        let route = self.routes.get(to).and_then(|routes| routes.get(store));
        self.is_failing(store) || route.is_some_and(|route| route.breaker.is_open())
    }

    fn is_failing(&self, store: &Store) -> bool {
        self.stores.get(store).is_some_and(CircuitBreaker::is_open)
    }

    /// What a trial is about.
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

    /// A chunk came.
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
                    tracing::warn!(store = %slow, account = %to, other = %store, times, ?hold, "a store is so many times slower than the next nearest store: the account's chunks come from there");
                }
            }
            // How long it takes one account says nothing of whether a store still fails.
            ChoiceReason::HalfOpen if slowness > 1.0 && !self.is_failing(store) => self.reopen(store, to, now),
            ChoiceReason::HalfOpen => {
                if self.half_open_entry(store, to).record_trial_success(now) {
                    tracing::info!(%store, account = %to, "the store is well again: chunks come from it as before");
                }
            }
        }
    }

    /// A chunk has not come, and nobody says whose fault that is.
    fn record_timeout(&mut self, pick: &SourceChoice<'_>, to: &AccountName, slowness: f64, now: Timestamp) {
        match pick.why {
            ChoiceReason::Probe(nearer) => self.route(nearer, to).probe_failed(now),
            _ if slowness > 1.0 => self.record_success(pick, to, slowness, now),
            _ => self.release_probe(pick, to, now),
        }
    }

    /// A chunk is far too long on its way. Returns whether that says enough of how it went.
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
            // A store that failed is tried whether it can be read: how fast that is may be the account's doing.
            ChoiceReason::HalfOpen if self.is_failing(pick.store) => return false,
            ChoiceReason::HalfOpen => self.reopen(pick.store, to, now),
        }
        true
    }

    /// A store can't be read, and it is said that it is its own fault.
    fn record_source_failure(&mut self, pick: &SourceChoice<'_>, to: &AccountName, now: Timestamp) {
        if let ChoiceReason::Probe(nearer) = pick.why {
            self.route(nearer, to).probe_failed(now);
        }
        if pick.why == ChoiceReason::HalfOpen {
            self.reopen(pick.store, to, now);
        } else if let Some(hold) = self.breaker(pick.store).failed(now) {
            tracing::warn!(store = %pick.store, ?hold, "a store can't be read again and again: chunks come from the next nearest store that has them");
        }
    }

    /// Nothing was learnt.
    fn release_probe(&mut self, pick: &SourceChoice<'_>, to: &AccountName, now: Timestamp) {
        match pick.why {
            ChoiceReason::Probe(nearer) => self.route(nearer, to).probe_failed(now),
            ChoiceReason::HalfOpen => self.half_open_entry(pick.store, to).release_trial(),
            ChoiceReason::Nearest | ChoiceReason::Failover => {}
        }
    }

    fn reopen(&mut self, store: &Store, to: &AccountName, now: Timestamp) {
        let hold = self.half_open_entry(store, to).open(now);
        tracing::info!(%store, account = %to, ?hold, "a store is not well yet");
    }
}
