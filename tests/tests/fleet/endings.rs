//! How jobs end: as their operations are, after their clean-up, and whatever becomes of other jobs.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use goldfleet_config::{Cleanup, Config, Staged};
use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::cleanup::{Staging, cleanup_job, forget_version, remove_staged};
use goldfleet_dispatcher::control::desk::Desk;
use goldfleet_dispatcher::control::fanout::{FannedOut, fan_out};
use goldfleet_dispatcher::control::request::request;
use goldfleet_dispatcher::control::retry::{Which, retry};
use goldfleet_dispatcher::control::status::Standing;
use goldfleet_dispatcher::control::sweep::{Looked, look_after, sweep};
use goldfleet_dispatcher::terminal::follow::{Finish, follow};
use goldfleet_dispatcher::terminal::progress::{Progress, Style};
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_model::operation::OperationState;
use goldfleet_model::state::JobEvent;
use goldfleet_model::upload::{Upload, UploadState};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::after;
use goldfleet_ports::conformance::clock::ManualClock;
use goldfleet_tests::faults::{Faults, Lost, faulty};
use goldfleet_tests::fleet::Fleet;
use goldfleet_tests::place;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

async fn state(desk: &Desk, job: &JobId) -> JobState {
    desk.job(job).await.unwrap().value.state
}

/// A sweep has read that all operations have ended; a retry makes some ready before the sweep writes that.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_not_ended_by_what_its_operations_were_before_a_retry() {
    let fleet = Fleet::new();
    let (job, status) = fleet.roll_out_but_for_one().await;
    assert_eq!(status.state, Standing::Failed);

    // As it was between the end of its last operation and the sweep after that.
    let desk = fleet.own_desk();
    desk.advance(&job, JobEvent::Retry, |_| {}).await.unwrap();
    let (retrying, id) = (desk.clone(), job.clone());
    let late = Faults::late("JobTable.operations", async move {
        assert_eq!(retry(&retrying, &id, &Which::default()).await.unwrap(), 2);
    });
    let sweeping = fleet.desk(faulty(&fleet.ports, &late));
    assert_eq!(look_after(&sweeping, &job).await.unwrap(), Looked::Open);
    assert_eq!(state(&desk, &job).await, JobState::Running);
    fleet.run(&fleet.ports, 1, &job).await;
    fleet.assert_all_done(&job).await;
}

/// A retry that dies before it has said that the job goes on leaves operations that nobody looks after, until the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_was_cut_short_is_taken_up() {
    let fleet = Fleet::new();
    let (job, _) = fleet.roll_out_but_for_one().await;
    let desk = fleet.own_desk();
    assert_eq!(fleet.retry(&job).await, 2);
    let row = desk.job(&job).await.unwrap();
    let ended = Job { state: JobState::Failed, ..row.value };
    fleet.ports.table.commit_job(&ended, &row.etag, &[]).await.unwrap();
    assert_eq!(fleet.retry(&job).await, 2);
    assert_eq!(state(&desk, &job).await, JobState::Running);
    fleet.run(&fleet.ports, 1, &job).await;
    fleet.assert_all_done(&job).await;
}

/// Takes a job up again, from elsewhere.
fn taken_up_again(fleet: &Fleet, job: &JobId) -> impl Future<Output = ()> + Send + 'static {
    let (desk, job) = (fleet.own_desk(), job.clone());
    async move { assert_eq!(retry(&desk, &job, &Which::default()).await.unwrap(), 2) }
}

/// Checks that everything of a job that was taken up again goes on, to its end.
async fn assert_goes_on(fleet: &Fleet, job: &JobId) {
    let operations = fleet.ports.table.operations(job).await.unwrap();
    let stopped = operations.iter().filter(|row| row.value.state == OperationState::Cancelled).count();
    assert_eq!((stopped, state(&fleet.own_desk(), job).await), (0, JobState::Running));
    fleet.run(&fleet.ports, 1, job).await;
    fleet.assert_all_done(job).await;
}

/// A dispatcher with an old message sees that the job has failed, and is about to stop what may be left of it, when a retry
/// takes it up again: before the dispatcher has read the operations, or after.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_dispatcher_stops_nothing_of_a_job_that_was_taken_up_again() {
    for call in ["JobTable.job", "JobTable.operations"] {
        let fleet = Fleet::new();
        let (job, _) = fleet.roll_out_but_for_one().await;
        let late = Faults::late(call, taken_up_again(&fleet, &job));
        let desk = fleet.desk(faulty(&fleet.ports, &late));
        assert_eq!(fan_out(&desk, &job).await.unwrap(), FannedOut::Done, "{call}");
        assert_goes_on(&fleet, &job).await;
    }
}

