//! The fleet under faults, in one process: every call is lost once, every step is repeated, targets fail, and jobs are
//! cancelled and retried.

use std::time::Duration;

use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::cleanup::cleanup_job;
use goldfleet_dispatcher::control::garbage_collection::{CollectOptions, collect_garbage};
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_dispatcher::control::upload::UploadError;
use goldfleet_model::state::OperationEvent;
use goldfleet_ports::job_table::Change;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::files::flip;
use goldfleet_tests::fleet::InProcessFleet;

use crate::faulted_runs::{assert_met, run_cases};
use crate::killed_seeds::later;

#[tokio::test(flavor = "multi_thread")]
async fn fleet_succeeds_without_faults() {
    let fleet = InProcessFleet::new();
    let uploaded = fleet.upload(&fleet.ports, "1").await.unwrap();
    assert!(!uploaded.existed);
    let (job, status) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    fleet.assert_all_done(&job).await;
    assert_eq!(status.wan_bytes.values().sum::<u64>(), uploaded.counts.bytes_data, "once over the WAN");
}

/// Every call of the fleet is lost once, before and after its effect, at its first and at a later occurrence. The
/// result is always the same.
#[tokio::test(flavor = "multi_thread")]
async fn fleet_survives_each_lost_call() {
    let counted = Faults::counting();
    let fleet = InProcessFleet::new();
    let ports = with_faults(&fleet.ports, &counted);
    fleet.roll_out(&ports, "1", 1).await;

    // Calls of the queue maintenance are made as long as the fleet runs. Testing their first occurrence is sufficient.
    let mut cases = Vec::new();
    for (name, count) in counted.calls() {
        let mut times = vec![0];
        if count > 1
            && !["Queue.receive", "JobTable.list_open_jobs", "JobTable.census", "JobTable.in_state_before"]
                .contains(&name)
        {
            times.push(count / 2);
        }
        cases.extend(
            times.into_iter().flat_map(|nth| [LostPart::Request, LostPart::Answer].map(|lost| (name, nth, lost))),
        );
    }
    assert!(cases.len() > 40, "{cases:?}");
    // The number of some calls depends on timing too. Almost all faults must have happened.
    assert_met(&run_cases(&cases, 6, |(name, nth, lost)| survives(name, nth, lost)).await, 5);
}

/// Runs a fleet in which one call is lost. Returns whether the call was made.
async fn survives(name: &'static str, nth: usize, lost: LostPart) -> bool {
    let fleet = InProcessFleet::new();
    let faults = Faults::failing_at(name, nth, lost);
    let ports = with_faults(&fleet.ports, &faults);
    // An operator repeats a failed command.
    let mut uploaded = fleet.upload(&ports, "1").await;
    if uploaded.is_err() {
        uploaded = fleet.upload(&ports, "1").await;
    }
    uploaded.unwrap_or_else(|error| panic!("{name} {nth} {lost:?}: {error}"));
    let (job, _) = fleet.request_and_run(&ports, "1", 1).await;
    fleet.assert_all_done(&job).await;
    faults.was_hit()
}

/// Every operation is claimed and performed a second time, as if its end had not been recorded.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_steps_are_idempotent() {
    let fleet = InProcessFleet::new();
    let (job, first) = fleet.roll_out(&fleet.ports, "1", 1).await;
    let images = fleet.images();

    let mut row = fleet.ports.table.job(&job).await.unwrap().unwrap();
    row.value.state = goldfleet_model::job::JobState::Running;
    fleet.ports.table.commit_job(&row.value, &row.etag, &[]).await.unwrap();
    for row in fleet.ports.table.operations(&job).await.unwrap() {
        let mut again = row.value.clone();
        again.state = goldfleet_model::operation::OperationState::Ready;
        let change = Change::new(&row, again);
        fleet.ports.table.commit(&[change], &[]).await.unwrap();
        fleet.control_with_own_ports().jobs.enqueue_operation(&row.value).await.unwrap();
    }
    let second = fleet.run(&fleet.ports, 1, &job).await;
    assert_eq!(second.state, ReportedState::Succeeded);
    assert_eq!(fleet.images(), images, "images are made once");
    assert_eq!(
        second.phases.of_kind("seed").bytes_moved,
        first.phases.of_kind("seed").bytes_moved,
        "chunks that are there are not moved"
    );
    assert_eq!(
        second.phases.of_kind("copy").bytes_moved,
        first.phases.of_kind("copy").bytes_moved,
        "VHDs that are whole are not written"
    );
}

