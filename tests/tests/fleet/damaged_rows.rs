//! Rows that cannot be read: they are set aside, and everything that does not need them goes on.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use goldfleet_config::Coordination;
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::doctor::{AskedSources, Finding, examine};
use goldfleet_dispatcher::control::garbage_collection::{CollectOptions, collect_garbage};
use goldfleet_dispatcher::control::reconcile::{JobCheck, reconcile_job_by_id, reconcile_open_jobs};
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_dispatcher::dashboard::summaries::SummaryCache;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::JobState;
use goldfleet_model::operation::{Operation, OperationState};
use goldfleet_ports::listing::ROW_DAMAGED;
use goldfleet_tests::fleet::InProcessFleet;

use crate::killed_seeds::later;

/// Writes to the database as another program does.
pub(crate) fn execute(fleet: &InProcessFleet, sql: &str) {
    let Coordination::Embedded(embedded) = &fleet.config.coordination else { panic!("another coordination") };
    let connection = rusqlite::Connection::open(&embedded.path).unwrap();
    connection.busy_timeout(Duration::from_secs(5)).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

/// The first operation of a kind.
async fn first(fleet: &InProcessFleet, job: &JobId, kind: &str) -> Operation {
    let rows = fleet.ports.table.operations(job).await.unwrap();
    rows.into_iter().map(|row| row.value).find(|row| row.kind.as_str() == kind).unwrap()
}

/// Puts an operation in a state that this release does not know.
async fn dream(fleet: &InProcessFleet, job: &JobId, kind: &str) -> Operation {
    let row = first(fleet, job, kind).await;
    let set = "body = json_set(body, '$.state', 'dreaming'), state = 'dreaming'";
    execute(fleet, &format!("UPDATE operations SET {set} WHERE job = '{job}' AND id = '{}'", row.id));
    row
}

async fn findings(fleet: &InProcessFleet) -> Vec<Finding> {
    let all = examine(&fleet.control_with_own_ports(), None, &AskedSources::default()).await.unwrap();
    all.into_iter().filter(|finding| finding.code == ROW_DAMAGED).collect()
}

/// An operation in an unknown state: its sibling is not started, the operations of other targets succeed, and the job
/// ends as failed and names the row.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_operation_harms_only_its_target() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    let row = dream(&fleet, &job, "copy").await;
    let before = fleet.status(&job).await;
    assert_eq!((before.state, before.unreadable.len()), (ReportedState::Running, 1));
    assert_eq!(findings(&fleet).await[0].subject, format!("operation {}", row.id));

    let status = fleet.run(&fleet.ports, 2, &job).await;
    assert_eq!(status.state, ReportedState::Failed);
    let reason = status.reason.unwrap();
    assert!(reason.contains(&row.id.to_string()) && reason.contains("dreaming"), "{reason}");
    assert_eq!(status.unreadable[0].id, row.id.to_string());
    let rows = fleet.ports.table.list_operations(&job).await.unwrap();
    let blocked: Vec<&Operation> =
        rows.rows.iter().map(|row| &row.value).filter(|row| row.state == OperationState::Cancelled).collect();
    assert_eq!(blocked.iter().map(|row| row.id.group()).collect::<Vec<_>>(), [row.id.group()]);
    assert_eq!(blocked[0].failure.as_ref().unwrap().code, ROW_DAMAGED);
    assert!(rows.rows.iter().all(|row| row.value.state.is_done() || row.value.id == blocked[0].id));

    // The row is restored as it was, and retries do the rest: of the copy, and of the image that was blocked.
    let set = format!("body = '{}', state = 'ready'", serde_json::to_string(&row).unwrap().replace('\'', "''"));
    execute(&fleet, &format!("UPDATE operations SET {set} WHERE job = '{job}' AND id = '{}'", row.id));
    fleet.retry(&job).await;
    fleet.run(&fleet.ports, 1, &job).await;
    fleet.retry_and_run(&job).await;
}

