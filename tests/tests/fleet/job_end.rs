//! How jobs end: by the states of their operations, after their clean-up, and independently of other jobs.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use goldfleet_config::{Cleanup, Config, StagedPolicy};
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::cleanup::{StagedOutcome, cleanup_job, delete_version, remove_staged};
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::fan_out::{FanOutResult, fan_out};
use goldfleet_dispatcher::control::reconcile::{JobCheck, reconcile_job_by_id, reconcile_open_jobs};
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::control::retry::{RetryFilter, retry};
use goldfleet_dispatcher::control::status::{ReportedState, Status, status};
use goldfleet_dispatcher::dashboard::feed::read_view;
use goldfleet_dispatcher::dashboard::summaries::SummaryCache;
use goldfleet_dispatcher::dashboard::throughput::Throughput;
use goldfleet_dispatcher::terminal::follow::{FinishedBy, follow};
use goldfleet_dispatcher::terminal::progress::{ProgressDisplay, ProgressMode};
use goldfleet_model::artifact::DiskRole;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::OperationState;
use goldfleet_model::state::JobEvent;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::after;
use goldfleet_ports::conformance::clock::ManualClock;
use goldfleet_tests::faults::{Faults, LostPart, with_faults};
use goldfleet_tests::fleet::InProcessFleet;
use goldfleet_tests::process_fixture;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

async fn state(control: &ControlContext, job: &JobId) -> JobState {
    control.jobs.job(job).await.unwrap().value.state
}

/// A reconciler pass has read that all operations have ended. A retry makes some of them ready before the pass ends the
/// job. The job stays open.
#[tokio::test(flavor = "multi_thread")]
async fn stale_rows_do_not_end_retried_job() {
    let fleet = InProcessFleet::new();
    let (job, status) = fleet.roll_out_with_one_failure().await;
    assert_eq!(status.state, ReportedState::Failed);

    // The state between the end of the last operation and the next reconciler pass.
    let control = fleet.control_with_own_ports();
    control.jobs.apply_event(&job, JobEvent::Retry, |_| {}).await.unwrap();
    let (retrying, id) = (control.clone(), job.clone());
    let late = Faults::late("JobTable.census", async move {
        assert_eq!(retry(&retrying, &id, &RetryFilter::default()).await.unwrap(), 2);
    });
    let sweeping = fleet.control_with(with_faults(&fleet.ports, &late));
    assert_eq!(reconcile_job_by_id(&sweeping, &job).await.unwrap(), JobCheck::Open);
    assert_eq!(state(&control, &job).await, JobState::Running);
    fleet.run(&fleet.ports, 1, &job).await;
    fleet.assert_all_done(&job).await;
}

/// A retry that is interrupted before it reopens the job leaves operations that the reconciler ignores. The next retry
/// continues.
#[tokio::test(flavor = "multi_thread")]
async fn interrupted_retry_is_resumed() {
    let fleet = InProcessFleet::new();
    let (job, _) = fleet.roll_out_with_one_failure().await;
    let control = fleet.control_with_own_ports();
    assert_eq!(fleet.retry(&job).await, 2);
    let row = control.jobs.job(&job).await.unwrap();
    let ended = Job { state: JobState::Failed, ..row.value };
    fleet.ports.table.commit_job(&ended, &row.etag, &[]).await.unwrap();
    assert_eq!(fleet.retry(&job).await, 2);
    assert_eq!(state(&control, &job).await, JobState::Running);
    fleet.run(&fleet.ports, 1, &job).await;
    fleet.assert_all_done(&job).await;
}

/// Retries a job from another process.
fn taken_up_again(fleet: &InProcessFleet, job: &JobId) -> impl Future<Output = ()> + Send + 'static {
    let (control, job) = (fleet.control_with_own_ports(), job.clone());
    async move { assert_eq!(retry(&control, &job, &RetryFilter::default()).await.unwrap(), 2) }
}

/// Asserts that all operations of a retried job continue, and that the job succeeds.
async fn assert_resumes(fleet: &InProcessFleet, job: &JobId) {
    let operations = fleet.ports.table.operations(job).await.unwrap();
    let stopped = operations.iter().filter(|row| row.value.state == OperationState::Cancelled).count();
    assert_eq!((stopped, state(&fleet.control_with_own_ports(), job).await), (0, JobState::Running));
    fleet.run(&fleet.ports, 1, job).await;
    fleet.assert_all_done(job).await;
}