/// With three workers and three copies of each message, each operation runs once.
#[tokio::test(flavor = "multi_thread")]
async fn operation_runs_on_one_worker() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    let control = fleet.control_with_own_ports();
    for row in fleet.ports.table.operations(&job).await.unwrap() {
        for _ in 0..2 {
            control.jobs.enqueue_operation(&row.value).await.unwrap();
        }
    }
    fleet.run(&fleet.ports, 3, &job).await;
    fleet.assert_all_done(&job).await;
}

/// The account of one target is unusable. The other targets succeed, the failure has a reason, and a retry runs only
/// what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn failed_target_is_retried_alone() {
    let fleet = InProcessFleet::new();
    let (job, status) = fleet.roll_out_with_one_failure().await;
    assert_eq!(status.state, ReportedState::Failed);
    let failures: Vec<_> = status.failures.iter().map(|f| (f.target.as_str(), f.code.as_str())).collect();
    assert_eq!(failures, [("00000000-0000-0000-0000-000000000002/westeurope", "account-unusable")]);
    assert_eq!((status.phases.of_kind("copy").succeeded, status.phases.of_kind("copy").failed), (3, 1));
    assert_eq!((status.phases.of_kind("image").succeeded, status.phases.of_kind("image").cancelled), (3, 1));
    assert_eq!(fleet.retry_and_run(&job).await, 2);
}

/// Operations that have not started are cancelled, and a retry completes the job.
#[tokio::test(flavor = "multi_thread")]
async fn cancelled_job_stops_and_can_be_retried() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    let counts = cancel(&fleet.control_with_own_ports().jobs, &job).await.unwrap();
    assert_eq!((counts.done, counts.cancelled, counts.stopping), (0, 9, 0));
    let status = fleet.run(&fleet.ports, 1, &job).await;
    assert_eq!(status.state, ReportedState::Cancelled);
    assert!(fleet.images().is_empty());
    assert_eq!(fleet.retry_and_run(&job).await, 9);
}

/// The next version uploads and moves only the changed chunks. The same version again has nothing to do. Other content
/// under the same version is rejected.
#[tokio::test(flavor = "multi_thread")]
async fn refresh_moves_only_changed_chunks() {
    let fleet = InProcessFleet::new();
    let first = fleet.upload(&fleet.ports, "1").await.unwrap();
    fleet.request_and_run(&fleet.ports, "1", 1).await;

    let again = fleet.upload(&fleet.ports, "1").await.unwrap();
    assert!(again.existed && again.counts.bytes_sent == 0);
    let (_, status) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    assert_eq!(
        (
            status.phases.of_kind("copy").skipped,
            status.phases.of_kind("image").skipped,
            status.phases.of_kind("seed").total
        ),
        (4, 4, 0)
    );

    fleet.change_golden();
    let other = fleet.upload(&fleet.ports, "1").await.unwrap_err();
    assert!(matches!(&other, UploadError::OtherContent(other) if other.differences == "its data"), "{other}");
    let next = fleet.upload(&fleet.ports, "2").await.unwrap();
    assert!(next.counts.bytes_sent < first.counts.bytes_sent / 2, "{:?}", next.counts);
    assert_eq!(next.counts.bytes_sent + next.counts.bytes_reused, next.counts.bytes_data);
    let (job, status) = fleet.request_and_run(&fleet.ports, "2", 1).await;
    assert_eq!(status.wan_bytes.values().sum::<u64>(), next.counts.bytes_sent);
    fleet.assert_all_done(&job).await;
}

/// A flipped bit in a region's store is detected before the data is written. The chunk comes from the source store
/// instead.
#[tokio::test(flavor = "multi_thread")]
async fn corrupt_chunk_is_not_copied() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    // A job for one target fills the region's store, which is then damaged.
    let (job, _) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    for chunk in fleet.chunks("stage1eastus", "vhds").keys() {
        flip(chunk, 100);
    }
    cleanup_job(&fleet.control_with_own_ports().jobs, &job).await.unwrap();
    fleet.delete_all_images();
    let (job, _) = fleet.request_and_run(&fleet.ports, "1", 1).await;
    fleet.assert_all_done(&job).await;
}

