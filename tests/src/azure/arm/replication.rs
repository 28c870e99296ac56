//! The replication of gallery versions to regions. A replication progresses by the reads of its status and by time.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// How replications behave.
#[derive(Debug, Clone)]
pub struct Replication {
    /// The number of reads of the status that find a replication in progress.
    pub reads: u32,
    /// The minimum duration.
    pub duration: Duration,
    /// The number of uses that are refused after the service reported the end.
    pub refused_uses: u32,
    /// The minimum time from the end until the version can be used. Source: reports of users: minutes.
    pub lag: Duration,
    /// The number of replications to a region that fail, by region.
    pub failing: BTreeMap<String, u32>,
    /// The largest number of replicas of a version. Source: Azure, azure-compute-gallery, limits.
    pub limit: i64,
}

impl Default for Replication {
    fn default() -> Self {
        let none = Duration::ZERO;
        Self { reads: 2, duration: none, refused_uses: 1, lag: none, failing: BTreeMap::new(), limit: 100 }
    }
}

impl Replication {
    /// Begins a replication to a region.
    pub(super) fn begin(&mut self, region: &str, now: Timestamp) -> Replica {
        let fails = match self.failing.get_mut(region) {
            Some(left @ 1..) => {
                *left -= 1;
                true
            }
            _ => false,
        };
        let later = |from: Timestamp, by: Duration| {
            from.checked_add(SignedDuration::try_from(by).unwrap_or_default()).unwrap_or(Timestamp::MAX)
        };
        let completes = later(now, self.duration);
        let (reads, refused_uses) = (self.reads, self.refused_uses);
        Replica { reads, all_reads: reads, completes, usable: later(completes, self.lag), refused_uses, fails }
    }
}

/// The replication to a region.
#[derive(Debug, Clone)]
pub struct Replica {
    reads: u32,
    all_reads: u32,
    completes: Timestamp,
    usable: Timestamp,
    refused_uses: u32,
    fails: bool,
}

impl Replica {
    /// Whether it is in progress.
    pub(super) fn is_underway(&self, now: Timestamp) -> bool {
        self.reads > 0 || now < self.completes
    }

    pub(super) fn has_failed(&self, now: Timestamp) -> bool {
        self.fails && !self.is_underway(now)
    }

    pub(super) fn count_read(&mut self) {
        self.reads = self.reads.saturating_sub(1);
    }

    /// The state, the progress and the details. Source: specification, `RegionalReplicationStatus`.
    pub(super) fn reported(&self, now: Timestamp) -> (&'static str, u32, &'static str) {
        match (self.is_underway(now), self.fails) {
            (true, _) => ("Replicating", 100 - 100 * self.reads.max(1) / self.all_reads.max(1), ""),
            (false, true) => ("Failed", 100, "The replication job failed: there is no capacity in the region."),
            (false, false) => ("Completed", 100, ""),
        }
    }

    /// Uses the version in the region. Returns whether that is possible.
    pub(super) fn use_it(&mut self, now: Timestamp) -> bool {
        if self.fails || self.is_underway(now) || now < self.usable {
            return false;
        }
        let refused = self.refused_uses > 0;
        self.refused_uses = self.refused_uses.saturating_sub(1);
        !refused
    }

    /// Whether the version can be used in the region, without a use.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        !self.fails && !self.is_underway(now) && now >= self.usable && self.refused_uses == 0
    }
}