/// A dispatcher with an old message sees that the job has failed, and is about to stop its remaining operations. A
/// retry reopens the job before or after the dispatcher reads the operations. The dispatcher stops nothing.
#[tokio::test(flavor = "multi_thread")]
async fn late_dispatcher_does_not_cancel_retried_job() {
    for call in ["JobTable.job", "JobTable.list_operations"] {
        let fleet = InProcessFleet::new();
        let (job, _) = fleet.roll_out_with_one_failure().await;
        let late = Faults::late(call, taken_up_again(&fleet, &job));
        let control = fleet.control_with(with_faults(&fleet.ports, &late));
        assert_eq!(fan_out(&control, &job).await.unwrap(), FanOutResult::Done, "{call}");
        assert_resumes(&fleet, &job).await;
    }
}

/// The job has operations that a retry need not change, because an earlier retry was interrupted. The retry writes them
/// anyway, so that the write of a late dispatcher conflicts.
#[tokio::test(flavor = "multi_thread")]
async fn late_dispatcher_does_not_cancel_continuing_operations() {
    let fleet = InProcessFleet::new();
    let (job, _) = fleet.roll_out_with_one_failure().await;
    assert_eq!(fleet.retry(&job).await, 2);
    let row = fleet.control_with_own_ports().jobs.job(&job).await.unwrap();
    let ended = Job { state: JobState::Failed, ..row.value };
    fleet.ports.table.commit_job(&ended, &row.etag, &[]).await.unwrap();
    let late = Faults::before("JobTable.commit", 0, taken_up_again(&fleet, &job));
    fan_out(&fleet.control_with(with_faults(&fleet.ports, &late)), &job).await.unwrap();
    assert!(late.was_hit());
    assert_resumes(&fleet, &job).await;
}

/// A dispatcher with another targets file cannot plan a job. Before it rejects the job, another dispatcher has planned
/// it, and it has run, failed and been retried. The late rejection cancels nothing.
#[tokio::test(flavor = "multi_thread")]
async fn late_rejection_does_not_cancel_retried_job() {
    let fleet = Arc::new(InProcessFleet::new());
    let job = fleet.request_after_upload("1").await;
    let (elsewhere, id) = (Arc::clone(&fleet), job.clone());
    let meanwhile = Faults::late("JobTable.job", async move {
        elsewhere.block_path("stage2westeurope");
        assert_eq!(elsewhere.run(&elsewhere.ports, 1, &id).await.state, ReportedState::Failed);
        elsewhere.unblock_path("stage2westeurope");
        elsewhere.drain_dead_letters().await;
    });
    let late = Faults::before("JobTable.list_operations", 0, taken_up_again(&fleet, &job));
    let mut config = (*fleet.config).clone();
    config.targets.file = "elsewhere.toml".into();
    let ports = with_faults(&with_faults(&fleet.ports, &meanwhile), &late);
    let control = ControlContext::new(ports, Arc::new(config), "late");
    assert_eq!(fan_out(&control, &job).await.unwrap(), FanOutResult::Done);
    assert!(late.was_hit());
    assert_resumes(&fleet, &job).await;
}

/// The clean-up runs before the job ends. If it fails with a transient error, it is retried.
#[tokio::test(flavor = "multi_thread")]
async fn staged_vhd_removal_is_retried() {
    let config = process_fixture::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\n[cleanup]\nstaged = \"remove\"\n";
    let fleet = InProcessFleet::with(
        &config,
        &process_fixture::targets(2, &["westeurope", "eastus"]),
        &process_fixture::golden(),
    );
    let lost = Faults::failing_at("BlobStore.delete", 1, LostPart::Request);
    let (job, status) = fleet.roll_out(&with_faults(&fleet.ports, &lost), "1", 1).await;
    assert!(lost.was_hit());
    assert_eq!(status.state, ReportedState::Succeeded);
    assert!(status.staged_removed, "{status:#?}");
    for operation in fleet.ports.table.operations(&job).await.unwrap() {
        if let Some(target) = operation.value.target() {
            let vhd = fleet.ports.vhd(target, operation.value.image.as_ref().unwrap(), DiskRole::Os);
            assert_eq!(fleet.ports.blobs.properties(&vhd).await.unwrap(), None, "{vhd} is still there");
        }
    }
}

