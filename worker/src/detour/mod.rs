//! Detours: where a store is slow or keeps failing, chunks come from the next nearest store that has them.
//!
//! A detour may cross the WAN and cost money, so the bar is high: a store is left for an account only when chunks from the
//! next nearest store came several times faster to that account (`route`), and for all of them only when its reads failed,
//! one after the other, by its own fault (`standing`). It is then left for a while, tried with single chunks, and used again
//! when these come in good time. Each account judges how fast a store is for itself: one that is slow itself and errs about
//! that must not send the others around. Waits for chunks that a store does not have yet are no part of this: only chunks
//! on their way are timed.
//!
//! Pure but for its lock: it is told the time and what happened.

mod route;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use goldfleet_model::ids::AccountName;
use goldfleet_model::manifest::ChunkEntry;
use goldfleet_model::store::Store;
use goldfleet_ports::clock::between;
use goldfleet_ports::error::{ErrorKind, PortError, PortResult, SourceFault};
use jiff::Timestamp;

use crate::availability::Wanted;
use route::{Route, Shown, overdue_after, slowness};
use standing::{May, Standing};

/// How many accounts are kept in mind; then all are forgotten, which costs a few chunks until they are known again.
const KEPT: usize = 16 * 1024;

/// What a process knows of the stores that it reads from.
pub struct Detours {
    enabled: bool,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Stores that fail do so for everyone.
    stores: HashMap<Store, Standing>,
    /// How fast stores are, each account knows for itself.
    routes: HashMap<AccountName, HashMap<Store, Route>>,
}

/// The store that a chunk is to come from, and what is learnt from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick<'a> {
    /// The store.
    pub store: &'a Store,
    why: Why<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why<'a> {
    /// It is the nearest.
    Nearest,
    /// The nearest is left.
    Around,
    /// To see whether it is faster than this store, which is nearer.
    Probe(&'a Store),
    /// To see whether it can be used again.
    Trial,
}

impl Pick<'_> {
    /// Whether a nearer store has the chunk too.
    #[must_use]
    pub fn is_detour(&self) -> bool {
        matches!(self.why, Why::Around | Why::Probe(_))
    }
}

/// Whether an error says that it is the source that can't be read now.
#[must_use]
pub fn blames_source(error: &PortError) -> bool {
    matches!(error.source_fault(), Some(SourceFault::Unavailable | SourceFault::Denied))
}

impl Detours {
    /// Nothing known yet. Where they are not enabled, chunks always come from the nearest store.
    #[must_use]
    pub fn new(enabled: bool) -> Self {
        Self { enabled, known: Mutex::default() }
    }

    /// The store that a chunk for an account is to come from now. How it went must be told with [`Detours::ended`].
    pub fn pick<'a>(&self, wanted: &Wanted<'_, 'a>, to: &AccountName, now: Timestamp) -> Option<Pick<'a>> {
        let nearest = wanted.nearest_but(&[])?;
        if !self.enabled {
            return Some(Pick { store: nearest, why: Why::Nearest });
        }
        let mut known = self.known();
        let mut around = Vec::new();
        let mut next = Some(nearest);
        while let Some(store) = next {
            around.push(store);
            let other = wanted.nearest_but(&around);
            let why = if store == nearest { Why::Nearest } else { Why::Around };
            match known.may(store, to, now) {
                May::Try => return Some(Pick { store, why: Why::Trial }),
                May::NotNow => next = other,
                May::Read => {
                    let other = other.filter(|other| why == Why::Nearest && !known.is_left(other, to));
                    return Some(match other.filter(|_| known.route(store, to).begins_probe(now)) {
                        Some(other) => Pick { store: other, why: Why::Probe(store) },
                        None => Pick { store, why },
                    });
                }
            }
        }
        // All are left: then as if none were.
        Some(Pick { store: nearest, why: Why::Nearest })
    }

    /// How long a chunk may be on its way before it is overdue; none where they are not enabled.
    #[must_use]
    pub fn overdue_after(&self, entry: &ChunkEntry) -> Option<Duration> {
        self.enabled.then(|| overdue_after(entry))
    }

    /// A chunk that was asked for at `since` is overdue, and still on its way. Returns whether that says enough: then its end
    /// need not be told.
    pub fn overdue(
        &self,
        pick: &Pick<'_>,
        to: &AccountName,
        entry: &ChunkEntry,
        since: Timestamp,
        now: Timestamp,
    ) -> bool {
        self.known().overdue(pick, to, slowness(entry, between(since, now)), since, now)
    }

