//! How far the targets of each region are: counted from a job's rows.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_kinds::registry::Registry;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_ports::Versioned;
use serde::Serialize;

/// How far the targets of a region are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct RegionStatus {
    /// Targets in the region.
    pub targets: usize,
    /// Targets that have their image.
    pub images: usize,
    /// Targets that a worker is at.
    pub running: usize,
    /// Targets where something failed.
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
        let delivers = registry.delivers(operation);
        region.images += usize::from(delivers && operation.state.is_done());
    }
    regions
}
