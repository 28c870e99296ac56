//! The indexes of the job table: gates, states and counts follow every change of the rows.

use std::time::Duration;

use goldfleet_model::graph::{After, GateCondition, GateKey};
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::{Failure, Lease, Operation, OperationState, StateCount};
use goldfleet_model::state::OperationEvent;
use uuid::Uuid;

use super::{START, Step, insert, job_id, operation};
use crate::Versioned;
use crate::clock::after;
use crate::job_table::{Change, GateOpeners, JobTable};

/// Runs the tests of the indexes.
pub(super) async fn all(table: &dyn JobTable) {
    gates_follow_their_openers(table).await;
    gates_know_the_rows_that_wait(table).await;
    gates_belong_to_a_planning_attempt(table).await;
    states_and_counts_follow_commits(table).await;
    long_lists_of_waiting_rows_are_complete(table).await;
}

fn gate(name: &str) -> GateKey {
    name.parse().expect("a gate")
}

fn opener(job: &JobId, n: u32) -> Operation {
    Operation { opens: vec![gate("ring.1"), gate("ring.10")], ..operation(job, Step::Alone, n) }
}

fn waiting(job: &JobId, n: u32, name: &str, on: GateCondition) -> Operation {
    let state = OperationState::Waiting;
    Operation { state, after: vec![After { gate: gate(name), on, count: 1 }], ..operation(job, Step::First, n) }
}

fn failure() -> Failure {
    Failure { code: "test".to_owned(), message: "test".to_owned(), request_id: None, at: START }
}

fn lease() -> Lease {
    Lease {
        token: Uuid::new_v4(),
        holder: "suite".to_owned(),
        process: None,
        expires: after(START, Duration::from_secs(60)),
    }
}

/// Commits events to a row, and returns the row as it is then.
async fn commit(
    table: &dyn JobTable,
    row: &Versioned<Operation>,
    events: impl IntoIterator<Item = OperationEvent>,
) -> Versioned<Operation> {
    let mut value = row.value.clone();
    let lines: Vec<_> =
        events.into_iter().map(|event| value.apply(event, START, "suite").expect("a transition")).collect();
    let etags = table.commit(&[Change::new(row, value.clone())], &lines).await.expect("a commit");
    Versioned { value, etag: etags[0].clone() }
}

/// A gate names a pending opener, and then the first that failed and the first that was cancelled.
async fn gates_follow_their_openers(table: &dyn JobTable) {
    let job = job_id();
    let mut rows = insert(table, &(0..4).map(|n| opener(&job, n)).collect::<Vec<_>>()).await;
    let state = async || table.openers(&job, 1, &gate("ring.1")).await.expect("a gate");
    for row in &mut rows {
        assert!(state().await.pending.is_some());
        *row = commit(table, row, [OperationEvent::Claim(lease())]).await;
    }
    for row in &mut rows[..2] {
        *row = commit(table, row, [OperationEvent::Succeed]).await;
        assert!(state().await.pending.is_some(), "two have not ended");
    }
    rows[2] = commit(table, &rows[2], [OperationEvent::Cancel, OperationEvent::ConfirmCancel]).await;
    assert_eq!(state().await.pending, Some(rows[3].value.id.clone()));
    rows[3] = commit(table, &rows[3], [OperationEvent::Fail(failure())]).await;
    let bad = state().await;
    assert_eq!((bad.pending, bad.failed), (None, Some(rows[3].value.id.clone())));
    rows[3] = commit(table, &rows[3], [OperationEvent::RetryRequested]).await;
    assert_eq!(state().await.pending, Some(rows[3].value.id.clone()));
    rows[3] = commit(table, &rows[3], [OperationEvent::Claim(lease()), OperationEvent::Succeed]).await;
    let cancelled = Some(rows[2].value.id.clone());
    assert_eq!(state().await, GateOpeners { cancelled: cancelled.clone(), ..GateOpeners::default() });
    assert_eq!(table.openers(&job, 1, &gate("ring.10")).await.expect("a gate").cancelled, cancelled);
    assert_eq!(table.openers(&job, 1, &gate("ring")).await.expect("a gate"), GateOpeners::default());
}

