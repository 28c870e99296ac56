//! The progress of the operations of each kind.

use goldfleet_kinds::kind::Kind;
use goldfleet_kinds::registry::Registry;
use goldfleet_model::job::Job;
use goldfleet_model::operation::{KindId, Operation, OperationState};
use goldfleet_ports::Versioned;
use serde::{Serialize, Serializer};

/// The progress of the operations of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Phase {
    /// What operations of the kind do, in a few words. Empty for a kind that this program does not know.
    pub title: &'static str,
    /// The position of the phase in a job.
    pub order: usize,
    /// Whether successful operations of the kind give a target what the job delivers.
    pub delivers: bool,
    /// The number of operations.
    pub total: usize,
    /// Succeeded operations.
    pub succeeded: usize,
    /// Failed operations.
    pub failed: usize,
    /// Operations that a worker holds.
    pub running: usize,
    /// Operations that are ready or wait.
    pub waiting: usize,
    /// Operations that had nothing to do.
    pub skipped: usize,
    /// Operations that were cancelled, or never started because what they need failed.
    pub cancelled: usize,
    /// 0 to 100: by bytes if there are any, else by number of operations.
    pub percent: f64,
    /// Bytes to put in place, without zero runs.
    pub bytes_total: u64,
    /// Bytes in place.
    pub bytes_done: u64,
    /// Bytes that were transferred.
    pub bytes_moved: u64,
}

/// The phases of a job: one for each kind of operation, in the order of the registry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Phases(Vec<(KindId, Phase)>);

impl Phases {
    /// Counts a job's operations. Kinds that are part of the job's plan have a phase even if there is no operation.
    pub(super) fn of(registry: &Registry, job: &Job, operations: &[Versioned<Operation>]) -> Self {
        let mut phases = Self::default();
        for kind in &job.kinds {
            phases.phase(registry, kind);
        }
        for operation in operations.iter().map(|row| &row.value) {
            let phase = phases.phase(registry, &operation.kind);
            // A kind whose operations also create temporaries delivers only with some of them.
            phase.delivers = registry.delivers(operation) || (phase.delivers && phase.total > 0);
            phase.count(operation);
        }
        for (_, phase) in &mut phases.0 {
            phase.percent = phase.percent_done();
        }
        phases.0.sort_by_key(|(kind, _)| registry.order(kind));
        phases
    }

    /// Sets all percentages to 0. Before planning, the amount of work is not known.
    pub(super) fn clear_percent(&mut self) {
        for (_, phase) in &mut self.0 {
            phase.percent = 0.0;
        }
    }

    /// The phases with their kinds, in order.
    #[must_use]
    pub fn named(&self) -> &[(KindId, Phase)] {
        &self.0
    }

    /// The phase of a kind. Empty if the job has no operation of the kind.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> Phase {
        let found = self.0.iter().find(|(id, _)| id.as_str() == kind);
        found.map(|(_, phase)| *phase).unwrap_or_default()
    }

    /// The phase whose operations deliver the result of the job to the targets.
    #[must_use]
    pub fn delivery(&self) -> Phase {
        let phases = || self.0.iter().map(|(_, phase)| *phase).filter(|phase| phase.delivers);
        phases().find(|phase| phase.total > 0).or_else(|| phases().next()).unwrap_or_default()
    }

    fn phase(&mut self, registry: &Registry, kind: &KindId) -> &mut Phase {
        let at = self.0.iter().position(|(id, _)| id == kind).unwrap_or_else(|| {
            let known = registry.get(kind);
            let phase = Phase {
                title: known.map_or("", |known| known.title()),
                delivers: known.is_some_and(Kind::delivers),
                order: registry.order(kind),
                ..Phase::default()
            };
            self.0.push((kind.clone(), phase));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }
}

#[cfg(test)]
impl Phases {
    /// Phases of these kinds.
    pub(crate) fn for_tests<const N: usize>(phases: [(&str, Phase); N]) -> Self {
        Self(phases.into_iter().map(|(kind, phase)| (kind.parse().unwrap(), phase)).collect())
    }
}

impl Serialize for Phases {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(kind, phase)| (kind.as_str(), phase)))
    }
}

impl Phase {
    fn count(&mut self, operation: &Operation) {
        self.total += 1;
        *match operation.state {
            OperationState::Waiting | OperationState::Ready => &mut self.waiting,
            OperationState::Running | OperationState::Cancelling => &mut self.running,
            OperationState::Succeeded => &mut self.succeeded,
            OperationState::Failed => &mut self.failed,
            OperationState::Cancelled => &mut self.cancelled,
            OperationState::Skipped => &mut self.skipped,
        } += 1;
        if operation.state != OperationState::Skipped {
            self.bytes_total += operation.progress.bytes_total;
            self.bytes_done += operation.progress.bytes_done;
            self.bytes_moved += operation.progress.bytes_moved;
        }
    }

    fn percent_done(&self) -> f64 {
        let ended = self.succeeded + self.skipped;
        if ended == self.total {
            return 100.0;
        }
        if self.bytes_total > 0 {
            // If all bytes are in place, operations may still be running.
            return (as_f64(self.bytes_done) / as_f64(self.bytes_total) * 100.0).min(99.9);
        }
        as_f64(ended as u64) / as_f64(self.total as u64) * 100.0
    }
}

/// Converts for rates and shares, where the last digits do not matter.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}
