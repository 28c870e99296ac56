//! Replaced and removed replicas.

use goldfleet_kinds::remove::Kept;
use goldfleet_model::ids::JobId;
use goldfleet_model::operation::Operation;

use super::directory::Scene;
use super::scene::assert_succeeded;

/// A scene with replicas of two snapshots.
async fn copied() -> Scene {
    let mut scene = Scene::to(1);
    scene.family("one", &["a1", "a2"]).await;
    let (_, status) = scene.run().await;
    assert_succeeded(&status);
    scene
}

async fn removal(scene: &Scene, job: &JobId) -> Operation {
    let rows = scene.sync.rows(job).await;
    rows.into_iter().find(|row| row.id.step() == "remove").expect("a removal")
}

/// The old replica stays usable until the new one is complete.
#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_was_created_again_replaces_its_replica() {
    let mut scene = copied().await;
    let replica = scene.sync.replica(0, "a1");
    let old = scene.bytes(&replica);
    scene.recreate("a1", "one").await;
    let new = scene.bytes(&scene.sync.source("a1"));
    assert_ne!(old, new);
    let (_, status) = scene.run().await;
    assert_succeeded(&status);
    assert_eq!(scene.bytes(&replica), old, "the new replica is staged");
    let staged = scene.sync.replicas(0).await;
    assert_eq!(staged.len(), 3);
    let (_, status) = scene.run().await;
    assert_succeeded(&status);
    assert_eq!(scene.bytes(&replica), new);
    scene.assert_in_sync().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_removed_after_its_source_was_absent_in_two_runs() {
    let mut scene = copied().await;
    scene.sync.delete(&scene.sync.source("a2")).await;
    let planned = scene.plan().await;
    assert_eq!(planned.rows, 0);
    let (_, status) = scene.run().await;
    assert_succeeded(&status);
    assert_eq!(scene.sync.replicas(0).await.len(), 1);
    scene.assert_in_sync().await;
}

/// The source returns after the run was planned.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_source_returned_is_kept() {
    let mut scene = copied().await;
    let source = scene.sync.source("a2");
    let aside = scene.hide(&source);
    scene.plan().await;
    let planned = scene.plan().await;
    scene.restore(&source, &aside);
    assert_succeeded(&scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await);
    let row = removal(&scene, &planned.job).await;
    assert!(row.output.unwrap().read::<Kept>(1).unwrap().kept.contains("exists again"));
    scene.assert_in_sync().await;
}

/// A request that the service refuses proves nothing about the source.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_is_kept_if_nothing_is_known_about_its_source() {
    let mut scene = copied().await;
    let source = scene.sync.source("a2");
    scene.sync.delete(&source).await;
    scene.plan().await;
    let planned = scene.plan().await;
    std::fs::write(scene.properties(&source), "damaged").unwrap();
    scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await;
    let failures = scene.sync.failures(&planned.job).await;
    assert_eq!(failures, [("remove".to_owned(), "source-unknown".to_owned())].into());
    assert!(removal(&scene, &planned.job).await.failures > 1, "it is tried again");
    assert_eq!(scene.sync.replicas(0).await.len(), 2);
}

/// Someone else took the name of the replica after the run was planned, by a snapshot with other tags.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lost_its_tags_is_not_removed() {
    let mut scene = copied().await;
    scene.sync.delete(&scene.sync.source("a2")).await;
    scene.plan().await;
    let planned = scene.plan().await;
    let replica = scene.sync.replica(0, "a2");
    Scene::edit(&scene.properties(&replica), |value| value["tags"] = serde_json::json!({ "owner": "someone" }));
    scene.fleet.run(&scene.fleet.ports, 1, &planned.job).await;
    let failures = scene.sync.failures(&planned.job).await;
    assert_eq!(failures, [("remove".to_owned(), "snapshot-foreign".to_owned())].into());
    assert!(scene.sync.get(&replica).await.is_some());
}
