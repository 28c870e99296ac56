//! Groups that cannot be listed, and snapshots that cannot be read.

use goldfleet_config::Sync;
use goldfleet_dispatcher::control::context::ControlError;
use goldfleet_dispatcher::control::snapshots::RunSpec;
use goldfleet_dispatcher::control::snapshots::overview::overview;
use goldfleet_dispatcher::control::snapshots::request::{RunOptions, work_of_sync};
use goldfleet_dispatcher::control::snapshots::run::plan;
use goldfleet_dispatcher::control::status::ReportedState;
use goldfleet_snapshots::rules::DeletePolicy;
use goldfleet_tests::faults::{Faults, with_faults};

use super::commands::{codes, control, run, sync};
use super::directory::Scene;
use super::scene::assert_succeeded;

/// A missing source group is no proof that sources are gone. The run stops, and counting begins again.
#[tokio::test(flavor = "multi_thread")]
async fn missing_source_group_deletes_nothing_and_is_reported() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1", "a2"]).await;
    assert_succeeded(&run(&scene, &control, &sync).await);
    let group = scene.folder(&sync.from);
    let aside = group.with_file_name("aside");
    std::fs::rename(&group, &aside).unwrap();
    for _ in 0..3 {
        let status = run(&scene, &control, &sync).await;
        assert_eq!((status.state, status.exit_code()), (ReportedState::Failed, 3), "{status:#?}");
        assert!(status.reason.as_ref().unwrap().contains("there is no resource group Snaps"), "{status:#?}");
        assert_eq!(scene.sync.replicas(0).await.len(), 2);
    }
    let spec = RunSpec::of(&work_of_sync(&sync, &RunOptions::default()).unwrap()).unwrap();
    let Err(error) = plan(&control, &spec, &"20261129-120000-abcd".parse().unwrap()).await else { panic!() };
    assert!(matches!(error, ControlError::Unlisted(_)), "{error}");
    assert_eq!(error.exit_code(), 3);
    assert_eq!(overview(&control, &sync).await.unwrap().unlisted.len(), 1);
    std::fs::rename(&aside, &group).unwrap();
    assert_succeeded(&run(&scene, &control, &sync).await);
    scene.assert_equal().await;
}

/// The other destination is served, and nothing is deleted at the one that is missing.
#[tokio::test(flavor = "multi_thread")]
async fn missing_destination_group_is_left_out_and_reported() {
    let mut scene = Scene::new();
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    std::fs::remove_dir(scene.folder(&scene.sync.rules.destinations[1].group)).unwrap();
    scene.family("one", &["a1"]).await;
    let status = run(&scene, &control, &sync).await;
    assert_eq!((status.state, status.exit_code()), (ReportedState::Failed, 3), "{status:#?}");
    assert_eq!(codes(&status), ["destination-incomplete"]);
    assert_eq!((scene.sync.replicas(0).await.len(), scene.sync.replicas(2).await.len()), (1, 1));
    let spec = RunSpec::of(&work_of_sync(&sync, &RunOptions::default()).unwrap()).unwrap();
    assert!(plan(&control, &spec, &"20261129-120000-abcd".parse().unwrap()).await.unwrap().is_unlisted);
}

/// One source with a value that this version does not know: the others are copied, and its replica is kept.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_source_is_named_and_the_others_are_copied() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1"]).await;
    assert_succeeded(&run(&scene, &control, &sync).await);
    scene.family("two", &["b1"]).await;
    let strange = scene.sync.source("a1");
    Scene::edit(&scene.properties(&strange), |value| value["properties"]["osType"] = "Plan9".into());
    for _ in 0..3 {
        let status = run(&scene, &control, &sync).await;
        assert_eq!((status.state, codes(&status)), (ReportedState::Failed, vec!["source-unreadable"]), "{status:#?}");
        let finding = &status.findings[0];
        assert!(finding.place.as_ref().unwrap().ends_with("/a1") && finding.message.contains("Plan9"), "{finding:?}");
        assert_eq!(scene.sync.replicas(0).await.len(), 2, "the other is copied, and the replica is kept");
    }
    // A name filter excludes it.
    let without = Sync { exclude_names: vec!["a1".to_owned()], ..sync.clone() };
    assert_succeeded(&run(&scene, &control, &without).await);
    assert_eq!(scene.sync.replicas(0).await.len(), 2);
    assert_eq!(overview(&control, &sync).await.unwrap().unreadable.len(), 1);
}

/// A snapshot at the destination that cannot be read counts as present and as somebody else's.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_replica_counts_as_foreign() {
    let mut scene = Scene::to(1);
    let sync = sync(&scene);
    let control = control(&scene, &sync);
    scene.family("one", &["a1"]).await;
    scene.family("two", &["b1"]).await;
    assert_succeeded(&run(&scene, &control, &sync).await);
    let replica = scene.sync.replica(0, "a1");
    let before = scene.bytes(&replica);
    Scene::edit(&scene.properties(&replica), |value| value["properties"]["osType"] = "Plan9".into());
    scene.sync.delete(&scene.sync.source("b1")).await;
    for left in [true, false] {
        let status = run(&scene, &control, &sync).await;
        assert!(codes(&status).contains(&"destination-unreadable"), "{status:#?}");
        assert!(codes(&status).contains(&"snapshot-foreign"), "{status:#?}");
        assert_eq!(scene.sync.get(&scene.sync.replica(0, "b1")).await.is_some(), left, "the other one is mirrored");
    }
    // Its source is gone too, and nothing proves whose it is.
    scene.sync.delete(&scene.sync.source("a1")).await;
    let all = RunOptions { allow_empty: true, ..RunOptions::default() };
    for _ in 0..3 {
        let work = work_of_sync(&sync, &all).unwrap();
        let job =
            goldfleet_dispatcher::control::snapshots::request::request(&control.jobs, work, None).await.unwrap().job.id;
        scene.fleet.run(&scene.fleet.ports, 1, &job).await;
        assert_eq!(scene.bytes(&replica), before);
    }
}

/// Only deletions need what earlier runs found.
#[tokio::test(flavor = "multi_thread")]
async fn sync_that_deletes_nothing_reads_no_state() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1"]).await;
    for (delete, reads) in [(DeletePolicy::Never, 0), (DeletePolicy::Mirror, 1)] {
        let sync = Sync { delete, ..sync(&scene) };
        let counting = Faults::counting();
        let control = control(&scene, &sync).with_ports(with_faults(&scene.fleet.ports, &counting));
        let spec = RunSpec::of(&work_of_sync(&sync, &RunOptions::default()).unwrap()).unwrap();
        plan(&control, &spec, &"20261129-120000-abcd".parse().unwrap()).await.unwrap();
        assert_eq!(counting.calls().get("Records.get").copied().unwrap_or(0), reads, "{delete:?}");
    }
}
