//! The gates of rings. All operations at the targets of lower rings open the gate of a ring.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::job::Job;

/// The rings of a plan.
pub(super) struct Rings {
    /// The number of operations of each ring that open later rings, including those at targets that need nothing.
    openers: BTreeMap<u32, u32>,
    /// The rings that wait for a gate.
    gated: BTreeSet<u32>,
}

impl Rings {
    /// The rings of a job. Each target is its ring and the number of its operations that open later rings: `to_do` are
    /// those that receive something, `had` those that need nothing.
    ///
    /// The first ring is the lowest one that has work. If rings need approval, it is the lowest of all rings, even if
    /// its targets need nothing: later rings start only after an operator approves them.
    pub(super) fn of(job: &Job, to_do: &[(u32, u32)], had: &[(u32, u32)]) -> Self {
        let ring = |target: &(u32, u32)| target.0;
        let lowest_had = had.iter().map(ring).min().filter(|_| job.approvals.is_some());
        let first = to_do.iter().map(ring).min().into_iter().chain(lowest_had).min();
        let mut openers = BTreeMap::new();
        for (ring, operations) in to_do.iter().chain(had) {
            *openers.entry(*ring).or_default() += operations;
        }
        Self { openers, gated: to_do.iter().map(ring).filter(|ring| Some(*ring) != first).collect() }
    }

    /// The gates that the first operation at a target of this ring waits for.
    pub(super) fn after(&self, ring: u32) -> Vec<After> {
        if !self.gated.contains(&ring) {
            return Vec::new();
        }
        let count = self.openers.range(..ring).map(|(_, operations)| operations).sum();
        vec![After { gate: GateKey::ring(ring), on: GateCondition::Opened, count }]
    }

    /// The gates that operations at targets of this ring open.
    pub(super) fn opens(&self, ring: u32) -> Vec<GateKey> {
        self.gated.range(ring.saturating_add(1)..).map(|later| GateKey::ring(*later)).collect()
    }
}
