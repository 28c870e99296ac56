//! Rings as operators see them. A ring is a set of targets. All operations at the targets of lower rings open the gate
//! of a ring. The rules are in [`goldfleet_workflow::gates`].

use goldfleet_model::job::Job;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_ports::Versioned;
use goldfleet_workflow::gates::{GateState, Gates, RING_STOPPED};

/// The next action for the rings of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RingAction {
    /// Nothing: no ring waits, or the rings before the next one have not ended.
    None,
    /// All rings before this one have succeeded, and it waits for an operator's approval.
    AwaitApproval(u32),
    /// The operations of this ring may start.
    Release(u32),
    /// Later rings do not start, for this reason.
    Stop(String),
}

/// The next action, derived from the states of the operations.
#[must_use]
pub fn next_action(job: &Job, operations: &[Versioned<Operation>]) -> RingAction {
    let rows = || operations.iter().map(|row| &row.value);
    let gates = Gates::of(rows());
    let waiting = rows().filter(|row| row.state == OperationState::Waiting && row.awaits_gate());
    let afters = waiting.flat_map(|row| &row.after).filter_map(|after| Some((after.gate.as_ring()?, after)));
    match afters.min_by_key(|(ring, _)| *ring).map(|(ring, after)| (ring, gates.state(job, after))) {
        Some((ring, GateState::AwaitsApproval)) => RingAction::AwaitApproval(ring),
        Some((ring, GateState::Open)) => RingAction::Release(ring),
        Some((_, GateState::Broken { message, .. })) => RingAction::Stop(message),
        Some((_, GateState::Closed)) => RingAction::None,
        None => stopped(operations).map_or(RingAction::None, RingAction::Stop),
    }
}

/// Why a ring was stopped, if one was.
fn stopped(operations: &[Versioned<Operation>]) -> Option<String> {
    let failures = operations.iter().filter_map(|row| row.value.failure.as_ref());
    failures.into_iter().find(|failure| failure.code == RING_STOPPED).map(|failure| failure.message.clone())
}
