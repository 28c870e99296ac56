//! Rows that always run: despite a cancellation and broken gates, and not before all their gates.
#![expect(clippy::unwrap_used, reason = "tests")]

use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::job::Job;
use goldfleet_model::operation::{GroupId, Operation, OperationId, OperationState};
use goldfleet_ports::{ETag, Versioned};
use goldfleet_workflow::gates::{GateState, Gates};
use goldfleet_workflow::group::GroupChange;
use goldfleet_workflow::retry::{RetryRules, RetryStart, start};
use jiff::Timestamp;
use serde_json::json;

fn job(state: &str, approvals: bool) -> Job {
    let mut row = json!({
        "id": "20261121-041502-7f3a",
        "image": { "name": "ubuntu", "version": "1", "digest": format!("b3:{}", "5".repeat(64)) },
        "payload": { "os": "linux", "generation": "v2", "size": 1 << 20, "data_bytes": 4096 },
        "selection": [], "state": state,
        "created": Timestamp::UNIX_EPOCH, "updated": Timestamp::UNIX_EPOCH,
    });
    if approvals {
        row["approvals"] = json!([]);
    }
    serde_json::from_value(row).unwrap()
}

fn row(job: &Job, group: &str, state: OperationState) -> Operation {
    serde_json::from_value(json!({
        "job": job.id, "id": OperationId::new(GroupId::of(group, &[group]), "step"), "plan": 1, "image": job.image(),
        "kind": "test", "position": 0, "place": { "region": "westeurope", "label": group },
        "spec": { "v": 1, "data": null }, "state": state, "attempts": 0, "failures": 0,
        "progress": { "bytes_total": 0, "bytes_done": 0, "bytes_moved": 0 },
        "created": Timestamp::UNIX_EPOCH, "updated": Timestamp::UNIX_EPOCH,
    }))
    .unwrap()
}

fn opener(job: &Job, gate: &GateKey, state: OperationState) -> Operation {
    let group = format!("{}-{state}", gate.to_string().replace('.', "-"));
    Operation { opens: vec![gate.clone()], ..row(job, &group, state) }
}

/// The state of a row after the gates that these rows open were applied to it.
fn applied(job: &Job, openers: &[Operation], row: Operation) -> OperationState {
    let rows = [Versioned { value: row, etag: ETag("0".to_owned()) }];
    let mut change = GroupChange::new(&rows, Timestamp::UNIX_EPOCH, "test");
    Gates::of(openers).apply(job, &mut change, Timestamp::UNIX_EPOCH);
    change.into_commit().changes.first().map_or(rows[0].value.state, |change| change.operation.state)
}

fn after(gate: &GateKey, on: GateCondition) -> After {
    After { gate: gate.clone(), on, count: 1 }
}

/// The job was cancelled while a ring waited for its approval. Nobody can approve it any more.
#[test]
fn no_approval_is_needed_in_a_cancelled_job() {
    let ring = GateKey::ring(1);
    for (state, always, expected) in [
        ("running", true, OperationState::Waiting),
        ("cancelling", true, OperationState::Ready),
        ("cancelling", false, OperationState::Waiting),
    ] {
        let job = job(state, true);
        let done = opener(&job, &ring, OperationState::Succeeded);
        let after = vec![after(&ring, GateCondition::Opened)];
        let waiting = Operation { always, after, ..row(&job, "waiting", OperationState::Waiting) };
        assert_eq!(applied(&job, &[done], waiting), expected, "{state}, always: {always}");
    }
}

/// One gate is broken, and the openers of the other one have not ended.
#[test]
fn a_broken_gate_does_not_open_the_others() {
    let (broken, other): (GateKey, GateKey) = ("vm.disks".parse().unwrap(), "vm.stopped".parse().unwrap());
    let job = job("running", false);
    let failed = opener(&job, &broken, OperationState::Failed);
    let conditions = vec![after(&broken, GateCondition::Opened), after(&other, GateCondition::Ended)];
    let waiting = |always| {
        let after = conditions.clone();
        Operation { always, after, ..row(&job, "waiting", OperationState::Waiting) }
    };
    let running = opener(&job, &other, OperationState::Running);
    let ended = opener(&job, &other, OperationState::Cancelled);
    let openers = |last: &Operation| vec![failed.clone(), last.clone()];
    assert_eq!(applied(&job, &openers(&running), waiting(true)), OperationState::Waiting);
    assert_eq!(applied(&job, &openers(&ended), waiting(true)), OperationState::Ready);
    assert_eq!(applied(&job, &openers(&running), waiting(false)), OperationState::Cancelled);
    assert!(matches!(Gates::of(&openers(&ended)).state_for(&job, &waiting(false)), GateState::Broken { .. }));
}

/// A row failed, and the row behind it, which always runs, has begun. A retry must not start both.
#[test]
fn a_row_is_not_retried_while_the_clean_up_behind_it_runs() {
    let job = job("running", false);
    let failed = row(&job, "one", OperationState::Failed);
    let rules = RetryRules {
        selects: &|_| true,
        runs_again: &|_| false,
        lacks_input: &|_| false,
        output_may_be_missing: &|_| false,
        gates_are_open: &|_| true,
        includes_predecessors: true,
    };
    for (state, expected) in [
        (OperationState::Waiting, RetryStart::From(0)),
        (OperationState::Ready, RetryStart::Busy(0)),
        (OperationState::Running, RetryStart::Busy(0)),
        (OperationState::Succeeded, RetryStart::From(0)),
    ] {
        let clean_up = Operation { position: 1, always: true, ..row(&job, "one", state) };
        assert_eq!(start(&[&failed, &clean_up], &rules), expected, "{state}");
    }
}
