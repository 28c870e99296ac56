//! From one store to one account: how long chunks take that way, and whether they would take less from elsewhere.
//!
//! That chunks take long says nothing of the store: the account that they go to may be what binds. So a store is never
//! judged by its own times alone. Where they are long, a few chunks for the same account are fetched from the next nearest
//! store, and both are compared: what the account itself holds up takes as long from there.

use std::collections::VecDeque;
use std::time::Duration;

use goldfleet_model::manifest::ChunkEntry;
use goldfleet_ports::clock::after;
use jiff::Timestamp;

use super::standing::Standing;

/// What a request of a chunk may take before it is thought to be slow, apart from its bytes: a round trip between the
/// farthest regions (Azure publishes 250 ms and a little more for the longest).
const ROUND_TRIP: Duration = Duration::from_millis(250);

/// The rate at which a chunk may come before it is thought to be slow: of a page blob's 60 MiB/s each of eight requests
/// gets 7.5, and this is two and a half times slower.
const BYTES_A_SECOND: f64 = 3.0 * 1024.0 * 1024.0;

/// A chunk is overdue once it has been on its way this many times as long as it may take: from then on it is waited for only
/// until it can be had elsewhere. For 4 MiB that is 16 s; a request that goes on all the same is given up after two minutes.
const OVERDUE: f64 = 10.0;

/// How many chunks are looked at together: as many as a copy has in flight.
const SEEN: usize = 8;

/// How many times faster the next nearest store must be: each of the probes than the fastest of the chunks before. Chunks from
/// there cost egress, and twice as fast would only halve a time. At an account that is slow itself, times vary with how many
/// chunks are in flight just then.
const TIMES_FASTER: f64 = 3.0;

/// How many chunks are fetched from the next nearest store to see whether it is faster. One may be lucky.
const PROBES: usize = 3;

/// How long a way is left in peace after a probe that was no faster. It doubles each time: what is not the store's fault
/// stays so, and each probe may cross the WAN.
const PEACE: Duration = Duration::from_secs(60);

/// The longest that it doubles to.
const LONGEST_PEACE: Duration = Duration::from_secs(60 * 60);

/// After what time a probe counts as lost whose end nobody has told: longer than any request takes.
const PROBE_LOST: Duration = Duration::from_secs(180);

/// How long a chunk took, as a multiple of what it may take before it is thought to be slow.
pub(super) fn slowness(entry: &ChunkEntry, took: Duration) -> f64 {
    took.as_secs_f64() / may_take(entry)
}

/// How long a chunk may be on its way before it is overdue.
pub(super) fn overdue_after(entry: &ChunkEntry) -> Duration {
    Duration::from_secs_f64(may_take(entry) * OVERDUE)
}

fn may_take(entry: &ChunkEntry) -> f64 {
    let requests = u32::try_from(entry.runs.len()).unwrap_or(u32::MAX).max(1);
    ROUND_TRIP.as_secs_f64() * f64::from(requests) + f64::from(entry.length) / BYTES_A_SECOND
}

/// What probes have shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shown {
    /// Not enough yet.
    Nothing,
    /// The next nearest store is no faster, or not enough: the store is not what binds.
    NotTheStore,
    /// The next nearest store is so many times faster.
    Slow(f64),
}

/// What was seen of chunks from one store to one account.
#[derive(Debug, Clone)]
pub(super) struct Route {
    /// Whether the store is left for this account, as it is slow.
    pub(super) standing: Standing,
    /// How slow chunks were, and when that was seen.
    seen: VecDeque<(Timestamp, f64)>,
    /// How slow the probes were that were fast enough so far.
    probes: Vec<f64>,
    /// The probe in flight counts as lost at this time.
    probing: Option<Timestamp>,
    /// No probe begins before.
    not_before: Timestamp,
    /// How long the way is left in peace after the next probe in vain.
    peace: Duration,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            standing: Standing::default(),
            seen: VecDeque::with_capacity(SEEN),
            probes: Vec::new(),
            probing: None,
            not_before: Timestamp::MIN,
            peace: PEACE,
        }
    }
}

impl Route {
    /// A chunk came this way, or has not come after a time that is too long already.
    pub(super) fn saw(&mut self, slowness: f64, now: Timestamp) {
        if self.seen.len() == SEEN {
            self.seen.pop_front();
        }
        self.seen.push_back((now, slowness));
    }

    /// A chunk that was asked for at `since` is overdue. What came before says nothing of the store as it is now.
    pub(super) fn overdue(&mut self, slowness: f64, since: Timestamp, now: Timestamp) {
        self.seen.retain(|(at, _)| *at > since);
        self.saw(slowness, now);
    }

    /// Whether the next chunk is to come from the next nearest store instead, to see how long that takes. If so, it counts
    /// as under way.
    pub(super) fn begins_probe(&mut self, now: Timestamp) -> bool {
        let busy = self.probing.is_some_and(|lost| now < lost);
        let suspected = self.median().is_some_and(|median| median > 1.0) || self.is_silent();
        let begins = suspected && !busy && now >= self.not_before;
        if begins {
            self.probing = Some(after(now, PROBE_LOST));
        }
        begins
    }

    /// A probe came. Only one that took long enough less than the chunks before lets others follow.
    pub(super) fn probed(&mut self, slowness: f64, now: Timestamp) -> Shown {
        self.probing = None;
        let Some(fastest) = self.slownesses().min_by(f64::total_cmp) else { return Shown::Nothing };
        if slowness * TIMES_FASTER > fastest {
            return self.clear(now);
        }
        self.probes.push(slowness);
        if self.probes.len() < PROBES {
            return Shown::Nothing;
        }
        let slowest = self.probes.iter().copied().fold(f64::EPSILON, f64::max);
        Shown::Slow(fastest / slowest)
    }

    /// Leaves the store for this account. Returns for how long.
    pub(super) fn leave(&mut self, now: Timestamp) -> Duration {
        // What was seen so far is of a store with all its load, and no measure of it afterwards.
        self.seen.clear();
        self.probes.clear();
        self.standing.leave(now)
    }

    /// A probe came to nothing, which is no sign that the other store is faster.
    pub(super) fn probe_failed(&mut self, now: Timestamp) {
        self.clear(now);
    }

    fn clear(&mut self, now: Timestamp) -> Shown {
        self.probing = None;
        self.probes.clear();
        self.not_before = after(now, self.peace);
        self.peace = (self.peace * 2).min(LONGEST_PEACE);
        Shown::NotTheStore
    }

    /// Whether all that was seen of late was overdue. A few chunks are enough: at the end of a copy there are no more.
    fn is_silent(&self) -> bool {
        // What is just overdue may be a little less, as times are rounded.
        !self.seen.is_empty() && self.slownesses().all(|slowness| slowness > 0.9 * OVERDUE)
    }

    fn slownesses(&self) -> impl Iterator<Item = f64> {
        self.seen.iter().map(|(_, slowness)| *slowness)
    }

    /// The middle of what was seen, once enough was.
    fn median(&self) -> Option<f64> {
        if self.seen.len() < SEEN {
            return None;
        }
        let mut sorted: Vec<f64> = self.slownesses().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(SEEN / 2).copied()
    }
}