/// A row waits for its gate until it passes it or ends.
async fn gates_know_the_rows_that_wait(table: &dyn JobTable) {
    let job = job_id();
    let waits = [
        waiting(&job, 1, "ring.1", GateCondition::Opened),
        waiting(&job, 2, "ring.1", GateCondition::Opened),
        waiting(&job, 3, "ring.1", GateCondition::Ended),
        waiting(&job, 4, "ring.10", GateCondition::Opened),
    ];
    insert(table, &waits).await;
    let mut rows = Vec::new();
    for wait in &waits {
        rows.push(table.operation(&job, &wait.id).await.expect("a look").expect("the row"));
    }
    let listed = async |name: &str, on| table.awaiting(&job, 1, &gate(name), on).await.expect("a list");
    let mut two = [waits[0].id.clone(), waits[1].id.clone()];
    two.sort_by_key(ToString::to_string);
    assert_eq!(listed("ring.1", GateCondition::Opened).await, two);
    assert_eq!(listed("ring.1", GateCondition::Ended).await, [waits[2].id.clone()]);
    assert_eq!(listed("ring.10", GateCondition::Opened).await, [waits[3].id.clone()]);
    let gates = async || {
        let mut gates = table.awaited_gates(&job, 1).await.expect("gates");
        gates.sort_by_key(|(gate, on)| (gate.clone(), *on == GateCondition::Ended));
        gates
    };
    let (opened, ended) = (GateCondition::Opened, GateCondition::Ended);
    let of_ten = (gate("ring.10"), opened);
    assert_eq!(gates().await, [(gate("ring.1"), opened), (gate("ring.1"), ended), of_ten.clone()]);
    rows[0] = commit(table, &rows[0], [OperationEvent::Open, OperationEvent::Release]).await;
    rows[1] = commit(table, &rows[1], [OperationEvent::Block(failure())]).await;
    rows[2] = commit(table, &rows[2], [OperationEvent::Cancel]).await;
    assert_eq!(gates().await, [of_ten]);
    commit(table, &rows[2], [OperationEvent::RetryDeferred]).await;
    assert_eq!(listed("ring.1", ended).await, [waits[2].id.clone()]);
}

/// The rows of another planning attempt do not affect gates or counts.
async fn gates_belong_to_a_planning_attempt(table: &dyn JobTable) {
    let job = job_id();
    insert(table, &[opener(&job, 1), waiting(&job, 2, "ring.1", GateCondition::Opened)]).await;
    let later = Operation { plan: 2, state: OperationState::Skipped, ..opener(&job, 1) };
    table.insert_operations(std::slice::from_ref(&later)).await.expect("rows are replaced");
    assert_eq!(table.openers(&job, 2, &gate("ring.1")).await.expect("a gate"), GateOpeners::default());
    assert!(table.awaited_gates(&job, 2).await.expect("gates").is_empty());
    table.remove_earlier_plans(&job, 2).await.expect("rows are removed");
    assert!(table.awaited_gates(&job, 1).await.expect("gates").is_empty());
    assert!(table.awaiting(&job, 1, &gate("ring.1"), GateCondition::Opened).await.expect("a list").is_empty());
    let counted = table.census(&job, 2).await.expect("a census");
    let one = StateCount { kind: later.kind.clone(), state: later.state, count: 1, latest: START };
    assert_eq!(counted, [one]);
    assert!(table.census(&job, 1).await.expect("a census").is_empty());
}

/// Rows are found by their state and its time, and counted by kind and state.
async fn states_and_counts_follow_commits(table: &dyn JobTable) {
    let job = job_id();
    let rows = insert(
        table,
        &[operation(&job, Step::Alone, 1), operation(&job, Step::First, 1), operation(&job, Step::Second, 1)],
    )
    .await;
    let alone = rows.iter().find(|row| row.value.kind.as_str() == "seed").expect("the row");
    let in_state = async |state, seconds, limit| {
        let before = after(START, Duration::from_secs(seconds));
        table.in_state_before(&job, 1, state, before, limit).await.expect("a list")
    };
    assert!(in_state(OperationState::Ready, 0, 9).await.is_empty(), "the time is exclusive");
    assert_eq!(in_state(OperationState::Ready, 1, 9).await.len(), 2);
    assert_eq!(in_state(OperationState::Ready, 1, 1).await.len(), 1);
    commit(table, alone, [OperationEvent::Claim(lease())]).await;
    assert_eq!(in_state(OperationState::Ready, 1, 9).await.len(), 1);
    assert!(in_state(OperationState::Running, 60, 9).await.is_empty());
    assert_eq!(in_state(OperationState::Running, 61, 9).await, std::slice::from_ref(&alone.value.id));
    let later = async |seconds| {
        let after = after(START, Duration::from_secs(seconds));
        table.in_state_after(&job, 1, OperationState::Running, after, 9).await.expect("a list")
    };
    assert_eq!(later(59).await, std::slice::from_ref(&alone.value.id));
    assert!(later(60).await.is_empty(), "the time is exclusive");
    let mut counted = table.census(&job, 1).await.expect("a census");
    counted.sort();
    let count = |kind: &str, state, latest| StateCount { kind: kind.parse().expect("a kind"), state, count: 1, latest };
    let mut expected = [
        count("seed", OperationState::Running, after(START, Duration::from_secs(60))),
        count("copy", OperationState::Ready, START),
        count("image", OperationState::Waiting, START),
    ];
    expected.sort();
    assert_eq!(counted, expected);
}

/// A list that is longer than one page of the service.
async fn long_lists_of_waiting_rows_are_complete(table: &dyn JobTable) {
    let job = job_id();
    let rows: Vec<Operation> = (0..1100).map(|n| waiting(&job, n, "ring.1", GateCondition::Opened)).collect();
    insert(table, &rows).await;
    let mut ids: Vec<String> = rows.iter().map(|row| row.id.to_string()).collect();
    ids.sort();
    let listed = table.awaiting(&job, 1, &gate("ring.1"), GateCondition::Opened).await.expect("a list");
    assert_eq!(listed.iter().map(ToString::to_string).collect::<Vec<_>>(), ids);
}