/// Chunks of a deleted version are collected, except those to which another version refers.
#[tokio::test(flavor = "multi_thread")]
async fn only_unreferenced_chunks_are_collected() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let both = fleet.chunks("goldsource", "golden");
    fleet.change_golden();
    fleet.upload(&fleet.ports, "2").await.unwrap();
    let all = fleet.chunks("goldsource", "golden");
    assert_eq!(all.len(), both.len() + 1, "one chunk differs");
    let control = fleet.control_with_own_ports();
    assert_eq!(
        collect_garbage(&control, &CollectOptions::default()).await.unwrap().deleted,
        0,
        "young chunks, and all are named"
    );
    let control = fleet.control_with(later(&fleet.ports, Duration::from_secs(2)));
    assert_eq!(collect_garbage(&control, &CollectOptions::default()).await.unwrap().deleted, 0, "all are named");
    assert!(fleet.delete_version("1").await);
    assert_eq!(collect_garbage(&control, &CollectOptions::default()).await.unwrap().deleted, 1);
    let (job, _) = fleet.request_and_run(&fleet.ports, "2", 1).await;
    fleet.assert_all_done(&job).await;
}

/// A worker that was paused until its lease expired writes neither to the row nor to the VHD of its successor.
#[tokio::test(flavor = "multi_thread")]
async fn expired_lease_is_reclaimed() {
    let fleet = InProcessFleet::new();
    let job = fleet.plan_job("1").await;
    // A worker that claims everything it can, and then disappears.
    for row in fleet.ports.table.operations(&job).await.unwrap() {
        let lease = goldfleet_model::operation::Lease {
            token: uuid::Uuid::new_v4(),
            holder: "gone".to_owned(),
            process: None,
            expires: fleet.ports.clock.now(),
        };
        let mut operation = row.value.clone();
        if let Ok(event) = operation.apply(OperationEvent::Claim(lease), fleet.ports.clock.now(), "gone") {
            let change = Change::new(&row, operation);
            fleet.ports.table.commit(&[change], &[event]).await.unwrap();
        }
    }
    fleet.run(&fleet.ports, 1, &job).await;
    fleet.assert_all_done(&job).await;
    let events = fleet.ports.table.events(&job, None).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.what == "expire").count(), 5, "one seed and four copies");
}

/// If a staging account still has an earlier version, only what differs is written, and what became zero is cleared.
#[tokio::test(flavor = "multi_thread")]
async fn refresh_clones_previous_version() {
    let fleet = InProcessFleet::new();
    let ports = fleet.ports.clone();
    fleet.roll_out(&ports, "1", 2).await;
    // Other data in one chunk, no data in another, data where there was none, and a new unique id, as image tools write
    // it.
    fleet.rebuild_golden();
    let (second, status) = fleet.roll_out(&ports, "2", 2).await;
    fleet.assert_all_done(&second).await;
    let (moved, total) = (status.phases.of_kind("copy").bytes_moved, status.phases.of_kind("copy").bytes_total);
    assert!(moved > 0 && moved + 4 * (256 << 10) <= total, "{moved} of {total} bytes were written");
}

/// The same result when every call is lost once, and workers disappear.
#[tokio::test(flavor = "multi_thread")]
async fn refresh_survives_faults() {
    let counted = Faults::counting();
    let fleet = InProcessFleet::new();
    refresh(&fleet, &counted).await;
    let calls =
        ["BlobStore.start_copy", "BlobStore.copy_status", "BlobStore.clear_pages", "BlobStore.create_page_blob"];
    for call in calls {
        for lost in [LostPart::Request, LostPart::Answer] {
            for nth in 1..=2 {
                let fleet = InProcessFleet::new();
                let faults = Faults::failing_at(call, nth, lost);
                refresh(&fleet, &faults).await;
            }
        }
    }
}

#[expect(clippy::unwrap_used, reason = "tests")]
async fn refresh(fleet: &InProcessFleet, faults: &std::sync::Arc<Faults>) {
    let ports = with_faults(&fleet.ports, faults);
    fleet.roll_out(&fleet.ports, "1", 1).await;
    fleet.rebuild_golden();
    fleet.upload(&fleet.ports, "2").await.unwrap();
    let (second, _) = fleet.request_and_run(&ports, "2", 2).await;
    fleet.assert_all_done(&second).await;
}