/// A fleet whose job is about to end as succeeded, `long_ago` after its last operation; the job; and a control context
/// that removes its staged VHDs first. The account of the first VHD never answers.
async fn about_to_end(long_ago: Duration) -> (InProcessFleet, JobId, ControlContext, ManualClock, Arc<Faults>) {
    let fleet = InProcessFleet::new();
    let (job, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    let row = fleet.control_with_own_ports().jobs.job(&job).await.unwrap();
    let running = Job { state: JobState::Running, ..row.value };
    fleet.ports.table.commit_job(&running, &row.etag, &[]).await.unwrap();
    let (clock, mute) = (
        ManualClock::at(after(Timestamp::now(), long_ago)),
        Faults::failing_at("BlobStore.delete", 0, LostPart::Caller),
    );
    let ports = Ports { clock: Arc::new(clock.clone()), ..with_faults(&fleet.ports, &mute) };
    let mut config = (*fleet.config).clone();
    config.cleanup.staged = StagedPolicy::Remove;
    let control = ControlContext::new(ports, Arc::new(config), "test");
    (fleet, job, control, clock, mute)
}

/// Reconciles a job while an account does not answer the removal of a staged VHD. The pass ends by the clock only:
/// after exactly 30 seconds.
async fn look_with_a_mute_account(
    job: &JobId,
    control: &ControlContext,
    clock: &ManualClock,
    mute: &Faults,
) -> JobCheck {
    let mut look = std::pin::pin!(reconcile_job_by_id(control, job));
    tokio::select! {
        looked = &mut look => panic!("nothing answers, but {looked:?}"),
        () = mute.reached() => {}
    }
    clock.advance(Duration::from_millis(29_999));
    assert!(futures::poll!(&mut look).is_pending());
    clock.advance(Duration::from_millis(1));
    look.await.unwrap()
}

/// What operators see of a job that has ended does not change when the dispatcher writes the end to its row, an hour
/// later here.
#[tokio::test(flavor = "multi_thread")]
async fn reconciler_pass_keeps_end_time_of_job() {
    let fleet = InProcessFleet::new();
    let (job, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    let control = fleet.control_with_own_ports();
    let row = control.jobs.job(&job).await.unwrap();
    // As before the sweep.
    let running = Job { state: JobState::Running, finished: None, ..row.value };
    fleet.ports.table.commit_job(&running, &row.etag, &[]).await.unwrap();
    let operations = control.jobs.operations(&running).await.unwrap();
    let last = operations.iter().map(|row| row.value.updated).max();

    let clock = ManualClock::at(after(Timestamp::now(), Duration::from_secs(3600)));
    let control = fleet.control_with(Ports { clock: Arc::new(clock), ..fleet.ports.clone() });
    let before = status(&control.jobs, &running).await.unwrap();
    assert_eq!((before.state, before.finished), (ReportedState::Succeeded, last));
    assert_eq!(reconcile_job_by_id(&control, &job).await.unwrap(), JobCheck::Ended);
    let row = control.jobs.job(&job).await.unwrap().value;
    assert_eq!((row.state, row.finished), (JobState::Succeeded, last));
    let after = status(&control.jobs, &row).await.unwrap();
    let same = |status: Status| (status.state, status.seconds, status.bytes_per_second, status.finished);
    assert_eq!(same(after.clone()), same(before));
    let listed = SummaryCache::default().all(&control.jobs).await.unwrap();
    assert_eq!(listed[0].finished, last);
    let page = read_view(&control.jobs, &job, &mut Throughput::default()).await.unwrap();
    assert_eq!(same(page.status.clone()), same(after));
}

/// An account that does not answer delays a pass by at most 30 seconds. The job stays open, and the next pass removes
/// the remaining VHDs. Ten minutes after the last operation, the job ends even if VHDs remain.
#[tokio::test(flavor = "multi_thread")]
async fn unresponsive_account_delays_reconcile_30_seconds() {
    let (fleet, job, control, clock, mute) = about_to_end(Duration::ZERO).await;
    assert_eq!(look_with_a_mute_account(&job, &control, &clock, &mute).await, JobCheck::Open);
    assert_eq!(reconcile_job_by_id(&control, &job).await.unwrap(), JobCheck::Ended);
    assert!(fleet.status(&job).await.staged_removed);

    let (fleet, job, control, clock, mute) = about_to_end(Duration::from_secs(600)).await;
    assert_eq!(look_with_a_mute_account(&job, &control, &clock, &mute).await, JobCheck::Ended);
    let status = fleet.status(&job).await;
    assert_eq!((status.state, status.staged_removed), (ReportedState::Succeeded, false));
}

/// A command that waits for a job of a fleet leaves the end of the job, including the removal of its VHDs, to the
/// fleet. The command may have other permissions and another configuration.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_command_leaves_job_end_to_fleet() {
    let config = process_fixture::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\n[cleanup]\nstaged = \"remove\"\n";
    let fleet =
        InProcessFleet::with(&config, &process_fixture::targets(2, &["westeurope"]), &process_fixture::golden());
    let job = fleet.request_after_upload("1").await;
    let keeps = Config { cleanup: Default::default(), ..(*fleet.control_with_own_ports().config).clone() };
    let waiting = ControlContext::new(fleet.ports.clone(), Arc::new(keeps), "pipeline");
    let (progress, stop) = (ProgressDisplay::new(ProgressMode::Silent), CancellationToken::new());
    let (followed, _) =
        tokio::join!(follow(&waiting, &job, FinishedBy::Fleet, &progress, &stop), fleet.run(&fleet.ports, 1, &job),);
    let status = followed.unwrap().unwrap();
    assert_eq!(status.state, ReportedState::Succeeded);
    assert!(status.staged_removed, "{status:#?}");
}

/// The status reports a clean-up that an operator requested, until a retry of the job stages VHDs again.
#[tokio::test(flavor = "multi_thread")]
async fn staged_vhd_removal_is_reported() {
    let fleet = InProcessFleet::new();
    let (job, status) = fleet.roll_out_with_one_failure().await;
    assert!(!status.staged_removed);
    assert_eq!(cleanup_job(&fleet.control_with_own_ports().jobs, &job).await.unwrap().vhds, 3);
    assert!(fleet.status(&job).await.staged_removed);
    fleet.retry(&job).await;
    assert!(!fleet.status(&job).await.staged_removed);
}

/// A job whose rows cannot be read does not prevent other jobs from ending.
#[tokio::test(flavor = "multi_thread")]
async fn failing_job_does_not_block_reconcile() {
    let fleet = InProcessFleet::new();
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    fleet.change_golden();
    let (second, _) = fleet.roll_out(&fleet.ports, "2", 1).await;
    let control = fleet.control_with_own_ports();
    for job in [&first, &second] {
        let reopened = control.jobs.job(job).await.unwrap();
        let row = Job { state: JobState::Running, ..reopened.value };
        fleet.ports.table.commit_job(&row, &reopened.etag, &[]).await.unwrap();
    }
    let lost = Faults::failing_at("JobTable.census", 0, LostPart::Request);
    assert_eq!(reconcile_open_jobs(&fleet.control_with(with_faults(&fleet.ports, &lost))).await.unwrap(), 1);
    assert_eq!(
        (state(&control, &first).await, state(&control, &second).await),
        (JobState::Succeeded, JobState::Running)
    );
    assert_eq!(reconcile_open_jobs(&control).await.unwrap(), 0);
}

/// Between the end of a job's last operation and the next reconciler pass, the job's row says that it is running. Such
/// a job does not satisfy a new request, and does not block the deletion of its version.
#[tokio::test(flavor = "multi_thread")]
async fn job_with_all_operations_ended_is_not_open() {
    let fleet = InProcessFleet::new();
    let (job, _) = fleet.roll_out_with_one_failure().await;
    let control = fleet.control_with_own_ports();
    control.jobs.apply_event(&job, JobEvent::Retry, |_| {}).await.unwrap();
    assert_eq!(state(&control, &job).await, JobState::Running);

    let (image, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let again = request_job(&control, &image, &version, &[], false).await.unwrap();
    assert!(again.new && again.job.id != job);
    let same = request_job(&control, &image, &version, &[], false).await.unwrap();
    assert_eq!((same.job.id, same.new), (again.job.id.clone(), false));
    assert!(delete_version(&control, &image, &version).await.unwrap_err().to_string().contains(again.job.id.as_str()));

    cancel(&control.jobs, &again.job.id).await.unwrap();
    reconcile_job_by_id(&control, &again.job.id).await.unwrap();
    assert!(delete_version(&control, &image, &version).await.unwrap());
}

/// A control context that removes staged VHDs at the end of a job.
fn removing(fleet: &InProcessFleet) -> ControlContext {
    let cleanup = Cleanup { staged: StagedPolicy::Remove, ..fleet.config.cleanup.clone() };
    let config = Config { cleanup, ..(*fleet.config).clone() };
    ControlContext { config: Arc::new(config), ..fleet.control_with_own_ports() }
}

/// Staged VHDs of a job are kept while another job creates images from them.
#[tokio::test(flavor = "multi_thread")]
async fn staged_vhds_that_another_job_uses_stay() {
    let fleet = InProcessFleet::new();
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 2).await;
    fleet.delete_all_images();
    let vhds =
        || (1..=2).flat_map(|n| ["westeurope", "eastus"].map(|region| format!("stage{n}{region}/vhds/golden/1.vhd")));
    let there = || vhds().filter(|name| fleet.cloud().join(name).exists()).count();
    let control = removing(&fleet);
    let remove = async || {
        let job = control.jobs.job(&first).await.unwrap().value;
        remove_staged(&control, &job).await.unwrap()
    };
    let second = fleet.request("1").await;
    assert_eq!((remove().await, there()), (StagedOutcome::Left, 4), "the other is not planned yet");
    fan_out(&control, &second).await.unwrap();
    assert_eq!((remove().await, there()), (StagedOutcome::Left, 4), "the other is planned");
    cancel(&control.jobs, &second).await.unwrap();
    reconcile_job_by_id(&control, &second).await.unwrap();
    assert_eq!((remove().await, there()), (StagedOutcome::Removed, 0), "the other has ended");
}

/// Another fleet may stage the same version in the same container. Its jobs are not in this table, so its VHDs are
/// kept.
#[tokio::test(flavor = "multi_thread")]
async fn staged_vhds_of_another_fleet_stay() {
    let fleet = InProcessFleet::new();
    let (job, _) = fleet.roll_out(&fleet.ports, "1", 2).await;
    let sidecar = fleet.cloud().join("stage1eastus/.goldfleet/vhds/golden/1.vhd.json");
    let text = std::fs::read_to_string(&sidecar).unwrap();
    assert!(text.contains(job.as_str()), "{text}");
    std::fs::write(&sidecar, text.replace(job.as_str(), "20200101-000000-abcd")).unwrap();
    let removed = cleanup_job(&fleet.control_with_own_ports().jobs, &job).await.unwrap();
    assert_eq!((removed.vhds, removed.left), (3, 1), "{removed:?}");
    assert!(fleet.cloud().join("stage1eastus/vhds/golden/1.vhd").exists());
}

/// An upload of an existing version relies on the manifest to keep the chunks, so the version cannot be deleted.
#[tokio::test(flavor = "multi_thread")]
async fn version_in_upload_is_not_deleted() {
    let fleet = InProcessFleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let (control, image, version) = (fleet.control_with_own_ports(), "golden".parse().unwrap(), "1".parse().unwrap());
    let now = fleet.ports.clock.now();
    let row = Upload::new(JobId::new(now, 1), "golden".parse().unwrap(), "1".parse().unwrap(), now);
    fleet.ports.table.put_upload(&row).await.unwrap();
    let refused = delete_version(&control, &image, &version).await.unwrap_err();
    assert!(refused.to_string().contains("is being uploaded"), "{refused}");
    fleet.ports.table.put_upload(&Upload { state: UploadState::Failed, ..row }).await.unwrap();
    assert!(delete_version(&control, &image, &version).await.unwrap());
    assert!(!delete_version(&control, &image, &version).await.unwrap());
}
