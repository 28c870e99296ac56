//! Lost workers are counted apart from failed attempts.
#![expect(clippy::unwrap_used, reason = "tests")]

use goldfleet_model::operation::{Lease, Operation, OperationState};
use goldfleet_model::state::OperationEvent;
use goldfleet_workflow::expire::{MAX_LOST, WORKER_LOST, expire_lease};
use jiff::Timestamp;

fn operation() -> Operation {
    let at = Timestamp::UNIX_EPOCH;
    serde_json::from_value(serde_json::json!({
        "job": "20261121-041502-7f3a", "id": "a-0123456789ab.copy", "plan": 1,
        "image": { "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "kind": "copy", "position": 0, "place": { "region": "westeurope", "label": "a" },
        "spec": { "v": 1, "data": null }, "state": "ready", "attempts": 0, "failures": 0,
        "progress": { "bytes_total": 0, "bytes_done": 0, "bytes_moved": 0 }, "created": at, "updated": at,
    }))
    .unwrap()
}

#[test]
fn many_lost_workers_fail_an_operation_and_few_do_not() {
    let now = Timestamp::UNIX_EPOCH;
    let mut row = operation();
    for lost in 1..=MAX_LOST {
        let lease = Lease { token: uuid::Uuid::nil(), holder: format!("worker-{lost}"), process: None, expires: now };
        row.apply(OperationEvent::Claim(lease), now, "test").unwrap();
        expire_lease(&mut row, MAX_LOST, now, "test").unwrap();
        assert_eq!(row.lost, lost);
        let expected = if lost < MAX_LOST { OperationState::Ready } else { OperationState::Failed };
        assert_eq!((row.state, row.not_before), (expected, None), "no back-off after worker {lost}");
    }
    assert_eq!(row.failure.as_ref().unwrap().code, WORKER_LOST);
    row.apply(OperationEvent::RetryRequested, now, "test").unwrap();
    assert_eq!((row.lost, row.failures), (0, 0));
}