/// The same of a job that has operations which a retry need not change, as another one was cut short: when the dispatcher writes
/// what it has read, that is no longer so.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_dispatcher_does_not_stop_what_goes_on_as_it_was() {
    let fleet = Fleet::new();
    let (job, _) = fleet.roll_out_but_for_one().await;
    assert_eq!(fleet.retry(&job).await, 2);
    let row = fleet.own_desk().job(&job).await.unwrap();
    let ended = Job { state: JobState::Failed, ..row.value };
    fleet.ports.table.commit_job(&ended, &row.etag, &[]).await.unwrap();
    let late = Faults::before("JobTable.commit", 0, taken_up_again(&fleet, &job));
    fan_out(&fleet.desk(faulty(&fleet.ports, &late)), &job).await.unwrap();
    assert!(late.was_hit());
    assert_goes_on(&fleet, &job).await;
}

/// A dispatcher with another targets file can't plan a job. By the time it says so, another one has planned it, it has run and
/// failed, and is taken up again.
#[tokio::test(flavor = "multi_thread")]
async fn a_late_rejection_stops_nothing_of_a_job_that_was_taken_up_again() {
    let fleet = Arc::new(Fleet::new());
    let job = fleet.asked("1").await;
    let (elsewhere, id) = (Arc::clone(&fleet), job.clone());
    let meanwhile = Faults::late("JobTable.job", async move {
        elsewhere.obstruct("stage2westeurope");
        assert_eq!(elsewhere.run(&elsewhere.ports, 1, &id).await.state, Standing::Failed);
        elsewhere.clear("stage2westeurope");
        elsewhere.take_poison().await;
    });
    let late = Faults::before("JobTable.operations", 0, taken_up_again(&fleet, &job));
    let mut config = (*fleet.config).clone();
    config.targets.file = "elsewhere.toml".into();
    let ports = faulty(&faulty(&fleet.ports, &meanwhile), &late);
    let desk = Desk::new(ports, Arc::new(config), "late");
    assert_eq!(fan_out(&desk, &job).await.unwrap(), FannedOut::Done);
    assert!(late.was_hit());
    assert_goes_on(&fleet, &job).await;
}

/// The clean-up comes before the job's end: where it fails for a reason that may pass, it is tried again.
#[tokio::test(flavor = "multi_thread")]
async fn staged_vhds_are_removed_even_if_not_at_once() {
    let config = place::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\n[cleanup]\nstaged = \"remove\"\n";
    let fleet = Fleet::with(&config, &place::targets(2, &["westeurope", "eastus"]), &place::golden());
    let lost = Faults::at("BlobStore.delete", 1, Lost::Request);
    let (job, status) = fleet.roll_out(&faulty(&fleet.ports, &lost), "1", 1).await;
    assert!(lost.was_hit());
    assert_eq!(status.state, Standing::Succeeded);
    assert!(status.staged_removed, "{status:#?}");
    for operation in fleet.ports.table.operations(&job).await.unwrap() {
        if let Some(target) = operation.value.work.target() {
            let vhd = fleet.ports.vhd(target, &operation.value.image);
            assert_eq!(fleet.ports.blobs.properties(&vhd).await.unwrap(), None, "{vhd} is still there");
        }
    }
}

