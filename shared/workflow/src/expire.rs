//! Leases that ran out.

use goldfleet_model::event::Event;
use goldfleet_model::operation::{Failure, Operation, OperationState};
use goldfleet_model::state::{IllegalTransition, OperationEvent};
use jiff::Timestamp;

/// The code of an operation whose workers keep disappearing.
pub const WORKER_LOST: &str = "worker-lost";

/// Takes an operation through the expiry of its lease, and on to its end where its workers have disappeared too often.
///
/// # Errors
/// [`IllegalTransition`] where it has no lease.
pub fn expire_lease(
    operation: &mut Operation,
    max_attempts: u32,
    now: Timestamp,
    who: &str,
) -> Result<Vec<Event>, IllegalTransition> {
    let failure = worker_lost_failure(operation, now);
    let mut events = vec![operation.apply(OperationEvent::Expire(failure.clone()), now, who)?];
    // One that was to be cancelled has ended with its lease.
    if operation.state == OperationState::Ready && operation.failures >= max_attempts {
        events.push(operation.apply(OperationEvent::Fail(failure), now, who)?);
    }
    Ok(events)
}

/// The failure of an operation whose lease ran out.
fn worker_lost_failure(operation: &Operation, now: Timestamp) -> Failure {
    let holder = operation.lease.as_ref().map_or("its worker", |lease| lease.holder.as_str());
    Failure {
        code: WORKER_LOST.to_owned(),
        message: format!("{holder} gave no sign of life until its lease ended"),
        request_id: None,
        at: now,
    }
}
