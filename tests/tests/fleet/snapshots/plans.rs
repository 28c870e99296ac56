//! What a plan takes from the results of a probe, and what it estimates.

use goldfleet_config::{Sync, SyncDestination};
use goldfleet_dispatcher::control::context::ControlContext;
use goldfleet_dispatcher::control::doctor::probe::questions::{Answer, COPY_ACROSS_SUBSCRIPTIONS, Measurement};
use goldfleet_dispatcher::control::doctor::probe::record::{ProbeResult, store};
use goldfleet_dispatcher::control::snapshots::RunSpec;
use goldfleet_dispatcher::control::snapshots::request::{RunOptions, work_of_sync};
use goldfleet_dispatcher::control::snapshots::run::{PlannedRun, plan};
use goldfleet_snapshots::graph::RowSpec;

use super::commands::{control, run, sync};
use super::directory::Scene;
use super::scene::{assert_succeeded, group};

async fn planned(control: &ControlContext, sync: &Sync) -> PlannedRun {
    let spec = RunSpec::of(&work_of_sync(sync, &RunOptions::default()).unwrap()).unwrap();
    plan(control, &spec, &"20261129-120000-abcd".parse().unwrap()).await.unwrap()
}

/// Without a result of a probe, CopyStart copies to another subscription in the same region, because that is the safe
/// way.
#[tokio::test(flavor = "multi_thread")]
async fn copies_across_subscriptions_need_a_result_of_a_probe() {
    let mut scene = Scene::to(1);
    let near = group(2, "near");
    std::fs::create_dir_all(scene.folder(&near)).unwrap();
    let to = SyncDestination {
        subscription: near.subscription,
        region: "westeurope".parse().unwrap(),
        resource_group: near.resource_group,
        disk_encryption_set: None,
        disk_access: None,
    };
    let sync = Sync { to: vec![to], ..sync(&scene) };
    let control = control(&scene, &sync);
    scene.family("one", &["a1"]).await;
    let option = async || {
        let planned = planned(&control, &sync).await;
        let options = planned.groups.iter().flatten().filter_map(|row| match &row.spec {
            RowSpec::Copy(copy) => Some(copy.body["properties"]["creationData"]["createOption"].to_string()),
            _ => None,
        });
        options.collect::<Vec<_>>()
    };
    assert_eq!(option().await, ["\"CopyStart\""]);
    for (answer, expected) in
        [(Answer::Unmeasured, "\"CopyStart\""), (Answer::Yes, "\"Copy\""), (Answer::No, "\"CopyStart\"")]
    {
        let place = |group: &str, number| format!("00000000-0000-0000-0000-00000000000{number}/westeurope/{group}");
        let result = ProbeResult {
            places: vec![place("probe", 1), place("probe", 2)],
            at: control.ports.clock.now(),
            measurements: vec![Measurement { id: COPY_ACROSS_SUBSCRIPTIONS.to_owned(), answer, detail: String::new() }],
        };
        store(control.ports.records.as_ref(), &result).await.unwrap();
        assert_eq!(option().await, [expected], "{answer:?}");
    }
}

/// The first snapshot of a disk moves its whole data, the next ones their differences. Nothing is moved inside a
/// region.
#[tokio::test(flavor = "multi_thread")]
async fn plans_estimate_bytes_cost_and_time() {
    let mut scene = Scene::new();
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1", "a2"]).await;
    let first = planned(&control, &sync).await.estimate;
    let size = super::scene::SIZE;
    assert_eq!((first.whole, first.differences), (2, 2), "two of the three destinations are in other regions");
    assert_eq!((first.whole_bytes_at_most, first.differences_bytes_at_most), (2 * size, 2 * size));
    assert!(first.egress_at_most.dollars() > 0.0 && first.seconds_at_most > 0, "{first:?}");
    assert_succeeded(&run(&scene, &control, &sync).await);
    scene.family("one-more", &["b1"]).await;
    let next = planned(&control, &sync).await.estimate;
    assert_eq!((next.whole, next.differences), (2, 0), "{next:?}");
}
