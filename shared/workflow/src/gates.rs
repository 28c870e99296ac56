//! Gates: when rows of one group may start because of rows of other groups.

use std::collections::BTreeMap;

use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Failure, Operation, OperationState};
use goldfleet_model::state::OperationEvent;
use jiff::Timestamp;

use crate::group::GroupChange;

/// The code of an operation that is not started because an operation of an earlier ring did not succeed.
pub const RING_STOPPED: &str = "ring-stopped";

/// The code of an operation that is not started because an operation that opens its gate did not succeed.
pub const GATE_BROKEN: &str = "gate-broken";

/// The state of a gate for a row that waits for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateState {
    /// Some opener is not in the table yet, or has not ended.
    Closed,
    /// Every opener succeeded, and the ring waits for an operator's approval.
    AwaitsApproval,
    /// The rows may pass.
    Open,
    /// Rows are blocked permanently, for this reason.
    Broken {
        /// The code to record on the waiting rows.
        code: &'static str,
        /// A description with the operation that broke the gate.
        message: String,
    },
}

/// The openers of one gate.
#[derive(Debug, Clone, Default)]
struct Openers {
    /// The number of openers among the rows. None if all rows of the job are known to be in the table.
    present: Option<u32>,
    /// Whether an opener has not ended.
    is_pending: bool,
    /// The operation that breaks the gate: the first that failed, otherwise the first that was cancelled.
    bad: Option<Bad>,
}

#[derive(Debug, Clone)]
struct Bad {
    state: OperationState,
    label: String,
}

/// The gates of a job, from its rows or from an index of them.
#[derive(Debug, Clone, Default)]
pub struct Gates {
    openers: BTreeMap<GateKey, Openers>,
    /// What breaks a gate of which an opener is missing. None if such a gate is closed.
    missing: Option<Bad>,
}

impl Gates {
    /// Collects the gates that these rows open. They must be all rows of a job.
    pub fn of<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> Self {
        let mut gates = Self::default();
        for operation in operations {
            for gate in &operation.opens {
                gates.openers.entry(gate.clone()).or_default().count(operation);
            }
        }
        gates
    }

    /// Adds a gate whose openers were found in an index: whether one of them has not ended, and the one that breaks the
    /// gate. All openers must be in the table, as they are when the job is planned.
    pub fn add(&mut self, gate: GateKey, is_pending: bool, bad: Option<&Operation>) {
        let bad = bad.map(Bad::of);
        self.openers.insert(gate, Openers { present: None, is_pending, bad });
    }

    /// Counts openers that are not among the rows as failed, because an operation cannot be read. `label` describes it.
    #[must_use]
    pub fn with_missing_failed(self, label: String) -> Self {
        Self { missing: Some(Bad { state: OperationState::Failed, label }), ..self }
    }

    /// Whether the openers of a gate are known.
    #[must_use]
    pub fn has(&self, gate: &GateKey) -> bool {
        self.openers.contains_key(gate)
    }

    /// The state of a gate, for a row of `job` that waits for it.
    #[must_use]
    pub fn state(&self, job: &Job, after: &After) -> GateState {
        let none = Openers { present: Some(0), ..Openers::default() };
        let openers = self.openers.get(&after.gate).unwrap_or(&none);
        let lacks_opener = openers.present.is_some_and(|present| present < after.count.max(1));
        if openers.is_pending || (lacks_opener && self.missing.is_none()) {
            return GateState::Closed;
        }
        let bad = openers.bad.as_ref().or(self.missing.as_ref().filter(|_| lacks_opener));
        match (after.on, bad) {
            (GateCondition::Ended, _) => GateState::Open,
            (GateCondition::Opened, Some(bad)) => bad.breaks(&after.gate),
            (GateCondition::Opened, None) if lacks_approval(job, &after.gate) => GateState::AwaitsApproval,
            (GateCondition::Opened, None) => GateState::Open,
        }
    }

    /// The combined state of all gates of a row: broken if one is broken, open only if all are open. For a row that
    /// always runs, a broken gate counts as open, because its openers have ended.
    #[must_use]
    pub fn state_for(&self, job: &Job, operation: &Operation) -> GateState {
        let mut together = GateState::Open;
        for after in &operation.after {
            match (self.state(job, after), &together) {
                (GateState::Broken { .. }, _) if operation.always => {}
                (broken @ GateState::Broken { .. }, _) => return broken,
                (GateState::Closed, _) => together = GateState::Closed,
                (GateState::AwaitsApproval, GateState::Open) => together = GateState::AwaitsApproval,
                _ => {}
            }
        }
        together
    }

    /// Opens and blocks the rows of a group that wait for gates, and advances its chain.
    pub fn apply(&self, job: &Job, change: &mut GroupChange<'_>, now: Timestamp) {
        let waiting: Vec<(usize, GateState, bool)> = change
            .operations()
            .enumerate()
            .filter(|(_, row)| row.state == OperationState::Waiting && row.awaits_gate())
            .map(|(index, row)| (index, self.state_for(job, row), row.always))
            .collect();
        for (index, state, always) in waiting {
            let event = match state {
                GateState::Closed | GateState::AwaitsApproval => continue,
                // Its row will be cancelled.
                GateState::Open if !always && job.state == JobState::Cancelling => continue,
                GateState::Open => OperationEvent::Open,
                GateState::Broken { code, message } => {
                    OperationEvent::Block(Failure { code: code.to_owned(), message, request_id: None, at: now })
                }
            };
            if let Err(illegal) = change.apply_at(index, event) {
                // The row is waiting, and a waiting row accepts both events.
                tracing::error!(%illegal, "a gate could not be applied");
            }
        }
        change.advance();
    }
}

impl Openers {
    fn count(&mut self, operation: &Operation) {
        self.present = Some(self.present.unwrap_or(0) + 1);
        self.is_pending |= !operation.state.is_terminal();
        let worse = match &self.bad {
            None => operation.state.ended_badly(),
            Some(bad) => bad.state == OperationState::Cancelled && operation.state == OperationState::Failed,
        };
        if worse {
            self.bad = Some(Bad::of(operation));
        }
    }
}

impl Bad {
    fn of(operation: &Operation) -> Self {
        Self { state: operation.state, label: label(operation) }
    }

    fn breaks(&self, gate: &GateKey) -> GateState {
        let Self { state, label } = self;
        match gate.as_ring() {
            Some(ring) => GateState::Broken {
                code: RING_STOPPED,
                message: format!("ring {ring} is not started: {label} {}", ended(*state)),
            },
            None => GateState::Broken {
                code: GATE_BROKEN,
                message: format!("gate {gate} is not opened: {label} {}", ended(*state)),
            },
        }
    }
}

fn ended(state: OperationState) -> &'static str {
    if state == OperationState::Failed { "failed" } else { "was cancelled" }
}

/// The operation in the form that operators know: its kind and place.
fn label(operation: &Operation) -> String {
    format!("{} of {}", operation.kind, operation.place.label)
}

/// Whether the gate of a ring still needs an operator's approval. No ring of a cancelled job is approved any more, and
/// only rows that always run wait there.
fn lacks_approval(job: &Job, gate: &GateKey) -> bool {
    job.state != JobState::Cancelling
        && gate.as_ring().is_some_and(|ring| job.approvals.is_some() && job.approval(ring).is_none())
}