/// A fleet whose job is about to end as succeeded, so long after its last operation, the job, and a desk that removes its staged VHDs first. Of them, the first that is
/// removed lies in an account that never answers.
async fn about_to_end(long_ago: Duration) -> (Fleet, JobId, Desk, ManualClock, Arc<Faults>) {
    let fleet = Fleet::new();
    let (job, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    let row = fleet.own_desk().job(&job).await.unwrap();
    let running = Job { state: JobState::Running, ..row.value };
    fleet.ports.table.commit_job(&running, &row.etag, &[]).await.unwrap();
    let (clock, mute) =
        (ManualClock::at(after(Timestamp::now(), long_ago)), Faults::at("BlobStore.delete", 0, Lost::Caller));
    let ports = Ports { clock: Arc::new(clock.clone()), ..faulty(&fleet.ports, &mute) };
    let mut config = (*fleet.config).clone();
    config.cleanup.staged = Staged::Remove;
    let desk = Desk::new(ports, Arc::new(config), "test");
    (fleet, job, desk, clock, mute)
}

/// Looks after a job whose staged VHDs can't all be removed, as an account says nothing. The look ends by the clock alone: after
/// half a minute, and no sooner.
async fn look_with_a_mute_account(job: &JobId, desk: &Desk, clock: &ManualClock, mute: &Faults) -> Looked {
    let mut look = std::pin::pin!(look_after(desk, job));
    tokio::select! {
        looked = &mut look => panic!("nothing answers, but {looked:?}"),
        () = mute.reached() => {}
    }
    clock.advance(Duration::from_millis(29_999));
    assert!(futures::poll!(&mut look).is_pending());
    clock.advance(Duration::from_millis(1));
    look.await.unwrap()
}

/// An account that says nothing holds nobody up for longer than half a minute. The job stays open, and the next look removes what
/// is left; ten minutes after the last operation it ends all the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_says_nothing_holds_a_sweep_up_for_half_a_minute() {
    let (fleet, job, desk, clock, mute) = about_to_end(Duration::ZERO).await;
    assert_eq!(look_with_a_mute_account(&job, &desk, &clock, &mute).await, Looked::Open);
    assert_eq!(look_after(&desk, &job).await.unwrap(), Looked::Ended);
    assert!(fleet.status(&job).await.staged_removed);

    let (fleet, job, desk, clock, mute) = about_to_end(Duration::from_secs(600)).await;
    assert_eq!(look_with_a_mute_account(&job, &desk, &clock, &mute).await, Looked::Ended);
    let status = fleet.status(&job).await;
    assert_eq!((status.state, status.staged_removed), (Standing::Succeeded, false));
}

/// Whoever waits for a fleet's job leaves its end, and with it the removal of its VHDs, to the fleet: it may have other rights, and
/// another configuration.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_fleet_leaves_the_end_to_it() {
    let config = place::SOURCE.to_owned() + "[dispatch]\nsweep = \"50ms\"\n[cleanup]\nstaged = \"remove\"\n";
    let fleet = Fleet::with(&config, &place::targets(2, &["westeurope"]), &place::golden());
    let job = fleet.asked("1").await;
    let keeps = Config { cleanup: Default::default(), ..(*fleet.own_desk().config).clone() };
    let waiting = Desk::new(fleet.ports.clone(), Arc::new(keeps), "pipeline");
    let (progress, stop) = (Progress::new(Style::Silent), CancellationToken::new());
    let (followed, _) =
        tokio::join!(follow(&waiting, &job, Finish::Fleet, &progress, &stop), fleet.run(&fleet.ports, 1, &job),);
    let status = followed.unwrap().unwrap();
    assert_eq!(status.state, Standing::Succeeded);
    assert!(status.staged_removed, "{status:#?}");
}

/// A clean-up that somebody asks for is told too, until the job is taken up again and stages VHDs anew.
#[tokio::test(flavor = "multi_thread")]
async fn that_staged_vhds_were_removed_is_told() {
    let fleet = Fleet::new();
    let (job, status) = fleet.roll_out_but_for_one().await;
    assert!(!status.staged_removed);
    assert_eq!(cleanup_job(&fleet.own_desk(), &job).await.unwrap().vhds, 3);
    assert!(fleet.status(&job).await.staged_removed);
    fleet.retry(&job).await;
    assert!(!fleet.status(&job).await.staged_removed);
}

/// One job whose rows can't be read keeps no other from its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_cannot_be_looked_after_holds_no_other_up() {
    let fleet = Fleet::new();
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    fleet.change_golden();
    let (second, _) = fleet.roll_out(&fleet.ports, "2", 1).await;
    let desk = fleet.own_desk();
    for job in [&first, &second] {
        let reopened = desk.job(job).await.unwrap();
        let row = Job { state: JobState::Running, ..reopened.value };
        fleet.ports.table.commit_job(&row, &reopened.etag, &[]).await.unwrap();
    }
    let lost = Faults::at("JobTable.operations", 0, Lost::Request);
    assert_eq!(sweep(&fleet.desk(faulty(&fleet.ports, &lost))).await.unwrap(), 1);
    assert_eq!((state(&desk, &first).await, state(&desk, &second).await), (JobState::Succeeded, JobState::Running));
    assert_eq!(sweep(&desk).await.unwrap(), 0);
}

