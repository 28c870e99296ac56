//! How far the operations of each kind are.

use goldfleet_model::operation::{Kind, Operation, OperationState};
use goldfleet_ports::Versioned;
use serde::Serialize;

/// How far the operations of one kind are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Phase {
    /// All of them.
    pub total: usize,
    /// Done.
    pub succeeded: usize,
    /// Given up.
    pub failed: usize,
    /// In a worker's hands.
    pub running: usize,
    /// Ready, or waiting for something.
    pub waiting: usize,
    /// Nothing was to be done.
    pub skipped: usize,
    /// Stopped, or never begun because what they need did not come about.
    pub cancelled: usize,
    /// 0 to 100: by bytes where there are any, else by count.
    pub percent: f64,
    /// Bytes to put in place, without zero runs.
    pub bytes_total: u64,
    /// Bytes in place.
    pub bytes_done: u64,
    /// Bytes that went over the wire.
    pub bytes_moved: u64,
}

/// The three phases of a job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Phases {
    /// Filling the regions' stores.
    pub seed: Phase,
    /// Assembling VHDs.
    pub copy: Phase,
    /// Making managed images.
    pub image: Phase,
}

impl Phases {
    /// Counts a job's operations.
    pub(super) fn of(operations: &[Versioned<Operation>]) -> Self {
        let mut phases = Self::default();
        for operation in operations.iter().map(|row| &row.value) {
            phases.phase(operation.id.kind()).count(operation);
        }
        for kind in Kind::ALL {
            let phase = phases.phase(kind);
            phase.percent = phase.percent_done();
        }
        phases
    }

    /// Nothing of a job is done before it is known what there is to do.
    pub(super) fn clear_percent(&mut self) {
        for kind in Kind::ALL {
            self.phase(kind).percent = 0.0;
        }
    }

    /// Each with its name, in order.
    #[must_use]
    pub fn iter_named(&self) -> [(Kind, &Phase); 3] {
        [(Kind::Replicate, &self.seed), (Kind::Assemble, &self.copy), (Kind::Image, &self.image)]
    }

    fn phase(&mut self, kind: Kind) -> &mut Phase {
        match kind {
            Kind::Replicate => &mut self.seed,
            Kind::Assemble => &mut self.copy,
            Kind::Image => &mut self.image,
        }
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
            // Everything in place is not yet everything done.
            return (as_f64(self.bytes_done) / as_f64(self.bytes_total) * 100.0).min(99.9);
        }
        as_f64(ended as u64) / as_f64(self.total as u64) * 100.0
    }
}

/// For rates and shares, where the last digits do not matter.
#[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
pub(super) fn as_f64(number: u64) -> f64 {
    number as f64
}
