//! The progress of the targets in each region, computed from a job's rows.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_kinds::registry::Registry;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::target::TargetKey;
use goldfleet_ports::Versioned;
use serde::Serialize;

/// The progress of the targets in a region.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RegionStatus {
    /// Targets in the region.
    pub targets: usize,
    /// Targets that have all that they should receive.
    pub images: usize,
    /// Targets for which a worker holds an operation.
    pub running: usize,
    /// Targets at which an operation failed.
    pub failed: usize,
    /// Bytes to put in place.
    pub bytes_total: u64,
    /// Bytes in place.
    pub bytes_done: u64,
}

/// Counts a job's targets by region.
pub(super) fn by_region(registry: &Registry, operations: &[Versioned<Operation>]) -> BTreeMap<String, RegionStatus> {
    let mut regions: BTreeMap<String, RegionStatus> = BTreeMap::new();
    let mut targets = BTreeSet::new();
    let mut received: BTreeMap<TargetKey, Received> = BTreeMap::new();
    for operation in operations.iter().map(|row| &row.value) {
        let Some(target) = operation.target() else { continue };
        let region = regions.entry(operation.place.region.to_string()).or_default();
        region.targets += usize::from(targets.insert(target.key()));
        region.running += usize::from(operation.state.is_leased());
        region.failed += usize::from(operation.state == OperationState::Failed);
        if operation.state != OperationState::Skipped {
            region.bytes_total += operation.progress.bytes_total;
            region.bytes_done += operation.progress.bytes_done;
        }
        if registry.delivers(operation) {
            received.entry(target.key()).or_default().add(operation);
        }
    }
    for (target, _) in received.iter().filter(|(_, received)| received.has_all()) {
        regions.entry(target.region.to_string()).or_default().images += 1;
    }
    regions
}

/// What a target has received of what it should receive.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Received {
    done: usize,
    all: usize,
}

impl Received {
    /// Counts an operation that gives the target something.
    pub(super) fn add(&mut self, operation: &Operation) {
        self.all += 1;
        self.done += usize::from(operation.state.is_done());
    }

    /// Whether it has everything.
    pub(super) fn has_all(self) -> bool {
        self.done == self.all
    }
}
