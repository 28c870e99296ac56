//! The transition functions. A snapshot lists the allowed transitions; property tests check the fields of the row.
#![expect(clippy::unwrap_used, reason = "tests")]

use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::{Failure, Lease, Operation, OperationState};
use goldfleet_model::state::{JobEvent, OperationEvent, next_job, next_operation};
use jiff::Timestamp;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::time::Duration;
use uuid::Uuid;

const STATES: [OperationState; 8] = [
    OperationState::Waiting,
    OperationState::Ready,
    OperationState::Running,
    OperationState::Cancelling,
    OperationState::Succeeded,
    OperationState::Failed,
    OperationState::Cancelled,
    OperationState::Skipped,
];

fn failure() -> Failure {
    Failure { code: "test".to_owned(), message: "a test".to_owned(), request_id: None, at: Timestamp::UNIX_EPOCH }
}

fn events() -> Vec<OperationEvent> {
    let at = Timestamp::UNIX_EPOCH;
    let lease = Lease { token: Uuid::nil(), holder: "worker".to_owned(), process: None, expires: at };
    vec![
        OperationEvent::Open,
        OperationEvent::Release,
        OperationEvent::Claim(lease),
        OperationEvent::Expire(failure()),
        OperationEvent::Defer(at),
        OperationEvent::Drain,
        OperationEvent::Retry(failure(), at),
        OperationEvent::Succeed,
        OperationEvent::Fail(failure()),
        OperationEvent::Block(failure()),
        OperationEvent::Cancel,
        OperationEvent::ConfirmCancel,
        OperationEvent::RetryRequested,
        OperationEvent::RetryDeferred,
    ]
}

