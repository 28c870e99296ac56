//! What runs for long does not read more at every turn the longer the fleet is used.

use goldfleet_dispatcher::control::request::request;
use goldfleet_dispatcher::control::sweep::sweep;
use goldfleet_dispatcher::dashboard::feed::look;
use goldfleet_dispatcher::dashboard::history::History;
use goldfleet_dispatcher::dashboard::summaries::Summaries;
use goldfleet_tests::faults::{Faults, faulty};
use goldfleet_tests::fleet::Fleet;

/// A whole roll-out, the dashboard over it, and sweeps after it: by calls that read what they are about, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_who_runs_for_long_reads_all_there_ever_was() {
    let fleet = Fleet::new();
    let (first, _) = fleet.roll_out(&fleet.ports, "1", 1).await;
    fleet.change_golden();
    let counted = Faults::none();
    let ports = faulty(&fleet.ports, &counted);
    let desk = fleet.desk(ports.clone());
    fleet.upload(&ports, "2").await.unwrap();
    let asked =
        async || request(&desk, &"golden".parse().unwrap(), &"2".parse().unwrap(), &[], false).await.unwrap().job;
    let job = asked().await.id;
    assert_eq!(asked().await.id, job, "asked for while it is under way");
    fleet.run(&ports, 1, &job).await;
    fleet.assert_all_done(&job).await;

    let shown = Summaries::default().all(&desk).await.unwrap();
    assert_eq!(shown.iter().map(|one| one.job.as_str()).collect::<Vec<_>>(), [job.as_str(), first.as_str()]);
    look(&desk, &job, &mut History::default()).await.unwrap();
    assert_eq!(desk.job_or_newest(None).await.unwrap().value.id, job);

    let before = counted.calls();
    assert_eq!(sweep(&desk).await.unwrap(), 0);
    let after = counted.calls();
    let read: Vec<_> = after.iter().filter(|(name, count)| before.get(*name) != Some(count)).collect();
    assert_eq!(
        read,
        [(&"JobTable.open_jobs", &(before["JobTable.open_jobs"] + 1))],
        "jobs that have ended are left alone"
    );
    for name in ["JobTable.jobs", "JobTable.uploads"] {
        assert_eq!(after.get(name), None, "{name} reads all there ever was");
    }
}
