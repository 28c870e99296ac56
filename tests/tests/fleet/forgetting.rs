//! `cleanup --history`: jobs that ended long ago go with all their rows, but for those that something relies on; wherever it is
//! cut short, the next time brings it to its end.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use goldfleet_dispatcher::control::cancel::cancel;
use goldfleet_dispatcher::control::cleanup::cleanup_job;
use goldfleet_dispatcher::control::desk::{Desk, DeskError};
use goldfleet_dispatcher::control::history::{Forgotten, forget_jobs};
use goldfleet_dispatcher::control::request::request;
use goldfleet_dispatcher::control::retry::{Which, retry};
use goldfleet_dispatcher::control::status::Standing;
use goldfleet_dispatcher::control::sweep::look_after;
use goldfleet_model::ids::JobId;
use goldfleet_model::job::{Job, JobState};
use goldfleet_ports::Ports;
use goldfleet_ports::clock::after;
use goldfleet_ports::conformance::clock::ManualClock;
use goldfleet_tests::faults::{Faults, Lost, faulty};
use goldfleet_tests::fleet::Fleet;
use jiff::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A desk of these ports, 40 days later.
fn later(fleet: &Fleet, ports: &Ports) -> Desk {
    let clock = ManualClock::at(after(Timestamp::now(), DAY * 40));
    fleet.desk(Ports { clock: Arc::new(clock), ..ports.clone() })
}

async fn forget(desk: &Desk) -> Forgotten {
    forget_jobs(desk, DAY * 30).await.unwrap()
}

/// Two jobs that have ended, of two versions; the staged VHDs of the first are removed.
async fn two_jobs(fleet: &Fleet) -> [JobId; 2] {
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    cleanup_job(&fleet.own_desk(), &first).await.unwrap();
    fleet.change_golden();
    let (second, _) = fleet.roll_out(&fleet.ports, "2", 1).await;
    [first, second]
}

async fn assert_gone(fleet: &Fleet, job: &JobId) {
    let table = &fleet.ports.table;
    assert_eq!(table.job(job).await.unwrap(), None);
    assert_eq!(table.operations(job).await.unwrap(), []);
    assert_eq!(table.events(job, None).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_jobs_go_and_the_newest_stays() {
    let fleet = Fleet::new();
    let [first, second] = two_jobs(&fleet).await;
    assert_eq!(forget_jobs(&fleet.own_desk(), DAY).await.unwrap(), Forgotten::default(), "they ended just now");
    let desk = later(&fleet, &fleet.ports);
    let events = fleet.ports.table.events(&second, None).await.unwrap().len();
    assert_eq!(forget(&desk).await, Forgotten { removed: vec![first.clone()], ..Forgotten::default() });
    assert_gone(&fleet, &first).await;
    assert_eq!(forget(&desk).await, Forgotten::default());
    assert_eq!(desk.job_or_newest(None).await.unwrap().value.id, second);
    assert_eq!(fleet.ports.table.events(&second, None).await.unwrap().len(), events);
    fleet.assert_all_done(&second).await;
    // What is there is found out by looking, not from rows.
    let (third, status) = fleet.requested(&fleet.ports, "1", 1).await;
    assert_eq!(status.phases.image.skipped, 4, "{third}: {status:#?}");
}

/// Nobody else would know of the VHDs.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_stays_until_its_staged_vhds_are_removed() {
    let fleet = Fleet::new();
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    let (again, status) = fleet.requested(&fleet.ports, "1", 1).await;
    assert_eq!(status.phases.image.skipped, 4);
    fleet.change_golden();
    fleet.roll_out(&fleet.ports, "2", 1).await;
    let desk = later(&fleet, &fleet.ports);
    // The second had nothing to do, and staged nothing.
    let expected = Forgotten { removed: vec![again], staged: vec![first.clone()], ..Forgotten::default() };
    assert_eq!(forget(&desk).await, expected);
    assert_eq!(cleanup_job(&desk, &first).await.unwrap().vhds, 4);
    assert_eq!(forget(&desk).await.removed, [first]);
}

/// Of the jobs that alone name a store the newest stays, so that its chunks can be collected; and a job that has not ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_stays_that_alone_names_a_store() {
    let fleet = Fleet::new();
    let (oldest, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    fleet.change_golden();
    let (east, _) = fleet.roll_out(&fleet.ports, "2", 1).await;
    for job in [&oldest, &east] {
        cleanup_job(&fleet.own_desk(), job).await.unwrap();
    }
    fleet.forget_images();
    let selection = ["region=westeurope".parse().unwrap()];
    let desk = fleet.own_desk();
    let open = request(&desk, &"golden".parse().unwrap(), &"1".parse().unwrap(), &selection, false).await.unwrap().job;
    let west = request(&desk, &"golden".parse().unwrap(), &"2".parse().unwrap(), &selection, false).await.unwrap().job;
    fleet.run(&fleet.ports, 1, &west.id).await;
    let row = desk.job(&open.id).await.unwrap();
    let reopened = Job { state: JobState::Requested, finished: None, ..row.value };
    fleet.ports.table.commit_job(&reopened, &row.etag, &[]).await.unwrap();
    let forgotten = forget(&later(&fleet, &fleet.ports)).await;
    assert_eq!(forgotten, Forgotten { removed: vec![oldest], stores: vec![east], ..Forgotten::default() });
    assert!(fleet.ports.table.job(&open.id).await.unwrap().is_some());
}

/// A job that was never planned names no store. Where it is the newest, the source store is known by an older one, and by the
/// configuration: but another configuration need not name it.
#[tokio::test(flavor = "multi_thread")]
async fn the_newest_job_of_a_source_store_stays() {
    let fleet = Fleet::new();
    let [first, second] = two_jobs(&fleet).await;
    cleanup_job(&fleet.own_desk(), &second).await.unwrap();
    let third = fleet.request("1").await;
    cancel(&fleet.own_desk(), &third).await.unwrap();
    look_after(&fleet.own_desk(), &third).await.unwrap();
    assert_eq!(fleet.own_desk().job(&third).await.unwrap().value.tree, None);
    let expected = Forgotten { removed: vec![first], stores: vec![second], ..Forgotten::default() };
    assert_eq!(forget(&later(&fleet, &fleet.ports)).await, expected);
}

/// Each call is lost, before its effect and after it: the next time removes what is left.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_cut_short_is_taken_up() {
    let calls = ["JobTable.jobs", "JobTable.commit_job", "JobTable.remove_job"];
    for (call, lost) in calls.into_iter().flat_map(|call| [(call, Lost::Request), (call, Lost::Answer)]) {
        let fleet = Fleet::new();
        let [first, second] = two_jobs(&fleet).await;
        let faults = Faults::at(call, 0, lost);
        forget_jobs(&later(&fleet, &faulty(&fleet.ports, &faults)), DAY * 30).await.unwrap_err();
        // However young it is taken for by then: it was decided.
        forget_jobs(&fleet.own_desk(), DAY * 3000).await.unwrap();
        let begun = (call, lost) == ("JobTable.commit_job", Lost::Answer) || call == "JobTable.remove_job";
        assert_eq!(fleet.ports.table.job(&first).await.unwrap().is_none(), begun, "{call} {lost:?}");
        forget(&later(&fleet, &fleet.ports)).await;
        assert_gone(&fleet, &first).await;
        fleet.assert_all_done(&second).await;
    }
}

