//! Expired leases.

use goldfleet_model::event::Event;
use goldfleet_model::operation::{Failure, Operation, OperationState};
use goldfleet_model::state::{IllegalTransition, OperationEvent};
use jiff::Timestamp;

/// The code of an operation whose workers were lost repeatedly.
pub const WORKER_LOST: &str = "worker-lost";

/// How many workers an operation may lose without progress. Killed workers say little about the operation, so this is
/// more than the attempts that may fail.
pub const MAX_LOST: u32 = 32;

/// Takes an operation through the expiry of its lease, and to its end if its workers were lost too often.
///
/// # Errors
/// [`IllegalTransition`] if it has no lease.
pub fn expire_lease(
    operation: &mut Operation,
    max_lost: u32,
    now: Timestamp,
    who: &str,
) -> Result<Vec<Event>, IllegalTransition> {
    let failure = worker_lost_failure(operation, now);
    let mut events = vec![operation.apply(OperationEvent::Expire(failure.clone()), now, who)?];
    // An operation that was cancelling has ended with its lease.
    if operation.state == OperationState::Ready && operation.lost >= max_lost {
        events.push(operation.apply(OperationEvent::Fail(failure), now, who)?);
    }
    Ok(events)
}

/// The failure of an operation whose lease expired.
fn worker_lost_failure(operation: &Operation, now: Timestamp) -> Failure {
    let holder = operation.lease.as_ref().map_or("its worker", |lease| lease.holder.as_str());
    Failure {
        code: WORKER_LOST.to_owned(),
        message: format!("{holder} did not renew its lease"),
        request_id: None,
        at: now,
    }
}