/// A row whose JSON is cut off, whose own columns say that it has succeeded: the job does not end as succeeded.
#[tokio::test(flavor = "multi_thread")]
async fn job_with_unreadable_operation_does_not_succeed() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    let control = fleet.control_with_own_ports();
    let images = first(&fleet, &job, "image").await.id;
    execute(&fleet, &format!("UPDATE operations SET state = 'succeeded' WHERE job = '{job}'"));
    execute(&fleet, &format!("UPDATE operations SET body = '{{' WHERE job = '{job}' AND id = '{images}'"));
    assert_eq!(reconcile_job_by_id(&control, &job).await.unwrap(), JobCheck::Ended);
    let ended = control.jobs.job(&job).await.unwrap().value;
    assert_eq!((ended.state, ended.failure.unwrap().code.as_str()), (JobState::Failed, ROW_DAMAGED));
}

/// A ready operation that cannot be read holds its job open for a minute only, and its message blocks nothing.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_ready_operations_do_not_hold_a_job_open() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    execute(&fleet, &format!("UPDATE operations SET body = '[]' WHERE job = '{job}' AND state = 'ready'"));
    let control = fleet.control_with_own_ports();
    assert_eq!(reconcile_job_by_id(&control, &job).await.unwrap(), JobCheck::Open);
    let later = fleet.control_with(later(&fleet.ports, Duration::from_secs(90)));
    for check in [JobCheck::Open, JobCheck::Ended] {
        assert_eq!(reconcile_job_by_id(&later, &job).await.unwrap(), check);
    }
    assert_eq!(control.jobs.job(&job).await.unwrap().value.state, JobState::Failed);
}

/// A cancelled job of which a row cannot be read ends as cancelled.
#[tokio::test(flavor = "multi_thread")]
async fn job_with_unreadable_operation_can_be_cancelled() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    dream(&fleet, &job, "copy").await;
    let control = fleet.control_with_own_ports();
    cancel(&control.jobs, &job).await.unwrap();
    assert_eq!(reconcile_job_by_id(&control, &job).await.unwrap(), JobCheck::Ended);
    assert_eq!(control.jobs.job(&job).await.unwrap().value.state, JobState::Cancelled);
}

/// Somebody deleted a row. What does not follow it is done, and the job ends as failed.
#[tokio::test(flavor = "multi_thread")]
async fn missing_row_ends_its_job_as_failed() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    let row = first(&fleet, &job, "image").await.id;
    execute(&fleet, &format!("DELETE FROM operations WHERE job = '{job}' AND id = '{row}'"));
    let status = fleet.run(&fleet.ports, 2, &job).await;
    assert_eq!(status.state, ReportedState::Failed);
    assert!(status.reason.unwrap().contains("1 is of"));
}

/// A job in an unknown state does not affect other jobs of the fleet, and no chunk that it may need is deleted.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_job_harms_only_itself() {
    let fleet = InProcessFleet::new();
    let bad = fleet.plan_job("1").await;
    fleet.change_golden();
    execute(&fleet, &format!("UPDATE jobs SET body = json_set(body, '$.state', 'dreaming') WHERE id = '{bad}'"));
    let (good, status) = fleet.roll_out(&fleet.ports, "2", 1).await;
    assert_eq!(status.state, ReportedState::Succeeded);
    fleet.assert_all_done(&good).await;

    let control = fleet.control_with_own_ports();
    assert_eq!(reconcile_open_jobs(&control).await.unwrap(), 0);
    let listed = SummaryCache::default().all(&control.jobs).await.unwrap();
    assert_eq!(listed.iter().map(|job| job.job.as_str()).collect::<Vec<_>>(), [good.as_str()]);
    let found = findings(&fleet).await;
    assert_eq!(found[0].subject, format!("job {bad}"));
    assert!(found[0].message.contains("dreaming") && found[0].remedy.contains("Restore the row"), "{found:?}");
    let refused = collect_garbage(&control, &CollectOptions::default()).await;
    assert!(refused.unwrap_err().to_string().contains(bad.as_str()));
}
