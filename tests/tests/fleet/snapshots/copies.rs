//! Replicas: by each way of copying, in the order of their family, with the bytes of their source.

use goldfleet_dispatcher::control::verify::{VerifyOptions, VerifyScope, verify};
use goldfleet_model::operation::Operation;
use goldfleet_model::resource::{Properties, ResourceType};
use goldfleet_snapshots::graph::RowSpec;

use super::directory::Scene;
use super::scene::assert_succeeded;

/// Same region, other regions, incremental and full snapshots.
#[tokio::test(flavor = "multi_thread")]
async fn every_replica_has_the_bytes_of_its_source() {
    let mut scene = Scene::new();
    scene.family("one", &["a1", "a2", "a3"]).await;
    scene.family("two", &["b1", "b2"]).await;
    scene.full("full").await;
    let (job, status) = scene.run().await;
    assert_succeeded(&status);
    assert_eq!(status.phases.of_kind("snapshot").title, "Snapshots copied");
    for row in scene.sync.rows(&job).await {
        if matches!(row.spec.read(1), Ok(RowSpec::Copy(_))) {
            assert_eq!(row.progress.bytes_done, super::scene::SIZE, "{}", row.id);
            assert!(row.output.unwrap().data["unique_id"].is_string());
        }
    }
    scene.assert_in_sync().await;

    // A full snapshot reaches another region as an incremental one.
    let incremental = async |destination| match scene.sync.get(&scene.sync.replica(destination, "full")).await {
        Some(found) => match found.body.properties {
            Properties::Snapshot(snapshot) => snapshot.incremental,
            _ => None,
        },
        None => None,
    };
    assert_eq!((incremental(0).await, incremental(1).await), (Some(false), Some(true)));

    // Only the next snapshot of a family is copied.
    let disk = super::scene::id(&scene.sync.rules.source, ResourceType::Disk, "one");
    scene.write(&disk);
    scene.sync.snapshot(&disk, "a4", true).await;
    let planned = scene.plan().await;
    assert_eq!(planned.rows, 1 + 2 + 2, "a copy in the region, and two to other regions with their clean-up");
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await);
    scene.assert_in_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_snapshots_of_a_family_are_copied_one_after_the_other() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1", "a2", "a3", "a4"]).await;
    let planned = scene.plan().await;
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 3, &planned.job).await);
    let mut copies: Vec<Operation> = scene.sync.rows(&planned.job).await;
    copies.retain(|row| row.kind.as_str() == "snapshot");
    copies.sort_by_key(|row| row.started);
    let names: Vec<String> = copies.iter().map(|row| row.spec.data["copy"]["id"].to_string()).collect();
    assert!(names.iter().zip(["a1", "a2", "a3", "a4"]).all(|(id, name)| id.contains(name)), "{names:?}");
    for pair in copies.windows(2) {
        assert!(pair[1].started.unwrap() >= pair[0].updated, "{} and {}", pair[0].id, pair[1].id);
    }
    scene.assert_in_sync().await;
}

/// `verify` finds a replica that was deleted. Temporaries, which the job removed, are no fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_is_verified() {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1"]).await;
    scene.full("full").await;
    let (job, status) = scene.run().await;
    assert_succeeded(&status);
    let control = scene.fleet.control_with_own_ports();
    let row = control.jobs.job(&job).await.unwrap().value;
    let scope = VerifyScope::scope_of_job(&control, &row).await.unwrap();
    let report = verify(&control, None, &scope, VerifyOptions::default(), &|_| {}).await.unwrap();
    assert_eq!((report.others, report.faults.len()), (8, 0), "{report:#?}");
    scene.sync.delete(&scene.sync.replica(0, "full")).await;
    let report = verify(&control, None, &scope, VerifyOptions::default(), &|_| {}).await.unwrap();
    let faults: Vec<&str> = report.faults.iter().map(|fault| fault.fault.as_str()).collect();
    assert_eq!(faults, ["is not there"], "{report:#?}");
}
