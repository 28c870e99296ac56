//! `cleanup --history`: jobs that ended long ago are removed with all their rows, except those that are still needed.
//! After an interruption at any point, the next run completes the removal.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::cleanup::cleanup_job;
use goldfleet_dispatcher::control::context::{ControlContext, ControlError};
use goldfleet_dispatcher::control::reconcile::reconcile_job_by_id;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::retention::{self, RetentionReport};
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::after;
use goldfleet_ports::conformance::clock::ManualClock;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::fleet::InProcessFleet;
use jiff::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A control context with these ports, 40 days later.
fn later(fleet: &InProcessFleet, ports: &Ports) -> ControlContext {
    let clock = ManualClock::at(after(Timestamp::now(), DAY * 40));
    fleet.control_with(Ports { clock: Arc::new(clock), ..ports.clone() })
}

async fn remove_old_jobs(control: &ControlContext) -> RetentionReport {
    retention::remove_old_jobs(control, DAY * 30).await.unwrap()
}

/// Two ended jobs of two versions. The staged VHDs of the first are removed.
async fn two_jobs(fleet: &InProcessFleet) -> [JobId; 2] {
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    cleanup_job(&fleet.control_with_own_ports().jobs, &first).await.unwrap();
    fleet.change_golden();
    let (second, _) = fleet.roll_out(&fleet.ports, "2", 1).await;
    [first, second]
}

