//! The progress of each ring, computed from a job's rows.

use std::collections::{BTreeMap, BTreeSet};

use goldfleet_kinds::registry::Registry;
use goldfleet_model::job::{Approval, Job};
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_model::target::TargetKey;
use goldfleet_ports::Versioned;
use goldfleet_workflow::gates::RING_STOPPED;
use serde::Serialize;

use super::regions::Received;

/// The progress of one ring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RingStatus {
    /// The ring.
    pub ring: u32,
    /// Waiting until the ring starts, running until all its operations have ended, then the result.
    pub state: OperationState,
    /// Targets in the ring.
    pub targets: usize,
    /// Targets that have all that they should receive.
    pub images: usize,
    /// Targets at which an operation failed.
    pub failed: usize,
    /// Why the ring was not started. None unless an earlier ring stopped it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The approval of the ring. None if it was not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
}

/// The counts of a ring.
#[derive(Default)]
struct Counts {
    targets: BTreeSet<TargetKey>,
    received: BTreeMap<TargetKey, Received>,
    failed: usize,
    states: BTreeMap<OperationState, usize>,
    reason: Option<String>,
}

impl Counts {
    fn add(&mut self, registry: &Registry, target: TargetKey, operation: &Operation) {
        *self.states.entry(operation.state).or_default() += 1;
        self.failed += usize::from(operation.state == OperationState::Failed);
        if registry.delivers(operation) {
            self.received.entry(target.clone()).or_default().add(operation);
        }
        self.targets.insert(target);
        if let Some(failure) = operation.failure.as_ref().filter(|failure| failure.code == RING_STOPPED) {
            self.reason.get_or_insert_with(|| failure.message.clone());
        }
    }

    fn state(&self) -> OperationState {
        use OperationState::{Cancelled, Failed, Running, Skipped, Succeeded, Waiting};
        let any = |state: &OperationState| self.states.contains_key(state);
        let only = |states: &[OperationState]| self.states.keys().all(|state| states.contains(state));
        if only(&[Waiting]) {
            Waiting
        } else if self.states.keys().any(|state| !state.is_terminal()) {
            Running
        } else if any(&Failed) {
            Failed
        } else if any(&Cancelled) {
            Cancelled
        } else if only(&[Skipped]) {
            Skipped
        } else {
            Succeeded
        }
    }
}

/// Counts a job's targets by ring, in the order of the rings.
pub(super) fn by_ring(registry: &Registry, job: &Job, operations: &[Versioned<Operation>]) -> Vec<RingStatus> {
    let mut rings: BTreeMap<u32, Counts> = BTreeMap::new();
    for operation in operations.iter().map(|row| &row.value) {
        if let Some(target) = operation.target() {
            rings.entry(target.ring).or_default().add(registry, target.key(), operation);
        }
    }
    let status = |(ring, counts): (u32, Counts)| RingStatus {
        ring,
        state: counts.state(),
        targets: counts.targets.len(),
        images: counts.received.values().filter(|received| received.has_all()).count(),
        failed: counts.failed,
        reason: counts.reason,
        approval: job.approval(ring).cloned(),
    };
    rings.into_iter().map(status).collect()
}