    /// The store that an overdue chunk is to come from instead; none where it is best waited for. How it went must be told
    /// with [`Detours::ended`].
    pub fn instead<'a>(
        &self,
        pick: &Pick<'a>,
        wanted: &Wanted<'_, 'a>,
        to: &AccountName,
        now: Timestamp,
    ) -> Option<Pick<'a>> {
        let known = &mut *self.known();
        let mut around = vec![pick.store];
        let other = loop {
            let store = wanted.nearest_but(&around)?;
            if !known.is_left(store, to) {
                break store;
            }
            around.push(store);
        };
        match pick.why {
            // It was to show whether another store is faster, and has.
            Why::Probe(_) => None,
            _ if known.is_left(pick.store, to) => Some(Pick { store: other, why: Why::Around }),
            Why::Nearest if known.route(pick.store, to).begins_probe(now) => {
                Some(Pick { store: other, why: Why::Probe(pick.store) })
            }
            _ => None,
        }
    }

    /// A request for a chunk has ended, `took` after its store was first asked for it: with the chunk, or in vain.
    pub fn ended(
        &self,
        pick: &Pick<'_>,
        to: &AccountName,
        entry: &ChunkEntry,
        took: Duration,
        now: Timestamp,
        put: &PortResult<u64>,
    ) {
        if !self.enabled {
            return;
        }
        let known = &mut *self.known();
        let slowness = slowness(entry, took);
        match put {
            // Someone else had put it there: that says nothing.
            Ok(0) => known.over(pick, to, now),
            Ok(_) => known.came(pick, to, slowness, now),
            Err(error) if blames_source(error) => known.failed(pick, to, now),
            // Whose fault it is is not said; but a chunk that should long be there is late in any case.
            Err(error) if matches!(error.kind, ErrorKind::Throttled | ErrorKind::Unavailable) => {
                known.late(pick, to, slowness, now);
            }
            Err(_) => known.over(pick, to, now),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing panics while it holds the lock but by a bug; what is known is then still whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// How a store may be read for an account. Most stores never get a standing.
    fn may(&mut self, store: &Store, to: &AccountName, now: Timestamp) -> May {
        match self.stores.get_mut(store).map_or(May::Read, |standing| standing.may(now)) {
            May::Read => {
                let route = self.routes.get_mut(to).and_then(|routes| routes.get_mut(store));
                route.map_or(May::Read, |route| route.standing.may(now))
            }
            may => may,
        }
    }

    /// Whether a store is left, as it fails or as it is slow for this account.
    fn is_left(&self, store: &Store, to: &AccountName) -> bool {
        let route = self.routes.get(to).and_then(|routes| routes.get(store));
        self.fails(store) || route.is_some_and(|route| route.standing.is_left())
    }

    fn fails(&self, store: &Store) -> bool {
        self.stores.get(store).is_some_and(Standing::is_left)
    }

    /// What a trial is about.
    fn on_trial(&mut self, store: &Store, to: &AccountName) -> &mut Standing {
        if self.fails(store) { self.standing(store) } else { &mut self.route(store, to).standing }
    }

    fn standing(&mut self, store: &Store) -> &mut Standing {
        self.stores.entry(store.clone()).or_default()
    }

    fn route(&mut self, from: &Store, to: &AccountName) -> &mut Route {
        if self.routes.len() >= KEPT && !self.routes.contains_key(to) {
            self.routes.clear();
        }
        self.routes.entry(to.clone()).or_default().entry(from.clone()).or_default()
    }

    /// A chunk came.
    fn came(&mut self, pick: &Pick<'_>, to: &AccountName, slowness: f64, now: Timestamp) {
        let store = pick.store;
        if let Some(standing) = self.stores.get_mut(store) {
            standing.succeeded();
        }
        match pick.why {
            Why::Nearest | Why::Around => self.route(store, to).saw(slowness, now),
            Why::Probe(nearer) => {
                if let Shown::Slow(times) = self.route(nearer, to).probed(slowness, now) {
                    let hold = self.route(nearer, to).leave(now);
                    let (slow, times) = (nearer, format!("{times:.1}"));
                    tracing::warn!(store = %slow, account = %to, other = %store, times, ?hold, "a store is so many times slower than the next nearest store: the account's chunks come from there");
                }
            }
            // How long it takes one account says nothing of whether a store still fails.
            Why::Trial if slowness > 1.0 && !self.fails(store) => self.leave_again(store, to, now),
            Why::Trial => {
                if self.on_trial(store, to).passed(now) {
                    tracing::info!(%store, account = %to, "the store is well again: chunks come from it as before");
                }
            }
        }
    }

    /// A chunk has not come, and nobody says whose fault that is.
    fn late(&mut self, pick: &Pick<'_>, to: &AccountName, slowness: f64, now: Timestamp) {
        match pick.why {
            Why::Probe(nearer) => self.route(nearer, to).probe_failed(now),
            _ if slowness > 1.0 => self.came(pick, to, slowness, now),
            _ => self.over(pick, to, now),
        }
    }

    /// A chunk is far too long on its way. Returns whether that says enough of how it went.
    fn overdue(&mut self, pick: &Pick<'_>, to: &AccountName, slowness: f64, since: Timestamp, now: Timestamp) -> bool {
        match pick.why {
            Why::Nearest | Why::Around => self.route(pick.store, to).overdue(slowness, since, now),
            Why::Probe(nearer) => self.route(nearer, to).probe_failed(now),
            // A store that failed is tried whether it can be read: how fast that is may be the account's doing.
            Why::Trial if self.fails(pick.store) => return false,
            Why::Trial => self.leave_again(pick.store, to, now),
        }
        true
    }

    /// A store can't be read, and it is said that it is its own fault.
    fn failed(&mut self, pick: &Pick<'_>, to: &AccountName, now: Timestamp) {
        if let Why::Probe(nearer) = pick.why {
            self.route(nearer, to).probe_failed(now);
        }
        if pick.why == Why::Trial {
            self.leave_again(pick.store, to, now);
        } else if let Some(hold) = self.standing(pick.store).failed(now) {
            tracing::warn!(store = %pick.store, ?hold, "a store can't be read again and again: chunks come from the next nearest store that has them");
        }
    }

    /// Nothing was learnt.
    fn over(&mut self, pick: &Pick<'_>, to: &AccountName, now: Timestamp) {
        match pick.why {
            Why::Probe(nearer) => self.route(nearer, to).probe_failed(now),
            Why::Trial => self.on_trial(pick.store, to).trial_over(),
            Why::Nearest | Why::Around => {}
        }
    }

    fn leave_again(&mut self, store: &Store, to: &AccountName, now: Timestamp) {
        let hold = self.on_trial(store, to).leave(now);
        tracing::info!(%store, account = %to, ?hold, "a store is not well yet");
    }
}