/// If this snapshot changes, update `docs/lifecycle.md`.
#[test]
fn lifecycle_snapshot() {
    let mut table = String::new();
    for state in STATES {
        for event in events() {
            if let Some(next) = next_operation(state, &event) {
                writeln!(table, "{state} --{}--> {next}", event.name()).unwrap();
            }
        }
    }
    let jobs = [
        JobState::Requested,
        JobState::Running,
        JobState::Cancelling,
        JobState::Succeeded,
        JobState::Failed,
        JobState::Cancelled,
    ];
    use JobEvent as E;
    for state in jobs {
        for event in [E::Planned, E::Reject, E::Approve(1), E::Cancel, E::Succeed, E::Fail, E::ConfirmCancel, E::Retry]
        {
            if let Some(next) = next_job(state, event) {
                writeln!(table, "job {state} --{}--> {next}", event.name()).unwrap();
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// A row in the form that releases before approvals wrote, extended with the fields of `more`.
fn job(more: serde_json::Value) -> Job {
    let mut row = serde_json::json!({
        "id": "20261121-041502-7f3a",
        "image": { "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "payload": { "os": "linux", "generation": "v2", "size": 1 << 20, "data_bytes": 4096 },
        "selection": [], "state": "running",
        "created": "1970-01-01T00:00:00Z", "updated": "1970-01-01T00:00:00Z",
    });
    row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(row).unwrap()
}

#[test]
fn approval_is_stored_with_user_and_time() {
    let at = Timestamp::UNIX_EPOCH;
    let mut none = job(serde_json::json!({}));
    assert_eq!(none.approvals, None, "a row of old needs no approval");
    assert!(none.apply(JobEvent::Approve(1), at, "alice").is_err());

    let mut row = job(serde_json::json!({ "approvals": [] }));
    let line = row.apply(JobEvent::Approve(1), at, "alice").unwrap();
    assert_eq!((line.what.as_str(), line.who.as_str(), line.why.as_deref()), ("approve", "alice", Some("ring 1")));
    let given = row.approval(1).unwrap();
    assert_eq!((given.by.as_str(), given.at, row.state), ("alice", at, JobState::Running));
    assert_eq!(row.approval(2), None);
    let before = row.clone();
    assert!(row.apply(JobEvent::Approve(1), at, "bob").is_err(), "a ring is approved once");
    assert_eq!(row, before);
    let read: Job = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
    assert_eq!(read, row);
}

fn operation() -> Operation {
    serde_json::from_value(serde_json::json!({
        "job": "20261121-041502-7f3a",
        "id": "westeurope-0123456789ab.copy",
        "plan": 1,
        "kind": "copy",
        "position": 0,
        "spec": { "v": 1, "data": { "from": [] } },
        "image": { "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "place": { "region": "westeurope", "label": "a target" },
        "state": "ready", "attempts": 0, "failures": 0,
        "progress": { "bytes_total": 0, "bytes_done": 0, "bytes_moved": 0 },
        "created": "1970-01-01T00:00:00Z", "updated": "1970-01-01T00:00:00Z",
    }))
    .unwrap()
}

/// The transfer rate in `status` is computed from the work period.
#[test]
fn work_period_spans_short_waits_only() {
    let lease =
        || Lease { token: Uuid::nil(), holder: "worker".to_owned(), process: None, expires: Timestamp::UNIX_EPOCH };
    let mut row = operation();
    let mut told = Vec::new();
    let mut apply = |row: &mut Operation, second, event| {
        row.apply(event, Timestamp::from_second(second).unwrap(), "test").unwrap();
        let work_period = row.work_period.unwrap();
        told.push((work_period.from.as_second(), work_period.until.as_second(), work_period.bytes_before));
    };
    apply(&mut row, 1000, OperationEvent::Claim(lease()));
    row.progress.bytes_done = 7;
    apply(&mut row, 1005, OperationEvent::Defer(Timestamp::UNIX_EPOCH));
    // A pause of five minutes belongs to the period; a longer pause ends it.
    apply(&mut row, 1305, OperationEvent::Claim(lease()));
    apply(&mut row, 1310, OperationEvent::Drain);
    apply(&mut row, 1611, OperationEvent::Claim(lease()));
    // The worker did not write this event.
    apply(&mut row, 9000, OperationEvent::Expire(failure()));
    apply(&mut row, 9001, OperationEvent::Claim(lease()));
    apply(&mut row, 9010, OperationEvent::Fail(failure()));
    // A retry by an operator begins a new period.
    row.apply(OperationEvent::RetryRequested, Timestamp::from_second(9020).unwrap(), "test").unwrap();
    apply(&mut row, 9021, OperationEvent::Claim(lease()));
    let expected = [
        (1000, 1000, 0),
        (1000, 1005, 0),
        (1000, 1305, 0),
        (1000, 1310, 0),
        (1611, 1611, 7),
        (1611, 1611, 7),
        (9001, 9001, 7),
        (9001, 9010, 7),
        (9021, 9021, 7),
    ];
    assert_eq!(told, expected);
    let read: Operation = serde_json::from_str(&serde_json::to_string(&row).unwrap()).unwrap();
    assert_eq!(read, row);
}

proptest! {
    #[test]
    fn row_invariants_hold_for_all_event_sequences(picks in prop::collection::vec(0_usize..14, 0..60)) {
        let mut row = operation();
        for (n, pick) in (1_u64..).zip(picks) {
            let event = events().swap_remove(pick);
            let before = row.clone();
            let now = Timestamp::UNIX_EPOCH + Duration::from_secs(n);
            match row.apply(event.clone(), now, "test") {
                Err(illegal) => {
                    prop_assert_eq!(next_operation(before.state, &event), None);
                    prop_assert_eq!(illegal.event, event.name());
                    prop_assert_eq!(&row, &before, "a refused event changes nothing");
                }
                Ok(line) => {
                    prop_assert_eq!(Some(row.state), next_operation(before.state, &event));
                    prop_assert_eq!((line.from.as_str(), line.to.as_str()), (before.state.as_str(), row.state.as_str()));
                    prop_assert_eq!(line.at, now);
                }
            }
            prop_assert_eq!(row.lease.is_some(), row.state.is_leased(), "a lease stands exactly while a worker has it");
            prop_assert!(row.attempts >= before.attempts);
            if before.state.is_terminal() && row.state != before.state {
                prop_assert!(matches!(event, OperationEvent::RetryRequested | OperationEvent::RetryDeferred), "only an operator wakes the dead");
                prop_assert_eq!(row.failures, 0);
            }
            if row.state == OperationState::Failed {
                prop_assert!(row.failure.is_some(), "what failed says why");
            }
        }
    }
}
