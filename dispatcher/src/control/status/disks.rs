//! The progress of each disk of a version over all targets, computed from a job's rows.

use std::collections::BTreeMap;

use goldfleet_kinds::registry::Registry;
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_ports::Versioned;
use serde::Serialize;

/// The progress of one disk over all targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DiskStatus {
    /// The disk: `os`, or `data-` and its LUN.
    pub disk: DiskRole,
    /// Targets that receive the disk.
    pub targets: usize,
    /// Targets that have it.
    pub done: usize,
    /// Targets at which a worker writes it.
    pub running: usize,
    /// Targets at which it failed.
    pub failed: usize,
    /// Bytes to put in place.
    pub bytes_total: u64,
    /// Bytes in place.
    pub bytes_done: u64,
}

/// The disk of the version that an operation transfers.
pub(super) fn disk_of(registry: &Registry, operation: &Operation) -> Option<DiskRole> {
    registry.get(&operation.kind)?.disk(operation)
}

/// The disks of a version with several disks, the OS disk first. Empty if it has one: its progress is that of the
/// phase.
pub(super) fn by_disk(registry: &Registry, operations: &[Versioned<Operation>]) -> Vec<DiskStatus> {
    let mut disks: BTreeMap<DiskRole, DiskStatus> = BTreeMap::new();
    for operation in operations.iter().map(|row| &row.value).filter(|operation| operation.target().is_some()) {
        let Some(disk) = disk_of(registry, operation) else { continue };
        let none = DiskStatus { disk, targets: 0, done: 0, running: 0, failed: 0, bytes_total: 0, bytes_done: 0 };
        let counts = disks.entry(disk).or_insert(none);
        counts.targets += 1;
        counts.done += usize::from(operation.state.is_done());
        counts.running += usize::from(operation.state.is_leased());
        counts.failed += usize::from(operation.state == OperationState::Failed);
        if operation.state != OperationState::Skipped {
            counts.bytes_total += operation.progress.bytes_total;
            counts.bytes_done += operation.progress.bytes_done;
        }
    }
    if disks.len() > 1 { disks.into_values().collect() } else { Vec::new() }
}