/// Between the end of a job's last operation and the sweep after that, its row says that it is running. It does nothing of
/// what is asked for any more, and holds no version.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_operations_have_all_ended_is_not_under_way() {
    let fleet = Fleet::new();
    let (job, _) = fleet.roll_out_but_for_one().await;
    let desk = fleet.own_desk();
    desk.advance(&job, JobEvent::Retry, |_| {}).await.unwrap();
    assert_eq!(state(&desk, &job).await, JobState::Running);

    let (image, version) = ("golden".parse().unwrap(), "1".parse().unwrap());
    let again = request(&desk, &image, &version, &[], false).await.unwrap();
    assert!(again.new && again.job.id != job);
    let same = request(&desk, &image, &version, &[], false).await.unwrap();
    assert_eq!((same.job.id, same.new), (again.job.id.clone(), false));
    assert!(forget_version(&desk, &image, &version).await.unwrap_err().to_string().contains(again.job.id.as_str()));

    cancel(&desk, &again.job.id).await.unwrap();
    look_after(&desk, &again.job.id).await.unwrap();
    assert!(forget_version(&desk, &image, &version).await.unwrap());
}

/// A desk that removes staged VHDs at the end of a job.
fn removing(fleet: &Fleet) -> Desk {
    let cleanup = Cleanup { staged: Staged::Remove, ..fleet.config.cleanup.clone() };
    let config = Config { cleanup, ..(*fleet.config).clone() };
    Desk { config: Arc::new(config), ..fleet.own_desk() }
}

/// The staged VHDs of one job may be those of another that still makes images of them.
#[tokio::test(flavor = "multi_thread")]
async fn staged_vhds_that_another_job_uses_stay() {
    let fleet = Fleet::new();
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 2).await;
    fleet.forget_images();
    let vhds =
        || (1..=2).flat_map(|n| ["westeurope", "eastus"].map(|region| format!("stage{n}{region}/vhds/golden/1.vhd")));
    let there = || vhds().filter(|name| fleet.cloud().join(name).exists()).count();
    let desk = removing(&fleet);
    let remove = async || {
        let job = desk.job(&first).await.unwrap().value;
        remove_staged(&desk, &job, &fleet.ports.table.operations(&first).await.unwrap()).await
    };
    let second = fleet.request("1").await;
    assert_eq!((remove().await, there()), (Staging::Left, 4), "the other is not planned yet");
    fan_out(&desk, &second).await.unwrap();
    assert_eq!((remove().await, there()), (Staging::Left, 4), "the other is planned");
    cancel(&desk, &second).await.unwrap();
    look_after(&desk, &second).await.unwrap();
    assert_eq!((remove().await, there()), (Staging::Removed, 0), "the other has ended");
}

/// Another fleet may stage the same version in the same container: its jobs are not in this table.
#[tokio::test(flavor = "multi_thread")]
async fn staged_vhds_of_another_fleet_stay() {
    let fleet = Fleet::new();
    let (job, _) = fleet.roll_out(&fleet.ports, "1", 2).await;
    let sidecar = fleet.cloud().join("stage1eastus/.goldfleet/vhds/golden/1.vhd.json");
    let text = std::fs::read_to_string(&sidecar).unwrap();
    assert!(text.contains(job.as_str()), "{text}");
    std::fs::write(&sidecar, text.replace(job.as_str(), "20200101-000000-abcd")).unwrap();
    let removed = cleanup_job(&fleet.own_desk(), &job).await.unwrap();
    assert_eq!((removed.vhds, removed.left), (3, 1), "{removed:?}");
    assert!(fleet.cloud().join("stage1eastus/vhds/golden/1.vhd").exists());
}

/// An upload of a version that is there relies on its manifest to keep the chunks.
#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_being_uploaded_is_not_given_up() {
    let fleet = Fleet::new();
    fleet.upload(&fleet.ports, "1").await.unwrap();
    let (desk, image, version) = (fleet.own_desk(), "golden".parse().unwrap(), "1".parse().unwrap());
    let now = fleet.ports.clock.now();
    let row = Upload::begun(JobId::new(now, 1), "golden".parse().unwrap(), "1".parse().unwrap(), now);
    fleet.ports.table.put_upload(&row).await.unwrap();
    let refused = forget_version(&desk, &image, &version).await.unwrap_err();
    assert!(refused.to_string().contains("is being uploaded"), "{refused}");
    fleet.ports.table.put_upload(&Upload { state: UploadState::Failed, ..row }).await.unwrap();
    assert!(forget_version(&desk, &image, &version).await.unwrap());
    assert!(!forget_version(&desk, &image, &version).await.unwrap());
}