async fn assert_gone(fleet: &InProcessFleet, job: &JobId) {
    let table = &fleet.ports.table;
    assert_eq!(table.job(job).await.unwrap(), None);
    assert_eq!(table.operations(job).await.unwrap(), []);
    assert_eq!(table.events(job, None).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_jobs_are_removed_and_newest_kept() {
    let fleet = InProcessFleet::new();
    let [first, second] = two_jobs(&fleet).await;
    assert_eq!(
        retention::remove_old_jobs(&fleet.control_with_own_ports(), DAY).await.unwrap(),
        RetentionReport::default(),
        "they ended just now"
    );
    let control = later(&fleet, &fleet.ports);
    let events = fleet.ports.table.events(&second, None).await.unwrap().len();
    assert_eq!(
        remove_old_jobs(&control).await,
        RetentionReport { removed: vec![first.clone()], ..RetentionReport::default() }
    );
    assert_gone(&fleet, &first).await;
    assert_eq!(remove_old_jobs(&control).await, RetentionReport::default());
    assert_eq!(control.jobs.job_or_newest(None).await.unwrap().value.id, second);
    assert_eq!(fleet.ports.table.events(&second, None).await.unwrap().len(), events);
    fleet.assert_all_done(&second).await;
    // Existing images are found by inspection, not from rows.
    let (third, status) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    assert_eq!(status.phases.of_kind("image").skipped, 4, "{third}: {status:#?}");
}

/// No other row names the VHDs.
#[tokio::test(flavor = "multi_thread")]
async fn job_is_kept_until_staged_vhds_are_removed() {
    let fleet = InProcessFleet::new();
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    let (again, status) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    assert_eq!(status.phases.of_kind("image").skipped, 4);
    fleet.change_golden();
    fleet.roll_out(&fleet.ports, "2", 1).await;
    let control = later(&fleet, &fleet.ports);
    // The second job had nothing to do, and staged nothing.
    let expected = RetentionReport { removed: vec![again], staged: vec![first.clone()], ..RetentionReport::default() };
    assert_eq!(remove_old_jobs(&control).await, expected);
    assert_eq!(cleanup_job(&control.jobs, &first).await.unwrap().vhds, 4);
    assert_eq!(remove_old_jobs(&control).await.removed, [first]);
}

/// Of the jobs that are the only ones to name a store, the newest is kept, so that the store's chunks can be collected.
/// An open job is kept too.
#[tokio::test(flavor = "multi_thread")]
async fn job_is_kept_if_only_reference_to_store() {
    let fleet = InProcessFleet::new();
    let (oldest, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    fleet.change_golden();
    let (east, _) = fleet.roll_out(&fleet.ports, "2", 1).await;
    for job in [&oldest, &east] {
        cleanup_job(&fleet.control_with_own_ports().jobs, job).await.unwrap();
    }
    fleet.delete_all_images();
    let selection = ["region=westeurope".parse().unwrap()];
    let control = fleet.control_with_own_ports();
    let open =
        request_job(&control, &"golden".parse().unwrap(), &"1".parse().unwrap(), &selection, false).await.unwrap().job;
    let west =
        request_job(&control, &"golden".parse().unwrap(), &"2".parse().unwrap(), &selection, false).await.unwrap().job;
    fleet.run(&fleet.ports, 1, &west.id).await;
    let row = control.jobs.job(&open.id).await.unwrap();
    let reopened = Job { state: JobState::Requested, finished: None, ..row.value };
    fleet.ports.table.commit_job(&reopened, &row.etag, &[]).await.unwrap();
    let forgotten = remove_old_jobs(&later(&fleet, &fleet.ports)).await;
    assert_eq!(forgotten, RetentionReport { removed: vec![oldest], stores: vec![east], ..RetentionReport::default() });
    assert!(fleet.ports.table.job(&open.id).await.unwrap().is_some());
}

/// A job that was never planned names no store. If it is the newest, the source store is known from an older job and
/// from the configuration, but another configuration need not name it. The older job is kept.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_job_of_a_source_store_stays() {
    let fleet = InProcessFleet::new();
    let [first, second] = two_jobs(&fleet).await;
    cleanup_job(&fleet.control_with_own_ports().jobs, &second).await.unwrap();
    let third = fleet.request("1").await;
    cancel(&fleet.control_with_own_ports().jobs, &third).await.unwrap();
    reconcile_job_by_id(&fleet.control_with_own_ports(), &third).await.unwrap();
    assert_eq!(fleet.control_with_own_ports().jobs.job(&third).await.unwrap().value.tree, None);
    let expected = RetentionReport { removed: vec![first], stores: vec![second], ..RetentionReport::default() };
    assert_eq!(remove_old_jobs(&later(&fleet, &fleet.ports)).await, expected);
}

/// Each call is lost, before and after its effect. The next run removes the rest.
#[tokio::test(flavor = "multi_thread")]
async fn interrupted_removal_is_resumed() {
    let calls = ["JobTable.list_jobs", "JobTable.commit_job", "JobTable.remove_job"];
    for (call, lost) in calls.into_iter().flat_map(|call| [(call, LostPart::Request), (call, LostPart::Answer)]) {
        let fleet = InProcessFleet::new();
        let [first, second] = two_jobs(&fleet).await;
        let faults = Faults::failing_at(call, 0, lost);
        retention::remove_old_jobs(&later(&fleet, &with_faults(&fleet.ports, &faults)), DAY * 30).await.unwrap_err();
        // A started removal continues even if the job is not old enough for the new limit.
        retention::remove_old_jobs(&fleet.control_with_own_ports(), DAY * 3000).await.unwrap();
        let begun = (call, lost) == ("JobTable.commit_job", LostPart::Answer) || call == "JobTable.remove_job";
        assert_eq!(fleet.ports.table.job(&first).await.unwrap().is_none(), begun, "{call} {lost:?}");
        remove_old_jobs(&later(&fleet, &fleet.ports)).await;
        assert_gone(&fleet, &first).await;
        fleet.assert_all_done(&second).await;
    }
}

/// A fleet with an old job that failed in part and whose staged VHDs are removed, and with a newer job.
async fn with_an_old_failure() -> (InProcessFleet, JobId) {
    let fleet = InProcessFleet::new();
    let (failed, _) = fleet.roll_out_with_one_failure().await;
    cleanup_job(&fleet.control_with_own_ports().jobs, &failed).await.unwrap();
    fleet.change_golden();
    fleet.roll_out(&fleet.ports, "2", 1).await;
    (fleet, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn job_retried_during_removal_is_kept() {
    let (fleet, failed) = with_an_old_failure().await;
    let (control, id) = (fleet.control_with_own_ports(), failed.clone());
    let before = Faults::before("JobTable.commit_job", 0, async move {
        assert_eq!(retry(&control, &id, &RetryFilter::default()).await.unwrap(), 2);
    });
    let expected = RetentionReport { changed: vec![failed.clone()], ..RetentionReport::default() };
    assert_eq!(remove_old_jobs(&later(&fleet, &with_faults(&fleet.ports, &before))).await, expected);
    assert_eq!(fleet.run(&fleet.ports, 1, &failed).await.state, ReportedState::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn job_marked_for_removal_cannot_be_retried() {
    let (fleet, failed) = with_an_old_failure().await;
    let (control, id) = (fleet.control_with_own_ports(), failed.clone());
    let after = Faults::before("JobTable.remove_job", 0, async move {
        let refused = retry(&control, &id, &RetryFilter::default()).await.unwrap_err();
        assert!(matches!(refused, ControlError::Illegal(_)), "{refused}");
        assert!(refused.to_string().ends_with("cannot retry while it is being removed"), "{refused}");
    });
    let expected = RetentionReport { removed: vec![failed.clone()], ..RetentionReport::default() };
    assert_eq!(remove_old_jobs(&later(&fleet, &with_faults(&fleet.ports, &after))).await, expected);
    assert!(after.was_hit());
    assert_gone(&fleet, &failed).await;
}
