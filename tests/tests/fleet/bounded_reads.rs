//! Long-running processes do not read more per pass as the history grows.

use goldfleet_dispatcher::control::reconcile::reconcile_open_jobs;
use goldfleet_dispatcher::control::request::request_job;
use goldfleet_dispatcher::dashboard::feed::read_view;
use goldfleet_dispatcher::dashboard::summaries::SummaryCache;
use goldfleet_dispatcher::dashboard::throughput::Throughput;
use goldfleet_tests::faults::{Faults, with_faults};
use goldfleet_tests::fleet::InProcessFleet;

/// A complete rollout, the dashboard during it, and reconciler passes after it make only calls that read what they
/// need.
#[tokio::test(flavor = "multi_thread")]
async fn long_running_processes_do_not_read_full_history() {
    let fleet = InProcessFleet::new();
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    fleet.change_golden();
    let counted = Faults::counting();
    let ports = with_faults(&fleet.ports, &counted);
    let control = fleet.control_with(ports.clone());
    fleet.upload(&ports, "2").await.unwrap();
    let asked = async || {
        request_job(&control, &"golden".parse().unwrap(), &"2".parse().unwrap(), &[], false).await.unwrap().job
    };
    let job = asked().await.id;
    assert_eq!(asked().await.id, job, "asked for while it is under way");
    fleet.run(&ports, 1, &job).await;
    fleet.assert_all_done(&job).await;

    let shown = SummaryCache::default().all(&control.jobs).await.unwrap();
    assert_eq!(shown.iter().map(|one| one.job.as_str()).collect::<Vec<_>>(), [job.as_str(), first.as_str()]);
    read_view(&control.jobs, &job, &mut Throughput::default()).await.unwrap();
    assert_eq!(control.jobs.job_or_newest(None).await.unwrap().value.id, job);

    let before = counted.calls();
    assert_eq!(reconcile_open_jobs(&control).await.unwrap(), 0);
    let after = counted.calls();
    let read: Vec<_> = after.iter().filter(|(name, count)| before.get(*name) != Some(count)).collect();
    assert_eq!(
        read,
        [(&"JobTable.list_open_jobs", &(before["JobTable.list_open_jobs"] + 1))],
        "jobs that have ended are left alone"
    );
    assert_eq!(after.get("JobTable.list_jobs"), None, "it reads all jobs");
    assert_eq!(after.get("JobTable.list_uploads"), None, "it reads all uploads");
}