/// A fleet with an old job that failed in part and whose staged VHDs are gone, and a newer one.
async fn with_an_old_failure() -> (Fleet, JobId) {
    let fleet = Fleet::new();
    let (failed, _) = fleet.roll_out_but_for_one().await;
    cleanup_job(&fleet.own_desk(), &failed).await.unwrap();
    fleet.change_golden();
    fleet.roll_out(&fleet.ports, "2", 1).await;
    (fleet, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_taken_up_again_while_it_is_about_to_be_removed_stays() {
    let (fleet, failed) = with_an_old_failure().await;
    let (desk, id) = (fleet.own_desk(), failed.clone());
    let before = Faults::before("JobTable.commit_job", 0, async move {
        assert_eq!(retry(&desk, &id, &Which::default()).await.unwrap(), 2);
    });
    let expected = Forgotten { changed: vec![failed.clone()], ..Forgotten::default() };
    assert_eq!(forget(&later(&fleet, &faulty(&fleet.ports, &before))).await, expected);
    assert_eq!(fleet.run(&fleet.ports, 1, &failed).await.state, Standing::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_whose_row_says_that_it_goes_is_not_taken_up_again() {
    let (fleet, failed) = with_an_old_failure().await;
    let (desk, id) = (fleet.own_desk(), failed.clone());
    let after = Faults::before("JobTable.remove_job", 0, async move {
        let refused = retry(&desk, &id, &Which::default()).await.unwrap_err();
        assert!(matches!(refused, DeskError::Illegal(_)), "{refused}");
        assert!(refused.to_string().ends_with("can't retry while it is being removed"), "{refused}");
    });
    let expected = Forgotten { removed: vec![failed.clone()], ..Forgotten::default() };
    assert_eq!(forget(&later(&fleet, &faulty(&fleet.ports, &after))).await, expected);
    assert!(after.was_hit());
    assert_gone(&fleet, &failed).await;
}
